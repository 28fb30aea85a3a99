"""The door of a trial: what it takes, and what it refuses with words."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from allocator.errors import DataError
from allocator.learning import read_trial
from tests.learning import worlds


def test_a_trial_is_read_with_its_own_names_and_words() -> None:
    table = worlds.trial(50).rename(columns={"coupon": "segment", "purchased": "conversion"})
    table["segment"] = table["segment"].replace("control", "No E-Mail")
    read = read_trial(table, columns={"coupon": "segment"}, control="No E-Mail", ignore=["noise"])
    assert read.coupons == ("2off", "8off")
    assert set(read.features) == {"loyal", "thrifty", "region"}
    assert read.notes == ("trial: column 'conversion' is read as 'purchased'",)
    assert np.array_equal(read.arm > 0, table["segment"] != "No E-Mail")


def test_empty_coupons_and_none_are_control_in_any_case() -> None:
    table = worlds.trial(60).drop(columns="redeemed")
    table["coupon"] = [None, "", "None", "CONTROL", "2off", "8off"] * 10
    assert read_trial(table).arm.tolist()[:6] == [0, 0, 0, 0, 1, 2]


def test_a_trial_without_control_is_refused_with_what_to_do_instead() -> None:
    with pytest.raises(DataError, match=r"no control group.*--control NAME.*random tenth.*--observational"):
        read_trial(worlds.trial(50, control=False))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"purchased": 2}, r"'purchased' is neither 0 nor 1 in 50 rows"),
        ({"spend": -1.0}, r"'spend' is missing, negative or not finite"),
        ({"purchased": 0, "spend": 1.0}, r"'spend' is above 0 where purchased is 0"),
        ({"coupon": "control", "redeemed": 1}, r"nobody was given a coupon"),
        ({"redeemed": 1}, r"nobody redeems a coupon that was not given"),
        ({"noise": pd.Timestamp("2026-01-01")}, r"column 'noise' is timestamp.*--ignore noise"),
        ({"noise": np.inf}, r"column 'noise' is infinite in 50 rows \(rows 1, 2, 3\)"),
        ({"user_id": 7}, r"49 rows repeat a user_id"),
        ({"propensity": 0.0}, r"'propensity' is 0 for the arm"),
    ],
)
def test_impossible_rows_are_named(change: dict[str, object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_trial(worlds.trial(50).assign(**change))


def test_a_missing_column_says_how_to_name_it() -> None:
    table = worlds.trial(50)
    with pytest.raises(DataError, match=r"--column coupon=NAME"):
        read_trial(table.drop(columns="coupon"))
    with pytest.raises(DataError, match=r"--column purchased=NAME"):
        read_trial(table.drop(columns=["purchased", "spend"]))


def test_propensities_by_coupon_or_of_the_arm_give_the_same_chances() -> None:
    table = worlds.trial(300)
    by_arm = table.assign(**{"propensity[2off]": 0.2, "propensity[8off]": 0.3})
    chances = read_trial(by_arm).propensity
    assert chances is not None
    assert np.allclose(chances, [0.5, 0.2, 0.3])
    got = table["coupon"].map({"control": 0.5, "2off": 0.2, "8off": 0.3})
    single = read_trial(table.assign(propensity=got)).propensity
    assert single is not None
    assert np.allclose(single.sum(axis=1), 1.0)
    assert np.allclose(single[np.arange(300), read_trial(table).arm], got)
