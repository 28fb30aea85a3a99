"""Off-policy estimates and Qini's curve; against the numbers of public libraries see `test_peers`."""

from __future__ import annotations

import numpy as np
import pytest

from allocator.errors import DataError
from allocator.simulation import offpolicy
from allocator.simulation.offpolicy import Log
from allocator.simulation.targeting import by_score, qini
from tests.simulation import worlds

N = 3_000


@pytest.fixture(scope="module")
def log() -> worlds.Logs:
    return worlds.logs(N, np.random.default_rng(3))


def made(log: worlds.Logs) -> tuple[Log, np.ndarray]:
    index, predicted = np.arange(N), offpolicy.fit_rewards(log.features, log.arm, log.reward, 3)
    match = (log.arm == log.want).astype(float)
    return Log.of(log.reward, log.propensity, match, predicted[index, log.arm], predicted[index, log.want]), predicted


def test_the_policy_that_was_logged_is_worth_the_mean_reward(log: worlds.Logs) -> None:
    same = Log.of(log.reward, log.propensity, log.propensity)
    assert offpolicy.ips(same).mean.value == pytest.approx(log.reward.mean(), abs=1e-12)
    assert offpolicy.snips(same).effective == pytest.approx(N)


def test_a_reward_model_halves_no_truth_and_narrows_the_interval(log: worlds.Logs) -> None:
    ours, _ = made(log)
    width = {found.name: found.mean.high - found.mean.low for found in (offpolicy.ips(ours), offpolicy.dr(ours))}
    assert width["dr"] < width["ips"]
    wrong = Log.of(ours.reward, ours.propensity, ours.target, np.full(N, 50.0), np.full(N, 50.0))
    found = offpolicy.dr(wrong).mean  # a wrong model costs precision, not truth
    assert found.low < worlds.truth() < found.high


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [("propensity", 0.0, "propensity lies outside"), ("propensity", 1.2, "1 row"), ("reward", np.nan, "not a finite")],
)
def test_a_log_that_cannot_be_used_is_refused(log: worlds.Logs, column: str, value: float, words: str) -> None:
    arrays = {"reward": log.reward.copy(), "propensity": log.propensity.copy()}
    arrays[column][5] = value
    with pytest.raises(DataError, match=words):
        Log.of(arrays["reward"], arrays["propensity"], np.ones(N))


def ranked() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return (rng.random(2_000) < 0.3).astype(float), rng.normal(size=2_000).round(1), rng.random(2_000) < 0.9


def test_qini_coefficient_is_the_area_between_its_curve_and_the_line() -> None:
    outcome, score, treated = ranked()
    found = qini(outcome, score + np.arange(2_000) * 1e-9, treated, points=2_001)
    middle = (found.gain[1:] + found.gain[:-1]) / 2
    assert found.coefficient.value == pytest.approx(middle.mean() - found.gain[-1] / 2, abs=1e-9)


def test_qini_tells_a_good_score_from_its_opposite() -> None:
    world = worlds.campaign(20_000, 0.2, np.random.default_rng(1))
    effect = world.spend[:, 1] - world.spend[:, 0]
    good = qini(world.columns["spend"], effect, world.treated).coefficient
    bad = qini(world.columns["spend"], -effect, world.treated).coefficient
    assert good.low > 0 > bad.high
    same = qini(world.columns["spend"], np.ones(20_000), world.treated).coefficient
    assert same.value == pytest.approx(0.0, abs=1e-12)


def test_fifths_go_from_the_best_to_the_worst() -> None:
    world = worlds.campaign(5_000, 0.2, np.random.default_rng(1))
    rows = by_score(world.columns["spend"], world.assignment.value, world.treated)
    assert len(rows) == 5
    assert [row.promised for row in rows] == sorted((row.promised for row in rows), reverse=True)
    assert by_score(world.columns["spend"][:20], world.assignment.value[:20], world.treated[:20]) == []
