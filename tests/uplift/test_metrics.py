"""The metrics agree to 1e-9 with the formulas of scikit-uplift and CausalML, written out here as they define them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.uplift.worlds import guess, tiny
from uplift import Effects, Terms, Trial, TrialError, metrics


def sample(n: int = 500, seed: int = 0, levels: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    score = rng.normal(size=n) if levels is None else rng.integers(0, levels, n) / levels
    treated = rng.random(n) < 0.4
    outcome = (rng.random(n) < 0.3 + 0.1 * treated * (score > 0.3)).astype(float)
    return outcome, score, treated


def reference_curve(
    y: np.ndarray, uplift: np.ndarray, treatment: np.ndarray, *, qini: bool
) -> tuple[np.ndarray, np.ndarray]:
    """scikit-uplift 0.5, sklift.metrics.qini_curve and uplift_curve, line by line."""
    order = np.argsort(uplift, kind="mergesort")[::-1]
    uplift, treatment, y = uplift[order], treatment[order].astype(int), y[order]
    y_control, y_treated = y.copy(), y.copy()
    y_control[treatment == 1] = 0
    y_treated[treatment == 0] = 0
    threshold = np.r_[np.where(np.diff(uplift))[0], uplift.size - 1]
    n_treated = np.cumsum(treatment)[threshold]
    sum_treated = np.cumsum(y_treated)[threshold]
    n_all = threshold + 1
    n_control = n_all - n_treated
    sum_control = np.cumsum(y_control)[threshold]

    def divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.divide(a, b, out=np.zeros(a.size), where=b != 0)

    if qini:
        curve = sum_treated - sum_control * divide(n_treated.astype(float), n_control)
    else:
        curve = (divide(sum_treated, n_treated) - divide(sum_control, n_control)) * n_all
    return np.r_[0, n_all], np.r_[0, curve]


def trapezoid(curve: tuple[np.ndarray, np.ndarray]) -> float:
    return float(np.trapezoid(curve[1], curve[0]))


def reference_coefficient(actual: tuple[np.ndarray, np.ndarray], perfect: tuple[np.ndarray, np.ndarray]) -> float:
    baseline = actual[0][-1] * actual[1][-1] / 2
    return (trapezoid(actual) - baseline) / (trapezoid(perfect) - baseline)


@pytest.mark.parametrize("levels", [None, 7])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_qini_is_scikit_uplifts(seed: int, levels: int | None) -> None:
    y, s, t = sample(seed=seed, levels=levels)
    actual = reference_curve(y, s, t, qini=True)
    ours = metrics.qini_curve(y, s, t)
    np.testing.assert_allclose(ours.x, actual[0], atol=1e-9)
    np.testing.assert_allclose(ours.y, actual[1], atol=1e-9)
    perfect = reference_curve(y, y * t - y * (1 - t), t, qini=True)
    assert metrics.qini(y, s, t) == pytest.approx(reference_coefficient(actual, perfect), abs=1e-9)
    total = y[t].sum() - t.sum() * y[~t].sum() / (~t).sum()
    easy = (np.array([0, total, y.size]), np.array([0, total, total]))
    assert metrics.qini(y, s, t, negative_effect=False) == pytest.approx(reference_coefficient(actual, easy), abs=1e-9)


@pytest.mark.parametrize("levels", [None, 7])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_auuc_is_scikit_uplifts(seed: int, levels: int | None) -> None:
    y, s, t = sample(seed=seed, levels=levels)
    actual = reference_curve(y, s, t, qini=False)
    controls, others = ((y == 1) & ~t).sum(), ((y == 0) & t).sum()
    best = 2 * (y == t).astype(float) + (y if controls > others else t)
    perfect = reference_curve(y, best, t, qini=False)
    assert metrics.auuc(y, s, t) == pytest.approx(reference_coefficient(actual, perfect), abs=1e-9)


def test_the_uplift_curve_is_causalmls_cumulative_gain() -> None:
    """CausalML 0.15, get_cumlift x index, where no scores are tied."""
    y, s, t = sample()
    order = np.argsort(-s)
    tr, ct = np.cumsum(t[order]), np.cumsum(~t[order])
    with np.errstate(invalid="ignore", divide="ignore"):
        lift = np.cumsum((y * t)[order]) / tr - np.cumsum((y * ~t)[order]) / ct
    both = (tr > 0) & (ct > 0)
    ours = metrics.uplift_curve(y, s, t)
    np.testing.assert_allclose(ours.y[1:][both], (lift * np.arange(1, y.size + 1))[both], atol=1e-9)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000))
def test_tied_scores_make_the_order_of_rows_irrelevant(seed: int) -> None:
    y, s, t = sample(60, seed, levels=4)
    if not t.any() or t.all() or (y == 0).all():
        return
    p = np.random.default_rng(seed).permutation(60)
    cost = y * t
    for f in (metrics.qini, metrics.mean_gain):
        assert f(y[p], s[p], t[p]) == pytest.approx(f(y, s, t), abs=1e-9)
    np.testing.assert_allclose(
        metrics.cost_curve(y[p], cost[p], s[p], t[p]).y, metrics.cost_curve(y, cost, s, t).y, atol=1e-9
    )
    np.testing.assert_allclose(metrics.toc(y[p], s[p]).y, metrics.toc(y, s).y, atol=1e-9)


def test_weights_count_as_repeated_users() -> None:
    y, s, t = sample(200, levels=9)
    w = np.random.default_rng(1).integers(1, 4, 200)
    rows = np.repeat(np.arange(200), w)
    assert metrics.qini(y, s, t, w) == pytest.approx(metrics.qini(y[rows], s[rows], t[rows]), abs=1e-9)
    assert metrics.mean_gain(y, s, t, w) == pytest.approx(metrics.mean_gain(y[rows], s[rows], t[rows]), abs=1e-9)


def test_aucc_is_half_for_a_constant_score_and_more_for_a_good_one() -> None:
    rng = np.random.default_rng(0)
    n = 40_000
    quality = rng.random(n)
    t = rng.random(n) < 0.5
    cost = t * 1.0
    y = (rng.random(n) < 0.1 + 0.3 * quality * t).astype(float)
    assert metrics.aucc(y, cost, np.zeros(n), t) == pytest.approx(0.5)
    # Gain per cost is 0.3 q: the curve of the best order is q -> 1 - (1 - q)^2, whose area is 2/3.
    assert metrics.aucc(y, cost, quality, t) == pytest.approx(2 / 3, abs=0.02)


def test_toc_and_its_areas_follow_the_paper() -> None:
    gain, score = np.array([3.0, 1.0, 2.0, 0.0]), np.array([4.0, 2.0, 3.0, 1.0])
    curve = metrics.toc(gain, score)
    np.testing.assert_allclose(curve.y, [1.5, 1.0, 0.5, 0.0])
    assert metrics.autoc(gain, score, repeats=2).value == pytest.approx(0.75)
    assert metrics.qini_rate(gain, score, repeats=2).value == pytest.approx((0.25 * 1.5 + 0.5 * 1.0 + 0.75 * 0.5) / 4)
    # A score that says nothing has no value, whatever the order of the rows.
    assert metrics.autoc(gain, np.zeros(4), repeats=2).value == pytest.approx(0.0)


def logged(n: int, seed: int) -> tuple[Trial, np.ndarray]:
    """Arms depend on a feature; the truth of giving everybody their feature's arm is known."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 2, n)
    chances = np.where(x[:, None] == 1, [0.6, 0.4], [0.2, 0.8])
    arm = (rng.random(n) < chances[:, 1]).astype(int)
    y = (rng.random(n) < 0.2 + 0.3 * x * arm).astype(float)
    return Trial.create(x[:, None].astype(float), arm, y, propensity=chances), x


def test_policy_values_are_unbiased_and_their_errors_honest() -> None:
    truth = 0.2 + 0.3 * 0.5
    covered = {"ips": 0, "snips": 0, "dr": 0}
    for seed in range(100):
        trial, x = logged(600, seed)
        wrong = Effects.create(np.full(600, 0.3), np.full((600, 1), 0.3))
        made = {
            "ips": metrics.policy_value_ips(trial, x),
            "snips": metrics.policy_value_snips(trial, x),
            "dr": metrics.policy_value_dr(trial, x, wrong),
        }
        for name, estimate in made.items():
            low, high = estimate.interval()
            covered[name] += low <= truth <= high
    assert all(count >= 88 for count in covered.values()), covered


def test_bootstrap_agrees_with_the_analytic_error() -> None:
    trial, x = logged(2_000, 0)
    analytic = metrics.policy_value_ips(trial, x).standard_error
    error, low, high = metrics.bootstrap(lambda rows: metrics.policy_value_ips(trial.take(rows), x[rows]).value, 2_000)
    assert error == pytest.approx(analytic, rel=0.2)
    assert low < metrics.policy_value_ips(trial, x).value < high


def test_the_policy_curve_ends_at_everybody_and_finds_those_who_react() -> None:
    trial = tiny(6_000)
    x = trial.features.columns[0]
    good = Effects.create(np.full(6_000, 0.3), 0.3 + np.column_stack([np.zeros(6_000), 0.2 * (x > 0)]))
    curve = metrics.policy_curve(trial, good)
    assert curve.y[50] > 0.8 * curve.y[-1] > 0.05
    assert metrics.policy_curve(trial, guess(6_000, 2)).area < curve.area


def test_uplift_by_bin_covers_everybody_once() -> None:
    y, s, t = sample(1_003)
    rows = metrics.uplift_by_bin(y, s, t, bins=10)
    assert sum(row["users"] for row in rows) == 1_003
    assert rows[0]["predicted"] > rows[-1]["predicted"]


def test_marks_against_the_truth() -> None:
    truth = np.random.default_rng(0).normal(size=(50, 2))
    assert metrics.pehe(truth, truth) == 0.0
    assert metrics.relative_pehe(np.full((50, 2), truth.mean()), truth) == pytest.approx(1.0)
    assert metrics.slope(2 * truth, truth) == pytest.approx(0.5)


def test_one_sided_trials_are_refused() -> None:
    with pytest.raises(TrialError, match="both treated and control"):
        metrics.qini(np.ones(4), np.arange(4.0), np.ones(4, dtype=bool))
    with pytest.raises(TrialError, match="choice"):
        metrics.policy_value_ips(tiny(), np.full(600, 3))
    assert len(Terms.create([1.0])) == 1
