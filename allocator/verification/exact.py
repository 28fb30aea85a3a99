"""Exact sums in plain NumPy."""

from __future__ import annotations

import math

import numpy as np

PIECE = 1 << 16  # numbers added up together; they stay in the cache


def exact_sum(numbers: np.ndarray) -> float:
    """Return the sum of finite numbers rounded once, as `math.fsum` does."""
    parts: list[float] = []
    for low in range(0, numbers.size, PIECE):
        piece = numbers[low : low + PIECE]
        parts += exact_parts(piece, np.zeros(1, np.int64)).reshape(-1).tolist()
    return math.fsum(parts)


def exact_parts(numbers: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return for each run of numbers a few parts that add up to its sum without any rounding error.

    Parameters
    ----------
    numbers
        `(n,)` finite float64; the runs are `start[j]..start[j + 1] - 1`, the last one to the end. None is empty.

    Returns
    -------
    parts
        `(n_parts, n_runs)` float64.

    Source: Rump, Ogita and Oishi, "Accurate floating-point summation part I", 2008, doi:10.1137/050645671: adding and
    taking away a large power of two cuts the leading bits off all numbers at once. Cut so high that n of them cannot
    overflow a double's 53 bits, their plain sum is exact, in any order.
    """
    rest = np.array(numbers, dtype=np.float64)
    parts = []
    room = max(1, rest.size).bit_length() + 1
    while rest.size and (top := float(np.abs(rest).max())) > 0:
        anchor = math.ldexp(1.0, math.frexp(top)[1] + room)
        leading = (rest + anchor) - anchor
        parts.append(np.add.reduceat(leading, start))
        rest -= leading
    return np.array(parts).reshape(len(parts), start.size)
