"""Plans for uncertain effects: against everything that can be tried, and against a truth that was drawn."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from allocator import Care, Hedged, Problem, Result, VerificationError, hedge, trade_off
from allocator.cli.app import app
from allocator.errors import DataError, UsageError
from allocator.hedging.robust import draws_of
from allocator.verification.hedging import verify_hedged
from tests.benchmarks import care
from tests.conftest import Allocate


def small(seed: int) -> tuple[Problem, np.ndarray]:
    rng = np.random.default_rng(seed)
    cost = np.round(rng.random((5, 2)) * 2 + 0.1, 2)
    value = cost * rng.normal(1.5, 1.0, cost.shape)
    draws = value + rng.normal(0, 1, (6, 1, 2)) + rng.normal(0, 0.5, (6, 5, 2))
    return Problem.from_arrays(value, cost, budget=3.0), draws


def checked(problem: Problem, draws: np.ndarray, item: Hedged) -> float:
    return verify_hedged(
        problem,
        draws_of(problem, draws),
        share=item.care.share,
        weight=item.care.weight,
        offers=item.plan.offer,
        objective=item.objective,
        bound=item.bound,
        weights=item.weights,
        prices=item.prices,
    )


@pytest.mark.parametrize(
    ("seed", "rule"),
    [
        (0, "mean"),
        (1, "worst"),
        (2, "cvar:0.5"),
        pytest.param(103, "cvar:0.5", marks=pytest.mark.slow),
        (4, "cvar:0.7"),
        (1443, "mean"),
    ],
)
def test_no_plan_of_all_that_can_be_tried_beats_the_bound(seed: int, rule: str) -> None:
    problem, draws = small(seed)
    item = hedge(problem, draws, rule)
    assert isinstance(item, Hedged)
    flat, care, best = draws.reshape(6, -1), Care.parse(rule), -np.inf
    for choice in itertools.product((-1, 0, 1), repeat=5):
        offers = np.array([2 * i + k for i, k in enumerate(choice) if k >= 0], np.int64)
        if math.fsum(problem.column("cost", offers)) <= 3.0:
            best = max(best, care.of(flat[:, offers].sum(axis=1)))
    assert item.objective <= best + 1e-9
    assert best <= item.bound + 1e-9
    checked(problem, draws, item)


def test_the_worst_share_is_averaged_to_the_fraction() -> None:
    values = np.array([4.0, 1.0, 3.0, 2.0])
    assert Care(0.5).of(values) == 1.5
    assert Care(0.375).of(values) == pytest.approx((1.0 + 0.5 * 2.0) / 1.5)
    assert Care(0.0).of(values) == 1.0
    assert Care(1.0).of(values) == 2.5
    assert Care(0.5, 0.5).of(values) == 2.0


@pytest.mark.parametrize("rule", ["cvar", "cvar:1", "cvar:x", "best", "mean:2"])
def test_rules_that_make_no_sense_are_refused(rule: str) -> None:
    with pytest.raises(UsageError, match="no rule"):
        Care.parse(rule)


def test_draws_of_another_shape_or_not_finite_are_refused() -> None:
    problem, draws = small(1)
    with pytest.raises(DataError, match="shape"):
        draws_of(problem, draws[:, :4])
    draws[2, 1, 0] = np.nan
    with pytest.raises(DataError, match="draw 2, offer 2"):
        draws_of(problem, draws)


def town(seed: int, users: int = 800, n_draws: int = 20) -> tuple[Problem, np.ndarray, np.ndarray]:
    """Two coupons: one earns more on average but nobody knows how much, one is well known; draws, and 200 truths."""
    rng = np.random.default_rng(seed)
    size = rng.gamma(2.0, 1.0, (users, 1)) * np.array([1.3, 1.0])
    cost = np.ones((users, 2))

    def drawn(n: int) -> np.ndarray:
        effect = rng.normal(1.0, [1.0, 0.1], (n, 1, 2))
        return size * effect * np.exp(rng.normal(0.0, 0.1, (n, users, 2))) - 0.2

    problem = Problem.from_arrays(size - 0.2, cost, budget=users / 4)
    return problem, drawn(n_draws), drawn(200)


@pytest.mark.slow
def test_care_loses_less_in_the_bad_cases_of_a_truth_that_was_not_seen() -> None:
    """The plan is made from 20 draws; both plans then meet 200 truths drawn apart, the same for both."""
    gains, prices = [], []
    for seed in range(4):
        problem, draws, truths = town(seed)
        found = trade_off(problem, draws, "cvar:0.8", steps=2)
        assert isinstance(found, list)
        bold, careful = (truths.reshape(200, -1)[:, item.plan.offer].sum(axis=1) for item in found)
        gains.append(Care(0.1).of(careful) - Care(0.1).of(bold))
        prices.append(bold.mean() - careful.mean())
    assert min(gains) > 0
    assert np.mean(gains) > np.mean(prices)


@pytest.mark.slow
def test_care_loses_less_in_the_bad_cases_of_markets_with_known_truth() -> None:
    """Users are known, how coupons move and annoy them is drawn: 20 draws to plan from, 60 others come."""
    met = np.array([care.unseen(1_000, seed, "cvar:0.8", draws=20, truths=60) for seed in range(4)])
    average, bad = met.mean(axis=2), care.worst_fifth(met.transpose(2, 0, 1))
    assert (bad[:, -1] - bad[:, 0]).mean() > 0
    assert (average[:, 0] - average[:, -1]).mean() > 0


def test_the_trade_off_runs_from_the_best_mean_to_the_best_of_the_bad() -> None:
    problem, draws, _ = town(7)
    found = trade_off(problem, draws, "cvar:0.8", steps=3)
    assert isinstance(found, list)
    means = [float(item.values.mean()) for item in found]
    tails = [item.care.tail(item.values) for item in found]
    assert means[0] >= means[1] - 1e-6 and means[1] >= means[2] - 1e-6
    assert tails[0] <= tails[1] + 1e-6 and tails[1] <= tails[2] + 1e-6
    for item in found:
        assert item.gap < 0.01 * abs(item.objective)
        checked(problem, draws, item)


def test_a_bound_that_is_too_low_is_found_out() -> None:
    problem, draws, _ = town(8)
    item = hedge(problem, draws, "cvar:0.8")
    assert isinstance(item, Hedged)
    with pytest.raises(VerificationError, match="bound"):
        checked(problem, draws, dataclasses.replace(item, bound=item.objective - 1.0))
    with pytest.raises(VerificationError, match="reaches"):
        checked(problem, draws, dataclasses.replace(item, objective=item.objective + 1.0, bound=item.bound + 5.0))


def test_without_any_plan_the_result_says_why() -> None:
    one = np.ones((4, 1))
    problem = Problem.from_arrays(one, one, budget=1.0, min_quantities=[3])
    found = hedge(problem, np.stack([one, one]), "worst")
    assert isinstance(found, Result)
    assert found.diagnosis is not None


@pytest.fixture(scope="module")
def offers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a town's offers in any order, with five draws of their values."""
    problem, draws, _ = town(3, users=200, n_draws=5)
    table = {
        "user_id": np.repeat(np.arange(200), 2),
        "coupon": np.tile(np.array(["a", "b"]), 200),
        "value": problem.offers.value,
        "cost": problem.offers.cost,
        "liability": 2.0 * problem.offers.cost,
    }
    table |= {f"value_draw_{j}": draws[j].reshape(-1) for j in range(5)}
    order = np.random.default_rng(0).permutation(400)
    path = tmp_path_factory.mktemp("hedge") / "offers.parquet"
    parquet.write_table(pa.table({name: column[order] for name, column in table.items()}), path)
    return path


def test_the_command_writes_a_whole_plan_folder_and_the_curve(allocate: Allocate, offers: Path, tmp_path: Path) -> None:
    words = ["hedge", "--offers", offers, "--budget", 50, "--steps", 2, "--rule", "worst", "-o", tmp_path / "plan"]
    run = allocate(*words, "-q", "--json")
    assert run.code == 0, run.err
    document = json.loads(run.out)
    written = json.loads((tmp_path / "plan" / "summary.json").read_text())
    assert document == written
    assert {path.name for path in (tmp_path / "plan").iterdir()} == {
        "plan.parquet",
        "summary.json",
        "report.html",
        "manifest.json",
        "tradeoff.json",
    }
    plan = parquet.read_table(tmp_path / "plan" / "plan.parquet")
    values = [float(np.sum(plan[f"value_draw_{j}"].to_numpy())) for j in range(5)]
    hedge, steps = document["hedge"], json.loads((tmp_path / "plan" / "tradeoff.json").read_text())["rows"]
    assert plan.num_rows == document["issued"] == steps[-1]["issued"]
    assert hedge["values"] == pytest.approx(values)
    assert document["objective"] == pytest.approx(min(values))
    assert hedge["mean"] == pytest.approx(np.mean(values))
    assert document["verified"] and document["bound"] >= document["objective"]
    assert {row["name"] for row in document["strategies"]} == {"blanket", "targeted", "tiered", "greedy"}
    assert all(row["objective"] <= document["bound"] + 1e-9 for row in document["strategies"])
    page = (tmp_path / "plan" / "report.html").read_text()
    assert "What does care cost?" in page and "Earns in the bad draws" in page
    assert allocate("report", tmp_path / "plan", "-o", tmp_path / "again.html").code == 0
    assert (tmp_path / "again.html").read_text() == page


def test_a_careful_plan_is_explained_by_the_values_that_it_was_made_for(
    allocate: Allocate, offers: Path, tmp_path: Path
) -> None:
    allocate(
        "hedge", "--offers", offers, "--budget", 50, "--steps", 2, "--rule", "worst", "-o", tmp_path / "plan", "-q"
    )
    table = parquet.read_table(offers)
    user = parquet.read_table(tmp_path / "plan" / "plan.parquet")["user_id"][0].as_py()
    run = allocate("explain", tmp_path / "plan", "--user", user, "--json")
    assert run.code == 0, run.err
    weights = json.loads((tmp_path / "plan" / "summary.json").read_text())["hedge"]["weights"]
    document = json.loads(run.out)
    mine = {row["coupon"]: row for row in table.to_pylist() if row["user_id"] == user}
    for line in document["offers"]:
        expected = sum(weight * mine[line["coupon"]][f"value_draw_{j}"] for j, weight in enumerate(weights))
        assert line["value"] == pytest.approx(expected)
    assert "careful" in run.out
    assert allocate("explain", tmp_path / "plan", "--coupon", "b").code == 0


def test_the_command_prints_the_curve_and_refuses_two_kinds_of_care(
    allocate: Allocate, offers: Path, tmp_path: Path
) -> None:
    run = allocate("hedge", "--offers", offers, "--budget", 50, "--steps", 2, "-q")
    assert run.code == 0 and "From the best mean to care alone" in run.out
    (tmp_path / "sure.toml").write_text("[campaign]\nbudget = 50\nconfidence = 0.9\n")
    run = allocate("hedge", "--offers", offers, "--campaign", tmp_path / "sure.toml")
    assert (run.code, "not yet both" in run.err) == (2, True)
    text = '[campaign]\nbudget = 1\n[[coupon]]\nid = "a"\n[[coupon]]\nid = "b"\nmin_quantity = 100\n'
    (tmp_path / "tight.toml").write_text(text)
    run = allocate(
        "hedge", "--offers", offers, "--campaign", tmp_path / "tight.toml", "-o", tmp_path / "none", "--json"
    )
    assert (run.code, json.loads(run.out)["status"], (tmp_path / "none").exists()) == (4, "infeasible", False)


def test_the_command_asks_for_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parquet.write_table(
        pa.table({"user_id": [1], "coupon": ["a"], "value": [1.0], "cost": [1.0]}), tmp_path / "offers.parquet"
    )
    with pytest.raises(SystemExit) as exit_code:
        app(["hedge", "--offers", str(tmp_path / "offers.parquet"), "--budget", "5"])
    assert exit_code.value.code == 3
    assert "value_draw_0" in capsys.readouterr().err


def test_a_plan_that_issues_nothing_says_so_and_blames_no_column(allocate: Allocate, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = {"user_id": np.arange(50), "coupon": ["a"] * 50, "value": np.full(50, 0.1), "cost": np.ones(50)}
    draws = {f"value_draw_{j}": rng.normal(0.1, 0.01, 50) + (5.0, -5.0)[j % 2] for j in range(4)}
    chance = {"redeem_probability": np.full(50, 0.5), "liability": np.full(50, 2.0)}
    parquet.write_table(pa.table(table | draws | chance), tmp_path / "offers.parquet")
    run = allocate("hedge", "--offers", tmp_path / "offers.parquet", "--budget", 20, "--rule", "worst")
    assert run.code == 0, run.err
    assert "issues nothing, so that it spends nothing" in " ".join(run.out.split())
    assert "neither redeem_probability" not in run.out
