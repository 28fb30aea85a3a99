"""Profiles and relevance from past purchases: as of the trial, never later."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from allocator.campaign import Campaign, parse_campaign
from allocator.errors import CampaignError, UsageError
from allocator.learning import LogisticCandidate, Model, load_model, score, train
from allocator.learning.offers import Scorer
from allocator.learning.past import Past
from allocator.learning.reasons import reasons
from allocator.learning.wanting import wants
from allocator.tables.plan_folder import read_plan_folder
from tests.conftest import Allocate, Run

START = "2025-11-01"
CAMPAIGN = f"""[campaign]
name = "shop"
start = {START}

[[coupon]]
id = "tea"
kind = "fixed"
amount = 2
scope = {{ category = "tea" }}
valid_days = 14

[[coupon]]
id = "all"
kind = "percent"
amount = 10
"""
CANDIDATES = (LogisticCandidate(0.01, "logistic"),)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a year of 600 users' purchases: tea by the even ones, coffee by the odd ones; and a trial on November 1."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("shop")
    n = 9000
    user = rng.integers(0, 600, n)
    kind = np.where(rng.random(n) < 0.9, user % 2, 1 - user % 2)
    days = rng.uniform(0, 200, n)
    pd.DataFrame(
        {
            "user_id": user,
            "item_id": kind * 10 + rng.integers(0, 10, n),
            "time": pd.Timestamp("2025-05-01") + pd.to_timedelta(np.round(days * 86400), unit="s"),
            "amount": rng.gamma(4.0, 2.0, n).round(2),
        }
    ).to_parquet(folder / "transactions.parquet")
    pd.DataFrame({"item_id": np.arange(20), "category": ["tea"] * 10 + ["coffee"] * 10}).to_csv(
        folder / "products.csv", index=False
    )
    arm = rng.integers(0, 3, 600)
    bought = rng.random(600) < 0.25 + 0.2 * (arm > 0) * (np.arange(600) % 2 == 0)
    pd.DataFrame(
        {
            "user_id": np.arange(600),
            "coupon": np.array(["none", "all", "tea"])[arm],
            "purchased": bought.astype(int),
            "spend": np.where(bought, rng.gamma(4.0, 5.0, 600), 0.0),
        }
    ).to_csv(folder / "trial.csv", index=False)
    pd.DataFrame({"user_id": np.arange(700), "region": np.where(np.arange(700) % 3, "north", "south")}).to_csv(
        folder / "users.csv", index=False
    )
    return folder


@pytest.fixture(scope="module")
def campaign() -> Campaign:
    return parse_campaign(CAMPAIGN)


@pytest.fixture(scope="module")
def model(shop: Path, campaign: Campaign) -> Model:
    return train(
        str(shop / "trial.csv"),
        campaign=campaign,
        transactions=shop / "transactions.parquet",
        products=shop / "products.csv",
        users=shop / "users.csv",
        candidates=CANDIDATES,
    )


def test_profiles_and_attributes_are_features(model: Model, tmp_path: Path) -> None:
    assert {"recency", "category[tea]", "region"} <= set(model.features)
    assert model.profile is not None
    model.save(tmp_path / "model")
    assert load_model(tmp_path / "model").profile == model.profile


@pytest.mark.slow
def test_offers_know_who_buys_from_the_scope_anyway(model: Model, shop: Path, campaign: Campaign) -> None:
    offers = score(
        model,
        pd.read_csv(shop / "users.csv"),
        campaign,
        transactions=shop / "transactions.parquet",
        products=shop / "products.csv",
    ).to_pandas()
    assert len(offers) == 1400  # users 600 to 699 have no history: predicted all the same
    assert np.isfinite(offers.select_dtypes("number")).all().all()
    tea = offers[offers["coupon"] == "tea"].set_index("user_id")["relevance"]
    assert tea[tea.index < 600][::2].mean() > 1.5 * tea[tea.index < 600][1::2].mean()
    everything = offers[offers["coupon"] == "all"]
    assert np.allclose(everything["relevance"], everything["purchase_without"])


def test_nothing_after_the_start_is_looked_at(model: Model, shop: Path, campaign: Campaign, tmp_path: Path) -> None:
    lines = pd.read_parquet(shop / "transactions.parquet")
    lines[lines["time"] < START].to_parquet(tmp_path / "before.parquet")
    again = train(
        str(shop / "trial.csv"),
        campaign=campaign,
        transactions=tmp_path / "before.parquet",
        products=shop / "products.csv",
        users=shop / "users.csv",
        candidates=CANDIDATES,
    )
    assert again.card == model.card


def test_what_is_missing_is_said(model: Model, shop: Path, campaign: Campaign) -> None:
    with pytest.raises(UsageError, match=r"give --transactions and --products"):
        Scorer(model, campaign)
    undated = parse_campaign(CAMPAIGN.replace(f"start = {START}\n", ""))
    with pytest.raises(UsageError, match=r"column 'time', or start = "):
        train(str(shop / "trial.csv"), campaign=undated, transactions=shop / "transactions.parquet")
    past = Past.read(shop / "transactions.parquet", shop / "products.csv")
    wrong = parse_campaign(CAMPAIGN.replace('"tea" }', '"te" }'))
    with pytest.raises(CampaignError, match=r"no product has category = 'te' \(did you mean 'tea'\?\)"):
        wants(past, wrong.coupon, [[], []], model_ids(), START)


def model_ids() -> object:
    import pyarrow as pa

    return pa.array(np.arange(10))


def test_past_campaigns_without_a_trial_give_observational_effects(shop: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    waves = [
        pd.DataFrame({"household_id": rng.choice(600, 200, replace=False), "coupon": "tea", "time": day})
        for day in ("2025-08-01", "2025-10-01", "2025-11-10")
    ]
    pd.concat(waves).to_csv(tmp_path / "sent.csv", index=False)
    made = train(
        sent=tmp_path / "sent.csv",
        transactions=shop / "transactions.parquet",
        products=shop / "products.csv",
        candidates=CANDIDATES,
    )
    assert made.observational
    assert "OBSERVATIONAL" in made.card.text()
    assert "the trial" not in made.card.text()
    assert [arm.coupon for arm in made.card.arms] == ["control", "tea"]
    assert made.card.arms[1].users == 400  # the window of the last wave had not passed
    assert any("1 campaign is left out" in note for note in made.card.notes)
    assert any("'household_id' is read as 'user_id'" in note for note in made.card.notes)
    low, high = (made.card.bins[-1].observed + sign * 3 * made.card.bins[-1].standard_error for sign in (-1, 1))
    assert low < 0 < high  # the coupons were sent to anyone and did nothing: no effect is made up


def test_purchases_alone_tell_no_effects(shop: Path) -> None:
    with pytest.raises(UsageError, match=r"give --trial .* or --sent"):
        train(transactions=shop / "transactions.parquet")
    with pytest.raises(UsageError, match="give --transactions too"):
        train(sent=shop / "trial.csv")


@pytest.fixture
def moved(model: Model, shop: Path, tmp_path: Path) -> Path:
    """A folder with a model, and beside it copies of what it was trained with; the originals are as they were."""
    for name in ("transactions.parquet", "products.csv"):
        (tmp_path / name).write_bytes((shop / name).read_bytes())
    history = {
        part: {**model.manifest["history"][part], "path": str(tmp_path / name)}
        for part, name in (("transactions", "transactions.parquet"), ("products", "products.csv"))
    }
    import dataclasses

    copied = dataclasses.replace(model, manifest={**model.manifest, "history": history})
    copied.save(tmp_path / "model")
    (tmp_path / "campaign.toml").write_text(CAMPAIGN, encoding="utf-8")
    (tmp_path / "users.csv").write_bytes((shop / "users.csv").read_bytes())
    return tmp_path


def score_there(allocate: Allocate, folder: Path, *more: str) -> Run:
    return allocate(
        "score",
        "--model",
        str(folder / "model"),
        "--users",
        str(folder / "users.csv"),
        "--campaign",
        str(folder / "campaign.toml"),
        "-o",
        str(folder / "o.parquet"),
        *more,
    )


def test_purchases_of_the_training_are_used_where_none_are_given(moved: Path, allocate: Allocate) -> None:
    run = score_there(allocate, moved)
    assert run.code == 0, run.err
    assert "past purchases are those that the model was trained with" in run.err
    assert f"profiles are as of {START}, the campaign's start" in run.err
    assert "100 of 700 users have no purchase before then" in run.err
    named = score_there(
        allocate,
        moved,
        "--force",
        "--transactions",
        str(moved / "transactions.parquet"),
        "--products",
        str(moved / "products.csv"),
    )
    assert named.code == 0, named.err
    assert "trained with" not in named.err
    assert named.out == run.out


def test_purchases_moved_with_their_model_are_found(moved: Path, allocate: Allocate, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("model", "transactions.parquet", "products.csv", "campaign.toml", "users.csv"):
        (moved / name).rename(elsewhere / name)
    run = score_there(allocate, elsewhere)
    assert run.code == 0, run.err


def test_purchases_that_changed_since_are_not_used_silently(
    moved: Path, allocate: Allocate, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = pd.read_parquet(moved / "transactions.parquet")
    lines.head(100).to_parquet(moved / "transactions.parquet")

    def heavy() -> None:
        raise AssertionError("TensorFlow was loaded to say that an option is missing")

    monkeypatch.setattr("allocator.cli.exits.load_tensorflow", heavy)
    run = score_there(allocate, moved)
    assert run.code == 2
    assert "give --transactions (those of the training cannot be used" in run.err
    assert "has changed since" in run.err


def test_a_plan_says_which_purchases_it_was_made_from(moved: Path, allocate: Allocate) -> None:
    run = allocate(
        "--budget",
        "100",
        "--model",
        str(moved / "model"),
        "--users",
        str(moved / "users.csv"),
        "--campaign",
        str(moved / "campaign.toml"),
        "-o",
        str(moved / "plan"),
    )
    assert run.code == 0, run.err
    assert read_plan_folder(moved / "plan").input("transactions") == str(moved / "transactions.parquet")


def test_relevance_is_learned_in_training_kept_and_told_of(
    model: Model, shop: Path, campaign: Campaign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = model.card.relevance
    assert known is not None
    assert known.scopes == ("tea", "category = tea", "category = coffee") and known.window == 14
    assert known.log_loss < known.log_loss_rate
    assert "Relevance to 3 scopes, foretold for the last 14 days" in model.card.text()
    model.save(tmp_path / "model")
    kept = load_model(tmp_path / "model")
    assert kept.card == model.card
    assert kept.relevance is not None and model.relevance is not None
    assert (
        kept.relevance.scopes
        == model.relevance.scopes
        == ("scope [('category', ['tea'])]", "scope [('category', ['coffee'])]")
    )

    def never(*_: object, **__: object) -> None:
        raise AssertionError("relevance was learned anew")

    monkeypatch.setattr("cf.Relevance.fit", never)
    asked = parse_campaign(
        CAMPAIGN
        + '[[coupon]]\nid = "coffee"\nkind = "percent"\namount = 10\nvalid_days = 14\nscope = { category = "coffee" }\n'
    )
    scorer = Scorer(kept, asked, past=Past.read(shop / "transactions.parquet", shop / "products.csv"))
    offers = scorer.score(pd.read_csv(shop / "users.csv").head(600)).to_pandas()
    uplift = (offers["purchase_with"] - offers["purchase_without"]).abs()
    coffee = offers["coupon"] == "coffee"
    odd = offers["user_id"] % 2 == 1
    assert offers.loc[coffee & odd, "relevance"].mean() > 1.5 * offers.loc[coffee & ~odd, "relevance"].mean()
    # What is borrowed from a coupon for everything is less for those who hardly want coffee.
    every = offers["coupon"] == "all"
    share = [uplift[coffee & side].sum() / uplift[every & side].sum() for side in (odd, ~odd)]
    assert 1.0 >= share[0] > 1.3 * share[1]
    assert any("less in proportion" in note for note in scorer.remember(pa.array(np.arange(9))).notes)


@pytest.mark.slow
def test_relevance_of_other_days_than_the_coupons_is_learned_anew_and_said(model: Model, shop: Path) -> None:
    other = parse_campaign(CAMPAIGN.replace("valid_days = 14", "valid_days = 28"))
    scorer = Scorer(model, other, past=Past.read(shop / "transactions.parquet", shop / "products.csv"))
    notes = scorer.remember(pa.array(np.arange(9))).notes
    assert any("in training it was of 14 days, the campaign's coupons are valid for 28" in note for note in notes)
    both = parse_campaign(CAMPAIGN.replace('"tea" }', '["tea", "coffee"] }'))
    scorer = Scorer(model, both, past=scorer.past)
    assert any(
        "the scopes of tea were not among those of the training" in n
        for n in scorer.remember(pa.array(np.arange(9))).notes
    )


def test_too_short_a_past_for_relevance_is_noted_and_trained_without(
    shop: Path, campaign: Campaign, tmp_path: Path
) -> None:
    lines = pd.read_parquet(shop / "transactions.parquet")
    lines[(lines["time"] >= "2025-10-15") & (lines["time"] < START)].to_parquet(tmp_path / "t.parquet")
    made = train(
        str(shop / "trial.csv"),
        campaign=campaign,
        transactions=tmp_path / "t.parquet",
        products=shop / "products.csv",
        candidates=CANDIDATES,
    )
    assert made.relevance is None and made.card.relevance is None
    assert any(
        "relevance to scopes is not learned: it takes two windows of 14 days" in note for note in made.card.notes
    )


def test_coupons_of_which_the_same_is_to_be_said_share_a_note(model: Model, campaign: Campaign) -> None:
    fresh = [coupon.model_copy(update={"id": name}) for coupon in campaign.coupon for name in ("a", "b")]
    (note,) = set(model.relate(fresh[:2]).notes)
    assert note.startswith("a, b: not in the trial; taken to act like")


def test_purchases_explain_the_relevance_to_the_last_bit(model: Model, shop: Path, campaign: Campaign) -> None:
    past = Past.read(shop / "transactions.parquet", shop / "products.csv")
    people = pa.Table.from_pandas(pd.read_csv(shop / "users.csv"), preserve_index=False)
    scored = Scorer(model, campaign, past=past).score(people).to_pandas().set_index(["user_id", "coupon"])["relevance"]
    for user, drinks_tea in (
        (40, True),
        (41, False),
        (301, False),
        (598, True),
        (3, False),
        (650, False),
    ):  # nobody has seen 650 buy
        tea, every = reasons(model, campaign, people.slice(user, 1), people.slice(0, 30), past)
        assert every.because is None and every.bought is None
        found = tea.because
        assert found is not None and tea.bought is not None and found.days == 14
        assert found.relevance == pytest.approx(scored[user, "tea"], abs=1e-6)
        adds = [item.adds for item in tea.bought if item.adds is not None]
        assert found.base + sum(adds) + found.others + found.elsewhere == pytest.approx(found.relevance, abs=1e-9)
        assert (found.relevance > found.base) == drinks_tea
    assert tea.bought == () and found.elsewhere == 0.0
