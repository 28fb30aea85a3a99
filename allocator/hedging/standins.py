"""Problems in which a linear limit stands in for one that must hold with a probability."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from allocator.chance import Chance
from allocator.kernels.sums import exact_sum
from allocator.limit import Limit
from allocator.plan import Plan
from allocator.problem import Problem
from allocator.risk import SpendDistribution, SpendParts, spend_parts
from allocator.risk.surrogate import ROUNDING, Box, Stand, Surrogate

# No column of a file is likely to be called so.
MEAN, GROWING, VARIANCE, WORST = "[spend]", "[redeemed]", "[variance]", "[worst]"

ROOM = 1e-9  # relative: no rounding may leave a plan outside the largest box


@dataclass(frozen=True, eq=False)
class StandIns:
    """A problem without its chance limit, and what stand-ins for that are made of.

    Attributes
    ----------
    plain
        The problem without the chance limit, with the columns that stand-ins measure.
    at
        Position of the limit that must hold with a probability.
    budget
        Its number, currency.
    largest
        Every plan that keeps it lies in this box.
    """

    plain: Problem
    chance: Chance
    surrogate: Surrogate
    at: int
    budget: float
    largest: Box
    parts: SpendParts

    @classmethod
    def of(cls, problem: Problem) -> StandIns:
        """Make the columns; raises `UsageError` where what an offer may spend is not known."""
        chance = problem.chance
        assert chance is not None
        surrogate, parts = Surrogate.of(chance), spend_parts(problem)
        at = problem.limit_index(chance.limit)
        budget = problem.limits[at].at_most
        assert budget is not None
        mean, growing, variance = surrogate.columns(parts, problem.offers.value, budget)
        columns = {**problem.offers.columns, MEAN: mean, GROWING: growing, VARIANCE: variance}
        columns[WORST] = parts.fixed + parts.amount
        plain = dataclasses.replace(problem, chance=None, offers=dataclasses.replace(problem.offers, columns=columns))
        # H >= S_a D, and fixed spend is never negative; V of an offer is so many times D at most.
        most = budget / surrogate.level * (1.0 + ROOM)
        ratio = np.divide(variance, growing, out=np.zeros(variance.shape), where=growing > 0)
        box = Box((0.0, most), (0.0, float(ratio.max()) * most))
        return cls(plain, chance, surrogate, at, budget, box, parts)

    @cached_property
    def loosest(self) -> Stand:
        """A linear function that is below H everywhere."""
        return Stand(-ROUNDING * self.largest.growing[1], self.surrogate.level, 0.0)

    def with_stand(self, stand: Stand, budget: float, box: Box | None = None) -> Problem:
        """Return the problem with the stand-in as a limit, and with `box` limits for the ranges of D and V."""
        name = self.chance.name
        measure = {MEAN: 1.0, GROWING: stand.per_growing - self.surrogate.level, VARIANCE: stand.per_variance}
        measure = {label: each for label, each in measure.items() if each}
        limits = [Limit(name, measure, at_most=budget - stand.offset)]
        if box is not None:
            limits += [
                Limit(f"{name}: {label}", measure=label, at_least=low, at_most=high)
                for label, (low, high) in ((GROWING, box.growing), (VARIANCE, box.variance))
            ]
        return self._with(limits)

    def with_sums(self) -> Problem:
        """Return the problem with a limit for each of the three sums that stand-ins measure, as wide as plans need."""
        name, box = self.chance.name, self.largest
        return self._with(
            [
                Limit(name, MEAN, at_most=self.budget),
                Limit(f"{name}: {GROWING}", GROWING, at_least=box.growing[0], at_most=box.growing[1]),
                Limit(f"{name}: {VARIANCE}", VARIANCE, at_least=box.variance[0], at_most=box.variance[1]),
            ]
        )

    def with_worst(self) -> Problem:
        """Return the problem in which even the worst case keeps the budget; what is sure needs no distribution."""
        return self._with([Limit(self.chance.name, WORST, at_most=self.budget)])

    def _with(self, limits: list[Limit]) -> Problem:
        """Return the problem with more limits, of the same coupons and users as the limit in question."""
        plain, copies = self.plain, [self.at] * len(limits)
        return dataclasses.replace(
            plain,
            limits=(*plain.limits, *limits),
            limit_coupons=np.concatenate([plain.limit_coupons, plain.limit_coupons[copies]]),
            limit_groups=np.concatenate([plain.limit_groups, plain.limit_groups[copies]]),
        )

    def covered(self, plan: Plan) -> np.ndarray:
        """Return the offers of a plan that the limit covers."""
        coupons = self.plain.limit_coupons[self.at][plan.problem.offers.coupons_of(plan.offer)]
        if self.plain.user_group is not None:
            coupons = (
                coupons
                & self.plain.limit_groups[self.at][self.plain.user_group[plan.problem.offers.users_of(plan.offer)]]
            )
        return plan.offer[coupons]

    def percentile(self, offers: np.ndarray) -> float:
        """Return what these offers' spend stays within, with the asked probability; currency.

        The larger of two: the surrogate's, which all bounds are about, and that of the exact moments; but never more
        than the worst case.
        """
        if not offers.size:
            return 0.0
        few = SpendParts(self.parts.fixed[offers], self.parts.amount[offers], self.parts.chance[offers])
        exact = SpendDistribution(few, self.chance.shock).percentile(self.chance.confidence)
        return min(max(exact, self.surrogate_percentile(offers)), exact_sum(self.plain.column(WORST, offers)))

    def surrogate_percentile(self, offers: np.ndarray) -> float:
        """Return the percentile of the surrogate, currency."""
        d, v = self.point(offers)
        mean = float(self.plain.column(MEAN, offers).sum())
        if self.surrogate.spread and d <= 0:
            return mean
        height = float(self.surrogate.height(np.array([d]), np.array([v]))[0])
        return mean - self.surrogate.level * d + height

    def most(self, growing: float, variance: float) -> np.ndarray:
        """Return the most A that plans with this D (above 0 where there is a shock) and V may have, with D and V."""
        height = float(self.surrogate.height(np.array([growing]), np.array([variance]))[0])
        return np.array([self.budget + self.surrogate.level * growing - height, growing, variance])

    def point(self, offers: np.ndarray) -> tuple[float, float]:
        """Return D and V of these offers."""
        return float(self.plain.column(GROWING, offers).sum()), float(self.plain.column(VARIANCE, offers).sum())
