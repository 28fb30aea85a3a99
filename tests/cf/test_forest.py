"""Trees as tests over columns give what LightGBM's walks give."""

from __future__ import annotations

import lightgbm
import numpy as np
import pytest

from cf.boosting import Boosting, Trees
from cf.forest import forest_of


def rows(n: int = 3_000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(n, 5)).astype(np.float32)
    features[:, 4] = rng.integers(0, 3, n)
    target = features[:, 0] + features[:, 1] * (features[:, 4] > 1) + rng.normal(size=n) > 0
    features[rng.random((n, 5)) < 0.2] = np.nan
    return features, target


@pytest.mark.parametrize("objective", ["binary", "gamma"])
@pytest.mark.parametrize("leaves", [2, 7, 32])
def test_every_row_falls_where_lightgbm_puts_it(objective: str, leaves: int) -> None:
    features, target = rows()
    features[:, 3] = np.nan_to_num(features[:, 3])  # a column without missing values in training
    wanted = target if objective == "binary" else np.where(target, 3.0, 1.0)
    trees = Boosting(rounds=12, leaves=leaves, rate=0.2, least_rows=5, share_of_columns=1.0).fit(
        features, wanted, objective, 0
    )
    forest = forest_of(trees.text)
    assert forest is not None
    asked = features.copy()
    asked[:50, 3] = np.nan  # missing where training had none
    asked[50, :] = np.nan
    walked = lightgbm.Booster(model_str=trees.text).predict(asked)
    assert np.allclose(forest.predict(asked), walked, rtol=1e-12)
    assert np.array_equal(trees.predict(asked), forest.predict(asked))


def test_values_on_a_threshold_go_left() -> None:
    features, target = rows()
    trees = Boosting(rounds=5, leaves=8, rate=0.2, least_rows=5, share_of_columns=1.0).fit(
        features, target, "binary", 0
    )
    forest = forest_of(trees.text)
    assert forest is not None
    asked = np.repeat(features[:1], forest.threshold.size, axis=0)
    asked[np.arange(len(asked)), forest.feature] = forest.threshold
    assert np.allclose(forest.predict(asked), lightgbm.Booster(model_str=trees.text).predict(asked), rtol=1e-12)


def test_larger_trees_are_walked_by_lightgbm() -> None:
    features, target = rows()
    trees = Boosting(rounds=3, leaves=60, rate=0.2, least_rows=2, share_of_columns=1.0).fit(
        features, target, "binary", 0
    )
    assert forest_of(trees.text) is None
    assert np.array_equal(Trees(trees.text).predict(features), trees.predict(features))
