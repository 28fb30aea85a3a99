"""Exact sums, fast enough for tens of millions of numbers."""

from __future__ import annotations

import math

import numpy as np

from allocator.kernels.blocks import map_blocks
from allocator.kernels.compiling import njit

NOTHING = np.empty(0)
MANY = 100_000  # numbers; more are added on threads: exact parts do not depend on how they are grouped
MOST_PARTS = 2200 // 50  # of a double's exponents, a part each 50: more parts than a sum can need


@njit(nogil=True, cache=True)
def _parts(numbers, parts):  # type: ignore[no-untyped-def]
    """Add numbers into parts that do not overlap; return how many parts there are (Shewchuk 1997, grow-expansion)."""
    n = 0
    for x in numbers:
        kept = 0
        for j in range(n):
            y = parts[j]
            if abs(x) < abs(y):
                x, y = y, x
            high = x + y
            low = y - (high - x)
            if low != 0.0:
                parts[kept] = low
                kept += 1
            x = high
        parts[kept] = x
        n = kept + 1
    return n


def exact_parts(parts: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return few numbers that do not overlap, whose sum is exactly that of `parts` (such numbers too) and finite `numbers`."""
    if numbers.strides == (0,) and numbers.size and numbers[0] == 1.0:  # a view of one number, as counts are
        numbers = np.array([float(numbers.size)])
    own = map_blocks(lambda low, high: _grown(numbers[low:high]), numbers.size) if numbers.size > MANY else [numbers]
    return _grown(np.concatenate([parts, *own]))


def _grown(numbers: np.ndarray) -> np.ndarray:
    grown = np.empty(MOST_PARTS + 2)
    return grown[: _parts(np.ascontiguousarray(numbers, dtype=np.float64), grown)].copy()


def exact_sum(numbers: np.ndarray) -> float:
    """Return the sum of finite numbers, rounded once: what `math.fsum` returns, ten times as fast.

    Source: Shewchuk, "Adaptive precision floating-point arithmetic", 1997, doi:10.1007/PL00009321.
    """
    return math.fsum(exact_parts(NOTHING, numbers))
