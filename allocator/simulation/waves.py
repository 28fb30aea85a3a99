"""Campaigns over time: waves that share a budget. Plan, observe, refit, replan, on markets whose truth is known.

A wave is a period of a market, 28 days unless told otherwise. In each, some users turn up; only they can be given a coupon, and who turns
up later is known as a forecast only. Past coupons make users wearier, and no user gets more than `cap` in `window` waves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa

from allocator.errors import UsageError
from allocator.limit import Limit
from allocator.plan import Plan
from allocator.problem import Problem
from allocator.progress import Progress, silent
from allocator.simulation.beliefs import Beliefs, Told, logged
from allocator.simulation.market import NOTHING, Market
from allocator.simulation.pacing import Allowance, Outlook, Pacing
from allocator.simulation.settings import PERIOD_DAYS, Settings

BUDGET_SHARE = 0.25  # of what the best offers of all who ever turn up would cost, where no budget is given
LEAST_BUDGET = 0.01  # currency; a wave with less issues nothing


@dataclass(frozen=True)
class Campaign:
    """A campaign of several waves.

    Attributes
    ----------
    users, settings
        Of the market.
    waves
        How many.
    days
        Of each wave.
    budget
        Expected spend of all waves, currency; `None`: a quarter of what the best offers of all who turn up would cost.
    cap, window
        A user gets at most `cap` coupons in any `window` waves in a row; `window=None`: in the whole campaign.
    explore
        Share of those who can get a coupon for whom lots are drawn instead: every coupon, and none, is as likely.
    most_a_wave
        Coupons that a wave may issue; `None`: no limit.
    observe
        Whether what is left is the budget less what was really spent, or less what the offers were expected to cost.
    uneven, surprise
        Standard deviation of the log of how busy waves are: what the planner foresees, and what nobody does.
    time_limit
        Seconds for each plan.
    """

    users: int = 20_000
    waves: int = 8
    budget: float | None = None
    cap: int = 1
    window: int | None = None
    explore: float = 0.0
    most_a_wave: int | None = None
    observe: bool = True
    uneven: float = 0.5
    surprise: float = 0.2
    settings: Settings = field(default_factory=Settings)
    time_limit: float = 60.0
    days: int = PERIOD_DAYS

    def __post_init__(self) -> None:
        """Raise `UsageError` for a number that makes no campaign."""
        for name in ("users", "waves", "days", "cap", "window", "most_a_wave"):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise UsageError(f"{name} is {number}; it must be 1 at least")
        if not 0.0 <= self.explore < 1.0:
            raise UsageError(f"explore is {self.explore:g}; it must be 0 or more and below 1, such as 0.05")
        if self.budget is not None and not (math.isfinite(self.budget) and self.budget > 0):
            raise UsageError(f"budget is {self.budget:g}; it must be above 0")
        for name in ("uneven", "surprise"):
            if not 0.0 <= getattr(self, name) <= 2.0:
                raise UsageError(f"{name} is {getattr(self, name):g}; it must be 0 to 2")


@dataclass(frozen=True, eq=False)
class Stage:
    """A market, who turns up in each wave, and what is foreseen of that: the same for all that are compared.

    Attributes
    ----------
    came
        `(waves, n_users)` bool.
    foreseen
        `(waves, n_users)` float64: the chance of it, before any wave.
    """

    campaign: Campaign
    market: Market
    came: np.ndarray
    foreseen: np.ndarray
    seed: int

    @classmethod
    def draw(cls, campaign: Campaign, seed: int) -> Stage:
        """Draw a market and its arrivals; who came often in the history comes often."""
        market = Market.draw(campaign.users, seed, settings=campaign.settings).in_waves(campaign.days)
        rng = np.random.default_rng([seed, 701])
        often = (market.seen_now[:, 0] + 0.5) / (market.settings.periods + 1) * campaign.days / PERIOD_DAYS
        calendar = np.exp(campaign.uneven * rng.standard_normal(campaign.waves) - 0.5 * campaign.uneven**2)
        luck = np.exp(campaign.surprise * rng.standard_normal(campaign.waves) - 0.5 * campaign.surprise**2)
        foreseen = -np.expm1(-calendar[:, None] * often)
        chance = -np.expm1(-(calendar * luck)[:, None] * often)
        return cls(campaign, market, rng.random(chance.shape) < chance, foreseen, seed)

    @cached_property
    def budget(self) -> float:
        """Currency: the campaign's, or what it is by default."""
        if self.campaign.budget is not None:
            return self.campaign.budget
        truth, rows = self.market.truth, np.flatnonzero(self.came.any(axis=0))
        best = truth.value[rows].argmax(axis=1)
        earning = truth.value[rows, best] > 0
        return max(1.0, BUDGET_SHARE * float(truth.cost[rows, best][earning].sum()))

    @property
    def window(self) -> int:
        """Waves in which the cap holds."""
        return min(self.campaign.window or self.campaign.waves, self.campaign.waves)


@dataclass(frozen=True)
class Wave:
    """What happened in a wave; money in currency.

    Attributes
    ----------
    came, eligible
        Users who turned up, and those of them who could get a coupon.
    price
        Of the budget; NaN where the pacing knows none.
    allowed, expected
        What the wave might spend in expectation, and what its offers were believed to cost, lots included.
    issued, explored
        Offers, and users for whom lots were drawn.
    earned, cost
        True expected value and cost of what was issued.
    spent
        What was really spent: discounts of redeemed coupons and contacts.
    """

    came: int
    eligible: int
    price: float
    allowed: float
    expected: float
    issued: int
    explored: int
    earned: float
    cost: float
    spent: float


@dataclass(frozen=True, eq=False)
class Run:
    """A whole campaign; `logs` has a table a wave, of every user whose coupon lots could have decided."""

    waves: tuple[Wave, ...]
    logs: tuple[pa.Table, ...]
    budget: float

    def total(self, name: str) -> float:
        """Return the sum of a number over the waves."""
        return float(sum(getattr(wave, name) for wave in self.waves))


def run(stage: Stage, pacing: Pacing, beliefs: Beliefs | None = None, *, progress: Progress = silent) -> Run:
    """Run a campaign: in each wave estimate, plan, issue, observe what was redeemed, and go on with what is left.

    The expected spend of a wave never exceeds the budget less what was really spent before, lots included. So the
    spend of the whole is expected to keep the budget (as far as costs are believed rightly), and what can exceed it in
    fact is the luck of the last waves alone.
    """
    beliefs = Told() if beliefs is None else beliefs
    campaign, market = stage.campaign, stage.market
    given = np.zeros((campaign.waves, market.n_users), np.int16)
    rng = np.random.default_rng([stage.seed, 702])
    waves: list[Wave] = []
    logs: list[pa.Table] = []
    rest = stage.budget
    for now in range(campaign.waves):
        progress("waves", now / campaign.waves)
        value, cost = beliefs.estimate(market, logs, stage.seed)
        room = campaign.cap - given[max(0, now - stage.window + 1) : now].sum(axis=0)
        eligible = stage.came[now] & (room > 0)
        later = _later(stage, now, room, eligible)
        outlook = Outlook(
            stage.budget,
            max(rest, 0.0),
            campaign.waves,
            campaign.waves - now,
            value,
            cost,
            eligible.astype(float),
            later,
        )
        allowed = pacing.allow(outlook)
        share = _explored(campaign.explore, cost[eligible], allowed.amount)
        planned = _plan(campaign, value, cost, np.flatnonzero(eligible), allowed.amount, share)
        arm, lots = _draw(planned, eligible, share, cost.shape[1], rng)
        outcomes = market.outcomes(arm)
        spent = float(outcomes.discount.sum() + market.settings.contact_cost * (arm >= 0).sum())
        came, explored = int(stage.came[now].sum()), int(lots.sum())
        wave = _told(market, arm, cost, eligible, planned, share, spent, came, explored, allowed)
        waves.append(wave)
        logs.append(logged(market, np.flatnonzero(eligible), arm, planned, share, outcomes))
        rest -= spent if campaign.observe else wave.expected
        given[now] = arm >= 0
        market = market.after(arm, outcomes)
    return Run(tuple(waves), tuple(logs), stage.budget)


def hindsight(stage: Stage) -> float:
    """Return what the campaign would truly earn if all arrivals and all effects had been known, currency.

    One plan over all waves at once: every arrival's offers as they are for a user without coupons of this campaign. With
    a cap of 1 in the whole campaign that is exact; with more it leaves out that users tire, and a window shorter than
    the campaign counts as `cap` times as many windows as begin in it: a number above what can be earned.
    """
    campaign, market = stage.campaign, stage.market
    nobody = np.full(market.n_users, NOTHING)
    n_coupons = len(market.coupons)
    rows = np.flatnonzero(stage.came.any(axis=0))
    value = np.full((rows.size, campaign.waves, n_coupons), np.nan)
    cost = np.zeros(value.shape)
    for now in range(campaign.waves):
        came = stage.came[now, rows]
        value[came, now], cost[came, now] = market.truth.value[rows[came]], market.truth.cost[rows[came]]
        market = market.after(nobody, market.outcomes(nobody))
    names = [[f"{wave}:{k}" for k in range(n_coupons)] for wave in range(campaign.waves)]
    limits = (
        []
        if campaign.most_a_wave is None
        else [Limit(f"wave {wave}", "count", at_most=campaign.most_a_wave, coupons=of) for wave, of in enumerate(names)]
    )
    from allocator.solving import solve

    problem = Problem.from_arrays(
        value.reshape(rows.size, -1),
        cost.reshape(rows.size, -1),
        budget=stage.budget,
        limits=limits,
        max_per_user=campaign.cap * -(-campaign.waves // stage.window),
        exclusive=names,
        coupons=[name for of in names for name in of],
    )
    return solve(problem, time_limit=campaign.time_limit, gap=1e-6).objective


def _later(stage: Stage, now: int, room: np.ndarray, eligible: np.ndarray) -> np.ndarray:
    """Return how many offers each user can be expected to be there for, and be allowed, after this wave."""
    ahead = stage.foreseen[now + 1 :]
    if not len(ahead):
        return np.zeros(room.size)
    # What turned up so far, against what was foreseen, says how busy the rest will be; the prior is worth one wave.
    seen, expected = stage.came[: now + 1].sum(), stage.foreseen[: now + 1].sum()
    level = (seen + ahead[0].sum()) / (expected + ahead[0].sum())
    there = (level * ahead).clip(max=1.0)
    windows = -(-stage.campaign.waves // stage.window) - now // stage.window
    allowed = np.maximum(room, 0) + stage.campaign.cap * (windows - 1)
    return np.minimum(_at_most(there, stage.campaign.cap, stage.window), np.maximum(allowed - eligible, 0))


def _at_most(there: np.ndarray, cap: int, window: int) -> np.ndarray:
    """Return the offers that users who come with chances `there` `(waves, n)` can get; exact for a cap of 1 in all waves."""
    parts = [there[low : low + window] for low in range(0, len(there), window)]
    if cap == 1:
        return sum((1.0 - np.prod(1.0 - part, axis=0) for part in parts), np.zeros(there.shape[1]))
    return sum((np.minimum(part.sum(axis=0), cap) for part in parts), np.zeros(there.shape[1]))


def _explored(share: float, cost: np.ndarray, amount: float) -> float:
    """Return the share for whom lots are drawn: less than asked for where lots alone would cost more than is there."""
    each = float(cost.sum() / (cost.shape[1] + 1)) if cost.size else 0.0
    return min(share, amount / each) if each > 0 else share


def _plan(
    campaign: Campaign, value: np.ndarray, cost: np.ndarray, rows: np.ndarray, amount: float, share: float
) -> np.ndarray:
    """Return `(n_users,)` the coupon that each user gets where lots do not decide."""
    from allocator.solving import solve

    planned = np.full(len(value), NOTHING)
    lots = share * float(cost[rows].sum()) / (cost.shape[1] + 1)
    # Whom lots will take is open: the plan is for all, and counts for the share that it will be used for.
    budget = (amount - lots) / (1.0 - share) if share < 1.0 else 0.0
    if not rows.size or budget < LEAST_BUDGET:
        return planned
    limits = [] if campaign.most_a_wave is None else [_count(campaign.most_a_wave, rows.size, cost.shape[1], share)]
    problem = Problem.from_arrays(value[rows], cost[rows], budget=budget, limits=limits, max_per_user=1)
    plan: Plan = solve(problem, time_limit=campaign.time_limit, gap=1e-6).plan
    planned[rows[plan.user]] = plan.coupon
    return planned


def _count(most: int, users: int, coupons: int, share: float) -> Limit:
    """Return the limit on offers of a wave's plan, beside those that lots are expected to give."""
    by_lots = share * users * coupons / (coupons + 1)
    return Limit("most a wave", "count", at_most=max(0.0, math.floor((most - by_lots) / (1.0 - share))))


def _draw(
    planned: np.ndarray, eligible: np.ndarray, share: float, coupons: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw lots: return the coupon that each user gets, and for whom lots decided."""
    # The same users and lots whatever the plan, so that what is compared has the same luck.
    lots = (rng.random(planned.size) < share) & eligible
    by_lots = rng.integers(NOTHING, coupons, planned.size)
    return np.where(lots, by_lots, planned), lots


def _told(
    market: Market,
    arm: np.ndarray,
    cost: np.ndarray,
    eligible: np.ndarray,
    planned: np.ndarray,
    share: float,
    spent: float,
    came: int,
    explored: int,
    allowed: Allowance,
) -> Wave:
    got, want = np.flatnonzero(arm >= 0), np.flatnonzero(planned >= 0)
    lots = share * float(cost[eligible].sum()) / (cost.shape[1] + 1)
    truth = market.truth
    return Wave(
        came=came,
        eligible=int(eligible.sum()),
        price=allowed.price,
        allowed=allowed.amount,
        expected=lots + (1.0 - share) * float(cost[want, planned[want]].sum()),
        issued=got.size,
        explored=explored,
        earned=float(truth.value[got, arm[got]].sum()),
        cost=float(truth.cost[got, arm[got]].sum()),
        spent=spent,
    )
