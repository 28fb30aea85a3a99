"""The integer core: the few users near indifference, chosen exactly; everyone else keeps the best choice at the prices.

An offer whose flip loses more than the gap between bound and plan cannot differ in any better plan (reduced-cost fixing:
Pisinger, *A minimal algorithm for the multiple-choice knapsack problem*, EJOR 83, 1995, doi:10.1016/0377-2217(95)00015-I).
So once the core holds every offer with a smaller loss, its integer optimum is the whole problem's.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from time import monotonic

import numpy as np

from allocator.kernels.sums import exact_sum
from allocator.problem import Problem
from allocator.solvers.branching import branch
from allocator.solvers.ejection import REACH, first_rounds, states_of
from allocator.solvers.exchange import exchanged
from allocator.solvers.filling import filled
from allocator.solvers.neighbourhoods import Neighbourhoods, News
from allocator.solvers.part import Opened, Part, part_of
from allocator.solvers.piece import Piece
from allocator.solvers.programs import Answer, Ending, Halt, solve_integer, tightened, without
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
FIRST_WORK = 1.2e8  # of each round of chains before branch and bound begins on all that may differ
LONGEST_CORE = 0.4  # of the time, for one core
CORE_SECONDS = 4.0  # at most; one that takes longer is better left to the search for hard problems
CORE_GROWTH = 4
MOST_BESIDE = 25_000  # offers; branch and bound gets nowhere with more of them, and takes a processor
CLOSEST = 3  # offers a user, for branch and bound to begin with
SMALLER = 0.7  # of all that may differ: fewer are worth a search of their own
CLOSEST_SHARE = 0.35  # of the time that is left, for it
HOPELESS = 0.3  # of the gap: branch and bound that closes less in that time will not get through,
NEARLY_ALL = 0.9  # where so many of all offers may still differ
MOST_CORE = 120_000
MANY = 300  # limits; with more, exchanges, which look at each limit for each pair, come to nothing
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
    """How close to the bound a search must come (currency), and until when it may run (monotonic clock, seconds)."""

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
        return min(self.until(best), monotonic() + seconds)

    def spent(self, bound: float, best: CorePlan) -> bool:
        """Tell whether the plan is close enough, or the time is over."""
        return min(bound, best.bound) - best.objective <= self.tolerance or monotonic() > self.until(best)


class State(Enum):
    """How the growing of cores ended."""

    SETTLED = "nothing better is left"
    OPEN = "not enough offers yet, or not enough time"
    ENTANGLED = "too hard already at this size: larger cores would be harder still"


def search(
    problem: Problem, whole: Piece, near: Piece, prices: np.ndarray, bound: float, *, tolerance: float, deadline: float, seed: int,
    patience: float = math.inf, start: np.ndarray | None = None,
) -> CorePlan:  # fmt: skip
    """Find a plan within `tolerance` (currency) of `bound`, enlarging the core until it is there or proven best.

    `near` holds the users around indifference at `prices`, `whole` all of them. The search ends at `deadline`, or, where
    it has no plan by then, at `patience`. It begins with the plan `start` (the problem's offers, required ones left out) where
    there is one.
    """
    effort = Effort(tolerance, monotonic(), deadline, min(deadline, patience), seed)
    best = CorePlan(None, -math.inf, math.inf)
    if start is not None:
        best = _top(problem, best, [np.concatenate([start, problem.required])], math.inf)
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
    return _persist(problem, whole, prices, bound, best, effort)


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
    offers = np.concatenate([_origin(whole, filled(whole, prices)), problem.required])
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
    problem: Problem, piece: Piece, prices: np.ndarray, bound: float, best: CorePlan, effort: Effort, share: float = 1.0,
    turn: int = 0,
) -> CorePlan:  # fmt: skip
    """Round and exchange among the offers that a better plan could differ in: often all that is needed, else a start."""
    offers = exchanged(
        piece, prices, _most(best, bound), 0.9 * effort.tolerance, effort.seed + turn, share, best.offers, effort.until(best)
    )  # fmt: skip
    if offers is None:
        return best
    offers = np.concatenate([offers, problem.required])
    objective = exact_sum(problem.column("value", offers))
    if objective <= best.objective or not keeps_limits(problem, offers):
        return best
    return CorePlan(offers, objective, math.inf)


def _grow(
    problem: Problem, piece: Piece, everyone: bool, prices: np.ndarray, bound: float, best: CorePlan,
    effort: Effort,
) -> tuple[CorePlan, State]:  # fmt: skip
    """Solve cores of a piece that grow; return the best plan, and how that ended."""
    most = _most(best, bound)
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
        hint = None if best.offers is None else np.isin(_origin(piece, offer[core]), best.offers).astype(np.float64)
        found = _solve(problem, part_of(piece, kept, offer[core]), effort, effort.one_core(best), nodes, hint)
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


def _origin(piece: Piece, offer: np.ndarray) -> np.ndarray:
    """Return the problem's indices of a piece's offers."""
    return offer if piece.shard.origin is None else piece.shard.origin[offer]


def _persist(
    problem: Problem, whole: Piece, prices: np.ndarray, bound: float, best: CorePlan, effort: Effort
) -> CorePlan:  # fmt: skip
    """Use the time that is left on a hard problem: ejection chains, then branch and bound beside neighbourhoods."""
    opened = _open(problem, whole, prices, bound, best)
    part = opened.part
    best, walked = _walk(problem, part, prices, bound, best, effort)
    if best.offers is None:
        found = _solve(problem, part, effort, effort.patience, None) if part.free.size <= MOST_CORE else None
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
    offer, lost, chosen = whole.executor.losses(whole.shard, tables, _most(best, bound))
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
    plan = _plan(problem, part, near.point(found, part.free.size))
    objective = exact_sum(problem.column("value", plan))
    if objective > best.objective and keeps_limits(problem, plan):
        return CorePlan(plan, objective, best.bound), True
    return best, False


def _point(problem: Problem, part: Part, plan: np.ndarray) -> np.ndarray:
    """Return the part's point `(free,)` 0/1 that a plan of the problem stands for."""
    origin = part.piece.shard.origin
    return np.isin(part.free if origin is None else origin[part.free], plan).astype(np.float64)


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
        lambda x: keeps_limits(problem, _plan(problem, part, x)), effort.deadline, effort.seed,
        states_of(part.program, part.owner, prices), news,
    )  # fmt: skip
    if part.free.size > MOST_BESIDE:
        return _top(problem, best, [_plan(problem, part, walk.improve(start, halt))], best.bound)
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
        return _top(problem, best, [found.offers], found.bound)
    plans = [_plan(problem, part, better), *([] if found.offers is None else [found.offers])]
    return _top(problem, best, plans, found.bound)


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
            if keeps_limits(problem, _plan(problem, part, point)):
                news.tell(point, float(part.program.objective @ point))

        return functools.partial(branch, found=tell)

    while size < SMALLER * part.free.size and monotonic() < until and not halt:
        few = opened.closest(size)
        found = _solve(problem, few, effort, until, None, None, halt, told(few))
        if found.offers is None and found.ending is Ending.INFEASIBLE:
            size *= 2
            continue
        if found.offers is not None:
            best = _top(problem, best, [found.offers], best.bound)
        if found.ending is not Ending.OPTIMAL:  # so that what is proven does not depend on the other thread
            best = _top(problem, best, [_plan(problem, part, news.x)], best.bound)
        assert best.offers is not None
        opened = _open(problem, part.piece, prices, bound, best)
        stuck = found.ending is not Ending.OPTIMAL and bound - found.bound < HOPELESS * (bound - best.objective)
        if stuck and opened.part.free.size > NEARLY_ALL * part.piece.shard.value.size:
            other = dataclasses.replace(walk, seed=effort.seed + 1).improve(news.x, halt)
            return best, Found(_plan(problem, part, other), math.inf, Ending.FEASIBLE)
        if found.ending is Ending.OPTIMAL:  # nothing but the proof is left to do, most likely
            hint = _point(problem, opened.part, best.offers)
        break
    return best, _solve(problem, opened.part, effort, effort.deadline, None, hint, halt, told(opened.part))


def _plan(problem: Problem, part: Part, x: np.ndarray) -> np.ndarray:
    """Return the problem's offers that a point of a part stands for, with the required ones."""
    return np.concatenate([part.offers(x), problem.required])


def _top(problem: Problem, best: CorePlan, plans: list[np.ndarray], proven: float) -> CorePlan:
    """Return the best of a plan and others, the first of equals, under a bound."""
    for plan in plans:
        value = exact_sum(problem.column("value", plan))
        if value > best.objective:
            best = CorePlan(plan, value, best.bound)
    return CorePlan(best.offers, best.objective, max(min(best.bound, proven), best.objective))


def _most(best: CorePlan, bound: float) -> float:
    return np.inf if best.offers is None else max(0.0, bound - best.objective) * (1 + 1e-9) + 1e-9


@dataclass(frozen=True, eq=False)
class Found:
    """What branch and bound found in a part: a plan, a bound on all plans of the part, and how it ended."""

    offers: np.ndarray | None
    bound: float
    ending: Ending


def _solve(
    problem: Problem, part: Part, effort: Effort, until: float, nodes: int | None,
    hint: np.ndarray | None = None, halt: Halt | None = None, method: Callable[..., Answer] = solve_integer,
) -> Found:  # fmt: skip
    """Choose among a part's free offers by branch and bound, so that exact sums keep every limit."""
    program = part.program

    proven = math.inf
    for _ in range(MOST_CUTS):
        answer = method(
            program, time_limit=until - monotonic(), absolute_gap=0.4 * effort.tolerance, seed=effort.seed, nodes=nodes,
            hint=hint, halt=halt,
        )  # fmt: skip
        proven = min(proven, part.fixed + answer.bound + required_value(problem))
        if answer.x is None:
            return Found(None, proven, answer.ending)
        plan = _plan(problem, part, answer.x)
        if keeps_limits(problem, plan):
            return Found(plan, proven, answer.ending)
        # Within the solver's tolerance, but not exactly. That plan is infeasible, so to rule out it alone keeps every
        # later bound, and every later proof that nothing is left, valid for the problem as it was given.
        program = without(program, answer.x)
    for digits in (9, 8, 7):
        # Less room finds a plan but proves nothing: it also rules out plans that use a limit to the last cent.
        tighter = tightened(part.program, part.piece.folding.n_limits, 10.0**-digits)
        answer = solve_integer(
            tighter, time_limit=until - monotonic(), absolute_gap=0.4 * effort.tolerance, seed=effort.seed, nodes=nodes
        )
        if answer.x is not None and keeps_limits(problem, _plan(problem, part, answer.x)):
            return Found(_plan(problem, part, answer.x), proven, Ending.FEASIBLE)
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
