"""Compiled passes over the event log that gather what relevance is told from. Users in parallel."""

from __future__ import annotations

import numpy as np
from numba import prange

from cf.compiling import njit

# Columns of `gather`'s tables: see `cf.relevance.features`.
LIVES = (10.0, 30.0, 90.0, 365.0)  # days, half-lives of the decayed counts
PAIR = 12
USER = 10
DAY = 86_400.0


@njit(nogil=True, cache=True, parallel=True)
def gather(first, last, item, time, money, scope_start, scope_of, n_scopes, now, pair, user):  # type: ignore[no-untyped-def]
    """Fill `pair`, `(users, scopes, PAIR)`, and `user`, `(users, USER)`, with sums over each user's events before `now`.

    pair: visits; decayed visits at the four `LIVES`; days since the last and the one before; days between first and last;
    money, decayed money (90 days); units of visits' events; visits in the last 28 days.
    user: visits; decayed visits at the four lives; days since last visit, since first; events; distinct scopes; money.
    Ages are in days; -1 where there is no such visit. `time` is in seconds, sorted within each user.
    """
    for u in prange(first.size):
        previous = np.int64(-1)
        scoped = np.full(n_scopes, -1, np.int64)  # the last visit in which a scope was seen
        worth = np.empty(4)  # of the present visit, by the four lives
        for e in range(first[u], last[u]):
            when = np.int64(time[e])
            age = (now - when) / DAY
            if when != previous:
                previous = when
                user[u, 0] += 1.0
                for h in range(4):
                    worth[h] = 0.5 ** (age / LIVES[h])
                    user[u, 1 + h] += worth[h]
                if user[u, 0] == 1.0:
                    user[u, 6] = age
                user[u, 5] = age
            user[u, 7] += 1.0
            paid = money[e] if money.size else 0.0
            user[u, 9] += paid
            for at in range(scope_start[item[e]], scope_start[item[e] + 1]):
                s = scope_of[at]
                pair[u, s, 8] += paid
                pair[u, s, 9] += paid * worth[2]
                pair[u, s, 10] += 1.0
                if scoped[s] == when:
                    continue
                if scoped[s] < 0:
                    user[u, 8] += 1.0
                    pair[u, s, 7] = age
                scoped[s] = when
                pair[u, s, 0] += 1.0
                for h in range(4):
                    pair[u, s, 1 + h] += worth[h]
                pair[u, s, 6] = pair[u, s, 5] if pair[u, s, 0] > 1.0 else -1.0
                pair[u, s, 5] = age
                if age <= 28.0:
                    pair[u, s, 11] += 1.0
        for s in range(n_scopes):
            if pair[u, s, 0] == 0.0:
                pair[u, s, 5] = -1.0
                pair[u, s, 6] = -1.0
            else:
                pair[u, s, 7] -= pair[u, s, 5]
        if user[u, 0] == 0.0:
            user[u, 5] = -1.0
            user[u, 6] = -1.0


@njit(nogil=True, cache=True, parallel=True)
def outcomes(first, last, item, money, scope_start, scope_of, bought, spent):  # type: ignore[no-untyped-def]
    """Fill `bought` and `spent`, `(users, scopes)`, with whether and for how much each stretch buys from each scope."""
    for u in prange(first.size):
        for e in range(first[u], last[u]):
            for at in range(scope_start[item[e]], scope_start[item[e] + 1]):
                bought[u, scope_of[at]] = True
                if money.size:
                    spent[u, scope_of[at]] += money[e]


@njit(nogil=True, cache=True, parallel=True)
def standard(rows, middle, scale, most, missing, out):  # type: ignore[no-untyped-def]
    """Fill `out`, `(rows, columns + missing.size)` float32, with (row - middle) / scale within +-`most`, 0 for NaN.

    After the columns: 1 where that of number `missing` is NaN, else 0.
    """
    columns = middle.size
    for r in prange(rows.shape[0]):
        for c in range(columns):
            value = (rows[r, c] - middle[c]) / scale[c]
            out[r, c] = 0.0 if np.isnan(value) else min(max(value, -most), most)
        for place in range(missing.size):
            out[r, columns + place] = 1.0 if np.isnan(rows[r, missing[place]]) else 0.0
