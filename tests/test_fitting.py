"""Plans that use up several overlapping limits at once, by sets of changes in many kinds of users."""

import itertools

import numpy as np
import pytest

from allocator import Limit, Problem, solve, verify
from allocator.demo import market
from allocator.kernels.fitting import MOST_STATES, cheapest_of_keys, list_sets, look_up, sum_sets, together
from allocator.kernels.sums import exact_sum
from allocator.solvers import fitting
from allocator.solvers.exchange import exchanged
from allocator.solving import whole_piece


def overlapping(users: int, seed: int = 0, count: int = 8) -> Problem:
    """A market of sixteen cells, and spend limits on random unions of them."""
    made, rng = market(users, 8, seed=seed), np.random.default_rng(seed)
    cell = made.region * 4 + made.segment
    limits = []
    for j in range(count):
        among = np.isin(cell, rng.choice(16, 6, replace=False))
        at_most = round(0.9 * made.budget * float(among.mean()), 2)
        limits.append(Limit(f"segment {j}", at_most=at_most, users=among))
    return Problem.from_arrays(made.value, made.cost, budget=made.budget, quantities=made.quantities, limits=limits)


def test_sets_are_all_that_lose_no_more_than_allowed() -> None:
    rng = np.random.default_rng(0)
    user, loss, use = rng.integers(0, 6, 10), np.sort(rng.random(10)), rng.normal(size=10)
    before, last, total, fits = list_sets(user, loss, 1.2, 5_000)
    found = []
    for item in range(before.size):
        members, at = [], item
        while at > 0:
            members.append(int(last[at]))
            at = int(before[at])
        found.append(tuple(sorted(members)))
    wanted = [
        some
        for n in range(11)
        for some in itertools.combinations(range(10), n)
        if loss[list(some)].sum() <= 1.2 and len({int(user[c]) for c in some}) == n
    ]
    assert fits
    assert sorted(found) == sorted(wanted)
    assert total == pytest.approx([loss[list(some)].sum() for some in found])
    assert sum_sets(before, last, use) == pytest.approx([use[list(some)].sum() for some in found])


def test_of_too_many_sets_some_are_listed() -> None:
    before, last, total, fits = list_sets(np.arange(30), np.zeros(30), 0.0, 1_000)
    assert not fits
    assert before.size == last.size == total.size == 1_000
    assert (before < np.arange(1_000)).all()


def test_sets_looked_up_are_those_next_below_the_target() -> None:
    rng = np.random.default_rng(1)
    use, loss, key = np.sort(rng.random(200)), rng.random(200) * 0.1, rng.integers(0, 4, 200)
    keys, costs, items = np.zeros(200, np.int64), np.zeros(200), np.zeros(200, np.int64)
    n, least = look_up(use, loss, key, 0.5, 2.0, 0.2, keys, costs, items)
    cost = np.where(use <= 0.5, loss + 2.0 * (0.5 - use), np.inf)
    assert sorted(items[:n].tolist()) == np.flatnonzero(cost < 0.2).tolist()
    assert least == cost.min()
    m = cheapest_of_keys(keys, costs, items, n, 0.15)
    assert keys[:m].tolist() == sorted(set(key[cost < 0.15].tolist()))
    assert costs[:m] == pytest.approx([cost[key == k].min() for k in keys[:m]])


@pytest.mark.parametrize("seed", range(5))
def test_entries_that_go_together_cost_the_least(seed: int) -> None:
    rng = np.random.default_rng(seed)
    keys, costs = np.sort(rng.integers(-3, 4, (4, 6)), axis=1), rng.random((4, 6))
    keys += np.arange(6) * 7  # no key twice in a row
    counts, chosen = np.array([6, 5, 6, 4]), np.zeros(4, np.int64)
    least = np.array([costs[j, :n].min() for j, n in enumerate(counts)])
    ways = itertools.product(*(range(n) for n in counts))
    totals: dict[int, float] = {}
    for way in ways:
        key = int(sum(keys[j, e] for j, e in enumerate(way)))
        totals[key] = min(totals.get(key, np.inf), float(sum(costs[j, e] for j, e in enumerate(way))))
    scratch = [np.zeros((4, MOST_STATES), np.int64) for _ in range(2)]
    for wanted, total in totals.items():
        cost, _ = together(keys, costs, counts, least, wanted, 10.0, *scratch, chosen)
        assert cost == pytest.approx(total)
        assert sum(keys[j, e] for j, e in enumerate(chosen)) == wanted
    assert together(keys, costs, counts, least, 10_000, 10.0, *scratch, chosen)[0] == 10.0


def test_fits_come_closer_to_the_bound_than_exchanges_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = overlapping(60_000)
    result = solve(problem, time_limit=2.0)
    verify(problem, result)
    piece, prices, gaps = whole_piece(problem, None), np.asarray(result.prices), []
    for work in (0, fitting.WORK):
        monkeypatch.setattr(fitting, "WORK", work)
        offers = exchanged(piece, prices, 1.0, 0.009, 0, 1.0, None, np.inf)
        assert offers is not None
        gaps.append(result.price_bound - exact_sum(problem.column("value", offers)))
    assert gaps[1] < 0.7 * gaps[0]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_twenty_overlapping_limits_are_used_up_to_the_cent(seed: int) -> None:
    made = market(1_000_000, 8, seed=seed)
    plain = Problem.from_arrays(made.value, made.cost, budget=made.budget, quantities=made.quantities)
    plan = solve(plain).plan
    cell, rng = made.region * 4 + made.segment, np.random.default_rng(seed)
    limits = []
    for j in range(15):
        among = np.isin(cell, rng.choice(16, rng.integers(3, 9), replace=False))
        spent = float(plan.cost[among[plan.user]].sum())
        limits.append(Limit(f"segment {j}", at_most=round(spent * rng.uniform(0.93, 1.05), 2), users=among))
    problem = Problem.from_arrays(made.value, made.cost, budget=made.budget, quantities=made.quantities, limits=limits)
    result = solve(problem)
    verify(problem, result)
    assert len(problem.limits) == 20
    assert result.gap < 0.01
