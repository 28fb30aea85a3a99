"""Why a model expects what it does: contributions that add up and find what was planted, purchases counted by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from allocator.campaign import Campaign, parse_campaign
from allocator.cli import exits, main
from allocator.cli.inputs import Source
from allocator.cli.jobs import Effort, Output, plan
from allocator.cli.screen import Screen
from allocator.errors import DataError
from allocator.explaining import explain_user
from allocator.learning import Model
from allocator.learning.past import Past
from allocator.learning.reasons import reasons
from tests.learning import worlds


def rows(n: int, seed: int) -> pa.Table:
    return pa.Table.from_pandas(worlds.users(n, seed), preserve_index=False)


def test_what_features_add_sums_to_the_difference_from_the_average(model: Model, campaign: Campaign) -> None:
    user, others = rows(1, 5), rows(300, 6)
    found = reasons(model, campaign, user, others, None)
    predicted = model.predict(user, campaign)
    for k, behind in enumerate(found):
        assert behind.coupon == worlds.COUPONS[k]
        assert behind.uplift == pytest.approx(float(predicted.uplift[0, k]), abs=1e-6)
        assert sum(mover.adds for mover in behind.movers) == pytest.approx(behind.uplift - behind.average, abs=1e-6)
        assert behind.bought is None
        assert {mover.feature: mover.value for mover in behind.movers}["region"] in ("north", "south")


def test_the_feature_that_moves_the_effect_is_found(model: Model, campaign: Campaign) -> None:
    """Only `thrifty` bears on the effect itself (`loyal` does through the base); it must lead for extreme users."""
    user = worlds.users(1, 5)
    user["thrifty"], user["loyal"] = 3.0, 0.0
    found = reasons(model, campaign, pa.Table.from_pandas(user, preserve_index=False), rows(300, 6), None)
    for behind in found:
        first = behind.movers[0]
        assert first.feature == "thrifty" and first.adds > 4 * first.error > 0


def test_the_user_among_the_others_is_passed_over(model: Model, campaign: Campaign) -> None:
    """Profiles are made of distinct users: with a model of history a user drawn among the others was an error."""
    user, others = rows(1, 5), rows(300, 6).slice(1)
    both = pa.concat_tables([others, user])
    assert reasons(model, campaign, user, both, None) == reasons(model, campaign, user, others, None)
    with pytest.raises(DataError, match="only one user"):
        reasons(model, campaign, user, user, None)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Write purchases of users 1000 and 1001, and products."""
    lines = pd.DataFrame(
        [
            (1000, "m1", "2026-01-02", 2.0),
            (1000, "m1", "2026-01-20", 3.0),
            (1000, "b1", "2026-01-09", 1.5),
            (1000, "w1", "2026-01-21", 9.0),
            (1000, "m1", "2026-02-10", 7.0),
            (1001, "w1", "2026-01-05", 9.0),
        ],
        columns=["user_id", "item_id", "time", "amount"],
    )
    lines.to_csv(tmp_path / "transactions.csv", index=False)
    products = pd.DataFrame({"item_id": ["m1", "b1", "w1"], "department": ["FOOD", "FOOD", "WINE"]})
    products["name"] = ["Milk", "Bread", "Red [wine]"]
    products.to_csv(tmp_path / "products.csv", index=False)
    return tmp_path


def test_purchases_of_the_scope_are_counted_up_to_the_campaigns_start(model: Model, shop: Path) -> None:
    text = worlds.CAMPAIGN.replace("budget = 200", "budget = 200\nstart = 2026-02-01")
    campaign = parse_campaign(text.replace("amount = 8", 'amount = 8\nscope = { department = "FOOD" }'))
    past = Past.read(shop / "transactions.csv", shop / "products.csv")
    two, eight = reasons(model, campaign, rows(1, 0), rows(50, 6), past)
    assert two.bought is None  # good for everything
    assert eight.bought is not None
    assert [(b.item, b.times, b.amount, b.last) for b in eight.bought] == [
        ("Milk (m1)", 2, 5.0, "2026-01-20"),
        ("Bread (b1)", 1, 1.5, "2026-01-09"),
    ]


@pytest.fixture
def planned(folder: Path, tmp_path: Path) -> Path:
    """Plan with a model: score and solve in one go."""
    worlds.users(200, 3).to_parquet(tmp_path / "users.parquet", index=False)
    (tmp_path / "campaign.toml").write_text(worlds.CAMPAIGN, encoding="utf-8")
    source = Source(40.0, None, tmp_path / "campaign.toml", str(tmp_path / "users.parquet"), model=str(folder))
    assert plan(source, Effort(), Output(tmp_path / "plan", False, True, False), Screen(quiet=True, verbose=False)) == 0
    return tmp_path / "plan"


def test_a_plan_made_with_a_model_is_explained_with_it(planned: Path, tmp_path: Path) -> None:
    user = int(pd.read_parquet(planned / "plan.parquet")["user_id"].iloc[0])
    found = explain_user(planned, user)
    assert [behind.coupon for behind in found.reasons] == list(worlds.COUPONS)
    offer = next(line for line in found.offers if line.coupon == "8off")
    told = next(behind for behind in found.reasons if behind.coupon == "8off")
    expected = offer.predictions["purchase_with"] - offer.predictions["purchase_without"]
    assert told.uplift == pytest.approx(expected, abs=1e-5)
    planned.rename(tmp_path / "moved")  # its own copy of the offers moves with it
    assert explain_user(tmp_path / "moved", user).offers == found.offers
    (tmp_path / "model").rename(tmp_path / "elsewhere")
    without = explain_user(tmp_path / "moved", user)
    assert without.reasons == () and "is not told" in without.notes[-1]
    assert explain_user(tmp_path / "moved", user, model=str(tmp_path / "elsewhere")).reasons == found.reasons


def test_the_command_shows_the_reasons(
    planned: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exits, "catch_termination", lambda: None)
    user = int(pd.read_parquet(planned / "plan.parquet")["user_id"].iloc[0])
    monkeypatch.setattr(sys, "argv", ["allocate", "explain", str(planned), "--user", str(user)])
    capfd.readouterr()
    with pytest.raises(SystemExit) as end:
        main()
    sys.stdout.flush()
    out, err = capfd.readouterr()
    assert end.value.code == 0 and err == ""
    assert "Features that move this prediction most" in out and "thrifty" in out


def test_the_same_question_has_the_same_answer(model: Model, campaign: Campaign) -> None:
    user, others = rows(1, 5), rows(100, 6)
    one, two = (reasons(model, campaign, user, others, None) for _ in range(2))
    assert one == two and np.isfinite([mover.adds for behind in one for mover in behind.movers]).all()
