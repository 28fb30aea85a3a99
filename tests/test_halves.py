"""Exchanges among dozens of users at once: combinations of two halves of them."""

import itertools

import numpy as np
import pytest

from allocator.kernels.halves import best_pair, exchange_halves, list_half, new_half, number_of, numbered, put

WIDTHS = np.array([3, 2, 4, 3, 2, 3])
START = np.concatenate([[0], np.cumsum(WIDTHS)])


def states(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return loss, value and use of random states under prices of 2 and 3 for two limits."""
    rng = np.random.default_rng(seed)
    use = rng.integers(0, 6, (START[-1], 2)).astype(np.float64)
    return rng.random(START[-1]) * 4, use @ [2.0, 3.0], use


def test_a_half_lists_all_combinations_that_lose_no_more_than_allowed() -> None:
    loss, priced, use = states(0)
    users, half = np.array([4, 0, 2]), new_half(100, 2)
    n = list_half(users, START, loss, priced, use, 7.0, False, half)
    found = {}
    for t in range(n):
        current = START[:-1].copy()
        put(users, START, half.number[t], current)
        assert number_of(users, START, current) == half.number[t]
        found[tuple(current[users])] = (half.loss[t], half.priced[t], *half.use[t])
    wanted = {}
    for some in itertools.product(*(range(START[user], START[user + 1]) for user in users)):
        chosen = list(some)
        if loss[chosen].sum() <= 7.0:
            wanted[some] = (loss[chosen].sum(), priced[chosen].sum(), *use[chosen].sum(axis=0))
    assert 1 < len(wanted) < 24
    assert found.keys() == wanted.keys()
    assert all(found[some] == pytest.approx(wanted[some]) for some in wanted)
    few = new_half(len(wanted) - 1, 2)
    assert list_half(users, START, loss, priced, use, 7.0, False, few) == -1
    n = list_half(users, START, loss, priced, use, 7.0, True, few)
    assert 0 < n < len(wanted)
    for t in range(n):  # whole combinations, of all these users
        current = START[:-1].copy()
        put(users, START, few.number[t], current)
        assert few.loss[t] == pytest.approx(loss[current[users]].sum())
        assert few.priced[t] == pytest.approx(priced[current[users]].sum())


@pytest.mark.parametrize("seed", range(6))
def test_the_best_pair_is_the_best_other_plan_of_these_users(seed: int) -> None:
    loss, priced, use = states(seed)
    first, second, current = np.array([0, 3, 5]), np.array([1, 2, 4]), START[:-1].copy()
    lower, upper = np.array([4.0, -np.inf]), np.array([18.0, 17.0])
    one, two = new_half(1_000, 2), new_half(1_000, 2)
    n_one, n_two = (
        list_half(users, START, loss, priced, use, np.inf, False, half) for users, half in ((first, one), (second, two))
    )
    order = np.argsort(two.priced[:n_two])
    kept = number_of(first, START, current), number_of(second, START, current)
    room = 2.0 * 18.0 + 3.0 * 17.0
    i, j, looked = best_pair(
        one, n_one, two, n_two, order, two.priced[order], *kept, -100.0, room, np.zeros(2), lower, upper
    )
    plans = [
        list(plan)
        for plan in itertools.product(*(range(START[user], START[user + 1]) for user in range(6)))
        if (use[list(plan)].sum(axis=0) <= upper).all() and (use[list(plan)].sum(axis=0) >= lower).all()
    ]
    best = max((priced[plan] - loss[plan]).sum() for plan in plans if plan != current.tolist())
    assert one.priced[i] - one.loss[i] + two.priced[j] - two.loss[j] == pytest.approx(best)
    assert 0 < looked <= n_one * n_two


def test_a_walk_keeps_every_limit_and_ends_no_worse() -> None:
    rng = np.random.default_rng(3)
    n_users, width, n_limits = 30, 5, 4
    start, use = np.arange(n_users + 1) * width, rng.integers(1, 9, (n_users * width, n_limits)).astype(np.float64)
    value = use.sum(axis=1) * rng.uniform(0.8, 1.2, use.shape[0]) * 10
    prices, upper = np.full(n_limits, 9.0), np.full(n_limits, 3.6 * n_users)
    reduced = (value - use @ prices).reshape(n_users, width)
    loss = (reduced.max(axis=1, keepdims=True) - reduced).reshape(-1)
    least = start[:-1] + use.sum(axis=1).reshape(n_users, width).argmin(axis=1)  # a plan that keeps the limits
    assert (use[least].sum(axis=0) <= upper).all()
    found = []
    for _ in range(2):
        best = least.copy()
        gained = exchange_halves(
            np.random.default_rng(0), 3e6, 8, 2_000, 1.0, start, loss, use @ prices, use, float(prices @ upper),
            np.full(n_limits, -np.inf), upper, least.copy(), best, np.zeros(1, np.uint8),
        )  # fmt: skip
        assert (use[best].sum(axis=0) <= upper).all()
        assert gained == pytest.approx(value[best].sum() - value[least].sum())
        assert gained > 0
        found.append(best)
    assert (found[0] == found[1]).all()


def test_no_more_users_take_part_than_numbers_tell_apart() -> None:
    start = np.arange(41) * 10
    users = np.arange(40)
    assert numbered(users, start).tolist() == list(range(18))
    assert numbered(users[:12], start).tolist() == list(range(12))
    last = start[:-1] + 9
    current = start[:-1].copy()
    put(users[:18], start, number_of(users[:18], start, last), current)
    assert (current[:18] == last[:18]).all()


def test_where_all_choices_lose_nothing_a_walk_ends() -> None:
    start, use = np.arange(31) * 10, np.ones((300, 1))
    current, stop = start[:-1].copy(), np.zeros(1, np.uint8)
    gained = exchange_halves(
        np.random.default_rng(0), 1e5, 30, 64, 1.0, start, np.zeros(300), np.ones(300), use, 30.0,
        np.full(1, -np.inf), np.full(1, 30.0), current, current.copy(), stop,
    )  # fmt: skip
    assert gained == 0.0
