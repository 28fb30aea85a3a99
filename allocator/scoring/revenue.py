"""The net revenue model: what an offer earns and costs, from what a model expects of the user.

For user i and coupon k, each expectation over one campaign window:

    D     = r x d                      expected discount: P(redeemed) x discount if redeemed
    sales = p_k b_k - p_0 b_0          incremental sales, as the model's spend counts them
    cost  = D + contact_cost
    value = margin x (sales + D) - D - contact_cost

with p_0, p_k the chance of a purchase without and with the coupon, b_0, b_k the expected spend of that purchase, and
margin the share of the goods' full price that is gross profit. The term margin x D is there where spend is what was paid
after the discount: the goods sold were worth that much more. It falls away where spend is the price before the discount.

r is the learned chance of redemption, or else

    r = redeem_share x P(B >= min_spend) x p_k                              a coupon for everything
    r = redeem_share x P(B >= min_spend) x min(p_k, q + max(p_k - p_0, 0))  a coupon for a scope

where q is the relevance: who buys from the scope anyway redeems, and so does who buys because of the coupon. So every
purchase that would have come anyway and redeems costs its discount and earns nothing (cannibalisation). B is the basket
that the discount counts on: of the purchase, or for a scope with known spend the user's spend on it. d is
what a redemption took off in the trial where it tells, else E[min(rate x B, most) | B >= min_spend] of a lognormal B
(`allocator.scoring.discounts`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from allocator.campaign import Coupon, Header
from allocator.errors import UsageError
from allocator.scoring.discounts import Discount


@dataclass(frozen=True)
class Assumptions:
    """What the planner states; see `allocator.campaign.Header` for each.

    Attributes
    ----------
    spread
        Of baskets, as stated or as learned.
    """

    margin: float
    contact_cost: float
    redeem_share: float
    shipping_cost: float
    after_discount: bool
    spread: float

    @classmethod
    def of(cls, header: Header, learned_spread: float | None) -> Assumptions:
        """Take those of a campaign file; the spread of baskets as learned where the file gives none."""
        spread = header.basket_spread or learned_spread or DEFAULT_SPREAD
        return cls(
            header.margin,
            header.contact_cost,
            header.redeem_share,
            header.shipping_cost,
            header.spend_is == "after_discount",
            spread,
        )


DEFAULT_SPREAD = 0.6


def check_basket(learned: bool, stated: float | None) -> None:
    """Raise `UsageError` where nobody knows what a purchase spends: neither the model nor the campaign file."""
    if not learned and stated is None:
        raise UsageError(
            "the model's trial had no spend, so it does not know what a purchase brings: write basket = 40 (mean "
            "spend of a purchase, currency) under [campaign], or train on a trial with a column 'spend'"
        )


@dataclass(frozen=True, eq=False)
class Expected:
    """What a model expects of n users and K coupons.

    Attributes
    ----------
    purchase_without
        `(n,)` P(purchase) without a coupon.
    purchase_with
        `(n, K)`.
    basket_without
        `(n,)` spend of a purchase, currency.
    basket_with
        `(n, K)`.
    redeem
        `(n, K)` P(redeemed if issued); NaN where it was not learned.
    relevance
        `(n, K)` P(purchase from the coupon's scope without a coupon); NaN where the coupon is for everything or
        relevance was not learned.
    scope_basket
        `(n, K)` spend of such a purchase on the scope, currency; NaN where not known.
    taken
        `(K,)` mean discount of a redemption, currency; NaN where it was not learned, and the terms tell.
    """

    purchase_without: np.ndarray
    purchase_with: np.ndarray
    basket_without: np.ndarray
    basket_with: np.ndarray
    redeem: np.ndarray
    relevance: np.ndarray
    scope_basket: np.ndarray
    taken: np.ndarray


@dataclass(frozen=True, eq=False)
class Valued:
    """Offers, `(n, K)` each.

    Attributes
    ----------
    value, cost, liability
        Currency. Liability is the face value where the terms tell one, else the discount if redeemed.
    redeem
        P(redeemed if issued).
    sales
        Incremental sales, currency.
    per_purchase
        Change of value with the chance of a purchase: what an error of the uplift becomes.
    per_basket
        Change of value with the logarithm of the basket.
    """

    value: np.ndarray
    cost: np.ndarray
    liability: np.ndarray
    redeem: np.ndarray
    sales: np.ndarray
    per_purchase: np.ndarray
    per_basket: np.ndarray


def value_offers(expected: Expected, coupons: Sequence[Coupon], assumptions: Assumptions) -> Valued:
    """Value every (user, coupon) pair; the module's text has the formula."""
    p0, pk = expected.purchase_without[:, None], expected.purchase_with
    bk = expected.basket_with
    redeem, taken, follows = _redemption(expected, coupons, assumptions)
    discount = redeem * taken
    kept = assumptions.margin * assumptions.after_discount - 1.0  # what a unit of discount adds to value: below 0
    sales = pk * bk - p0 * expected.basket_without[:, None]
    value = assumptions.margin * sales + kept * discount - assumptions.contact_cost
    # Where redemption follows the purchase, an error in the purchase is one in the discount too.
    with np.errstate(divide="ignore", invalid="ignore"):
        by_purchase = np.where(follows & (pk > 0), discount / pk, 0.0)
    face = [_face_value(coupon, assumptions) for coupon in coupons]
    liability = np.column_stack([np.full(len(pk), f) if f is not None else taken[:, k] for k, f in enumerate(face)])
    return Valued(
        value=value,
        cost=discount + assumptions.contact_cost,
        liability=liability,
        redeem=redeem,
        sales=sales,
        per_purchase=assumptions.margin * bk + kept * by_purchase,
        per_basket=assumptions.margin * pk * bk,
    )


def _face_value(coupon: Coupon, assumptions: Assumptions) -> float | None:
    if coupon.kind is None:
        return 0.0
    if coupon.kind == "free_shipping" and coupon.amount is None:
        return assumptions.shipping_cost
    return coupon.face_value


def _redemption(
    expected: Expected, coupons: Sequence[Coupon], assumptions: Assumptions
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`(n, K)` P(redeemed), discount if redeemed, and whether redemption was derived from the purchase."""
    pk = expected.purchase_with
    redeem, taken = np.empty_like(pk), np.empty_like(pk)
    derived = np.isnan(expected.redeem)
    more = np.maximum(pk - expected.purchase_without[:, None], 0.0)
    able = np.where(np.isnan(expected.relevance), pk, np.minimum(pk, expected.relevance + more))
    basket = np.where(np.isnan(expected.scope_basket), expected.basket_with, expected.scope_basket)
    for k, coupon in enumerate(coupons):
        reaches, given = Discount.of(coupon, assumptions.shipping_cost).expected(basket[:, k], assumptions.spread)
        if coupon.kind is None:
            reaches = np.zeros_like(reaches)  # nothing to redeem
        redeem[:, k] = assumptions.redeem_share * reaches * able[:, k]
        taken[:, k] = np.divide(given, reaches, out=np.zeros_like(given), where=reaches > 1e-12)
    if not derived.all():
        redeem = np.where(derived, redeem, expected.redeem)
    taken = np.where(np.isnan(expected.taken), taken, expected.taken)
    return redeem, taken, derived
