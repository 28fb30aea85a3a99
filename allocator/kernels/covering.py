"""Which limits (or levers) cover an offer, what it uses of each, and sums of such sparse rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from allocator.kernels.compiling import njit


class Cover(NamedTuple):
    """The lists of `executors.Cover`: limits of a coupon for all users, and for a user group and a class of coupons."""

    weights: np.ndarray
    wide_start: np.ndarray
    wide_limit: np.ndarray
    pair_start: np.ndarray
    pair_limit: np.ndarray
    class_of: np.ndarray
    n_classes: int


class Tally(NamedTuple):
    """A sum of sparse rows being made: the limits in it, whether each is, and its number; `(n_limits,)` each."""

    limit: np.ndarray
    seen: np.ndarray
    total: np.ndarray


class Rows(NamedTuple):
    """Sparse rows in a growing list, with a weight each; the first `used[0]` are filled."""

    used: np.ndarray
    start: np.ndarray
    limit: np.ndarray
    number: np.ndarray
    weight: np.ndarray


@njit(nogil=True, cache=True)
def coefficients(e, k, g, value, cost, extra, cover, found, number):  # type: ignore[no-untyped-def]
    """List the limits (or levers) that cover offer e and its number in each; return how many."""
    weights, last = cover.weights, cover.weights.shape[1] - 1
    n = 0
    for source in range(2):
        if source == 0:
            begin, end = cover.wide_start[k], cover.wide_start[k + 1]
        elif cover.pair_start.size:
            cell = g * cover.n_classes + cover.class_of[k]
            begin, end = cover.pair_start[cell], cover.pair_start[cell + 1]
        else:
            begin, end = 0, 0
        for position in range(begin, end):
            r = cover.wide_limit[position] if source == 0 else cover.pair_limit[position]
            a = weights[r, 0] * value[e] + weights[r, 1] * cost[e] + weights[r, last]
            for j in range(last - 2):
                a += weights[r, 2 + j] * extra[j, e]
            found[n], number[n] = r, a
            n += 1
    return n


@njit(nogil=True, cache=True)
def new_tally(n_limits):  # type: ignore[no-untyped-def]
    """Return an empty sum."""
    return Tally(np.empty(n_limits, np.int64), np.zeros(n_limits, np.bool_), np.zeros(n_limits))


@njit(nogil=True, cache=True)
def add_row(n, tally, count, limit, number, weight):  # type: ignore[no-untyped-def]
    """Add weight times a row of `count` entries to a sum of `n`; return how many it has then."""
    for a in range(count):
        r = limit[a]
        if not tally.seen[r]:
            tally.seen[r] = True
            tally.limit[n] = r
            n += 1
        tally.total[r] += weight * number[a]
    return n


@njit(nogil=True, cache=True)
def settle(n, tally, number):  # type: ignore[no-untyped-def]
    """Move a sum's numbers to the first `n` of `number`, in the order of its limits, and empty it."""
    for a in range(n):
        r = tally.limit[a]
        number[a] = tally.total[r]
        tally.total[r] = 0.0
        tally.seen[r] = False


@njit(nogil=True, cache=True)
def new_rows(size):  # type: ignore[no-untyped-def]
    """Return an empty list with room for so many rows, and so many entries."""
    start, limit = np.zeros(size + 1, np.int64), np.empty(size, np.int64)
    return Rows(np.zeros(1, np.int64), start, limit, np.empty(size), np.empty(size))


@njit(nogil=True, cache=True)
def append_row(rows, n, limit, number, weight):  # type: ignore[no-untyped-def]
    """Append a row of `n` entries; return the list, which may have moved to have room."""
    at = rows.used[0]
    begin = rows.start[at]
    if at == rows.weight.size or begin + n > rows.limit.size:
        old, rows = rows, new_rows(2 * max(rows.weight.size, rows.limit.size) + n)
        rows.used[0] = at
        rows.start[: at + 1] = old.start[: at + 1]
        rows.weight[:at] = old.weight[:at]
        rows.limit[:begin], rows.number[:begin] = old.limit[:begin], old.number[:begin]
    for a in range(n):
        rows.limit[begin + a], rows.number[begin + a] = limit[a], number[a]
    rows.weight[at] = weight
    rows.start[at + 1] = begin + n
    rows.used[0] = at + 1
    return rows


@njit(nogil=True, cache=True)
def filled(rows):  # type: ignore[no-untyped-def]
    """Return the (start, limit, number, weight) of what a list holds."""
    n = rows.used[0]
    end = rows.start[n]
    return rows.start[: n + 1].copy(), rows.limit[:end].copy(), rows.number[:end].copy(), rows.weight[:n].copy()


@njit(nogil=True, cache=True)
def add_outer(n, limit, number, weight, g, shared, own):  # type: ignore[no-untyped-def]
    """Add weight times a row's outer product: to `shared` among the first limits, which all users share, else to group `g`'s."""
    n_shared = shared.shape[0]
    for a in range(n):
        r = limit[a]
        for b in range(n):
            s = limit[b]
            if r >= n_shared:
                own[g, r - n_shared, s] += weight * number[a] * number[b]
            elif s < n_shared:
                shared[r, s] += weight * number[a] * number[b]
