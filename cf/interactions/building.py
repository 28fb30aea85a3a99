"""Events -> interactions in two passes: the first numbers ids and counts, the second puts each event into its slot."""

from __future__ import annotations

import time as clock
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from cf.errors import EventsError
from cf.events import Events, Faults, faults
from cf.events.columns import KINDS, moment, seconds
from cf.ids import Ids
from cf.interactions import kernels
from cf.progress import Progress

LATEST = 2**32 - 1  # seconds since 1970 that 32 bits hold: the year 2106


class Held(Protocol):
    """What is there already: the interactions that events are added to."""

    @property
    def users(self) -> Ids: ...  # noqa: D102

    @property
    def items(self) -> Ids: ...  # noqa: D102

    @property
    def start(self) -> npt.NDArray[np.int64]: ...  # noqa: D102

    @property
    def item(self) -> npt.NDArray[np.int32]: ...  # noqa: D102

    @property
    def time(self) -> npt.NDArray[np.uint32]: ...  # noqa: D102

    @property
    def now(self) -> int: ...  # noqa: D102

    @property
    def faults(self) -> Faults: ...  # noqa: D102

    def __len__(self) -> int: ...

    def users_of_events(self) -> npt.NDArray[np.int64]: ...  # noqa: D102


@dataclass
class Checked:
    """Sound events of a batch: ids, times in seconds, optional columns."""

    user: npt.NDArray[Any]
    item: npt.NDArray[Any]
    time: npt.NDArray[np.uint32]
    optional: dict[str, npt.NDArray[Any]]


@dataclass
class Door:
    """Checks each batch; the first fault of an event is the one counted."""

    limit: int  # seconds since 1970; from then on is the future
    catalogue: Ids | None
    counts: dict[str, int] = field(default_factory=dict)
    events: int = 0

    def admit(self, batch: Events) -> Checked:
        """Return the sound events of a batch, and count the others."""
        if not isinstance(batch, Events):
            raise EventsError(
                f"a batch of events is an Events; got {type(batch).__name__}: Events.from_table takes a table"
            )
        self.events += len(batch)
        when = seconds(batch.time)
        good = np.ones(len(batch), bool)
        with np.errstate(invalid="ignore"):  # NaN compares false: a missing time is caught by name
            self._refuse(good, faults.NO_TIME, ~((when >= 0) & (when <= LATEST)))
            self._refuse(good, faults.FUTURE, when >= self.limit)
        for ids in (batch.user, batch.item):
            if ids.dtype == object:
                self._refuse(good, faults.NO_ID, pd.isna(ids))
        optional: dict[str, npt.NDArray[Any]] = {}
        if batch.quantity is not None:
            optional["quantity"] = number(batch.quantity, "quantity")
            self._refuse(good, faults.NOT_POSITIVE, ~((optional["quantity"] > 0) & np.isfinite(optional["quantity"])))
        if batch.money is not None:
            optional["money"] = number(batch.money, "money")
            self._refuse(good, faults.BAD_MONEY, ~((optional["money"] >= 0) & np.isfinite(optional["money"])))
        if batch.kind is not None:
            optional["kind"] = kind_numbers(batch.kind)
            self._refuse(good, faults.UNKNOWN_KIND, optional["kind"] < 0)
        if self.catalogue is not None:
            place = np.flatnonzero(good)
            unknown = np.zeros(len(batch), bool)
            unknown[place] = self.catalogue.find(batch.item[place]) < 0
            self._refuse(good, faults.UNKNOWN_ITEM, unknown)
        if good.all():
            return Checked(batch.user, batch.item, when.astype(np.uint32), optional)
        return Checked(
            narrowed(batch.user[good]),
            narrowed(batch.item[good]),
            when[good].astype(np.uint32),
            {name: column[good] for name, column in optional.items()},
        )

    def _refuse(self, good: npt.NDArray[np.bool_], kind: str, bad: npt.NDArray[np.bool_]) -> None:
        fresh = int((good & bad).sum())
        if fresh:
            self.counts[kind] = self.counts.get(kind, 0) + fresh
            good &= ~bad


def narrowed(ids: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return integers that were held as objects beside missing values as integers again."""
    if ids.dtype == object and ids.size and all(isinstance(value, int | np.integer) for value in ids):
        return ids.astype(np.int64)
    return ids


def number(column: npt.NDArray[Any], name: str) -> npt.NDArray[np.float32]:
    """Return a column as float32."""
    try:
        with np.errstate(over="ignore"):  # becomes infinite, which is a fault
            return column.astype(np.float32)
    except (TypeError, ValueError) as error:
        raise EventsError(f"{name} must be numbers: {error}") from error


def kind_numbers(kind: npt.NDArray[Any]) -> npt.NDArray[np.int8]:
    """Return each kind's number, -1 where it is not known. Numbers into `KINDS` are taken as they are."""
    if kind.dtype.kind in "iu":
        return np.where((kind >= 0) & (kind < len(KINDS)), kind, -1).astype(np.int8)
    return pd.Index(KINDS).get_indexer(pd.Index(kind.astype(object))).astype(np.int8)


def build(
    events: Events | Iterable[Events],
    base: Held | None,
    now: Any,
    items: Ids | npt.ArrayLike | None,
    users: Ids | npt.ArrayLike | None,
    keep_duplicates: bool,
    progress: Progress,
) -> dict[str, Any]:
    """Number, count, place, sort: return what `Interactions` is made of. With `base`, its events are placed first."""
    batches: Iterable[Events] = [events] if isinstance(events, Events) else events
    if not isinstance(batches, Iterable):
        raise EventsError(f"events are Events, a list of them or EventFiles; got {type(events).__name__}")
    if isinstance(batches, Iterator):
        raise EventsError("events are read twice, and an iterator can be read once: give a list or EventFiles")
    catalogue = None if items is None else items if isinstance(items, Ids) else Ids(items)
    limit = moment(now) if now is not None else int(clock.time())
    if base is not None:
        limit = max(limit, base.now) if now is None else limit
        if limit < base.now:
            raise EventsError("now lies before that of the interactions to update")
    known_users = (
        base.users if base is not None else users if isinstance(users, Ids) else Ids(() if users is None else users)
    )
    known_items = base.items if base is not None else catalogue if catalogue is not None else Ids()

    door = Door(limit, catalogue)
    plan = count(batches, door, known_users, known_items, base, progress)
    made = place(batches, Door(limit, catalogue), plan, base, progress)
    none = np.zeros(0, np.float32)
    extra = (made.get("quantity", none), made.get("money", none), made.get("kind", np.zeros(0, np.int8)))
    kernels.sort_users(plan.start, made["item"], made["time"], *extra)
    if not keep_duplicates:
        left = kernels.drop_duplicates(plan.start, made["item"], made["time"], *extra)
        if left < made["item"].size:
            door.counts[faults.DUPLICATE] = made["item"].size - int(left)
            made = {name: column[:left] for name, column in made.items()}  # views: a copy would double the memory
    report = Faults(door.events, door.counts)
    end = limit if now is not None else max(int(made["time"].max(initial=0)) + 1, base.now if base is not None else 0)
    found = report if base is None else base.faults + report
    return {"users": plan.users, "items": plan.items, "start": plan.start, "now": end, "faults": found, **made}


@dataclass
class Plan:
    """What the first pass found: ids, where each user's events begin, which optional columns there are."""

    users: Ids
    items: Ids
    start: npt.NDArray[np.int64]
    optional: tuple[str, ...]


def count(batches: Iterable[Events], door: Door, users: Ids, items: Ids, base: Held | None, progress: Progress) -> Plan:
    """First pass: number ids and count each user's sound events."""
    held = np.zeros(len(users), np.int64) if base is None else np.diff(base.start)
    optional: tuple[str, ...] | None = None
    if base is not None and len(base):
        optional = tuple(name for name in ("quantity", "money", "kind") if getattr(base, name) is not None)
    for batch in batches:
        sound = door.admit(batch)
        if optional is None:
            optional = tuple(sound.optional)
        elif tuple(sound.optional) != optional:
            raise EventsError(
                f"some events have the columns {list(optional)}, others {list(sound.optional)}; give all the same"
            )
        users, user = users.with_new(sound.user)
        items, _ = items.with_new(sound.item)
        fresh = np.bincount(user, minlength=len(users))
        fresh[: held.size] += held
        held = fresh
        progress("counting events", door.events, 0)
    start = np.concatenate([[0], np.cumsum(held)]).astype(np.int64)
    return Plan(users, items, start, optional or ())


def place(batches: Iterable[Events], door: Door, plan: Plan, base: Held | None, progress: Progress) -> dict[str, Any]:
    """Second pass: put each event into the next free slot of its user."""
    total = int(plan.start[-1])
    kinds = {"item": np.int32, "time": np.uint32, "quantity": np.float32, "money": np.float32, "kind": np.int8}
    made: dict[str, Any] = {name: np.empty(total, kinds[name]) for name in ("item", "time", *plan.optional)}
    cursor = plan.start[:-1].copy()
    if base is not None and len(base):
        user = base.users_of_events()
        slot = kernels.place(user, base.item, base.time, cursor, made["item"], made["time"])
        for name in plan.optional:
            made[name][slot] = getattr(base, name)
    for batch in batches:
        sound = door.admit(batch)
        user, item = plan.users.find(sound.user), plan.items.find(sound.item)
        slot = kernels.place(user, item.astype(np.int32), sound.time, cursor, made["item"], made["time"])
        for name, column in sound.optional.items():
            made[name][slot] = column
        progress("placing events", door.events, total)
    if (cursor != plan.start[1:]).any():
        raise EventsError("the second reading of the events gave other events than the first")
    return made
