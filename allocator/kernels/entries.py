"""What each offer uses of each limit, as the rows of a sparse matrix."""

from __future__ import annotations

import numpy as np

from allocator.kernels.compiling import njit
from allocator.kernels.covering import Cover, coefficients


@njit(nogil=True, cache=True)
def limit_entries(  # type: ignore[no-untyped-def]
    offer, coupon, group, value, cost, extra, weights, wide_start, wide_limit, pair_start, pair_limit, class_of, n_classes,
    row_of, n_rows,
):  # fmt: skip
    """Return (start, position in `offer`, number) of the rows of the limits with `row_of` >= 0, positions ascending.

    `coupon` and `group` are those of each of the offers. The work is what the offers use, not limits times offers: where
    each of 5,000 coupons has a quantity, nearly all of that table is empty.
    """
    cover = Cover(weights, wide_start, wide_limit, pair_start, pair_limit, class_of, n_classes)
    start = np.zeros(n_rows + 1, np.int64)
    for t in range(offer.size):
        for position in range(wide_start[coupon[t]], wide_start[coupon[t] + 1]):
            if row_of[wide_limit[position]] >= 0:
                start[row_of[wide_limit[position]] + 1] += 1
        if pair_start.size:
            cell = group[t] * n_classes + class_of[coupon[t]]
            for position in range(pair_start[cell], pair_start[cell + 1]):
                if row_of[pair_limit[position]] >= 0:
                    start[row_of[pair_limit[position]] + 1] += 1
    for row in range(n_rows):
        start[row + 1] += start[row]
    place, number = np.empty(start[n_rows], np.int64), np.empty(start[n_rows])
    end = start[:n_rows].copy()
    found, size = np.empty(weights.shape[0], np.int64), np.empty(weights.shape[0])
    for t in range(offer.size):
        count = coefficients(offer[t], coupon[t], group[t], value, cost, extra, cover, found, size)
        for a in range(count):
            row = row_of[found[a]]
            if row >= 0:
                place[end[row]], number[end[row]] = t, size[a]
                end[row] += 1
    return start, place, number
