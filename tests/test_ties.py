"""Masses of ties: identical users, values in proportion to costs, and large terms that cancel."""

import dataclasses

import numpy as np
import pytest
from scipy.optimize import Bounds, LinearConstraint, milp

from allocator import Limit, Problem, Proof, Status, VerificationError, solve, verify
from allocator.demo import market
from allocator.executors.shard import whole
from allocator.solvers.folding import fold
from allocator.solvers.twins import distinct_users

N_USERS, N_COUPONS = 5_000, 4


def _kinds(rng: np.random.Generator, n_kinds: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    cost = rng.gamma(2.0, 1.0, (n_kinds, N_COUPONS)) * np.arange(1, N_COUPONS + 1)
    return cost * rng.normal(1.5, 0.5, cost.shape), cost, rng.integers(0, n_kinds, N_USERS)


@pytest.mark.parametrize("seed", range(3))
def test_identical_users_get_a_plan_near_the_bound(seed: int) -> None:
    """Ten kinds of users, 500 of each: the model by kinds is tiny, and its relaxation is the bound."""
    value, cost, kind = _kinds(np.random.default_rng(seed), 10)
    budget, quantities = 4_000.0, [400, 300, None, 1]
    problem = Problem.from_arrays(value[kind], cost[kind], budget=budget, quantities=quantities)
    result = solve(problem, time_limit=3.0)
    verify(problem, result)
    count = np.bincount(kind, minlength=10).astype(float)
    rows = [cost.ravel(), *(np.tile(np.eye(N_COUPONS)[k], 10) for k in (0, 1, 3)), *np.kron(np.eye(10), np.ones(4))]
    relaxed = milp(
        -value.ravel(),
        constraints=LinearConstraint(np.array(rows), -np.inf, [budget, 400, 300, 1, *count]),
        bounds=Bounds(0, np.repeat(count, N_COUPONS)),
    )
    assert result.price_bound == pytest.approx(-relaxed.fun, rel=1e-6)
    assert result.relative_gap < 1e-3


def test_value_in_proportion_to_cost() -> None:
    """At the budget's price every offer is as good as any other; what counts is to spend all of it."""
    rng = np.random.default_rng(2)
    cost = np.round(rng.gamma(2.0, 1.0, (N_USERS, N_COUPONS)), 2)
    problem = Problem.from_arrays(1.5 * cost, cost, budget=3_000.0, quantities=[1, 2, None, 500], max_per_user=2)
    result = solve(problem, time_limit=20.0)
    verify(problem, result)
    assert result.status is Status.OPTIMAL
    assert result.objective == pytest.approx(4_500.0, abs=0.01)


def test_large_terms_that_cancel_verify() -> None:
    """A quantity of 0 at a price in the millions: the dual is 0 but for rounding, which verification allows for."""
    value = np.array([[2_325_833.3581618844], [1_834_219.1234567]])
    problem = Problem.from_arrays(value, value / 3.0, limits=[Limit("none", "count", at_most=0)])
    result = solve(problem)
    verify(problem, result)
    assert result.status is Status.OPTIMAL


@pytest.mark.parametrize("dense", [True, False])
def test_twins_are_users_with_the_same_offers(dense: bool) -> None:
    """Every user is found under the one of their kind, whether offers come as a grid or as rows."""
    value, cost, kind = _kinds(np.random.default_rng(0), 10)
    value[3, 1] = np.nan
    if dense:
        problem = Problem.from_arrays(value[kind], cost[kind], budget=1.0)
    else:
        pandas = pytest.importorskip("pandas")
        user, coupon = np.nonzero(~np.isnan(value[kind]))
        table = pandas.DataFrame({"user_id": user, "coupon": coupon.astype(str)})
        table["value"], table["cost"] = value[kind][user, coupon], cost[kind][user, coupon]
        problem = Problem.from_offers(table, limits=[Limit("budget", at_most=1.0)])
    first, counts = distinct_users(whole(problem, fold(problem).columns))
    order = np.sort(np.unique(kind, return_index=True)[1])
    assert first.tolist() == order.tolist()
    assert counts.tolist() == np.bincount(kind)[kind[order]].tolist()


def test_where_all_values_are_whole_the_bound_is_too() -> None:
    """Less than one unit above the plan, the prices' bound proves it best; a claim of one unit less is refused."""
    made = market(4_000, 8, seed=1)
    value, cost = np.round(made.value), np.ceil(made.cost * 100) / 100
    problem = Problem.from_arrays(value, cost, budget=made.budget, quantities=made.quantities)
    result = solve(problem, time_limit=20.0)
    assert result.status is Status.OPTIMAL
    assert result.bound == result.objective == round(result.objective)
    verify(problem, result)
    worse = solve(problem.with_bounds("budget", at_least=None, at_most=0.9 * made.budget), time_limit=20.0)
    assert worse.objective < result.objective
    limits = tuple(
        dataclasses.replace(told, used=other.used) for told, other in zip(result.limits, worse.limits, strict=True)
    )
    forged = dataclasses.replace(
        result,
        objective=worse.objective,
        bound=worse.objective,
        plan=worse.plan,
        spend=worse.spend,
        limits=limits,
        proof=Proof.PRICES,
    )
    with pytest.raises(VerificationError, match="bound is given as"):
        verify(problem, forged)
