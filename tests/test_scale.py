"""Larger problems, marked slow."""

import numpy as np
import pytest

from allocator import Problem, solve, verify
from allocator.demo import market


@pytest.mark.slow
def test_a_million_users() -> None:
    """One million users by eight coupons: proven to a cent."""
    made = market(1_000_000, 8, seed=1)
    problem = Problem.from_arrays(made.value, made.cost, budget=made.budget, quantities=made.quantities)
    result = solve(problem)
    assert result.gap < 0.01
    assert verify(problem, result).price_bound >= result.objective
    assert np.isfinite(np.asarray(result.prices)).all()
