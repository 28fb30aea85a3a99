"""Plans that use up what several overlapping limits leave: see `kernels.fitting`.

How close to the bound a plan can come is a matter of how many there are. With a dozen limits on money among 100,000 users no
more than a handful of plans are within a cent of it, though astronomically many lose less than a cent: each limit takes
its share of them. What is found here is within two or three times the least distance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg as la

from allocator.kernels import fitting as kernels
from allocator.kernels.threes import grain_of, wanted_key
from allocator.solvers.table import Table

SETS = 1_600_000  # of changes, of all kinds together
MOST_SETS = 100_000  # of one kind
FEWER = 0.85  # of the loss that sets may have, as long as there are too many
TRIES = 50  # with ever fewer
BASES = 12
REGULAR = 1e-6  # of kinds that use limits independently, the least pivot
WORK = 40_000_000  # sets looked at, times the effort
WIDTH = 4_096  # of a kind, for one draw
SHARE = 0.4  # of the gap, at most, that the drawn sets lose
STRAIGHT = 1e-9  # of the largest use: choices of a kind use limits in the same proportions
GRAIN = 1e-6  # currency; a plan that is better by less may be the same one


@dataclass(frozen=True, eq=False)
class Sets:
    """Sets of choices of users of one kind.

    Attributes
    ----------
    kind
        In the table.
    choice
        The pool's choices that sets are made of.
    way
        `(rows,)`: what a unit of use is of each of the priced limits on money; all cost or save value together.
    use, loss, key
        `(sets,)`: what each uses, loses, and the sum of the keys of the counts that it changes; `use` ascends.
    place
        `(sets,)`: where each is in the next.
    before, last
        As `kernels.list_sets` returns them.
    """

    kind: int
    choice: np.ndarray
    way: np.ndarray
    use: np.ndarray
    loss: np.ndarray
    key: np.ndarray
    place: np.ndarray
    before: np.ndarray
    last: np.ndarray

    @classmethod
    def of(cls, table: Table, kind: int, among: np.ndarray, rows: np.ndarray, gap: float, size: int) -> Sets | None:
        """List the sets of a kind that lose least, none as much as `gap`, at most `size`; `among` `(choices,)` bool.

        `None` where the kind uses nothing of `rows`, or its choices use these limits in different proportions.
        """
        pool, counts = table.pool, table.counting & (table.prices != 0)
        choice = np.flatnonzero((table.kind_of[pool.owner] == kind) & (pool.lost < gap) & among)
        choice = choice[np.argsort(pool.lost[choice], kind="stable")]
        du = table.du[np.ix_(choice, rows)]
        if not du.any():
            return None
        largest = np.unravel_index(np.abs(du).argmax(), du.shape)
        way = du[largest[0]] / du[largest]
        use = du[:, largest[1]]
        worth = way * table.prices[rows]
        if (np.abs(du - use[:, None] * way) > STRAIGHT * np.abs(du[largest])).any() or worth.min() * worth.max() < 0:
            return None
        if worth.sum() < 0:
            use, way = -use, -way
        lost = np.maximum(pool.lost[choice], 0.0)
        # All sets of so many choices are already too many.
        enough = float(lost[: int(size).bit_length()].sum())
        for most in min(gap, enough) * FEWER ** np.arange(TRIES):
            before, last, loss, fits = kernels.list_sets(pool.owner[choice], lost, most, size)
            if fits:  # never, where many choices lose nothing: some of the sets will do
                break
        own = np.rint(table.du[np.ix_(choice, counts)]).astype(np.int64) @ table.keys[counts]
        used = kernels.sum_sets(before, last, use)
        place = np.argsort(used, kind="stable").astype(np.int32)
        return cls(
            kind,
            choice,
            way,
            used[place],
            loss[place],
            kernels.sum_sets(before, last, own)[place],
            place,
            before,
            last,
        )

    def choices(self, item: int) -> np.ndarray:
        """Return the pool's choices of a set."""
        found, at = [], int(self.place[item])
        while at > 0:
            found.append(self.last[at])
            at = self.before[at]
        return self.choice[np.array(found, dtype=np.int64)]


def fitted(
    table: Table, current: np.ndarray, gap: float, effort: float = 1.0, most: int = MOST_SETS
) -> tuple[np.ndarray, float] | None:
    """Improve a plan by sets of changes in many kinds of users at once; return it and its gap.

    At most so many sets of each kind are listed. `None` where there are too few kinds whose choices use the limits on money in
    fixed proportions.
    """
    priced = ~table.counting & (table.prices != 0)
    rows, kinds = np.flatnonzero(priced), np.flatnonzero(table.covers[:, priced].any(axis=1))
    if not 0 < rows.size <= kinds.size:
        return None
    # Sets of one half are drawn for those of the other to be looked up, where no kind is left to be drawn.
    parts = 1 if rows.size < kinds.size else 2
    size = min(most, SETS // (parts * kinds.size))
    half = table.pool.owner % parts
    sets = [Sets.of(table, kind, half == part, rows, gap, size) for kind in kinds.tolist() for part in range(parts)]
    listed = [each for each in sets if each is not None]
    bases = _bases(np.array([each.way for each in listed]), table) if len(listed) >= rows.size else []
    if not bases:
        return None
    return _drawn(table, rows, listed, bases, current, gap, int(effort * WORK))


def _drawn(
    table: Table,
    rows: np.ndarray,
    listed: list[Sets],
    bases: list[np.ndarray],
    current: np.ndarray,
    gap: float,
    work: int,
) -> tuple[np.ndarray, float]:
    """Improve a plan by draws, until it is close enough or the work is done."""
    pool, prices = table.pool, table.prices
    stay = np.where(np.isin(table.kind_of, [sets.kind for sets in listed]), -1, current)
    above, below = table.left(stay)
    counts = table.counting & (prices != 0)
    side = np.where(prices > 0, above, below)
    first = np.cumsum([0, *(sets.use.size for sets in listed)])
    use, loss, key = (np.concatenate([getattr(sets, name) for sets in listed]) for name in ("use", "loss", "key"))
    by_loss = [start + np.argsort(sets.loss, kind="stable") for start, sets in zip(first, listed, strict=False)]
    way = np.array([sets.way for sets in listed])
    among = (
        use,
        loss,
        key,
        np.concatenate(by_loss),
        first,
        way,
        way @ prices[rows],
        np.where(prices > 0, side, -side)[rows] - np.sign(prices[rows]) * grain_of(table.du),
        wanted_key(above, below, prices, table.counting, table.keys),
        float(
            pool.lost[stay[stay >= 0]].sum() + np.abs(prices[counts]) @ (side[counts] - np.floor(side[counts] + GRAIN))
        ),
        np.array(bases),
        np.array([np.linalg.inv(way[basis].T) for basis in bases]),
    )
    chosen = np.zeros(len(listed), np.int64)
    while work > 0 and gap > table.tolerance and not table.stop[0]:
        reached, work = kernels.draw_and_fit(*among, gap - GRAIN, SHARE, WIDTH, work, table.rng, table.stop, chosen)
        if reached >= gap - GRAIN:
            break
        trial = stay.copy()
        for sets, item in zip(listed, chosen - first[:-1], strict=True):
            taken = sets.choices(int(item))
            trial[pool.owner[taken]] = taken
        # Limits without a price were not looked at.
        if min(left.min() for left in table.left(trial)) >= 0:
            current, gap = trial, table.room - float(pool.dv[trial[trial >= 0]].sum())
    return current, gap


def _bases(way: np.ndarray, table: Table) -> list[np.ndarray]:
    """Return some choices of kinds, `(rows,)` each, that can use the limits up together; `way` `(n_kinds, rows)`.

    None where no kinds can.
    """
    bases = []
    for _ in range(BASES):
        scatter = table.rng.random(way.shape[0]) + 0.1
        r, pivots = la.qr(way.T * scatter, mode="r", pivoting=True)
        if np.abs(np.diagonal(r)).min() < REGULAR:
            break
        bases.append(np.sort(pivots[: way.shape[1]]))
    return bases
