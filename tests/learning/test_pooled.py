"""Pooled models keep the trial's totals, shrink what is luck, and learn from coupons that few redeem."""

from __future__ import annotations

import numpy as np
import pytest

from allocator.learning import pooled
from allocator.learning.pooled import PooledLearner
from allocator.learning.spending import fit_spending
from uplift import Features, OutcomeKind, Trial

COUPONS = 6


def _trial(n: int, effect: np.ndarray, seed: int) -> tuple[Trial, np.ndarray, np.ndarray]:
    """Draw spend whose logarithm each coupon moves by `effect`; return the trial, who redeemed, and spend without."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    arm = rng.integers(0, COUPONS + 1, n)
    base = np.exp(1.0 + 0.8 * x[:, 0])
    mean = base * np.exp(np.append(0.0, effect)[arm])
    spend = np.where(rng.random(n) < 0.5, 0.0, 2.0 * mean * rng.gamma(1.0, size=n))
    redeemed = (rng.random(n) < 0.8 * np.append(0.0, np.abs(effect))[arm]) & (spend > 0)
    trial = Trial.create(Features.create(x), arm, spend, kind=OutcomeKind.MONEY)
    return trial, redeemed, base


def _redemption(trial: Trial, redeemed: np.ndarray) -> object:
    rows = np.flatnonzero(trial.arm > 0)
    among = Trial.create(trial.features.take(rows), trial.arm[rows] - 1, redeemed[rows].astype(float))
    return PooledLearner("redemption", with_control=False).fit(among, seed=0, groups=0)


def test_the_spend_of_the_trial_is_what_is_predicted_in_all() -> None:
    trial, _, _ = _trial(6000, np.full(COUPONS, 0.2), 0)
    made = fit_spending(trial, None, None, seed=0, groups=0).predict(trial.features)
    every = np.column_stack([made.control, made.treated])[np.arange(len(trial)), trial.arm]
    assert every.sum() == pytest.approx(trial.outcome.sum(), rel=1e-6)


def test_coupons_that_are_alike_are_not_told_apart_by_luck() -> None:
    trial, _, base = _trial(4000, np.full(COUPONS, 0.2), 1)
    made = fit_spending(trial, None, None, seed=0, groups=0).predict(trial.features)
    raw = np.array([trial.outcome[trial.arm == k].mean() for k in range(1, COUPONS + 1)])
    assert made.treated.mean(axis=0).std() < 0.5 * raw.std()
    assert np.corrcoef(made.control, base)[0, 1] > 0.9


def test_coupons_that_nobody_redeems_stand_in_for_control() -> None:
    effect = np.array([0.5, 0.4, 0.3, 0.01, 0.01, 0.01])
    errors: dict[bool, list[float]] = {True: [], False: []}
    for seed in range(6):
        trial, redeemed, base = _trial(4000, effect, 10 + seed)
        for known in (True, False):
            redemption = _redemption(trial, redeemed) if known else None
            made = fit_spending(trial, redemption, None, seed=0, groups=0).predict(trial.features)  # type: ignore[arg-type]
            errors[known].append(float(np.abs(made.uplift.mean(axis=0) - base.mean() * np.expm1(effect)).mean()))
    assert np.mean(errors[True]) < 0.8 * np.mean(errors[False])


def test_errors_cover_the_average_effect() -> None:
    effect = np.full(COUPONS, 0.3)
    trial, _, base = _trial(6000, effect, 3)
    made = fit_spending(trial, None, None, seed=0).predict_members(trial.features)
    error = np.sqrt((made.deviations.mean(axis=1) ** 2).sum(axis=0))
    assert (np.abs(made.uplift.mean(axis=0) - base.mean() * np.expm1(0.3)) < 3.5 * error).all()
    assert (error < 0.5 * base.mean()).all()


def test_users_who_are_moved_alike_are_not_told_apart_by_luck() -> None:
    spread = []
    for seed in range(3):
        trial, _, _ = _trial(4000, np.full(COUPONS, 0.2), 20 + seed)
        made = fit_spending(trial, None, None, seed=0, groups=0).predict(trial.features)
        spread.append(np.log(made.treated / made.control[:, None]).std())
    assert np.mean(spread) < 0.05


def test_users_who_are_moved_differently_are_told_apart() -> None:
    rng = np.random.default_rng(5)
    n = 8000
    x, arm = rng.normal(size=(n, 2)), rng.integers(0, COUPONS + 1, n)
    moved = np.where(x[:, 0] > 0, 0.6, 0.0)
    trial = Trial.create(
        Features.create(x), arm, np.exp(1.0 + moved * (arm > 0)) * rng.gamma(1.0, size=n), kind=OutcomeKind.MONEY
    )
    made = fit_spending(trial, None, None, seed=0, groups=0).predict(trial.features)
    log = np.log(made.treated / made.control[:, None]).mean(axis=1)
    assert log[x[:, 0] > 0].mean() - log[x[:, 0] < 0].mean() > 0.3


def test_what_rises_and_falls_again_with_a_number_is_seen() -> None:
    rng = np.random.default_rng(6)
    x, arm = rng.normal(size=(6000, 1)), rng.integers(0, 3, 6000)
    bought = rng.random(6000) < np.where(np.abs(x[:, 0]) < 0.7, 0.6, 0.2)
    trial = Trial.create(Features.create(x), arm, bought.astype(float), kind=OutcomeKind.BINARY)
    made = PooledLearner("pooled").fit(trial, seed=0, groups=0).predict(trial.features)
    assert made.control[np.abs(x[:, 0]) < 0.5].mean() > made.control[np.abs(x[:, 0]) > 1.5].mean() + 0.2


def test_steps_that_are_left_out_would_have_changed_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    trial, redeemed, _ = _trial(4000, np.array([0.5, 0.4, 0.3, 0.01, 0.01, 0.01]), 7)
    made = []
    for close in (pooled.CLOSE, 0.0):
        monkeypatch.setattr(pooled, "CLOSE", close)
        spending = fit_spending(trial, _redemption(trial, redeemed), None, seed=0)  # type: ignore[arg-type]
        made.append(spending.predict_members(trial.features))
    error = made[1].standard_error
    assert (np.abs(made[0].uplift - made[1].uplift) < 0.01 * error).all()
    np.testing.assert_allclose(made[0].standard_error, error, rtol=0.02)
