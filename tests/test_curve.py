"""What a frontier rests on: tubes of prices, curvature from ties, sums carried along."""

import math

import numpy as np
import pytest

from allocator import Limit, Problem, frontier, solve
from allocator.demo import market
from allocator.kernels.sums import exact_parts_at, exact_sum
from allocator.solvers.boxes import Box
from allocator.solvers.piece import Piece
from allocator.solvers.tally import Tally
from allocator.solvers.tubes import Tube
from allocator.solving import whole_piece


def chosen(piece: Piece, prices: np.ndarray) -> set[int]:
    """Return the problem's offers that users choose at these prices, the fixed ones too."""
    _, _, choices = piece.exact(prices)
    return set(np.concatenate([*piece.picked, piece.shard.originals(choices.picked)]).tolist())


@pytest.mark.parametrize(
    "rules", [{}, {"max_per_user": 2}, {"limits": [Limit("half", at_most=90.0, users=np.arange(500) < 250)]}]
)
def test_users_set_aside_in_a_tube_choose_the_same_all_along_it(rules: dict[str, object]) -> None:
    made, rng = market(500, 5, seed=1), np.random.default_rng(0)
    problem = Problem.from_arrays(made.value, made.cost, budget=made.budget, quantities=made.quantities, **rules)  # type: ignore[arg-type]
    whole = whole_piece(problem, 1)
    signs = Box.of_signs(whole.folding)
    prices = [rng.uniform(0.0, 2.0, len(problem.limits)) for _ in range(2)]
    ends = [signs.within(each, np.full((2, each.size), 0.05)) for each in prices]
    tube = Tube(*ends)
    piece = tube.open_piece(whole)
    assert 0 < piece.shard.n_users < 500
    for _ in range(50):
        share = rng.random()
        within = [rng.uniform(end.low, end.high) for end in ends]
        inside = (1 - share) * within[0] + share * within[1]
        across = tube.at(inside)
        assert across is not None
        assert across.holds(inside)
        assert chosen(piece, inside) == chosen(whole, inside)
        assert piece.exact(inside)[0] == pytest.approx(whole.exact(inside)[0], rel=1e-12)
    assert tube.at(prices[0] + 1.0) is None


def test_the_curvature_is_how_fast_usage_falls_as_a_price_rises() -> None:
    made = market(200_000, 4, seed=0)
    problem = Problem.from_arrays(made.value, made.cost, budget=made.budget)
    piece, prices = whole_piece(problem, None), np.array([1.5])
    _, curvature, told = piece.bend(prices, np.array([0.05]), 20.0)
    step = 0.02
    fall = piece.exact(prices - step)[1] - piece.exact(prices + step)[1]
    assert told.all()
    assert curvature[0, 0] == pytest.approx(fall[0] / (2 * step), rel=0.1)


@pytest.mark.parametrize("spread", [0, 3, 40, 280])
def test_exact_sums_are_those_of_fsum_however_far_apart_the_numbers_are(spread: int) -> None:
    rng = np.random.default_rng(spread)
    numbers = rng.normal(size=7_000) * 10.0 ** rng.integers(-spread, spread + 1, 7_000)
    index = np.sort(rng.choice(7_000, 5_000, replace=False))
    assert exact_sum(numbers) == math.fsum(numbers)
    assert math.fsum(exact_parts_at(np.empty(0), numbers, index)) == math.fsum(numbers[index])


def test_a_tally_carries_sums_of_any_limit_without_rounding() -> None:
    made = market(300, 4, seed=2)
    some = np.arange(300) % 3 == 0
    problem = Problem.from_arrays(
        made.value,
        made.cost,
        budget=made.budget,
        quantities=[20, None, 30, None],
        limits=[
            Limit("return", measure={"value": 1.0, "cost": -0.5}, at_least=0.0),
            Limit("some", at_most=9.0, users=some),
        ],
    )
    offers = np.flatnonzero(~np.isnan(problem.offers.value))[::7]
    carried = Tally.of(problem, offers[:40]).plus(offers[40:])
    assert carried.used == tuple(math.fsum(problem.measure(r, offers)) for r in range(len(problem.limits)))
    assert carried.spend == math.fsum(problem.offers.cost[offers])
    assert carried.issued == offers.size


def test_a_frontier_where_segments_leave_nobody_undecided() -> None:
    value, cost = np.array([[5.0], [4.0], [1.0]]), np.array([[1.0], [1.0], [1.0]])
    some = np.array([True, True, False])
    problem = Problem.from_arrays(value, cost, budget=9.0, limits=[Limit("some", "count", at_most=1.0, users=some)])
    rows = frontier(problem, [1.0, 1.5, 4.0, 8.0, 9.0]).rows
    assert [row.objective for row in rows] == [5.0, 5.0, 6.0, 6.0, 6.0]
    assert all(row.spend <= row.budget and row.bound >= row.objective for row in rows)


def test_what_a_required_offer_costs_is_taken_off_every_budget() -> None:
    value, cost = np.array([[5.0], [4.0], [3.0]]), np.array([[1.0], [1.0], [2.0]])
    required = np.array([[False], [False], [True]])
    problem = Problem.from_arrays(value, cost, budget=9.0, required=required)
    rows = frontier(problem, [2.0, 3.0, 4.0]).rows
    assert [row.objective for row in rows] == [3.0, 8.0, 12.0]
    assert [row.bound for row in rows] == pytest.approx([3.0, 8.0, 12.0], abs=0.01)


def test_rows_of_a_large_frontier_are_those_of_solves() -> None:
    made = market(30_000, 6, seed=4)
    problem = Problem.from_arrays(made.value, made.cost, budget=made.budget, quantities=made.quantities)
    budgets = np.linspace(0.5, 1.5, 9) * made.budget
    rows = frontier(problem, budgets.tolist()).rows
    for row in rows:
        assert 0.0 <= row.bound - row.objective <= max(0.01, 1e-6 * row.bound)
        assert row.spend <= row.budget
    for row in rows[1::3]:
        alone = solve(problem.with_bounds("budget", at_least=None, at_most=row.budget))
        assert row.bound >= alone.objective
        assert alone.bound >= row.objective


def test_taking_users_out_keeps_where_their_offers_came_from() -> None:
    made = market(50, 3, seed=5)
    for problem in (
        Problem.from_arrays(made.value, made.cost, budget=made.budget),
        Problem.from_arrays(made.value, made.cost, budget=made.budget, max_per_user=2),
    ):
        shard = whole_piece(problem, 1).shard.take(np.array([3, 7, 20])).take(np.array([0, 2]))
        offers = np.arange(shard.n_offers)
        np.testing.assert_array_equal(problem.offers.cost[shard.originals(offers)], shard.cost[offers])
