"""The front door: `solve`. It assembles; the work is done in `solvers`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from allocator.clock import working_time
from allocator.diagnosis.attempts import plan_on_the_edge
from allocator.diagnosis.conflicts import diagnose
from allocator.errors import UsageError
from allocator.executors.local import LocalExecutor, PassCounter
from allocator.executors.shard import whole
from allocator.hedging.chance import Priced, Tools, solve_with_chance
from allocator.hedging.covering import Dual
from allocator.kernels.sums import exact_sum
from allocator.plan import Plan
from allocator.problem import Problem
from allocator.result import Diagnosis, LimitUse, Prices, Proof, Result, Status
from allocator.solvers import candidates, core, ties
from allocator.solvers.boxes import Box
from allocator.solvers.folding import fold
from allocator.solvers.piece import Piece
from allocator.solvers.prices import Prices as Minimum
from allocator.solvers.prices import Search
from allocator.solvers.relaxation import limit_matrix
from allocator.solvers.tally import Tally

CENT = 0.01  # currency; a gap below it counts as optimal
PRICING = 2 / 3  # of the time, at most, for prices: a plan is wanted too
PATIENCE = 1 / 2  # of the time left after the prices, for a first plan; then the limits are looked at one by one
NEAR = 1e-7  # relative gap of a plan under a stand-in: what it stands in for is not known any better
LEAST_SECONDS = 0.05  # for prices, however little time is left: any prices bound, but poor ones bound poorly
WHOLE = 1e-11  # of a bound: far above the rounding in it
DEAR = 20.0  # typical values a typical offer may be charged for a limit, at first
BENT, BENDING = 20_000, 0.05  # users that tell the dual's curvature; of a typical value: the temperature for that
AROUND = 0.02  # of a typical value: how far prices that are near each other move an offer
WARM = 1e-2  # of the first temperature, where the search for prices begins at those of a problem much like it
Progress = Callable[[str, float], None]


def solve(
    problem: Problem,
    time_limit: float = 60.0,
    gap: float = 1e-9,
    threads: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Result:
    """Find the plan of greatest value, with a proof of how good it is.

    Parameters
    ----------
    time_limit
        Seconds; where it is reached, the best plan so far is returned with its gap.
    gap
        Relative gap that counts as optimal, beside an absolute one of 0.01 currency units.
    threads
        For passes over the offers; the plan does not depend on it.
    seed
        For the random samples that prices start from.
    progress
        Called with a stage's name and how far it is.

    Raises
    ------
    UsageError
        Where an argument makes no sense. Infeasible is a status, not an exception.
    """
    if not time_limit > 0 or not gap >= 0 or (threads is not None and threads < 1):
        raise UsageError("time_limit must be above 0, gap at least 0 and threads at least 1")
    if problem.chance is not None:
        return solve_with_chance(problem, _tools(gap, threads, seed, progress), time_limit, gap)
    return _solved(problem, time_limit, gap, threads, seed, progress)


def _solved(
    problem: Problem,
    time_limit: float,
    gap: float,
    threads: int | None,
    seed: int,
    progress: Progress | None,
    start: np.ndarray | None = None,
) -> Result:
    """As `solve`, of a problem without a chance limit; `start`: prices of a problem much like it."""
    begin = working_time()
    report = progress or (lambda stage, share: None)
    broken = _broken_rules(problem)
    if broken:
        return _without_plan(problem, Status.INFEASIBLE, Proof.RULES, 0.0, begin, diagnosis=Diagnosis((), broken))
    piece = whole_piece(problem, threads)
    search, tau = price_search(problem, piece, begin + PRICING * time_limit, seed, report)
    minimum = search.run(np.zeros(piece.folding.n_limits), tau) if start is None else search.run(start, tau * WARM)
    priced = working_time()
    passes = piece.executor.counter
    bound = minimum.value + candidates.required_value(problem)
    if minimum.infeasible:
        return _explained(problem, piece, minimum.prices, begin, time_limit, seed, report)
    report("integer", 0.0)
    tolerance = max(CENT, gap * abs(bound)) * 0.9
    if problem.whole_values:
        tolerance = max(tolerance, bound - _whole(bound))
    prices, found = near_bound(problem, search, minimum, bound, tolerance, begin, time_limit, tau, seed)
    if prices is not minimum.prices:
        other = piece.exact(prices)[0] + candidates.required_value(problem)
        prices, bound = (prices, other) if other < bound else (minimum.prices, bound)
    if found.offers is None and not found.infeasible:
        found = _last_attempt(problem, piece, prices, begin + time_limit, seed)
    seconds = {"prices": priced - begin, "integer": working_time() - priced, "total": working_time() - begin}
    if found.offers is None:
        return _explained(problem, piece, None, begin, time_limit, seed, report, known=found.infeasible)
    return _with_plan(problem, prices, bound, found, passes.passes, seconds, gap)


def near_bound(
    problem: Problem,
    search: Search,
    minimum: Minimum,
    bound: float,
    tolerance: float,
    begin: float,
    time_limit: float,
    tau: float,
    seed: int,
) -> tuple[np.ndarray, candidates.CorePlan]:
    """Return a plan near the bound, and the prices that it comes from (those of `minimum`, unless ties had to be broken)."""
    piece, deadline = search.whole, begin + time_limit
    tied = not minimum.exact and working_time() < search.deadline
    if minimum.exact and minimum.plan is None and ties.is_tied(minimum.piece, minimum.prices):
        # Ties may not matter: offers that use and earn the same are as good as one.
        effort = candidates.Effort(tolerance, working_time(), deadline, deadline, seed)
        best = core.first_plan(problem, piece, minimum.piece, minimum.prices, bound, effort)
        tied = not effort.spent(bound, best)
        if not tied:
            return minimum.prices, best
    if tied:
        apart = dataclasses.replace(search, whole=ties.told_apart(piece, tolerance, search.rng))
        start = (minimum.prices, tau * 1e-6) if minimum.exact else (np.zeros(minimum.prices.size), tau)
        other = apart.run(*start)
        if not other.infeasible:
            piece, minimum, bound = apart.whole, other, other.value + candidates.required_value(problem)
    now = working_time()
    found = core.search(
        problem,
        piece,
        minimum.piece,
        minimum.prices,
        bound,
        tolerance=tolerance,
        deadline=deadline,
        seed=seed,
        patience=now + PATIENCE * (deadline - now),
        start=minimum.plan,
    )
    return minimum.prices, found


def _tools(gap: float, threads: int | None, seed: int, progress: Progress | None) -> Tools:
    """Return what a search above this one needs: whole solves, and prices alone."""

    def whole_solve(problem: Problem, seconds: float, start: np.ndarray | None) -> Result:
        return _solved(problem, seconds, max(gap, NEAR), threads, seed, progress, start)

    def price(problem: Problem, start: np.ndarray | None, deadline: float, enough: float) -> Priced:
        if _broken_rules(problem):
            return Priced(np.zeros(len(problem.limits)), -math.inf, hopeless=True, chosen=np.empty(0, np.int64))
        piece = whole_piece(problem, threads)
        search, tau = price_search(
            problem, piece, max(deadline, working_time() + LEAST_SECONDS), seed, lambda stage, share: None
        )
        # Where the ranges of a box leave no plan, the dual has no minimum; inside bounds it has, and they can move.
        center = np.zeros(piece.folding.n_limits) if start is None else start
        outer = search.signs.within(center, np.tile(DEAR * tau / search.scale, (2, 1)))
        search.floor = max(search.floor, enough - candidates.required_value(problem))
        minimum = search.run(center, tau if start is None else tau * WARM, outer=outer)
        value, _, choices = piece.exact(minimum.prices)
        bound = value + candidates.required_value(problem)
        return Priced(minimum.prices, bound, minimum.infeasible, np.concatenate([choices.picked, problem.required]))

    def dual(problem: Problem) -> Dual:
        return _dual(problem, threads, seed)

    return Tools(whole_solve, price, dual)


def _dual(problem: Problem, threads: int | None, seed: int) -> Dual:
    """Return the dual of a problem as a function of prices that will mostly be near each other."""
    piece, required = whole_piece(problem, threads), candidates.required_value(problem)
    used = np.array([problem.measure(r, problem.required).sum() for r in range(len(problem.limits))])
    few = piece.sample(min(BENT, piece.shard.n_users), np.random.default_rng(seed))
    present = np.flatnonzero(~np.isnan(few.shard.value))
    typical = _typical_value(few, present)
    radius = np.tile(AROUND * typical / _typical_use(few, present), (2, 1))
    around: list[tuple[Box, Piece, np.ndarray]] = []

    def value(prices: np.ndarray) -> tuple[float, np.ndarray]:
        for box, inside, fixed in around:
            if box.holds(prices):
                total, usage, _ = inside.exact(prices)
                return total + required, usage + fixed
        box = Box(prices - radius[0], prices + radius[1])
        inside, whole = box.open_piece(piece), piece.folding
        bounded = np.isfinite(whole.at_most)
        numbers, left = (np.where(bounded, of.at_most, of.at_least) for of in (whole, inside.folding))
        around[:] = [(box, inside, used + numbers - left)]
        return value(prices)

    def curvature(prices: np.ndarray) -> np.ndarray | None:
        _, _, bend = few.soft(prices, BENDING * typical)
        return bend * (piece.shard.n_users / few.shard.n_users) if isinstance(bend, np.ndarray) else None

    return Dual(value, curvature)


def _last_attempt(
    problem: Problem, piece: Piece, prices: np.ndarray, deadline: float, seed: int
) -> candidates.CorePlan:
    """Look for any plan at all, where the search for value found none."""
    offers = plan_on_the_edge(problem, piece, prices, deadline, seed)
    objective = -math.inf if offers is None else exact_sum(problem.column("value", offers))
    return candidates.CorePlan(offers, objective, math.inf)


def whole_piece(problem: Problem, threads: int | None) -> Piece:
    """Return all of a problem, nothing fixed yet."""
    folding = fold(problem)
    executor = LocalExecutor(threads, PassCounter(0, problem.offers.n_offers))
    return Piece(whole(problem, folding.columns), folding, executor, 0.0, ())


def price_search(problem: Problem, piece: Piece, deadline: float, seed: int, report: Progress) -> tuple[Search, float]:
    """Return a search for prices, and the temperature to begin at."""
    rng = np.random.default_rng(seed)
    folding = piece.folding
    few = piece.sample(min(1000, piece.shard.n_users), rng)
    present = np.flatnonzero(~np.isnan(few.shard.value))
    floor = -math.inf
    if np.isfinite(folding.at_least).any():
        caps = piece.shard.caps
        most = int(caps.sum()) if caps.size else piece.shard.n_users * min(piece.shard.cap, problem.n_coupons)
        floor = most * float(np.fmin.reduce(piece.shard.value, initial=0.0)) - 1.0
    return Search(piece, _typical_use(few, present), floor, deadline, rng, report), _typical_value(few, present)


def _typical_value(few: Piece, present: np.ndarray) -> float:
    """Return the mean size of the values of these offers, above 0."""
    return max(float(np.abs(few.shard.value[present]).mean()) if present.size else 1.0, 1e-9)


def _typical_use(few: Piece, present: np.ndarray) -> np.ndarray:
    """Return the mean size of each limit's number over the offers that it covers, `(n_limits,)`, above 0."""
    n = few.folding.n_limits
    uses = abs(limit_matrix(few.shard, few.folding, present, np.arange(n)))
    covered = np.maximum(np.diff(uses.indptr), 1)
    mean = np.asarray(uses.sum(axis=1)).reshape(-1) / covered
    return np.where(mean > 0, mean, 1.0)


def _with_plan(
    problem: Problem,
    prices: np.ndarray,
    price_bound: float,
    found: candidates.CorePlan,
    passes: float,
    seconds: dict[str, float],
    gap: float,
) -> Result:
    assert found.offers is not None
    plan = Plan.of(problem, found.offers)
    tally = Tally.of(problem, plan.offer)
    # Rounding in the sums must not put the bound below the plan's own value.
    least = _whole(price_bound) if problem.whole_values else price_bound
    bound = max(min(least, found.bound), found.objective)
    searched = found.bound < least
    distance = bound - found.objective
    optimal = distance < CENT or distance <= gap * abs(found.objective)
    proof = Proof.BRANCH_AND_BOUND if searched and least - found.objective >= CENT else Proof.PRICES
    names = tuple(limit.name for limit in problem.limits)
    return Result(
        status=Status.OPTIMAL if optimal else Status.FEASIBLE,
        objective=found.objective,
        bound=bound if proof is Proof.BRANCH_AND_BOUND else max(least, found.objective),
        price_bound=max(price_bound, found.objective),
        prices=Prices(names, prices),
        proof=proof,
        plan=plan,
        passes=passes,
        seconds=seconds,
        limits=_uses(problem, tally, prices),
        spend=tally.spend,
    )


def _whole(bound: float) -> float:
    """Return the greatest whole number that a plan of whole values can earn under a bound, with room for its rounding."""
    return float(math.floor(bound + WHOLE * max(1.0, abs(bound))))


def _uses(problem: Problem, tally: Tally, prices: np.ndarray) -> tuple[LimitUse, ...]:
    return tuple(
        LimitUse(limit.name, limit.measure_name, used, limit.at_least, limit.at_most, float(price))
        for limit, used, price in zip(problem.limits, tally.used, prices, strict=True)
    )


def _explained(
    problem: Problem,
    piece: Piece,
    ray: np.ndarray | None,
    begin: float,
    time_limit: float,
    seed: int,
    report: Progress,
    *,
    known: bool = True,
) -> Result:
    """Say which limits conflict, where that is `known` or comes out; else that no plan was found."""
    report("diagnosis", 0.0)
    finding = diagnose(problem, piece, ray, known=known, deadline=begin + time_limit, seed=seed)
    passes = piece.executor.counter
    if finding is None:
        return _without_plan(problem, Status.NO_PLAN, Proof.NONE, passes.passes, begin)
    proof = Proof.BRANCH_AND_BOUND if finding.ray is None else Proof.FARKAS
    return _without_plan(
        problem, Status.INFEASIBLE, proof, passes.passes, begin, prices=finding.ray, diagnosis=finding.diagnosis
    )


def _without_plan(
    problem: Problem,
    status: Status,
    proof: Proof,
    passes: float,
    begin: float,
    *,
    prices: np.ndarray | None = None,
    diagnosis: Diagnosis | None = None,
) -> Result:
    names = tuple(limit.name for limit in problem.limits)
    return Result(
        status=status,
        objective=math.nan,
        bound=math.nan,
        price_bound=math.nan,
        prices=Prices(names, np.zeros(len(names)) if prices is None else prices),
        proof=proof,
        plan=Plan.of(problem, np.empty(0, np.int64)),
        passes=passes,
        seconds={"prices": working_time() - begin, "integer": 0.0, "total": working_time() - begin},
        diagnosis=diagnosis,
    )


def _broken_rules(problem: Problem) -> str:
    """Say which required offers cannot go together, or return an empty string."""
    if not problem.required.size:
        return ""
    owners = problem.offers.users_of(problem.required)
    users, counts = np.unique(owners, return_counts=True)
    caps = problem.max_per_user if isinstance(problem.max_per_user, int) else problem.max_per_user[users]
    over = users[counts > caps]
    if over.size:
        return f"{over.size:,} users have more required offers than max_per_user allows (e.g. user {int(over[0])})"
    groups = problem.exclusive[problem.offers.coupons_of(problem.required)]
    pairs = np.column_stack([owners, groups])[groups >= 0]
    found, counts = np.unique(pairs, axis=0, return_counts=True)
    twice = found[counts > 1]
    if twice.size:
        return f"user {int(twice[0, 0])} has two required offers of one exclusive group; require one of them"
    return ""
