"""What a market's users would do, in expectation and in every draw."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Truth:
    """Expectations over all luck, at a shock of 1; `(n_users,)` without a coupon, `(n_users, n_coupons)` with each.

    Attributes
    ----------
    purchase_without, purchase_with
        P(at least one purchase in the campaign's window).
    spend_without, spend_with
        Expected spend in that window before the coupon's discount, currency.
    redeem_probability, discount
        P(redemption), and the expected discount of an issued coupon, currency.
    later_without, later_with
        Expected spend in a window of the same length after it: repeat purchases less what was bought ahead.
    margin, contact_cost
        Of the settings.
    """

    purchase_without: np.ndarray
    purchase_with: np.ndarray
    spend_without: np.ndarray
    spend_with: np.ndarray
    redeem_probability: np.ndarray
    discount: np.ndarray
    later_without: np.ndarray
    later_with: np.ndarray
    margin: float
    contact_cost: float

    @property
    def uplift(self) -> np.ndarray:
        """`(n_users, n_coupons)` change of P(purchase)."""
        return self.purchase_with - self.purchase_without[:, None]

    @property
    def cost(self) -> np.ndarray:
        """`(n_users, n_coupons)` expected spend on the offer, currency: discount and contact."""
        return self.discount + self.contact_cost

    @property
    def liability(self) -> np.ndarray:
        """`(n_users, n_coupons)` expected discount of a redeemed coupon, currency."""
        return self.discount / np.maximum(self.redeem_probability, 1e-12)

    @property
    def value(self) -> np.ndarray:
        """`(n_users, n_coupons)` expected incremental net revenue in the campaign's window, currency."""
        return self.margin * (self.spend_with - self.spend_without[:, None]) - self.cost

    @property
    def value_later(self) -> np.ndarray:
        """`value`, and the margin gained or lost in a window of the same length after it."""
        return self.value + self.margin * (self.later_with - self.later_without[:, None])


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What the users did in one run of a campaign; all `(n_users,)`.

    Attributes
    ----------
    purchased, redeemed
        bool.
    visits
        int32: purchases in the window.
    spend, discount
        Currency: baskets before the coupon's discount, and that discount (0 where none was redeemed).
    later
        Currency: spend in the window after, in expectation of the baskets.
    shock
        The factor on all redemption that this run had.
    """

    visits: np.ndarray
    spend: np.ndarray
    discount: np.ndarray
    redeemed: np.ndarray
    later: np.ndarray
    shock: float

    @property
    def purchased(self) -> np.ndarray:
        """Whether a user bought at all."""
        return self.visits > 0


@dataclass(frozen=True, eq=False)
class Trial:
    """The randomised trial of the period before the last; arrays over its participants.

    Attributes
    ----------
    user
        int64 row of the market's users.
    arm
        int16: coupon, or -1 for control. Every arm was as likely.
    seen
        `(n, 3)` visits, spend and days since the last visit (-1: none) as of the trial's start.
    outcomes
        What they did in the trial's 28 days; `later` is NaN, the history has it.
    propensity
        The chance of each arm.
    time
        First day.
    """

    user: np.ndarray
    arm: np.ndarray
    seen: np.ndarray
    outcomes: Outcomes
    propensity: float
    time: datetime.date
