"""Compiled passes over event logs: placing, sorting and cutting, users in parallel where each has its own stretch."""

from __future__ import annotations

import numpy as np
from numba import prange

from cf.compiling import njit


@njit(nogil=True, cache=True)
def place(user, item, time, cursor, out_item, out_time):  # type: ignore[no-untyped-def]
    """Put each event into the next free slot of its user; return the slots, `(n,)` int64."""
    slot = np.empty(user.size, np.int64)
    for e in range(user.size):
        at = cursor[user[e]]
        cursor[user[e]] = at + 1
        out_item[at] = item[e]
        out_time[at] = time[e]
        slot[e] = at
    return slot


@njit(nogil=True, cache=True, parallel=True)
def sort_users(start, item, time, quantity, money, kind):  # type: ignore[no-untyped-def]
    """Sort each user's events by time, then item, then as they came. Columns of size 0 are absent."""
    for u in prange(start.size - 1):
        low, high = start[u], start[u + 1]
        sorted_already = True
        for e in range(low + 1, high):
            if time[e] < time[e - 1] or (time[e] == time[e - 1] and item[e] < item[e - 1]):
                sorted_already = False
                break
        if sorted_already:
            continue
        key = np.empty(high - low, np.uint64)
        for e in range(low, high):
            key[e - low] = (np.uint64(time[e]) << np.uint64(32)) | np.uint64(item[e])
        order = np.argsort(key, kind="mergesort") + low
        item[low:high] = item[order]
        time[low:high] = time[order]
        if quantity.size:
            quantity[low:high] = quantity[order]
        if money.size:
            money[low:high] = money[order]
        if kind.size:
            kind[low:high] = kind[order]


@njit(nogil=True, cache=True)
def drop_duplicates(start, item, time, quantity, money, kind):  # type: ignore[no-untyped-def]
    """Move events together over those equal in everything to an earlier one; return how many are left.

    Equal events lie in one run of equal (time, item), so each is compared with the run's earlier ones.
    """
    free = 0
    low = start[0]
    for u in range(start.size - 1):
        high = start[u + 1]
        start[u] = free
        run = free
        for e in range(low, high):
            if run < free and (time[e] != time[run] or item[e] != item[run]):
                run = free
            copy = False
            for other in range(run, free):
                if quantity.size and quantity[e] != quantity[other]:
                    continue
                if money.size and money[e] != money[other]:
                    continue
                if kind.size and kind[e] != kind[other]:
                    continue
                copy = True
                break
            if copy:
                continue
            item[free] = item[e]
            time[free] = time[e]
            if quantity.size:
                quantity[free] = quantity[e]
            if money.size:
                money[free] = money[e]
            if kind.size:
                kind[free] = kind[e]
            free += 1
        low = high
    start[start.size - 1] = free
    return free


@njit(nogil=True, cache=True)
def stretch(start, time, after, before, first, last):  # type: ignore[no-untyped-def]
    """Fill each user's stretch [first, last) of events with after <= time < before. Events are sorted by time."""
    for u in range(start.size - 1):
        low, high = start[u], start[u + 1]
        first[u] = low + np.searchsorted(time[low:high], after, side="left")
        last[u] = low + np.searchsorted(time[low:high], before, side="left")


@njit(nogil=True, cache=True)
def last_visits(start, time, visits, first):  # type: ignore[no-untyped-def]
    """Fill `first` with where each user's last `visits[u]` visits begin (a visit: events at the same time)."""
    for u in range(start.size - 1):
        at, seen = start[u + 1], 0
        while at > start[u]:
            if at == start[u + 1] or time[at - 1] != time[at]:
                if seen == visits[u]:
                    break
                seen += 1
            at -= 1
        first[u] = at


@njit(nogil=True, cache=True, parallel=True)
def gather(first, start, source, target):  # type: ignore[no-untyped-def]
    """Copy each user's stretch, from `first[u]` on, to where `start` puts it."""
    for u in prange(start.size - 1):
        shift = first[u] - start[u]
        for e in range(start[u], start[u + 1]):
            target[e] = source[e + shift]


@njit(nogil=True, cache=True)
def count_pairs(start, item, n_items):  # type: ignore[no-untyped-def]
    """Return how many distinct items each user has, `(users,)` int64."""
    seen = np.full(n_items, -1, np.int64)
    number = np.zeros(start.size - 1, np.int64)
    for u in range(start.size - 1):
        for e in range(start[u], start[u + 1]):
            if seen[item[e]] != u:
                seen[item[e]] = u
                number[u] += 1
    return number


@njit(nogil=True, cache=True)
def sum_pairs(start, item, time, amount, kind, kind_weight, half_life, now, once, n_items, indptr, indices, data):  # type: ignore[no-untyped-def]
    """Fill a sparse matrix with each (user, item) pair's sum of amount x kind's weight x 0.5^(age / half_life).

    `once`: events of one pair at the same time count as one (the largest). `half_life` in seconds, infinite for none.
    """
    total = np.zeros(n_items)
    last_time = np.full(n_items, -1, np.int64)
    last_weight = np.zeros(n_items)
    decayed_at, worth = np.int64(-1), 1.0  # of the last time met: events of a visit share one
    for u in range(start.size - 1):
        free = indptr[u]
        for e in range(start[u], start[u + 1]):
            i = item[e]
            when = np.int64(time[e])
            weight = 1.0
            if amount.size:
                weight *= amount[e]
            if kind.size:
                weight *= kind_weight[kind[e]]
            if half_life < np.inf:
                if when != decayed_at:
                    decayed_at, worth = when, 0.5 ** ((now - when) / half_life)
                weight *= worth
            if last_time[i] < 0:
                indices[free] = i
                free += 1
                total[i] = 0.0
            if once and last_time[i] == when:
                if weight > last_weight[i]:
                    total[i] += weight - last_weight[i]
                    last_weight[i] = weight
                continue
            last_time[i] = when
            last_weight[i] = weight
            total[i] += weight
        indices[indptr[u] : free] = np.sort(indices[indptr[u] : free])
        for at in range(indptr[u], free):
            data[at] = total[indices[at]]
            last_time[indices[at]] = -1
