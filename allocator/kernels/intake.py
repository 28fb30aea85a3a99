"""Loops that check offers and bring them into order, once, at the door."""

from __future__ import annotations

import numpy as np

from allocator.kernels.compiling import njit

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
def run_starts(ids):  # type: ignore[no-untyped-def]
    """Return where each run of equal numbers starts, and the end; nothing where the numbers do not rise."""
    count = 1 if ids.size else 0
    for e in range(1, ids.size):
        if ids[e] < ids[e - 1]:
            return np.empty(0, np.int64)
        count += ids[e] != ids[e - 1]
    start = np.empty(count + 1, np.int64)
    n = 0
    for e in range(ids.size):
        if e == 0 or ids[e] != ids[e - 1]:
            start[n] = e
            n += 1
    start[n] = ids.size
    return start


@njit(nogil=True, cache=True)
def renumber(codes, n_codes):  # type: ignore[no-untyped-def]
    """Number codes anew in order of first appearance: return (new codes, the old code of each, whether they rise)."""
    new, old = np.full(n_codes, -1, np.int32), np.empty(n_codes, np.int32)
    result = np.empty(codes.size, np.int32)
    n, last, rise = 0, -1, True
    for e in range(codes.size):
        k = new[codes[e]]
        if k < 0:
            k = n
            new[codes[e]] = k
            old[n] = codes[e]
            n += 1
        rise = rise and k >= last
        last = k
        result[e] = k
    return result, old[:n], rise


@njit(nogil=True, cache=True)
def counting_order(user, start, order):  # type: ignore[no-untyped-def]
    """Write each user's first position, and the end, into `start`, and the stable order by user into `order`."""
    start[:] = 0
    for e in range(user.size):
        start[user[e] + 1] += 1
    for i in range(start.size - 1):
        start[i + 1] += start[i]
    cursor = start[:-1].copy()
    for e in range(user.size):
        i = user[e]
        order[cursor[i]] = e
        cursor[i] += 1


@njit(nogil=True, cache=True)
def is_grid(start, coupon, n_coupons):  # type: ignore[no-untyped-def]
    """Return whether every user has every coupon, in the coupons' order."""
    for i in range(start.size - 1):
        if start[i] != i * n_coupons:
            return False
        for k in range(n_coupons):
            if coupon[i * n_coupons + k] != k:
                return False
    return True


@njit(nogil=True, cache=True)
def grid_rows(user, start, coupon, n_coupons, row):  # type: ignore[no-untyped-def]
    """Write the row of each cell of the (user, coupon) grid; return whether every cell has exactly one.

    `user` is empty where the rows are grouped by user, by `start`.
    """
    row[:] = -1
    i = 0
    for e in range(coupon.size):
        if user.size:
            i = user[e]
        else:
            while start[i + 1] <= e:
                i += 1
        cell = i * n_coupons + coupon[e]
        if row[cell] >= 0:
            return False
        row[cell] = e
    return True


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
