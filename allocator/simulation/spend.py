"""What a plan may come to spend: expected, at the 95th percentile and at worst."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from allocator.kernels.sums import exact_sum

NORMAL_95 = 1.6448536269514722  # 95th percentile of a standard normal


@dataclass(frozen=True)
class SpendRisk:
    """What a plan may come to spend, currency.

    Attributes
    ----------
    expected
        The sum of the offers' costs.
    deviation
        Standard deviation of the spend; `None` where the chances of redemption are not known.
    percentile_95
        One campaign in twenty spends more; `None` as above.
    worst
        Every coupon that is issued is redeemed; `None` where neither that chance nor the liability is known.
    over_budget
        About the chance that the spend exceeds the budget, 0 to 1; `None` as above.
    """

    expected: float
    deviation: float | None
    percentile_95: float | None
    worst: float | None
    over_budget: float | None


def spend_risk(
    cost: np.ndarray, liability: np.ndarray, redeem_probability: np.ndarray | None, budget: float
) -> SpendRisk:
    """Return what the issued offers may come to spend where users redeem independently of each other.

    An offer costs its liability L with the chance q = min(redeem_probability, cost / L), and the rest of its cost,
    cost - q L, for certain. So its expected spend is its cost; its variance, q (1 - q) L^2, is the largest that
    a spend between 0 and L with that mean can have (Bhatia and Davis 2000, doi:10.2307/2589180), hence cautious where
    discounts vary below L. The sum is a Poisson-binomial one with weights; its percentile comes from three moments (Cornish and
    Fisher 1938, doi:10.2307/1400905) and is kept between the expected and the worst.

    Parameters
    ----------
    cost, liability, redeem_probability
        `(n_issued,)` float64: currency; currency, NaN where it is not known (then all of the cost is for redemptions:
        the liability is cost / redeem_probability); and 0 to 1 (`None`: not known).
    budget
        Currency.
    """
    expected, unknown = exact_sum(cost), np.isnan(liability)
    if redeem_probability is None:
        worst = None if unknown.any() else exact_sum(np.maximum(cost, liability))
        return SpendRisk(expected, None, None, worst, None)
    possible = unknown & (redeem_probability > 0)
    liability = np.where(unknown, cost, liability)
    np.divide(cost, redeem_probability, out=liability, where=possible)
    worst = exact_sum(np.maximum(cost, liability))
    share = np.divide(cost, liability, out=np.ones_like(cost), where=liability > 0)
    chance = np.minimum(np.minimum(redeem_probability, share), 1.0)
    spread = chance * (1.0 - chance) * liability**2
    variance = float(spread.sum())
    if variance <= 0:
        return SpendRisk(expected, 0.0, expected, worst, float(expected > budget))
    deviation = math.sqrt(variance)
    skewness = float((spread * liability * (1.0 - 2.0 * chance)).sum()) / deviation**3
    percentile = expected + deviation * (NORMAL_95 + (NORMAL_95**2 - 1.0) * skewness / 6.0)
    return SpendRisk(
        expected, deviation, min(max(percentile, expected), worst), worst, _above(budget, expected, deviation, skewness)
    )


def _above(budget: float, expected: float, deviation: float, skewness: float) -> float:
    """Return the chance of a spend above the budget, by the first term of Edgeworth's expansion."""
    z = (budget - expected) / deviation
    density = math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    below = float(ndtr(z)) - skewness / 6.0 * (z * z - 1.0) * density
    return min(max(1.0 - below, 0.0), 1.0)
