"""Products, users and trials: what is read, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from allocator.errors import CampaignError, DataError, UsageError
from allocator.history import read_products, read_trial, read_users
from allocator.history.balance import balance, telltales, wrong_shares
from tests.history.worlds import departments, trial, write


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_trial_is_read_with_control_first(tmp_path: Path, ending: str) -> None:
    table = trial()
    found = read_trial(write(table, tmp_path / f"trial.{ending}"))
    assert found.arms == ("control", "10off", "15off")
    assert found.counts.tolist() == [int((table["coupon"] == name).sum()) for name in found.arms]
    assert found.features.column_names == ["age", "city"]
    assert found.spend is not None
    np.testing.assert_array_equal(found.spend, table["spend"])
    np.testing.assert_array_equal(found.purchased, table["purchased"] > 0)
    assert found.propensity is None and found.time is None and found.visited is None


@pytest.mark.parametrize("word", ["", "control", "Control", "NONE", " none ", None])
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_control_may_be_written_in_several_ways(tmp_path: Path, word: str | None, ending: str) -> None:
    table = trial().replace({"coupon": {"control": word}})
    assert (
        read_trial(write(table, tmp_path / f"t.{ending}")).counts.tolist()
        == read_trial(write(trial(), tmp_path / "u.csv")).counts.tolist()
    )


def test_chances_of_every_arm_give_that_of_the_arm_received(tmp_path: Path) -> None:
    table = trial().assign(**{"propensity[10off]": 0.25, "propensity[15off]": 0.25})
    found = read_trial(write(table, tmp_path / "t.csv"))
    assert found.propensities is not None and found.propensity is not None
    np.testing.assert_allclose(found.propensities[0], [0.5, 0.25, 0.25])
    np.testing.assert_allclose(found.propensity, np.where(found.arm == 0, 0.5, 0.25))
    assert "propensity[10off]" not in found.features.column_names


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"purchased": 0, "spend": 0.0, "redeemed": 0}, "'purchased' is 0 in every row; there is nothing to learn"),
        ({"coupon": "none", "redeemed": 0}, "nobody was given a coupon"),
        ({"purchased": 2}, "'purchased' is neither 0 nor 1 in 900 rows .rows 1, 2, 3; the first is 2"),
        ({"purchased": None}, "'purchased' is neither 0 nor 1"),
        ({"spend": -1.0}, "'spend' is missing, negative or not finite"),
        ({"spend": 5.0}, "'spend' is above 0 where purchased is 0"),
        ({"redeemed": 1}, "'redeemed' is 1 in the control arm"),
        ({"visited": 0}, "'visited' is 0 where purchased is 1"),
        ({"user_id": 7}, "899 rows repeat a user_id"),
        ({"propensity": 1.5}, "'propensity' is missing or outside 0 to 1"),
        ({"propensity": 0.0}, "'propensity' is 0 for the arm that the user got"),
        ({"propensity[10off]": 0.5}, r"lacks column 'propensity\[15off\]'"),
        ({"propensity[10off]": 0.9, "propensity[15off]": 0.9}, "does not add up to 1"),
        ({"weight": 0.0}, "'weight' is missing, 0, negative or not finite"),
        ({"time": "soon"}, "'time' is missing, no date"),
    ],
)
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_trial_that_says_something_impossible_is_refused(
    tmp_path: Path, change: dict[str, Any], words: str, ending: str
) -> None:
    with pytest.raises(DataError, match=words):
        read_trial(write(trial().assign(**change), tmp_path / f"t.{ending}"))


def test_a_user_may_take_part_in_campaigns_at_different_times(tmp_path: Path) -> None:
    both = pd.concat([trial().assign(time="2025-03-01"), trial(seed=1).assign(time="2025-06-01")])
    assert len(read_trial(write(both, tmp_path / "t.csv"))) == 1800


def test_arms_by_lot_are_balanced_and_hand_picked_ones_are_not(tmp_path: Path) -> None:
    by_lot = read_trial(write(trial(6_000), tmp_path / "a.csv"))
    assert not any(item.is_suspect for item in balance(by_lot))
    table = trial(6_000)
    old = (table["coupon"] == "10off") & (table["age"] > 60)
    picked = read_trial(
        write(
            table[~((table["coupon"] == "control") & old | (table["coupon"] == "10off") & (table["age"] < 25))],
            tmp_path / "b.csv",
        )
    )
    suspects = [item for item in balance(picked) if item.is_suspect]
    assert [item.coupon for item in suspects] == ["10off"]
    assert suspects[0].largest[0].feature == "age"


def test_the_test_of_balance_alarms_as_rarely_as_it_says(tmp_path: Path) -> None:
    path = write(trial(600), tmp_path / "t.csv")
    chances = []
    for seed in range(60):
        write(trial(600, seed).sample(frac=1.0, random_state=seed), Path(path))
        chances += [item.chance for item in balance(read_trial(path))]
    # Uniform where arms are by lot: the mean of 120 has a standard error of 0.027.
    assert abs(np.mean(chances) - 0.5) < 0.11
    assert min(chances) > 1e-4


def test_arms_that_lost_users_are_named(tmp_path: Path) -> None:
    table = trial(6_000).assign(**{"propensity[10off]": 1 / 3, "propensity[15off]": 1 / 3})
    lost = table.drop(table[(table["coupon"] == "15off")].index[:400])
    assert "15off" in [name for name, _, _ in wrong_shares(read_trial(write(lost, tmp_path / "t.csv")))]
    assert wrong_shares(read_trial(write(table, tmp_path / "t.csv"))) == []


def test_a_feature_that_is_an_outcome_in_disguise_is_named(tmp_path: Path) -> None:
    table = trial().assign(last_invoice=lambda t: t["spend"] * 1.19)
    assert [item.feature for item in telltales(read_trial(write(table, tmp_path / "t.csv")))] == ["last_invoice"]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_products_in_scope(tmp_path: Path, ending: str) -> None:
    table = departments().assign(organic=lambda t: t["item_id"] % 2 == 0, shelf=lambda t: t["item_id"] % 5)
    found = read_products(write(table, tmp_path / f"p.{ending}"))
    assert found.category_column() == "department"
    assert found.in_scope(None).all()
    meat = table["department"] == "MEAT"
    np.testing.assert_array_equal(found.in_scope({"department": "MEAT"}), meat)
    both = meat | (table["department"] == "GROCERY")
    np.testing.assert_array_equal(
        found.in_scope({"department": ["MEAT", "GROCERY"], "shelf": 3}), both & (table["shelf"] == 3)
    )
    np.testing.assert_array_equal(found.in_scope({"organic": True}), table["organic"])
    np.testing.assert_array_equal(found.in_scope({"item_id": [1, 2]}), table["item_id"] <= 2)
    for scope, words in [
        ({"departmnt": "MEAT"}, "did you mean 'department'"),
        ({"department": "MAET"}, "did you mean 'MEAT'"),
        ({"shelf": "3"}, "no product has shelf = '3'"),
        ({"organic": 1}, "no product has organic = 1"),
    ]:
        with pytest.raises(CampaignError, match=words):
            found.in_scope(scope)
    with pytest.raises(UsageError, match="no attribute 'colour'"):
        found.column("colour")


def test_rows_that_repeat_wholly_are_noted_and_others_refused(tmp_path: Path) -> None:
    table = departments()
    twice = pd.concat([table, table.head(3)])
    found = read_products(write(twice, tmp_path / "p.csv"))
    assert len(found.item_ids) == len(table)
    assert "3 rows repeat another and are left out" in found.notes[0]
    twice.iloc[-1, 1] = "OTHER"
    with pytest.raises(DataError, match=r"1 row repeats a item_id with another 'department' \(row 57; .*item_id 3"):
        read_products(write(twice, tmp_path / "p.csv"))


def test_users_without_an_id_or_without_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'user_id' is empty in 1 row"):
        read_users(write(pd.DataFrame({"customer_id": ["a", None], "segment": ["x", "y"]}), tmp_path / "u.csv"))
    with pytest.raises(DataError, match="no rows"):
        read_users(write(pd.DataFrame({"user_id": []}), tmp_path / "u.csv"))


def test_leading_zeros_keep_ids_text_whatever_the_column_is_called(tmp_path: Path) -> None:
    found = read_users(write(pd.DataFrame({"household_id": ["007", "8"], "segment": ["x", "y"]}), tmp_path / "u.csv"))
    assert found.user_ids.to_pylist() == ["007", "8"]
