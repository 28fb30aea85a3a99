"""Redemption is learned from those who were given a coupon."""

from __future__ import annotations

import numpy as np
import pytest

from tests.uplift.test_network import QUICK
from uplift import Redemption, Trial, TrialError, UpliftNetwork


def given(n: int, coupons: int) -> tuple[Trial, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 2))
    arm = rng.permutation(np.arange(n) % (coupons + 1))
    chance = np.clip(0.1 * arm + 0.1 * (x[:, 0] > 0), 0.0, 1.0) * (arm > 0)
    redeemed = (rng.random(n) < chance).astype(float)
    return Trial.create(x, arm, np.ones(n), propensity=np.full(coupons + 1, 1 / (coupons + 1))), redeemed


def test_deeper_coupons_are_redeemed_more_and_by_the_right_users() -> None:
    trial, redeemed = given(9_000, 2)
    chance = Redemption(UpliftNetwork(QUICK)).fit(trial, redeemed).predict(trial.features)
    high = trial.features.columns[0] > 0
    assert chance.shape == (9_000, 2)
    np.testing.assert_allclose(chance[high].mean(axis=0), [0.2, 0.3], atol=0.05)
    np.testing.assert_allclose(chance[~high].mean(axis=0), [0.1, 0.2], atol=0.05)


def test_a_single_coupon_has_a_chance_too() -> None:
    trial, redeemed = given(3_000, 1)
    chance = Redemption().fit(trial, redeemed).predict(trial.features)
    assert chance.shape == (3_000, 1)
    assert chance.mean() == pytest.approx(0.15, abs=0.03)
    with pytest.raises(TrialError, match="in control redeemed"):
        Redemption().fit(trial, np.ones(3_000))
