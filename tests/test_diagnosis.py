"""Why no plan exists: the smallest conflict against brute force, repairs that repair, proofs that stand up to the check."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from allocator import Limit, Prices, Problem, Proof, Result, Status, VerificationError, solve, verify
from allocator.demo import market
from allocator.demo.builtin import campaign
from allocator.diagnosis.conflicts import diagnose
from allocator.executors.local import LocalExecutor
from allocator.executors.shard import whole
from allocator.result import Conflict
from allocator.solvers.folding import fold
from allocator.solvers.piece import Piece

CENT = 0.01


def every_plan(problem: Problem) -> np.ndarray:
    """Return what each plan that keeps the local rules uses of every limit, `(n_plans, n_limits)`, by exact sums."""
    offers = problem.offers
    caps = np.broadcast_to(problem.max_per_user, offers.n_users)
    choices = []
    for i in range(offers.n_users):
        mine = [e for e in range(i * offers.n_coupons, (i + 1) * offers.n_coupons) if not np.isnan(offers.value[e])]
        fixed = {e for e in problem.required.tolist() if e in mine}
        choices.append(
            [
                chosen
                for size in range(int(caps[i]) + 1)
                for chosen in itertools.combinations(mine, size)
                if fixed <= set(chosen)
            ]
        )
    uses = []
    for parts in itertools.product(*choices):
        plan = np.array([e for part in parts for e in part], np.int64)
        uses.append([math.fsum(problem.measure(r, plan)) for r in range(len(problem.limits))])
    return np.array(uses)


def keeps(problem: Problem, uses: np.ndarray, sides: list[tuple[str, str]]) -> np.ndarray:
    """Tell which plans keep these sides, given as (limit's name, side)."""
    good = np.ones(uses.shape[0], dtype=bool)
    for name, side in sides:
        r = problem.limit_index(name)
        limit = problem.limits[r]
        good &= uses[:, r] >= limit.at_least if side == "at_least" else uses[:, r] <= limit.at_most
    return good


def nearest(problem: Problem, uses: np.ndarray, conflict: Conflict, sides: list[tuple[str, str]]) -> float | None:
    """Return the number nearest to the conflict's that a plan under these sides reaches, or `None`."""
    reached = uses[keeps(problem, uses, sides), problem.limit_index(conflict.name)]
    if not reached.size:
        return None
    return float(reached.max() if conflict.side == "at_least" else reached.min())


def repaired(problem: Problem, conflict: Conflict, number: float) -> Problem:
    """Return the problem with one side of one limit changed."""
    limit = problem.limits[problem.limit_index(conflict.name)]
    numbers = {"at_least": limit.at_least, "at_most": limit.at_most} | {conflict.side: number}
    return problem.with_bounds(conflict.name, **numbers)


@st.composite
def tight_problems(draw: st.DrawFn) -> Problem:
    """Draw problems of a few users whose limits often conflict: budgets, shares, segments, a required offer."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    users, coupons = draw(st.integers(2, 4)), draw(st.integers(1, 2))
    value = np.round(rng.normal(2.0, 4.0, (users, coupons)), 2)
    value[rng.random((users, coupons)) < 0.15] = np.nan
    value[0, 0] = 1.0
    cost = np.round(rng.random((users, coupons)) * 5, 2)
    limits = [Limit("reach", "count", at_least=float(rng.integers(1, users + 2)))]
    if draw(st.booleans()):
        limits.append(
            Limit("north", "cost", at_most=float(np.round(rng.random() * 4, 2)), users=rng.random(users) < 0.6)
        )
    if draw(st.booleans()):
        limits.append(Limit("return", {"value": 1.0, "cost": -0.5}, at_least=float(rng.integers(-3, 9))))
    if draw(st.booleans()):
        low = float(np.round(rng.random() * 5, 2))
        limits.append(Limit("corridor", "cost", at_least=low, at_most=low + float(rng.integers(0, 3))))
    required = np.zeros((users, coupons), dtype=bool)
    required[0, 0] = draw(st.booleans())
    return Problem.from_arrays(
        value,
        cost,
        budget=float(np.round(rng.random() * users * 2 + 0.01, 2)),
        quantities=[float(rng.integers(0, 3)), *([None] * (coupons - 1))],
        min_quantities=[None] * (coupons - 1) + [float(rng.integers(0, 4))],
        limits=limits,
        max_per_user=draw(st.sampled_from([1, 2])),
        required=required,
    )


@pytest.mark.slow
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(tight_problems())
def test_the_conflict_is_smallest_and_every_repair_is_the_least_that_works(problem: Problem) -> None:
    """On any small problem, everything the diagnosis says is what trying all plans says."""
    result = solve(problem)
    uses = every_plan(problem)
    everything = [
        (limit.name, side)
        for limit in problem.limits
        for side in ("at_least", "at_most")
        if getattr(limit, side) is not None
    ]
    assert (result.status is Status.INFEASIBLE) == (not keeps(problem, uses, everything).any())
    verify(problem, result)
    assume(result.status is Status.INFEASIBLE)
    diagnosis = result.diagnosis
    assert diagnosis is not None
    assert diagnosis.minimal
    assert diagnosis.complete
    taken: set[tuple[str, str]] = set()
    for one in (diagnosis, *diagnosis.further):
        sides = [(conflict.name, conflict.side) for conflict in one.conflicts]
        assert not keeps(problem, uses, sides).any()
        for left_out in sides:
            assert keeps(problem, uses, [side for side in sides if side != left_out]).any()
        assert not taken & set(sides)
        taken |= set(sides)
    for conflict in diagnosis.conflicts:
        side = (conflict.name, conflict.side)
        here = [(other.name, other.side) for other in diagnosis.conflicts if (other.name, other.side) != side]
        assert_least(conflict, conflict.needed, nearest(problem, uses, conflict, here))
        elsewhere = [other for other in everything if other != side]
        assert_least(conflict, conflict.repair, nearest(problem, uses, conflict, elsewhere))
        if conflict.repair is not None:
            again = solve(repaired(problem, conflict, conflict.repair))
            assert again.status in (Status.OPTIMAL, Status.FEASIBLE)
    if not any(conflict.repair for conflict in diagnosis.conflicts):
        assert keeps(problem, uses, [side for side in everything if side not in taken]).any()


def assert_least(conflict: Conflict, told: float | None, true: float | None) -> None:
    """Check that a repair is what a plan reaches, but for rounding to the safe side."""
    if true is None or told is None:
        assert told is true
        return
    assert told <= true if conflict.side == "at_least" else told >= true
    assert abs(told - true) < CENT + 1e-9
    assert conflict.within == 0.0


def asked_of(result: Result) -> set[str]:
    """Return the names of the limits that conflict."""
    assert result.diagnosis is not None
    return {conflict.name for conflict in result.diagnosis.conflicts}


def message(problem: Problem) -> str:
    """Return what a planner is told."""
    result = solve(problem)
    assert result.status is Status.INFEASIBLE
    assert result.diagnosis is not None
    verify(problem, result)
    return result.diagnosis.message


def test_two_limits_are_explained_as_a_planner_would() -> None:
    value, cost = np.ones((10, 2)), np.tile([5.0, 1.0], (10, 1))
    problem = Problem.from_arrays(value, cost, budget=20.0, min_quantities=[8, None], coupons=["5off", "1off"])
    assert message(problem) == (
        "min_quantity[5off] = 8 needs at least 40 of budget; budget is 20. Raise budget to 40 or lower min_quantity to 4."
    )


def test_one_limit_alone_is_told_what_exists() -> None:
    value = np.where(np.arange(10)[:, None] < 3, 1.0, np.nan) * np.ones((10, 2))
    value[:, 1] = 1.0
    problem = Problem.from_arrays(value, np.ones((10, 2)), budget=50.0, min_quantities=[5, None])
    assert message(problem) == (
        "min_quantity[0] = 5, but only 3 of the offers that it covers can be issued under the rules of each user. "
        "Lower min_quantity to 3."
    )


def test_required_offers_can_exceed_a_budget() -> None:
    required = np.array([[True, False], [True, False]])
    problem = Problem.from_arrays(np.ones((2, 2)), np.full((2, 2), 4.0), budget=5.0, required=required)
    assert message(problem) == "budget = 5, but whatever is issued needs at least 8 of it. Raise budget to 8."


def test_three_limits_are_listed_with_a_repair_for_each() -> None:
    """Any two of the three can hold: ten users, one offer each, one coupon cheap and one dear."""
    problem = Problem.from_arrays(
        np.ones((10, 2)),
        np.tile([1.0, 3.0], (10, 1)),
        budget=20.0,
        min_quantities=[None, 4],
        limits=[Limit("reach", "count", at_least=10.0)],
    )
    problem = problem.with_bounds("budget", at_least=None, at_most=15.0)
    assert message(problem) == (
        "min_quantity[1] = 4, reach = 10 and budget = 15 cannot hold together. Any one of these repairs it: "
        "raise budget to 18; lower reach to 7; lower min_quantity to 2."
    )


def test_a_repair_leaves_room_for_the_other_limits() -> None:
    """Four of coupon 0 need 8; but six of coupon 1 want their share of the budget too."""
    problem = Problem.from_arrays(np.ones((10, 2)), np.full((10, 2), 2.0), budget=7.0, min_quantities=[4, 6])
    result = solve(problem)
    assert result.diagnosis is not None
    assert len(result.diagnosis.conflicts) == 2
    budget = next(conflict for conflict in result.diagnosis.conflicts if conflict.name == "budget")
    other = next(conflict for conflict in result.diagnosis.conflicts if conflict.name != "budget")
    assert budget.repair == 20.0
    assert budget.needed in (8.0, 12.0)
    assert other.repair is None or other.name == "min_quantity[1]"
    assert solve(repaired(problem, budget, 20.0)).status is Status.OPTIMAL


def test_conflicts_that_share_nothing_are_all_named() -> None:
    problem = Problem.from_arrays(np.ones((4, 2)), np.ones((4, 2)), quantities=[1, 1], min_quantities=[2, 3])
    result = solve(problem)
    assert result.diagnosis is not None
    assert len(result.diagnosis.further) == 1
    assert asked_of(result) | {c.name for c in result.diagnosis.further[0].conflicts} == {
        "quantity[0]",
        "quantity[1]",
        "min_quantity[0]",
        "min_quantity[1]",
    }
    assert all(conflict.repair is None for conflict in result.diagnosis.conflicts)
    assert "other limits conflict even then" in result.diagnosis.message


def test_a_conflict_of_whole_offers_rests_on_branch_and_bound() -> None:
    """Half an offer would do, a whole one does not: prices prove nothing here."""
    problem = Problem.from_arrays(
        np.ones((2, 1)), np.full((2, 1), 2.0), limits=[Limit("spend", "cost", at_least=3.0, at_most=3.0)]
    )
    result = solve(problem)
    assert (result.status, result.proof) == (Status.INFEASIBLE, Proof.BRANCH_AND_BOUND)
    assert message(problem) == (
        "at_least of spend = 3 needs at least 4 of at_most of spend; at_most of spend is 3. "
        "Raise at_most of spend to 4 or lower at_least of spend to 2."
    )


def test_required_offers_that_break_the_rules() -> None:
    required = np.array([[True, True], [False, False]])
    problem = Problem.from_arrays(np.ones((2, 2)), np.ones((2, 2)), required=required)
    result = solve(problem)
    assert (result.status, result.proof) == (Status.INFEASIBLE, Proof.RULES)
    verify(problem, result)
    sound = Problem.from_arrays(np.ones((2, 2)), np.ones((2, 2)), required=required, max_per_user=2)
    with pytest.raises(VerificationError, match="keep the rules"):
        verify(sound, result)


@pytest.fixture(scope="module")
def poor_demo() -> Problem:
    """Return the demo campaign on a budget of 100."""
    demo = campaign()
    limits = [Limit("budget", "cost", at_most=100.0), *demo.limits]
    return Problem.from_offers(demo.offers, limits=limits, users=demo.users, face_value=demo.face_values)


@pytest.fixture(scope="module")
def poor_result(poor_demo: Problem) -> Result:
    """Return the outcome for the demo campaign on a budget of 100."""
    return solve(poor_demo)


@pytest.mark.slow
def test_the_demo_names_only_what_plays_a_part(poor_demo: Problem, poor_result: Result) -> None:
    assert asked_of(poor_result) == {"budget", "new users"}
    diagnosis = poor_result.diagnosis
    assert diagnosis is not None
    assert diagnosis.minimal
    assert diagnosis.complete
    assert all(conflict.repair is not None and conflict.within == 0.0 for conflict in diagnosis.conflicts)
    assert verify(poor_demo, poor_result).price_bound < 0


@pytest.mark.slow
def test_without_time_nothing_more_is_claimed_than_the_proof_says(poor_demo: Problem, poor_result: Result) -> None:
    """The limits that the proof prices are named; neither that they are fewest nor a repair is told."""
    folding = fold(poor_demo)
    piece = Piece(whole(poor_demo, folding.columns), folding, LocalExecutor(), 0.0, ())
    finding = diagnose(poor_demo, piece, np.asarray(poor_result.prices), known=True, deadline=0.0, seed=0)
    assert finding is not None
    assert {conflict.name for conflict in finding.diagnosis.conflicts} == {"budget", "new users"}
    assert not finding.diagnosis.minimal
    assert not finding.diagnosis.complete
    assert all(conflict.repair is None for conflict in finding.diagnosis.conflicts)
    assert finding.diagnosis.message == (
        "new users = 16,000 and budget = 100 cannot hold together. Fewer of these limits may conflict already."
    )


@pytest.mark.slow
def test_verify_refuses_a_forged_proof(poor_demo: Problem, poor_result: Result) -> None:
    """Of a feasible problem no prices prove the contrary, and a price must have a number to act on."""
    rich = poor_demo.with_bounds("budget", at_least=None, at_most=50_000.0)
    with pytest.raises(VerificationError, match="do not show"):
        verify(rich, poor_result)
    names, ray = tuple(poor_result.prices), np.asarray(poor_result.prices)
    for forged in (0.0 * ray, 0.5 * np.abs(ray), np.where(ray > 0, 1e-3 * ray, ray)):
        with pytest.raises(VerificationError, match="does not hold"):
            verify(poor_demo, dataclasses.replace(poor_result, prices=Prices(names, forged)))


def test_offers_that_are_all_alike_are_split_as_the_limits_need() -> None:
    """To limits that count, everyone here is the same: no prices tell users apart, and repairs are still exact."""
    made = market(30_000, 8, seed=3)
    problem = Problem.from_arrays(made.value, made.cost, min_quantities=[20_000, 17_000, *[None] * 6])
    assert message(problem) == (
        "min_quantity[0] = 20,000 leaves at most 10,000 for min_quantity[1]; min_quantity[1] is 17,000. "
        "Lower min_quantity[1] to 10,000 or lower min_quantity[0] to 13,000."
    )


@pytest.mark.slow
def test_a_repair_at_size_leads_to_a_plan(poor_demo: Problem, poor_result: Result) -> None:
    """With the least repair next to no plan is left, among a million offers; one of them is found."""
    assert poor_result.diagnosis is not None
    for conflict in poor_result.diagnosis.conflicts:
        assert conflict.repair is not None
        changed = repaired(poor_demo, conflict, conflict.repair)
        result = solve(changed, time_limit=30.0)
        assert result.status in (Status.OPTIMAL, Status.FEASIBLE)
        verify(changed, result)
