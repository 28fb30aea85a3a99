"""Each user's best offer."""

from __future__ import annotations

import numpy as np

from allocator.kernels.compiling import njit


@njit(nogil=True, cache=True)
def best_offers(start, value, width, n_users):  # type: ignore[no-untyped-def]
    """Return each user's offer of greatest value, `(n_users,)` int64; -1 where a user has none.

    `start` as in `Offers`; empty: a grid of `width` offers a user. NaN values are absent offers; of equal ones the first.
    """
    best = np.full(n_users, -1, np.int64)
    for i in range(n_users):
        low = start[i] if start.size else i * width
        high = start[i + 1] if start.size else low + width
        top = -np.inf
        for e in range(low, high):
            if value[e] > top:
                top = value[e]
                best[i] = e
    return best
