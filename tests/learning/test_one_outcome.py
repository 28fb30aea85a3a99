"""A trial in which all outcomes are alike: no feature tells users apart, and nothing breaks."""

from __future__ import annotations

import numpy as np
import pytest

from allocator.learning.logistic import LogisticLearner
from uplift import Trial


@pytest.mark.parametrize("outcome", [0.0, 1.0])
def test_outcomes_that_are_all_alike_give_every_user_the_same_chance(outcome: float) -> None:
    rng = np.random.default_rng(1)
    trial = Trial.create({"age": rng.normal(40.0, 10.0, 60)}, np.arange(60) % 2, np.full(60, outcome), kind="binary")
    fitted = LogisticLearner(strength=1.0, name="logistic").fit(trial, seed=0)
    assert np.isfinite(fitted.intercepts).all()
    assert not fitted.slopes.any()
