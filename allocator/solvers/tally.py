"""Exact sums over chosen offers that more offers can be added to, so that plans which share offers share their sums."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from allocator.kernels.sums import exact_parts
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
        problem = self.problem
        cost = exact_parts(self.cost, problem.column("cost", offers))
        uses = []
        for limit, parts, numbers in zip(problem.limits, self.uses, problem.measures(offers), strict=True):
            if limit.weights == {"cost": 1.0} and numbers.size == offers.size:
                uses.append(cost)
            else:
                uses.append(exact_parts(parts, numbers))
        value = exact_parts(self.value, problem.column("value", offers))
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
