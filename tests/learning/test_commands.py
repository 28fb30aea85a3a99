"""`allocate train`, `allocate score` and `allocate --model` as a planner meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from allocator.learning import Model, default_candidates, training
from allocator.tables.plan_folder import read_plan_folder
from tests.conftest import Allocate
from tests.learning import worlds


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A trial, users and a campaign; the candidates are those that train in a second."""
    monkeypatch.setattr(training, "default_candidates", lambda: default_candidates()[1:])
    worlds.trial(2500).to_csv(tmp_path / "trial.csv", index=False)
    worlds.users(300, seed=5).to_parquet(tmp_path / "users.parquet")
    (tmp_path / "campaign.toml").write_text(worlds.CAMPAIGN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_history_in_plan_out(files: Path, allocate: Allocate) -> None:
    made = allocate("train", "--trial", "trial.csv", "--campaign", "campaign.toml", "-o", "model", "--json")
    assert made.code == 0, made.err
    card = json.loads(made.out)
    assert card["users"] == 2500
    assert card["observational"] is False
    scored = allocate(
        "score", "--model", "model", "--users", "users.parquet", "--campaign", "campaign.toml", "-o", "o.parquet"
    )
    assert scored.code == 0, scored.err
    assert "600 offers for 300 users; effects are randomised" in scored.out
    direct = allocate("--offers", "o.parquet", "--campaign", "campaign.toml", "--users", "users.parquet", "--json")
    whole = allocate(
        "--model", "model", "--campaign", "campaign.toml", "--users", "users.parquet", "-o", "plan", "--json"
    )
    assert whole.code == 0, whole.err
    assert json.loads(whole.out)["objective"] == json.loads(direct.out)["objective"]
    plan = read_plan_folder("plan")
    assert plan.input("model") == "model"
    assert plan.input("offers") == "plan/offers.parquet"
    assert pd.read_parquet("plan/offers.parquet").equals(pd.read_parquet("o.parquet"))
    assert "purchase_with" in plan.plan.column_names
    assert not [
        name for name in plan.manifest["inputs"] if "allocate-" in name
    ]  # no temporary name: same run, same bytes


def test_what_is_wrong_with_a_command_is_said(files: Path, allocate: Allocate, model: Model) -> None:
    model.save("model")
    refused = {
        ("train", "--trial", "trial.csv", "-o", "model"): (2, "model exists already"),
        ("train", "--trial", "trial.csv", "-o", "m", "--column", "coupon"): (2, "write NAME=COLUMN"),
        ("train", "--trial", "none.csv", "-o", "m"): (3, "no such file"),
        ("score", "--model", "no", "--users", "users.parquet", "--campaign", "campaign.toml", "-o", "o.parquet"): (
            2,
            "no such folder",
        ),
        ("score", "--model", "model", "--users", "users.parquet", "--campaign", "campaign.toml", "-o", "o.csv"): (
            2,
            "NAME.parquet",
        ),
        ("--budget", "5", "--model", "model", "--users", "users.parquet"): (2, "--model needs --campaign"),
        ("--budget", "5", "--model", "model", "--offers", "o.parquet"): (2, "give one of the two"),
        ("--budget", "5", "--transactions", "t.parquet"): (2, "--transactions needs --model"),
    }
    for words, (code, text) in refused.items():
        run = allocate(*words)
        assert (run.code, text in run.err) == (code, True), (words, run)
    assert not Path("m").exists()


def test_a_trial_without_control_is_an_error_of_the_data(files: Path, allocate: Allocate) -> None:
    worlds.trial(200, control=False).to_csv("treated.csv", index=False)
    run = allocate("train", "--trial", "treated.csv", "-o", "m")
    assert run.code == 3
    assert "no control group" in run.err


def test_observational_effects_are_named_in_every_output(files: Path, allocate: Allocate) -> None:
    made = allocate("train", "--trial", "trial.csv", "--observational", "-o", "model")
    assert "OBSERVATIONAL" in made.out
    scored = allocate(
        "score", "--model", "model", "--users", "users.parquet", "--campaign", "campaign.toml", "-o", "o.parquet"
    )
    assert "effects are observational" in scored.err
    assert "effects are observational" in scored.out
    import pyarrow.parquet as pq

    assert pq.read_schema("o.parquet").metadata[b"allocate.effects"] == b"observational"
    planned = allocate("--offers", "o.parquet", "--campaign", "campaign.toml", "-o", "plan")
    assert planned.code == 0, planned.err
    words = "effects are observational: nobody drew lots"
    assert words in " ".join(planned.out.split())
    coupon = next(iter(read_plan_folder("plan").summary["coupons"]))["name"]
    user = str(read_plan_folder("plan").plan["user_id"][0])
    for command in (
        ("explain", "plan", "--user", user),
        ("explain", "plan", "--coupon", coupon),
        ("compare", "plan", "plan"),
    ):
        ran = allocate(*command)
        assert ran.code == 0, ran.err
        assert words in " ".join(ran.out.split()), command
    Path("plan/report.html").unlink()
    assert allocate("report", "plan").code == 0
    told = read_plan_folder("plan").summary["model"]
    assert told["observational"]
    assert "observational history of 2,500 users" in told["kind"]
    assert {"metrics", "calibration", "notes"} <= set(told)
    page = Path("plan/report.html").read_text(encoding="utf-8")
    assert "The effects are observational" in page
    assert "nobody was chosen at random" in page.replace("\n", " ")
