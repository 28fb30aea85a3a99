"""The integer core: the few users near indifference, chosen exactly; everyone else keeps the best choice at the prices.

An offer whose flip loses more than the gap between bound and plan cannot differ in any better plan (reduced-cost fixing:
Pisinger, *A minimal algorithm for the multiple-choice knapsack problem*, EJOR 83, 1995, doi:10.1016/0377-2217(95)00015-I).
So once the core holds every offer with a smaller loss, its integer optimum is the whole problem's.
"""

from __future__ import annotations

import math
from enum import Enum

import numpy as np

from allocator.clock import working_time
from allocator.kernels.sums import exact_sum
from allocator.problem import Problem
from allocator.solvers.candidates import CorePlan, Effort, best_of, keeps_limits, reach_of, solve_part
from allocator.solvers.exchange import exchanged
from allocator.solvers.filling import filled
from allocator.solvers.opening import MOST_CORE
from allocator.solvers.part import part_of
from allocator.solvers.persisting import persist
from allocator.solvers.piece import Piece
from allocator.solvers.programs import Ending
from allocator.solvers.strategies import compare

POOR = 1e-3  # of the bound: a plan that misses so much of it may be worse than one filled in a single sweep
USELESS = 0.05  # of the bound
LEAST_EXCHANGES = 2
MOST_EXCHANGES = 6  # among all users, each time among those that the last gap leaves open
WORTH_IT = 0.8  # of the gap before; where an exchange leaves more of it, another will not help either
FIRST_CORE = 300  # offers
CORE_PER_LIMIT = 100  # more offers for each limit that binds
MOST_NODES = 2_000  # of a core that is not complete: a larger one is the better use of time
FINAL_NODES = 2_000  # of one that is, before chains and neighbourhoods join
CORE_GROWTH = 4
MANY = 300  # limits; with more, exchanges, which look at each limit for each pair, come to nothing


class State(Enum):
    """How the growing of cores ended."""

    SETTLED = "nothing better is left"
    OPEN = "not enough offers yet, or not enough time"
    ENTANGLED = "too hard already at this size: larger cores would be harder still"


def search(
    problem: Problem,
    whole: Piece,
    near: Piece,
    prices: np.ndarray,
    bound: float,
    *,
    tolerance: float,
    deadline: float,
    seed: int,
    patience: float = math.inf,
    start: np.ndarray | None = None,
) -> CorePlan:
    """Find a plan within `tolerance` (currency) of `bound`, enlarging the core until it is there or proven best.

    `near` holds the users around indifference at `prices`, `whole` all of them. The search ends at `deadline`, or, where
    it has no plan by then, at `patience`. It begins with the plan `start` (the problem's offers, required ones left out) where
    there is one.
    """
    effort = Effort(tolerance, working_time(), deadline, min(deadline, patience), seed)
    best = CorePlan(None, -math.inf, math.inf)
    if start is not None:
        best = best_of(problem, best, [np.concatenate([start, problem.required])], math.inf)
    if best.offers is None or not keeps_limits(problem, best.offers):
        best = first_plan(problem, whole, near, prices, bound, effort)
    if effort.spent(bound, best):
        return best
    pieces = (near,) if near is whole else (near, whole)
    # With very many limits the least core is large, and every plan breaks some: chains mend it, cores do not.
    for piece in pieces if prices.size <= MANY else ():
        best, state = _grow(problem, piece, piece is whole, prices, bound, best, effort)
        if state is State.SETTLED or effort.spent(bound, best):
            return best
        if state is State.ENTANGLED:
            break
    return persist(problem, whole, prices, bound, best, effort)


def first_plan(
    problem: Problem, whole: Piece, near: Piece, prices: np.ndarray, bound: float, effort: Effort
) -> CorePlan:
    """Return a plan by exchanges alone, among ever more users with ever more effort."""
    many, best = prices.size > MANY, CorePlan(None, -math.inf, math.inf)
    if not many:
        best = _exchanged(problem, near, prices, bound, best, effort)
    if bound - best.objective > POOR * abs(bound):
        other = _filled(problem, whole, prices)
        best = other if other.objective > best.objective else best
    # Where the time is over, the simple strategies are worth more of it only beside a plan that is no use.
    if bound - best.objective > (USELESS if effort.spent(bound, best) else POOR) * abs(bound):
        other = _simplest(problem, whole.executor.threads)
        best = other if other.objective > best.objective else best
    for turn in range(1, 1 if many else MOST_EXCHANGES):
        if effort.spent(bound, best) or (best.offers is None and turn > 1):
            break
        before = bound - best.objective
        best = _exchanged(problem, whole, prices, bound, best, effort, 2.0**turn, turn)
        if turn >= LEAST_EXCHANGES and bound - best.objective > WORTH_IT * before:
            break
    return best


def _filled(problem: Problem, whole: Piece, prices: np.ndarray) -> CorePlan:
    """Return a plan made in one sweep, where it keeps every limit: what there is while prices are still far off."""
    offers = np.concatenate([whole.shard.originals(filled(whole, prices)), problem.required])
    if not keeps_limits(problem, offers):
        return CorePlan(None, -math.inf, math.inf)
    return CorePlan(offers, exact_sum(problem.column("value", offers)), math.inf)


def _simplest(problem: Problem, threads: int | None) -> CorePlan:
    """Return the best plan of the simple strategies that keep every limit: no plan is ever worse than theirs."""
    kept = [plan for plan in compare(problem, threads=threads) if plan.meets_limits]
    for plan in sorted(kept, key=lambda plan: -plan.objective):
        if keeps_limits(problem, plan.offer):
            return CorePlan(plan.offer, plan.objective, math.inf)
    return CorePlan(None, -math.inf, math.inf)


def _exchanged(
    problem: Problem,
    piece: Piece,
    prices: np.ndarray,
    bound: float,
    best: CorePlan,
    effort: Effort,
    share: float = 1.0,
    turn: int = 0,
) -> CorePlan:
    """Round and exchange among the offers that a better plan could differ in: often all that is needed, else a start."""
    offers = exchanged(
        piece,
        prices,
        reach_of(best, bound),
        0.9 * effort.tolerance,
        effort.seed + turn,
        share,
        best.offers,
        effort.until(best),
    )
    if offers is None:
        return best
    offers = np.concatenate([offers, problem.required])
    objective = exact_sum(problem.column("value", offers))
    if objective <= best.objective or not keeps_limits(problem, offers):
        return best
    return CorePlan(offers, objective, math.inf)


def _grow(
    problem: Problem,
    piece: Piece,
    everyone: bool,
    prices: np.ndarray,
    bound: float,
    best: CorePlan,
    effort: Effort,
) -> tuple[CorePlan, State]:
    """Solve cores of a piece that grow; return the best plan, and how that ended."""
    most = reach_of(best, bound)
    tables = piece.folding.tables(prices)
    base = piece.executor.choose(piece.shard, tables).picked
    offer, loss, chosen = piece.executor.losses(piece.shard, tables, most)
    order = np.argsort(loss, kind="stable")
    size = FIRST_CORE + CORE_PER_LIMIT * int((prices != 0).sum())
    while True:
        size = min(size, offer.size, MOST_CORE)
        largest = size in (offer.size, MOST_CORE)
        core = np.sort(order[:size])  # `offer` ascends, and so does the core
        kept = base[~np.isin(base, offer[core][chosen[core]])]
        final = everyone and largest
        nodes = FINAL_NODES if final else MOST_NODES
        hint = (
            None if best.offers is None else np.isin(piece.shard.originals(offer[core]), best.offers).astype(np.float64)
        )
        found = solve_part(problem, part_of(piece, kept, offer[core]), effort, effort.one_core(best), nodes, hint)
        # Where all losses up to the gap are in, the core's optimum is the problem's.
        reach = loss[order[size]] if size < offer.size else most
        if found.offers is not None:
            objective = exact_sum(problem.column("value", found.offers))
            if objective > best.objective:
                best = CorePlan(found.offers, objective, best.bound)
        complete = everyone and reach >= bound - best.objective
        if complete and found.ending in (Ending.OPTIMAL, Ending.FEASIBLE):
            best = CorePlan(best.offers, best.objective, min(best.bound, max(found.bound, best.objective)))
        if complete and found.ending is Ending.INFEASIBLE and best.offers is None:
            return CorePlan(None, -math.inf, math.inf, infeasible=True), State.SETTLED
        if complete and found.ending is Ending.OPTIMAL:
            return best, State.SETTLED
        if largest or effort.spent(bound, best):
            return best, State.OPEN
        if found.ending is Ending.FEASIBLE:
            return best, State.ENTANGLED
        size *= CORE_GROWTH
