"""Strategies compared on markets whose truth is known: under the same limits and the same luck."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from allocator.campaign.reading import parse_campaign
from allocator.campaign.terms import Coupon
from allocator.errors import UsageError
from allocator.limit import Limit
from allocator.plan import Plan
from allocator.problem import Problem
from allocator.progress import Progress, silent
from allocator.simulation import estimates
from allocator.simulation.estimates import Estimate
from allocator.simulation.estimating import Estimator
from allocator.simulation.folder import campaign_text
from allocator.simulation.market import NOTHING, Market
from allocator.simulation.settings import Settings
from allocator.simulation.terms import DEFAULT_COUPONS

OURS, ORACLE, NONE = "ours, estimated effects", "ours, true effects", "none"


@dataclass(frozen=True, eq=False)
class Comparison:
    """What each strategy did on each market; money in currency.

    Attributes
    ----------
    strategies
        Their names, the best informed last.
    earned
        `(markets, strategies)` true expected incremental net revenue of the plans in the campaign's window.
    later
        The same with what is gained and lost in the 28 days after the window.
    spent, issued
        `(markets, strategies)` true expected spend, and offers.
    ran
        `(markets, runs, strategies)` what the plans earned over no coupons at all when they were run: in each run all
        strategies meet the same luck and the same shock.
    budget
        `(markets,)`.
    estimator
        Who made the estimates.
    """

    strategies: tuple[str, ...]
    earned: np.ndarray
    later: np.ndarray
    spent: np.ndarray
    issued: np.ndarray
    ran: np.ndarray
    budget: np.ndarray
    estimator: str

    def earns(self, strategy: str) -> Estimate:
        """Return what a strategy earns, with the 95 % interval over markets."""
        return estimates.mean(self.earned[:, self._place(strategy)])

    def difference(self, strategy: str, other: str = OURS) -> Estimate:
        """Return how much more `other` earns than `strategy`, market by market, with the 95 % interval over markets."""
        return estimates.mean(self.earned[:, self._place(other)] - self.earned[:, self._place(strategy)])

    def bad_case(self, strategy: str) -> float:
        """Return what a strategy earned at least in 19 of 20 runs, averaged over markets."""
        return float(np.quantile(self.ran[:, :, self._place(strategy)], 0.05, axis=1).mean())

    def document(self) -> dict[str, Any]:
        """Return the table as plain numbers, for JSON."""
        rows = []
        for place, name in enumerate(self.strategies):
            share = self.earned[:, place].sum() / self.earned[:, self._place(ORACLE)].sum()
            rows.append(
                {
                    "strategy": name,
                    "earns": _plain(self.earns(name)),
                    "earns_with_the_month_after": _plain(estimates.mean(self.later[:, place])),
                    "spends": float(self.spent[:, place].mean()),
                    "offers": float(self.issued[:, place].mean()),
                    "share_of_true_effects": float(share),
                    "ours_earns_more": _plain(self.difference(name)),
                    "earned_in_19_of_20_runs": self.bad_case(name),
                }
            )
        return {
            "schema_version": 1,
            "markets": len(self.earned),
            "runs": int(self.ran.shape[1]),
            "estimator": self.estimator,
            "budget": float(self.budget.mean()),
            "strategies": rows,
        }

    def _place(self, strategy: str) -> int:
        return self.strategies.index(strategy)


@dataclass(frozen=True, eq=False)
class _Row:
    """One market's part of a comparison: arrays over the strategies."""

    names: tuple[str, ...]
    earned: np.ndarray
    later: np.ndarray
    spent: np.ndarray
    issued: np.ndarray
    ran: np.ndarray
    budget: float


@dataclass(frozen=True)
class Contest:
    """What strategies compete on: markets that differ by their seed alone.

    Attributes
    ----------
    users
        Of each market.
    settings, coupons
        As `Market.draw` takes them.
    budget
        Currency; `None`: half of what everyone's best offer would truly cost.
    time_limit
        Seconds for each plan.
    """

    users: int = 20_000
    settings: Settings = field(default_factory=Settings)
    coupons: Sequence[Coupon] = DEFAULT_COUPONS
    budget: float | None = None
    time_limit: float = 600.0


def compare(
    contest: Contest,
    estimator: Estimator,
    *,
    markets: int = 5,
    runs: int = 40,
    seed: int = 0,
    progress: Progress = silent,
) -> Comparison:
    """Compare strategies on several markets.

    Every strategy sees the same estimates and keeps the same limits; only "ours, true effects" sees the truth. What a
    plan earns is the market's own expectation, so that no luck is in it; the intervals are over markets, each with
    users, a trial, a model and plans of its own. `none` issues nothing, by definition earns 0, and tells in `ran`
    whether the luck is paired.

    Parameters
    ----------
    estimator
        Such as `Learned()` or `logistic()` of `allocator.simulation.estimating`.
    runs
        Runs of each plan, for the bad cases.

    Raises
    ------
    UsageError
        Where fewer than 2 markets are asked for: there is no interval over one.
    """
    if markets < 2:
        raise UsageError(f"markets is {markets}; an interval over markets needs 2 at least")
    if runs < 1:
        raise UsageError(f"runs is {runs}; it must be 1 at least")
    rows = []
    for number in range(markets):
        progress("markets", number / markets)
        rows.append(_on_market(contest, estimator, runs, seed + number))

    def stacked(name: str) -> np.ndarray:
        return np.array([getattr(row, name) for row in rows])

    return Comparison(
        rows[0].names,
        stacked("earned"),
        stacked("later"),
        stacked("spent"),
        stacked("issued"),
        stacked("ran"),
        stacked("budget"),
        estimator.name,
    )


def _on_market(contest: Contest, estimator: Estimator, runs: int, seed: int) -> _Row:
    market = Market.draw(contest.users, seed, settings=contest.settings, coupons=contest.coupons)
    limits = parse_campaign(campaign_text(market)).limits(contest.budget)
    named = list(_plans(market, limits, estimator, contest.time_limit, seed))
    arms = [arm for _, arm in named]
    truth, rows = market.truth, np.arange(market.n_users)

    def total(each: np.ndarray) -> np.ndarray:
        return np.array([each[rows[arm >= 0], arm[arm >= 0]].sum() for arm in arms])

    ran = np.empty((runs, len(arms)))
    for run in range(runs):
        without = np.full(market.n_users, NOTHING)
        base = market.net_revenue(without, market.outcomes(without, run)).sum()
        ran[run] = [market.net_revenue(arm, market.outcomes(arm, run)).sum() - base for arm in arms]
    budget = next(limit.at_most for limit in limits if limit.name == "budget")
    assert budget is not None
    issued = np.array([np.count_nonzero(arm >= 0) for arm in arms])
    names = tuple(name for name, _ in named)
    return _Row(names, total(truth.value), total(truth.value_later), total(truth.cost), issued, ran, budget)


def _plans(
    market: Market, limits: Sequence[Limit], estimator: Estimator, time_limit: float, seed: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each strategy's name and the coupon that it gives each user (-1: none)."""
    from allocator.solvers.strategies import compare as simple
    from allocator.solving import solve

    def problem(value: np.ndarray, cost: np.ndarray) -> Problem:
        face = [np.nan if coupon.face_value is None else coupon.face_value for coupon in market.coupons]
        return Problem.from_arrays(value, cost, limits=limits, coupons=market.coupon_ids, face_value=face)

    believed = problem(*estimator.estimate(market, seed))
    yield NONE, np.full(market.n_users, NOTHING)
    for result in simple(believed):
        yield result.name, _arm(market, result.plan)
    yield OURS, _arm(market, solve(believed, time_limit=time_limit).plan)
    yield ORACLE, _arm(market, solve(problem(market.truth.value, market.truth.cost), time_limit=time_limit).plan)


def _arm(market: Market, plan: Plan) -> np.ndarray:
    arm = np.full(market.n_users, NOTHING)
    arm[plan.user] = plan.coupon
    return arm


def _plain(estimate: Estimate) -> dict[str, float]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}
