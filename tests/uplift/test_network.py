"""The network: learns what each coupon changes, the same each time, and survives being saved, loaded and cut off."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.uplift.worlds import small_world, tiny
from uplift import (
    FittedNetwork,
    ModelFileError,
    Progress,
    Schedule,
    Settings,
    Terms,
    Trial,
    TrialError,
    UpliftError,
    UpliftNetwork,
    depth_curve,
    tune,
)
from uplift.boosted import Rounds
from uplift.metrics import slope
from uplift.network.callbacks import bar, tensorboard
from uplift.trees import Growth
from uplift.tuning import Attempt

QUICK = Settings(
    folds=3,
    repeats=1,
    base_hidden=(8,),
    effect_hidden=(8,),
    base=Schedule(rate=1e-2, least_steps=100, epochs=2, batch=512),
    effect=Schedule(rate=1e-2, least_steps=100, epochs=2, batch=512),
    growth=Growth(trees=5),
    rounds=Rounds(trees=12, rate=0.2),
    free=False,
)


@pytest.fixture(scope="module")
def trained() -> tuple[Trial, FittedNetwork]:
    trial = tiny(3_000)
    return trial, UpliftNetwork(QUICK).fit(trial, seed=3)


def test_it_finds_who_reacts_to_what(trained: tuple[Trial, FittedNetwork]) -> None:
    trial, model = trained
    effects = model.predict(trial.features)
    reacts = trial.features.columns[0] > 0
    assert effects.uplift[reacts, 1].mean() > 0.12
    assert abs(effects.uplift[~reacts, 1].mean()) < 0.08
    assert abs(effects.uplift[:, 0].mean()) < 0.05
    assert effects.control.mean() == pytest.approx(0.3, abs=0.04)
    assert (effects.standard_error > 0).all()


def test_out_of_fold_effects_come_with_the_fit(trained: tuple[Trial, FittedNetwork]) -> None:
    trial, model = trained
    assert model.out_of_fold is not None
    assert np.corrcoef(model.out_of_fold.uplift[:, 1], model.predict(trial.features).uplift[:, 1])[0, 1] > 0.9


def test_the_same_seed_gives_the_same_model(trained: tuple[Trial, FittedNetwork]) -> None:
    trial, model = trained
    again = UpliftNetwork(QUICK).fit(trial, seed=3).predict(trial.features)
    np.testing.assert_array_equal(again.treated, model.predict(trial.features).treated)


def test_users_are_predicted_one_by_one_as_together(trained: tuple[Trial, FittedNetwork]) -> None:
    trial, model = trained
    alone = model.predict(trial.features.take(np.array([7])))
    np.testing.assert_allclose(alone.treated[0], model.predict(trial.features).treated[7], rtol=1e-5)


def test_saved_and_loaded_it_says_the_same(trained: tuple[Trial, FittedNetwork], tmp_path: Path) -> None:
    trial, model = trained
    model.save(tmp_path / "model")
    loaded = FittedNetwork.load(tmp_path / "model")
    made, before = loaded.predict(trial.features), model.predict(trial.features)
    np.testing.assert_allclose(made.treated, before.treated, rtol=1e-6)
    np.testing.assert_allclose(made.standard_error, before.standard_error, rtol=1e-5)
    model.save(tmp_path / "model")  # an older model of this kind may be replaced
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model"]


def test_its_networks_are_exported_for_serving(trained: tuple[Trial, FittedNetwork], tmp_path: Path) -> None:
    import tensorflow as tf

    trial, model = trained
    model.export(tmp_path)
    users = model.stages[0].schema.encode(trial.features)[:4]
    loaded = tf.saved_model.load(str(tmp_path / "stage0"))
    served = loaded.serve(tf.constant(users))
    np.testing.assert_allclose(served["base"].numpy(), model.stages[0].network(users)["base"].numpy(), rtol=1e-5)


def test_damaged_and_foreign_models_are_refused_with_words(
    trained: tuple[Trial, FittedNetwork], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    trained[1].save(folder)
    document = folder / "model.json"
    text = document.read_text()

    def refused(match: str) -> None:
        with pytest.raises(ModelFileError, match=match):
            FittedNetwork.load(folder)
        document.write_text(text)

    document.write_text(text[: len(text) // 2])
    refused("cannot be read")
    document.write_text(json.dumps({**json.loads(text), "version": 99}))
    refused("has version 99")
    document.write_text("{}")
    refused("no saved uplift network")
    cut = json.loads(text)
    del cut["stages"][0]["stack"]
    document.write_text(json.dumps(cut))
    refused("damaged")
    network = folder / "stage0.keras"
    whole = network.read_bytes()
    network.write_bytes(whole[:-100])
    refused("is not the file that was saved")
    network.unlink()
    refused("is missing")
    with pytest.raises(ModelFileError, match="holds no model"):
        FittedNetwork.load(tmp_path / "nothing")
    (tmp_path / "mine").mkdir()
    with pytest.raises(ModelFileError, match="holds no model"):
        trained[1].save(tmp_path / "mine")


def test_features_of_another_kind_are_refused(trained: tuple[Trial, FittedNetwork]) -> None:
    with pytest.raises(TrialError, match="not given: x1, x2"):
        trained[1].predict({"x0": np.zeros(3)})


def test_a_coupon_never_tried_lies_between_its_neighbours(trained: tuple[Trial, FittedNetwork]) -> None:
    trial, model = trained
    own = model.predict(trial.features, terms=trial.terms)
    np.testing.assert_allclose(own.treated, model.predict(trial.features).treated, atol=1e-6)
    asked = model.predict(trial.features, terms=Terms.create([2.0, 3.0, 5.0, 6.0])).uplift.mean(axis=0)
    assert asked[0] - 1e-9 <= asked[1] <= asked[2] + 1e-9 <= asked[3] + 2e-9
    with pytest.raises(TrialError, match="groups"):
        model.predict(trial.features, terms=Terms(np.array([2.0]), np.array([4])))


@pytest.mark.slow
def test_a_training_that_was_cut_off_goes_on_to_the_same_end(tmp_path: Path) -> None:
    trial = tiny(900)
    seen: list[Progress] = []

    def stop(progress: Progress) -> None:
        seen.append(progress)
        if progress.stage == "structured":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        UpliftNetwork(QUICK).fit(trial, seed=1, on_epoch=stop, checkpoint=tmp_path)
    assert [p.stage for p in seen].count("base") == seen[0].epochs
    resumed: list[Progress] = []
    model = UpliftNetwork(QUICK).fit(trial, seed=1, on_epoch=resumed.append, checkpoint=tmp_path)
    assert not any(p.stage == "base" for p in resumed)  # it was done before
    straight = UpliftNetwork(QUICK).fit(trial, seed=1)
    np.testing.assert_array_equal(model.predict(trial.features).treated, straight.predict(trial.features).treated)
    with pytest.raises(ModelFileError, match="other data or settings"):
        UpliftNetwork(QUICK).fit(trial, seed=2, checkpoint=tmp_path)
    (tmp_path / "base.npz").write_bytes(b"PK")
    with pytest.raises(ModelFileError, match="no whole checkpoint"):
        UpliftNetwork(QUICK).fit(trial, seed=1, checkpoint=tmp_path)


def test_where_nothing_is_believed_users_may_differ_all_the_same(tmp_path: Path) -> None:
    world, trial = small_world(5_000, seed=112)
    features, truth = world.users(2_000, seed=3)
    fitted = UpliftNetwork(QUICK).fit(trial, seed=0)
    (stage,) = fitted.stages
    assert not any(stage.stack.weights.values())
    assert stage.hidden is not None
    alike = dataclasses.replace(fitted, stages=(dataclasses.replace(stage, hidden=None),))
    chance = dataclasses.replace(
        stage.stack, average_errors=stage.stack.noise
    )  # as if the dropped averages were known to be 0
    blind = dataclasses.replace(fitted, stages=(dataclasses.replace(stage, stack=chance, hidden=None),))
    covered = []
    for model in (fitted, blind):
        low, high = model.predict(features).interval()
        covered.append(float(np.mean((low <= truth.uplift) & (truth.uplift <= high))))
    assert covered[0] > max(0.85, covered[1] + 0.05)
    # It is each user's own: what users share has none of it, what is told of one has.
    effects, parts = fitted.predict_members(features)
    np.testing.assert_allclose(effects.standard_error, fitted.predict(features).standard_error, rtol=1e-5)
    shared = alike.predict(features).standard_error
    np.testing.assert_allclose(np.sqrt(np.square(parts, dtype=np.float64).sum(axis=0)), shared, rtol=1e-5)
    fitted.save(tmp_path / "model")
    loaded = FittedNetwork.load(tmp_path / "model").predict(features)
    np.testing.assert_allclose(loaded.standard_error, effects.standard_error, rtol=1e-5)


@pytest.mark.slow
def test_a_placebo_promises_nothing() -> None:
    world, _ = small_world(10)
    trial, _ = world.trial(8_000, seed=2, placebo=True)
    effects = UpliftNetwork(QUICK).fit(trial, seed=0).predict(trial.features)
    assert np.abs(effects.uplift.mean(axis=0)).max() < 0.02


@pytest.mark.slow
def test_spend_is_learned_step_by_step() -> None:
    rng = np.random.default_rng(0)
    n = 6_000
    x = rng.normal(size=(n, 3))
    arm = rng.permutation(np.arange(n) % 3)
    visit = rng.random(n) < 0.4 + 0.2 * (arm == 1) * (x[:, 0] > 0)
    buy = visit & (rng.random(n) < 0.4)
    spend = buy * rng.gamma(2.0, 20.0, n)
    trial = Trial.create(x, arm, spend, steps=[visit], propensity=[1 / 3] * 3)
    model = UpliftNetwork(QUICK).fit(trial, seed=0)
    assert len(model.stages) == 2
    assert model.amount is not None
    effects = model.predict(trial.features)
    assert effects.control.mean() == pytest.approx(0.4 * 0.4 * 40.0, rel=0.15)
    assert effects.uplift[x[:, 0] > 0, 0].mean() == pytest.approx(0.2 * 0.4 * 40.0, rel=0.5)
    assert model.out_of_fold is not None


def test_counts_are_learned_on_the_logarithm() -> None:
    rng = np.random.default_rng(1)
    n = 4_000
    x = rng.normal(size=(n, 2))
    arm = np.arange(n) % 2
    y = rng.poisson(np.exp(0.2 + 0.4 * x[:, 1] + 0.3 * arm)).astype(float)
    model = UpliftNetwork(QUICK).fit(Trial.create(x, arm, y), seed=0)
    effects = model.predict(x)
    assert effects.treated.mean() / effects.control.mean() == pytest.approx(np.exp(0.3), rel=0.08)


def test_logged_propensities_are_corrected_for() -> None:
    """Likely buyers were given the coupon more often; it changes nothing."""
    rng = np.random.default_rng(2)
    n = 8_000
    x = rng.normal(size=(n, 2))
    p = 1 / (1 + np.exp(-1.5 * x[:, 0]))
    arm = (rng.random(n) < p).astype(int)
    y = (rng.random(n) < 1 / (1 + np.exp(-(x[:, 0] - 1)))).astype(float)
    naive = y[arm == 1].mean() - y[arm == 0].mean()
    trial = Trial.create(x, arm, y, propensity=np.column_stack([1 - p, p]))
    effects = UpliftNetwork(QUICK).fit(trial, seed=0).predict(x)
    assert naive > 0.15
    assert abs(effects.uplift.mean()) < 0.04


def test_arms_too_small_for_the_folds_are_refused() -> None:
    with pytest.raises(TrialError, match="folds need at least"):
        UpliftNetwork().fit(tiny(24))


def test_importing_uplift_imports_no_tensorflow() -> None:
    heavy = ("tensorflow", "keras", "sklearn", "numba")
    code = f"import sys, uplift; raise SystemExit(any(m in sys.modules for m in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_effects_of_a_synthetic_world_are_found_and_calibrated() -> None:
    world, trial = small_world(100_000)
    features, truth = world.users(20_000, seed=2)
    effects = UpliftNetwork().fit(trial, seed=0).predict(features)
    assert np.corrcoef(effects.uplift.ravel(), truth.uplift.ravel())[0, 1] > 0.7
    assert 0.75 < slope(effects.uplift, truth.uplift) < 1.35


@pytest.mark.slow
def test_tuning_keeps_the_default_unless_something_is_surely_better() -> None:
    tried: list[Attempt] = []
    found = tune(tiny(900), attempts=2, start=QUICK, on_attempt=tried.append)
    assert tried == list(found.attempts)
    assert found.attempts[0].settings == QUICK
    assert found.best in [attempt.settings for attempt in found.attempts]
    with pytest.raises(UpliftError, match="at least 1"):
        tune(tiny(), attempts=0)


def test_the_depth_curve_rises_and_training_can_be_watched(
    trained: tuple[Trial, FittedNetwork], tmp_path: Path
) -> None:
    trial, model = trained
    curve = depth_curve(model, trial.features, np.array([2.0, 3.5, 5.0]))
    assert (np.diff(curve.uplift) >= -1e-9).all()
    if importlib.util.find_spec("tensorboard") is None:
        with pytest.raises(UpliftError, match="pip install tensorboard"):
            tensorboard(tmp_path)
    else:
        tensorboard(tmp_path)(Progress("base", 1, 2, 0.5))
        assert list(tmp_path.glob("events*"))
    with bar() as on_epoch:
        on_epoch(Progress("base", 1, 2, 0.5))


def test_a_training_that_only_gets_worse_on_others_is_stopped_and_goes_back() -> None:
    """Noise alone: hundreds of weights learn it by heart."""
    trial = tiny(300)
    eager = Schedule(rate=3e-2, decay=0.0, least_steps=4, epochs=60, batch=64, patience=4)
    settings = dataclasses.replace(QUICK, base_hidden=(64, 64), base=eager)
    noise = trial.with_outcome(np.random.default_rng(5).integers(0, 2, len(trial)).astype(float))
    seen: list[Progress] = []
    model = UpliftNetwork(settings).fit(noise, seed=0, on_epoch=seen.append)
    base = [progress for progress in seen if progress.stage == "base"]
    assert 4 <= len(base) < 30
    assert base[-1].epoch == base[-1].epochs  # a bar that is full: it is over
    assert np.abs(model.predict(noise.features).control - 0.5).max() < 0.3
