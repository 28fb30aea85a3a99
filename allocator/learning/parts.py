"""What a trained model is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from allocator.campaign import Coupon
from allocator.history import ProfileSchema
from allocator.learning.calibrating import Calibration
from allocator.learning.candidates import Fitted
from allocator.learning.card import Card
from allocator.learning.logistic import Logistic
from allocator.learning.redeeming import Discounts
from allocator.learning.spending import Spending
from allocator.learning.wanting import Kept
from uplift import Features
from uplift.amounts import Amount


@dataclass(frozen=True, eq=False)
class Baskets:
    """What a purchase spends.

    Attributes
    ----------
    amount
        By features and coupon; `None` where the trial had too few buyers for that, and `mean` stands for all.
    mean
        Currency, over the trial's purchases.
    spread
        Standard deviation of the logarithm of the spend around what was expected.
    """

    amount: Amount | None
    mean: float
    spread: float

    def predict(self, features: Features, coupons: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the expected spend of a purchase without `(n,)` and with each coupon `(n, coupons)`."""
        if self.amount is None:
            return np.full(len(features), self.mean), np.full((len(features), coupons), self.mean)
        return self.amount.predict(features)

    def errors(self, coupons: int) -> np.ndarray:
        """`(coupons,)` standard error of each coupon's effect on the logarithm of the spend."""
        if self.amount is None or self.amount.errors is None:
            return np.zeros(coupons)
        return self.amount.errors


@dataclass(frozen=True, eq=False)
class Parts:
    """The parts of a trained model.

    Attributes
    ----------
    coupons
        Ids of the trial's coupons.
    terms
        Their terms where `train` was given them.
    purchase
        Of P(purchase), not calibrated.
    calibration
        What its uplift is multiplied with.
    baskets
        What a purchase spends; `None` where the trial had no spend.
    spending
        Of expected spend, not calibrated: where sales come from. `None` where the trial had no spend.
    redemption
        Of P(redeemed if issued), the first coupon in the place of control; `None` where the trial did not say.
    discounts
        What a redemption takes off; `None` where the trial did not say.
    profile
        Which of the features are made of transactions; `None` where none are.
    observational
        Whether the effects rest on users who were not drawn by lot.
    relevance
        What was learned of purchases from scopes; `None` where there were no products, or too short a past.
    card
        What is known of how good it is.
    manifest
        What it was made from and with.
    home
        The folder that it was loaded from; `None`: it was not.
    """

    coupons: tuple[str, ...]
    terms: tuple[Coupon, ...] | None
    purchase: Fitted
    calibration: Calibration
    baskets: Baskets | None
    spending: Spending | None
    redemption: Logistic | None
    discounts: Discounts | None
    profile: ProfileSchema | None
    observational: bool
    card: Card
    manifest: Mapping[str, Any]
    relevance: Kept | None = None
    home: Path | None = None
