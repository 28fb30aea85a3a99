"""Simpler strategies that a planner would use otherwise, each under the same limits and rules."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from allocator.executors.shard import Shard, whole
from allocator.kernels.strategies import take_in_order
from allocator.plan import Plan
from allocator.problem import Problem
from allocator.solvers.folding import fold

TIERS = 5


class Strategy(Protocol):
    """Ranks offers; they are then issued in that order as long as rules and limits allow."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    def order(self, shard: Shard) -> np.ndarray:
        """Return offer indices of the shard, the first to be issued first."""
        ...


@dataclass(frozen=True)
class Blanket:
    """Everyone eligible gets the cheapest coupon, in the order of the users, until the budget ends."""

    name: str = "blanket"

    def order(self, shard: Shard) -> np.ndarray:
        """Return offers by user, the cheapest first."""
        present = np.flatnonzero(~np.isnan(shard.value))
        return present[np.lexsort((shard.cost[present], shard.users_of(present)))]


@dataclass(frozen=True)
class Targeted:
    """Highest value first."""

    name: str = "targeted"

    def order(self, shard: Shard) -> np.ndarray:
        """Return offers of positive value, the most valuable first."""
        worth = np.flatnonzero(shard.value > 0)
        return worth[np.argsort(-shard.value[worth], kind="stable")]


@dataclass(frozen=True)
class Tiered:
    """Users ranked by their best value; the top tier is offered the richest of up to five coupons, and so on down."""

    name: str = "tiered"

    def order(self, shard: Shard) -> np.ndarray:
        """Return each user's offer of the tier's coupon, the best users first."""
        worth = np.flatnonzero(shard.value > 0)
        coupon, user = shard.coupons_of(worth), shard.users_of(worth)
        best = np.zeros(shard.n_users)
        np.maximum.at(best, user, shard.value[worth])
        count = np.bincount(coupon)
        mean = np.bincount(coupon, shard.cost[worth]) / np.maximum(count, 1)
        # The coupons that most users could use, the richest first.
        common = np.argsort(-count, kind="stable")[:TIERS]
        common = common[np.argsort(-mean[common], kind="stable")]
        rank = np.empty(shard.n_users, np.int64)
        rank[np.argsort(-best, kind="stable")] = np.arange(shard.n_users)
        tier = rank * common.size // max(1, shard.n_users)
        mine = worth[common[tier[user]] == coupon]
        return mine[np.argsort(rank[shard.users_of(mine)], kind="stable")]


@dataclass(frozen=True)
class Greedy:
    """Highest value per cost first."""

    name: str = "greedy"

    def order(self, shard: Shard) -> np.ndarray:
        """Return offers of positive value, the highest ratio first."""
        worth = np.flatnonzero(shard.value > 0)
        ratio = shard.value[worth] / np.maximum(shard.cost[worth], 1e-12)
        return worth[np.argsort(-ratio, kind="stable")]


STRATEGIES: tuple[Strategy, ...] = (Blanket(), Targeted(), Tiered(), Greedy())


@dataclass(frozen=True, eq=False)
class StrategyResult:
    """What a simple strategy earns; `unmet` names the at-least limits that it failed."""

    name: str
    objective: float
    spend: float
    issued: int
    unmet: tuple[str, ...]
    plan: Plan

    @property
    def meets_limits(self) -> bool:
        """Whether every limit is kept."""
        return not self.unmet


def compare(problem: Problem, strategies: Sequence[Strategy] = STRATEGIES) -> list[StrategyResult]:
    """Run each strategy. At-most limits and local rules always hold; at-least limits are served first."""
    folding = fold(problem)
    shard = whole(problem, folding.columns)
    return [_run(problem, folding, shard, strategy) for strategy in strategies]


def _run(problem: Problem, folding, shard: Shard, strategy: Strategy) -> StrategyResult:  # type: ignore[no-untyped-def]
    cover = folding.cover()
    order = strategy.order(shard)
    owner = shard.users_of(order)
    taken = np.zeros(shard.n_offers, np.bool_)
    caps = shard.caps if shard.caps.size else np.full(shard.n_users, shard.cap, np.int32)
    n_groups = int(shard.exclusive.max(initial=-1)) + 1
    # Counts are exact; other running sums stay a hair below the limit, so that the exact sum does too.
    exact = (folding.weights[:, :-1] == 0).all(axis=1) & (folding.weights[:, -1] == np.round(folding.weights[:, -1]))
    room = np.where(exact, 0.0, 1e-9)
    at_most = folding.at_most - room * np.abs(np.where(np.isinf(folding.at_most), 0.0, folding.at_most))
    at_least = folding.at_least + room * np.abs(np.where(np.isinf(folding.at_least), 0.0, folding.at_least))
    used, count = np.zeros(folding.n_limits), np.zeros(shard.n_users, np.int32)
    held = np.zeros(shard.n_users * n_groups, np.bool_)
    for needed_only in (True, False) if (at_least > 0).any() else (False,):
        take_in_order(
            order, shard.width, shard.coupon, owner, shard.value, shard.cost, shard.extra, shard.group, caps,
            shard.exclusive, cover.weights, cover.wide_start, cover.wide_limit, cover.pair_start, cover.pair_limit,
            folding.class_of, cover.n_classes, used, at_least, at_most, count, held, n_groups, taken, needed_only,
        )  # fmt: skip
    plan = Plan.of(problem, np.concatenate([np.flatnonzero(taken), problem.required]))
    unmet = tuple(
        limit.name
        for r, limit in enumerate(problem.limits)
        if limit.at_least is not None and math.fsum(problem.measure(r, plan.offer)) < limit.at_least
    )
    return StrategyResult(strategy.name, math.fsum(plan.value), math.fsum(plan.cost), len(plan), unmet, plan)
