"""What is left for hard problems: ejection chains, then branch and bound beside neighbourhoods, until the time is over."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import numpy as np

from allocator.kernels.sums import exact_sum
from allocator.problem import Problem
from allocator.solvers.branching import branch
from allocator.solvers.candidates import (
    CorePlan,
    Effort,
    Found,
    best_of,
    keeps_limits,
    plan_at,
    reach_of,
    required_value,
    solve_part,
)
from allocator.solvers.ejection import REACH, first_rounds, states_of
from allocator.solvers.neighbourhoods import Neighbourhoods, News
from allocator.solvers.part import Opened, Part, part_of
from allocator.solvers.piece import Piece
from allocator.solvers.programs import Answer, Ending, Halt

FIRST_WORK = 1.2e8  # of each round of chains before branch and bound begins on all that may differ
MOST_BESIDE = 25_000  # offers; branch and bound gets nowhere with more of them, and takes a processor
CLOSEST = 3  # offers a user, for branch and bound to begin with
SMALLER = 0.7  # of all that may differ: fewer are worth a search of their own
CLOSEST_SHARE = 0.35  # of the time that is left, for it
HOPELESS = 0.3  # of the gap: branch and bound that closes less in that time will not get through,
NEARLY_ALL = 0.9  # where so many of all offers may still differ
MOST_CORE = 120_000


def persist(
    problem: Problem, whole: Piece, prices: np.ndarray, bound: float, best: CorePlan, effort: Effort
) -> CorePlan:  # fmt: skip
    """Use the time that is left on a hard problem: ejection chains, then branch and bound beside neighbourhoods."""
    opened = _open(problem, whole, prices, bound, best)
    part = opened.part
    best, walked = _walk(problem, part, prices, bound, best, effort)
    if best.offers is None:
        found = solve_part(problem, part, effort, effort.patience, None) if part.free.size <= MOST_CORE else None
        if found is None or found.offers is None:
            impossible = found is not None and found.ending is Ending.INFEASIBLE
            return CorePlan(None, -math.inf, math.inf, infeasible=impossible)
        return CorePlan(found.offers, exact_sum(problem.column("value", found.offers)), found.bound)
    if effort.spent(bound, best):
        return best
    if walked:  # a better plan rules out more
        opened = _open(problem, whole, prices, bound, best)
    return _beside(problem, opened, prices, bound, best, effort)


def _open(problem: Problem, whole: Piece, prices: np.ndarray, bound: float, best: CorePlan) -> Opened:
    """Return all that may differ in a better plan, or most of it: the users nearest to a tie, others as in the plan."""
    tables = whole.folding.tables(prices)
    offer, lost, chosen = whole.executor.losses(whole.shard, tables, reach_of(best, bound))
    base = whole.executor.choose(whole.shard, tables).picked
    kept = base[~np.isin(base, offer[chosen])]
    if best.offers is not None and offer.size > MOST_CORE:
        owner = whole.shard.users_of(offer)
        closest = np.full(whole.shard.n_users, np.inf)
        np.minimum.at(closest, owner, lost)
        ranked = np.argsort(closest, kind="stable")
        room = np.cumsum(np.bincount(owner, minlength=whole.shard.n_users)[ranked])
        free = np.zeros(whole.shard.n_users, dtype=bool)
        free[ranked[room <= MOST_CORE]] = True
        plan = np.setdiff1d(best.offers, problem.required)
        kept = np.concatenate([kept[free[whole.shard.users_of(kept)]], plan[~free[whole.shard.users_of(plan)]]])
        inside = free[owner]
        offer, lost, chosen = offer[inside], lost[inside], chosen[inside]
    return Opened(part_of(whole, kept, offer), lost, chosen, base)


def _walk(
    problem: Problem, part: Part, prices: np.ndarray, bound: float, best: CorePlan, effort: Effort
) -> tuple[CorePlan, bool]:  # fmt: skip
    """Improve a plan by ejection chains, or find a first one; return the best, and whether it is new."""
    states = states_of(part.program, part.owner, prices) if part.free.size <= MOST_CORE else None
    if states is None:
        return best, False
    start = states.best() if best.offers is None else states.at(_point(problem, part, best.offers))
    near = states.near(REACH * (bound - best.objective), start)
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


def _beside(
    problem: Problem, opened: Opened, prices: np.ndarray, bound: float, best: CorePlan, effort: Effort
) -> CorePlan:  # fmt: skip
    """Search neighbourhoods of a plan, and where the part is small enough by branch and bound at the same time."""
    assert best.offers is not None
    part = opened.part
    start = _point(problem, part, best.offers)
    outside = part.fixed + required_value(problem)
    halt, news = Halt(), News(start, float(part.program.objective @ start))
    walk = Neighbourhoods(
        part.program, part.owner, opened.lost, bound - outside, effort.tolerance,
        lambda x: keeps_limits(problem, plan_at(problem, part, x)), effort.deadline, effort.seed,
        states_of(part.program, part.owner, prices), news,
    )  # fmt: skip
    if part.free.size > MOST_BESIDE:
        return best_of(problem, best, [plan_at(problem, part, walk.improve(start, halt))], best.bound)
    with ThreadPoolExecutor(1) as pool:
        beside = pool.submit(walk.improve, start, halt)
        beside.add_done_callback(lambda _: halt.now())
        try:
            best, found = _branched(problem, opened, prices, bound, best, effort, halt, news, walk)
        finally:
            halt.now()
        better = beside.result()
    if found.ending is Ending.OPTIMAL and found.offers is not None:
        # Whatever the neighbourhoods came to meanwhile, the plan must not depend on it.
        return best_of(problem, best, [found.offers], found.bound)
    plans = [plan_at(problem, part, better), *([] if found.offers is None else [found.offers])]
    return best_of(problem, best, plans, found.bound)


def _branched(
    problem: Problem, opened: Opened, prices: np.ndarray, bound: float, best: CorePlan, effort: Effort, halt: Halt, news: News,
    walk: Neighbourhoods,
) -> tuple[CorePlan, Found]:  # fmt: skip
    """Branch and bound, first among what loses least, then on all that may differ; return the best plan before, and that.

    A good plan loses little in total, so it loses next to nothing at each user: most of the time the optimum is among a
    few offers a user, and what its value rules out makes the whole small. It begins there without a plan: one to start
    from draws the solver's own search to its surroundings, where chains and neighbourhoods look already. Where even the
    few are too many for it, another walk through neighbourhoods is the better use of the time.
    """
    part, hint = opened.part, None
    size = CLOSEST * (int(part.owner.max(initial=-1)) + 1)
    until = monotonic() + CLOSEST_SHARE * (effort.deadline - monotonic())

    def told(few: Part) -> Callable[..., Answer]:
        def tell(x: np.ndarray) -> None:
            point = _point(problem, part, few.offers(x))
            if keeps_limits(problem, plan_at(problem, part, point)):
                news.tell(point, float(part.program.objective @ point))

        return functools.partial(branch, found=tell)

    while size < SMALLER * part.free.size and monotonic() < until and not halt:
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
        opened = _open(problem, part.piece, prices, bound, best)
        stuck = found.ending is not Ending.OPTIMAL and bound - found.bound < HOPELESS * (bound - best.objective)
        if stuck and opened.part.free.size > NEARLY_ALL * part.piece.shard.value.size:
            other = dataclasses.replace(walk, seed=effort.seed + 1).improve(news.x, halt)
            return best, Found(plan_at(problem, part, other), math.inf, Ending.FEASIBLE)
        if found.ending is Ending.OPTIMAL:  # nothing but the proof is left to do, most likely
            hint = _point(problem, opened.part, best.offers)
        break
    return best, solve_part(problem, opened.part, effort, effort.deadline, None, hint, halt, told(opened.part))
