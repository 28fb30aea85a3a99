"""The size of a control group: against published numbers and against simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from allocator.errors import UsageError
from allocator.simulation import design
from allocator.simulation.lift import difference


def test_power_is_that_of_cohens_table() -> None:
    """Two groups of 64 find an effect of half a standard deviation with 80 % (G*Power 3.1: 0.8014596)."""
    found = design(users=128, effect=0.5, sd=1.0, holdout=0.5)
    assert found.power == pytest.approx(0.8014596, abs=1e-7)
    assert found.detectable == pytest.approx(0.4990692, abs=1e-6)


def test_the_holdout_is_the_smallest_that_reaches_the_power() -> None:
    found = design(users=5_000, effect=1.0, sd=10.0)
    fewer = design(users=5_000, effect=1.0, sd=10.0, holdout=(found.controls - 1) / 5_000)
    assert found.power >= 0.8 > fewer.power
    assert found.detectable <= 1.0


def test_the_period_before_saves_users_as_its_correlation_says() -> None:
    plain, adjusted = (design(users=10**6, effect=0.5, sd=20.0, correlation=r) for r in (0.0, 0.7))
    assert adjusted.controls / plain.controls == pytest.approx(1 - 0.49, abs=0.01)
    assert adjusted.half_width == pytest.approx(plain.half_width, rel=0.001)


def test_power_is_the_share_of_simulated_campaigns_that_find_the_effect() -> None:
    rng, found = np.random.default_rng(0), design(users=600, effect=1.2, sd=4.0, correlation=0.6)
    treated, hits, repeats = np.arange(600) >= found.controls, 0, 600
    for _ in range(repeats):
        before = rng.normal(size=600)
        outcome = 4.0 * (0.6 * before + 0.8 * rng.normal(size=600)) + 1.2 * treated
        hits += difference(outcome, treated, before=before).estimate(0).low > 0
    low, high = stats.binom.interval(0.999, repeats, found.power)
    assert low <= hits <= high


def test_an_effect_that_no_holdout_finds_is_said_with_the_most_that_can_be_had() -> None:
    found = design(users=1_000, effect=0.5, sd=20.0)
    assert not found.possible
    assert found.most_power == pytest.approx(0.068, abs=0.001)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"users": 3}, "3 users"),
        ({"effect": 0.0}, "effect is 0"),
        ({"sd": 0.0}, "standard deviation"),
        ({"power": 1.0}, "power is 1"),
        ({"correlation": 1.0}, "correlation is 1"),
        ({"holdout": 0.7}, r"holdout is 0\.7"),
        ({"confidence": 95.0}, "confidence is 95"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(change: dict[str, float], words: str) -> None:
    asked: dict[str, float] = {"users": 1_000, "effect": 0.5, "sd": 2.0} | change
    with pytest.raises(UsageError, match=words):
        design(**asked)  # type: ignore[arg-type]
