"""The whole model, as peers get it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from allocator.demo import Market


@dataclass(frozen=True, eq=False)
class Model:
    """Maximise value . x, lower <= matrix x <= upper, x binary."""

    value: np.ndarray
    matrix: Any
    lower: np.ndarray
    upper: np.ndarray


def market_model(market: Market) -> Model:
    """Return a market's model: a budget, quantities, one offer a user."""
    n_users, n_coupons = market.value.shape
    column = np.arange(n_users * n_coupons)
    user, coupon = np.divmod(column, n_coupons)
    ones = np.ones(column.size)
    capped = [k for k, quantity in enumerate(market.quantities) if quantity is not None]
    matrix = sp.vstack(
        [
            sp.csr_matrix(market.cost.reshape(1, -1)),
            sp.csr_matrix((ones, (coupon, column)))[capped],
            sp.csr_matrix((ones, (user, column))),
        ]
    )
    numbers = [float(market.quantities[k] or 0.0) for k in capped]
    upper = np.concatenate([[market.budget], numbers, np.ones(n_users)])
    return Model(market.value.reshape(-1), sp.csr_matrix(matrix), np.full(upper.size, -np.inf), upper)
