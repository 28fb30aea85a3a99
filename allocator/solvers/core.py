"""The integer core: the few users near indifference, chosen exactly; everyone else keeps the best choice at the prices.

An offer whose flip loses more than the gap between bound and plan cannot differ in any better plan (reduced-cost fixing:
Pisinger, *A minimal algorithm for the multiple-choice knapsack problem*, EJOR 83, 1995, doi:10.1016/0377-2217(95)00015-I).
So once the core holds every offer with a smaller loss, its integer optimum is the whole problem's.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from time import monotonic

import numpy as np
import scipy.sparse as sp

from allocator.problem import Problem
from allocator.solvers.piece import Piece
from allocator.solvers.programs import Ending, Program, solve_integer
from allocator.solvers.relaxation import limit_matrix, rule_matrix

FIRST_CORE = 300  # offers
CORE_PER_LIMIT = 100  # more offers for each limit that binds
MOST_NODES = 2_000  # of a core that is not complete: a larger one is the better use of time
CORE_GROWTH = 4
MOST_CORE = 120_000
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


def search(
    problem: Problem, whole: Piece, near: Piece, prices: np.ndarray, bound: float, *, tolerance: float, deadline: float, seed: int,
    patience: float = math.inf,
) -> CorePlan:  # fmt: skip
    """Find a plan within `tolerance` (currency) of `bound`, enlarging the core until it is there or proven best.

    `near` holds the users around indifference at `prices`, `whole` all of them. The search ends at `deadline`, or, where
    it has no plan by then, at `patience`.
    """
    best = CorePlan(None, -math.inf, math.inf)
    for piece in (near,) if near is whole else (near, whole):
        everyone = piece is whole
        most = np.inf if piece is near else _most(best, bound)
        tables = piece.folding.tables(prices)
        base = piece.executor.choose(piece.shard, tables).picked
        offer, loss, chosen = piece.executor.losses(piece.shard, tables, most)
        order = np.argsort(loss, kind="stable")
        size = FIRST_CORE + CORE_PER_LIMIT * int((prices != 0).sum()) if piece is near else offer.size
        while True:
            size = min(size, offer.size, MOST_CORE)
            largest = size in (offer.size, MOST_CORE)
            nodes = None if everyone and largest else MOST_NODES
            core = np.sort(order[:size])  # `offer` ascends, and so does the core
            until = min(deadline, patience) if best.offers is None else deadline
            plan, core_bound, ended = _solve_core(
                problem, piece, base, offer, chosen, core, tolerance, until, seed, nodes
            )
            # Where all losses up to the gap are in, the core's optimum is the problem's.
            reach = loss[order[size]] if size < offer.size else most
            if plan is not None:
                objective = math.fsum(problem.column("value", plan))
                if objective > best.objective:
                    best = CorePlan(plan, objective, best.bound)
            complete = everyone and reach >= bound - best.objective
            if complete and ended is Ending.OPTIMAL:
                best = CorePlan(best.offers, best.objective, min(best.bound, max(core_bound, best.objective)))
            if complete and ended is Ending.INFEASIBLE and best.offers is None:
                return CorePlan(None, -math.inf, math.inf, infeasible=True)
            until = min(deadline, patience) if best.offers is None else deadline
            if min(bound, best.bound) - best.objective <= tolerance or monotonic() > until:
                return best
            if largest or (complete and ended is Ending.OPTIMAL):
                break
            size *= CORE_GROWTH
    return best


def _most(best: CorePlan, bound: float) -> float:
    return np.inf if best.offers is None else max(0.0, bound - best.objective) * (1 + 1e-9) + 1e-9


def _solve_core(
    problem: Problem, piece: Piece, base: np.ndarray, offer: np.ndarray, chosen: np.ndarray, core: np.ndarray,
    tolerance: float, deadline: float, seed: int, nodes: int | None,
) -> tuple[np.ndarray | None, float, Ending]:  # fmt: skip
    """Choose among the core's offers, all others as in `base`, the best choices; return (plan, bound, how it ended)."""
    free = offer[core]
    kept = base[~np.isin(base, free[chosen[core]])]
    everything = np.arange(piece.folding.n_limits)
    used = np.asarray(limit_matrix(piece, kept, everything).sum(axis=1)).reshape(-1)
    uses = limit_matrix(piece, free, everything)
    rules, tops = rule_matrix(piece, free)
    owners, counts = np.unique(piece.shard.users_of(kept), return_counts=True)
    users = np.unique(piece.shard.users_of(free))
    place = np.searchsorted(owners, users).clip(max=max(0, owners.size - 1))
    if owners.size:
        tops[: users.size] -= np.where(owners[place] == users, counts[place], 0)
    value = piece.shard.value[free]
    fixed = float(piece.shard.value[kept].sum()) + piece.value
    program = Program(
        objective=value,
        matrix=sp.csr_matrix(sp.vstack([uses, rules])),
        lower=np.concatenate([piece.folding.at_least - used, np.full(tops.size, -np.inf)]),
        upper=np.concatenate([piece.folding.at_most - used, tops]),
        ceiling=np.ones(free.size),
        integer=np.ones(free.size, dtype=bool),
    )

    def plan_of(x: np.ndarray) -> np.ndarray:
        taken = np.concatenate([kept, free[x > 0.5]])
        taken = taken if piece.shard.origin is None else piece.shard.origin[taken]
        return np.concatenate([*piece.picked, taken, problem.required])

    proven = math.inf
    for _ in range(MOST_CUTS):
        answer = solve_integer(
            program, time_limit=deadline - monotonic(), absolute_gap=0.4 * tolerance, seed=seed, nodes=nodes
        )
        if answer.x is None:
            return None, proven, answer.ending
        proven = min(proven, fixed + answer.bound + required_value(problem))
        plan = plan_of(answer.x)
        if keeps_limits(problem, plan):
            return plan, proven, answer.ending
        # Within the solver's tolerance, but not exactly. That plan is infeasible, so to rule out it alone keeps every
        # later bound, and every later proof that nothing is left, valid for the problem as it was given.
        program = without(program, answer.x)
    for digits in (9, 8, 7):
        # Less room finds a plan but proves nothing: it also rules out plans that use a limit to the last cent.
        room = 10.0**-digits * (1.0 + np.abs(np.where(np.isinf(piece.folding.at_most), 0.0, piece.folding.at_most)))
        room = np.concatenate([room, np.zeros(program.lower.size - room.size)])
        tighter = dataclasses.replace(program, lower=program.lower + room, upper=program.upper - room)
        answer = solve_integer(
            tighter, time_limit=deadline - monotonic(), absolute_gap=0.4 * tolerance, seed=seed, nodes=nodes
        )
        if answer.x is not None and keeps_limits(problem, plan_of(answer.x)):
            return plan_of(answer.x), proven, Ending.FEASIBLE
    return None, proven, Ending.UNKNOWN


def without(program: Program, x: np.ndarray) -> Program:
    """Return the program with one 0/1 point ruled out: at least one of its entries differs."""
    taken = x > 0.5
    cut = sp.csr_matrix(np.where(taken, 1.0, -1.0)[None, :])
    return dataclasses.replace(
        program,
        matrix=sp.csr_matrix(sp.vstack([program.matrix, cut])),
        lower=np.append(program.lower, -np.inf),
        upper=np.append(program.upper, taken.sum() - 1.0),
    )


def required_value(problem: Problem) -> float:
    """Return what the required offers earn, currency."""
    return math.fsum(problem.column("value", problem.required))


def keeps_limits(problem: Problem, plan: np.ndarray) -> bool:
    """Tell whether exact sums (`math.fsum`) over these offers keep every limit."""
    for r, limit in enumerate(problem.limits):
        numbers = problem.measure(r, plan)
        total, size = float(numbers.sum()), float(np.abs(numbers).sum())
        doubt = 1e-13 * size  # far above the error of a pairwise sum
        for bound, sign in ((limit.at_most, 1.0), (limit.at_least, -1.0)):
            if bound is None:
                continue
            excess = sign * (total - bound)
            if abs(excess) <= doubt:
                excess = sign * (math.fsum(numbers) - bound)
            if excess > 0:
                return False
    return True
