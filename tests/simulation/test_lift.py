"""Differences, ratios and many at once: against closed forms, scipy and known truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from allocator.errors import DataError, UsageError
from allocator.simulation.effects import Sample
from allocator.simulation.lift import difference, fieller, holm, merged, slope
from tests.simulation import worlds


@pytest.fixture
def arms() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.gamma(1.0, 5.0, 400), rng.random(400) < 0.8


def test_without_strata_it_is_welchs_test(arms: tuple[np.ndarray, np.ndarray]) -> None:
    outcome, treated = arms
    found = difference(outcome, treated).estimate(0)
    welch = stats.ttest_ind(outcome[treated], outcome[~treated], equal_var=False)
    low, high = welch.confidence_interval()
    assert found.value == pytest.approx(outcome[treated].mean() - outcome[~treated].mean(), abs=1e-12)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)
    assert found.p_value == pytest.approx(welch.pvalue, abs=1e-9)


def test_with_strata_it_is_the_weighted_mean_of_the_strata(arms: tuple[np.ndarray, np.ndarray]) -> None:
    outcome, treated = arms
    stratum = np.arange(outcome.size) % 3
    parts = [difference(outcome[stratum == s], treated[stratum == s]) for s in range(3)]
    weight = np.array([part.treated for part in parts]) / treated.sum()
    found = difference(outcome, treated, stratum)
    assert found.value[0] == pytest.approx(sum(w * p.value[0] for w, p in zip(weight, parts, strict=True)), abs=1e-12)
    variance = sum(w**2 * p.covariance[0, 0] for w, p in zip(weight, parts, strict=True))
    assert found.covariance[0, 0] == pytest.approx(variance, abs=1e-12)


def test_what_was_known_before_takes_noise_out_and_a_constant_takes_none() -> None:
    rng = np.random.default_rng(2)
    before = rng.normal(size=2_000)
    outcome, treated = before + 0.5 * rng.normal(size=2_000), rng.random(2_000) < 0.9
    found = difference(outcome, treated, before=before)
    assert found.variance_kept[0] == pytest.approx(0.2, abs=0.06)  # 1 - correlation^2
    assert slope(outcome, before, treated, np.zeros(2_000, np.int64)) == pytest.approx(1.0, abs=0.05)
    same = difference(outcome, treated, before=np.full(2_000, 3.0))
    assert same.value[0] == difference(outcome, treated).value[0]


def test_small_strata_are_merged_with_their_neighbours() -> None:
    stratum = np.repeat([0, 1, 2, 3], [20, 4, 20, 3])
    treated = np.tile([True, False], 24)[:47]
    assert merged(stratum, treated).tolist() == [0] * 20 + [1] * 27
    assert merged(np.array([0, 1]), np.array([True, False])).tolist() == [0, 0]


def test_an_arm_of_one_is_refused() -> None:
    with pytest.raises(DataError, match="1 held-out"):
        difference(np.arange(5.0), np.array([True, True, True, True, False]))


def test_fiellers_ends_are_where_the_ratio_becomes_significant() -> None:
    found = fieller(2.0, 4.0, 0.3, 0.5, 0.1)
    for ratio in (found.low, found.high):
        error = np.sqrt(0.3 - 2 * ratio * 0.1 + ratio**2 * 0.5)
        assert abs(2.0 - ratio * 4.0) / error == pytest.approx(stats.norm.ppf(0.975), abs=1e-9)


def test_fieller_sets_no_bound_where_the_denominator_may_be_zero() -> None:
    found = fieller(2.0, 0.5, 0.3, 0.5, 0.1)
    assert (found.low, found.high) == (-np.inf, np.inf)
    assert fieller(2.0, 4.0, 0.3, 0.0, 0.0).high == pytest.approx(0.5 + stats.norm.ppf(0.975) * np.sqrt(0.3) / 4)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def test_coupons_add_up_to_the_whole() -> None:
    world = worlds.campaign(3_000, 0.1, np.random.default_rng(3))
    rows, plan = np.arange(3_000), world.assignment
    sample = Sample.of(world.columns, rows, plan, world.money)
    whole = sample.effects(0.95)
    parts = [sample.of_rows(np.flatnonzero(plan.planned == code)).effects(0.95) for code in (1, 2, 3)]
    assert sum(part.treated for part in parts) == whole.treated
    assert sum(part.net.value for part in parts) == pytest.approx(whole.net.value, rel=1e-9)
    plain = {name: column for name, column in world.columns.items() if name != "pre_spend"}
    found = Sample.of(plain, rows, plan, world.money).effects(0.95)
    assert found.iroi.value == pytest.approx(found.net.value / found.cost, rel=1e-9)
    assert whole.planned_net == pytest.approx(plan.value[world.treated].sum())


def test_confidence_outside_its_range_is_refused() -> None:
    with pytest.raises(UsageError, match="confidence"):
        difference(np.arange(6.0), np.arange(6) % 2 == 0).estimate(0, 95)
