"""`allocate explain` and `allocate compare` as a planner meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from allocator.tables.plan_folder import read_plan_folder
from tests.conftest import Allocate
from tests.explaining.conftest import Planned


def test_a_user_is_explained_in_words_and_in_json(allocate: Allocate, finished: Path) -> None:
    user = read_plan_folder(finished / "plan").plan["user_id"][0].as_py()
    code, out, err = allocate("explain", finished / "plan", "--user", user)
    assert code == 0 and "name the model that made the offers with --model" in err
    assert out.startswith(f"User {user} gets ")
    assert "after prices" in out and "issued" in out and "buys with it" in out
    code, out, err = allocate("explain", finished / "plan", "--user", user, "--json", "-q")
    document = json.loads(out)
    assert code == 0 and err == "" and document["schema_version"] == 1
    assert document["issued"] == [line["coupon"] for line in document["offers"] if line["issued"]]
    assert {"limit", "price", "amount", "takes"} == set(document["offers"][0]["charges"][0])


def test_a_coupon_is_explained_in_words_and_in_json(allocate: Allocate, finished: Path) -> None:
    code, out, _ = allocate("explain", finished / "plan", "--coupon", "c")
    assert code == 0 and "eligible users" in out.splitlines()[0]
    code, out, _ = allocate("explain", finished / "plan", "--coupon", "c", "--json")
    assert code == 0 and json.loads(out)["by_offers"]["root"]["users"] == json.loads(out)["eligible"]


def test_a_comparison_is_told_in_words_and_in_json(allocate: Allocate, finished: Path) -> None:
    code, out, err = allocate("compare", finished / "plan", finished / "more")
    assert code == 0 and err == ""
    assert "earns" in out.splitlines()[0] and "Both were made from the same offers, users and campaign." in out
    assert "50.00 → 60.00" in out and "By region" in out
    code, out, _ = allocate("compare", finished / "plan", finished / "more", "--json", "--by", "region")
    document = json.loads(out)
    assert code == 0 and document["value"] > 0
    assert {item["attribute"] for item in document["segments"]} == {"region"}


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--user", "1", "--coupon", "a"], 2, "give one of --user ID and --coupon ID"),
        ([], 2, "give one of --user ID and --coupon ID"),
        (["--user", "1200"], 2, "did you mean '120'"),
        (["--coupon", "z"], 2, "the plan has no coupon 'z'"),
        (["--user", "1", "--offers", "none.csv"], 3, "none.csv"),
        (["--user", "1", "--users", "none.csv"], 3, "none.csv"),
        (["--user", "1", "--campaign", "none.toml"], 3, "none.toml"),
    ],
)
def test_what_cannot_be_explained_ends_with_its_code(
    allocate: Allocate, finished: Path, words: list[str], code: int, told: str
) -> None:
    ended, out, err = allocate("explain", finished / "plan", *words)
    assert (ended, out) == (code, "")
    assert told in err and "internal error" not in err


def test_what_is_no_plan_folder_ends_with_2(allocate: Allocate, finished: Path) -> None:
    for words in (
        ("explain", finished, "--user", 1),
        ("compare", finished / "plan", finished),
        ("explain", "", "--user", 1),
    ):
        code, out, err = allocate(*words)
        assert (code, out) == (2, "") and "plan folder" in err, words


def test_names_that_a_terminal_would_obey_are_shown(allocate: Allocate, every_rule: Path, planned: Planned) -> None:
    hostile = "[bold]x[/bold]\x1b[31m\u202e\n"
    offers = pd.read_parquet(every_rule / "offers.parquet")
    offers["coupon"] = offers["coupon"].replace("c", hostile)
    offers["user_id"] = hostile + offers["user_id"].astype(str)
    offers[hostile] = offers["minutes"]
    offers.to_parquet(every_rule / "offers.parquet", index=False)
    users = pd.DataFrame({"user_id": offers["user_id"].unique(), "region": hostile})
    users.to_parquet(every_rule / "users.parquet", index=False)
    before = planned("before", users=None, campaign=None)
    after = planned("after", users="users.parquet", campaign=None, budget=30.0)
    for words in (
        ("explain", before, "--user", offers["user_id"].iloc[0]),
        ("explain", before, "--coupon", hostile),
        ("explain", after, "--coupon", hostile),
        ("compare", before, after, "--by", "region"),
    ):
        code, out, _ = allocate(*words)
        assert code == 0
        assert "\x1b" not in out and "\u202e" not in out
        assert "[bold]x[/bold]\\x1b[31m\\u202e\\n" in out
    code, _, _ = allocate("explain", before, "--user", hostile)
    assert code == 2


@pytest.mark.slow
def test_the_demo_plan_is_explained_by_making_the_demo_again(allocate: Allocate, tmp_path: Path) -> None:
    """No solve: a folder with the demo's offers chosen by hand, since the demo is what is looked up."""
    from allocator.demo import builtin

    offers = builtin.campaign().offers
    assert offers.num_rows == 960_000
    code, out, err = allocate("--budget", 50_000, "-o", tmp_path / "demo", "-q", "--json")
    assert code == 0, err
    code, out, _ = allocate("explain", tmp_path / "demo", "--user", 1842)
    assert code == 0 and "User 1842 gets 6.5off" in out
    code, out, _ = allocate("explain", tmp_path / "demo", "--coupon", "2off")
    assert code == 0 and "19,402 of 120,000 eligible users (16.2 %) get 2off" in out
