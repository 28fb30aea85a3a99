"""The smallest set of limits that cannot hold together, and the smallest change that repairs each.

The set is an irreducible infeasible subsystem, found by deletion: a limit without which the others still conflict is
dropped (Chinneck and Dravnieks, *Locating minimal infeasible constraint sets in linear programs*, ORSA Journal on
Computing 3(2), 1991, doi:10.1287/ijoc.3.2.157). It starts from the limits that carry a price in a proof that no mixture
of plans keeps all of them: such a proof's support is itself a conflict (Gleeson and Ryan, *Identifying minimally
infeasible subsystems of inequalities*, ORSA Journal on Computing 2(1), 1990, doi:10.1287/ijoc.2.1.61). The rules of each
user and required offers are taken as given.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from allocator.clock import working_time
from allocator.diagnosis import wording
from allocator.diagnosis.attempts import Attempt, Workshop, keeps, share
from allocator.diagnosis.mixtures import Pool
from allocator.diagnosis.sides import UNIT, Side, counts_offers, outward, sides_of
from allocator.problem import Problem
from allocator.result import Conflict, Diagnosis
from allocator.solvers.piece import Piece

UNTRIED = Attempt(None, math.nan, math.nan, infeasible=False)


@dataclass(frozen=True, eq=False)
class Finding:
    """Why no plan exists, and `(n_limits,)` prices that prove it, where mixtures of plans cannot keep the limits."""

    diagnosis: Diagnosis
    ray: np.ndarray | None


@dataclass(frozen=True)
class Smallest:
    """Sides that cannot hold together.

    Attributes
    ----------
    minimal
        Proven: without any one of them the others hold together.
    without
        Plans that keep all but one and go furthest towards that one, as far as they are known already.
    """

    sides: tuple[Side, ...]
    minimal: bool
    without: dict[Side, Attempt]


def diagnose(
    problem: Problem, piece: Piece, ray: np.ndarray | None, *, known: bool, deadline: float, seed: int
) -> Finding | None:
    """Find the limits that conflict and their repairs.

    Parameters
    ----------
    piece
        All of the problem's users.
    ray
        `(n_limits,)` prices by which no plan keeps the limits, where such are known.
    known
        Whether the problem is known to have no plan; else `None` is returned where no proof of it is found.
    deadline
        Of `working_time`; what was found until then is returned, and says that it may not be all.
    """
    workshop = Workshop(problem, Pool(piece), seed)
    sides = sides_of(problem)
    mixed = workshop.pool.ray(sides, deadline)
    ray = ray if mixed is None else mixed
    if ray is None and not known:
        return None
    first = _smallest(workshop, sides, ray, deadline)
    conflicts, complete = _repairs(workshop, first, sides, deadline)
    further: list[Diagnosis] = []
    rest = _without(sides, first.sides)
    while rest and not any(conflict.repair is not None for conflict in conflicts) and working_time() < deadline:
        other_ray = workshop.pool.ray(rest, deadline)
        if other_ray is None and not workshop.attempt(rest, None, deadline).infeasible:
            break
        other = _smallest(workshop, rest, other_ray, deadline)
        further.append(_another(workshop, other, deadline))
        rest = _without(rest, other.sides)
    own = None if ray is None else workshop.pool.ray(first.sides, deadline)
    message = wording.explain(first.sides, problem, conflicts, minimal=first.minimal, complete=complete)
    diagnosis = Diagnosis(conflicts, message, first.minimal, complete, tuple(further))
    return Finding(diagnosis, ray if own is None else own)


def _another(workshop: Workshop, found: Smallest, deadline: float) -> Diagnosis:
    """Describe a conflict beside another: no change of one limit is enough then."""
    alone, complete = _repairs(workshop, found, found.sides, deadline)
    conflicts = tuple(dataclasses.replace(conflict, repair=None) for conflict in alone)
    message = wording.explain(found.sides, workshop.problem, conflicts, minimal=found.minimal, complete=complete)
    return Diagnosis(conflicts, message, found.minimal, complete)


def _smallest(workshop: Workshop, sides: Sequence[Side], ray: np.ndarray | None, deadline: float) -> Smallest:
    """Drop sides without which the others conflict: by mixtures, which is quick at any size, then by real plans."""
    left = tuple(sides)
    if ray is not None:
        left = _support(left, ray)
        for side in left:
            fewer = _without(left, (side,))
            if len(fewer) < len(left) and (lighter := workshop.pool.ray(fewer, deadline)) is not None:
                left = _support(fewer, lighter)
    minimal, without = True, dict[Side, Attempt]()
    for tried, side in enumerate(left):
        if working_time() > deadline:
            return Smallest(left, minimal=False, without=without)
        # Towards the side itself: the plan found tells the repair too. Where real plans conflict that mixtures do not,
        # most sides will go, and any plan will do.
        goal = None if ray is None else side
        fewer = _without(left, (side,))
        attempt = workshop.attempt(fewer, goal, share(deadline, 2 * (len(left) - tried) + 1))
        if attempt.infeasible:
            left, without = fewer, {}
        elif attempt.offers is None:
            minimal = False
        elif goal is not None:
            without[side] = attempt
    return Smallest(left, minimal, without)


def _repairs(
    workshop: Workshop, found: Smallest, everything: Sequence[Side], deadline: float
) -> tuple[tuple[Conflict, ...], bool]:
    """Work out the smallest change of each side, for its conflict and for every limit; tell whether all are known."""
    conflicts, complete = [], True
    for tried, side in enumerate(found.sides):
        if working_time() > deadline:
            conflicts.append(_conflict(workshop.problem, side, UNTRIED, UNTRIED))
            complete = False
            continue
        jobs = 2 * (len(found.sides) - tried)
        fewer = _without(found.sides, (side,))
        alone = found.without.get(side) or workshop.attempt(fewer, side, share(deadline, jobs))
        together = alone
        others = _without(everything, (side,))
        if alone.offers is None or not keeps(workshop.problem, others, alone.offers):
            together = workshop.attempt(others, side, share(deadline, jobs - 1))
        complete &= alone.offers is not None and (together.offers is not None or together.infeasible)
        conflicts.append(_conflict(workshop.problem, side, alone, together))
    return tuple(conflicts), complete


def _conflict(problem: Problem, side: Side, alone: Attempt, together: Attempt) -> Conflict:
    whole = counts_offers(problem, side)
    needed, repair = (
        None if item.offers is None else item.number if whole else outward(item.number, side)
        for item in (alone, together)
    )
    told = alone if repair is None else together
    within = 0.0 if told.offers is None else max(0.0, side.sign * (told.number - told.bound))
    if within < (1.0 if whole else UNIT):
        within = 0.0
    limit = problem.limits[side.limit]
    return Conflict(limit.name, limit.measure_name, side.word, side.number(problem), needed, repair, within)


def _support(sides: Sequence[Side], ray: np.ndarray) -> tuple[Side, ...]:
    return tuple(side for side in sides if side.sign * ray[side.limit] > 0)


def _without(sides: Sequence[Side], gone: Sequence[Side]) -> tuple[Side, ...]:
    return tuple(side for side in sides if side not in gone)
