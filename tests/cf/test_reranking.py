"""Trees that rank a hybrid's best again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import cf
from cf.models import Hybrid, reranking
from cf.models.hybrid import HybridModel
from cf.models.repeat import items_of
from tests.cf.worlds import log

STEP = 28 * 86_400


@pytest.fixture(scope="module")
def weekly() -> cf.Interactions:
    """Users who buy each of their items every fourth week, so that what was just bought is what does not come next."""
    rng = np.random.default_rng(0)
    rows = [
        (user, item, 7.0 * week + 0.5)
        for user in range(250)
        for item in rng.permutation(40)[:16]
        for week in range(int(rng.integers(0, 4)), 30, 4)
    ]
    user, item, day = (np.array(column) for column in zip(*rows, strict=True))
    return log(cf.Events(user, item, day), now=210)


@pytest.fixture(scope="module")
def model(weekly: cf.Interactions) -> HybridModel:
    parts = {"own": cf.Frequency(cf.Weighting(half_life=14.0)), "popular": cf.Popularity()}
    return Hybrid(parts, window=7.0).fit(weekly)


def test_trees_learn_a_rhythm_that_no_weights_can_express(model: HybridModel) -> None:
    assert "warm" in model.again
    assert model.held_out["warm"]["trees"] > 1.3 * model.held_out["warm"]["blend"]
    assert "new" not in model.again


def test_contenders_are_probabilities_and_all_others_stay_below_in_their_order(
    weekly: cf.Interactions, model: HybridModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = np.arange(20)
    plain = HybridModel(model.items, model.popularity, model.parts, model.weights).scores(weekly, users)
    monkeypatch.setattr(reranking, "CONTENDERS", 6)
    made = model.scores(weekly, users)
    assert np.array_equal(made > 0, plain > 0)
    for row in range(len(users)):
        order = np.argsort(-plain[row], kind="stable")
        first, rest = order[:6], order[6:]
        assert made[row, first].min() > made[row, rest].max()
        assert (np.diff(made[row, rest]) <= 0).all()
        assert made[row, first].max() <= 1.0


def test_reasons_add_up_to_the_probability(weekly: cf.Interactions, model: HybridModel) -> None:
    made = cf.recommend(model, weekly, users=[3], n=5)
    for item, score in zip(made.ids(), made.scores[0], strict=True):
        said = cf.explain(model, weekly, 3, item)
        assert sum(reason.contribution for reason in said.reasons) == pytest.approx(score, rel=1e-4)


def test_a_hybrid_with_trees_is_saved_whole(weekly: cf.Interactions, model: HybridModel, tmp_path: Path) -> None:
    cf.save(model, tmp_path / "model")
    again = cf.load(tmp_path / "model", HybridModel)
    assert np.array_equal(again.scores(weekly, np.arange(9)), model.scores(weekly, np.arange(9)))


def test_of_an_item_never_had_habits_are_missing(weekly: cf.Interactions) -> None:
    about = items_of(weekly, STEP)
    had = int(weekly.item[0])
    other = int(np.setdiff1d(np.arange(weekly.n_items), weekly.item[: weekly.start[1]])[0])
    told = reranking.described(weekly, about, np.array([0, 0]), np.array([had, other]), np.ones((2, 1), np.float32))
    assert np.isfinite(told[0, 1:6]).all()
    assert np.isnan(told[1, 1 : 1 + reranking.PAIR]).all()
    assert np.isfinite(told[1, 1 + reranking.PAIR :]).all()
