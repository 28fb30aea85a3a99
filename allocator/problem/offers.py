"""The candidate (user, coupon) pairs, user by user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Offers:
    """Offers in user order: a dense `(n_users, n_coupons)` grid, or lists of any length (CSR).

    Attributes
    ----------
    n_users, n_coupons
        Sizes; every user has an index in `0..n_users - 1`, with or without offers.
    start
        `(n_users + 1,)` int64: user i has offers `start[i]..start[i + 1] - 1`. `None`: dense, user i has offers
        `i * n_coupons..(i + 1) * n_coupons - 1`, one a coupon.
    coupon
        `(n_offers,)` int32 coupon index. `None`: dense.
    value, cost
        `(n_offers,)` float64, currency. A NaN value marks an absent pair (dense only).
    columns
        Further measures by name, each `(n_offers,)` float64.
    row
        `(n_offers,)` row of the caller's table that each offer came from. `None`: in the caller's order.
    """

    n_users: int
    n_coupons: int
    start: np.ndarray | None
    coupon: np.ndarray | None
    value: np.ndarray
    cost: np.ndarray
    columns: Mapping[str, np.ndarray]
    row: np.ndarray | None
    present: int

    @property
    def n_offers(self) -> int:
        """Length of the offer arrays; `present` counts the pairs that exist."""
        return int(self.value.size)

    def coupons_of(self, offers: np.ndarray) -> np.ndarray:
        """Return the coupon index of each of these offer indices, int64."""
        if self.coupon is None:
            return offers % self.n_coupons
        return self.coupon[offers].astype(np.int64)

    def users_of(self, offers: np.ndarray) -> np.ndarray:
        """Return the user index of each of these offer indices, int64."""
        if self.start is None:
            return offers // self.n_coupons
        return np.searchsorted(self.start, offers, side="right").astype(np.int64) - 1

    def rows_of(self, offers: np.ndarray) -> np.ndarray:
        """Return the row in the caller's table of each of these offer indices."""
        return offers if self.row is None else self.row[offers]
