"""Simpler strategies: each keeps the limits and the rules, and means what its name says."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from allocator import Limit, Problem, solve
from allocator.demo import market
from allocator.kernels.sums import exact_sum
from allocator.result import Status
from allocator.solvers.strategies import STRATEGIES, Blanket, Greedy, StrategyResult, Targeted, Tiered, compare
from tests.fuzzing import tried_on


def random_problem(seed: int) -> Problem:
    """Return a small problem of any kind: grid or list, caps, groups, fixed offers, limits of every sort."""
    rng = np.random.default_rng(seed)
    n, k = int(rng.integers(1, 12)), int(rng.integers(1, 6))
    steps = 10.0 if rng.random() < 0.5 else 1e-3 + rng.random()  # tenths: sums that land on both sides of a limit
    cost = rng.integers(0, 30, (n, k)) / steps
    value = rng.integers(-10, 40, (n, k)) / 7.0
    names = [f"c{j}" for j in range(k)]
    segment = rng.integers(0, 3, n)
    spend = float(cost.sum())
    limits = []
    for j in range(int(rng.integers(0, 6))):
        measure: str | dict[str, float] = ["cost", "value", "count", "units", "liability"][int(rng.integers(0, 5))]
        if rng.random() < 0.3:
            measure = {"value": 1.0, "cost": float(rng.normal()), "units": float(rng.normal())}
        low, high = sorted(rng.normal(0.2, 0.3, 2) * (n if measure == "count" else spend))
        limits.append(
            Limit(
                f"limit {j}",
                measure,
                at_least=float(low) if rng.random() < 0.4 else None,
                at_most=float(high) if rng.random() < 0.8 else float(high) + 1.0,
                coupons=None if rng.random() < 0.6 else [names[int(rng.integers(0, k))]],
                users=None if rng.random() < 0.6 else {"segment": int(segment[rng.integers(0, n)])},
            )
        )
    caps = int(rng.integers(1, 4)) if rng.random() < 0.6 else rng.integers(0, 4, n)
    groups = [names[:2]] if k > 2 and rng.random() < 0.5 else []
    units = rng.normal(size=(n, k))
    fixed = rng.random((2, n, k)) < 0.05
    if rng.random() < 0.5:
        value[rng.random((n, k)) < 0.2] = np.nan
        fixed[0] &= ~np.isnan(value)
        if np.isnan(value).all():
            value[0, 0] = 1.0
        return Problem.from_arrays(
            value,
            cost,
            budget=0.3 * spend + 0.1,
            limits=limits,
            max_per_user=caps,
            exclusive=groups,
            required=fixed[0],
            forbidden=fixed[1] & ~fixed[0],
            columns={"units": units},
            coupons=names,
            users={"segment": segment},
        )
    table = pd.DataFrame(
        {
            "user_id": np.repeat(np.arange(n), k),
            "coupon": names * n,
            "value": value.reshape(-1),
            "cost": cost.reshape(-1),
            "units": units.reshape(-1),
            "fixed": fixed[0].reshape(-1),
        }
    )
    table = table[(rng.random(n * k) < 0.8) | (np.arange(n * k) % k == 0)].sample(frac=1.0, random_state=seed % 2**31)
    users = pd.DataFrame({"user_id": np.arange(n), "segment": segment})
    limits.append(Limit("budget", "cost", at_most=0.3 * spend + 0.1))
    return Problem.from_offers(
        table, limits=limits, users=users, max_per_user=caps, exclusive=groups, required="fixed", coupons=names
    )


def check(problem: Problem, result: StrategyResult) -> None:
    """Assert that rules and at-most limits hold, that failed at-least limits are named, and the sums."""
    offers, chosen = problem.offers, result.offer
    assert np.unique(chosen).size == chosen.size
    assert not np.isnan(offers.value[chosen]).any()
    extra = np.setdiff1d(chosen, problem.required)
    assert np.isin(problem.required, chosen).all()
    assert not np.isin(extra, problem.forbidden).any()
    user, coupon = offers.users_of(chosen), offers.coupons_of(chosen)
    caps = np.broadcast_to(problem.max_per_user, problem.n_users)
    held, fixed = (np.bincount(offers.users_of(some), minlength=problem.n_users) for some in (chosen, problem.required))
    assert (held <= np.maximum(caps, fixed)).all()
    for group in np.unique(problem.exclusive[problem.exclusive >= 0]):
        mine = problem.exclusive[coupon] == group
        required = np.bincount(
            offers.users_of(problem.required)[problem.exclusive[offers.coupons_of(problem.required)] == group],
            minlength=problem.n_users,
        )
        assert (np.bincount(user[mine], minlength=problem.n_users) <= np.maximum(1, required)).all()
    for r, limit in enumerate(problem.limits):
        used = math.fsum(problem.measure(r, chosen))
        fixed_use = math.fsum(problem.measure(r, problem.required))
        failed = (limit.at_most is not None and used > limit.at_most) or (
            limit.at_least is not None and used < limit.at_least
        )
        assert (limit.name in result.unmet) == failed, limit
        if limit.at_most is not None and fixed_use <= limit.at_most - 1e-9 and limit.at_most >= 0:
            assert used <= limit.at_most, limit
    assert result.objective == math.fsum(offers.value[chosen])
    assert result.spend == math.fsum(offers.cost[chosen])
    assert result.issued == len(result.plan)


@tried_on(200)
@given(st.integers(0, 2**32 - 1))
def test_every_strategy_keeps_rules_and_limits(seed: int) -> None:
    problem = random_problem(seed)
    for result in compare(problem):
        check(problem, result)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
@example(17294)  # a required offer alone is above an at-most limit
def test_no_strategy_beats_the_bound(seed: int) -> None:
    problem = random_problem(seed)
    result = solve(problem, time_limit=5.0)
    if result.status in (Status.OPTIMAL, Status.FEASIBLE):
        for other in compare(problem):
            if other.meets_limits:
                assert other.objective <= result.bound + 1e-9 * abs(result.bound)


def test_at_a_hundred_thousand_users() -> None:
    """At a size where rankings are cut into blocks, the limits hold and the budget is used to a cent or so."""
    made = market(100_000, 8, seed=3)
    problem = Problem.from_arrays(made.value, made.cost, budget=made.budget / 4, quantities=made.quantities)
    for result in compare(problem):
        check(problem, result)
        assert result.spend > 0.999 * made.budget / 4


def test_the_number_of_threads_changes_nothing() -> None:
    made = market(20_000, 8, seed=3)
    problem = Problem.from_arrays(made.value, made.cost, budget=made.budget)
    for one, two in zip(compare(problem, threads=1), compare(problem, threads=2), strict=True):
        assert np.array_equal(one.offer, two.offer)


def issued(problem: Problem, strategy: object) -> list[tuple[int, int]]:
    """Return the (user, coupon) pairs that a strategy issues."""
    (result,) = compare(problem, [strategy])  # type: ignore[list-item]
    return list(zip(result.plan.user.tolist(), result.plan.coupon.tolist(), strict=True))


def test_blanket_gives_everyone_the_cheapest_until_the_budget_ends() -> None:
    """It looks at cost alone, goes by the order of users, and gives no one a second before all have a first."""
    value, cost = np.array([[9.0, 1.0]] * 4), np.array([[3.0, 1.0]] * 4)
    assert issued(Problem.from_arrays(value, cost, budget=3.0), Blanket()) == [(0, 1), (1, 1), (2, 1)]
    assert issued(Problem.from_arrays(value, cost, budget=8.0, max_per_user=2), Blanket()) == [
        (0, 0),
        (0, 1),
        (1, 1),
        (2, 1),
        (3, 1),
    ]
    # Where the cheapest has run out, the next cheapest is what is left to give.
    assert issued(Problem.from_arrays(value, cost, budget=5.0, quantities=[None, 2]), Blanket()) == [
        (0, 1),
        (1, 1),
        (2, 0),
    ]


def test_targeted_takes_the_highest_value_and_greedy_the_highest_ratio() -> None:
    value, cost = np.array([[10.0, 4.0], [9.0, 4.0], [-1.0, -2.0]]), np.array([[8.0, 1.0], [8.0, 1.0], [0.1, 0.1]])
    problem = Problem.from_arrays(value, cost, budget=9.0)
    assert issued(problem, Targeted()) == [(0, 0), (1, 1)]
    assert issued(problem, Greedy()) == [(0, 1), (1, 1)]


def test_tiered_gives_the_best_users_the_richest_coupon() -> None:
    """Two coupons make two tiers of the users who are worth something."""
    value = np.array([[1.0, 2.0], [5.0, 6.0], [3.0, 4.0], [7.0, 8.0], [-1.0, -1.0]])
    cost = np.array([[1.0, 2.0]] * 5)
    assert issued(Problem.from_arrays(value, cost, budget=100.0), Tiered()) == [(0, 0), (1, 1), (2, 0), (3, 1)]


def test_at_least_limits_are_served_first() -> None:
    value, cost = np.array([[5.0], [4.0], [1.0]]), np.array([[1.0], [1.0], [1.0]])
    limit = Limit("last", "count", at_least=1.0, users=np.array([False, False, True]))
    problem = Problem.from_arrays(value, cost, budget=2.0, limits=[limit])
    for strategy in STRATEGIES:
        (result,) = compare(problem, [strategy])
        assert result.meets_limits
        assert 2 in result.plan.user


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: strategy.name)
def test_nothing_worth_issuing(strategy: object) -> None:
    """Where every offer loses money, only the blanket issues any."""
    problem = Problem.from_arrays(np.full((3, 2), -1.0), np.ones((3, 2)), budget=10.0)
    assert bool(issued(problem, strategy)) == (strategy == Blanket())


@given(st.lists(st.floats(-1e12, 1e12, allow_nan=False), max_size=60))
def test_exact_sum_is_that_of_fsum(numbers: list[float]) -> None:
    assert exact_sum(np.array(numbers, dtype=np.float64)) == math.fsum(numbers)
