"""Plans found on the way: how good, how far proven, and what branch and bound finds in a part of a problem."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from allocator.clock import working_time
from allocator.kernels.sums import exact_sum
from allocator.problem import Problem
from allocator.solvers.part import Part
from allocator.solvers.programs import Answer, Ending, Halt, solve_integer, tightened, without

LONGEST_CORE = 0.4  # of the time, for one core
CORE_SECONDS = 4.0  # at most; one that takes longer is better left to the search for hard problems
MOST_CUTS = 20  # plans ruled out for exceeding a limit by less than the solver's tolerance


@dataclass(frozen=True, eq=False)
class CorePlan:
    """A plan and what branch and bound proved of it.

    Attributes
    ----------
    offers
        The problem's offer indices, or `None` where no plan was found.
    objective
        Exact sum of their value, currency.
    bound
        Valid for the whole problem, infinite unless the core was complete.
    infeasible
        The complete problem was shown to have no plan.
    """

    offers: np.ndarray | None
    objective: float
    bound: float
    infeasible: bool = False


@dataclass(frozen=True)
class Effort:
    """How close to the bound a search must come (currency), and until when it may run (`working_time`, seconds)."""

    tolerance: float
    begin: float
    deadline: float
    patience: float  # for a first plan
    seed: int

    def until(self, best: CorePlan) -> float:
        """Return when the search ends, with such a plan in hand."""
        return self.patience if best.offers is None else self.deadline

    def one_core(self, best: CorePlan) -> float:
        """Return when the core that begins now must end."""
        seconds = min(LONGEST_CORE * (self.deadline - self.begin), CORE_SECONDS)
        return min(self.until(best), working_time() + seconds)

    def spent(self, bound: float, best: CorePlan) -> bool:
        """Tell whether the plan is close enough, or the time is over."""
        return min(bound, best.bound) - best.objective <= self.tolerance or working_time() > self.until(best)


@dataclass(frozen=True, eq=False)
class Found:
    """What branch and bound found in a part: a plan, a bound on all plans of the part, and how it ended."""

    offers: np.ndarray | None
    bound: float
    ending: Ending


def reach_of(best: CorePlan, bound: float) -> float:
    """Return how much an offer of a better plan may lose at the bound's prices, currency."""
    """Return the most that a flip may lose in a better plan, currency; infinite without a plan."""
    return np.inf if best.offers is None else max(0.0, bound - best.objective) * (1 + 1e-9) + 1e-9


def best_of(problem: Problem, best: CorePlan, plans: list[np.ndarray], proven: float) -> CorePlan:
    """Return the best of a plan and others, the first of equals, under a bound."""
    for plan in plans:
        value = exact_sum(problem.column("value", plan))
        if value > best.objective:
            best = CorePlan(plan, value, best.bound)
    return CorePlan(best.offers, best.objective, max(min(best.bound, proven), best.objective))


def plan_at(problem: Problem, part: Part, x: np.ndarray) -> np.ndarray:
    """Return the problem's offers that a point of a part stands for, with the required ones."""
    return np.concatenate([part.offers(x), problem.required])


def solve_part(
    problem: Problem,
    part: Part,
    effort: Effort,
    until: float,
    nodes: int | None,
    hint: np.ndarray | None = None,
    halt: Halt | None = None,
    method: Callable[..., Answer] = solve_integer,
) -> Found:
    """Choose among a part's free offers by branch and bound, so that exact sums keep every limit."""
    program = part.program

    proven = math.inf
    for _ in range(MOST_CUTS):
        answer = method(
            program,
            time_limit=until - working_time(),
            absolute_gap=0.4 * effort.tolerance,
            seed=effort.seed,
            nodes=nodes,
            hint=hint,
            halt=halt,
        )
        proven = min(proven, part.fixed + answer.bound + required_value(problem))
        if answer.x is None:
            return Found(None, proven, answer.ending)
        plan = plan_at(problem, part, answer.x)
        if keeps_limits(problem, plan):
            return Found(plan, proven, answer.ending)
        # Within the solver's tolerance, but not exactly. That plan is infeasible, so to rule out it alone keeps every
        # later bound, and every later proof that nothing is left, valid for the problem as it was given.
        program = without(program, answer.x)
    for digits in (9, 8, 7):
        # Less room finds a plan but proves nothing: it also rules out plans that use a limit to the last cent.
        tighter = tightened(part.program, part.piece.folding.n_limits, 10.0**-digits)
        answer = solve_integer(
            tighter,
            time_limit=until - working_time(),
            absolute_gap=0.4 * effort.tolerance,
            seed=effort.seed,
            nodes=nodes,
        )
        if answer.x is not None and keeps_limits(problem, plan_at(problem, part, answer.x)):
            return Found(plan_at(problem, part, answer.x), proven, Ending.FEASIBLE)
    return Found(None, proven, Ending.UNKNOWN)


def required_value(problem: Problem) -> float:
    """Return what the required offers earn, currency."""
    return exact_sum(problem.column("value", problem.required))


def keeps_limits(problem: Problem, plan: np.ndarray) -> bool:
    """Tell whether exact sums (`math.fsum`) over these offers keep every limit."""
    for limit, numbers in zip(problem.limits, problem.measures(plan), strict=True):
        total, size = float(numbers.sum()), float(np.abs(numbers).sum())
        doubt = 1e-13 * size  # far above the error of a pairwise sum
        for bound, sign in ((limit.at_most, 1.0), (limit.at_least, -1.0)):
            if bound is None:
                continue
            excess = sign * (total - bound)
            if abs(excess) <= doubt:
                excess = sign * (exact_sum(numbers) - bound)
            if excess > 0:
                return False
    return True
