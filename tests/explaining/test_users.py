"""Why a user gets what they get: the prices in the folder say it exactly, and what is wrong is said."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from allocator import Limit, Problem, solve
from allocator.errors import DataError, UsageError
from allocator.explaining import Why, explain_user
from allocator.tables.plan_folder import read_plan_folder
from tests.explaining.conftest import Planned


def test_prices_and_offers_account_for_all_that_the_plan_misses(finished: Path) -> None:
    """Weak duality, term by term: what users miss and what priced limits leave adds up to the bound less the value."""
    folder = read_plan_folder(finished / "plan")
    missed = math.fsum(explain_user(folder, user).missed for user in folder_users(finished))
    left = math.fsum(
        limit["price"] * ((limit["at_most"] if limit["price"] > 0 else limit["at_least"]) - limit["used"])
        for limit in folder.summary["limits"]
        if limit["price"]
    )
    assert missed + left == pytest.approx(folder.summary["price_bound"] - folder.summary["objective"], abs=1e-9)
    assert sum(limit["price"] != 0 for limit in folder.summary["limits"]) >= 3  # the test is worth something


def folder_users(folder: Path) -> list[int]:
    return sorted(pd.read_parquet(folder / "offers.parquet")["user_id"].unique().tolist())


def notes_on_inputs(folder: Path, user: int, **moved: str) -> list[str]:
    """Return the notes, but that on exchanges, which some users have."""
    return [note for note in explain_user(folder, user, **moved).notes if not note.startswith("By the prices alone")]


def test_each_offer_is_judged_by_what_keeps_it_out(finished: Path) -> None:
    folder = read_plan_folder(finished / "plan")
    issued = {user: set(rows["coupon"]) for user, rows in folder.plan.to_pandas().groupby("user_id")}
    seen = set()
    for user in folder_users(finished):
        found = explain_user(folder, user)
        assert set(found.issued) == issued.get(user, set())
        assert sorted(line.coupon for line in found.offers) == ["a", "b", "c"]
        assert found.may_get == 2
        for line in found.offers:
            seen.add(line.why)
            assert line.issued == (line.why is Why.ISSUED)
            if line.why is Why.NOT_ELIGIBLE:
                assert line.value is None
                continue
            assert line.value is not None and line.after_prices is not None
            takes = math.fsum(charge.price * charge.amount for charge in line.charges)
            assert line.after_prices == pytest.approx(line.value - takes, abs=1e-12)
            if line.why is Why.EXCLUSIVE:
                assert {line.coupon, line.rival} == {"a", "b"}
            if line.why is Why.PRICED_OUT:
                assert line.after_prices < 0 < line.value and line.limit
            if line.why is Why.LOSES:
                assert line.value <= 0
    assert seen >= {Why.ISSUED, Why.EXCLUSIVE, Why.PRICED_OUT, Why.LOSES, Why.NOT_ELIGIBLE}


def test_a_limit_charges_only_the_offers_and_users_that_it_covers(finished: Path) -> None:
    folder = finished / "plan"
    users = pd.read_csv(finished / "users.csv").set_index("user_id")
    for user in (1, 2, 3, 4, 5):
        found = explain_user(folder, user)
        assert found.attributes == {"region": users.region[user], "segment": users.segment[user]}
        for line in found.offers:
            limits = {charge.limit for charge in line.charges}
            assert ("north" in limits) <= (users.region[user] in ("north", "west"))
            assert ("owed" in limits) <= (line.coupon in "ab")
            owed = {charge.amount for charge in line.charges if charge.limit == "owed"}
            assert owed <= {5.0 if line.coupon == "a" else 8.0}  # the face values of the campaign


def test_csv_parquet_and_text_ids_say_the_same(every_rule: Path, planned: Planned) -> None:
    offers, users = pd.read_parquet(every_rule / "offers.parquet"), pd.read_csv(every_rule / "users.csv")
    offers["user_id"] = "u" + offers["user_id"].astype(str)
    users["user_id"] = "u" + users["user_id"].astype(str)
    offers.sample(frac=1.0, random_state=1).to_csv(every_rule / "text.csv.gz", index=False)
    users.to_parquet(every_rule / "text_users.parquet", index=False)
    plain, csv, text = (
        planned("plain"),
        planned("csv", offers="offers.csv"),
        planned("text", offers="text.csv.gz", users="text_users.parquet"),
    )
    for user in range(1, 120, 13):
        found = explain_user(plain, user)
        assert explain_user(csv, str(user)).offers == found.offers
        assert {line.coupon: line.why for line in explain_user(text, f"u{user}").offers} == {
            line.coupon: line.why for line in found.offers
        }


def test_someone_with_nothing_is_told_why(finished: Path) -> None:
    folder = finished / "plan"
    assert explain_user(folder, 121).statement.endswith("the user was not eligible for any coupon.")
    held = set(read_plan_folder(folder).plan["user_id"].to_pylist())
    nothing = [explain_user(folder, user) for user in folder_users(finished) if user not in held]
    assert nothing
    for found in nothing:
        assert found.issued == () and "gets nothing: " in found.statement


@pytest.mark.parametrize(("wrong", "meant"), [("12O", "'120'"), ("0012", "'12'"), ("1200", "'120'")])
def test_an_unknown_user_is_told_which_ids_are_near(finished: Path, wrong: str, meant: str) -> None:
    with pytest.raises(UsageError, match=f"there is no user '{wrong}'.*{meant}"):
        explain_user(finished / "plan", wrong)


@pytest.mark.parametrize("id_", ["", " ", "-1", "99999999999999999999999", "1.0", "[red]x", "a\0b", "\x1b[31m"])
def test_strange_ids_are_unknown_users(finished: Path, id_: str) -> None:
    with pytest.raises(UsageError, match="there is no user"):
        explain_user(finished / "plan", id_)


def test_a_changed_offers_file_is_refused_unless_it_is_named(every_rule: Path, planned: Planned) -> None:
    folder = planned()
    user = read_plan_folder(folder).plan["user_id"][0].as_py()
    offers = pd.read_parquet(every_rule / "offers.parquet")
    shutil.copy(every_rule / "offers.parquet", every_rule / "kept.parquet")
    offers["minutes"] += 1
    offers.to_parquet(every_rule / "offers.parquet", index=False)
    with pytest.raises(DataError, match="has changed since the plan was made"):
        explain_user(folder, user)
    assert notes_on_inputs(folder, user, offers=str(every_rule / "kept.parquet")) == []
    named = explain_user(folder, user, offers=str(every_rule / "offers.parquet"))
    assert "is not what the plan was made from" in named.notes[0]
    offers["value"] += 1.0
    offers.to_parquet(every_rule / "offers.parquet", index=False)
    with pytest.raises(DataError, match="are not those that the plan in"):
        explain_user(folder, user, offers=str(every_rule / "offers.parquet"))


def test_inputs_that_are_gone_are_asked_for(every_rule: Path, planned: Planned) -> None:
    folder = planned()
    (every_rule / "campaign.toml").unlink()  # the folder has its own copy
    explain_user(folder, 1)
    shutil.move(every_rule / "users.csv", every_rule / "moved.csv")
    with pytest.raises(DataError, match=r"users\.csv: the users .* are not there any more.*--users"):
        explain_user(folder, 1)
    explain_user(folder, 1, users=str(every_rule / "moved.csv"))


def test_relative_names_are_found_from_another_folder(
    every_rule: Path, planned: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = planned()
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["source"] |= {"offers": "offers.parquet", "users": "users.csv"}
    manifest["inputs"] = {Path(name).name: digest for name, digest in manifest["inputs"].items()}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    elsewhere = every_rule / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert notes_on_inputs(folder, 1) == []


def test_a_folder_of_files_is_known_by_all_of_them(every_rule: Path, planned: Planned) -> None:
    offers = pd.read_parquet(every_rule / "offers.parquet")
    parts = every_rule / "parts"
    parts.mkdir()
    for number in range(3):
        offers[offers.user_id % 3 == number].to_parquet(parts / f"{number}.parquet", index=False)
    folder = planned(offers="parts")
    assert notes_on_inputs(folder, 7) == []
    (parts / "0.parquet").unlink()
    with pytest.raises(DataError, match="has changed"):
        explain_user(folder, 7)


def test_folders_of_other_versions_say_what_is_missing(every_rule: Path, planned: Planned) -> None:
    folder = planned()
    manifest = json.loads((folder / "manifest.json").read_text())
    old = {key: manifest[key] for key in manifest if key not in ("source", "campaign")}
    (folder / "manifest.json").write_text(json.dumps(old))
    with pytest.raises(DataError, match="--campaign"):
        explain_user(folder, 1)
    with pytest.raises(DataError, match="--offers"):
        explain_user(folder, 1, campaign=str(every_rule / "campaign.toml"))
    moved = {
        part: str(every_rule / name)
        for part, name in (("offers", "offers.parquet"), ("users", "users.csv"), ("campaign", "campaign.toml"))
    }
    assert "is not known" in explain_user(folder, 1, **moved).notes[0]
    (every_rule / "campaign.toml").write_text('[campaign]\n[[limit]]\nname = "other"\nat_most = 1\n')
    with pytest.raises(DataError, match="limits are not those of the plan's summary"):
        explain_user(folder, 1, **moved)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"status": "infeasible"}, "no offer was issued"),
        ({"limits": None}, "limits is None"),
        ({"price_bound": "x"}, "price_bound is 'x'"),
        ({"issued": 3}, "3 offers issued"),
    ],
)
def test_a_summary_that_cannot_be_right_is_refused(
    finished: Path, tmp_path: Path, change: dict[str, object], words: str
) -> None:
    folder = tmp_path / "plan"
    shutil.copytree(finished / "plan", folder)
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps(summary | change))
    with pytest.raises((DataError, UsageError), match=words):
        explain_user(folder, 1)


def test_a_result_in_memory_knows_required_and_forbidden_offers() -> None:
    value = np.array([[5.0, 4.0], [3.0, 2.0], [np.nan, 1.0]])
    required, forbidden = np.zeros((2, 3, 2), dtype=bool)
    required[0, 1] = forbidden[1, 0] = True
    problem = Problem.from_arrays(
        value, np.ones((3, 2)), budget=2.0, coupons=["x", "y"], required=required, forbidden=forbidden
    )
    result = solve(problem)
    first, second, third = (explain_user(result, user) for user in range(3))
    assert [(line.coupon, line.why) for line in first.offers] == [("y", Why.REQUIRED), ("x", Why.MAX_PER_USER)]
    assert {line.coupon: line.why for line in second.offers} == {"y": Why.ISSUED, "x": Why.FORBIDDEN}
    assert [line.why for line in third.offers][1] is Why.NOT_ELIGIBLE
    with pytest.raises(UsageError, match="numbered from 0 to 2"):
        explain_user(result, 3)


def test_a_result_and_its_folder_say_the_same(every_rule: Path, planned: Planned) -> None:
    offers, users = pd.read_parquet(every_rule / "offers.parquet"), pd.read_csv(every_rule / "users.csv")
    limits = [Limit("budget", "cost", at_most=50.0), Limit("north", "cost", at_most=25.0, users={"region": "north"})]
    problem = Problem.from_offers(offers, limits=limits, users=users, max_per_user=2)
    result = solve(problem)
    (every_rule / "campaign.toml").write_text(
        '[campaign]\nmax_per_user = 2\n[[limit]]\nname = "north"\nusers = { region = "north" }\nat_most = 25\n'
    )
    folder = planned()
    for user in (1, 7, 19):
        one, two = explain_user(result, user), explain_user(folder, user)
        assert [(a.coupon, a.value, a.after_prices, a.why) for a in one.offers] == [
            (b.coupon, b.value, b.after_prices, b.why) for b in two.offers
        ]
