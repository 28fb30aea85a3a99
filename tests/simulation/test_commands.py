"""`allocate design` and `allocate measure` as an analyst meets them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.benchmarks.measurement import write_campaign
from tests.conftest import Allocate


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("commands")
    write_campaign(path, 3_000, share=0.2)
    users = pd.DataFrame({"user_id": np.arange(3_000), "segment": np.where(np.arange(3_000) % 2, "odd", "even")})
    users.to_parquet(path / "users.parquet")
    return path


def test_design_says_the_holdout_and_what_it_can_tell(allocate: Allocate) -> None:
    code, out, _ = allocate("design", "--effect", "0.5", "--users", "120k", "--sd", "20", "--correlation", "0.7")
    assert code == 0
    assert "Hold out 6,789 of 120,000 planned users (--holdout 5.66%)" in out
    assert "as if there were 2.0 times the users" in out
    code, out, _ = allocate("design", "--effect", "0.01", "--users", "10k", "--rate", "5%", "--json")
    document = json.loads(out)
    assert (document["holdout"], document["users"]) == (None, 10_000)
    assert 0.6 < document["most_power"] < 0.7


def test_design_of_a_plan_takes_its_users_and_its_promise(allocate: Allocate, folder: Path) -> None:
    code, out, _ = allocate("design", folder / "plan", "--sd", "20", "--holdout", "10%", "--json")
    document = json.loads(out)
    assert code == 0
    assert document["effect"] > 0
    assert {row["coupon"] for row in document["coupons"]} == {"5off", "10off", "20off"}
    code, out, err = allocate("design", folder / "plan", "--spend", folder / "after.parquet", "--effect", "1")
    assert code == 0, err
    assert "correlation with the window before" in out


def test_design_says_small_numbers_with_digits_that_count_and_what_can_be_found(allocate: Allocate) -> None:
    _, out, _ = allocate("design", "--effect", "0.004", "--users", "60k", "--rate", "5%")
    assert "No holdout finds 0.40 purchases per 100 users" in out
    assert "Half of them would find an effect of 0.50 purchases per 100 users or more" in out
    _, out, _ = allocate("design", "--effect", "9", "--users", "60k", "--sd", "40", "--holdout", "0.01%")
    assert "Hold out 6 of 60,000 planned users (--holdout 0.01%)" in out
    assert "hold out 100 (--holdout 0.17%) or more" in out
    _, out, _ = allocate("design", "--effect", "90", "--users", "60", "--sd", "40")
    assert "60 users are too few to rely on them" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--effect", "1", "--users", "100"], "how much do users differ"),
        (["--effect", "1", "--sd", "3"], "how many users"),
        (["--users", "100", "--sd", "3"], "give --effect"),
        (["--effect", "1", "--users", "100", "--sd", "3", "--rate", "5%"], "say the same"),
        (["--effect", "1", "--users", "100", "--sd", "3", "--power", "80"], "write 80%"),
        (["--effect", "1", "--users", "100", "--sd", "3", "--holdout", "60%"], "at most 0.5"),
        (["--effect", "-1", "--users", "100", "--sd", "3"], "give its size, 1"),
        (["--effect", "0.96", "--users", "100", "--rate", "5%"], "more than all would buy"),
    ],
)
def test_design_says_what_is_missing(allocate: Allocate, words: list[str], said: str) -> None:
    code, out, err = allocate("design", *words)
    assert (code, out) == (2, "")
    assert said in err.replace("\n", " ").replace("│", " ") or said.split()[-1] in err


def test_measure_prints_tables_and_json(allocate: Allocate, folder: Path) -> None:
    words = ["measure", folder / "plan", "--outcomes", folder / "after.parquet", "--users", folder / "users.parquet"]
    code, out, err = allocate(*words)
    assert code == 0, err
    for said in ("held out of the same strata", "By coupon", "By segment", "Qini coefficient", "5 groups are shown"):
        assert said in out
    code, out, _ = allocate(*words, "--json")
    document = json.loads(out)
    assert document["schema_version"] == 1
    assert document["overall"]["lift"]["low"] < document["overall"]["lift"]["value"]
    assert [cell["name"] for cell in document["segments"]] == ["even", "odd"]


def test_a_lift_below_zero_is_told_as_less(allocate: Allocate, folder: Path, tmp_path: Path) -> None:
    after = pd.read_parquet(folder / "after.parquet")
    lots = pd.read_parquet(folder / "plan" / "propensities.parquet")
    after["spend"] = 10.0 + after.user_id.isin(lots.user_id[lots.held_out]) * 2.0 + np.arange(len(after)) % 3
    after.to_parquet(tmp_path / "worse.parquet")
    code, out, err = allocate("measure", folder / "plan", "--outcomes", tmp_path / "worse.parquet", "--margin", "30%")
    assert code == 0, err
    first = out.splitlines()[0]
    assert "each less than the" in first and "spent -" not in first


def test_a_market_too_small_to_learn_from_is_a_fault_of_the_words_not_of_a_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from allocator import learning
    from allocator.errors import DataError, UsageError
    from allocator.simulation import Market
    from allocator.simulation.estimating import Learned

    def refuse(*_: object, **__: object) -> None:
        raise DataError("trial: an arm has 0 users")

    monkeypatch.setattr(learning, "train", refuse)
    with pytest.raises(UsageError, match="a market of 300 users is too small to learn from"):
        Learned(()).estimate(Market.draw(300), seed=0)


def test_a_market_that_is_surely_too_small_is_refused_before_anything_is_drawn(
    allocate: Allocate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("allocator.simulation.comparing.Market", None)
    code, out, err = allocate("strategies", "--users", "60", "--quick")
    assert (code, out) == (2, "")
    assert "ask for 200 users or more" in err


def test_measure_refuses_with_the_codes_of_the_contract(allocate: Allocate, folder: Path, tmp_path: Path) -> None:
    code, _, err = allocate("measure", folder / "plan")
    assert (code, "--outcomes" in err) == (2, True)
    code, _, err = allocate("measure", tmp_path, "--outcomes", folder / "after.parquet")
    assert (code, "not a plan folder" in err) == (2, True)
    after = pd.read_parquet(folder / "after.parquet")
    pd.concat([after, after.head(1)]).to_csv(tmp_path / "twice.csv", index=False)
    code, out, err = allocate("measure", folder / "plan", "--outcomes", tmp_path / "twice.csv")
    assert (code, out) == (3, "")
    assert "twice.csv: 1 row repeats a user_id (row 3,001" in err


def test_measure_values_a_plan_on_a_trial(allocate: Allocate, folder: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    trial = pd.DataFrame(
        {"user_id": np.arange(3_000), "coupon": rng.choice(["none", "5off"], 3_000), "propensity": 0.5}
    )
    trial["spend"] = rng.gamma(1.0, 5.0, 3_000)
    trial.to_csv(tmp_path / "trial.csv", index=False)
    code, out, err = allocate("measure", folder / "plan", "--logged", tmp_path / "trial.csv", "--clip", "1.5")
    assert code == 0, err
    for said in ("IPS", "SNIPS", "doubly robust", "switch-DR", "which the trial gave nobody"):
        assert said in out
    code, _, err = allocate("measure", folder / "plan", "--logged", tmp_path / "trial.csv", "--by", "segment")
    assert (code, "--by goes with --outcomes" in err) == (2, True)
