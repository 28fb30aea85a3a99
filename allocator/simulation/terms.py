"""Coupon terms as the market's kernels read them, and the coupons of the default campaign."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from allocator.campaign.terms import Coupon
from allocator.errors import UsageError, nearest
from allocator.kernels import market as law
from allocator.simulation.settings import calibration

SCOPE_KEYS = ("category", "department")

DEFAULT_COUPONS: tuple[Coupon, ...] = (
    Coupon(id="3off", kind="fixed", amount=3, min_spend=10, valid_days=28),
    Coupon(id="6off", kind="fixed", amount=6, min_spend=20, valid_days=28),
    Coupon(id="12off", kind="fixed", amount=12, min_spend=40, valid_days=28),
    Coupon(id="15pct", kind="percent", amount=15, max_discount=12, min_spend=10, valid_days=28),
    Coupon(
        id="20pct meat",
        kind="percent",
        amount=20,
        max_discount=6,
        scope={"department": ["MEAT", "MEAT-PCKGD", "DELI"]},
        valid_days=28,
    ),
    Coupon(
        id="2off snacks",
        kind="fixed",
        amount=2,
        min_spend=5,
        scope={"category": ["BAG SNACKS", "SOFT DRINKS"]},
        valid_days=28,
    ),
    Coupon(id="free delivery", kind="free_shipping", amount=4, min_spend=25, valid_days=28),
)


def term_table(coupons: Sequence[Coupon], seed: int) -> np.ndarray:
    """Return `(n_coupons, N_TERMS)` float64, the columns of `kernels.market`.

    Raises
    ------
    UsageError
        Where a coupon's terms do not say what it takes off.
    """
    signs = np.random.default_rng([seed, 602]).choice([-1.0, 1.0], len(coupons))
    table = np.zeros((len(coupons), law.N_TERMS))
    for k, coupon in enumerate(coupons):
        if coupon.kind is None or not coupon.amount:
            raise UsageError(f"coupon {coupon.id!r} needs kind and an amount above 0 to be simulated; give both")
        flat = coupon.kind == "free_shipping"
        percent = coupon.kind == "percent"
        cap = coupon.amount if not percent else 1e9 if coupon.max_discount is None else coupon.max_discount
        table[k, law.SLOPE] = coupon.amount / 100.0 if percent else 1.0
        table[k, law.CAP], table[k, law.FLOOR] = cap, coupon.min_spend or 0.0
        table[k, law.FLAT], table[k, law.SIGN] = float(flat), signs[k]
    return table


def scope_masks(coupons: Sequence[Coupon]) -> np.ndarray:
    """Return `(n_coupons, n_categories)` bool: what each coupon is good for.

    Raises
    ------
    UsageError
        Where a scope names a key or a word that the market's products do not have.
    """
    categories = calibration()["categories"]
    masks = np.ones((len(coupons), len(categories)), bool)
    for k, coupon in enumerate(coupons):
        for key, wanted in (coupon.scope or {}).items():
            if key not in SCOPE_KEYS:
                raise UsageError(
                    f"coupon {coupon.id!r}: scope.{key} is no column of the market's products{nearest(key, SCOPE_KEYS)}; known: {', '.join(SCOPE_KEYS)}"
                )
            words = list(wanted) if isinstance(wanted, (list, tuple)) else [wanted]
            have = [category["name" if key == "category" else "department"] for category in categories]
            for word in words:
                if word not in have:
                    raise UsageError(
                        f"coupon {coupon.id!r}: scope.{key} names {word!r}, which the market does not sell{nearest(word, have)}; known: {', '.join(sorted(set(have)))}"
                    )
            masks[k] &= np.isin(have, words)
        if not masks[k].any():
            raise UsageError(f"coupon {coupon.id!r}: no category fits its whole scope; widen it")
    return masks
