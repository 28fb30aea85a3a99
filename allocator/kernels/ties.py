"""The curvature of the dual itself, told from how many users are near a tie."""

from __future__ import annotations

import numpy as np

from allocator.kernels.compiling import njit
from allocator.kernels.covering import Cover, coefficients
from allocator.kernels.passes import CHUNK, gains, longest_chunk


@njit(nogil=True, cache=True)
def near_ties(  # type: ignore[no-untyped-def]
    first, last, start, width, coupon, value, cost, extra, group, wide, narrow, class_of, widths,
    weights, wide_start, wide_limit, pair_start, pair_limit, n_classes,
):  # fmt: skip
    """Sum over users who get at most one offer, and whose two best choices (or none) are within some width of each other.

    Returns
    -------
    total
        Sum of the best reduced values.
    ties
        `(n_widths, n_limits, n_limits)`: for each width (ascending) and those users within it who are not within a smaller
        one, the outer products of what the two choices use more or less of each limit.
    counts
        `(n_widths, n_limits)`: of how many of them that is not zero.
    """
    n_limits = weights.shape[0]
    cover = Cover(weights, wide_start, wide_limit, pair_start, pair_limit, class_of, n_classes)
    ties, counts = np.zeros((widths.size, n_limits, n_limits)), np.zeros((widths.size, n_limits))
    buffer, base = np.empty(longest_chunk(first, last, start, width)), 0
    found, number = np.empty(n_limits, np.int64), np.empty(n_limits)
    apart = np.zeros(n_limits)
    total = 0.0
    for i in range(first, last):
        low = i * width if width > 0 else start[i]
        high = low + width if width > 0 else start[i + 1]
        if (i - first) % CHUNK == 0:
            base = low
            gains(
                i, min(i + CHUNK, last), start, width, coupon, value, cost, extra, group, wide, narrow, class_of, buffer
            )
        best, pick, second, rival = 0.0, -1, -np.inf, -1
        for e in range(low, high):
            gain = buffer[e - base]
            if gain > best:
                second, rival = best, pick
                best, pick = gain, e
            elif gain > second:
                second, rival = gain, e
        total += best
        if not best - second < widths[-1]:
            continue
        at = 0
        while best - second >= widths[at]:
            at += 1
        for side in range(2):
            e = pick if side == 0 else rival
            if e < 0:
                continue
            k, g = e - low if width > 0 else coupon[e], group[i] if group.size else 0
            count = coefficients(e, k, g, value, cost, extra, cover, found, number)
            for a in range(count):
                apart[found[a]] += number[a] if side == 0 else -number[a]
        for r in range(n_limits):
            if apart[r] != 0.0:
                counts[at, r] += 1.0
                for s in range(n_limits):
                    ties[at, r, s] += apart[r] * apart[s]
        for r in range(n_limits):
            apart[r] = 0.0
    return total, ties, counts
