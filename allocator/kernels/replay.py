"""One run of a campaign over the offers that a plan issues."""

from __future__ import annotations

import numpy as np

from allocator.kernels.compiling import njit
from allocator.kernels.draws import GOLDEN, mixed

SCALE = 4294967296.0  # 2^32: redemption and purchase take half of a 64-bit number each


@njit(nogil=True, cache=True)
def run(key, luck, coupon, chance, paid, moved, gain, shock, redeemed, spent, gained):  # type: ignore[no-untyped-def]
    """Draw every offer once; add to `redeemed`, `spent` and `gained` `(n_coupons,)`.

    An offer is redeemed with probability `min(1, shock * chance)` and then costs `paid`; with probability `moved`, luck
    of its own, the coupon brings in `gain`. `luck` `(n_offers,)` uint64 is what an offer's numbers hang on.
    """
    low = np.uint64(0xFFFFFFFF)
    half = np.uint64(32)
    for e in range(luck.size):
        bits = mixed(mixed(key ^ luck[e]) + GOLDEN)
        k = coupon[e]
        # Below the threshold: exact for 0 and 1, to 2^-32 between.
        if np.float64(bits >> half) < min(1.0, shock * chance[e]) * SCALE:
            redeemed[k] += 1
            spent[k] += paid[e]
        if np.float64(bits & low) < moved[e] * SCALE:
            gained[k] += gain[e]
