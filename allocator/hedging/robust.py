"""Plans for effects that are not known for sure: several draws of every offer's value, and care for the bad ones.

With v_j(x) the value of plan x under draw j, the mean of the worst share of the draws (CVaR: Rockafellar and Uryasev,
"Optimization of conditional value-at-risk", 2000, doi:10.21314/JOR.2000.038) is the least weighted mean over weights that
no draw may exceed: min over w of sum_j w_j v_j(x), 0 <= w_j <= 1 / (share J), sum_j w_j = 1. Whatever the weights, no plan
has a larger one than the best plan for the weighted values earns: so weights and limits' prices together are a proof,
which anyone can recompute in one pass. The best bound is the minimum over the weights of a convex function, whose value
and slope one solve of the plain problem gives; it is looked for with cutting planes inside a trust region.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from allocator.clock import working_time
from allocator.errors import DataError, UsageError
from allocator.plan import Plan
from allocator.problem import Problem
from allocator.result import Result, Status

ROUNDS = 80
FIRST_RADIUS = 0.2  # of the largest weight
LEAST_RADIUS = 1e-5
GROWTH, SHRINK = 1.3, 0.7  # of the radius, where a bound got better, and where not
CLOSE = 1e-6  # relative gap that counts as closed
ROUGH, NEAR = 1e-4, 1e-7  # relative gap of a plain solve on the way, and of the last
Plain = Callable[[Problem, float, float], Result]  # a problem, seconds, a relative gap


@dataclass(frozen=True)
class Care:
    """What to maximise: (1 - weight) x mean over the draws + weight x mean of the worst `share` of them.

    Attributes
    ----------
    share
        Above 0 to 1; 1: the mean. `0.0` stands for the single worst draw.
    weight
        0 to 1.
    """

    share: float = 1.0
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Raise `UsageError` where a number makes no sense; NaN makes none."""
        if not 0.0 <= self.share <= 1.0 or not 0.0 <= self.weight <= 1.0:
            raise UsageError(f"share is {self.share:g} and weight {self.weight:g}; both must be from 0 to 1")

    @classmethod
    def parse(cls, text: str) -> Care:
        """Read `mean`, `worst` or `cvar:0.9` (the mean of the worst tenth)."""
        word, _, number = text.strip().lower().partition(":")
        if word == "mean" and not number:
            return cls(1.0)
        if word == "worst" and not number:
            return cls(0.0)
        try:
            level = float(number)
        except ValueError:
            level = math.nan
        if word != "cvar" or not 0.0 <= level < 1.0:
            raise UsageError(f"{text!r} is no rule; write mean, worst, or cvar:0.9 for the mean of the worst tenth")
        return cls(1.0 - level)

    def cap(self, n_draws: int) -> float:
        """Return the largest weight of a draw in the worst share."""
        return 1.0 if self.share * n_draws <= 1.0 else 1.0 / (self.share * n_draws)

    def tail(self, values: np.ndarray) -> float:
        """Return the mean of the worst share of these values, currency."""
        ordered, left, total = np.sort(values), 1.0, 0.0
        cap = self.cap(values.size)
        for value in ordered.tolist():
            part = min(cap, left)
            total, left = total + part * value, left - part
            if left <= 0:
                break
        return total

    def of(self, values: np.ndarray) -> float:
        """Return what is maximised, for a plan's values under the draws."""
        return (1.0 - self.weight) * float(values.mean()) + self.weight * self.tail(values)


@dataclass(frozen=True, eq=False)
class Hedged:
    """A plan, its value under every draw, and the proof of how good it is. Currency.

    Attributes
    ----------
    values
        `(n_draws,)`: what the plan earns under each.
    objective, bound
        What `care` makes of them, and what no plan exceeds.
    weights, prices
        `(n_draws,)` and `(n_limits,)`: the proof. At these weights the values' weighted sum, less the limits' prices,
        gives the bound.
    at_mean
        `(n_draws,)`: the values of the plan that is best on average.
    rounds
        How many plain problems were solved.
    """

    care: Care
    plan: Plan
    values: np.ndarray
    objective: float
    bound: float
    weights: np.ndarray
    prices: np.ndarray
    at_mean: np.ndarray
    rounds: int

    @property
    def gap(self) -> float:
        """`bound - objective`, never below 0."""
        return max(0.0, self.bound - self.objective)


def draws_of(problem: Problem, draws: np.ndarray) -> np.ndarray:
    """Return draws of the values as `(n_draws, n_offers)` float64, in the order of the problem's offers.

    `draws` is `(n_draws, n_users, n_coupons)` for a grid, or `(n_draws, n_rows)` in the order of the caller's table.

    Raises
    ------
    DataError
        Where the shape does not fit, or a number of an eligible pair is not finite.
    """
    array = np.asarray(draws, dtype=np.float64)
    array = array.reshape(array.shape[0], -1) if array.ndim > 1 else array
    n = problem.offers.n_offers
    if array.ndim != 2 or array.shape[0] < 2 or array.shape[1] != n:
        raise DataError(f"draws have shape {np.shape(draws)}; they must be two or more, each with {n:,} offers' values")
    if problem.offers.row is not None:
        array = array[:, problem.offers.row]
    absent = np.isnan(problem.offers.value)
    if absent.any():
        array = np.where(absent, 0.0, array)
    bad = ~np.isfinite(array)
    if bad.any():
        j, e = (int(place[0]) for place in np.nonzero(bad))
        raise DataError(
            f"draws: {int(bad.sum()):,} values are not finite numbers (first: draw {j}, offer {e}); correct them"
        )
    return array


def solve_hedged(
    problem: Problem,
    draws: np.ndarray,
    care: Care,
    solve: Plain,
    *,
    time_limit: float = 60.0,
    known: Sequence[Plan] = (),
    start: np.ndarray | None = None,
) -> Hedged | Result:
    """Maximise what `care` asks for, with a proven bound; the plain `Result` where there is no plan at all.

    `draws` as `draws_of` returns them; `solve` the plain solver; `known` plans to begin with;
    `start` weights of the draws to begin at, such as those of a rule much like this one.
    """
    if problem.chance is not None:
        raise UsageError("a plan can be careful about its budget or about its effects, not yet both; leave one out")
    search = _Search(problem, draws, care)
    deadline = working_time() + time_limit
    for plan in known:
        search.add(plan)
    n = draws.shape[0]
    weights = np.full(n, 1.0 / n) if start is None else _summing_to_one(start, care.cap(n))
    radius = FIRST_RADIUS * care.cap(n)
    center, at_mean, rounds = weights, None, 0
    alone = care.weight == 0 or care.share == 1.0  # the mean: one solve is all
    while rounds < ROUNDS:
        rounds += 1
        # Weights on the way need prices, whose bound is as good as any; only the last plan must be near its best.
        result = solve(search.weighted(weights), max(0.5, deadline - working_time()), NEAR if alone else ROUGH)
        if result.status not in (Status.OPTIMAL, Status.FEASIBLE):
            if search.best is None:
                return result
            break
        values = search.add(Plan.of(problem, result.plan.offer))
        at_mean = values if at_mean is None else at_mean
        if search.bounded(result, weights):
            center = weights
            radius = min(GROWTH * radius, care.cap(n))
        else:
            radius *= SHRINK
        if alone or search.gap <= CLOSE * abs(search.objective) or working_time() > deadline or radius < LEAST_RADIUS:
            break
        weights = search.next_weights(center, radius)
    if not alone and search.proof[0].size:
        last = solve(search.weighted(search.proof[0]), max(0.5, deadline - working_time()), NEAR)
        if last.status in (Status.OPTIMAL, Status.FEASIBLE):
            search.add(Plan.of(problem, last.plan.offer))
    assert search.best is not None and at_mean is not None
    return Hedged(
        care,
        search.best,
        search.values,
        search.objective,
        max(search.bound, search.objective),
        search.proof[0],
        search.proof[1],
        at_mean,
        rounds,
    )


class _Search:
    """Plans found, and the best bound."""

    def __init__(self, problem: Problem, draws: np.ndarray, care: Care) -> None:
        self.problem, self.draws, self.care = problem, draws, care
        self.cuts: list[np.ndarray] = []
        self.best: Plan | None = None
        self.values = np.empty(0)
        self.objective, self.bound = -math.inf, math.inf
        self.proof = (np.empty(0), np.empty(0))

    @property
    def gap(self) -> float:
        return self.bound - self.objective

    def mixed(self, weights: np.ndarray) -> np.ndarray:
        """Return each draw's weight in what is maximised."""
        return mixed_weights(self.care, weights)

    def weighted(self, weights: np.ndarray) -> Problem:
        """Return the problem whose values are weighted means of the draws."""
        return weighted_problem(self.problem, self.draws, self.mixed(weights))

    def add(self, plan: Plan) -> np.ndarray:
        """Take note of a plan; return its values."""
        values = self.draws[:, plan.offer].sum(axis=1)
        self.cuts.append(values)
        objective = self.care.of(values)
        if objective > self.objective:
            self.best, self.values, self.objective = plan, values, objective
        return values

    def bounded(self, result: Result, weights: np.ndarray) -> bool:
        """Take note of a bound; tell whether it is the best so far."""
        if result.price_bound >= self.bound:
            return False
        self.bound, self.proof = result.price_bound, (weights, np.asarray(result.prices))
        return True

    def next_weights(self, center: np.ndarray, radius: float) -> np.ndarray:
        """Return the weights near `center` at which the plans found so far earn least."""
        n, care = center.size, self.care
        cuts = np.array(self.cuts)
        # Minimise t with t >= (1 - weight) mean + weight w.v for every plan's values v.
        rows = np.concatenate([care.weight * cuts, -np.ones((cuts.shape[0], 1))], axis=1)
        ends = -(1.0 - care.weight) * cuts.mean(axis=1)
        low, high = np.maximum(center - radius, 0.0), np.minimum(center + radius, care.cap(n))
        answer = scipy.optimize.linprog(
            np.append(np.zeros(n), 1.0),
            A_ub=rows,
            b_ub=ends,
            A_eq=np.append(np.ones(n), 0.0)[None, :],
            b_eq=[1.0],
            bounds=[*zip(low, high, strict=True), (None, None)],
            method="highs",
        )
        if answer.x is None:
            return center
        return _summing_to_one(answer.x[:n], care.cap(n))


def _summing_to_one(weights: np.ndarray, cap: float) -> np.ndarray:
    """Mend what a linear program's tolerance leaves: weights from 0 to `cap` that add up to 1."""
    weights = np.clip(weights, 0.0, cap)
    missing = 1.0 - float(weights.sum())
    room = cap - weights if missing > 0 else weights
    total = float(room.sum())
    return weights + missing * room / total if total > 0 else weights


def mixed_weights(care: Care, weights: np.ndarray) -> np.ndarray:
    """Return each draw's weight in what is maximised, given its weight in the worst share."""
    return (1.0 - care.weight) / weights.size + care.weight * weights


def weighted_problem(problem: Problem, draws: np.ndarray, weights: np.ndarray) -> Problem:
    """Return the problem whose values are these weighted sums of the draws."""
    value = np.where(np.isnan(problem.offers.value), np.nan, weights @ draws)
    return dataclasses.replace(problem, offers=dataclasses.replace(problem.offers, value=value))


@dataclass(frozen=True)
class TradeOff:
    """One point between the best mean and the best worst share. Currency."""

    weight: float
    mean: float
    tail: float
    worst: float
    objective: float
    bound: float
    issued: int


def trade_off(
    problem: Problem,
    draws: np.ndarray,
    share: float,
    solve: Plain,
    *,
    steps: int = 5,
    time_limit: float = 60.0,
) -> list[Hedged] | Result:
    """Return plans from the best mean (weight 0) to the best worst share (weight 1); `time_limit` is each one's."""
    found: list[Hedged] = []
    for weight in np.linspace(0.0, 1.0, steps).tolist():
        plans = [item.plan for item in found]
        start = found[-1].weights if len(found) > 1 else None
        item = solve_hedged(problem, draws, Care(share, weight), solve, time_limit=time_limit, known=plans, start=start)
        if isinstance(item, Result):
            return item
        found.append(item)
    return found


def rows_of(found: Sequence[Hedged]) -> list[TradeOff]:
    """Return a curve as rows."""
    return [
        TradeOff(
            item.care.weight,
            float(item.values.mean()),
            item.care.tail(item.values),
            float(item.values.min()),
            item.objective,
            item.bound,
            len(item.plan),
        )
        for item in found
    ]
