"""A trial is checked once, at the door, and says what is wrong in words."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tests.uplift.worlds import tiny
from uplift import Features, OutcomeKind, Schema, Terms, Trial, TrialError

X = np.arange(12.0).reshape(6, 2)
ARM = np.array([0, 1, 2, 0, 1, 2])
Y = np.array([0.0, 1.0, 0.0, 1.0, 1.0, 0.0])


def test_a_trial_takes_plain_arrays_and_knows_its_kind() -> None:
    trial = Trial.create(X, ARM, Y)
    assert (len(trial), trial.n_arms, trial.n_coupons, trial.kind) == (6, 3, 2, OutcomeKind.BINARY)
    assert Trial.create(X, ARM, Y * 3).kind is OutcomeKind.COUNT
    assert Trial.create(X, ARM, Y * 3.5).kind is OutcomeKind.MONEY
    np.testing.assert_allclose(trial.received(), 1 / 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arm": ARM[:5]}, "arm has shape"),
        ({"arm": ARM - 1}, "below 0"),
        ({"arm": ARM * 0}, "nothing to compare"),
        ({"arm": np.array([0, 2, 2, 0, 2, 2])}, "arm 1 has no users"),
        ({"arm": ARM + 0.5}, "whole numbers"),
        ({"outcome": Y - 1}, "below 0"),
        ({"outcome": np.append(Y[:5], np.nan)}, "row 5"),
        ({"outcome": Y * 2, "kind": "binary"}, "must be 0 or 1"),
        ({"kind": "spend"}, "not known"),
        ({"propensity": [0.5, 0.5]}, "give \\(3,\\) or \\(6, 3\\)"),
        ({"propensity": [0.5, 0.5, 0.5]}, "add up to 1.5"),
        ({"propensity": [0.5, 0.5, 0.0]}, "whose chance is given as 0"),
        ({"weight": np.zeros(6)}, "above 0"),
        ({"features": np.full((6, 2), np.inf)}, "use NaN where a number is missing"),
        ({"features": X[:, 0]}, "1 dimensions"),
        ({"terms": Terms.create([1.0])}, "beyond the 1 coupons"),
        ({"steps": [1 - Y]}, "without the last step"),
        ({"steps": [Y * 0.5]}, "0 or 1"),
        ({"steps": [Y, np.ones(6)]}, "without the step before"),
    ],
)
def test_what_is_wrong_is_said(change: dict[str, object], message: str) -> None:
    given = {"features": X, "arm": ARM, "outcome": Y, **change}
    with pytest.raises(TrialError, match=message):
        Trial.create(**given)


def test_terms_need_depths_above_zero() -> None:
    with pytest.raises(TrialError, match="above 0"):
        Terms.create([1.0, 0.0])
    assert Terms.create([1.0, 2.0], ["food", "toys"]).group.tolist() == [0, 1]


def test_rows_taken_keep_everything_in_step() -> None:
    trial = tiny().with_outcome(tiny().outcome, steps=[np.ones(600)])
    part = trial.take(np.array([5, 3]))
    assert part.outcome.tolist() == trial.outcome[[5, 3]].tolist()
    assert part.steps[0].tolist() == [True, True]
    assert part.n_arms == trial.n_arms


def frame(n: int = 200) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    spent = rng.exponential(10.0, n)
    spent[::7] = np.nan
    return pd.DataFrame({"spent": spent, "town": rng.choice(["A", "B", "C"], n), "new": rng.random(n) < 0.5})


def test_text_bools_and_missing_numbers_are_encoded_and_remembered() -> None:
    table = frame()
    schema = Schema.fit(Features.create(table))
    made = schema.encode(table)
    # spent and "spent is missing", three towns + rare + missing, two bools + rare + missing
    assert made.shape == (200, 2 + 5 + 4)
    assert np.isfinite(made).all()
    assert abs(made[:, 0].mean()) < 0.05
    again = Schema.from_json(schema.to_json())
    np.testing.assert_array_equal(again.encode(table), made)


def test_order_of_columns_does_not_matter_and_absent_ones_are_named() -> None:
    table = frame()
    schema = Schema.fit(Features.create(table))
    np.testing.assert_array_equal(schema.encode(table[["new", "town", "spent"]]), schema.encode(table))
    with pytest.raises(TrialError, match="not given: town"):
        schema.encode(table[["new", "spent"]])
    with pytest.raises(TrialError, match="'spent' was numbers in training"):
        schema.encode(table.assign(spent="much"))


def test_unseen_levels_and_shifts_are_reported() -> None:
    table = frame(2_000)
    schema = Schema.fit(Features.create(table))
    assert schema.drift(table).warnings() == ()
    moved = table.assign(town=np.where(table.town == "A", "Z", table.town), spent=table.spent * 3)
    text = " ".join(schema.drift(moved).warnings())
    assert "'town'" in text
    assert "never saw" in text
    assert "'spent' has shifted" in text


def test_what_pandas_marks_as_missing_is_missing() -> None:
    table = pd.DataFrame(
        {
            "visits": pd.array([1, None, 3], dtype="Int64"),
            "town": pd.array(["A", None, "B"], dtype="string"),
            "kind": pd.Categorical(["x", None, "y"]),
        }
    )
    visits, town, kind = Features.create(table).columns
    np.testing.assert_array_equal(visits, [1.0, np.nan, 3.0])
    assert town.tolist() == ["A", None, "B"]
    assert kind.tolist() == ["x", None, "y"]
    with pytest.raises(TrialError, match="dates as numbers"):
        Features.create({"day": pd.to_datetime(pd.Series(["2026-01-01"]))})
