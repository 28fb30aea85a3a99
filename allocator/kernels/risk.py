"""Moments of what a plan spends, given the common factor of all redemption probabilities."""

from __future__ import annotations

import numpy as np

from allocator.kernels.compiling import njit

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


@njit(nogil=True, cache=True)
def power_sums(amount, chance, result):  # type: ignore[no-untyped-def]
    """Add to `result` `(6,)` the sums of a p, a^2 p, a^2 p^2, a^3 p, a^3 p^2 and a^3 p^3 over these offers."""
    part = np.empty(6)
    for low in range(0, amount.size, BLOCK):
        part[:] = 0.0
        for e in range(low, min(low + BLOCK, amount.size)):
            a, p = amount[e], chance[e]
            part[0] += a * p
            part[1] += a * a * p
            part[2] += a * a * p * p
            part[3] += a * a * a * p
            part[4] += a * a * a * p * p
            part[5] += a * a * a * p * p * p
        for k in range(6):
            result[k] += part[k]


@njit(nogil=True, cache=True)
def surrogate_columns(fixed, amount, chance, level, slower, skewed, mean, growing, variance):  # type: ignore[no-untyped-def]
    """Fill each offer's shares of A, D and V (see `allocator.risk.surrogate`)."""
    for e in range(amount.size):
        a, q = amount[e], min(1.0, level * chance[e])
        mean[e] = fixed[e] + a * q
        growing[e] = a * chance[e] if q < 1.0 else 0.0
        own = a * a * (q * (1.0 - q))
        third = skewed * (own * a * (1.0 - 2.0 * q))
        variance[e] = max(own + slower * growing[e] ** 2 + min(max(third, -own), own), 0.0)
