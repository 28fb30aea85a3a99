"""Interactions: who did what when, sorted by user and time, in a few bytes an event."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from cf.errors import UsageError
from cf.events import Events, Faults
from cf.events.columns import DAY, KINDS, moment
from cf.ids import Ids
from cf.interactions import kernels
from cf.interactions.building import LATEST, build
from cf.interactions.weighting import Weighting
from cf.progress import Progress, silent

Column = npt.NDArray[Any]


FEW_EVENTS = 200_000  # that are copied by one thread


@dataclass(frozen=True)
class Interactions:
    """An event log with ids numbered, sorted by user, then time, then item; build it with `Interactions.of`.

    Takes 8 bytes an event, and 4 more for each of quantity and money and 1 for kind where events have them.

    Attributes
    ----------
    users, items
        The ids behind the numbers.
    start
        `(users + 1,)` int64; events `start[u]` to `start[u + 1]` are user u's.
    item
        `(events,)` int32.
    time
        `(events,)` uint32, seconds since 1970.
    quantity, money
        `(events,)` float32, units and currency, or None.
    kind
        `(events,)` int8, numbers into `cf.KINDS`, or None where all are purchases.
    now
        Seconds since 1970; everything before is known, nothing from then on is.
    faults
        What was left out when it was built.
    """

    users: Ids
    items: Ids
    start: npt.NDArray[np.int64]
    item: npt.NDArray[np.int32]
    time: npt.NDArray[np.uint32]
    now: int
    quantity: npt.NDArray[np.float32] | None = None
    money: npt.NDArray[np.float32] | None = None
    kind: npt.NDArray[np.int8] | None = None
    faults: Faults = field(default_factory=Faults)

    @classmethod
    def of(
        cls,
        events: Events | Iterable[Events],
        *,
        now: Any = None,
        items: Ids | npt.ArrayLike | None = None,
        users: Ids | npt.ArrayLike | None = None,
        keep_duplicates: bool = False,
        progress: Progress = silent,
    ) -> Interactions:
        """Build interactions from events.

        Parameters
        ----------
        events
            Columns, or anything that can be iterated twice over batches of them (a list, `EventFiles`): one pass
            counts and one pass places, so that memory holds the result and one batch.
        now
            A datetime or number of days; events from then on are faults. By default the clock's time decides what is in
            the future, and `now` of the result is just after the last event.
        items, users
            Ids to number first; where `items` is given it is the catalogue, and events of other items are faults.
        keep_duplicates
            By default an event that equals another in everything is a fault.
        """
        return cls(**build(events, None, now, items, users, keep_duplicates, progress))

    def updated(
        self,
        events: Events | Iterable[Events],
        *,
        now: Any = None,
        keep_duplicates: bool = False,
        progress: Progress = silent,
    ) -> Interactions:
        """Return interactions with these events too; new users and items are numbered after the known ones."""
        return Interactions(**build(events, self, now, None, None, keep_duplicates, progress))

    def __len__(self) -> int:
        return self.item.size

    @property
    def n_users(self) -> int:
        """Users, with events or without."""
        return self.start.size - 1

    @property
    def n_items(self) -> int:
        """Items, with events or without."""
        return len(self.items)

    @property
    def visits(self) -> npt.NDArray[np.int64]:
        """Distinct times of each user's events, `(users,)`."""
        if not len(self):
            return np.zeros(self.n_users, np.int64)
        fresh = np.ones(len(self), bool)
        fresh[1:] = self.time[1:] != self.time[:-1]
        fresh[self.start[:-1][np.diff(self.start) > 0]] = True
        total = np.concatenate([[0], np.cumsum(fresh)])
        return total[self.start[1:]] - total[self.start[:-1]]

    def users_of_events(self) -> npt.NDArray[np.int64]:
        """Return the number of each event's user, `(events,)`."""
        return np.repeat(np.arange(self.n_users), np.diff(self.start))

    def matrix(self, weighting: Weighting | None = None) -> sparse.csr_matrix:
        """Return `(users, items)` float32 weights of what each user did with each item, as of `now`; rows sorted."""
        rule = weighting or Weighting()
        amount = rule.column(self.quantity, self.money)
        kind = self.kind if self.kind is not None else np.zeros(0, np.int8)
        number = kernels.count_pairs(self.start, self.item, self.n_items)
        indptr = np.concatenate([[0], np.cumsum(number)])
        indices, data = np.empty(indptr[-1], np.int32), np.empty(indptr[-1], np.float32)
        kernels.sum_pairs(
            self.start,
            self.item,
            self.time,
            amount,
            kind,
            rule.kind_weights(),
            rule.half_life * DAY,
            self.now,
            rule.amount == "visits",
            self.n_items,
            indptr,
            indices,
            data,
        )
        if rule.kinds is not None and self.kind is not None:
            return rule.transformed(drop_zeros(indptr, indices, data, (self.n_users, self.n_items)))
        return rule.transformed(sparse.csr_matrix((data, indices, indptr), shape=(self.n_users, self.n_items)))

    def before(self, time: Any) -> Interactions:
        """Return what was known then: the events before it, and `now` set to it."""
        return self.between(None, time)

    def between(self, begin: Any, end: Any) -> Interactions:
        """Return the events of [begin, end), of the same users and items; `now` is the end. None is open."""
        first, last = np.empty(self.n_users, np.int64), np.empty(self.n_users, np.int64)
        after = 0 if begin is None else moment(begin)
        stop = self.now if end is None else moment(end)
        if begin is not None and end is not None and stop < after:
            raise UsageError(f"the end, {end}, lies before the beginning, {begin}")
        low, high = (np.uint32(min(max(time, 0), LATEST)) for time in (after, max(after, stop)))
        kernels.stretch(self.start, self.time, low, high, first, last)
        return replace(self._cut(first, last), now=stop)

    def last_visits(self, visits: npt.ArrayLike) -> Interactions:
        """Return each user's last so many visits; `visits` is `(users,)` or one number."""
        first = np.empty(self.n_users, np.int64)
        kernels.last_visits(self.start, self.time, self._counts(visits), first)
        return self._cut(first, self.start[1:].copy())

    def without_last_visits(self, visits: npt.ArrayLike) -> Interactions:
        """Return what is left without each user's last so many visits."""
        end = np.empty(self.n_users, np.int64)
        kernels.last_visits(self.start, self.time, self._counts(visits), end)
        return self._cut(self.start[:-1].copy(), end)

    def _counts(self, visits: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Return a number of visits for each user, `(users,)`."""
        wanted = np.asarray(visits)
        if wanted.size and (wanted.dtype.kind not in "iu" or wanted.min() < 0):
            raise UsageError(f"visits must be whole numbers of at least 0; got {wanted.ravel()[:3]}")
        return np.ascontiguousarray(np.broadcast_to(wanted.astype(np.int64), self.n_users))

    def only(self, users: npt.NDArray[np.integer[Any]]) -> Interactions:
        """Return the interactions of these users (numbers), in this order; items keep their numbers."""
        numbers = np.asarray(users)
        if numbers.size and numbers.dtype.kind not in "iu":
            raise UsageError(
                f"users are asked for by their numbers; got {numbers.dtype}: np.flatnonzero makes them of a mask"
            )
        chosen = numbers.astype(np.int64)
        if chosen.size and (chosen.min() < 0 or chosen.max() >= self.n_users):
            raise UsageError(
                f"users are numbered 0 to {self.n_users - 1}; got {int(chosen.min())} to {int(chosen.max())}"
            )
        cut = self._cut(self.start[:-1][chosen], self.start[1:][chosen])
        return replace(cut, users=Ids(self.users.values[chosen]))

    def of_kind(self, *kinds: str) -> Interactions:
        """Return the events of these kinds."""
        wrong = [kind for kind in kinds if kind not in KINDS]
        if wrong:
            raise UsageError(f"kind {wrong[0]!r} is not one of {', '.join(KINDS)}")
        kind = self.kind if self.kind is not None else np.zeros(len(self), np.int8)
        return self._where(np.isin(kind, [KINDS.index(name) for name in kinds]))

    def aligned(self, items: Ids) -> Interactions:
        """Return the events of these items, with these items' numbers: how a fitted model reads another history."""
        if items is self.items or items == self.items:
            return replace(self, items=items)
        number = items.find(self.items.values)
        kept = self._where(number[self.item] >= 0)
        renumbered = number[kept.item].astype(np.int32)
        out = replace(kept, items=items, item=renumbered, time=kept.time.copy())
        extra = [np.zeros(0, np.float32) if c is None else c for c in (out.quantity, out.money)]
        kinds = np.zeros(0, np.int8) if out.kind is None else out.kind
        kernels.sort_users(out.start, out.item, out.time, extra[0], extra[1], kinds)
        return out

    def _where(self, keep: npt.NDArray[np.bool_]) -> Interactions:
        total = np.concatenate([[0], np.cumsum(keep)])
        columns: dict[str, Any] = {
            name: None if column is None else column[keep] for name, column in self._columns().items()
        }
        return replace(self, start=total[self.start], **columns)

    def _cut(self, first: npt.NDArray[np.int64], last: npt.NDArray[np.int64]) -> Interactions:
        start = np.concatenate([[0], np.cumsum(last - first)])
        # Threads that must be woken take longer than a short copy, on a busy machine many times.
        short = start[-1] < FEW_EVENTS
        place = np.repeat(first - start[:-1], last - first) + np.arange(start[-1]) if short else None

        def taken(column: Column) -> Column:
            if place is not None:
                return column[place]
            target = np.empty(start[-1], column.dtype)
            kernels.gather(first, start, column, target)
            return target

        columns: dict[str, Any] = {
            name: None if column is None else taken(column) for name, column in self._columns().items()
        }
        return replace(self, start=start, **columns)

    def _columns(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("item", "time", "quantity", "money", "kind")}


def drop_zeros(indptr: Column, indices: Column, data: Column, shape: tuple[int, int]) -> sparse.csr_matrix:
    """Return a matrix without the pairs whose kinds weigh nothing."""
    matrix = sparse.csr_matrix((data, indices, indptr), shape=shape)
    matrix.eliminate_zeros()
    return matrix
