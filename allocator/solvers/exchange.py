"""A plan from prices: everyone's best choice, mended and improved by exchanges among the users near indifference."""

from __future__ import annotations

import numpy as np
import scipy.linalg as la

from allocator.kernels.threes import aim
from allocator.solvers.ejection import stopped_at
from allocator.solvers.fitting import fitted
from allocator.solvers.piece import Piece
from allocator.solvers.pool import OFFERS, Pool, pool_of
from allocator.solvers.table import Table, table_of

SWEPT = (150, 600)  # of them that are tried in pairs with each other; the work is their square, so first with few
EVALUATIONS = 4_000_000  # pairs of choices looked at, at most, times the effort
FEW_LIMITS = 40  # with more of them a pair takes longer, and fewer are looked at
MOST_UNDONE = 5
AIMS = 20  # times the effort
FIRST_EVALUATIONS = 50_000
QUICK_SETS, QUICK_EFFORT = 10_000, 0.005  # of a fit that follows, where a few changes may do
QUICK_GAP = 1.5  # of the tolerance, to begin with
SHORT_SETS, SHORT_EFFORT = 30_000, 0.02  # times the effort, of a fit among users of one kind
NEARLY = 4.0  # typical changes, of all limits together
AIM_EVALUATIONS = 100_000
MEND_EVALUATIONS = 1_000_000
WATCHED = 100  # of the largest changes: a limit with more room than that is not watched


def aimed(table: Table, current: np.ndarray, gap: float, turns: int) -> tuple[np.ndarray, float]:
    """Improve a plan by changes in several kinds of users at once; return it and its gap.

    Where limits overlap, what is left of one can often be used only by moving usage between many kinds: how much more each
    should use is a small linear system. In each kind in turn three changes come as close to that as they can, and exchanges
    mend the rest. For kinds in which limits are not used in fixed proportions, as `fitting` needs it.
    """
    priced = np.flatnonzero(~table.counting & (table.prices != 0))
    covers = table.covers[:, priced]
    kinds = np.flatnonzero(covers.any(axis=1))
    along = priced[covers[kinds].argmax(axis=1)]
    worth = np.abs(table.prices[priced]) @ covers[kinds].T
    for turn in range(turns):
        if gap <= table.tolerance or table.stop[0]:
            break
        trial = _undone(table, current, int(table.rng.integers(0, MOST_UNDONE + 1)) if turn else 0)
        above, below = table.left(trial)
        # A few kinds that can do it together, chosen at random.
        scatter = table.rng.random(kinds.size) + 0.1
        _, pivots = la.qr(covers[kinds].T * scatter, mode="r", pivoting=True)
        rest = pivots[: min(priced.size, kinds.size)]
        while rest.size and not table.stop[0]:
            left = np.where(table.prices[priced] > 0, above[priced], -below[priced])
            step = la.lstsq(covers[kinds[rest]].T.astype(np.float64), left)[0]
            furthest = int(np.abs(step).argmax())
            at = rest[furthest]
            aim(
                table.pool.owner,
                table.pool.dv,
                table.du,
                table.pool.lost,
                trial,
                above,
                below,
                table.prices,
                table.counting,
                table.keys,
                table.kind_of,
                int(kinds[at]),
                int(along[at]),
                float(step[furthest]),
                float(worth[at]),
                gap,
                AIM_EVALUATIONS,
            )
            rest = np.delete(rest, furthest)
        found, reached = table.exchange(trial, min(SWEPT[0], table.pool.owner.size), MEND_EVALUATIONS)
        if reached < gap:
            current, gap = found, reached
    return current, gap


def _undone(table: Table, current: np.ndarray, n: int) -> np.ndarray:
    """Return a plan without `n` of its changes, drawn by what they lose: others will make up for them."""
    trial = current.copy()
    taken = trial[trial >= 0]
    if n and taken.size:
        dear = np.maximum(table.pool.lost[taken], 0.0) + 1e-12
        undone = table.rng.choice(taken, min(n, taken.size), replace=False, p=dear / dear.sum())
        trial[table.pool.owner[undone]] = -1
    return trial


def exchanged(
    piece: Piece,
    prices: np.ndarray,
    most: float,
    tolerance: float,
    seed: int,
    effort: float = 1.0,
    start: np.ndarray | None = None,
    deadline: float = np.inf,
) -> np.ndarray | None:
    """Return all of a plan, its fixed choices too: see `exchanged_inside`."""
    offers = exchanged_inside(piece, prices, most, tolerance, seed, effort, start, deadline)
    return None if offers is None else np.concatenate([*piece.picked, offers])


def exchanged_inside(
    piece: Piece,
    prices: np.ndarray,
    most: float,
    tolerance: float,
    seed: int,
    effort: float = 1.0,
    start: np.ndarray | None = None,
    deadline: float = np.inf,
    offers: int = OFFERS,
) -> np.ndarray | None:
    """Return the offers (the problem's indices) of a piece's own users in a good plan, or `None` where limits were broken.

    Only offers whose flip loses at most `most` change, and at most so many `offers`. Begins with the plan `start` (the problem's offers) where it differs
    from the best choices in such offers only, else with the best choices. Stops within `tolerance` (currency) of the
    bound at `prices`, when the `effort` is spent or at the `deadline` (`working_time`). The sums are not exact: the caller checks the limits.
    """
    _, used, choices = piece.exact(prices)
    pool = pool_of(piece, prices, choices.picked, most, start, offers)
    if pool is None:
        return None
    for watched in (_within_reach(piece, prices, used, pool), np.ones(prices.size, dtype=bool)):
        current = _search(table_of(piece, prices, used, pool, watched, tolerance, seed), effort, deadline)
        if current is None:
            return None
        left = used + pool.du[current[current >= 0]].sum(axis=0)
        if ((left <= piece.folding.at_most) & (left >= piece.folding.at_least))[~watched].all():
            return piece.shard.originals(pool.plan(current))
    return None


def _within_reach(piece: Piece, prices: np.ndarray, used: np.ndarray, pool: Pool) -> np.ndarray:
    """Return which limits a plan near the prices may come to break: the others are looked at when it is found."""
    reach = WATCHED * np.abs(pool.du).max(axis=0)
    left = np.minimum(piece.folding.at_most - used, used - piece.folding.at_least)
    near: np.ndarray = (prices != 0) | (left < reach)
    return near


def _search(table: Table, effort: float, deadline: float) -> np.ndarray | None:
    """Return the choice of each of the pool's users in the best plan found."""
    pool, tolerance, kinds = table.pool, table.tolerance, int(table.covers.any(axis=1).sum())
    evaluations = int(effort * EVALUATIONS * min(1.0, FEW_LIMITS / max(1, table.prices.size)))
    with stopped_at(deadline, table.stop):
        current, gap = table.exchange(pool.start(), min(SWEPT[0], pool.owner.size), FIRST_EVALUATIONS)
        if gap > tolerance > 0 and _is_close(table):
            quick = fitted(table, current, QUICK_GAP * tolerance, QUICK_EFFORT, QUICK_SETS)
            if quick is not None and quick[1] <= tolerance:
                return quick[0]
        for width in SWEPT if gap > tolerance else ():
            found, reached = table.exchange(current, min(width, pool.owner.size), evaluations)
            if reached < gap:
                current, gap = found, reached
            if gap > tolerance and np.isfinite(gap) and kinds == 1:
                current, gap = fitted(table, current, gap, SHORT_EFFORT * effort, SHORT_SETS) or (current, gap)
            if gap <= tolerance or width >= pool.owner.size or table.stop[0]:
                break
        if gap > tolerance and np.isfinite(gap) and kinds > 1:
            better = fitted(table, current, gap, effort)
            current, gap = better or aimed(table, current, gap, int(effort * AIMS))
    return current if np.isfinite(gap) else None


def _is_close(table: Table) -> bool:
    """Tell whether a few changes of everyone's best choice could use all limits up."""
    priced = table.prices != 0
    size, uses = np.abs(table.du[:, priced]), table.du[:, priced] != 0
    left = np.abs(np.where(table.prices > 0, table.above, table.below)[priced])
    moved = size.sum(axis=0) > 0
    return bool((left * uses.sum(axis=0))[moved] @ (1.0 / size.sum(axis=0)[moved]) <= NEARLY)
