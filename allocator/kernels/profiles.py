"""Sums of each user's purchase lines, a batch at a time: what profiles are made of."""

from __future__ import annotations

import numpy as np

from allocator.kernels.compiling import njit
from allocator.kernels.hashing import mix

DAY = 86_400
RING = 4  # baskets of a user that may be interleaved
# Columns of `sums`; weekdays, times of day and categories follow.
LINES, UNITS, MONEY, DISCOUNT, DISCOUNTED, VISITS = range(6)
VISITS_NEAR, MONEY_NEAR, MONEY_BEFORE, VISITS_BEFORE = range(6, 10)
CLOCK, WEEK = 10, 14  # four quarters of the day, seven weekdays
CATEGORY = 21
OUT_OF_ORDER, FULL = -2, -1


@njit(nogil=True, cache=True)
def add_lines(user, time, quantity, amount, discount, category, limit, near, sums, first, last):  # type: ignore[no-untyped-def]
    """Add what does not depend on which lines were one visit.

    `user` `(n,)` is -1 for a line of somebody else; `limit` `(users,)` the moment from which on nothing is known;
    `near` the seconds that count as lately. Marks lines that are too late with user -1.
    """
    n_categories = sums.shape[1] - CATEGORY
    for e in range(user.size):
        u = user[e]
        if u < 0:
            continue
        if time[e] >= limit[u]:
            user[e] = -1
            continue
        age = limit[u] - time[e]
        row = sums[u]
        row[LINES] += 1.0
        row[UNITS] += quantity[e]
        row[MONEY] += amount[e]
        if age <= near:
            row[MONEY_NEAR] += amount[e]
        elif age <= 2 * near:
            row[MONEY_BEFORE] += amount[e]
        if discount.size:
            row[DISCOUNT] += discount[e]
            row[DISCOUNTED] += discount[e] > 0.0
        if category.size and 0 <= category[e] < n_categories:
            row[CATEGORY + category[e]] += amount[e]
        first[u] = min(first[u], time[e])
        last[u] = max(last[u], time[e])


@njit(nogil=True, cache=True)
def basket_keys(user, time, basket, out):  # type: ignore[no-untyped-def]
    """Write a key of each line's basket that is not 0; without `basket` ids the time stands for them."""
    for e in range(user.size):
        key = mix(basket[e]) if basket.size else mix(time[e])
        key = mix(key ^ (np.uint64(user[e]) << np.uint64(1)))
        out[e] = key if key != 0 else np.uint64(1)


@njit(nogil=True, cache=True)
def visits_in_order(user, time, key, limit, near, direction, sums, ring, ring_time, latest):  # type: ignore[no-untyped-def]
    """Count visits where each user's lines come in order of time (`direction` 1) or in the reverse order (-1).

    Lines of a basket are then close to one another: the last few baskets of each user are all that must be
    remembered, `(users, RING)`. Returns the number of the first line that breaks the order, or -1.
    """
    for e in range(user.size):
        u = user[e]
        if u < 0:
            continue
        t = time[e] * direction
        if t < latest[u]:
            return e
        latest[u] = t
        seen = False
        oldest = 0
        for j in range(RING):
            if ring[u, j] == key[e]:
                seen = True
                ring_time[u, j] = t
                break
            if ring_time[u, j] < ring_time[u, oldest]:
                oldest = j
        if seen:
            continue
        if ring[u, oldest] != 0 and ring_time[u, oldest] == t:
            return e  # more baskets at one moment than can be told apart so
        ring[u, oldest] = key[e]
        ring_time[u, oldest] = t
        _count(sums[u], time[e], limit[u] - time[e], near)
    return -1


@njit(nogil=True, cache=True)
def visits_of_set(user, time, key, limit, near, sums, seen, used, begin):  # type: ignore[no-untyped-def]
    """Count visits in any order: `seen` is the set of all baskets so far (0: an empty slot).

    Begins at line `begin`; returns (keys in the set, the line to go on with once the set is larger).
    """
    mask = np.uint64(seen.size - 1)
    for e in range(begin, user.size):
        u = user[e]
        if u < 0:
            continue
        place = mix(key[e]) & mask
        while seen[place] != 0 and seen[place] != key[e]:
            place = (place + np.uint64(1)) & mask
        if seen[place] != 0:
            continue
        if 4 * used >= 3 * seen.size:
            return used, e
        seen[place] = key[e]
        used += 1
        _count(sums[u], time[e], limit[u] - time[e], near)
    return used, user.size


@njit(nogil=True, cache=True)
def _count(row, time, age, near):  # type: ignore[no-untyped-def]
    """Add one visit."""
    row[VISITS] += 1.0
    if age <= near:
        row[VISITS_NEAR] += 1.0
    elif age <= 2 * near:
        row[VISITS_BEFORE] += 1.0
    row[CLOCK + (time % DAY) // (DAY // 4)] += 1.0
    row[WEEK + (time // DAY + 3) % 7] += 1.0  # 1 January 1970 was a Thursday


@njit(nogil=True, cache=True)
def add_totals(code, amount, totals):  # type: ignore[no-untyped-def]
    """Add amounts by code; codes below 0 are passed over."""
    for e in range(code.size):
        if code[e] >= 0:
            totals[code[e]] += amount[e]


@njit(nogil=True, cache=True)
def mark(user, item, masks, seen):  # type: ignore[no-untyped-def]
    """Note for each user which sets of items were bought from: `masks` `(items + 1,)` uint64, the last for unknown ones."""
    for e in range(user.size):
        seen[user[e]] |= masks[item[e]]
