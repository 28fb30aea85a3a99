"""What is left for hard problems: ejection chains, then branch and bound beside neighbourhoods, until the time is over."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from allocator.clock import working_time
from allocator.kernels.sums import exact_sum
from allocator.problem import Problem
from allocator.solvers.assigning import assigned
from allocator.solvers.branching import branch
from allocator.solvers.candidates import (
    CorePlan,
    Effort,
    Found,
    best_of,
    keeps_limits,
    plan_at,
    required_value,
    solve_part,
)
from allocator.solvers.ejection import REACH, first_rounds
from allocator.solvers.neighbourhoods import Neighbourhoods, News
from allocator.solvers.opening import MOST_CORE, Field, Ground
from allocator.solvers.part import Opened, Part
from allocator.solvers.piece import Piece
from allocator.solvers.programs import Answer, Ending, Halt

FIRST_WORK = 1.2e8  # of each round of chains before branch and bound begins on all that may differ
MOST_BESIDE = 25_000  # offers; branch and bound gets nowhere with more of them, and takes a processor
CLOSEST = 3  # offers a user, for branch and bound to begin with
SMALLER = 0.7  # of all that may differ: fewer are worth a search of their own
CLOSEST_SHARE = 0.35  # of the time that is left, for it
HOPELESS = 0.3  # of the gap: branch and bound that closes less in that time will not get through,
NEARLY_ALL = 0.9  # where so many of all offers may still differ


def persist(
    problem: Problem, whole: Piece, prices: np.ndarray, bound: float, best: CorePlan, effort: Effort
) -> CorePlan:
    """Use the time that is left on a hard problem: ejection chains, then branch and bound beside neighbourhoods."""
    field = Field(problem, whole, prices, bound).tightened(best, effort)
    if field.proven is not None:
        best = best_of(problem, best, [], field.bound)
    opened = field.open(best)
    best, walked = _walk(field, opened.part, best, effort)
    if best.offers is None:
        part = opened.part
        found = solve_part(problem, part, effort, effort.patience, None) if part.free.size <= MOST_CORE else None
        if found is None or found.offers is None:
            impossible = found is not None and found.ending is Ending.INFEASIBLE
            return CorePlan(None, -math.inf, math.inf, infeasible=impossible)
        return CorePlan(found.offers, exact_sum(problem.column("value", found.offers)), found.bound)
    if effort.spent(field.bound, best):
        return best
    if field.ground is not None:
        return _assigned(field, field.ground, best, effort)
    if walked:  # a better plan rules out more
        opened = field.open(best)
    return _beside(field, opened, best, effort)


def _assigned(field: Field, ground: Ground, best: CorePlan, effort: Effort) -> CorePlan:
    """Search by prices of users, where limits are knapsacks."""
    problem, part, states = field.problem, ground.part, ground.states
    assert best.offers is not None
    start = ground.search.knapsacks.item[states.at(_point(problem, part, best.offers))]
    items, bound = assigned(ground.search, start, effort.deadline)
    plan = plan_at(problem, part, states.point(ground.search.knapsacks.state[items], part.free.size))
    plans = [plan] if keeps_limits(problem, plan) else []
    return best_of(problem, best, plans, bound + part.fixed + required_value(problem))


def _walk(field: Field, part: Part, best: CorePlan, effort: Effort) -> tuple[CorePlan, bool]:
    """Improve a plan by ejection chains, or find a first one; return the best, and whether it is new."""
    problem = field.problem
    states = field.states(part) if part.free.size <= MOST_CORE else None
    if states is None:
        return best, False
    start = states.best() if best.offers is None else states.at(_point(problem, part, best.offers))
    near = states.near(REACH * (field.bound - best.objective), start)
    current = near.best() if best.offers is None else near.at(states.point(start, part.free.size))
    _, found = first_rounds(near, current, work=FIRST_WORK, seed=effort.seed, deadline=effort.until(best))
    plan = plan_at(problem, part, near.point(found, part.free.size))
    objective = exact_sum(problem.column("value", plan))
    if objective > best.objective and keeps_limits(problem, plan):
        return CorePlan(plan, objective, best.bound), True
    return best, False


def _point(problem: Problem, part: Part, plan: np.ndarray) -> np.ndarray:
    """Return the part's point `(free,)` 0/1 that a plan of the problem stands for."""
    return np.isin(part.piece.shard.originals(part.free), plan).astype(np.float64)


def _beside(field: Field, opened: Opened, best: CorePlan, effort: Effort) -> CorePlan:
    """Search neighbourhoods of a plan, and where the part is small enough by branch and bound at the same time."""
    assert best.offers is not None
    problem, part = field.problem, opened.part
    start = _point(problem, part, best.offers)
    outside = part.fixed + required_value(problem)
    halt, news = Halt(), News(start, float(part.program.objective @ start))
    walk = Neighbourhoods(
        part.program,
        part.owner,
        opened.lost,
        field.bound - outside,
        effort.tolerance,
        lambda x: keeps_limits(problem, plan_at(problem, part, x)),
        effort.deadline,
        effort.seed,
        field.states(part),
        news,
    )
    if part.free.size > MOST_BESIDE:
        return best_of(problem, best, [plan_at(problem, part, walk.improve(start, halt))], best.bound)
    with ThreadPoolExecutor(1) as pool:
        beside = pool.submit(walk.improve, start, halt)
        beside.add_done_callback(lambda _: halt.now())
        try:
            best, found = _branched(field, opened, best, effort, halt, news, walk)
        finally:
            halt.now()
        better = beside.result()
    if found.ending is Ending.OPTIMAL and found.offers is not None:
        # Whatever the neighbourhoods came to meanwhile, the plan must not depend on it.
        return best_of(problem, best, [found.offers], found.bound)
    plans = [plan_at(problem, part, better), *([] if found.offers is None else [found.offers])]
    return best_of(problem, best, plans, found.bound)


def _branched(
    field: Field, opened: Opened, best: CorePlan, effort: Effort, halt: Halt, news: News, walk: Neighbourhoods
) -> tuple[CorePlan, Found]:
    """Branch and bound, first among what loses least, then on all that may differ; return the best plan before, and that.

    A good plan loses little in total, so it loses next to nothing at each user: most of the time the optimum is among a
    few offers a user, and what its value rules out makes the whole small. It begins there without a plan: one to start
    from draws the solver's own search to its surroundings, where chains and neighbourhoods look already. Where even the
    few are too many for it, another walk through neighbourhoods is the better use of the time.
    """
    problem, part, hint = field.problem, opened.part, None
    size = CLOSEST * (int(part.owner.max(initial=-1)) + 1)
    until = working_time() + CLOSEST_SHARE * (effort.deadline - working_time())

    def told(few: Part) -> Callable[..., Answer]:
        def tell(x: np.ndarray) -> None:
            point = _point(problem, part, few.offers(x))
            if keeps_limits(problem, plan_at(problem, part, point)):
                news.tell(point, float(part.program.objective @ point))

        return functools.partial(branch, found=tell)

    while size < SMALLER * part.free.size and working_time() < until and not halt:
        few = opened.closest(size)
        found = solve_part(problem, few, effort, until, None, None, halt, told(few))
        if found.offers is None and found.ending is Ending.INFEASIBLE:
            size *= 2
            continue
        if found.offers is not None:
            best = best_of(problem, best, [found.offers], best.bound)
        if found.ending is not Ending.OPTIMAL:  # so that what is proven does not depend on the other thread
            best = best_of(problem, best, [plan_at(problem, part, news.x)], best.bound)
        assert best.offers is not None
        opened = field.open(best)
        stuck = found.ending is not Ending.OPTIMAL and field.bound - found.bound < HOPELESS * (
            field.bound - best.objective
        )
        if stuck and opened.part.free.size > NEARLY_ALL * part.piece.shard.value.size:
            other = dataclasses.replace(walk, seed=effort.seed + 1).improve(news.x, halt)
            return best, Found(plan_at(problem, part, other), math.inf, Ending.FEASIBLE)
        if found.ending is Ending.OPTIMAL:  # nothing but the proof is left to do, most likely
            hint = _point(problem, opened.part, best.offers)
        break
    return best, solve_part(problem, opened.part, effort, effort.deadline, None, hint, halt, told(opened.part))
