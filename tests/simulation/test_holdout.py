"""The control group of a plan: random, stratified, of one chance for all; the limits hold without it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from scipy import stats

from allocator import Limit, Problem, solve, verify
from allocator.cli.inputs import Source
from allocator.cli.jobs import Effort, Output, plan
from allocator.cli.screen import Screen
from allocator.demo import SEGMENTS, market
from allocator.errors import UsageError
from allocator.reporting import words
from allocator.reporting.summary import HoldoutLine
from allocator.simulation.assignment import Assignment
from allocator.simulation.effects import Money, Sample
from allocator.simulation.holdout import Holdout, bundles, hold_out, without_held
from allocator.tables.user_columns import Attribute

USERS = 2_000


@pytest.fixture(scope="module")
def problem() -> Problem:
    made = market(USERS, 4, seed=1)
    segment = np.array(SEGMENTS)[made.segment]
    limits = [Limit("new users", "count", at_least=150.0, users={"segment": "new"})]
    return Problem.from_arrays(
        made.value, made.cost, budget=made.budget, quantities=made.quantities, limits=limits, users={"segment": segment}
    )


@pytest.fixture(scope="module")
def drawn(problem: Problem) -> Holdout:
    segment = Attribute.of(np.array(SEGMENTS)[market(USERS, 4, seed=1).segment], "segment")
    found = hold_out(problem, 0.1, attributes={"segment": segment})
    assert found is not None
    return found


def test_the_share_is_kept_in_all_and_within_every_stratum(drawn: Holdout) -> None:
    assert abs(drawn.held.sum() - 200) <= 1
    sizes, held = np.bincount(drawn.stratum), np.bincount(drawn.stratum[drawn.held], minlength=len(drawn.strata))
    assert (np.abs(held - sizes * 0.1) <= 1).all()
    assert any("segment new" in name for name in drawn.strata)
    assert drawn.controls == (drawn.held & (drawn.planned > 0)).sum() > 20


def test_the_same_seed_draws_the_same_users_and_another_others(problem: Problem, drawn: Holdout) -> None:
    again, other = hold_out(problem, 0.1, seed=0), hold_out(problem, 0.1, seed=1)
    assert again is not None
    assert other is not None
    twice = hold_out(problem, 0.1, seed=0, threads=1)
    assert twice is not None
    assert (again.held == twice.held).all()
    assert (again.held != other.held).any()


def test_every_user_has_the_same_chance() -> None:
    from allocator.simulation.holdout import _draw

    stratum = np.repeat(np.arange(40), np.arange(1, 41))  # most of them smaller than 1 / share
    counts = sum(_draw(stratum, np.ones(stratum.size, bool), 40, 0.05, seed).astype(int) for seed in range(2_000))
    assert np.abs(counts / 2_000 - 0.05).max() < 0.05 * 0.5  # 5 standard errors of 0.0049
    by_stratum = np.bincount(stratum, weights=counts) / np.bincount(stratum) / 2_000
    assert np.abs(by_stratum - 0.05).max() < 0.0175


def test_limits_hold_for_those_who_are_left_and_the_budget_is_used(problem: Problem, drawn: Holdout) -> None:
    rest = without_held(problem, drawn)
    result = solve(rest)
    verify(rest, result)
    assert not np.isin(result.plan.user, np.flatnonzero(drawn.held)).any()
    uses = {use.name: use for use in result.limits}
    assert uses["new users"].used >= 150
    assert problem.limits[0].at_most is not None
    assert 0.999 * problem.limits[0].at_most <= result.spend <= problem.limits[0].at_most
    # Strata are those of nearly the same plan: few users' coupons differ from what they were planned for.
    assert drawn.moved(result.plan) < 0.02 * USERS


def test_users_with_required_offers_are_not_drawn() -> None:
    made = market(400, 4, seed=2)
    required = np.zeros((400, 4), bool)
    required[:100, 0] = True
    problem = Problem.from_arrays(made.value, made.cost, budget=made.budget * 3, required=required)
    found = hold_out(problem, 0.2)
    assert found is not None
    assert not found.held[:100].any()
    table = found.propensity_table(problem, solve(without_held(problem, found)).plan).to_pandas()
    assert (table.propensity[:100] == 1.0).all()


def test_several_coupons_of_a_user_are_one_bundle() -> None:
    value = np.array([[3.0, 2.0], [3.0, -1.0], [-1.0, -1.0]])
    problem = Problem.from_arrays(value, np.ones((3, 2)), max_per_user=2, coupons=["a", "b"])
    code, names = bundles(solve(problem).plan)
    assert [names[c] for c in code] == ["a+b", "a", ""]
    everyone = Problem.from_arrays(np.ones((2, 2)), np.ones((2, 2)), max_per_user=2, coupons=["a", "b"])
    code, names = bundles(solve(everyone).plan)
    assert [names[c] for c in code] == ["a+b", "a+b"]
    assert names[0] == ""


def test_a_limit_that_needs_everyone_makes_no_plan_with_a_holdout() -> None:
    everyone = Problem.from_arrays(
        np.ones((100, 1)), np.ones((100, 1)), budget=200.0, limits=[Limit("all", "count", at_least=100.0)]
    )
    found = hold_out(everyone, 0.1)
    assert found is not None  # strata come from the plan as it stands
    assert solve(without_held(everyone, found)).status == "infeasible"


@pytest.mark.parametrize(("share", "words"), [(0.0, "above 0"), (0.6, "at most 50 %"), (0.0001, "leaves 0 to compare")])
def test_shares_that_make_no_sense_are_refused(problem: Problem, share: float, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        hold_out(problem, share)


def write_market(folder: Path) -> Source:
    made = market(USERS, 4, seed=1)
    names = ["a", "b", "c", "d"]
    pd.DataFrame(
        {
            "user_id": [f"u{i}" for i in range(USERS) for _ in range(4)],
            "coupon": names * USERS,
            "value": made.value.reshape(-1),
            "cost": made.cost.reshape(-1),
        }
    ).to_parquet(folder / "offers.parquet")
    users = {"user_id": [f"u{i}" for i in range(USERS)], "segment": np.array(SEGMENTS)[made.segment]}
    pd.DataFrame(users).to_parquet(folder / "users.parquet")
    (folder / "campaign.toml").write_text('[campaign]\nname = "spring"\n', encoding="utf-8")
    return Source(made.budget, str(folder / "offers.parquet"), folder / "campaign.toml", str(folder / "users.parquet"))


def test_the_plan_folder_says_who_was_held_out_and_what_that_costs(tmp_path: Path) -> None:
    source, folder = write_market(tmp_path), tmp_path / "plan"
    screen = Screen(quiet=True, verbose=False)
    assert plan(source, Effort(), Output(folder, False, True, False), screen, holdout=0.1) == 0
    line = json.loads((folder / "summary.json").read_text())
    held = parquet.read_table(folder / "holdout.parquet").to_pandas()
    everyone = parquet.read_table(folder / "propensities.parquet").to_pandas()
    issued = parquet.read_table(folder / "plan.parquet").to_pandas()
    assert list(held.columns) == ["user_id", "stratum", "propensity", "coupon"]
    assert (held.propensity == 0.1).all()
    assert len(held) == line["holdout"]["users"]
    assert (held.coupon != "").sum() == line["holdout"]["controls"]
    assert len(everyone) == USERS
    assert set(everyone.user_id[everyone.issued != ""]) == set(issued.user_id)
    assert not set(held.user_id) & set(issued.user_id)
    assert line["holdout"]["costs"] == pytest.approx(line["holdout"]["objective_without"] - line["objective"])
    assert line["holdout"]["costs"] > 0
    assert line["holdout"]["costs_at_most"] - line["holdout"]["costs_at_least"] < 0.05
    assert "Held out at random" in (folder / "report.html").read_text()


def measured(seed: int) -> tuple[bool, int]:
    """Plan a market with a holdout, make up spend, measure; return whether the truth was covered, and users moved."""
    made = market(3_000, 4, seed=seed)
    problem = Problem.from_arrays(made.value, made.cost, budget=made.budget, quantities=made.quantities)
    drawn = hold_out(problem, 0.15, seed=seed, gap=1e-3)
    assert drawn is not None
    plan = solve(without_held(problem, drawn), gap=1e-3).plan
    rng = np.random.default_rng([seed, 1])
    effect = np.zeros(3_000)
    effect[plan.user] = (plan.value + plan.cost) / 0.32 * rng.gamma(2.0, 0.5, plan.user.size)
    base = rng.gamma(1.0, 20.0, 3_000) * (1 + made.value.max(axis=1))  # those who are worth most spend most anyway
    columns = {"spend": base + effect}
    planned = Assignment(
        pa.array(np.arange(3_000)),
        drawn.planned.astype(np.int64),
        drawn.coupons,
        np.zeros(3_000, np.int64),
        ("",),
        drawn.stratum.astype(np.int64),
        drawn.strata,
        drawn.held,
        drawn.randomised,
        drawn.value,
        drawn.cost,
        0.15,
    )
    rows = np.flatnonzero(drawn.planned > 0)
    found = Sample.of(columns, rows, planned, Money(0.32, 0.0, False)).effects(0.95).lift
    truth = effect[rows][~drawn.held[rows]].mean()
    return bool(found.low <= truth <= found.high), drawn.moved(plan)


@pytest.mark.slow
def test_what_is_measured_through_plan_and_holdout_is_the_truth_as_often_as_promised() -> None:
    """100 campaigns from offers to lift; a bound that 95 % intervals break once in 1,000 runs."""
    found = [measured(seed) for seed in range(100)]
    low, high = stats.binom.interval(0.999, 100, 0.95)
    assert low <= sum(covered for covered, _ in found) <= high


def test_what_a_holdout_costs_is_a_range_where_a_plan_is_not_proven() -> None:
    line = HoldoutLine(0.05, 60, 30, 4, 0, 0, 100.0, -5.0, 0.0, 40.0)
    summary = SimpleNamespace(holdout=line, currency="EUR")
    assert "0.00 to 40.00 EUR (not both are proven optimal) more" in words.holdout(summary)  # type: ignore[arg-type]
