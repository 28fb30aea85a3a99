"""Exact sums over chosen offers that more offers can be added to, so that plans which share offers share their sums."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from allocator.kernels.sums import coupon_counts, exact_parts, exact_parts_at
from allocator.problem import Problem

NOTHING = np.empty(0)


@dataclass(frozen=True, eq=False)
class Tally:
    """Sums over chosen offers, each as numbers that do not overlap and together are the sum without any rounding.

    Attributes
    ----------
    issued
        Number of offers.
    value, cost
        Parts of the sums, currency.
    uses
        For each limit, parts of its sum.
    """

    problem: Problem
    issued: int
    value: np.ndarray
    cost: np.ndarray
    uses: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, problem: Problem, offers: np.ndarray) -> Tally:
        """Return the sums over these of the problem's offers."""
        return cls(problem, 0, NOTHING, NOTHING, (NOTHING,) * len(problem.limits)).plus(offers)

    def plus(self, offers: np.ndarray) -> Tally:
        """Return the sums with these of the problem's offers added."""
        problem, source = self.problem, self.problem.offers
        cost = exact_parts_at(self.cost, source.cost, offers)
        value = exact_parts_at(self.value, source.value, offers)
        counts = coupon_counts(offers, source.n_coupons, source.coupon)
        uses, others = list(self.uses), []
        for r, limit in enumerate(problem.limits):
            everyone = bool(problem.limit_groups[r].all())
            if everyone and limit.weights == {"count": 1.0}:
                uses[r] = exact_parts(uses[r], np.array([float(counts[problem.limit_coupons[r]].sum())]))
            elif everyone and limit.weights == {"cost": 1.0} and problem.limit_coupons[r].all():
                uses[r] = cost
            else:
                others.append(r)
        if others:
            rest = problem.keeping_limits(others)
            for r, numbers in zip(others, rest.measures(offers), strict=True):
                uses[r] = exact_parts(uses[r], numbers)
        return Tally(problem, self.issued + int(offers.size), value, cost, tuple(uses))

    @property
    def objective(self) -> float:
        """The sum of value, rounded once; currency."""
        return math.fsum(self.value)

    @property
    def spend(self) -> float:
        """The sum of cost, rounded once; currency."""
        return math.fsum(self.cost)

    @property
    def used(self) -> tuple[float, ...]:
        """Each limit's sum, rounded once."""
        return tuple(math.fsum(parts) for parts in self.uses)

    def keeps(self, problem: Problem) -> bool:
        """Tell whether the sums keep the limits of a problem that differs from this one in the limits' numbers alone."""
        for limit, parts in zip(problem.limits, self.uses, strict=True):
            # One rounding of a sum with the limit's number: its sign is exact.
            if limit.at_most is not None and math.fsum([*parts, -limit.at_most]) > 0:
                return False
            if limit.at_least is not None and math.fsum([*parts, -limit.at_least]) < 0:
                return False
        return True
