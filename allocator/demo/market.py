"""A made-up but realistic campaign, seeded: for the first run on a fresh machine, and for benchmarks.

Users differ in how likely they buy anyway, in basket, in how they respond; the response is concave in the face
value; some buy less when nudged. Budgets and quantities are set so that they bind.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MARGIN = 0.32  # of the basket's price, before discounts
CONTACT_COST = 0.03  # currency per offer
REGIONS = ("north", "south", "east", "west")
SEGMENTS = ("new", "active", "loyal", "lapsed")


@dataclass(frozen=True, eq=False)
class Market:
    """Offers and rules of a made-up campaign.

    Attributes
    ----------
    value, cost
        `(n_users, width)` float64, currency; `width` offers for each user.
    coupon
        `(n_users, width)` int32 coupon index, or `None` where offer j is of coupon j.
    face_value
        `(n_coupons,)` float64, currency.
    quantities
        One number for each coupon, `None` for half of them.
    budget
        Currency.
    redeem_probability
        `(n_users, width)` float64.
    region, segment
        `(n_users,)` int8 codes into `REGIONS` and `SEGMENTS`.
    """

    value: np.ndarray
    cost: np.ndarray
    coupon: np.ndarray | None
    face_value: np.ndarray
    quantities: list[float | None]
    budget: float
    redeem_probability: np.ndarray
    region: np.ndarray
    segment: np.ndarray


def market(
    n_users: int, n_coupons: int = 8, *, eligible: int | None = None, seed: int = 0, budget_share: float = 0.22
) -> Market:
    """Make a market.

    Parameters
    ----------
    n_users, n_coupons
        Sizes.
    eligible
        How many coupons each user is eligible for; by default all.
    seed
        Same seed, same bytes.
    budget_share
        The budget as a share of what would be spent without any limit.
    """
    rng = np.random.default_rng(seed)
    face = np.round(np.linspace(2.0, 18.0, n_coupons) * 2) / 2
    appeal = np.exp(rng.normal(0.0, 0.25, n_coupons))
    coupon = None
    if eligible is not None and eligible < n_coupons:
        coupon = _eligible_coupons(rng, n_users, n_coupons, eligible)
    segment = rng.choice(4, n_users, p=[0.2, 0.35, 0.25, 0.2]).astype(np.int8)
    region = rng.choice(4, n_users, p=[0.4, 0.25, 0.2, 0.15]).astype(np.int8)
    value, cost, redeem = _responses(rng, segment, coupon, face, appeal)
    chosen, spend = _free_choice(value, cost)
    budget = float(np.round(budget_share * spend, 2))
    price = _budget_price(value, cost, budget)
    chosen, _ = _free_choice(value - price * cost, cost)
    index = (
        chosen if coupon is None else np.where(chosen >= 0, np.take_along_axis(coupon, chosen[:, None], 1)[:, 0], -1)
    )
    taken = np.bincount(index[index >= 0], minlength=n_coupons)
    binding = np.zeros(n_coupons, dtype=bool)
    binding[rng.permutation(n_coupons)[: n_coupons // 2]] = True
    quantities = [float(max(1, int(0.6 * count))) if bind else None for count, bind in zip(taken, binding, strict=True)]
    return Market(value, cost, coupon, face, quantities, budget, redeem, region, segment)


def _eligible_coupons(rng: np.random.Generator, n_users: int, n_coupons: int, eligible: int) -> np.ndarray:
    """Draw distinct coupons for each user, one from each of `eligible` equal strata of the coupons."""
    edges = np.linspace(0, n_coupons, eligible + 1).astype(np.int64)
    width = np.diff(edges)
    return (edges[:-1] + (rng.random((n_users, eligible)) * width).astype(np.int64)).astype(np.int32)


def _responses(
    rng: np.random.Generator, segment: np.ndarray, coupon: np.ndarray | None, face: np.ndarray, appeal: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n_users = segment.size
    width = face.size if coupon is None else coupon.shape[1]
    lean = np.array([0.06, 0.16, 0.3, 0.04])[segment]
    base = np.clip(rng.beta(1.2, 6.0, n_users) * lean / 0.17, 1e-4, 0.9)
    basket = np.exp(rng.normal(3.6, 0.6, n_users))
    strength = rng.gamma(1.5, 0.2, n_users)
    strength[rng.random(n_users) < 0.12] *= -0.5  # users who buy less when nudged
    scale = np.exp(rng.normal(2.0, 0.5, n_users))
    value = np.empty((n_users, width))
    cost = np.empty((n_users, width))
    redeem = np.empty((n_users, width))
    for j in range(width):
        k = np.full(n_users, j) if coupon is None else coupon[:, j]
        pull = 1.0 - np.exp(-face[k] / scale)
        noise = np.exp(rng.normal(0.0, 0.2, n_users))
        uplift = np.clip(strength * appeal[k] * noise * pull * (1.0 - base), -base, 0.95 - base)
        bought = base + uplift
        redeemed = bought * np.minimum(0.9, 0.25 + 0.6 * pull)
        cost[:, j] = redeemed * np.minimum(face[k], 0.5 * basket) + CONTACT_COST
        value[:, j] = MARGIN * basket * 1.6 * uplift - cost[:, j]
        redeem[:, j] = redeemed
    return value, cost, redeem


def _free_choice(value: np.ndarray, cost: np.ndarray) -> tuple[np.ndarray, float]:
    """Return each user's best offer (-1: none) and its total cost."""
    best = value.argmax(axis=1)
    rows = np.arange(value.shape[0])
    chosen = np.where(value[rows, best] > 0, best, -1)
    return chosen, float(cost[rows, best][chosen >= 0].sum())


def _budget_price(value: np.ndarray, cost: np.ndarray, budget: float) -> float:
    """Bisect the price of the budget on at most 20,000 users."""
    few = slice(0, 20_000)
    target = budget * value[few].shape[0] / value.shape[0]
    low, high = 0.0, 20.0
    for _ in range(40):
        middle = (low + high) / 2
        _, spend = _free_choice(value[few] - middle * cost[few], cost[few])
        low, high = (middle, high) if spend > target else (low, middle)
    return high
