"""The boosted candidate: LightGBM's trees as arrays, evaluated for all arms at once."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import pytest

from uplift import UpliftError
from uplift.boosted import Lessons, Rounds, _read, arm_codes, boost_out_of_fold
from uplift.links import Link
from uplift.trial import Terms

TERMS = Terms.create([2.0, 5.0, 3.0], ["food", "food", "toys"])


def drawn(n: int, arms: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Users, arms, and purchases that only coupons and a box in two features bring."""
    rng = np.random.default_rng(seed)
    users = rng.random((n, 4)).astype(np.float32)
    arm = rng.integers(0, arms, n)
    moved = (arm > 0) & (users[:, 0] > 0.6) & (users[:, 1] < 0.5)
    return users, arm, (rng.random(n) < 0.2 + 0.5 * moved).astype(float)


def test_for_all_arms_at_once_the_trees_say_what_lightgbm_says() -> None:
    for arms, terms in ((4, TERMS), (70, None)):  # more arms than a word has bits
        users, arm, outcome = drawn(20_000, arms)
        codes, _ = arm_codes(arms, terms)
        x = np.column_stack([users, codes[arm].astype(np.float32)])
        # Arms as levels of their own make the trees part them.
        model = lightgbm.train(
            {"objective": "binary", "verbosity": -1, "num_threads": 1, "num_leaves": 31, "min_data_in_leaf": 5},
            lightgbm.Dataset(x, outcome),
            12,
        )
        fit = _read([tree["tree_structure"] for tree in model.dump_model()["tree_info"]], codes)
        assert (fit.feature >= 4).any()
        said = fit.predict(users[:500])
        for k in range(arms):
            asked = np.column_stack([users[:500], np.tile(codes[k].astype(np.float32), (500, 1))])
            np.testing.assert_allclose(said[:, k], model.predict(asked, raw_score=True), atol=1e-12)


def test_what_is_known_of_user_and_coupon_together_parts_the_arms() -> None:
    users, arm, _ = drawn(20_000, 4)
    rng = np.random.default_rng(1)
    pairs = rng.random((20_000, 3, 2)).astype(np.float32)
    codes, _ = arm_codes(4, TERMS)
    likes = (arm > 0) & (pairs[np.arange(20_000), np.maximum(arm, 1) - 1, 1] > 0.5) & (users[:, 0] > 0.3)
    outcome = (rng.random(20_000) < 0.2 + 0.5 * likes).astype(float)
    lessons = Lessons(users, arm, outcome, np.ones(20_000), Link(binary=True), pairs)
    x = lessons.table(np.arange(20_000), codes)
    parameters = {"objective": "binary", "verbosity": -1, "num_threads": 1, "num_leaves": 31, "min_data_in_leaf": 5}
    model = lightgbm.train(parameters, lightgbm.Dataset(x, outcome), 12)
    fit = _read([tree["tree_structure"] for tree in model.dump_model()["tree_info"]], codes)
    assert ((fit.feature >= 4) & (fit.feature < 6)).any()
    said = fit.predict(users[:500], pairs[:500])
    own = np.concatenate([np.zeros((500, 1, 2), dtype=np.float32), pairs[:500]], axis=1)
    for k in range(4):
        asked = np.column_stack([users[:500], own[:, k], np.tile(codes[k].astype(np.float32), (500, 1))])
        np.testing.assert_allclose(said[:, k], model.predict(asked, raw_score=True), atol=1e-12)


def test_a_tree_that_is_one_leaf_stands_among_others_and_cuts_are_exact() -> None:
    def split(feature: int, threshold: float, left: Any, right: Any) -> dict[str, Any]:
        return {"split_feature": feature, "threshold": threshold, "left_child": left, "right_child": right}

    def leaf(value: float) -> dict[str, float]:
        return {"leaf_value": value}

    third = float(np.float32(1.0) / np.float32(3.0))
    deep = split(0, third - 1e-12, leaf(1.0), split(1, 0.5, split(2, 0.0, leaf(2.0), leaf(4.0)), leaf(8.0)))
    fit = _read(
        [leaf(16.0), deep, leaf(32.0), split(0, third, leaf(64.0), leaf(128.0)), leaf(256.0)], arm_codes(2, None)[0]
    )
    said = fit.predict(np.array([[third, 0.5], [third, 0.6], [0.3, 0.0]], dtype=np.float32))
    # The third column is whether there is a coupon; 1/3 in float32 lies above the first cut and not above the other.
    np.testing.assert_array_equal(said - (16.0 + 32.0 + 256.0), [[66.0, 68.0], [72.0, 72.0], [65.0, 65.0]])


def test_trees_have_as_many_leaves_as_a_word_has_bits() -> None:
    with pytest.raises(UpliftError, match="leaves must be 2 to 64, not 65"):
        Rounds(leaves=65)


def test_it_finds_whom_coupons_move_out_of_fold() -> None:
    users, arm, outcome = drawn(20_000, 4)
    codes, rising = arm_codes(4, TERMS)
    fold = np.arange(20_000) % 2
    lessons = Lessons(users, arm, outcome, np.ones(20_000), Link(binary=True))
    fits, unseen = boost_out_of_fold(lessons, codes, rising, fold, Rounds(trees=40, rate=0.1), 0)
    effect = unseen[:, 1:].mean(axis=1) - unseen[:, 0]
    moved = (users[:, 0] > 0.6) & (users[:, 1] < 0.5)
    assert effect[moved].mean() > 1.5
    assert abs(effect[~moved].mean()) < 0.1
    # Each was said by the model that did not see it.
    for f, fit in enumerate(fits):
        np.testing.assert_allclose(unseen[fold == f], fit.predict(users[fold == f]), atol=1e-9)


def test_where_no_tree_splits_it_says_the_average() -> None:
    users, arm, outcome = drawn(100, 4)
    codes, rising = arm_codes(4, TERMS)
    lessons = Lessons(users, arm, outcome, np.ones(100), Link(binary=True))
    _, unseen = boost_out_of_fold(lessons, codes, rising, np.arange(100) % 2, Rounds(), 0)
    np.testing.assert_allclose(1 / (1 + np.exp(-unseen)), outcome.mean(), atol=0.1)
    assert np.ptp(unseen, axis=1).max() == 0
