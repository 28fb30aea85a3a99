"""The networks of relevance: slopes against differences, and laws that they must find."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from cf.evaluation import auc
from cf.relevance import kernels
from cf.relevance.descent import Adam, chance_of
from cf.relevance.joint import Joint, JointNetwork
from cf.relevance.network import Network, Perceptron, scaled


def mean_loss(odds: np.ndarray, target: np.ndarray) -> float:
    """Return the log-loss of each row, summed over targets, and its mean over rows."""
    loss = np.logaddexp(0.0, odds.astype(float)) - odds * target
    return float(loss.sum() / len(loss))


def test_features_are_brought_to_one_scale_and_what_is_missing_is_told() -> None:
    rows = np.array([[1.0, np.nan, 5.0], [3.0, 10.0, 5.0], [5.0, 20.0, 5.0]], np.float32)
    middle, scale, missing = scaled(rows)
    assert middle.tolist() == [3.0, 15.0, 5.0]
    assert scale == pytest.approx([np.sqrt(8 / 3), 5.0, 1.0])
    assert missing.tolist() == [1]
    out = np.empty((3, 4), np.float32)
    kernels.standard(rows, middle, scale, np.float32(1.0), missing, out)
    assert out[:, 1].tolist() == [0.0, -1.0, 1.0]
    assert out[:, 3].tolist() == [1.0, 0.0, 0.0]
    assert out[0, 0] == -1.0  # 1.22 deviations below the mean count as one


def test_a_networks_slopes_are_those_of_its_loss() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(50, 4)).astype(np.float32)
    rows[:5, 2] = np.nan
    target = rng.random(50) < 0.4
    net = Network(hidden=(6, 5), epochs=1, batch=10).fit(rows, target, np.arange(50), 0)
    for weight, slope in zip(net.weights, net.slopes(rows, target), strict=True):
        place = np.unravel_index(np.abs(slope).argmax(), slope.shape)
        assert slope.shape == weight.shape
        assert slope[place] == pytest.approx(
            difference(weight, place, lambda: mean_loss(net.odds(rows), target)), 0.1, abs=3e-4
        )


def difference(weight: np.ndarray, place: tuple[np.intp, ...], loss: object) -> float:
    """Return (loss above - loss below) / distance for one entry of a weight, which is put back."""
    assert callable(loss)
    before, found = weight[place], []
    for step in (1e-2, -1e-2):
        weight[place] = before + step
        found.append(loss())
    weight[place] = before
    return (found[0] - found[1]) / 2e-2


def test_a_network_finds_what_a_linear_model_cannot() -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(8_000, 3)).astype(np.float32)
    truth = expit(4.0 * rows[:, 0] * rows[:, 1] - 1.0)
    rows[rng.random(8_000) < 0.1, 2] = np.nan
    target = rng.random(8_000) < truth
    net = Network(hidden=(32, 16), epochs=20, batch=128).fit(rows, target, np.arange(6_000), 0)
    assert isinstance(net, Perceptron)
    assert np.abs(expit(net.odds(rows[6_000:])) - truth[6_000:]).mean() < 0.08
    again = Network(hidden=(32, 16), epochs=20, batch=128).fit(rows, target, np.arange(6_000), 0)
    assert np.array_equal(again.odds(rows), net.odds(rows))


def test_few_rows_and_columns_that_never_vary_are_no_trouble() -> None:
    rows = np.array([[np.nan, 1.0], [np.nan, 1.0], [np.nan, 1.0]], np.float32)
    net = Network(epochs=3).fit(rows, np.array([True, False, True]), np.arange(3), 0)
    assert np.isfinite(net.odds(rows)).all()
    assert np.isfinite(net.odds(np.array([[7.0, np.nan]], np.float32))).all()


def joint_world(rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return inputs, own habits, what is bought, and its probability: by one's own habit, or by another scope's inputs."""
    rng = np.random.default_rng(2)
    inputs = rng.normal(size=(rows, 6)).astype(np.float32)
    own = rng.normal(size=(rows, 2, 3)).astype(np.float32)
    odds = np.stack([2.0 * own[:, 0, 0], -2.0 * own[:, 1, 1], 3.0 * np.abs(inputs[:, 0]) - 2.0], axis=1)
    return inputs, own, rng.random(odds.shape) < expit(odds), expit(odds)


def test_a_joint_networks_slopes_are_those_of_its_loss() -> None:
    inputs, own, bought, _ = joint_world(40)
    rule = JointNetwork(hidden=5, epochs=1, batch=20, drop=0.0, drop_inputs=0.0)
    net = rule.fit(inputs, own, bought, 0)
    weights = (net.first, net.first_base, net.last, net.last_base, net.own)
    slopes = rule._slopes(net, inputs, own, bought, np.random.default_rng(0))
    for weight, slope in zip(weights, slopes, strict=True):
        place = np.unravel_index(np.abs(slope).argmax(), slope.shape)
        assert slope[place] == pytest.approx(
            difference(weight, place, lambda: mean_loss(net.odds(inputs, own), bought)), 0.1, abs=3e-4
        )


def test_a_joint_network_tells_scopes_by_own_habits_and_by_others() -> None:
    inputs, own, bought, truth = joint_world(6_000)
    net = JointNetwork(hidden=32, epochs=15, batch=64).fit(inputs[:5_000], own[:5_000], bought[:5_000], 0)
    assert isinstance(net, Joint)
    odds = net.odds(inputs[5_000:], own[5_000:])
    for scope in range(3):
        assert auc(bought[5_000:, scope], odds[:, scope]) > auc(bought[5_000:, scope], truth[5_000:, scope]) - 0.03


def test_descent_ends_at_the_lowest_point_and_chances_are_bounded() -> None:
    weight = np.array([3.0, -2.0], np.float32)
    adam = Adam([weight], 0.2, 400, 0.0)
    for _ in range(400):
        adam.step([2.0 * (weight - np.array([1.0, 0.5], np.float32))])
    assert weight == pytest.approx([1.0, 0.5], abs=1e-2)
    assert chance_of(np.array([-1e9, 0.0, 1e9], np.float32)) == pytest.approx([0.0, 0.5, 1.0], abs=1e-6)
