"""Passes over the plainest problem: a grid of offers, one offer a user, limits on all users."""

from __future__ import annotations

import numpy as np

from allocator.kernels.compiling import njit


@njit(nogil=True, cache=True)
def choose_from_grid(first, last, value, cost, table, radius, screening, used):  # type: ignore[no-untyped-def]
    """Do `best_choices` in one sweep for the plainest problem: a grid, one offer a user, limits on all users.

    Adds to `used` `(n_coupons, 3)`; return (total, picked, active). Written without branches that depend on the offers:
    a processor that guesses them wrong loses more time than the arithmetic takes. Users without a choice and those set
    aside are added to a row that is thrown away. NaN loses every comparison.
    """
    width = table.shape[0]
    picked, n_picked = np.empty(last - first + 1, np.int64), 0
    active, n_active = np.empty(last - first + 1 if screening else 0, np.int64), 0
    of_value, of_cost, of_count = table[:, 0].copy(), table[:, 1].copy(), table[:, 2].copy()
    by_value, by_cost, by_count = radius[:, 0].copy(), radius[:, 1].copy(), radius[:, 2].copy()
    gain, span = np.empty(width), np.empty(width)
    sums = np.zeros((width + 1, 3))
    total = 0.0
    # Counted from 0, so that the compiler need not allow for an index from the end.
    value, cost = value[first * width : last * width], cost[first * width : last * width]
    for i in range(last - first):
        low = i * width
        for k in range(width):
            gain[k] = of_value[k] * value[low + k] + of_cost[k] * cost[low + k] + of_count[k]
        best, pick = 0.0, width
        for k in range(width):
            own = gain[k]
            better = own > best
            pick = k if better else pick
            best = own if better else best
        if screening:
            for k in range(width):
                span[k] = by_value[k] * abs(value[low + k]) + by_cost[k] * cost[low + k] + by_count[k]
            rival = 0.0 if pick < width else -np.inf
            floor = best - (span[min(pick, width - 1)] if pick < width else 0.0)
            for k in range(width):
                ceiling = gain[k] + span[k]
                rival = ceiling if ceiling > rival and k != pick else rival
            active[n_active] = i
            aside = floor <= rival
            n_active += aside
            pick = width if aside else pick
            best = 0.0 if aside else best
        total += best
        e = low + min(pick, width - 1)
        picked[n_picked] = e
        n_picked += pick < width
        sums[pick, 0] += value[e]
        sums[pick, 1] += cost[e]
        sums[pick, 2] += 1.0
    used += sums[:width]
    return total, picked[:n_picked] + first * width, active[:n_active] + first


@njit(nogil=True, cache=True)
def choose_between_on_grid(first, last, value, cost, table, radius, other, other_radius, used):  # type: ignore[no-untyped-def]
    """Choose for users who take the same offer throughout two boxes, set the others aside: as `choose_from_grid`.

    A user whose best offers at the two prices differ is set aside at once; most of the others are sure in both boxes.
    """
    width = table.shape[0]
    picked, n_picked = np.empty(last - first, np.int64), 0
    active, n_active = np.empty(last - first, np.int64), 0
    a_value, a_cost, a_count = table[:, 0].copy(), table[:, 1].copy(), table[:, 2].copy()
    b_value, b_cost, b_count = other[:, 0].copy(), other[:, 1].copy(), other[:, 2].copy()
    ra_value, ra_cost, ra_count = radius[:, 0].copy(), radius[:, 1].copy(), radius[:, 2].copy()
    rb_value, rb_cost, rb_count = other_radius[:, 0].copy(), other_radius[:, 1].copy(), other_radius[:, 2].copy()
    a_gain, b_gain = np.empty(width), np.empty(width)
    a_span, b_span = np.empty(width), np.empty(width)
    sums = np.zeros((width + 1, 3))
    value, cost = value[first * width : last * width], cost[first * width : last * width]
    for i in range(last - first):
        low = i * width
        for k in range(width):
            v, c = value[low + k], cost[low + k]
            a_gain[k] = a_value[k] * v + a_cost[k] * c + a_count[k]
            b_gain[k] = b_value[k] * v + b_cost[k] * c + b_count[k]
        a_best, b_best, a_pick, b_pick = 0.0, 0.0, width, width
        for k in range(width):
            better = a_gain[k] > a_best
            a_pick = k if better else a_pick
            a_best = a_gain[k] if better else a_best
            better = b_gain[k] > b_best
            b_pick = k if better else b_pick
            b_best = b_gain[k] if better else b_best
        aside = a_pick != b_pick
        if not aside:
            for k in range(width):
                v, c = abs(value[low + k]), cost[low + k]
                a_span[k] = ra_value[k] * v + ra_cost[k] * c + ra_count[k]
                b_span[k] = rb_value[k] * v + rb_cost[k] * c + rb_count[k]
            none = a_pick == width
            at = min(a_pick, width - 1)
            a_rival, b_rival = (-np.inf, -np.inf) if none else (0.0, 0.0)
            a_floor, b_floor = (0.0, 0.0) if none else (a_best - a_span[at], b_best - b_span[at])
            for k in range(width):
                ceiling = a_gain[k] + a_span[k]
                a_rival = ceiling if ceiling > a_rival and k != a_pick else a_rival
                ceiling = b_gain[k] + b_span[k]
                b_rival = ceiling if ceiling > b_rival and k != b_pick else b_rival
            aside = a_floor <= a_rival or b_floor <= b_rival
        active[n_active] = i
        n_active += aside
        pick = width if aside else a_pick
        e = low + min(pick, width - 1)
        picked[n_picked] = e
        n_picked += pick < width
        sums[pick, 0] += value[e]
        sums[pick, 1] += cost[e]
        sums[pick, 2] += 1.0
    used += sums[:width]
    return picked[:n_picked] + first * width, active[:n_active] + first
