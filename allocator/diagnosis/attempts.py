"""Real plans under some of the limits: does one exist, and how far can one go towards another limit?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from allocator.clock import working_time
from allocator.diagnosis.mixtures import GOLDEN, Mixture, Pool
from allocator.diagnosis.sides import UNIT, Side, aiming_at, counts_offers, keeping, sides_of
from allocator.executors.local import Tables
from allocator.executors.shard import whole
from allocator.problem import Problem
from allocator.solvers import candidates, core
from allocator.solvers.folding import fold
from allocator.solvers.piece import Piece

NEAR = 2_000  # users that the integer core starts from
SMALL_OFFERS = 20_000  # below this the core starts from everyone
SAMPLE = 20_000  # users by whom the loss that the nearest ones lie below is guessed
CLOSE = 0.01  # share of a repair's unit that bound and mixture may lie apart, and that counts as no loss
ENOUGH = 1e12  # a gap that any plan is within


@dataclass(frozen=True, eq=False)
class Attempt:
    """A plan under some sides that goes as far towards a goal as one was found to.

    Attributes
    ----------
    offers
        The plan: the problem's offer indices; `None` where none was found.
    number
        The exact sum of the goal's measure over the plan.
    bound
        No plan under these sides goes beyond it, in the goal's measure.
    infeasible
        Proven: no plan keeps the sides.
    """

    offers: np.ndarray | None
    number: float
    bound: float
    infeasible: bool


@dataclass(frozen=True, eq=False)
class Workshop:
    """What every attempt at one problem shares."""

    problem: Problem
    pool: Pool
    seed: int

    def attempt(self, sides: Sequence[Side], goal: Side | None, deadline: float) -> Attempt:
        """Look for a plan under `sides` that goes furthest to keep `goal`; with no goal, for any plan."""
        unit = ENOUGH if goal is None else 0.9 if counts_offers(self.problem, goal) else 0.1 * UNIT
        mixture = self.pool.search(sides, goal, deadline, close=CLOSE * unit)
        if mixture.ray is not None:
            return Attempt(None, math.nan, math.nan, infeasible=True)
        aimed = aiming_at(self.problem, goal, sides)
        folding = fold(aimed)
        everyone = Piece(whole(aimed, folding.columns), folding, self.pool.piece.executor, 0.0, ())
        near = everyone
        if everyone.shard.n_offers > SMALL_OFFERS:
            near = self._near(aimed, everyone, mixture, goal, CLOSE * unit)
        positions = sorted({side.limit for side in sides})
        bound = mixture.bound + candidates.required_value(aimed)
        found = core.search(
            aimed,
            everyone,
            near,
            mixture.prices[positions],
            bound,
            tolerance=unit,
            deadline=deadline,
            seed=self.seed,
        )
        if found.offers is None:
            return Attempt(None, math.nan, math.nan, found.infeasible)
        sign = 1.0 if goal is None else -goal.sign
        return Attempt(np.sort(found.offers), sign * found.objective, sign * min(bound, found.bound), infeasible=False)

    def _near(self, aimed: Problem, everyone: Piece, mixture: Mixture, goal: Side | None, nothing: float) -> Piece:
        """Return the piece of users near indifference, all others fixed as in the mixture.

        Where many offers are alike, as they are to a limit that counts them, the users' best choices at any prices lean
        one way together; the mixture splits them as the limits need it, but for a few.
        """
        shard, folding = everyone.shard, everyone.folding
        prices = mixture.prices.copy()
        if goal is not None:
            prices[goal.limit] += goal.sign
        fixed = self.pool.mixed(mixture.shares)
        near = self._nearest(prices, nothing, _holders(aimed, everyone, fixed))
        fixed = fixed[~np.isin(shard.users_of(fixed), near)]
        used = _used(aimed, fixed)
        return Piece(
            shard=shard.take(near),
            folding=folding.with_bounds(folding.at_least - used, folding.at_most - used),
            executor=everyone.executor,
            value=float(aimed.column("value", fixed).sum()),
            picked=(fixed,),
        )

    def _nearest(self, prices: np.ndarray, nothing: float, first: np.ndarray) -> np.ndarray:
        """Return about `NEAR` users, sorted: half can flip at a loss of `nothing` at these prices, half at little.

        A flip at no loss may change nothing that counts (two coupons of one cost), so these alone will not do. Of the
        users who are equal, those in `first` come first, then some from all over.
        """
        piece = self.pool.piece
        tables = piece.folding.tables(prices, of_value=0.0)
        few = piece
        if piece.shard.n_users > SAMPLE:
            few = piece.sample(SAMPLE, np.random.default_rng(self.seed))
        _, least = _least_losses(few, tables, np.inf, nothing)
        place = int(min(1.0, NEAR / piece.shard.n_users) * (least.size - 1))
        most = max(nothing, float(np.partition(least, place)[place]))
        tied, least = _least_losses(piece, tables, most, nothing)
        order = np.lexsort(((np.arange(least.size) * GOLDEN) % 1.0, ~np.isin(np.arange(least.size), first)))
        some = order[np.argsort(least[order], kind="stable")]
        return np.unique(np.concatenate([order[tied[order]][: NEAR // 2], some[: NEAR // 2]]))


def _used(problem: Problem, offers: np.ndarray) -> np.ndarray:
    """Return what these offers use of each limit, `(n_limits,)`."""
    return np.array([problem.measure(r, offers).sum() for r in range(len(problem.limits))])


def _holders(aimed: Problem, everyone: Piece, offers: np.ndarray) -> np.ndarray:
    """Return the users of those of these offers that use a limit of which they use too much together."""
    over = np.flatnonzero(_used(aimed, offers) > everyone.folding.at_most)
    parts = [everyone.shard.users_of(offers[aimed.measure(r, offers) > 0]) for r in over.tolist()]
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def _least_losses(piece: Piece, tables: Tables, most: float, nothing: float) -> tuple[np.ndarray, np.ndarray]:
    """Return for each user whether a flip loses `nothing`, and the least that another loses (infinite: above `most`)."""
    offer, loss, _ = piece.executor.losses(piece.shard, tables, most)
    user = piece.shard.users_of(offer)
    tied, least = np.zeros(piece.shard.n_users, dtype=bool), np.full(piece.shard.n_users, np.inf)
    free = loss <= nothing
    tied[user[free]] = True
    np.minimum.at(least, user[~free], loss[~free])
    return tied, least


def keeps(problem: Problem, sides: Sequence[Side], offers: np.ndarray) -> bool:
    """Tell whether exact sums over these offers keep the sides."""
    return candidates.keeps_limits(keeping(problem, sides), offers)


def plan_on_the_edge(
    problem: Problem, piece: Piece, prices: np.ndarray, deadline: float, seed: int
) -> np.ndarray | None:
    """Look for a plan where the limits leave next to no room: the offers of one, or `None`.

    There a search for value finds none, but to go furthest towards the side that is hardest to keep may end beyond it.
    """
    workshop = Workshop(problem, Pool(piece), seed)
    sides = sides_of(problem)
    priced = sorted(
        (side for side in sides if side.sign * prices[side.limit] > 0),
        key=lambda side: -abs(prices[side.limit] * side.number(problem)),
    )
    for tried, goal in enumerate(priced):
        others = tuple(side for side in sides if side != goal)
        attempt = workshop.attempt(others, goal, share(deadline, len(priced) - tried))
        if attempt.offers is not None and candidates.keeps_limits(problem, attempt.offers):
            return attempt.offers
        if working_time() > deadline:
            break
    return None


def share(deadline: float, jobs: int) -> float:
    """Return the moment until which the next of so many jobs may run."""
    now = working_time()
    return now + max(0.0, deadline - now) / max(1, jobs)
