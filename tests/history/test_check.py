"""`allocate check` and `allocate init`, as a planner meets them."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from allocator.campaign import explained, load_campaign, parse_campaign
from allocator.campaign.terms import Coupon, Header, LimitTerms
from allocator.checking import Inputs, Report, check, find_inputs
from allocator.cli.app import main
from allocator.cli.steps import after_check
from allocator.errors import UsageError
from allocator.history import read_products, read_transactions
from allocator.history.inspecting import inspect
from allocator.history.sampling import KeySample
from tests.history.worlds import NOW, departments, many, trial, write

CAMPAIGN = """
[campaign]
name = "spring"
budget = 1000
start = 2026-01-01
[[coupon]]
id = "10off"
kind = "fixed"
amount = 10
scope = { department = "MEAT" }
[[coupon]]
id = "15off"
kind = "fixed"
amount = 15
[[limit]]
name = "new users"
measure = "count"
users = { segment = "new" }
at_least = 10
"""


@pytest.fixture(params=["csv", "parquet"])
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A whole campaign, sound."""
    place = tmp_path / "spring"
    place.mkdir()
    rng = np.random.default_rng(0)
    users = pd.DataFrame({"user_id": np.arange(1, 601), "segment": rng.choice(["new", "loyal"], 600)})
    offers = pd.DataFrame(
        [(user, coupon) for user in range(1, 501) for coupon in ("10off", "15off")], columns=["user_id", "coupon"]
    )
    offers = offers.assign(value=np.where(offers["user_id"] <= 400, 2.0, -1.0), cost=1.0)
    tables = {
        "transactions": many(5_000),
        "products": departments(60),
        "users": users,
        "trial": trial(600),
        "offers": offers,
    }
    for name, table in tables.items():
        write(table, place / f"{name}.{request.param}")
    (place / "campaign.toml").write_text(CAMPAIGN)
    return place


def looked(place: Path) -> Report:
    return check(find_inputs(place))


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["allocate", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    out = capsys.readouterr()
    return int(ended.value.code or 0), out.out, out.err


def replace(place: Path, name: str, change: Any) -> None:
    """Exchange a table of a folder for what `change` makes of it."""
    (path,) = place.glob(f"{name}.*")
    table = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    write(change(table), path)


def test_a_sound_campaign_is_understood(folder: Path) -> None:
    report = looked(folder)
    assert not report.errors and not report.warnings
    table = many(5_000)
    said = report.parts["transactions"]
    assert (said["rows"], said["sound"], said["users"]) == (len(table), len(table), table["user_id"].nunique())
    assert said["visits"] == table["basket_id"].nunique()
    assert (said["first"], said["last"]) == (str(table["time"].min().date()), str(table["time"].max().date()))
    assert said["money"] == pytest.approx(table["amount"].sum())
    merged = table.merge(departments(60))
    assert said["bought_from_scope"] == {"10off": merged.loc[merged["department"] == "MEAT", "user_id"].nunique()}
    assert report.parts["users"]["have_bought"] == table["user_id"].nunique()
    assert [(step.users, step.lost) for step in report.funnel] == [(600, 0), (500, 100), (400, 100), (400, 0)]
    arms = report.parts["trial"]["arms"]
    assert [arm["arm"] for arm in arms] == ["control", "10off", "15off"]
    assert sum(arm["users"] for arm in arms) == 600


def test_the_command_prints_it_or_one_json_document(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = run(capsys, monkeypatch, "check", str(folder))
    assert (code, err) == (0, "")
    for words in ("5,000 rows, 5,000 sound", "Arms of the trial", "Who can get a coupon", "Sound."):
        assert words in out
    code, out, err = run(capsys, monkeypatch, "check", str(folder), "--json")
    document = json.loads(out)
    assert (code, err, document["sound"]) == (0, "", True)
    assert document["funnel"][1] == {"rule": "have an offer", "users": 500, "lost": 100, "why": "no row in the offers"}


BREAKS: dict[str, tuple[str, Any, int, str]] = {
    "offers": ("offers", lambda t: t.assign(cost=-1.0), 3, "'cost'"),
    "trial": ("trial", lambda t: t.assign(purchased=2), 3, "'purchased' is neither 0 nor 1"),
    "users": ("users", lambda t: pd.concat([t, t.head(1)]), 3, "1 row repeats a user_id"),
    "train": (
        "trial",
        lambda t: t.assign(age=np.where(t.index == 5, np.inf, t["age"])),
        3,
        "'age' is infinite in 1 row (row 6)",
    ),
    "products": ("products", lambda t: t.rename(columns={"item_id": "thing"}), 3, "'item_id' is missing"),
    "transactions": ("transactions", lambda t: t.assign(amount=-1.0), 3, "no row is sound"),
    "scopes": ("products", lambda t: t.assign(department="DRUG"), 2, "no product has department = 'MEAT'"),
}


@pytest.mark.parametrize("part", list(BREAKS))
def test_one_wrong_table_is_told_and_the_others_are_checked_all_the_same(
    folder: Path, part: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, change, expected, words = BREAKS[part]
    replace(folder, name, change)
    code, out, err = run(capsys, monkeypatch, "check", str(folder), "--json")
    document = json.loads(out)
    assert code == expected
    assert words in err and words in document["errors"][part]
    assert set(document["errors"]) == {part}
    whole = {"campaign", "transactions", "products", "users", "trial", "offers"} - ({name} if part == name else set())
    assert whole <= set(document)


def test_a_wrong_campaign_file_and_wrong_data_are_both_told(folder: Path) -> None:
    (folder / "campaign.toml").write_text("[campaign]\nbudgt = 5\n")
    replace(folder, "trial", lambda t: t.assign(purchased=2))
    report = looked(folder)
    assert set(report.errors) == {"campaign", "trial"}
    assert report.exit_code == 3
    assert "did you mean 'budget'" in str(report.errors["campaign"])


ODD: dict[str, tuple[str, Any, str]] = {
    "small arm": (
        "trial",
        lambda t: pd.concat([t[t["coupon"] != "10off"], t[t["coupon"] == "10off"].head(30)]),
        "arm '10off' has 30 users",
    ),
    "not by lot": (
        "trial",
        lambda t: t[(t["coupon"] == "control") | (t["age"] > 50)],
        "differ from control before the trial",
    ),
    "leak": ("trial", lambda t: t.assign(bill=t["spend"] * 2), "'bill' goes with the outcome"),
    "untried coupon": (
        "trial",
        lambda t: t[t["coupon"] != "15off"],
        "1 coupon of the campaign were never tried (15off)",
    ),
    "delivered twice": (
        "transactions",
        lambda t: pd.concat([t, t]),
        "5,000 rows repeat another in everything (50.0 %)",
    ),
    "returns": (
        "transactions",
        lambda t: t.assign(amount=np.where(t.index % 50 == 0, -1.0, t["amount"])),
        "2.0 % of the rows are left out",
    ),
    "a month is missing": (
        "transactions",
        lambda t: t[~pd.to_datetime(t["time"]).dt.month.eq(3)],
        "no row from 2025-03-01 to 2025-03-31 (31 days)",
    ),
    "short": ("transactions", lambda t: t[pd.to_datetime(t["time"]).dt.month.eq(3)], "31 days of history"),
    "unknown items": ("products", lambda t: t[t["item_id"] > 8], "8 items with 13."),
    "worthless": ("offers", lambda t: t.assign(value=-1.0), "100.0 % of the offers are worth nothing or less"),
    "a coupon without offers": ("offers", lambda t: t[t["coupon"] != "15off"], "'15off' has no offer"),
    "impossible minimum": (
        "users",
        lambda t: t.assign(segment=np.where(t["user_id"] < 5, "new", "loyal")),
        "limit 'new users' wants at least 10 offers, but covers 4 users",
    ),
}


@pytest.mark.parametrize("what", list(ODD))
def test_what_is_odd_is_warned_of(folder: Path, what: str) -> None:
    name, change, words = ODD[what]
    replace(folder, name, change)
    report = looked(folder)
    assert not report.errors
    assert any(words in warning for warning in report.warnings), report.warnings


def test_ids_of_different_kinds_are_told_where_they_meet(folder: Path) -> None:
    replace(folder, "users", lambda t: t.assign(user_id=[f"u{number}" for number in t["user_id"]]))
    report = looked(folder)
    if (folder / "users.csv").exists():  # all are text then; nobody meets anybody
        assert report.parts["users"]["have_bought"] == 0
        assert "have no row here" in str(report.errors["offers"])
    else:
        assert "user_id is text in" in str(report.errors["users"])


def test_a_limit_on_users_is_checked_without_offers(folder: Path) -> None:
    next(folder.glob("offers.*")).unlink()
    write(trial(600).drop(columns=["age", "city"]), next(folder.glob("trial.*")))
    assert looked(folder).parts["users"]["limits"]["new users"] > 200
    replace(folder, "users", lambda t: t.rename(columns={"segment": "segments"}))
    assert "did you mean 'segments'" in str(looked(folder).errors["limits"])


def test_who_may_get_a_coupon_is_counted_and_a_slip_in_it_told(folder: Path) -> None:
    only = 'users = { segment = "new" }'
    text = CAMPAIGN.replace("amount = 10\n", f"amount = 10\n{only}\n").replace(
        "amount = 15\n", f"amount = 15\n{only}\n"
    )
    (folder / "campaign.toml").write_text(text)
    report = looked(folder)
    (path,) = folder.glob("users.*")
    users = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    fresh = users[users["segment"] == "new"]
    assert report.parts["users"]["coupons"] == {"10off": len(fresh), "15off": len(fresh)}
    assert [step.users for step in report.funnel] == [
        600,
        len(fresh),
        (fresh["user_id"] <= 500).sum(),
        (fresh["user_id"] <= 400).sum(),
        (fresh["user_id"] <= 400).sum(),
    ]
    (folder / "campaign.toml").write_text(text.replace('users = { segment = "new" }', 'users = { segmnt = "new" }', 1))
    assert "coupon '10off' is for users by 'segmnt', but there is no such column (did you mean 'segment'?)" in str(
        looked(folder).errors["eligibility"]
    )


@pytest.mark.parametrize(
    ("start", "words"),
    [("2025-11-01", "beyond the campaign's start"), ("2026-03-01", "end 60 days before"), ("2026-01-02", "")],
)
def test_a_start_that_does_not_follow_the_history_is_warned_of(folder: Path, start: str, words: str) -> None:
    (folder / "campaign.toml").write_text(CAMPAIGN.replace("2026-01-01", start))
    warnings = [warning for warning in looked(folder).warnings if "campaign's start" in warning]
    assert (len(warnings) == 1 and words in warnings[0]) if words else not warnings


def test_habits_before_the_trial_are_compared_too(folder: Path) -> None:
    table = many(5_000)
    early = table[pd.to_datetime(table["time"]) < "2025-07-01"].groupby("user_id")["amount"].sum()
    big = set(early[early > early.median()].index)

    def by_spend(t: pd.DataFrame) -> pd.DataFrame:
        picked = t["user_id"].isin(big)
        return t.assign(time="2025-07-01", coupon=np.where(picked, "10off", "control"), redeemed=0)

    replace(folder, "trial", by_spend)
    warnings = [warning for warning in looked(folder).warnings if "differ from control" in warning]
    assert len(warnings) == 1 and "money" in warnings[0]


def test_inputs_may_be_named_one_by_one_and_win_over_the_folder(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("[campaign]\nname = 'other'\n")
    inputs = Inputs(campaign=str(tmp_path / "other.toml")).or_else(find_inputs(folder))
    assert check(inputs).parts["campaign"]["name"] == "other"


def test_nothing_to_check_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(capsys, monkeypatch, "check")[0] == 2
    with pytest.raises(UsageError, match=r"neither campaign\.toml nor a table"):
        find_inputs(tmp_path)
    with pytest.raises(UsageError, match="there is no such folder; make one with `allocate init"):
        find_inputs(tmp_path / "missing")
    for ending in ("csv", "parquet"):
        write(trial(), tmp_path / f"trial.{ending}")
    with pytest.raises(UsageError, match=r"trial.parquet and trial.csv; keep one"):
        find_inputs(tmp_path)


def test_what_init_writes_passes_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(capsys, monkeypatch, "init", "new")[0] == 0
    assert run(capsys, monkeypatch, "check", "new")[:2][0] == 0
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"campaign.toml", "README.md"}
    tables = {"from": write(many(), tmp_path / "t.csv"), "products": write(departments(), tmp_path / "p.parquet")}
    words = [word for name, path in tables.items() for word in (f"--{name}", path)]
    assert run(capsys, monkeypatch, "init", "spring", *words)[0] == 0
    code, out, _ = run(
        capsys, monkeypatch, "check", "spring", "--transactions", tables["from"], "--products", tables["products"]
    )
    assert code == 0
    campaign = load_campaign(tmp_path / "spring" / "campaign.toml")
    scoped = [coupon for coupon in campaign.coupon if coupon.scope]
    assert len(scoped) == 3 and len(campaign.coupon) == 5
    assert f"users bought from the scope of {scoped[0].id!r}" in out
    assert campaign.budget == pytest.approx(0.01 * many().query("time > '2025-10-03'")["amount"].sum(), rel=0.1)


def test_init_keeps_what_is_there_unless_forced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "spring"
    place.mkdir()
    (place / "users.csv").write_text("user_id\n1\n")
    assert run(capsys, monkeypatch, "init", str(place))[0] == 0
    assert (place / "users.csv").exists()
    (place / "campaign.toml").write_text("mine")
    code, _, err = run(capsys, monkeypatch, "init", str(place))
    assert code == 2 and "add --force" in err
    assert (place / "campaign.toml").read_text() == "mine"
    assert run(capsys, monkeypatch, "init", str(place), "--force")[0] == 0
    load_campaign(place / "campaign.toml")
    assert run(capsys, monkeypatch, "init", str(tmp_path / "x"), "--products", "p.csv")[0] == 2
    (tmp_path / "file").write_text("")
    assert run(capsys, monkeypatch, "init", str(tmp_path / "file"))[0] == 2


def test_init_from_broken_data_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(many(100).assign(amount=-1.0), tmp_path / "t.csv")
    assert run(capsys, monkeypatch, "init", str(tmp_path / "new"), "--from", path)[0] == 3
    assert not (tmp_path / "new").exists()


def test_init_says_which_rows_it_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sold = many(100)
    sold.loc[sold.index[:3], "amount"] = -1.0
    code, _, err = run(capsys, monkeypatch, "init", str(tmp_path / "new"), "--from", write(sold, tmp_path / "t.csv"))
    assert code == 0
    assert "left out 3 rows: amount missing, negative or not finite" in " ".join(err.split())


def test_a_trial_of_other_coupons_is_understood_by_a_file_of_its_own(folder: Path) -> None:
    next(folder.glob("offers.*")).unlink()
    write(trial(600).drop(columns=["age", "city"]), next(folder.glob("trial.*")))
    (folder / "campaign.toml").write_text(CAMPAIGN.replace("15off", "20off"))
    assert "coupon '15off' of the trial is not in the campaign file" in str(looked(folder).errors["train"])
    (folder / "trial.toml").write_text(CAMPAIGN)
    report = looked(folder)
    assert not report.errors
    assert report.parts["trial_campaign"]["coupons"] == ["10off", "15off"]
    assert any("1 coupon of the campaign were never tried (20off)" in warning for warning in report.warnings)
    assert f"--campaign {folder / 'trial.toml'}" in after_check(report.inputs.given, True)


@pytest.mark.parametrize(
    "name", ['a "quoted" name', "back\\slash", "two\nlines", "tab\t", "Käse & Wein", "del\x7f", "'", "#", "7"]
)
def test_any_category_can_be_proposed(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    goods = departments().assign(department=lambda t: np.where(t["item_id"] < 40, name, "OTHER"))
    goods = goods.rename(columns={"department": "my category"})
    bought, catalogue = write(many(2_000), tmp_path / "t.parquet"), write(goods, tmp_path / "p.parquet")
    place = str(tmp_path / "new")
    assert run(capsys, monkeypatch, "init", place, "--from", bought, "--products", catalogue)[0] == 0
    assert run(capsys, monkeypatch, "check", place, "--transactions", bought, "--products", catalogue)[0] == 0
    assert {"my category": name} in [
        coupon.scope for coupon in load_campaign(tmp_path / "new" / "campaign.toml").coupon
    ]


def test_every_key_of_a_campaign_file_is_explained_and_its_example_is_understood() -> None:
    for table, known in ((Header, explained.HEADER), (Coupon, explained.COUPON), (LimitTerms, explained.LIMIT)):
        assert set(table.model_fields) <= set(known)
        examples = {key: tomllib.loads(f"it = {known[key][0]}")["it"] for key in table.model_fields}
        if table is not Coupon:
            table.model_validate(examples)
        else:
            table.model_validate({**examples, "kind": "percent"})


def test_the_limit_in_comments_works_once_the_signs_are_taken_away(tmp_path: Path) -> None:
    text = explained.campaign_text("x", explained.FIRST)
    head, rule = text.split("# [[limit]]")
    freed = "\n".join(line.removeprefix("#") for line in ("# [[limit]]" + rule).splitlines())
    (limit,) = parse_campaign(head + freed).limit
    assert limit.name == "new users" and limit.at_most == 9000


def test_defaults_in_comments_are_the_defaults() -> None:
    for key, field in Header.model_fields.items():
        if field.default is not None and key not in ("exclusive", "name"):
            assert tomllib.loads(f"it = {explained.HEADER[key][0]}")["it"] == field.default, key


def test_a_sample_of_keys_counts_exactly_while_it_can_and_estimates_beyond() -> None:
    rng = np.random.default_rng(0)
    keys = rng.integers(1, 2**63, 40_000).astype(np.uint64)
    exact, sampled = KeySample(1 << 17), KeySample(1 << 12)
    for _ in range(2):
        for part in np.array_split(keys[:30_000], 7):
            exact.add(part)
            sampled.add(part)
    sampled.add(keys[30_000:])
    exact.add(keys[30_000:])
    assert exact.is_exact and (exact.distinct, exact.repeated) == (40_000, 30_000)
    assert not sampled.is_exact
    # About 1,250 keys are kept: a standard error of 3 percent.
    assert abs(sampled.distinct / 40_000 - 1) < 0.12 and abs(sampled.repeated / 30_000 - 1) < 0.12


def test_inspection_counts_what_products_lack(tmp_path: Path) -> None:
    table = many(3_000)
    products = read_products(write(departments(50), tmp_path / "p.csv"))
    found = inspect(read_transactions(write(table, tmp_path / "t.csv"), now=NOW), products)
    lost = table[table["item_id"] >= 50]
    assert (found.unknown_items, found.unknown_lines) == (lost["item_id"].nunique(), len(lost))
    assert found.unknown_money == pytest.approx(lost["amount"].sum())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o500)
    assert "permission denied" in run(capsys, monkeypatch, "init", str(tmp_path / "x"))[2]
