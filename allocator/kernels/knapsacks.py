"""Knapsacks, one a limit: what is left to choose where every user has a price and every state uses one limit at most.

Whole numbers of use, by dynamic programming over what is left of a limit (Martello & Toth, *Knapsack Problems*, 1990,
section 2.6). Run from both ends, it tells what the best choice is with each item in and with each one out.
"""

from __future__ import annotations

import numpy as np

from allocator.kernels.compiling import njit


@njit(nogil=True, cache=True)
def relaxed(price, start, user, use, value, capacity, taken):  # type: ignore[no-untyped-def]
    """Fill every knapsack for the most value less the users' prices; return the sum of these.

    Parameters
    ----------
    price
        `(n_users,)` currency.
    start
        `(n_limits + 1,)` where each knapsack's items begin.
    user, use, value
        `(n_items,)` whose each item is, what it uses, int64, and what it earns, currency.
    capacity
        `(n_limits,)` int64.
    taken
        `(n_items,)` uint8, set to whether each item is in.
    """
    total = 0.0
    most = capacity.max() + 1 if capacity.size else 1
    best = np.empty(most)
    for i in range(capacity.size):
        room, low, high = capacity[i], start[i], start[i + 1]
        best[: room + 1] = 0.0
        kept = np.zeros((high - low, room + 1), np.uint8)
        for k in range(low, high):
            taken[k] = 0
            profit, weight = value[k] - price[user[k]], use[k]
            if profit <= 0.0:
                continue
            row = kept[k - low]
            for c in range(room, weight - 1, -1):
                other = best[c - weight] + profit
                if other > best[c]:
                    best[c] = other
                    row[c] = 1
        total += best[room]
        c = room
        for k in range(high - 1, low - 1, -1):
            if kept[k - low, c]:
                taken[k] = 1
                c -= use[k]
    return total


@njit(nogil=True, cache=True)
def forced(price, start, user, use, value, capacity, within, without):  # type: ignore[no-untyped-def]
    """Work out what each knapsack loses where an item must be in, `within`, and where it must be out, `without`.

    Both `(n_items,)`, currency, at least 0; `within` is infinite where the item does not fit. Other arguments as in `relaxed`.
    """
    for i in range(capacity.size):
        room, low, high = capacity[i], start[i], start[i + 1]
        gainful = np.empty(high - low, np.int64)
        n = 0
        for k in range(low, high):
            if value[k] > price[user[k]]:
                gainful[n] = k
                n += 1
        first, last = np.zeros((n + 1, room + 1)), np.zeros((n + 1, room + 1))
        for m in range(n):
            add(first[m], first[m + 1], value[gainful[m]] - price[user[gainful[m]]], use[gainful[m]])
            k = gainful[n - 1 - m]
            add(last[n - m], last[n - 1 - m], value[k] - price[user[k]], use[k])
        best = first[n, room]
        m = 0
        for k in range(low, high):
            profit, weight = value[k] - price[user[k]], use[k]
            within[k], without[k] = np.inf, 0.0
            left = room - weight
            if m < n and gainful[m] == k:
                out, inside = 0.0, -np.inf
                for c in range(room + 1):
                    out = max(out, first[m, c] + last[m + 1, room - c])
                    if c <= left:
                        inside = max(inside, first[m, c] + last[m + 1, left - c])
                without[k] = max(0.0, best - out)
                m += 1
            else:
                inside = first[n, left] if left >= 0 else -np.inf
            if left >= 0:
                within[k] = max(0.0, best - profit - inside)


@njit(nogil=True, cache=True)
def add(before, after, profit, weight):  # type: ignore[no-untyped-def]
    """Set `after` to the best values with one more item; both by what may be used, `(room + 1,)`."""
    for c in range(min(weight, before.size)):
        after[c] = before[c]
    for c in range(weight, before.size):
        after[c] = max(before[c], before[c - weight] + profit)
