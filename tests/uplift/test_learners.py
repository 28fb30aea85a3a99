"""Every learner sits the same exam; comparing them names the better one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.uplift.worlds import guess, tiny
from uplift import (
    Boosting,
    Calibrator,
    DRLearner,
    Linear,
    NoDifference,
    ResponseModel,
    RLearner,
    SLearner,
    TLearner,
    Trial,
    UpliftError,
    XLearner,
    compare,
    fit_best,
    promise,
    reliability,
    shrink_winners,
    standard_baselines,
    winners_factor,
)

FEW = Boosting(rounds=20, rate=0.2, leaves=4, least_in_leaf=40)
EFFECTIVE: list[Any] = [
    SLearner(FEW),
    SLearner(FEW, monotone=True),
    SLearner(Linear(1.0)),
    TLearner(FEW),
    XLearner(FEW),
    pytest.param(DRLearner(FEW), marks=pytest.mark.slow),
    DRLearner(Linear(1.0)),
    pytest.param(RLearner(FEW), marks=pytest.mark.slow),
]


@pytest.mark.parametrize("learner", EFFECTIVE, ids=lambda x: f"{x.name}-{type(x.regression).__name__}")
def test_learners_find_who_reacts(learner: Any) -> None:
    trial = tiny(3_000)
    effects = learner.fit(trial, seed=0).predict(trial.features)
    reacts = trial.features.columns[0] > 0
    assert effects.treated.shape == (3_000, 2)
    assert effects.uplift[reacts, 1].mean() - effects.uplift[~reacts, 1].mean() > 0.08
    assert ((effects.treated >= 0) & (effects.treated <= 1)).all()


@pytest.mark.parametrize("learner", EFFECTIVE, ids=lambda x: f"{x.name}-{type(x.regression).__name__}")
def test_the_same_seed_gives_the_same_effects(learner: Any) -> None:
    trial = tiny(500)
    once, again = (learner.fit(trial, seed=0).predict(trial.features) for _ in range(2))
    np.testing.assert_array_equal(again.treated, once.treated)


@pytest.mark.parametrize("learner", [ResponseModel(FEW), NoDifference()], ids=lambda x: x.name)
def test_the_simplest_models_know_the_averages(learner: Any) -> None:
    trial = tiny(3_000)
    effects = learner.fit(trial, seed=0).predict(trial.features)
    assert effects.control.mean() == pytest.approx(0.32, abs=0.05)


def test_counts_and_a_constant_arm_are_no_trouble() -> None:
    trial = tiny(900)
    counts = trial.with_outcome(trial.outcome * 3)
    assert TLearner(FEW).fit(counts, seed=0).predict(trial.features).treated.max() > 1
    nothing = Trial.create(trial.features, trial.arm, np.where(trial.arm == 1, 0.0, trial.outcome))
    assert TLearner(FEW).fit(nothing, seed=0).predict(trial.features).treated[:, 0].max() == 0.0


def test_comparing_puts_a_real_model_before_a_blind_one() -> None:
    table = compare(tiny(3_000), [SLearner(Linear(1.0), name="real"), NoDifference(name="blind")], splits=3)
    assert table.chosen == "real"
    real, blind = table.scores
    assert (real.name, blind.name) == ("real", "blind")
    assert real.behind == 0.0
    assert blind.behind > 2 * blind.behind_error
    assert "chosen: real" in str(table)
    with pytest.raises(UpliftError, match="same name"):
        compare(tiny(), [NoDifference(), NoDifference()])


def test_models_alike_leave_the_choice_to_the_order_given() -> None:
    twins = [NoDifference(name="first"), NoDifference(name="second")]
    choice = fit_best(tiny(900), twins, splits=2)
    assert choice.comparison.chosen == "first"
    assert choice.fitted.predict(tiny(900).features).uplift.max() == 0.0


def test_standard_baselines_have_names_of_their_own() -> None:
    names = [model.name for model in standard_baselines()]
    assert len(set(names)) == len(names) >= 10


def truthful(trial: Trial) -> Any:
    """Effects as they are."""
    effects = guess(len(trial), 2)
    lift = np.column_stack([np.zeros(len(trial)), 0.2 * (trial.features.columns[0] > 0)])
    return type(effects).create(np.full(len(trial), 0.3), 0.3 + lift)


def test_a_calibrated_model_is_found_reliable_and_a_boastful_one_not() -> None:
    trial = tiny(30_000)
    honest = truthful(trial)
    boast = type(honest).create(honest.control, honest.control[:, None] + 3 * honest.uplift)

    def inside(effects: Any) -> bool:
        bins = reliability(trial, effects, bins=4, nuisance=honest)
        return all(b.interval()[0] <= b.predicted <= b.interval()[1] for b in bins)

    assert inside(honest)
    assert not inside(boast)
    cured = Calibrator.fit(trial, boast).apply(boast)
    assert np.abs(cured.uplift - honest.uplift).mean() < 0.03
    everyone = np.where(honest.uplift[:, 1] > 0, 2, 0)
    assert promise(trial, honest, everyone).kept
    assert not promise(trial, boast, everyone, nuisance=honest).kept


def test_winners_are_shrunk_where_they_do_not_keep_their_promise() -> None:
    trial = tiny(30_000)
    noise = guess(30_000, 2)
    assert winners_factor(trial, noise) < 0.6
    assert winners_factor(trial, truthful(trial)) > 0.9
    shrunk = shrink_winners(noise, noise.uplift.mean(axis=0), 0.5)
    assert shrunk.uplift.max() < noise.uplift.max()
