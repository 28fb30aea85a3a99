"""Forecasts of demand cover what comes, and the plan's part is what its offers say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from allocator import Limit, Problem, solve
from allocator.campaign.reading import parse_campaign
from allocator.errors import DataError, UsageError
from allocator.history import Products, read_products, read_transactions
from allocator.reporting import demanded
from allocator.simulation import Market
from allocator.simulation.demand import Baskets, baskets_of, exceeds, forecast, quantile
from allocator.simulation.selling import Sales, sales_before
from allocator.simulation.stock import Stock, read_stock
from allocator.tables.plan_folder import PlanFolder

GOODS = Products("products", pa.table({"item_id": [1, 2, 3], "kind": ["tea", "tea", "milk"]}))


def stock(units: list[float], names: tuple[str, ...] | None = None, lead: float = np.nan) -> Stock:
    rows = len(units)
    return Stock(
        "item_id", names or tuple(map(str, range(rows))), np.array(units), np.full(rows, lead), np.arange(rows)
    )


def test_intervals_cover_in_19_of_20_rows_when_weeks_vary_more_than_chance() -> None:
    rng = np.random.default_rng(1)
    rows = 4_000
    rate = rng.uniform(1.0, 60.0, rows)
    weekly = rng.poisson(rate[:, None] * rng.gamma(20.0, 1 / 20.0, (rows, 12))).astype(float)
    future = rng.poisson(rate[:, None] * rng.gamma(20.0, 1 / 20.0, (rows, 4))).sum(axis=1)
    sales = Sales(weekly, 10_000, {}, {})
    found = forecast(stock([0.0] * rows), sales, {})
    covered = np.mean((future >= found.low) & (future <= found.high))
    # 12 weeks tell their variance with an error of their own, which widens nothing: a little below 95 % is expected.
    assert 0.92 <= covered <= 0.97
    short = forecast(stock(list(found.with_)), sales, {})
    assert abs(np.mean(future > found.with_) - short.runs_out.mean()) < 0.03, "P(runs out) is calibrated"


def test_an_order_serves_the_promised_share_until_the_next_arrives() -> None:
    rng = np.random.default_rng(2)
    rows, rate = 3_000, 30.0
    weekly = rng.poisson(rate, (rows, 12)).astype(float)
    found = forecast(stock([50.0] * rows, lead=14.0), Sales(weekly, 1_000, {}, {}), {}, service=0.9)
    future = rng.poisson(rate, (rows, 6)).sum(axis=1)  # 4 weeks of campaign and 2 until the order arrives
    assert 0.87 <= np.mean(future <= 50.0 + found.order) <= 0.96


def test_the_plan_adds_baskets_and_a_scope_adds_its_own_goods() -> None:
    weekly = np.full((2, 12), 10.0)  # 120 units each, in 240 baskets: half a unit a basket
    scoped = {"milk": np.array([0.0, 120.0])}
    sales = Sales(weekly, 240, {"milk": 80}, scoped)
    plain = forecast(stock([100.0, 100.0]), sales, {"all": Baskets(20.0, 0.0)})
    np.testing.assert_allclose(plain.without, 40.0)
    np.testing.assert_allclose(plain.with_, 50.0)
    own = forecast(stock([100.0, 100.0]), sales, {"milk": Baskets(20.0, 8.0)})
    np.testing.assert_allclose(own.with_, [50.0, 40.0 + 8.0 * 1.5])
    shaken = forecast(stock([100.0, 100.0]), sales, {"milk": Baskets(20.0, 8.0)}, redemption_shock=1.0)
    assert shaken.high[1] > own.high[1] and shaken.high[0] == own.high[0]


def test_stock_lasts_at_the_campaigns_pace_and_then_at_the_usual_one() -> None:
    weekly = np.full((3, 12), 7.0)  # 1 a day, 28 in the campaign without the plan
    sales = Sales(weekly, 84, {}, {})
    found = forecast(stock([28.0, 66.0, 0.0]), sales, {"all": Baskets(28.0, 0.0)})  # 2 a day with it
    np.testing.assert_allclose(found.with_, 56.0)
    np.testing.assert_allclose(found.lasts, [14.0, 28.0 + 10.0, 0.0])
    idle = forecast(stock([5.0]), Sales(np.zeros((1, 12)), 84, {}, {}), {})
    assert idle.lasts[0] == np.inf and idle.runs_out[0] == 0 and idle.order[0] == 0


def test_quantiles_are_those_of_the_moments() -> None:
    assert quantile(np.array([10.0]), np.array([10.0]), 0.5)[0] == 10
    assert quantile(np.array([0.0]), np.array([0.0]), 0.95)[0] == 0
    draws = np.random.default_rng(0).negative_binomial(5, 0.2, 200_000)
    assert abs(quantile(np.array([20.0]), np.array([100.0]), 0.95)[0] - np.quantile(draws, 0.95)) <= 1
    assert abs(exceeds(np.array([20.0]), np.array([100.0]), np.array([40.0]))[0] - np.mean(draws > 40)) < 0.005


def test_what_a_plan_sells_is_read_from_its_offers(tmp_path: Path) -> None:
    table = pa.table(
        {
            "user_id": [1, 2, 3],
            "coupon": ["all", "milk", "milk"],
            "value": [1.0, 1.0, 1.0],
            "cost": [1.0, 1.0, 1.0],
            "purchase_without": [0.2, 0.5, 0.5],
            "purchase_with": [0.5, 0.6, 0.4],
            "redeem_probability": [0.3, 0.4, 0.2],
            "relevance": [0.0, 0.25, 0.5],
        }
    )
    folder, campaign = PlanFolder(tmp_path, table, {}, {}), parse_campaign("")
    sales = Sales(np.ones((1, 12)), 100, {"milk": 20}, {"milk": np.ones(1)})
    found = baskets_of(folder, campaign, sales)
    assert found["all"] == Baskets(pytest.approx(0.3), 0.0)  # type: ignore[arg-type]
    assert found["milk"].more == pytest.approx(0.0)
    assert found["milk"].scope_more == pytest.approx(0.4 * 0.75 + 0.2 * 0.5)
    without = PlanFolder(tmp_path, table.drop_columns(["relevance"]), {}, {})
    assert baskets_of(without, campaign, sales)["milk"].scope_more == pytest.approx(0.6 * 0.9)
    with pytest.raises(DataError, match="no purchase_without and purchase_with"):
        baskets_of(PlanFolder(tmp_path, table.drop_columns(["purchase_with"]), {}, {}), campaign, sales)


def test_sales_are_added_up_by_week_row_and_scope(tmp_path: Path) -> None:
    lines = pa.table(
        {
            "user_id": [1, 1, 2, 2, 3],
            "item_id": [1, 3, 1, 2, 9],
            "time": pa.array([19_000, 19_000, 19_006, 18_990, 19_001], pa.int32()).cast(pa.date32()),
            "amount": [1.0] * 5,
            "quantity": [2, 1, 3, 4, 5],
            "basket_id": [7, 7, 8, 9, 10],
        }
    )
    parquet.write_table(lines, tmp_path / "t.parquet")
    start = np.datetime64(19_007, "D")
    sold = read_transactions(tmp_path / "t.parquet")
    held = Stock("kind", ("tea", "milk"), np.zeros(2), np.full(2, np.nan), np.array([0, 0, 1], np.int32))
    found = sales_before(sold, GOODS, held, {"m": GOODS.in_scope({"kind": "milk"})}, start, weeks=2)
    np.testing.assert_allclose(found.weekly, [[0.0, 5.0], [0.0, 1.0]])
    assert found.baskets == 2 and found.scope_baskets == {"m": 1}, "unknown items and older weeks do not count"
    np.testing.assert_allclose(found.scoped["m"], [0.0, 1.0])
    with pytest.raises(DataError, match="nothing sold"):
        sales_before(sold, GOODS, held, {}, np.datetime64(19_200, "D"), weeks=2)


def test_returns_are_not_sold_and_are_told(tmp_path: Path) -> None:
    day = pa.array([19_000, 19_001, 19_001, 19_010], pa.int32()).cast(pa.date32())
    lines = pa.table(
        {
            "user_id": [1, 1, 2, 2],
            "item_id": [1] * 4,
            "time": day,
            "amount": [3.0, -3.0, 2.0, 2.0],
            "quantity": [2, 2, 1, 9],
        }
    )
    parquet.write_table(lines, tmp_path / "t.parquet")
    held = Stock("kind", ("tea", "milk"), np.zeros(2), np.full(2, np.nan), np.array([0, 0, 1], np.int32))
    start = np.datetime64(19_007, "D")
    found = sales_before(read_transactions(tmp_path / "t.parquet", now=start), GOODS, held, {}, start, weeks=2)
    assert found.weekly.sum() == 3.0
    (said,) = found.faults.told("t.parquet")
    assert said.startswith("t.parquet: left out 1 row: amount missing, negative"), (
        "what comes after the start is no fault"
    )


def test_stock_lists_name_items_or_kinds_and_their_faults_are_named(tmp_path: Path) -> None:
    path = tmp_path / "stock.csv"
    path.write_text("kind,on_hand,lead_days\ntea,5,3\nmilk,7,\ncocoa,1,2\n")
    held = read_stock(path, GOODS)
    assert held.what == "kind" and held.row_of_item.tolist() == [0, 0, 1]
    assert np.isnan(held.lead_days[1]) and any("cocoa" in note for note in held.notes)
    path.write_text("item_id,units\n3,5\n1,2\n")
    assert read_stock(path, GOODS).row_of_item.tolist() == [1, -1, 0]
    for text, words in (
        ("item_id,units\n3,5\n3,2\n", "each row once"),
        ("item_id,units\n3,-5\n", "0 or more"),
        ("item_id,units,lead_days\n3,5,-2\n", r"'lead_days' must be 0 or more.*1 row \(3: -2\)"),
        ("colour,units\nred,5\n", "exactly one attribute"),
        ("item_id,units\n", "no rows"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=words):
            read_stock(path, GOODS)


def test_a_markets_history_foretells_its_last_weeks(tmp_path: Path) -> None:
    """Users visit at rates of their own, come and go: sales of a category still lie within the intervals."""
    market = Market.draw(4_000, seed=6)
    market.write(tmp_path / "shop")
    goods, sold = (
        read(tmp_path / "shop" / f"{name}.parquet")
        for read, name in ((read_products, "products"), (read_transactions, "transactions"))
    )
    names, rows = np.unique(np.arange(len(goods.item_ids)) % 400, return_inverse=True)  # 400 rows of 7 items each
    held = Stock("row", tuple(map(str, names)), np.zeros(400), np.full(400, np.nan), rows.astype(np.int32))
    cut = market.first_day(-1)
    found = forecast(held, sales_before(sold, goods, held, {}, cut), {})
    after = sales_before(sold, goods, held, {}, market.first_day(0), weeks=4).weekly.sum(axis=1)
    assert np.mean((after >= found.low) & (after <= found.high)) > 0.9
    assert abs(after.sum() / found.with_.sum() - 1) < 0.1


def test_the_command_writes_a_table(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from allocator.cli.app import app

    market = Market.draw(300, seed=1)
    market.write(tmp_path / "shop")
    offers = parquet.read_table(tmp_path / "shop" / "truth.parquet").slice(0, 70)
    plan = tmp_path / "plan"
    plan.mkdir()
    parquet.write_table(offers, plan / "plan.parquet")
    (plan / "summary.json").write_text(json.dumps({"schema_version": 1, "issued": 70, "objective": 1.0, "budget": 2.0}))
    manifest = {"campaign": (tmp_path / "shop" / "campaign.toml").read_text(), "source": {}}
    (plan / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "stock.csv").write_text("department,units\nMEAT,50\nDELI,9\n")
    words = [
        "demand",
        str(plan),
        "--stock",
        str(tmp_path / "stock.csv"),
        "--products",
        str(tmp_path / "shop" / "products.parquet"),
    ]
    words += ["--transactions", str(tmp_path / "shop" / "transactions.parquet")]
    run = CliRunner().invoke(app, [*words, "-o", str(tmp_path / "demand.csv"), "--json"])
    assert run.exit_code == 0, run.output
    assert [row["department"] for row in json.loads(run.stdout)["rows"]] == ["MEAT", "DELI"]
    assert (tmp_path / "demand.csv").read_text().startswith('"department","units","without_plan"')
    wrong = CliRunner().invoke(app, [*words, "--start", "soon"])
    assert wrong.exit_code == UsageError.exit_code and "is no date" in wrong.stderr


def test_a_forecast_is_told_as_a_table() -> None:
    text = demanded.table(forecast(stock([1.0] * 25), Sales(np.full((25, 12), 3.0), 10, {}, {}), {}))
    assert "5 more rows" in text and "25 of 25 rows run out" in text


def test_a_limit_on_expected_redemptions_keeps_a_plan_within_a_stock() -> None:
    chance = np.full((50, 2), 0.4)
    problem = Problem.from_arrays(
        np.tile([3.0, 2.0], (50, 1)),
        np.ones((50, 2)),
        coupons=["a", "b"],
        columns={"redeem_probability": chance},
        limits=[Limit("stock of a", "redeem_probability", at_most=6.0, coupons=["a"])],
        budget=1_000.0,
    )
    plan = solve(problem).plan
    assert np.count_nonzero(plan.coupon == 0) == 15, "15 offers of 0.4 expected units are 6"
