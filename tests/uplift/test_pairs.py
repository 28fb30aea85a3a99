"""Pair features: what is known of a user together with a coupon moves that coupon's effect, in every learner."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.uplift.test_network import QUICK
from uplift import (
    Boosting,
    DRLearner,
    FittedNetwork,
    Linear,
    Redemption,
    RLearner,
    SLearner,
    Terms,
    TLearner,
    Trial,
    TrialError,
    UpliftNetwork,
    XLearner,
    compare,
    depth_curve,
)

FEW = Boosting(rounds=10, rate=0.3, leaves=4, least_in_leaf=40)
PAIRED = dataclasses.replace(QUICK, structured=False, trees=False)


def relevant(n: int = 6_000, seed: int = 0) -> Trial:
    """Two coupons; each moves those alone to whom it is relevant, which no feature of the user tells."""
    rng = np.random.default_rng(seed)
    relevance = rng.normal(size=(n, 2, 1))
    arm = rng.permutation(np.arange(n) % 3)
    mine = relevance[np.arange(n), np.maximum(arm, 1) - 1, 0]
    chance = 0.3 + 0.3 * (arm > 0) * (mine > 0)
    missing = np.where(rng.random(relevance.shape) < 0.02, np.nan, relevance)
    return Trial.create(
        rng.normal(size=(n, 2)),
        arm,
        (rng.random(n) < chance).astype(float),
        propensity=[1 / 3] * 3,
        terms=Terms.create([2.0, 5.0]),
        pair_features=missing,
    )


def apart(trial: Trial, uplift: np.ndarray) -> float:
    """Uplift of pairs that are relevant less that of the others."""
    assert trial.features.pairs is not None
    pairs = trial.features.pairs[..., 0]
    return float(uplift[pairs > 0].mean() - uplift[pairs < 0].mean())


@pytest.fixture(scope="module")
def trained() -> tuple[Trial, FittedNetwork]:
    trial = relevant()
    return trial, UpliftNetwork(PAIRED).fit(trial, seed=1)


def test_the_network_finds_to_whom_a_coupon_is_relevant(trained: tuple[Trial, FittedNetwork], tmp_path: Path) -> None:
    trial, model = trained
    effects = model.predict(trial.features)
    assert apart(trial, effects.uplift) > 0.15
    assert model.out_of_fold is not None
    assert apart(trial, model.out_of_fold.uplift) > 0.15
    plain = np.column_stack(trial.features.columns)
    again = model.predict(plain, pair_features=trial.features.pairs)
    np.testing.assert_array_equal(again.treated, effects.treated)
    model.save(tmp_path / "model")
    loaded = FittedNetwork.load(tmp_path / "model").predict(trial.features)
    np.testing.assert_allclose(loaded.treated, effects.treated, rtol=1e-6)


def test_its_network_is_exported_with_both_inputs(trained: tuple[Trial, FittedNetwork], tmp_path: Path) -> None:
    import tensorflow as tf

    trial, model = trained
    model.export(tmp_path)
    stage, few = model.stages[0], trial.features.take(np.arange(4))
    assert stage.pair_schema is not None
    asked = [stage.schema.encode(few), stage.pair_schema.encode(few.paired(2))]
    loaded = tf.saved_model.load(str(tmp_path / "stage0"))
    served = loaded.serve([tf.constant(part) for part in asked])
    np.testing.assert_allclose(served["paired"].numpy(), stage.network(asked)["paired"].numpy(), rtol=1e-5)


def test_a_coupon_never_tried_is_judged_by_its_own_relevance(trained: tuple[Trial, FittedNetwork]) -> None:
    trial, model = trained
    few = trial.take(np.arange(500))
    pairs = np.tile([[[-1.5], [0.0], [1.5]]], (500, 1, 1))
    plain = np.column_stack(few.features.columns)
    made = model.predict(plain, terms=Terms.create([3.0] * 3), pair_features=pairs).uplift.mean(axis=0)
    assert made[2] - made[0] > 0.15
    curve = depth_curve(model, few.features, np.array([2.0, 3.0, 5.0]))
    assert np.isfinite(curve.uplift).all()


def test_pair_features_that_are_left_out_or_of_another_shape_are_refused(trained: tuple[Trial, FittedNetwork]) -> None:
    trial, model = trained
    plain = np.column_stack(trial.features.columns)
    with pytest.raises(TrialError, match="give pair_features"):
        model.predict(plain)
    with pytest.raises(TrialError, match="of 1 coupons; there are 2"):
        model.predict(plain, pair_features=np.zeros((len(trial), 1, 1)))
    with pytest.raises(TrialError, match="have 2 numbers a pair; training had 1"):
        model.predict(plain, pair_features=np.zeros((len(trial), 2, 2)))
    with pytest.raises(TrialError, match="have shape"):
        model.predict(plain, pair_features=np.zeros((len(trial), 2)))
    with pytest.raises(TrialError, match=r"infinite values \(first in row 1\)"):
        Trial.create(plain[:6], [0, 1, 2, 0, 1, 2], np.ones(6), pair_features=_infinite())
    with pytest.raises(TrialError, match="of 3 coupons; there are 2"):
        Trial.create(plain[:6], [0, 1, 2, 0, 1, 2], np.ones(6), pair_features=np.zeros((6, 3, 1)))


def _infinite() -> np.ndarray:
    pairs = np.zeros((6, 2, 1))
    pairs[1, 0, 0] = np.inf
    return pairs


LEARNERS: list[Any] = [
    SLearner(FEW),
    SLearner(FEW, monotone=True),
    SLearner(Linear(1.0)),
    TLearner(FEW),
    XLearner(FEW),
    pytest.param(DRLearner(FEW), marks=pytest.mark.slow),
    pytest.param(RLearner(FEW), marks=pytest.mark.slow),
]


@pytest.mark.parametrize("learner", LEARNERS, ids=lambda x: f"{x.name}-{type(x.regression).__name__}")
def test_baselines_use_them_too(learner: Any) -> None:
    trial = relevant(3_000)
    made = learner.fit(trial, seed=0).predict(trial.features)
    assert apart(trial, made.uplift) > 0.12


def test_comparing_hands_them_on() -> None:
    knows, blind = SLearner(Linear(1.0), name="knows"), SLearner(Linear(1.0), name="blind")
    trial = relevant(3_000)
    without = dataclasses.replace(trial, features=dataclasses.replace(trial.features, pairs=None))
    area = {m.name: compare(t, [m], splits=2).scores[0].area for m, t in ((knows, trial), (blind, without))}
    assert area["knows"] > area["blind"] + 0.02


def test_redemption_is_learned_from_them() -> None:
    trial = relevant()
    assert trial.features.pairs is not None
    pairs = np.nan_to_num(trial.features.pairs[..., 0])
    mine = pairs[np.arange(len(trial)), np.maximum(trial.arm, 1) - 1]
    redeemed = (trial.arm > 0) & (mine > 0)
    model = Redemption(UpliftNetwork(PAIRED)).fit(trial, redeemed, seed=0)
    foretold = model.predict(np.column_stack(trial.features.columns), pair_features=trial.features.pairs)
    for k in range(2):
        assert foretold[pairs[:, k] > 0.3, k].mean() > foretold[pairs[:, k] < -0.3, k].mean() + 0.3
