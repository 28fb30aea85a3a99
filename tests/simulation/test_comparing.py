"""Strategies are compared on equal terms, and the comparison finds what is known to be true."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest

from allocator.errors import UsageError
from allocator.reporting import contest
from allocator.simulation import Comparison, Contest, Market, compare
from allocator.simulation.comparing import NONE, ORACLE, OURS


@dataclass(frozen=True)
class Guess:
    """The truth, values blurred by so many standard deviations of them."""

    noise: float
    name: str = "guess"

    def estimate(self, market: Market, seed: int) -> tuple[np.ndarray, np.ndarray]:
        value = market.truth.value
        rng = np.random.default_rng(seed)
        return value + self.noise * value.std() * rng.standard_normal(value.shape), market.truth.cost


@pytest.fixture(scope="module")
def told() -> Comparison:
    return compare(Contest(users=1_500), Guess(0.0), markets=3, runs=8, seed=1)


def test_estimates_that_are_the_truth_earn_what_the_truth_earns(told: Comparison) -> None:
    gap = told.earned[:, told.strategies.index(ORACLE)] - told.earned[:, told.strategies.index(OURS)]
    np.testing.assert_allclose(gap, 0.0, atol=0.02)


def test_no_strategy_earns_more_than_ours_when_all_know_the_truth(told: Comparison) -> None:
    ours = told.earned[:, [told.strategies.index(OURS)]]
    assert np.all(told.earned <= ours + 0.02)
    assert np.all(told.spent <= told.budget[:, None] + 1e-6)


def test_the_luck_is_paired_so_that_issuing_nothing_changes_nothing(told: Comparison) -> None:
    assert np.all(told.ran[:, :, told.strategies.index(NONE)] == 0)
    assert np.all(told.earned[:, told.strategies.index(NONE)] == 0)


@pytest.mark.slow
def test_what_plans_earn_when_run_agrees_with_what_they_truly_earn() -> None:
    found = compare(Contest(users=1_500), Guess(0.0), markets=2, runs=100, seed=4)
    for place in range(len(found.strategies)):
        for market in range(2):
            ran = found.ran[market, :, place]
            assert abs(ran.mean() - found.earned[market, place]) <= 4.5 * ran.std() / np.sqrt(100) + 1e-9


def test_worse_estimates_earn_less(told: Comparison) -> None:
    blurred = compare(Contest(users=1_500), Guess(2.0), markets=3, runs=2, seed=1)
    assert blurred.earns(OURS).value < told.earns(OURS).value
    np.testing.assert_allclose(blurred.earned[:, -1], told.earned[:, -1], atol=0.02)


def test_a_comparison_is_told_as_a_table_and_as_plain_numbers(told: Comparison) -> None:
    text = contest.table(told, 1_500)
    assert all(name in text for name in told.strategies)
    document = json.loads(json.dumps(told.document(), allow_nan=False))
    assert [row["strategy"] for row in document["strategies"]] == list(told.strategies)
    with pytest.raises(UsageError, match="needs 2 at least"):
        compare(Contest(), Guess(0.0), markets=1)
