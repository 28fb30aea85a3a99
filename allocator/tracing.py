"""What each of many budgets earns: `frontier`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from allocator.clock import working_time
from allocator.problem import Problem
from allocator.problem.intake import positive_budget
from allocator.solvers import candidates
from allocator.solvers.curve import Curve, Point
from allocator.solvers.exchange import exchanged_inside
from allocator.solvers.prices import Search
from allocator.solvers.tally import Tally
from allocator.solving import CENT, near_bound, price_search, solve, whole_piece

if TYPE_CHECKING:
    import pandas as pd

CLOSE = 1e-6  # relative gap that a row may have
EFFORTS = (
    (0.1, 1_500),
    (0.2, 4_000),
    (0.3, 8_000),
    (1.0, 20_000),
)  # of exchanges, and offers that they look at: few first


@dataclass(frozen=True)
class FrontierRow:
    """One budget of a frontier; `price` is what one more unit of budget would earn."""

    budget: float
    objective: float
    bound: float
    spend: float
    issued: int
    price: float


@dataclass(frozen=True)
class Frontier:
    """What each budget earns."""

    rows: tuple[FrontierRow, ...]

    def __len__(self) -> int:
        """Return the number of budgets."""
        return len(self.rows)

    def to_pandas(self) -> pd.DataFrame:
        """Return a table: budget, objective, bound, spend, issued, price."""
        import pandas as pd

        return pd.DataFrame(
            [dataclasses.asdict(row) for row in self.rows], columns=list(FrontierRow.__dataclass_fields__)
        )


def frontier(
    problem: Problem,
    budgets: Sequence[float],
    *,
    limit: str = "budget",
    time_limit: float = 60.0,
    threads: int | None = None,
    seed: int = 0,
) -> Frontier:
    """Solve for each budget; all share the work of setting users aside whose choice does not change between them.

    Each row's plan is within a millionth (or a cent) of its bound, unless `time_limit` (seconds, each budget's) ends it.
    Raises `UsageError` where the problem has no limit of that name, or a budget is not above 0.
    """
    at = problem.limit_index(limit)
    numbers = sorted({positive_budget(budget) for budget in budgets})
    if not numbers:
        return Frontier(())
    if problem.chance is not None:
        each = {budget: _row_with_chance(problem, limit, budget, time_limit, threads, seed) for budget in numbers}
        return Frontier(tuple(each[float(budget)] for budget in budgets))
    problem = problem.with_bounds(limit, at_least=problem.limits[at].at_least, at_most=numbers[-1])
    piece = whole_piece(problem, threads)
    search, tau = price_search(problem, piece, working_time() + time_limit, seed, lambda stage, share: None)
    curve = Curve(search, problem, at, tolerance=_tolerance)
    rows: dict[float, FrontierRow] = {}
    for point in curve.points(numbers, np.zeros(piece.folding.n_limits), tau):
        budget = numbers[point.position]
        changed = problem.with_bounds(limit, at_least=problem.limits[at].at_least, at_most=budget)
        rows[budget] = _row(changed, point, at, seed) or _row_at_length(
            changed, search, point, at, time_limit, tau, seed
        )
        search.deadline = working_time() + time_limit
    return Frontier(tuple(rows[float(budget)] for budget in budgets))


def _tolerance(bound: float) -> float:
    """Return the gap that a row may have, currency."""
    return max(CENT, CLOSE * abs(bound))


def _row(problem: Problem, point: Point, at: int, seed: int) -> FrontierRow | None:
    """Return the row of a budget from exchanges among the users near indifference, where they come close enough."""
    close = point.close
    if close is None:
        return None
    bound = close.value + candidates.required_value(problem)
    tolerance = _tolerance(bound)
    for effort, offers in EFFORTS:
        own = exchanged_inside(close.piece, close.prices, np.inf, 0.9 * tolerance, seed, effort, offers=offers)
        plan = None if own is None else close.plan(own)
        if plan is not None and bound - plan.objective <= tolerance and plan.keeps(problem):
            return _told(problem, plan, bound, float(close.prices[at]), at)
    return None


def _row_at_length(
    problem: Problem, search: Search, point: Point, at: int, time_limit: float, tau: float, seed: int
) -> FrontierRow:
    """Return the row of a budget by all that a solve does."""
    minimum = point.exactly()
    bound = minimum.value + candidates.required_value(problem)
    here = dataclasses.replace(search, whole=point.whole, deadline=working_time() + time_limit)
    _, found = near_bound(problem, here, minimum, bound, _tolerance(bound), working_time(), time_limit, tau, seed)
    price, bound = float(minimum.prices[at]), min(bound, found.bound)
    if found.offers is None:
        return FrontierRow(float(problem.limits[at].at_most or 0.0), math.nan, bound, 0.0, 0, price)
    return _told(problem, Tally.of(problem, found.offers), bound, price, at)


def _told(problem: Problem, plan: Tally, bound: float, price: float, at: int) -> FrontierRow:
    budget = float(problem.limits[at].at_most or 0.0)
    return FrontierRow(budget, plan.objective, bound, plan.spend, plan.issued, price)


def _row_with_chance(
    problem: Problem, limit: str, budget: float, time_limit: float, threads: int | None, seed: int
) -> FrontierRow:
    """Return the row of one budget that must hold with a probability; each is solved for itself."""
    changed = problem.with_bounds(limit, at_least=problem.limits[problem.limit_index(limit)].at_least, at_most=budget)
    result = solve(changed, time_limit, 1e-6, threads, seed)
    price = result.prices[-1] if result.chance is not None and problem.chance and problem.chance.limit == limit else 0.0
    if result.chance is not None:
        price += result.prices[limit]
    return FrontierRow(budget, result.objective, result.bound, result.spend, len(result.plan), price)
