"""Synthetic worlds are what they say: seeded, at the base rate, with every kind of user, and a placebo that is one."""

from __future__ import annotations

import numpy as np
import pytest

from uplift.synthetic import BASE_RATE, World


def test_the_same_seeds_give_the_same_users_and_others_do_not() -> None:
    world = World.draw(3)
    features, truth = world.users(500, seed=1)
    again, same = World.draw(3).users(500, seed=1)
    np.testing.assert_array_equal(features, again)
    np.testing.assert_array_equal(truth.treated, same.treated)
    assert not np.array_equal(features, world.users(500, seed=2)[0])
    assert not np.array_equal(truth.treated, World.draw(4).users(500, seed=1)[1].treated)


def test_every_kind_of_user_is_there() -> None:
    _, truth = World.draw(1).users(50_000, seed=1)
    best = truth.uplift.max(axis=1)
    assert truth.control.mean() == pytest.approx(BASE_RATE, abs=0.005)
    assert (best > 0.1).mean() > 0.02  # persuadables
    assert (truth.uplift.min(axis=1) < 0).mean() > 0.2  # sleeping dogs
    assert ((truth.control > 0.4) & (np.abs(best) < 0.05)).any()  # sure things
    assert ((truth.control < 0.05) & (best < 0.01)).mean() > 0.05  # lost causes


def test_more_depth_never_hurts_but_contact_may() -> None:
    world = World.draw(2)
    _, truth = world.users(5_000, seed=1)
    for group in (0, 1):
        mine = np.flatnonzero(world.terms.group == group)
        assert (np.diff(truth.treated[:, mine], axis=1) >= 0).all()
    assert (truth.uplift[:, 0] < 0).any()


def test_a_trial_shows_its_truth_on_average_and_a_placebo_shows_nothing() -> None:
    world = World.draw(5)
    trial, truth = world.trial(200_000, seed=1)
    for k in (3, 6):
        seen = trial.outcome[trial.arm == k].mean() - trial.outcome[trial.arm == 0].mean()
        assert seen == pytest.approx(truth.uplift[:, k - 1].mean(), abs=0.012)
    shuffled, nothing = world.trial(200_000, seed=1, placebo=True)
    assert (nothing.uplift == 0).all()
    assert np.corrcoef(shuffled.arm, trial.arm)[0, 1] == pytest.approx(0.0, abs=0.01)


def test_unrelated_arms_have_nothing_in_common() -> None:
    _, truth = World.draw(6, unrelated=True).users(20_000, seed=1)
    related = np.corrcoef(World.draw(6).users(20_000, seed=1)[1].uplift.T)
    free = np.corrcoef(truth.uplift.T)
    assert np.abs(free[np.triu_indices(6, 1)]).mean() < related[np.triu_indices(6, 1)].mean()
