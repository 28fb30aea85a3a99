"""What a model of a chance says of users, with the errors that all users share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from uplift import Effects


@dataclass(frozen=True, eq=False)
class Members:
    """Effects, and independent errors behind them.

    Attributes
    ----------
    control
        `(n,)` P(outcome) without a coupon.
    treated
        `(n, coupons)` with each.
    deviations
        `(parts, n, coupons)` float32. If z are `parts` independent standard normal numbers, the same for all users,
        `treated + z . deviations` is a draw of what the truth may be. An average over many users has an error because
        their errors are not independent of each other.
    """

    control: np.ndarray
    treated: np.ndarray
    deviations: np.ndarray

    @property
    def uplift(self) -> np.ndarray:
        """`(n, coupons)`."""
        return self.treated - self.control[:, None]

    @property
    def standard_error(self) -> np.ndarray:
        """`(n, coupons)` of the uplift."""
        return np.asarray(np.sqrt(np.square(self.deviations, dtype=np.float64).sum(axis=0)))

    def effects(self) -> Effects:
        """Return the same as `uplift` has it."""
        return Effects(self.control, self.treated, self.standard_error)


class Ensemble(Protocol):
    """A fitted model that knows its errors."""

    def predict_members(self, features: Any) -> Members:
        """Estimate the outcome of users without and with each coupon."""
        ...
