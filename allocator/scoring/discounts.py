"""What a coupon takes off a purchase: minimum spend, percent caps, baskets smaller than the face value.

A purchase's basket B is taken as lognormal around its expected spend; every expectation below then has a closed form in
the normal distribution (the partial expectations of Black and Scholes 1973, 10.1086/260062).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from allocator.campaign import Coupon

_LEAST_SPREAD = 1e-6  # a spread of 0 would divide by 0


@dataclass(frozen=True)
class Discount:
    """The discount on a basket B: min(rate x B, most) where B >= min_spend, else 0.

    Attributes
    ----------
    rate
        Share of the basket; 1 for a fixed amount, which cannot exceed the basket; 0 for free shipping.
    most
        Currency; infinite where a percent coupon has no cap. For free shipping the discount itself.
    min_spend
        Currency.
    """

    rate: float
    most: float
    min_spend: float

    @classmethod
    def of(cls, coupon: Coupon, shipping_cost: float) -> Discount:
        """Return the discount of a coupon's terms; a coupon without a kind takes nothing off."""
        least = coupon.min_spend or 0.0
        amount = coupon.amount or 0.0
        if coupon.kind == "percent":
            return cls(amount / 100.0, math.inf if coupon.max_discount is None else coupon.max_discount, least)
        if coupon.kind == "fixed":
            return cls(1.0, amount, least)
        if coupon.kind == "free_shipping":
            return cls(0.0, shipping_cost if coupon.amount is None else amount, least)
        return cls(0.0, 0.0, least)

    def expected(self, basket: np.ndarray, spread: float) -> tuple[np.ndarray, np.ndarray]:
        """Return P(B >= min_spend) and E[discount on B; B >= min_spend], each in the shape of `basket`.

        Parameters
        ----------
        basket
            Expected basket of a purchase, currency, >= 0.
        spread
            Standard deviation of log B.
        """
        sigma = max(spread, _LEAST_SPREAD)
        reaches = _beyond(basket, self.min_spend, sigma)[0]
        if self.rate == 0.0:
            return reaches, self.most * reaches
        # Below `bend` the discount is a share of the basket, from there on it is `most`.
        bend = max(self.most / self.rate, self.min_spend)
        share_of = _beyond(basket, self.min_spend, sigma)[1]
        if not math.isfinite(bend):
            return reaches, self.rate * share_of
        beyond, basket_beyond = _beyond(basket, bend, sigma)
        return reaches, self.rate * (share_of - basket_beyond) + min(self.most, self.rate * bend) * beyond


def _beyond(basket: np.ndarray, level: float, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """P(B >= level) and E[B; B >= level]."""
    if level <= 0.0:
        return np.ones_like(basket), basket
    with np.errstate(divide="ignore"):  # a basket of 0 is below every level
        place = (np.log(basket / level) - 0.5 * sigma**2) / sigma
    return ndtr(place), basket * ndtr(place + sigma)
