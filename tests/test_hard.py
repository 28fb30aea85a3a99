"""Small problems with entangled limits: everyone gets one, many knapsacks at once."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp

from allocator import Limit, Problem, Status, solve, verify
from allocator.solvers.neighbourhoods import Neighbourhoods, restricted
from allocator.solvers.programs import Halt, Program


def knapsacks(users: int, coupons: int, resources: int, seed: int) -> tuple[pd.DataFrame, list[Limit]]:
    """Return offers of which every user must get one, within so many resources."""
    rng = np.random.default_rng(seed)
    size = users * coupons
    uses = rng.integers(0, 20, (resources, size)).astype(float)
    columns = {f"r{j}": row for j, row in enumerate(uses)}
    offers = pd.DataFrame(
        {
            "user_id": np.repeat(np.arange(users), coupons),
            "coupon": np.tile([f"c{k}" for k in range(coupons)], users),
            "value": uses.sum(axis=0) / resources + rng.integers(0, 20, size),
            "cost": np.zeros(size),
            **columns,
        }
    )
    limits = [Limit("everyone", "count", at_least=float(users))]
    limits += [Limit(name, name, at_most=float(np.floor(0.45 * 20 * users))) for name in columns]
    return offers, limits


def best_value(offers: pd.DataFrame, limits: list[Limit], users: int) -> float:
    """Return the optimum by another solver on the whole model."""
    place = np.arange(len(offers))
    one = np.zeros((users, len(offers)))
    one[offers["user_id"], place] = 1.0
    uses = np.array([offers[limit.name].to_numpy() for limit in limits[1:]])
    answer = milp(
        -offers["value"].to_numpy(),
        constraints=[
            LinearConstraint(one, 1.0, 1.0),
            LinearConstraint(uses, -np.inf, [float(limit.at_most or 0.0) for limit in limits[1:]]),
        ],
        integrality=np.ones(len(offers)),
        bounds=Bounds(0.0, 1.0),
        options={"mip_rel_gap": 0.0},
    )
    return float("nan") if answer.x is None else -float(answer.fun)


@settings(max_examples=15, deadline=None)
@given(users=st.integers(2, 12), coupons=st.integers(2, 4), resources=st.integers(1, 4), seed=st.integers(0, 10**6))
def test_everyone_gets_one_within_many_resources(users: int, coupons: int, resources: int, seed: int) -> None:
    offers, limits = knapsacks(users, coupons, resources, seed)
    problem = Problem.from_offers(offers, limits=limits)
    result = solve(problem, time_limit=20.0)
    expected = best_value(offers, limits, users)
    verify(problem, result)
    if np.isnan(expected):
        assert result.status is Status.INFEASIBLE
    else:
        assert result.status is Status.OPTIMAL
        assert result.objective == pytest.approx(expected, abs=0.01)


def test_stopped_in_a_hard_search_it_still_has_a_valid_plan_and_bound() -> None:
    offers, limits = knapsacks(users=100, coupons=8, resources=10, seed=0)
    problem = Problem.from_offers(offers, limits=limits)
    result = solve(problem, time_limit=4.0)
    assert verify(problem, result).price_bound >= result.bound >= result.objective > 0
    assert len(result.plan) == 100


def test_neighbourhoods_only_ever_improve() -> None:
    """From everyone's cheapest choice to the optimum of a small program, every row kept."""
    rng = np.random.default_rng(1)
    users, coupons = 12, 4
    owner = np.repeat(np.arange(users), coupons)
    matrix = np.vstack([rng.integers(1, 9, users * coupons), (owner[None, :] == np.arange(users)[:, None])])
    program = Program(
        objective=rng.integers(1, 30, users * coupons).astype(float),
        matrix=_sparse(matrix),
        lower=np.full(users + 1, -np.inf),
        upper=np.concatenate([[40.0], np.ones(users)]),
        ceiling=np.ones(users * coupons),
        integer=np.ones(users * coupons, dtype=bool),
    )
    answer = milp(
        -program.objective,
        constraints=LinearConstraint(matrix, program.lower, program.upper),
        integrality=np.ones(users * coupons),
        bounds=Bounds(0.0, 1.0),
    )
    start = np.zeros(users * coupons)
    search = Neighbourhoods(
        program, owner, np.zeros(users * coupons), -answer.fun, 0.5, lambda x: bool((matrix @ x <= program.upper).all()),
        deadline=np.inf, seed=0,
    )  # fmt: skip
    found = search.improve(start, Halt())
    assert program.objective @ found == pytest.approx(-answer.fun)
    assert (matrix @ found <= program.upper).all()


def test_a_restricted_program_counts_what_is_fixed() -> None:
    program = Program(
        objective=np.array([3.0, 2.0, 1.0]),
        matrix=_sparse(np.array([[2.0, 2.0, 2.0], [1.0, 0.0, 0.0]])),
        lower=np.array([-np.inf, 1.0]),
        upper=np.array([5.0, 1.0]),
        ceiling=np.ones(3),
        integer=np.ones(3, dtype=bool),
    )
    rest = restricted(program, np.array([1.0, 0.0, 0.0]), np.array([False, True, True]))
    assert rest.upper.tolist() == [3.0], "the first offer takes 2 of 5, and the second row has nothing open"
    assert rest.objective.tolist() == [2.0, 1.0]


def _sparse(matrix: np.ndarray) -> object:
    import scipy.sparse as sp

    return sp.csr_matrix(matrix.astype(float))
