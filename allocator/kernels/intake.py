"""Loops that check offers and bring them into order, once, at the door."""

from __future__ import annotations

import numpy as np
from numba import njit

OK, BAD_VALUE, BAD_COST, NEGATIVE_COST, TOO_LARGE = range(5)
AMOUNT_LIMIT = 1e12


@njit(nogil=True, cache=True)
def check_amounts(value, cost, nan_is_absent, low, high):  # type: ignore[no-untyped-def]
    """Check offers `low..high`: return (kind of the first fault, its index, number of faults, number present).

    A NaN in `value` marks an absent offer where `nan_is_absent`; its cost is then not looked at.
    """
    kind, first, faults, present = 0, -1, 0, 0
    for e in range(low, high):
        v, c = value[e], cost[e]
        # One comparison passes every sound offer: NaN and infinity fail it too.
        if -AMOUNT_LIMIT <= v <= AMOUNT_LIMIT and 0.0 <= c <= AMOUNT_LIMIT:
            present += 1
            continue
        if nan_is_absent and np.isnan(v):
            continue
        if not np.isfinite(v):
            found = BAD_VALUE
        elif not np.isfinite(c):
            found = BAD_COST
        elif c < 0.0:
            found = NEGATIVE_COST
        else:
            found = TOO_LARGE
        if faults == 0:
            kind, first = found, e
        faults += 1
    return kind, first, faults, present


@njit(nogil=True, cache=True)
def counting_order(user, n_users):  # type: ignore[no-untyped-def]
    """Return (start, order): the stable order that groups offers by user, and each user's first position."""
    start = np.zeros(n_users + 1, np.int64)
    for e in range(user.size):
        start[user[e] + 1] += 1
    for i in range(n_users):
        start[i + 1] += start[i]
    cursor = start[:-1].copy()
    order = np.empty(user.size, np.int64)
    for e in range(user.size):
        i = user[e]
        order[cursor[i]] = e
        cursor[i] += 1
    return start, order


@njit(nogil=True, cache=True)
def first_duplicates(start, coupon, n_coupons, most):  # type: ignore[no-untyped-def]
    """Count offers whose (user, coupon) was seen before; return (count, the first `most` of their indices)."""
    seen = np.full(n_coupons, -1, np.int64)
    examples = np.empty(most, np.int64)
    count = 0
    for i in range(start.size - 1):
        for e in range(start[i], start[i + 1]):
            k = coupon[e]
            if seen[k] == i:
                if count < most:
                    examples[count] = e
                count += 1
            seen[k] = i
    return count, examples[: min(count, most)]
