"""The independent check: true results pass, every kind of forged one is caught."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator import Limit, Prices, Problem, Proof, Result, Status, VerificationError, solve, verify
from allocator.plan import Plan
from allocator.verification import bounding, exact, recompute_bound
from tests.fuzzing import tried_on
from tests.test_strategies import random_problem


def campaign() -> Problem:
    """Return 60 users, 3 coupons, with every kind of rule."""
    rng = np.random.default_rng(5)
    cost = rng.integers(10, 300, (60, 3)) / 100
    value = cost * rng.normal(1.5, 1.0, (60, 3))
    value[7] = np.nan
    required, forbidden = np.zeros((2, 60, 3), dtype=bool)
    required[3, 1] = True
    forbidden[4] = True
    return Problem.from_arrays(
        value,
        cost,
        budget=40.0,
        quantities=[12, None, 9],
        limits=[
            Limit("north", "count", at_least=8.0, users={"region": "north"}),
            Limit("return", {"value": 1.0, "cost": -0.5}, at_least=0.0),
        ],
        max_per_user=2,
        exclusive=[[0, 1]],
        required=required,
        forbidden=forbidden,
        users={"region": np.array(["north", "south"])[rng.integers(0, 2, 60)]},
    )


PROBLEM = campaign()
TRUE = solve(PROBLEM, time_limit=600.0)  # the first solve of a machine compiles, and that counts
EMPTY = Plan.of(PROBLEM, np.empty(0, np.int64))


def planned(offers: np.ndarray, **more: Any) -> Result:
    """Return the true result with another plan, whose sums are told rightly."""
    plan = Plan.of(PROBLEM, offers)
    limits = tuple(
        dataclasses.replace(use, used=math.fsum(PROBLEM.measure(r, plan.offer))) for r, use in enumerate(TRUE.limits)
    )
    told = {"objective": math.fsum(plan.value), "spend": math.fsum(plan.cost), "limits": limits, "plan": plan}
    return dataclasses.replace(TRUE, **{**told, **more})


def priced(**changes: float) -> Result:
    """Return the true result with other prices, told the same everywhere."""
    prices = {**dict(TRUE.prices), **changes}
    limits = tuple(dataclasses.replace(use, price=prices[use.name]) for use in TRUE.limits)
    return dataclasses.replace(TRUE, prices=Prices(tuple(prices), np.array(list(prices.values()))), limits=limits)


def use(of: str, /, **changes: Any) -> Result:
    """Return the true result with another line about a limit."""
    limits = tuple(dataclasses.replace(line, **changes) if line.name == of else line for line in TRUE.limits)
    return dataclasses.replace(TRUE, limits=limits)


def without(status: Status, proof: Proof, **more: Any) -> Result:
    """Return a result without a plan."""
    told = {"objective": math.nan, "bound": math.nan, "price_bound": math.nan, "plan": EMPTY, **more}
    return dataclasses.replace(TRUE, status=status, proof=proof, **told)


def free(user: int, coupon: int) -> np.ndarray:
    """Return the true plan's offers and one more."""
    return np.append(TRUE.plan.offer, user * 3 + coupon)


def true(**changes: Any) -> Result:
    return dataclasses.replace(TRUE, **changes)


IDLE = [user for user in range(60) if user not in TRUE.plan.user and user not in (4, 7)]
BUSY = int(TRUE.plan.user[np.isin(TRUE.plan.coupon, (0, 1))][0])
OTHER = 1 - int(TRUE.plan.coupon[(TRUE.plan.user == BUSY) & (TRUE.plan.coupon < 2)][0])
DEAR = np.argsort(-PROBLEM.offers.cost)

FORGED: dict[str, tuple[Callable[[], Result], str]] = {
    "an offer twice": (lambda: planned(np.append(TRUE.plan.offer, TRUE.plan.offer[0])), "twice"),
    "an offer that does not exist": (
        lambda: true(plan=dataclasses.replace(TRUE.plan, offer=np.append(TRUE.plan.offer[:-1], 180))),
        "do not exist",
    ),
    "a negative index": (
        lambda: true(plan=dataclasses.replace(TRUE.plan, offer=np.append(-1, TRUE.plan.offer[1:]))),
        "do not exist",
    ),
    "indices that are none": (
        lambda: true(plan=dataclasses.replace(TRUE.plan, offer=TRUE.plan.offer + 0.5)),
        "no indices",
    ),
    "an ineligible pair": (lambda: planned(free(7, 0)), "not eligible"),
    "users of other offers": (lambda: true(plan=dataclasses.replace(TRUE.plan, user=TRUE.plan.user[::-1])), "users or"),
    "coupons of other offers": (
        lambda: true(plan=dataclasses.replace(TRUE.plan, coupon=(TRUE.plan.coupon + 1) % 3)),
        "users or coupons",
    ),
    "too many for a user": (
        lambda: planned(np.union1d(TRUE.plan.offer, np.arange(3) + IDLE[0] * 3)),
        "more than max_per_user",
    ),
    "two of an exclusive group": (lambda: planned(free(BUSY, OTHER)), "exclusive group"),
    "a required offer left out": (lambda: planned(np.setdiff1d(TRUE.plan.offer, [10])), "required offer"),
    "a forbidden offer": (lambda: planned(free(4, 2)), "forbidden"),
    "over budget": (lambda: planned(np.union1d(TRUE.plan.offer, DEAR[:20])), "'budget': .* exceeds"),
    "over a quantity": (
        lambda: planned(np.union1d(TRUE.plan.offer, np.array(IDLE[:20]) * 3 + 2)),
        r"'quantity\[2\]': .* exceeds",
    ),
    "under an at-least limit": (lambda: planned(np.array([10])), "'north': .* is below"),
    "another objective": (lambda: true(objective=TRUE.objective + 1e-9), "objective is given"),
    "no objective": (lambda: true(objective=math.nan), "objective is given"),
    "another spend": (lambda: true(spend=TRUE.spend - 1e-9), "spend is given"),
    "another use of a limit": (lambda: use("budget", used=1.0), "the result says"),
    "another number of a limit": (lambda: use("budget", at_most=50.0), "other terms"),
    "another name of a limit": (lambda: use("budget", name="money"), "other terms"),
    "another price of a limit": (lambda: use("budget", price=0.0), "is told as"),
    "a limit left out": (lambda: true(limits=TRUE.limits[1:]), "the use of"),
    "a bound below the plan": (lambda: true(bound=TRUE.objective - 1.0, price_bound=TRUE.price_bound), "own value"),
    "a bound below the prices'": (lambda: true(proof=Proof.PRICES, bound=TRUE.objective), "prove only"),
    "a price bound below the prices'": (lambda: true(price_bound=TRUE.price_bound - 1e-6), "price_bound is given"),
    "no bound": (lambda: true(bound=math.nan), "bound is given"),
    "no price bound": (lambda: true(price_bound=math.nan), "price_bound is given"),
    "an infinite bound": (lambda: true(bound=math.inf, status=Status.FEASIBLE), "bound is given"),
    "optimal with a gap": (
        lambda: true(bound=TRUE.objective + 1.0, price_bound=TRUE.price_bound + 1.0),
        "is optimal, but the gap",
    ),
    "a worse plan called optimal": (
        lambda: planned(np.setdiff1d(TRUE.plan.offer, [TRUE.plan.offer[PROBLEM.offers.value[TRUE.plan.offer] > 1][0]])),
        "does not hold",
    ),
    "prices of zero": (lambda: priced(budget=0.0), "price_bound is given"),
    "a price with the wrong sign": (lambda: priced(north=0.5), "no number to act on"),
    "a negative price of a budget": (lambda: priced(budget=-0.5), "no number to act on"),
    "a price that is no number": (lambda: priced(budget=math.nan), "no number to act on"),
    "prices under other names": (
        lambda: true(prices=Prices(tuple(reversed(list(TRUE.prices))), np.asarray(TRUE.prices))),
        "not named",
    ),
    "a price too few": (
        lambda: true(prices=Prices(tuple(TRUE.prices)[1:], np.asarray(TRUE.prices)[1:])),
        "prices for",
    ),
    "a proof of infeasibility": (lambda: true(proof=Proof.FARKAS), "bounds no plan"),
    "no proof": (lambda: true(proof=Proof.NONE), "bounds no plan"),
    "infeasible with a plan": (lambda: true(status=Status.INFEASIBLE, proof=Proof.FARKAS), "offers are issued"),
    "infeasible with an objective": (
        lambda: without(Status.INFEASIBLE, Proof.BRANCH_AND_BOUND, objective=1.0),
        "the objective",
    ),
    "infeasible by these prices": (lambda: without(Status.INFEASIBLE, Proof.FARKAS), "do not show"),
    "infeasible by no prices": (
        lambda: without(
            Status.INFEASIBLE, Proof.FARKAS, prices=Prices(tuple(TRUE.prices), 0 * np.asarray(TRUE.prices))
        ),
        "do not show",
    ),
    "infeasible by wrong signs": (
        lambda: without(Status.INFEASIBLE, Proof.FARKAS, prices=Prices(tuple(TRUE.prices), -np.ones(len(TRUE.prices)))),
        "no number to act on",
    ),
    "infeasible by the rules": (lambda: without(Status.INFEASIBLE, Proof.RULES), "keep the rules"),
    "infeasible without a proof": (lambda: without(Status.INFEASIBLE, Proof.NONE), "shows no conflict"),
    "infeasible by a bound": (lambda: without(Status.INFEASIBLE, Proof.PRICES), "shows no conflict"),
    "no plan, but a plan": (lambda: true(status=Status.NO_PLAN), "offers are issued"),
}


def test_the_truth_passes() -> None:
    certificate = verify(PROBLEM, TRUE)
    assert certificate.objective == TRUE.objective
    assert TRUE.status is Status.OPTIMAL
    assert certificate.price_bound == pytest.approx(TRUE.price_bound, rel=1e-12)


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_result_is_refused(name: str) -> None:
    forged, words = FORGED[name]
    with pytest.raises(VerificationError, match=words):
        verify(PROBLEM, forged())


def test_a_plan_for_another_problem_is_refused() -> None:
    """With a cent less of budget than the plan needs, the same result does not hold."""
    spend = next(use.used for use in TRUE.limits if use.name == "budget")
    with pytest.raises(VerificationError, match="budget"):
        verify(PROBLEM.with_bounds("budget", at_least=None, at_most=spend - 0.01), TRUE)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_true_results_of_any_problem_pass_and_broken_plans_do_not(seed: int) -> None:
    """A solved problem verifies; with offers swapped at random and sums told rightly, only an equally good plan does."""
    problem = random_problem(seed)
    result = solve(problem, time_limit=5.0)
    verify(problem, result)
    if result.status is not Status.OPTIMAL or not len(result.plan):
        return
    rng = np.random.default_rng(seed)
    flipped = rng.integers(0, problem.offers.n_offers, 2)
    plan = Plan.of(problem, np.setxor1d(result.plan.offer, flipped))
    if not np.isfinite(plan.value).all() or np.array_equal(plan.offer, result.plan.offer):
        return
    limits = tuple(
        dataclasses.replace(use, used=math.fsum(problem.measure(r, plan.offer))) for r, use in enumerate(result.limits)
    )
    forged = dataclasses.replace(
        result, plan=plan, objective=math.fsum(plan.value), spend=math.fsum(plan.cost), limits=limits
    )
    try:
        verify(problem, forged)
    except VerificationError:
        return
    assert result.bound - forged.objective < 0.011


def slow_dual(problem: Problem, prices: np.ndarray) -> Fraction:
    """Return the dual function exactly, by trying every choice of every user."""
    total = Fraction(0)
    for y, limit in zip(prices.tolist(), problem.limits, strict=True):
        if y:
            total += Fraction(y) * Fraction(limit.at_most if y > 0 else limit.at_least)
    offers = problem.offers
    reduced = {}
    for e in range(offers.n_offers):
        if not np.isnan(offers.value[e]):
            here = np.array([e])
            reduced[e] = Fraction(float(offers.value[e])) - sum(
                Fraction(y) * Fraction(float(problem.measure(r, here)[0])) for r, y in enumerate(prices.tolist()) if y
            )
    owner, coupon = (of(np.arange(offers.n_offers)).tolist() for of in (offers.users_of, offers.coupons_of))
    for user in range(problem.n_users):
        mine = [e for e in reduced if owner[e] == user and e not in problem.forbidden]
        must = {e for e in mine if e in problem.required}
        cap = int(np.broadcast_to(problem.max_per_user, problem.n_users)[user])
        best = None
        for size in range(min(cap, len(mine)) + 1):
            for chosen in itertools.combinations(mine, size):
                groups = [problem.exclusive[coupon[e]] for e in chosen if problem.exclusive[coupon[e]] >= 0]
                if must <= set(chosen) and len(set(groups)) == len(groups):
                    earned = sum((reduced[e] for e in chosen), Fraction(0))
                    best = earned if best is None else max(best, earned)
        assert best is not None
        total += best
    return total


@tried_on(150)
@given(st.integers(0, 2**32 - 1))
def test_the_bound_is_the_dual_rounded_up_by_a_hair(seed: int) -> None:
    """Against every choice tried in exact arithmetic, whatever the problem, the prices and the chunks."""
    problem, rng = random_problem(seed), np.random.default_rng(seed)
    prices = np.abs(rng.normal(size=len(problem.limits))) * (rng.random(len(problem.limits)) < 0.7)
    for r, limit in enumerate(problem.limits):
        if limit.at_most is None or (limit.at_least is not None and rng.random() < 0.5):
            prices[r] = -prices[r]
    owner = problem.offers.users_of(problem.required)
    groups = list(zip(owner.tolist(), problem.exclusive[problem.offers.coupons_of(problem.required)], strict=True))
    held = [pair for pair in groups if pair[1] >= 0]
    if (np.bincount(owner, minlength=problem.n_users) > problem.max_per_user).any() or len(set(held)) < len(held):
        return  # no choice keeps the rules
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bounding, "CHUNK", int(rng.integers(1, 40)))
        bound = recompute_bound(problem, prices)
    true_bound = slow_dual(problem, prices)
    assert bound >= true_bound
    size = sum(
        abs(y) * abs(x or 0)
        for y, limit in zip(prices, problem.limits, strict=True)
        for x in (limit.at_most, limit.at_least)
    )
    size += float(np.nansum(np.abs(problem.offers.value))) + 10 * float(problem.offers.cost.sum())
    assert float(bound - true_bound) <= 1e-13 * (size + 10.0) * (1 + np.abs(prices).sum())


@tried_on(200)
@given(st.lists(st.floats(-1e12, 1e12), max_size=80), st.integers(1, 30))
def test_sums_are_those_of_fsum(numbers: list[float], piece: int) -> None:
    """Also where terms cancel and sizes differ by hundreds of powers of two."""
    array = np.array(numbers, dtype=np.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact, "PIECE", piece)
        assert exact.exact_sum(array) == math.fsum(numbers)
        assert exact.exact_sum(np.append(array, -array)) == 0.0


def test_sums_of_many_runs() -> None:
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=1000) * 10.0 ** rng.integers(-20, 12, 1000)
    start = np.unique(np.append(0, rng.integers(0, 1000, 50)))
    parts = exact.exact_parts(numbers, start)
    for run, part in zip(np.split(numbers, start[1:]), parts.T, strict=True):
        assert math.fsum(part) == math.fsum(run)
