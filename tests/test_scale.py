"""Larger problems, marked slow."""

from pathlib import Path

import numpy as np
import pytest

from allocator import Problem, solve, verify
from allocator.demo import market
from tests.benchmarks.command import run, write_market


@pytest.mark.slow
def test_a_million_users() -> None:
    """One million users by eight coupons: proven to a cent."""
    made = market(1_000_000, 8, seed=1)
    problem = Problem.from_arrays(made.value, made.cost, budget=made.budget, quantities=made.quantities)
    result = solve(problem)
    assert result.gap < 0.01
    assert verify(problem, result).price_bound >= result.objective
    assert np.isfinite(np.asarray(result.prices)).all()


@pytest.mark.slow
def test_the_whole_command_whatever_the_ids_and_the_order(tmp_path: Path) -> None:
    """Integer ids, text ids, and rows that are not grouped by user: the same offers earn the same."""
    earned = []
    for ids in ("integer", "string", "shuffled"):
        (tmp_path / ids).mkdir()
        write_market(tmp_path / ids, 20_000, ids)
        earned.append(run(tmp_path / ids, []).summary["objective"])
    assert earned[0] == earned[1]
    assert earned[2] == pytest.approx(earned[0], abs=0.02)
