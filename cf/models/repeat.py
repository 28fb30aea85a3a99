"""Repeat purchases, learned: which of the user's own items come again in the next window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from numba import prange

from cf.boosting import Boosting, Trees
from cf.compiling import njit
from cf.errors import CannotLearn, UsageError
from cf.events.columns import DAY
from cf.ids import Ids
from cf.interactions import Interactions, Weighting
from cf.interactions.kernels import count_pairs
from cf.model import Numbers, Reason, Scores, at_least_one, popularity_of, present
from cf.progress import Progress, silent

Floats = npt.NDArray[np.float32]
LIVES = (7.0, 21.0, 60.0, 180.0)  # days, half-lives of the decayed counts
PAIR = 9
USER = 7
ITEM = 4
PRIOR = 20.0  # buyers' worth of all items' rate that an item's own rate is drawn to


@njit(nogil=True, cache=True, parallel=True)
def describe(start, item, time, now, n_items, indptr, indices, out):  # type: ignore[no-untyped-def]
    """Fill each (user, own item) pair's row of `out` with its habits and the user's, as of `now` (seconds).

    Columns: decayed visits with the item at the four `LIVES`, visits, days since the last and the one before it, mean days
    between, days since the last over that; then of the user: decayed visits at the four lives, days since the last visit,
    items a visit, distinct items. NaN where there is no such visit.
    """
    n_threads = 64
    n_users = start.size - 1
    for t in prange(n_threads):
        place = np.full(n_items, -1, np.int64)
        last = np.zeros(n_items, np.int64)
        first = np.zeros(n_items, np.int64)
        for u in range(t * n_users // n_threads, (t + 1) * n_users // n_threads):
            free = indptr[u]
            visits, worth = np.zeros(4), np.empty(4)
            previous, number = np.int64(-1), 0
            for e in range(start[u], start[u + 1]):
                i, when = item[e], np.int64(time[e])
                age = (now - when) / 86_400.0
                if when != previous:
                    previous = when
                    number += 1
                    for h in range(4):
                        worth[h] = 0.5 ** (age / LIVES[h])
                        visits[h] += worth[h]
                if place[i] < 0:
                    place[i] = free
                    indices[free] = i
                    out[free, :] = 0.0
                    first[i] = when
                    free += 1
                elif last[i] == when:
                    continue
                row = place[i]
                if out[row, 4] > 0.0:
                    out[row, 6] = (when - last[i]) / 86_400.0
                for h in range(4):
                    out[row, h] += worth[h]
                out[row, 4] += 1.0
                out[row, 5] = age
                last[i] = when
            for row in range(indptr[u], free):
                i = indices[row]
                times = out[row, 4]
                out[row, 7] = (last[i] - first[i]) / 86_400.0 / (times - 1.0) if times > 1.0 else np.nan
                out[row, 8] = out[row, 5] / max(out[row, 7], 1.0) if times > 1.0 else np.nan
                if times == 1.0:
                    out[row, 6] = np.nan
                for h in range(4):
                    out[row, 9 + h] = visits[h]
                out[row, 13] = (now - previous) / 86_400.0
                out[row, 14] = (start[u + 1] - start[u]) / max(number, 1)
                out[row, 15] = free - indptr[u]
                place[i] = -1


@dataclass(frozen=True)
class Repeat:
    """P(the user buys an own item again in the window), by gradient boosting on past windows.

    What it is told: how often, how lately and how regularly the user had the item, how the user shops, and how the item is
    bought and bought again by everyone. It scores a user's own items only; a hybrid adds others.

    Attributes
    ----------
    window, past_windows
        Days, and windows to learn from.
    most_rows
        (user, item, window) rows to learn from, drawn with `seed`.
    """

    window: float = 28.0
    past_windows: int = 3
    most_rows: int = 400_000
    boosting: Boosting = field(default_factory=lambda: Boosting(rounds=120, leaves=31, rate=0.08))
    seed: int = 0

    def __post_init__(self) -> None:
        at_least_one(past_windows=self.past_windows, most_rows=self.most_rows)
        if not 0 < self.window < np.inf:
            raise UsageError(f"window must be above 0 days; got {self.window}")

    def fit(self, interactions: Interactions, progress: Progress = silent) -> RepeatModel:
        """Learn from the last windows."""
        rng = np.random.default_rng(self.seed)
        step = int(self.window * DAY)
        rows, hits = [], []
        first = int(interactions.time.min(initial=2**32 - 1))
        for number in range(1, self.past_windows + 1):
            progress("repeat purchases", number - 1, self.past_windows)
            begin = interactions.now - step * number
            if begin - step < first:
                break
            at = np.datetime64(begin, "s")
            known, later = interactions.before(at), interactions.between(at, np.datetime64(begin + step, "s"))
            indptr, indices, table = pairs(known, items_of(known, step))
            chosen = np.flatnonzero(rng.random(len(table)) < self.most_rows / self.past_windows / max(len(table), 1))
            owner = np.repeat(np.arange(known.n_users), np.diff(indptr))
            held = later.matrix(Weighting(repeats="once"))
            rows.append(table[chosen])
            hits.append(present(held, owner[chosen], indices[chosen]))
        hit = np.concatenate([*hits, np.zeros(0, bool)])
        if not hit.any() or hit.all():
            raise CannotLearn(
                f"no repeat purchase can be learned from: the events span too few windows of {self.window:g} days, or nothing was bought again"
            )
        trees = self.boosting.fit(np.concatenate(rows), hit, "binary", self.seed)
        progress("repeat purchases", self.past_windows, self.past_windows)
        return RepeatModel(interactions.items, popularity_of(interactions), items_of(interactions, step), trees)


def items_of(known: Interactions, step: int) -> Floats:
    """Return what everyone does with each item: log popularity at two paces, repeat rate, log visits a buyer; `(items, 4)`."""
    before = known.before(np.datetime64(known.now - step, "s")).between(np.datetime64(known.now - 2 * step, "s"), None)
    earlier = before.matrix(Weighting(repeats="once"))
    lately = known.between(np.datetime64(known.now - step, "s"), None).matrix(Weighting(repeats="once"))
    buyers = np.asarray(earlier.sum(axis=0)).ravel()
    again = np.asarray(earlier.multiply(lately).sum(axis=0)).ravel()
    rate = (again + PRIOR * again.sum() / max(buyers.sum(), 1.0)) / (buyers + PRIOR)
    visits = known.matrix()
    holders = np.bincount(visits.indices, minlength=known.n_items)
    each = np.asarray(visits.sum(axis=0)).ravel() / np.maximum(holders, 1)
    return np.stack(
        [np.log1p(popularity_of(known, 14.0)), np.log1p(popularity_of(known, 60.0)), rate, np.log1p(each)], axis=-1
    ).astype(np.float32)


def pairs(known: Interactions, items: Floats) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], Floats]:
    """Return (pointers, items, features) of every user's own items."""
    indptr = np.concatenate([[0], np.cumsum(count_pairs(known.start, known.item, known.n_items))])
    indices = np.empty(indptr[-1], np.int32)
    table = np.empty((indptr[-1], PAIR + USER + ITEM), np.float32)
    describe(known.start, known.item, known.time, known.now, known.n_items, indptr, indices, table)
    table[:, PAIR + USER :] = items[indices]
    return indptr, indices, table


@dataclass(frozen=True)
class RepeatModel:
    """`about`: `(items, 4)`, what everyone does with each item."""

    items: Ids
    popularity: npt.NDArray[np.float32]
    about: Floats
    trees: Trees

    def scores(self, history: Interactions, users: Numbers) -> Scores:
        """Return the probability of each own item, 0 for others."""
        out = np.zeros((len(users), len(self.items)), np.float32)
        indptr, indices, table = pairs(history.only(users), self.about)
        if len(table):
            out[np.repeat(np.arange(len(users)), np.diff(indptr)), indices] = self.trees.predict(table)
        return out

    def reasons(self, history: Interactions, user: int, item: int) -> Sequence[Reason]:
        """Return the item itself, where the user has had it."""
        score = float(self.scores(history, np.array([user]))[0, item])
        return [Reason("item", self.items.values[item], score)] if score else []
