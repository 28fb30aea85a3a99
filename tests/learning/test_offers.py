"""From a model to offers: columns, eligibility, draws, and files that are whole or not there."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from allocator import Limit, Problem, solve
from allocator.campaign import Campaign, parse_campaign
from allocator.errors import DataError, UsageError
from allocator.learning import Model, score, streaming
from allocator.learning.offers import Scorer
from allocator.learning.streaming import partial_folder, score_file
from allocator.learning.unlike import Unlike
from tests.learning import worlds
from uplift import Features, Schema


@pytest.fixture
def users(tmp_path: Path) -> Path:
    path = tmp_path / "users.parquet"
    worlds.users(250, seed=7).to_parquet(path, row_group_size=64)
    return path


def test_offers_have_the_columns_and_are_a_problem(model: Model, campaign: Campaign) -> None:
    table = worlds.users(300, seed=7)
    offers = score(model, table, campaign)
    assert offers.num_rows == 600
    frame = offers.to_pandas()
    for name in ("value", "cost", "liability", "redeem_probability", "purchase_without", "purchase_with", "relevance"):
        assert np.isfinite(frame[name]).all(), name
    assert (frame["cost"] >= 0.05).all()
    assert frame["redeem_probability"].between(0, 1).all()
    assert set(frame.loc[frame["coupon"] == "8off", "liability"]) == {8.0}
    result = solve(Problem.from_offers(offers, limits=[Limit("budget", "cost", at_most=50.0)]))
    assert result.status == "optimal"
    assert offers.schema.metadata[b"allocate.effects"] == b"randomised"


def test_values_follow_the_written_formula(model: Model, campaign: Campaign) -> None:
    table = worlds.users(40, seed=7)
    made = model.predict(table, campaign)
    frame = score(model, table, campaign).to_pandas()
    e = made.expected
    taken = frame["cost"].to_numpy().reshape(-1, 2) - 0.05
    sales = e.purchase_with * e.basket_with - (e.purchase_without * e.basket_without)[:, None]
    value = 0.5 * (sales + taken) - taken - 0.05
    assert np.allclose(frame["value"].to_numpy().reshape(-1, 2), value)


def test_draws_spread_as_the_standard_error_says(model: Model, campaign: Campaign) -> None:
    frame = score(model, worlds.users(50, seed=7), campaign, draws=400).to_pandas()
    draws = frame[[f"value_draw_{j}" for j in range(400)]].to_numpy()
    ratio = draws.std(axis=1) / frame["value_error"].to_numpy()
    assert 0.85 < np.median(ratio) < 1.15
    drift = (draws.mean(axis=1) - frame["value"].to_numpy()) / frame["value_error"].to_numpy()
    assert np.abs(drift).max() < 0.3


def test_coupons_for_some_users_go_to_them_alone(model: Model) -> None:
    campaign = parse_campaign(worlds.CAMPAIGN + 'users = { region = "north" }\n')
    table = worlds.users(100, seed=7)
    frame = score(model, table, campaign).to_pandas()
    north = set(table.loc[table["region"] == "north", "user_id"])
    assert set(frame.loc[frame["coupon"] == "8off", "user_id"]) == north
    assert (frame["coupon"] == "2off").sum() == 100
    with pytest.raises(DataError, match=r"'8off' is for users by 'area'"):
        score(model, table, parse_campaign(worlds.CAMPAIGN + 'users = { area = "north" }\n'))


def test_a_model_that_knows_no_spend_asks_for_the_basket(model: Model, campaign: Campaign) -> None:
    poor = dataclasses.replace(model, baskets=None)
    with pytest.raises(UsageError, match=r"basket = 40"):
        score(poor, worlds.users(10, seed=1), campaign)
    told = parse_campaign(worlds.CAMPAIGN.replace("margin", "basket = 40\nmargin"))
    assert score(poor, worlds.users(10, seed=1), told).num_rows == 20


def test_a_file_is_scored_in_blocks_as_in_one_piece(
    model: Model, campaign: Campaign, users: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "BLOCK", 100)
    summary = score_file(Scorer(model, campaign, draws=2), users, tmp_path / "offers.parquet")
    assert (summary.users, summary.offers) == (250, 500)
    assert not partial_folder(tmp_path / "offers.parquet").exists()
    whole = score(model, pd.read_parquet(users), campaign, draws=2)
    made = pq.read_table(tmp_path / "offers.parquet")
    assert made.schema.metadata[b"allocate.effects"] == b"randomised"
    for name in whole.column_names:
        one, two = whole[name].to_pandas(), made[name].to_pandas()
        if name in ("user_id", "coupon"):
            assert one.astype(str).equals(two.astype(str))
        else:
            assert np.allclose(one, two, rtol=1e-5, atol=1e-6), name


def test_a_run_cut_off_leaves_no_file_and_is_gone_on_with(
    model: Model, campaign: Campaign, users: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "BLOCK", 100)
    target = tmp_path / "offers.parquet"
    real, calls = Scorer.score, []

    def cut(self: Scorer, *words: object, **more: object) -> pa.Table:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, *words, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Scorer, "score", cut)
    with pytest.raises(KeyboardInterrupt):
        score_file(Scorer(model, campaign), users, target)
    assert not target.exists()
    score_file(Scorer(model, campaign), users, target, resume=True)
    assert len(calls) == 4  # one block was there already: two were left of three
    assert pq.read_metadata(target).num_rows == 500


def test_resuming_with_other_input_is_refused(model: Model, campaign: Campaign, users: Path, tmp_path: Path) -> None:
    target = tmp_path / "offers.parquet"
    folder = partial_folder(target)
    folder.mkdir()
    (folder / "state.json").write_text('{"users": "others"}')
    with pytest.raises(UsageError, match=r"of another users and .*leave out --resume"):
        score_file(Scorer(model, campaign), users, target, resume=True)
    score_file(Scorer(model, campaign), users, target)  # starts anew


def test_what_is_there_stays_without_force(model: Model, campaign: Campaign, users: Path, tmp_path: Path) -> None:
    target = tmp_path / "offers.parquet"
    target.write_bytes(b"mine")
    with pytest.raises(UsageError, match="exists already"):
        score_file(Scorer(model, campaign), users, target)
    assert target.read_bytes() == b"mine"
    with pytest.raises(UsageError, match=r"NAME\.parquet"):
        score_file(Scorer(model, campaign), users, tmp_path / "offers.csv")


def test_users_unlike_the_trial_are_counted(model: Model, campaign: Campaign, tmp_path: Path) -> None:
    table = worlds.users(100, seed=7)
    table.loc[:4, "region"] = "west"
    table.loc[3:9, "loyal"] = 99.0
    table.to_csv(tmp_path / "users.csv", index=False)
    summary = score_file(Scorer(model, campaign), tmp_path / "users.csv", tmp_path / "offers.parquet")
    assert summary.unlike.by_feature["region"] == 5
    assert summary.unlike.by_feature["loyal"] >= 7
    assert summary.unlike.strange >= 10
    assert any("unlike anyone in the training" in note for note in summary.notes)


def test_what_grows_by_the_calendar_alone_alarms_nobody() -> None:
    trained = Schema.fit(Features.create({"tenure": np.arange(100.0), "money": np.arange(100.0)}))
    later = Features.create({"tenure": np.arange(100.0) + 300.0, "money": np.arange(100.0) + 20.0})
    seen = Unlike()
    seen.add(trained, later, {"tenure"})
    assert seen.strange == 0
    seen.add(trained, later.replace("tenure", np.full(100, -90.0)), {"tenure"})
    assert seen.by_feature == {"tenure": 100}
    seen.add(trained, later.replace("money", np.full(100, 130.0)), {"tenure"})
    assert seen.by_feature["money"] == 100


def test_doubled_users_are_refused(model: Model, campaign: Campaign, tmp_path: Path) -> None:
    table = pd.concat([worlds.users(30, seed=7)] * 2)
    table.to_parquet(tmp_path / "users.parquet")
    with pytest.raises(DataError, match=r"30 rows repeat a user_id \(rows 31, 32, 33: 1000, 1001, 1002\)"):
        score_file(Scorer(model, campaign), tmp_path / "users.parquet", tmp_path / "offers.parquet")
