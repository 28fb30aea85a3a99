"""Explanations name what moves the effect, in the user's own units, and add up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from uplift import Effects, Features, Trial, TrialError, contributions, estimate_propensity, importance, segments


@dataclass(frozen=True)
class Known:
    """A coupon that works for the young, and more so in the north; `noise` says nothing."""

    def predict(self, features: Any) -> Effects:
        table = Features.create(features)
        age, town = table.columns[table.names.index("age")], table.columns[table.names.index("town")]
        lift = 0.1 * (age < 30) + 0.05 * (town == "north")
        control = np.full(len(table), 0.2)
        return Effects.create(control, control[:, None] + lift[:, None])


def users(n: int = 400) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "age": rng.uniform(18, 60, n),
        "town": rng.choice(["north", "south"], n),
        "noise": rng.normal(size=n),
    }


def test_importance_ranks_features_by_how_far_they_move_the_effect() -> None:
    ranked = importance(Known(), users())
    assert [row.name for row in ranked] == ["age", "town", "noise"]
    assert ranked[2].moved == 0.0


def test_segments_are_rules_in_the_users_units() -> None:
    found = segments(Known(), users(), leaves=4)
    assert "age <= 3" in found[0].rule or "age <= 29" in found[0].rule
    assert "town is north" in found[0].rule
    assert found[0].uplift[0] == pytest.approx(0.15)
    assert sum(segment.share for segment in found) == pytest.approx(1.0)


def test_contributions_add_up_to_the_effect() -> None:
    table = users()
    some = {name: column[:5] for name, column in table.items()}
    made = contributions(Known(), some, table, samples=40)
    uplift = Known().predict(some).uplift
    np.testing.assert_allclose(made.average + made.values.sum(axis=1), uplift, atol=1e-9)
    assert np.abs(made.values[:, 2]).max() < np.abs(made.values[:, 0]).max() / 5
    with pytest.raises(TrialError, match="same columns"):
        contributions(Known(), {"age": some["age"]}, table)


def test_logged_propensities_are_estimated_from_the_features() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(4_000, 2))
    chance = 1 / (1 + np.exp(-x[:, 0]))
    arm = (rng.random(4_000) < chance).astype(int)
    made = estimate_propensity(Trial.create(x, arm, np.ones(4_000)))
    np.testing.assert_allclose(made.sum(axis=1), 1.0)
    assert np.abs(made[:, 1] - chance).mean() < 0.04
