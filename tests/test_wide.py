"""Very many quantities: one for nearly every coupon of which a user may get a few."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
from scipy.optimize import linprog

from allocator import Limit, Problem, solve, verify
from allocator.demo.market import market
from allocator.solvers.strategies import compare


def with_quantities(n_users: int, n_coupons: int, eligible: int) -> Problem:
    """Every coupon has a quantity, and about half of them bind."""
    made = market(n_users, n_coupons, eligible=eligible)
    assert made.coupon is not None
    names = [f"c{k:03}" for k in range(n_coupons)]
    offers = {
        "user_id": np.repeat(np.arange(n_users), eligible),
        "coupon": np.array(names)[made.coupon.reshape(-1)],
        "value": made.value.reshape(-1),
        "cost": made.cost.reshape(-1),
    }
    limits = [Limit("budget", at_most=made.budget)]
    limits += [
        Limit(f"quantity {name}", "count", at_most=4.0 if number is None else number, coupons=[name])
        for name, number in zip(names, made.quantities, strict=True)
    ]
    return Problem.from_offers(pa.table(offers), limits=limits)


@pytest.mark.slow
def test_a_quantity_for_each_of_very_many_coupons_is_solved_nearly_to_the_bound() -> None:
    problem = with_quantities(2_000, 350, 10)
    result = solve(problem, time_limit=6)
    verify(problem, result)  # raises where it does not hold
    assert result.bound - result.objective < 1e-4 * result.bound


@pytest.mark.slow
def test_beside_a_budget_quantities_are_a_flow_whose_prices_are_the_relaxation() -> None:
    """SciPy solves the relaxation as a whole; a required offer takes its piece of a quantity, a forbidden one is not issued."""
    problem = with_quantities(800, 310, 10)
    offers = problem.offers
    required, forbidden = np.array([5]), np.array([70, 92])
    problem = dataclasses.replace(problem, required=required, forbidden=forbidden)
    result = solve(problem, time_limit=20)
    verify(problem, result)
    rows = [problem.measure(r, np.arange(offers.n_offers)) for r in range(len(problem.limits))]
    users = sp.csr_array(
        (np.ones(offers.n_offers), (offers.users_of(np.arange(offers.n_offers)), np.arange(offers.n_offers)))
    )
    low, high = np.zeros(offers.n_offers), np.ones(offers.n_offers)
    low[required], high[forbidden] = 1.0, 0.0
    answer = linprog(
        -offers.value,
        A_ub=sp.vstack([sp.csr_array(np.array(rows)), users]),
        b_ub=np.concatenate([[limit.at_most for limit in problem.limits], np.ones(offers.n_users)]),
        bounds=np.column_stack([low, high]),
    )
    assert result.price_bound == pytest.approx(-answer.fun, abs=2e-3)
    assert 5 in result.plan.offer and not np.isin(forbidden, result.plan.offer).any()
    assert result.relative_gap < 1e-3


def test_no_plan_is_worse_than_the_best_simple_strategy_however_short_the_time() -> None:
    problem = with_quantities(2_000, 350, 10)
    best = max(plan.objective for plan in compare(problem) if plan.meets_limits)
    assert solve(problem, time_limit=0.001).objective >= best
