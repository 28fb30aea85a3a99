"""A budget that holds with a probability: its distribution, its plan, its bound, and the check of both."""

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
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from allocator import Chance, Limit, Problem, Result, Status, VerificationError, frontier, solve, verify
from allocator.campaign.reading import parse_campaign
from allocator.cli.app import app
from allocator.demo import market
from allocator.errors import CampaignError, UsageError
from allocator.explaining import explain_user
from allocator.hedging.standins import StandIns
from allocator.risk import SpendDistribution, SpendParts, spend_parts, spend_risk
from allocator.risk.surrogate import Box, Surrogate, stand_below, tangent
from allocator.tables.plan_folder import read_plan_folder
from allocator.verification.spending import Offered, Standing, within


def simulated(parts: SpendParts, shock: float, runs: int, seed: int) -> np.ndarray:
    """Return the spend of so many campaigns, one redemption drawn after the other."""
    rng = np.random.default_rng(seed)
    spread = math.sqrt(math.log1p(shock**2))
    factors = np.exp(spread * rng.standard_normal(runs) - spread**2 / 2)
    total = np.full(runs, parts.fixed.sum())
    for amount, chance in zip(parts.amount, parts.chance, strict=True):
        total += amount * (rng.random(runs) < np.minimum(1.0, factors * chance))
    return total


def some_parts(n: int, seed: int = 1) -> SpendParts:
    rng = np.random.default_rng(seed)
    return SpendParts(np.full(n, 0.03), rng.choice([2.0, 5.0, 18.0], n), rng.beta(1.5, 4.0, n))


@pytest.mark.parametrize("shock", [0.0, 0.1, 0.4])
@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.99])
def test_percentile_is_kept_as_often_as_it_says_in_simulated_campaigns(shock: float, confidence: float) -> None:
    parts = some_parts(400)
    number = SpendDistribution(parts, shock).percentile(confidence)
    kept = (simulated(parts, shock, 20_000, seed=3) <= number).mean()
    assert abs(kept - confidence) < 4 * math.sqrt(confidence * (1 - confidence) / 20_000) + 0.003


def test_percentile_and_probability_are_inverse() -> None:
    spend = SpendDistribution(some_parts(300), 0.2)
    assert spend.within(spend.percentile(0.95)) == pytest.approx(0.95, abs=1e-9)


@pytest.mark.parametrize(("offers", "seed"), [(1, 0), (1, 1), (1, 2), (2, 3), (12, 0), (12, 1), (60, 2)])
def test_solver_and_check_agree_where_few_offers_may_be_sure_to_be_redeemed(offers: int, seed: int) -> None:
    """A large shock: they agree to a few billionths, and with a plain fine rule as far as that goes."""
    rng = np.random.default_rng(seed)
    parts = SpendParts(rng.random(offers) * 0.1, rng.choice([2.0, 5.0, 18.0], offers), rng.random(offers))
    spend = SpendDistribution(parts, 1.0)
    number = spend.percentile(0.6)
    spread = math.sqrt(math.log(2.0))
    bends = np.clip(spread / 2.0 - np.log(parts.chance) / spread, -9.0, 9.0)
    edges = np.unique(np.concatenate([np.linspace(-9.0, 9.0, 3_000), bends]))
    x, w = np.polynomial.legendre.leggauss(8)
    t = 0.5 * ((edges[1:] + edges[:-1])[:, None] + np.diff(edges)[:, None] * x)
    weight = (0.5 * np.diff(edges)[:, None] * w * np.exp(-t * t / 2.0)).reshape(-1) / math.sqrt(2.0 * math.pi)
    p = np.minimum(1.0, np.exp(spread * t.reshape(-1) - spread**2 / 2.0)[:, None] * parts.chance)
    mean, variance, third = (
        (parts.fixed + parts.amount * p).sum(axis=1),
        (parts.amount**2 * p * (1.0 - p)).sum(axis=1),
        (parts.amount**3 * p * (1.0 - p) * (1.0 - 2.0 * p)).sum(axis=1),
    )
    noise = np.sqrt(np.maximum(variance, 1e-60))
    z = np.clip((number - mean) / noise, -38.0, 38.0)
    skew = (
        np.where(variance > 1e-60, third, 0.0)
        / noise**3
        * (z * z - 1.0)
        * np.exp(-z * z / 2.0)
        / (6.0 * math.sqrt(2.0 * math.pi))
    )
    normal, corrected = weight @ ndtr(z), weight @ np.clip(ndtr(z) - skew, 0.0, 1.0)
    assert spend.within(number) == pytest.approx(min(normal, corrected), abs=5e-5)
    checked = within(Offered(parts.fixed, parts.amount, parts.chance), Chance(0.6, 1.0), number)
    assert spend.within(number) == pytest.approx(checked, abs=2e-9)


def test_a_probability_above_one_counts_as_one() -> None:
    parts = SpendParts(np.zeros(50), np.full(50, 2.0), np.full(50, 1.0))
    assert spend_risk(parts, 0.5).percentile == pytest.approx(100.0)
    assert spend_risk(parts, 0.5).worst == 100.0


def test_expected_spend_is_the_cost_however_the_columns_disagree() -> None:
    """Where chance x liability exceeds the cost, the liability is a worst case that is rarely reached."""
    cost = np.array([[1.0, 2.0, 0.5, 0.0]])
    columns = {"liability": np.array([[10.0, 4.0, 0.0, 3.0]]), "redeem_probability": np.array([[0.05, 0.9, 0.2, 0.0]])}
    parts = spend_parts(Problem.from_arrays(cost, cost, columns=columns))
    np.testing.assert_allclose(parts.fixed + parts.amount * parts.chance, cost[0])
    np.testing.assert_allclose(parts.chance, [0.05, 0.5, 0.2, 0.0])
    assert (parts.fixed >= 0).all()


def test_offers_that_tell_neither_chance_nor_liability_are_refused() -> None:
    one = np.ones((3, 2))
    problem = Problem.from_arrays(one, one, budget=2.0).with_chance(Chance(0.95))
    with pytest.raises(UsageError, match="redeem_probability"):
        solve(problem)


def test_only_an_at_most_limit_on_cost_can_have_a_chance() -> None:
    one = np.ones((3, 2))
    problem = Problem.from_arrays(one, one, limits=[Limit("some", "count", at_most=2.0)])
    with pytest.raises(UsageError, match="measure cost"):
        problem.with_chance(Chance(0.95, limit="some"))


@pytest.mark.parametrize(("confidence", "shock"), [(0.3, 0.1), (95, 0.1), (0.95, -0.1), (0.95, math.nan)])
def test_numbers_that_make_no_sense_are_refused(confidence: float, shock: float) -> None:
    with pytest.raises(UsageError):
        Chance(confidence, shock)


@settings(max_examples=8, deadline=None)
@given(st.floats(0.55, 0.995), st.sampled_from([0.0, 0.02, 0.1, 0.5]), st.integers(0, 2**32 - 1))
def test_stand_ins_lie_below_the_percentile_and_tangents_touch_it(confidence: float, shock: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    surrogate = Surrogate.of(Chance(confidence, shock))
    low, least = rng.random() * 100 + 1, rng.random() * 500
    box = Box((low, low * (1 + rng.random())), (least, least * (1 + 3 * rng.random()) + 1))
    stand = stand_below(surrogate, box, (low, least))
    d = rng.uniform(*box.growing, 400)
    v = rng.uniform(*box.variance, 400)
    height = surrogate.height(d, v)
    below = height - stand.offset - stand.per_growing * d - stand.per_variance * v
    assert (below >= -1e-9 * height).all()
    touching = tangent(surrogate, (float(d[0]), float(v[0])))
    value = touching.offset + touching.per_growing * d[0] + touching.per_variance * v[0]
    assert value == pytest.approx(height[0], rel=1e-9)


def small(seed: int, users: int = 5) -> Problem:
    rng = np.random.default_rng(seed)
    cost = np.round(rng.random((users, 2)) * 2 + 0.1, 2)
    columns = {
        "redeem_probability": rng.random((users, 2)) * 0.8 + 0.05,
        "liability": cost * (1.2 + 4 * rng.random((users, 2))),
    }
    value = np.round(cost * rng.normal(1.5, 1.0, cost.shape), 2)
    return Problem.from_arrays(value, cost, budget=float(np.round(1 + 4 * rng.random(), 2)), columns=columns)


@pytest.mark.parametrize(
    ("seed", "confidence", "shock"),
    [
        (2, 0.95, 0.0),
        (3, 0.7, 0.0),
        pytest.param(0, 0.7, 0.15, marks=pytest.mark.slow),
        pytest.param(1, 0.95, 0.15, marks=pytest.mark.slow),
    ],
)
def test_no_plan_of_all_that_can_be_tried_beats_the_bound(seed: int, confidence: float, shock: float) -> None:
    problem = small(seed).with_chance(Chance(confidence, shock))
    result = solve(problem, time_limit=5)
    standins, budget = StandIns.of(problem), problem.limits[0].at_most
    assert budget is not None
    best = 0.0
    for choice in itertools.product((-1, 0, 1), repeat=problem.n_users):
        offers = np.array([2 * i + k for i, k in enumerate(choice) if k >= 0], np.int64)
        if math.fsum(problem.column("cost", offers)) <= budget and standins.percentile(offers) <= budget:
            best = max(best, float(problem.column("value", offers).sum()))
    assert result.objective <= best + 1e-9
    assert best <= result.bound + 1e-9
    verify(problem, result)


@pytest.fixture(scope="module")
def town() -> Problem:
    """4,000 users; the offers' liability is the face value, the most that a redemption can cost."""
    made = market(4_000, 6, seed=5)
    return Problem.from_arrays(
        made.value,
        made.cost,
        budget=made.budget,
        face_value=made.face_value,
        columns={"redeem_probability": made.redeem_probability},
    )


@pytest.fixture(scope="module")
def kept(town: Problem) -> tuple[Problem, Result]:
    problem = town.with_chance(Chance(0.95, 0.1))
    return problem, solve(problem)


def test_a_town_is_planned_close_to_the_bound_and_the_check_agrees(kept: tuple[Problem, Result]) -> None:
    problem, result = kept
    assert result.status in (Status.OPTIMAL, Status.FEASIBLE)
    assert result.relative_gap < 1e-3
    assert result.limits[-1].name == "budget at 95 %"
    assert result.limits[-1].used <= problem.limits[0].at_most
    assert "probability of 0.95" in verify(problem, result).statement


def test_the_budget_is_overrun_in_one_of_twenty_simulated_campaigns(kept: tuple[Problem, Result]) -> None:
    """Of 200 campaigns, between 4 and 17 overrun it: the 95 % interval of a binomial number with mean 10."""
    problem, result = kept
    spend = simulated(spend_parts(problem, result.plan.offer), 0.1, 200, seed=11)
    assert 4 <= (spend > problem.limits[0].at_most).sum() <= 17


@pytest.mark.slow
def test_more_confidence_never_earns_more(town: Problem, kept: tuple[Problem, Result]) -> None:
    less = solve(town.with_chance(Chance(0.8, 0.1)))
    assert kept[1].objective <= less.bound
    assert less.objective <= solve(town).bound


@pytest.mark.slow
def test_half_confidence_without_a_shock_is_the_expected_budget(town: Problem) -> None:
    assert solve(town.with_chance(Chance(0.5, 0.0))).objective == pytest.approx(solve(town).objective, abs=0.5)


def _tampered(result: Result, how: str) -> Result:
    proof = result.chance
    assert proof is not None
    pieces = list(proof.pieces)
    top = max(range(len(pieces)), key=lambda number: pieces[number].bound)
    if how == "bound":
        pieces = [dataclasses.replace(piece, bound=min(piece.bound, result.objective)) for piece in pieces]
        result = dataclasses.replace(
            result, bound=result.objective, price_bound=result.objective, status=Status.OPTIMAL
        )
    elif how == "offset":
        pieces[top] = dataclasses.replace(pieces[top], offset=pieces[top].offset + 5.0)
    elif how == "piece":
        del pieces[top]
    elif how == "percentile":
        return dataclasses.replace(result, chance=dataclasses.replace(proof, percentile=proof.percentile * 0.99))
    return dataclasses.replace(result, chance=dataclasses.replace(proof, pieces=tuple(pieces)))


@pytest.mark.parametrize("how", ["bound", "offset", "piece", "percentile"])
def test_a_proof_that_does_not_hold_is_found_out(kept: tuple[Problem, Result], how: str) -> None:
    problem, result = kept
    with pytest.raises(VerificationError):
        verify(problem, _tampered(result, how))


def test_a_plan_that_overspends_too_often_is_found_out(town: Problem, kept: tuple[Problem, Result]) -> None:
    with pytest.raises(VerificationError):
        verify(town.with_chance(Chance(0.99, 0.1)), kept[1])


@pytest.mark.slow
def test_a_frontier_with_confidence_earns_less_at_each_budget(town: Problem, kept: tuple[Problem, Result]) -> None:
    budget = town.limits[0].at_most
    assert budget is not None
    rows = frontier(kept[0], [budget]).rows
    assert rows[0].objective == pytest.approx(kept[1].objective, rel=1e-3)
    assert rows[0].spend < budget


def test_what_is_asked_for_beyond_the_budget_at_a_confidence_is_explained() -> None:
    """Ten offers must go out; expected they fit the budget, with 95 % they do not."""
    one = np.ones((20, 1))
    columns = {"redeem_probability": 0.5 * one, "liability": 2.0 * one}
    problem = Problem.from_arrays(one, one, budget=10.5, min_quantities=[10], columns=columns)
    assert solve(problem).status is Status.OPTIMAL
    result = solve(problem.with_chance(Chance(0.95, 0.3)))
    assert result.status is Status.INFEASIBLE
    assert result.diagnosis is not None and "budget at 95 %" in result.diagnosis.message
    verify(problem.with_chance(Chance(0.95, 0.3)), result)


def test_the_campaign_file_has_confidence_and_shock() -> None:
    campaign = parse_campaign("[campaign]\nconfidence = 0.9\nredemption_shock = 0.2\n")
    assert (campaign.confidence, campaign.redemption_shock) == (0.9, 0.2)
    assert parse_campaign("").redemption_shock == 0.1
    with pytest.raises(CampaignError, match="confidence"):
        parse_campaign("[campaign]\nconfidence = 95\n")


def test_the_command_keeps_the_budget_with_confidence_and_says_what_may_be_spent(
    town: Problem, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    offers = town.offers
    table = pa.table(
        {
            "user_id": np.repeat(np.arange(300), 6),
            "coupon": np.tile(np.array(list("abcdef")), 300),
            "value": offers.value[:1_800],
            "cost": offers.cost[:1_800],
            "redeem_probability": offers.columns["redeem_probability"][:1_800],
        }
    )
    parquet.write_table(table, tmp_path / "offers.parquet")
    words = ["--offers", str(tmp_path / "offers.parquet"), "--budget", "40", "--json", "-q"]
    documents = []
    for more in ([], ["--confidence", "0.95"]):
        with pytest.raises(SystemExit) as exit_code:
            app([*words, *more])
        assert exit_code.value.code == 0
        documents.append(json.loads(capsys.readouterr().out))
    plain, sure = (document["risk"] for document in documents)
    assert plain["expected"] == pytest.approx(40.0, abs=0.5)
    assert plain["percentile"] > 40.0 > sure["expected"]
    assert sure["percentile"] <= 40.0 + 1e-6 and sure["overrun"] <= 0.05 + 1e-6
    assert documents[1]["verified"] is True


def test_a_plan_with_confidence_is_written_reported_and_explained(
    town: Problem, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    offers = town.offers
    table = pa.table(
        {
            "user_id": np.repeat(np.arange(60), 6),
            "coupon": np.tile(np.array(list("abcdef")), 60),
            "value": offers.value[:360],
            "cost": offers.cost[:360],
            "redeem_probability": offers.columns["redeem_probability"][:360],
        }
    )
    parquet.write_table(table, tmp_path / "offers.parquet")
    folder = tmp_path / "plan"
    words = ["--offers", str(tmp_path / "offers.parquet"), "--budget", "3", "--confidence", "0.95", "--gap", "0.05"]
    with pytest.raises(SystemExit) as exit_code:
        app([*words, "-o", str(folder), "-q"])
    assert exit_code.value.code == 0
    assert "budget at 95 %" in (folder / "report.html").read_text(encoding="utf-8")
    why = explain_user(read_plan_folder(folder), 0)
    assert any("percentile of the spend" in note for note in why.notes)


def test_tabulated_percentiles_are_those_that_are_solved_for() -> None:
    """Below, inside and above the table, and at confidences and shocks of every kind."""
    for confidence, shock in ((0.95, 0.1), (0.99, 0.02), (0.6, 0.5), (0.9999, 1.0), (0.95, 0.001)):
        surrogate = Surrogate.of(Chance(confidence, shock))
        ratio = surrogate.spread**2 * np.geomspace(1e-12, 1e9, 60)
        height = surrogate.height(np.full(60, 7.0), 49.0 * ratio)
        np.testing.assert_allclose(height, 7.0 * surrogate.psi(ratio), rtol=1e-11)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_proof_is_close_with_few_users_and_few_redemptions(seed: int) -> None:
    """The surrogate follows what plans take, so that its percentile is nearly that of the exact moments."""
    made = market(1_000, 6, seed=seed)
    problem = Problem.from_arrays(
        made.value,
        made.cost,
        budget=made.budget,
        face_value=made.face_value,
        columns={"redeem_probability": made.redeem_probability},
    ).with_chance(Chance(0.95, 0.1))
    result = solve(problem)
    assert result.relative_gap < 4e-4
    verify(problem, result)


@pytest.mark.parametrize(("confidence", "shock"), [(0.99, 0.01), (0.8, 1.0), (0.95, 0.0)])
def test_the_proof_is_close_where_noise_or_minimums_rule(confidence: float, shock: float) -> None:
    """Small shocks, much noise, quantities at least: boxes near D = 0 and V = 0 are cut where it helps."""
    rng = np.random.default_rng(1018)
    cost = np.round(rng.random((600, 3)) * 3 + 0.05, 2)
    value = np.round(cost * rng.normal(1.3, 1.0, cost.shape), 2)
    columns = {"redeem_probability": rng.random(cost.shape) * 0.5, "liability": cost * (1 + 3 * rng.random(cost.shape))}
    budget = float(np.round(cost.sum() / 30, 2))
    problem = Problem.from_arrays(value, cost, budget=budget, columns=columns, min_quantities=[5, 0, 10])
    problem = problem.with_chance(Chance(confidence, shock))
    result = solve(problem, time_limit=10)
    assert result.relative_gap < 0.02
    verify(problem, result)


@pytest.mark.parametrize(("confidence", "shock"), [(0.95, 0.1), (0.55, 0.01), (0.9999, 1.0), (0.95, 0.001)])
def test_the_check_finds_the_same_percentiles_as_the_solver(confidence: float, shock: float) -> None:
    """However much of the spread is the factor's, and however little."""
    chance = Chance(confidence, shock)
    ratio = np.log1p(shock**2) * np.geomspace(1e-8, 1e8, 60)
    height = Surrogate.of(chance).height(np.full(60, 7.0), 49.0 * ratio)
    kept = Standing(chance).within(height, np.full(60, 7.0), 49.0 * ratio)
    np.testing.assert_allclose(kept, confidence, atol=1e-10)
