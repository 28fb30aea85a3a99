"""Moments of what a plan spends, given the common factor of all redemption probabilities."""

from __future__ import annotations

import numpy as np
from numba import njit

BLOCK = 4096  # offers added up together, so that rounding does not grow with their number


@njit(nogil=True, cache=True)
def moments(fixed, amount, chance, factors, result):  # type: ignore[no-untyped-def]
    """Add to `result[:, j]` mean, variance and third central moment of the spend of these offers at `factors[j]`.

    An offer spends `fixed`, and `amount` more with probability min(1, factor x chance).
    """
    part = np.empty(3)
    for low in range(0, fixed.size, BLOCK):
        high = min(low + BLOCK, fixed.size)
        for j in range(factors.size):
            part[:] = 0.0
            for e in range(low, high):
                q = min(1.0, factors[j] * chance[e])
                a = amount[e]
                spread = a * a * q * (1.0 - q)
                part[0] += fixed[e] + a * q
                part[1] += spread
                part[2] += spread * a * (1.0 - 2.0 * q)
            for k in range(3):
                result[k, j] += part[k]
