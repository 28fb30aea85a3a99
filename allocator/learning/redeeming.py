"""What a redemption takes off: seen of everyone who redeemed in the trial, so no control is needed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEAST = 20  # redemptions of a coupon from which its discounts are learned; below, its terms tell
HELD = 20.0  # the slope is drawn to 0 as if so many more redemptions showed none


@dataclass(frozen=True, eq=False)
class Discounts:
    """Mean discount of a redemption by coupon, in a line on the log of the user's expected spend without a coupon.

    A percent of a heavy buyer's basket is more than of a light one's, and plans favour heavy buyers.

    Attributes
    ----------
    mean
        `(coupons,)` currency; NaN where it was redeemed too seldom to tell.
    slope, center
        `(coupons,)` of the line, currency, and where it has the mean.
    low, high
        `(coupons,)` least and most that any redemption took off: the line ends there.
    """

    mean: np.ndarray
    slope: np.ndarray
    center: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def fit(
        cls, arm: np.ndarray, redeemed: np.ndarray, discount: np.ndarray, weight: np.ndarray, spend: np.ndarray | None
    ) -> Discounts:
        """Fit.

        Parameters
        ----------
        arm, redeemed, discount, weight
            `(n,)` of the trial; arm 0 is control.
        spend
            `(n,)` expected spend without a coupon, currency; `None`: not known, and the line is flat.
        """
        coupons = int(arm.max())
        mean, low, high = (np.full(coupons, np.nan) for _ in range(3))
        slope, center = np.zeros(coupons), np.zeros(coupons)
        for k in range(coupons):
            rows = np.flatnonzero((arm == k + 1) & (redeemed > 0))
            if rows.size < LEAST:
                continue
            d, w = discount[rows], weight[rows] / weight[rows].mean()
            mean[k], low[k], high[k] = np.average(d, weights=w), d.min(), d.max()
            if spend is not None:
                x = _log(spend[rows])
                center[k] = np.average(x, weights=w)
                x = x - center[k]
                scatter = float((w * x**2).sum())
                held = HELD / rows.size * scatter
                slope[k] = float((w * x * (d - mean[k])).sum()) / max(scatter + held, 1e-12)
        return cls(mean, slope, center, low, high)

    def of(self, spend: np.ndarray | None, n: int) -> np.ndarray:
        """`(n, coupons)` currency, NaN where not known; `spend` `(n,)` as in `fit`."""
        if spend is None:
            return np.broadcast_to(self.mean, (n, self.mean.size))
        line = self.mean + self.slope * (_log(spend)[:, None] - self.center)
        return np.asarray(np.clip(line, self.low, self.high))


def _log(spend: np.ndarray) -> np.ndarray:
    return np.asarray(np.log(np.maximum(spend, 1e-6)))
