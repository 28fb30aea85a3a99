"""Take offers in a given order while the rules allow it."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def take_in_order(  # type: ignore[no-untyped-def]
    order, width, coupon, owner, value, cost, extra, group, caps, exclusive, weights, wide_start, wide_limit,
    pair_start, pair_limit, class_of, n_classes, used, at_least, at_most, count, held, n_groups, taken, needed_only,
):  # fmt: skip
    """Mark in `taken` the offers of `order` that fit, one after the other; updates `used`, `count` and `held`.

    With `needed_only`, take only offers that bring an unmet at-least limit closer.
    """
    last = weights.shape[1] - 1
    found, number = np.empty(used.size, np.int64), np.empty(used.size)
    for position in range(order.size):
        e = order[position]
        i = owner[position]
        k = e % width if width > 0 else coupon[e]
        if taken[e] or count[i] >= caps[i] or np.isnan(value[e]):
            continue
        x = exclusive[k]
        if x >= 0 and held[i * n_groups + x]:
            continue
        g = group[i] if group.size else 0
        # `smoothing.coefficients` word for word: a call for each candidate costs a quarter more time.
        n = 0
        for source in range(2):
            if source == 0:
                begin, end = wide_start[k], wide_start[k + 1]
            elif pair_start.size:
                begin, end = pair_start[g * n_classes + class_of[k]], pair_start[g * n_classes + class_of[k] + 1]
            else:
                begin, end = 0, 0
            for at in range(begin, end):
                r = wide_limit[at] if source == 0 else pair_limit[at]
                a = weights[r, 0] * value[e] + weights[r, 1] * cost[e] + weights[r, last]
                for j in range(last - 2):
                    a += weights[r, 2 + j] * extra[j, e]
                found[n], number[n] = r, a
                n += 1
        fits, helps = True, False
        for t in range(n):
            r, a = found[t], number[t]
            if a > 0 and used[r] < at_least[r]:
                helps = True
            if a > 0 and used[r] + a > at_most[r]:
                fits = False
            if a < 0 and used[r] + a < at_least[r]:
                fits = False
        if not fits or (needed_only and not helps):
            continue
        taken[e] = True
        count[i] += 1
        if x >= 0:
            held[i * n_groups + x] = True
        for t in range(n):
            used[found[t]] += number[t]
