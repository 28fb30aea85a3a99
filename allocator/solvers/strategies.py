"""Simpler strategies that a planner would use otherwise, each under the same limits and rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from allocator.executors.shard import Shard, whole
from allocator.kernels import strategies as kernels
from allocator.kernels.blocks import available_threads
from allocator.kernels.sums import exact_sum
from allocator.plan import Plan
from allocator.problem import Problem
from allocator.solvers.filling import ALL, Standing, owners
from allocator.solvers.folding import Folding, fold

TIERS = 5
BLOCKS = 64  # pieces of a ranking that are sorted only when their turn comes
BLOCK_USERS = 1 << 16
SAMPLE = 1 << 16


class Strategy(Protocol):
    """Ranks offers; they are then issued in that order as long as rules and limits allow."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    def turns(self, shard: Shard, standing: Standing) -> Iterator[tuple[np.ndarray, int]]:
        """Yield offer indices of the shard, the first to be issued first, and how many a user may hold by then.

        What was yielded before has been issued, where it fits, when the next is asked for; `standing` tells.
        """
        ...


@dataclass(frozen=True)
class Blanket:
    """Everyone eligible gets the cheapest coupon, in the order of the users, until the budget ends.

    Where users may get more than one offer, everyone gets a first before anyone gets a second.
    """

    name: str = "blanket"

    def turns(self, shard: Shard, standing: Standing) -> Iterator[tuple[np.ndarray, int]]:
        """Yield offers by user, the cheapest first, once for each offer that a user may get."""
        widest = shard.width or int(np.diff(shard.start).max(initial=0))
        most = min(widest, int(shard.caps.max(initial=0)) if shard.caps.size else shard.cap)
        for cap in range(1, most + 1):
            for low in range(0, shard.n_users, BLOCK_USERS):
                high = min(low + BLOCK_USERS, shard.n_users)
                room = (high - low) * shard.width if shard.width else int(shard.start[high] - shard.start[low])
                order = np.empty(room, shard.index_type)
                n = kernels.cheapest_first(shard.start, shard.width, shard.value, shard.cost, low, high, order)
                yield order[:n], cap


@dataclass(frozen=True)
class Targeted:
    """Highest value first."""

    name: str = "targeted"

    def turns(self, shard: Shard, standing: Standing) -> Iterator[tuple[np.ndarray, int]]:
        """Yield offers of positive value, the most valuable first."""
        return _best_first(shard, standing, by_cost=False)


@dataclass(frozen=True)
class Tiered:
    """Users ranked by their best value; the top tier is offered the richest of up to five coupons, and so on down."""

    name: str = "tiered"

    def turns(self, shard: Shard, standing: Standing) -> Iterator[tuple[np.ndarray, int]]:
        """Yield each user's offer of the tier's coupon, the best users first."""
        n_coupons = shard.exclusive.size
        best = np.empty(shard.n_users)
        kernels.best_values(shard.start, shard.width, shard.value, best)
        count, spend = np.zeros(n_coupons), np.zeros(n_coupons)
        kernels.offers_by_coupon(shard.coupon, shard.value, shard.cost, count, spend)
        # The coupons that most users could use, the richest first.
        common = np.argsort(-count, kind="stable")[: min(TIERS, int((count > 0).sum()))]
        common = common[np.argsort(-(spend / np.maximum(count, 1))[common], kind="stable")]
        ranked = np.flatnonzero(best > 0)
        ranked = ranked[np.argsort(-best[ranked], kind="stable")]
        for tier, coupon in enumerate(common.tolist()):
            low, high = (ranked.size * place // common.size for place in (tier, tier + 1))
            order = np.empty(high - low, shard.index_type)
            n = kernels.offers_of_coupon(
                shard.start, shard.width, shard.coupon, shard.value, ranked[low:high], coupon, order
            )
            yield order[:n], ALL


@dataclass(frozen=True)
class Greedy:
    """Highest value per cost first."""

    name: str = "greedy"

    def turns(self, shard: Shard, standing: Standing) -> Iterator[tuple[np.ndarray, int]]:
        """Yield offers of positive value, the highest ratio first."""
        return _best_first(shard, standing, by_cost=True)


STRATEGIES: tuple[Strategy, ...] = (Blanket(), Targeted(), Tiered(), Greedy())


@dataclass(frozen=True, eq=False)
class StrategyResult:
    """What a simple strategy earns and spends, currency; `unmet` names the limits that it failed."""

    name: str
    objective: float
    spend: float
    issued: int
    unmet: tuple[str, ...]
    problem: Problem
    offer: np.ndarray

    @property
    def plan(self) -> Plan:
        """The offers that it issues."""
        return Plan.of(self.problem, self.offer)

    @property
    def meets_limits(self) -> bool:
        """Whether every limit is kept."""
        return not self.unmet


def compare(
    problem: Problem, strategies: Sequence[Strategy] = STRATEGIES, threads: int | None = None
) -> list[StrategyResult]:
    """Run each strategy. None adds an offer that breaks a rule or an at-most limit; at-least limits come first."""
    folding = fold(problem)
    shard = whole(problem, folding.columns)
    owner = owners(shard)
    floors = _least_uses(folding, shard)
    with ThreadPoolExecutor(min(threads or available_threads(), 2)) as pool:  # each needs memory of its own
        return list(pool.map(lambda strategy: _run(problem, folding, shard, owner, floors, strategy), strategies))


def _best_first(shard: Shard, standing: Standing, *, by_cost: bool) -> Iterator[tuple[np.ndarray, int]]:
    """Yield offers of positive value by falling value, or value per cost, equals in the order of the offers.

    A sample cuts the ranking into blocks. Each is sorted when its turn comes, without the offers of users who have all
    that they may get by then: a budget often ends long before the ranking does.
    """
    value, cost = shard.value, shard.cost
    some = slice(None, None, max(1, value.size // SAMPLE))
    few = value[some] / np.maximum(cost[some], kernels.TINY) if by_cost else value[some]
    few = np.sort(few[value[some] > 0])
    edges = np.unique(few[np.arange(1, BLOCKS) * few.size // BLOCKS])[::-1].copy() if few.size else few
    block = np.empty(value.size, np.uint8)
    sizes = kernels.blocks_of(value, cost, by_cost, edges, block)
    ends = np.cumsum(sizes)
    grouped = np.empty(int(ends[-1]), shard.index_type)
    kernels.by_block(block, ends - sizes, grouped)
    del block
    for size, end in zip(sizes.tolist(), ends.tolist(), strict=True):
        kept, keys = np.empty(size, grouped.dtype), np.empty(size)
        n = kernels.still_open(
            grouped[end - size : end],
            standing.owner,
            shard.width,
            value,
            cost,
            shard.extra,
            ALL if shard.caps.size else shard.cap,
            shard.caps,
            standing.count,
            standing.growing,
            standing.folding.weights,
            standing.used,
            standing.folding.at_most,
            by_cost,
            kept,
            keys,
        )
        yield kept[:n][np.argsort(-keys[:n], kind="stable")], ALL


def _least_uses(folding: Folding, shard: Shard) -> np.ndarray:
    """Return the smallest number that an offer has on each limit that covers all offers, -inf for others."""
    least = np.full(folding.n_limits, -np.inf)
    covered = np.diff(folding.wide_coupons.indptr)
    for position, r in enumerate(folding.wide.tolist()):
        if covered[position] < shard.exclusive.size or np.isinf(folding.at_most[r]):
            continue
        low = np.inf
        weights = folding.weights[r]
        for begin in range(0, shard.n_offers, SAMPLE):
            some = slice(begin, begin + SAMPLE)
            columns = (shard.value[some], shard.cost[some], *shard.extra[:, some])
            used = sum((w * column for w, column in zip(weights[:-1], columns, strict=True) if w), weights[-1])
            present = ~np.isnan(shard.value[some])
            low = min(low, float(np.min(np.broadcast_to(used, present.shape), where=present, initial=np.inf)))
        least[r] = low * (1.0 - 1e-12) if np.isfinite(low) else -np.inf
    return least


def _run(
    problem: Problem, folding: Folding, shard: Shard, owner: np.ndarray, least: np.ndarray, strategy: Strategy
) -> StrategyResult:
    standing = Standing.of(folding, shard, owner, least)
    for needed_only in (True, False) if (folding.at_least > 0).any() else (False,):
        for order, cap in strategy.turns(shard, standing):
            if not standing.take(order, cap, needed_only=needed_only):
                break
    offer = np.sort(np.concatenate([np.flatnonzero(standing.taken), problem.required]))
    value, cost = problem.column("value", offer), problem.column("cost", offer)
    return StrategyResult(
        strategy.name,
        exact_sum(value),
        exact_sum(cost),
        offer.size,
        _unmet(problem, folding, standing.used, offer),
        problem,
        offer,
    )


def _unmet(problem: Problem, folding: Folding, used: np.ndarray, offer: np.ndarray) -> tuple[str, ...]:
    """Name the limits that these offers fail; summed anew only where the running sum is too near to tell.

    An at-most limit can fail only where issuing nothing beyond the required offers fails it already.
    """
    names = []
    for r, limit in enumerate(problem.limits):
        sides = [(limit.at_least, folding.at_least[r], 1.0), (limit.at_most, folding.at_most[r], -1.0)]
        for number, left, sign in sides:
            if number is None:
                continue
            room = sign * (used[r, 0] + used[r, 1] - left)
            if abs(room) <= 1e-9 * (used[r, 2] + abs(number) + abs(left)):
                room = sign * (exact_sum(problem.measure(r, offer)) - number)
            if room < 0:
                names.append(limit.name)
    return tuple(names)
