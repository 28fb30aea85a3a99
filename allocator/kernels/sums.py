"""Exact sums, fast enough for tens of millions of numbers."""

from __future__ import annotations

import math

import numpy as np

from allocator.kernels.blocks import map_blocks
from allocator.kernels.compiling import njit

NOTHING, EMPTY, ALL = np.empty(0), np.empty(0, np.int32), np.empty(0, np.int64)
SLICED_BITS = 11
SLICED = 2**SLICED_BITS  # numbers of a chunk
SLICE_BITS = 53 - 2 - SLICED_BITS  # of each number's bits: sums of a chunk's slices have room for them
MOST_EXPONENT = 800  # of a chunk's numbers: cuts are far from overflow
MANY = 100_000  # numbers; more are added on threads: exact parts do not depend on how they are grouped
MOST_PARTS = 2_200  # more than a double has places for bits: parts that do not overlap may be as short as one


@njit(nogil=True, cache=True)
def _grow(x, parts, n):  # type: ignore[no-untyped-def]
    """Add a number to `n` parts that do not overlap; return how many parts there are (Shewchuk 1997, grow-expansion)."""
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
    return kept + 1


@njit(nogil=True, cache=True)
def _parts_at(column, index, first, last, parts):  # type: ignore[no-untyped-def]
    """Add `column[index[first:last]]` (`column[first:last]` where `index` is empty) into parts; return how many there are.

    A chunk at a time: its numbers are cut at fixed places into slices so short that each slice's sum is exact (Rump, Ogita &
    Oishi, SIAM J. Sci. Comput. 31(1), 2008, doi:10.1137/050645671, section 3). Only where numbers reach below the last
    slice are they grown into the parts one by one.
    """
    n = 0
    numbers = np.empty(SLICED)
    for low in range(first, last, SLICED):
        size = min(SLICED, last - low)
        largest = 0.0
        for t in range(size):
            x = column[index[low + t]] if index.size else column[low + t]
            numbers[t] = x
            largest = max(largest, abs(x))
        if largest == 0.0:
            continue
        exponent = math.frexp(largest)[1]
        cut_1 = math.ldexp(1.5, exponent + SLICED_BITS + 1)
        cut_2 = math.ldexp(1.5, exponent + SLICED_BITS + 1 - SLICE_BITS)
        cut_3 = math.ldexp(1.5, exponent + SLICED_BITS + 1 - 2 * SLICE_BITS)
        sum_1, sum_2, sum_3, below = 0.0, 0.0, 0.0, 0.0
        for t in range(size):
            x = numbers[t]
            part = (x + cut_1) - cut_1
            sum_1 += part
            x -= part
            part = (x + cut_2) - cut_2
            sum_2 += part
            x -= part
            part = (x + cut_3) - cut_3
            sum_3 += part
            below = max(below, abs(x - part))
        if below == 0.0 and abs(exponent) < MOST_EXPONENT:
            n = _grow(sum_3, parts, n)
            n = _grow(sum_2, parts, n)
            n = _grow(sum_1, parts, n)
        else:
            for t in range(size):
                n = _grow(numbers[t], parts, n)
    return n


@njit(nogil=True, cache=True)
def count_coupons(index, first, last, width, coupon, counts):  # type: ignore[no-untyped-def]
    """Add to `counts` `(n_coupons,)` how many of the offers `index[first:last]` are of each coupon."""
    for t in range(first, last):
        counts[index[t] % width if width > 0 else coupon[index[t]]] += 1


def exact_parts_at(parts: np.ndarray, column: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Return `exact_parts(parts, column[index])`, without that array."""

    def block(low: int, high: int) -> np.ndarray:
        grown = np.empty(MOST_PARTS + 2)
        return grown[: _parts_at(column, index, low, high, grown)].copy()

    blocks = map_blocks(block, index.size) if index.size > MANY else [block(0, index.size)]
    return _grown(np.concatenate([parts, *blocks]))


def coupon_counts(index: np.ndarray, n_coupons: int, coupon: np.ndarray | None) -> np.ndarray:
    """Return how many of these offers are of each coupon, `(n_coupons,)` int64; `coupon` as in `Offers`."""

    def block(low: int, high: int) -> np.ndarray:
        counts = np.zeros(n_coupons, np.int64)
        count_coupons(index, low, high, n_coupons if coupon is None else 0, EMPTY if coupon is None else coupon, counts)
        return counts

    blocks = map_blocks(block, index.size) if index.size > MANY else [block(0, index.size)]
    return np.asarray(sum(blocks))


def exact_parts(parts: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return few numbers that do not overlap, whose sum is exactly that of `parts` (such numbers too) and finite `numbers`."""
    if numbers.strides == (0,) and numbers.size and numbers[0] == 1.0:  # a view of one number, as counts are
        numbers = np.array([float(numbers.size)])
    own = map_blocks(lambda low, high: _grown(numbers[low:high]), numbers.size) if numbers.size > MANY else [numbers]
    return _grown(np.concatenate([parts, *own]))


def _grown(numbers: np.ndarray) -> np.ndarray:
    grown = np.empty(MOST_PARTS + 2)
    return grown[: _parts_at(np.ascontiguousarray(numbers, dtype=np.float64), ALL, 0, numbers.size, grown)].copy()


def exact_sum(numbers: np.ndarray) -> float:
    """Return the sum of finite numbers, rounded once: what `math.fsum` returns, ten times as fast.

    Source: Shewchuk, "Adaptive precision floating-point arithmetic", 1997, doi:10.1007/PL00009321.
    """
    return math.fsum(exact_parts(NOTHING, numbers))
