"""Prices that support an assignment of offers to places of limited room."""

from __future__ import annotations

import numpy as np

from allocator.kernels.compiling import njit


@njit(nogil=True, cache=True)
def supporting_prices(start, place, gain, taken, free, most):  # type: ignore[no-untyped-def]
    """Return the least prices of places at which no user prefers another offer to the own one, `(n_places,)` int64.

    `start` as in `Offers`; `place` and `gain` (whole numbers above 0) of each offer; `taken` `(n_users,)` the offer that
    each user has, -1: none; places `free` `(n_places,)` bool cost nothing. The prices of an assignment of greatest gain
    exist, and rise to the least ones from 0 (Bertsekas, *Network Optimization*, 1998, section 2.6); ends after `most` sweeps.
    """
    price = np.zeros(free.size, np.int64)
    for _ in range(most):
        changed = False
        for i in range(start.size - 1):
            own = 0
            if taken[i] >= 0:
                own = gain[taken[i]] - price[place[taken[i]]]
            for e in range(start[i], start[i + 1]):
                if e != taken[i] and not free[place[e]] and gain[e] - price[place[e]] > own:
                    price[place[e]] = gain[e] - own
                    changed = True
        if not changed:
            break
    return price
