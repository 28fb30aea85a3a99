"""One side of a limit, at least or at most: what a conflict is made of."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np

from allocator.problem import Problem
from allocator.solvers.folding import Folding

UNIT = 0.01  # a repair is rounded to it, unless its measure counts offers


@dataclass(frozen=True, order=True)
class Side:
    """One side of the limit at position `limit`; `sign` is 1 for at most, -1 for at least."""

    limit: int
    sign: int

    @property
    def word(self) -> str:
        """`at_most` or `at_least`, as fields are named."""
        return "at_most" if self.sign > 0 else "at_least"

    def number(self, problem: Problem) -> float:
        """Return the number that this side sets."""
        return float(getattr(problem.limits[self.limit], self.word))

    def room(self, folding: Folding) -> float:
        """Return what this side leaves for the offers that are not fixed."""
        return float((folding.at_most if self.sign > 0 else folding.at_least)[self.limit])


def sides_of(problem: Problem) -> tuple[Side, ...]:
    """Return every side of every limit."""
    return tuple(
        Side(r, sign)
        for r, limit in enumerate(problem.limits)
        for sign, number in ((-1, limit.at_least), (1, limit.at_most))
        if number is not None
    )


def counts_offers(problem: Problem, side: Side) -> bool:
    """Tell whether a side's measure can only be a whole number."""
    return all(name == "count" and weight.is_integer() for name, weight in weights_of(problem, side).items())


def weights_of(problem: Problem, side: Side) -> dict[str, float]:
    """Return the weights of the side's measure."""
    return {name: float(weight) for name, weight in problem.limits[side.limit].weights.items()}


def outward(number: float, side: Side) -> float:
    """Round to hundredths so that a plan that uses exactly `number` keeps the side.

    In floats: the nearest hundredth may already be on the safe side, and else the next one is.
    """
    nearest = round(number, 2)
    if side.sign * nearest >= side.sign * number:
        return nearest
    return round(nearest + side.sign * UNIT, 2)


def keeping(problem: Problem, sides: Iterable[Side]) -> Problem:
    """Return the problem with these sides of its limits only; shares all arrays."""
    kept: dict[int, set[int]] = {}
    for side in sides:
        kept.setdefault(side.limit, set()).add(side.sign)
    positions = sorted(kept)
    fewer = problem.keeping_limits(positions)
    limits = tuple(
        dataclasses.replace(
            problem.limits[r],
            at_least=problem.limits[r].at_least if -1 in kept[r] else None,
            at_most=problem.limits[r].at_most if 1 in kept[r] else None,
        )
        for r in positions
    )
    return dataclasses.replace(fewer, limits=limits)


def aiming_at(problem: Problem, goal: Side | None, sides: Collection[Side]) -> Problem:
    """Return the problem whose value is how far a plan goes to keep `goal`, under `sides` alone.

    The value of an offer is its number in the goal's measure, negative where less is better; 0 without a goal. Limits
    that measure value keep measuring the true one, under another name.
    """
    offers = problem.offers
    if goal is None:
        aim = np.zeros(offers.n_offers)
    else:
        aim = -goal.sign * problem.measure(goal.limit, np.arange(offers.n_offers))
    true = "value"
    while true in offers.columns or true == "value":
        true += "'"
    kept = keeping(problem, sides)
    renamed = tuple(
        dataclasses.replace(
            limit, measure={true if name == "value" else name: weight for name, weight in limit.weights.items()}
        )
        for limit in kept.limits
    )
    columns = dict(offers.columns)
    if any(true in limit.weights for limit in renamed):
        columns[true] = offers.value
    value = np.where(np.isnan(offers.value), math.nan, aim)
    return dataclasses.replace(kept, limits=renamed, offers=dataclasses.replace(offers, value=value, columns=columns))
