"""Many overlapping limits: prices, a plan in hand early, plans that use several limits up at once, mixed scales."""

import itertools

import numpy as np
import pytest

from allocator import Limit, Problem, Status, solve, verify
from allocator import solving as front
from allocator.demo import market
from allocator.solvers import exchange
from allocator.solvers.quadratic import minimise_quadratic


def crossing(users: int, seed: int = 0) -> Problem:
    """A market of four cells and a budget on each of five overlapping unions of them."""
    made = market(users, 4, seed=seed)
    cell = made.region % 2 * 2 + made.segment % 2
    limits = []
    for name, cells in (("a", [0, 1]), ("b", [1, 2]), ("c", [2, 3]), ("d", [0, 3]), ("e", [0, 1, 2])):
        among = np.isin(cell, cells)
        share = 0.9 * len(cells) / 4
        limits.append(Limit(name, at_most=round(share * made.budget, 2), users=among))
    return Problem.from_arrays(made.value, made.cost, budget=made.budget, limits=limits)


def test_a_quadratic_over_a_box_is_at_its_minimum() -> None:
    """At each edge the slope leads out of the box, elsewhere there is none; the curvature is of low rank but for a speck."""
    rng = np.random.default_rng(0)
    uses = rng.random((30, 4))
    hessian = uses @ uses.T + 1e-6 * np.eye(30)
    gradient, low, high = rng.normal(size=30), np.zeros(30), np.full(30, 2.0)
    x = minimise_quadratic(hessian, gradient, low, high)
    slope = gradient + hessian @ x
    assert ((x >= low) & (x <= high)).all()
    assert slope[(x > low) & (x < high)] == pytest.approx(0.0, abs=1e-6)
    assert (slope[x == low] >= -1e-6).all() and (slope[x == high] <= 1e-6).all()


@pytest.mark.slow
def test_there_is_a_plan_though_the_prices_had_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "PRICING", 1e-9)
    monkeypatch.setattr(exchange, "EVALUATIONS", 0)
    problem = crossing(2_000)
    result = solve(problem, time_limit=20.0)
    verify(problem, result)
    assert result.status is not Status.NO_PLAN
    assert result.spend > 0.5 * min(limit.at_most or np.inf for limit in problem.limits)


def test_aiming_at_what_is_left_of_several_limits_beats_exchanges_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = crossing(3_000)
    gaps = []
    for aims in (0, 10):
        monkeypatch.setattr(exchange, "AIMS", aims)
        monkeypatch.setattr(
            exchange, "fitted", lambda *given: None
        )  # as where limits are not used in fixed proportions
        monkeypatch.setattr("allocator.solvers.core.MOST_EXCHANGES", 1)
        monkeypatch.setattr("allocator.solvers.core._grow", lambda *given: (given[5], _settled()))
        result = solve(problem)
        verify(problem, result)
        gaps.append(result.price_bound - result.objective)
    assert gaps[1] < gaps[0]


def _settled() -> object:
    from allocator.solvers.core import State

    return State.SETTLED


@pytest.mark.parametrize("seed", [4, 7, 86, 106])
def test_values_of_a_million_and_of_a_cent_under_one_cap(seed: int) -> None:
    """Rounding of the large ones must not keep the search going in circles over the small ones."""
    rng = np.random.default_rng(seed)
    value = 10.0 ** rng.uniform(-2, 6, (4, 2))
    cap = float(10 ** rng.uniform(0, 3))
    problem = Problem.from_arrays(value, value / 2.0, limits=[Limit("cap", "value", at_most=cap)])
    result = solve(problem, time_limit=20.0)
    taken = itertools.product((0.0, 1.0, 2.0), repeat=4)
    padded = np.hstack([np.zeros((4, 1)), value])
    sums = (float(sum(padded[i, int(k)] for i, k in enumerate(choice))) for choice in taken)
    assert result.status is Status.OPTIMAL
    assert result.objective == pytest.approx(max(total for total in sums if total <= cap), abs=0.01)
