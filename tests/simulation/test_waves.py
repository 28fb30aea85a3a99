"""A budget paced over waves: by prices it earns nearly what hindsight does, and it holds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from typer.testing import CliRunner

from allocator import Problem, solve
from allocator.cli.app import app
from allocator.errors import UsageError
from allocator.reporting import paced
from allocator.simulation.logged import value_on_log
from allocator.simulation.market import Market
from allocator.simulation.paces import Paced, compare_paces
from allocator.simulation.pacing import ByPrices, EqualSplit, GreedyFirst, dual_price
from allocator.simulation.waves import Campaign, Stage, hindsight, run
from allocator.tables.plan_folder import PlanFolder

PRICES, EQUAL, GREEDY = ByPrices.name, EqualSplit.name, GreedyFirst.name


@pytest.fixture(scope="module")
def expected() -> Paced:
    """Pacings that count expected spend, so that no luck of redemptions is in what they may spend."""
    return compare_paces(Campaign(users=3_000, waves=5, observe=False), markets=4, seed=10)


def test_the_price_of_the_expected_whole_is_the_solvers() -> None:
    rng = np.random.default_rng(3)
    value, cost = rng.normal(1.0, 2.0, (400, 3)), rng.uniform(0.5, 2.0, (400, 3))
    found = solve(Problem.from_arrays(value, cost, budget=100.0))
    assert dual_price(value, cost, np.ones(400), 100.0) == pytest.approx(found.prices["budget"], rel=1e-6)


def test_more_budget_never_costs_more() -> None:
    rng = np.random.default_rng(4)
    value, cost = rng.normal(1.0, 2.0, (200, 3)), rng.uniform(0.5, 2.0, (200, 3))
    prices = [dual_price(value, cost, np.ones(200), budget) for budget in (0.0, 10.0, 50.0, 100.0, 1e6)]
    assert prices == sorted(prices, reverse=True)
    assert prices[-1] == 0.0
    with pytest.raises(UsageError, match="0 or more"):
        dual_price(value, cost, np.ones(200), -1.0)


def test_pacing_by_prices_earns_nearly_what_hindsight_does_and_the_others_less(expected: Paced) -> None:
    assert expected.share(PRICES).low > 0.88
    assert expected.ahead(PRICES, EQUAL).low > 0.0
    assert expected.ahead(PRICES, GREEDY).low > 0.0


def test_nothing_earns_more_than_hindsight_and_no_budget_is_exceeded_in_expectation(expected: Paced) -> None:
    assert np.all(expected.earned <= expected.best[:, None] * (1 + 1e-6))
    assert np.all(expected.cost <= expected.budget[:, None] * (1 + 1e-9))


@pytest.mark.slow
def test_counting_what_was_really_spent_keeps_realised_spend_nearer_to_the_budget(expected: Paced) -> None:
    observed = compare_paces(Campaign(users=3_000, waves=5), pacings=(ByPrices(),), markets=4, seed=10)
    off = np.abs(observed.spent[:, 0] / observed.budget - 1.0).mean()
    blind = np.abs(expected.spent[:, expected.names.index(PRICES)] / expected.budget - 1.0).mean()
    assert off < blind


@pytest.mark.parametrize(("cap", "days"), [(1, 28), (2, 7)])
def test_no_user_gets_more_than_the_cap_in_any_window(cap: int, days: int) -> None:
    stage = Stage.draw(Campaign(users=400, waves=6, cap=cap, window=3, explore=0.5, budget=1e6, days=days), 2)
    logs = run(stage, ByPrices()).logs
    got = np.zeros((6, 400), int)
    for wave, log in enumerate(logs):
        coupon = np.array(log["coupon"].to_pylist())
        got[wave, log["user_id"].to_numpy()[coupon != "control"]] = 1
    assert got.sum() > 200
    assert max(got[low : low + 3].sum(axis=0).max() for low in range(4)) == cap


def test_waves_of_a_week_are_dated_by_weeks_and_bring_a_quarter_of_the_visits() -> None:
    market = Market.draw(4_000, 3)
    weekly, nobody = market.in_waves(7), np.full(4_000, -1)
    assert weekly.truth.spend_without.sum() == pytest.approx(market.truth.spend_without.sum() / 4, rel=0.1)
    after = weekly.after(nobody, weekly.outcomes(nobody))
    assert (after.first_day(after.period) - weekly.first_day(0)).days == 7
    assert market.in_waves(28).truth.spend_with.tobytes() == market.truth.spend_with.tobytes()
    with pytest.raises(UsageError, match="1 to 366"):
        market.in_waves(0)


def test_a_plan_is_valued_on_a_waves_log_at_what_it_truly_brings(tmp_path: Path) -> None:
    """The log's propensities are exact, so that the doubly robust value is that of the market's own expectations."""
    stage = Stage.draw(Campaign(users=6_000, waves=1, explore=0.6, budget=1e6), 4)
    (log,) = run(stage, GreedyFirst()).logs
    market, rows = stage.market, log["user_id"].to_numpy()
    arm = np.where(
        np.arange(6_000) % 3 == 0, 1, 0
    )  # the second coupon for a third of the users, the first for the others
    plan = pa.table({"user_id": np.arange(6_000), "coupon": np.array(market.coupon_ids)[arm]})
    folder = PlanFolder(tmp_path, plan, {"schema_version": 1}, {})
    found = value_on_log(folder, log)
    truth = float(market.truth.spend_with[rows, arm[rows]].mean())
    for value in found.values:
        assert abs(value.mean.value - truth) < 4 * value.mean.standard_error, value.name
        assert value.mean.standard_error < 0.5 * truth
    assert abs(found.weight_mean.value - 1.0) < 4 * found.weight_mean.standard_error


def test_logged_propensities_are_those_of_the_lots() -> None:
    stage = Stage.draw(Campaign(users=3_000, waves=1, explore=0.2), 5)
    (log,) = run(stage, ByPrices()).logs
    weight = 1.0 / log["propensity"].to_numpy()
    coupon = np.array(log["coupon"].to_pylist())
    for name in np.unique(coupon):  # inverse propensities give every arm the whole of the users
        each = weight * (coupon == name)
        assert abs(each.mean() - 1.0) < 5 * each.std() / np.sqrt(each.size)


def test_a_wave_issues_no_more_than_it_may() -> None:
    stage = Stage.draw(Campaign(users=600, waves=2, most_a_wave=20), 6)
    assert [wave.issued <= 20 for wave in run(stage, GreedyFirst()).waves] == [True, True]
    assert hindsight(stage) > 0


def test_a_campaign_that_makes_no_sense_is_refused() -> None:
    for wrong in ({"waves": 0}, {"explore": 1.0}, {"budget": 0.0}, {"uneven": -1.0}):
        with pytest.raises(UsageError):
            Campaign(**wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="2 at least"):
        compare_paces(Campaign(), markets=1)


def test_the_command_tells_json_and_writes_logs(tmp_path: Path, expected: Paced) -> None:
    assert "hindsight" in paced.table(expected, 3_000)
    words = ["waves", "--users", "300", "--waves", "2", "--markets", "2", "--explore", "10%", "--json", "-q"]
    found = CliRunner().invoke(app, [*words, "-o", str(tmp_path / "out")])
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["markets"] == 2
    log = parquet.read_table(tmp_path / "out" / "wave-02.parquet")
    assert {"user_id", "coupon", "propensity", "spend"} <= set(log.column_names)
    again = CliRunner().invoke(app, [*words])
    assert again.stdout == found.stdout
    refused = CliRunner().invoke(app, ["waves", "--learn", "--days", "7"])
    assert (refused.exit_code, "leave out --days 7" in refused.output) == (2, True)


@pytest.mark.slow
def test_effects_are_learned_again_from_the_lots_of_the_waves_before() -> None:
    pytest.importorskip("lightgbm")
    from allocator.simulation.beliefs import refitted_logistic

    stage = Stage.draw(Campaign(users=2_000, waves=2, explore=0.2), 1)
    found = run(stage, ByPrices(), refitted_logistic())
    assert len(found.waves) == 2
    assert found.total("expected") <= stage.budget + found.waves[0].expected
