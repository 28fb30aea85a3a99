"""The offers that are issued."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from allocator.problem import Problem

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Plan:
    """Chosen offers, sorted by user and coupon.

    Attributes
    ----------
    user, coupon
        `(n_issued,)` int64: indices into the input's users and coupons.
    offer
        `(n_issued,)` int64: indices into `problem.offers`.
    """

    problem: Problem
    offer: np.ndarray
    user: np.ndarray
    coupon: np.ndarray

    @classmethod
    def of(cls, problem: Problem, offer: np.ndarray) -> Plan:
        """Make a plan of distinct offer indices, in any order."""
        # Solvers join a few ascending lists: a merge sort takes one pass over each.
        offer = np.sort(np.asarray(offer, dtype=np.int64), kind="stable")
        user = problem.offers.users_of(offer)
        if problem.user_row is not None:
            user = problem.user_row[user]
        coupon = problem.offers.coupons_of(offer)
        if problem.offers.start is None and problem.user_row is None:  # a grid's offers are in this order
            return cls(problem, offer, user, coupon)
        # Most tables come out sorted already.
        step = np.diff(user)
        if not ((step > 0) | ((step == 0) & (np.diff(coupon) > 0))).all():
            order = np.lexsort((coupon, user))
            offer, user, coupon = offer[order], user[order], coupon[order]
        return cls(problem, offer, user, coupon)

    def __len__(self) -> int:
        """Return the number of offers issued."""
        return int(self.offer.size)

    @property
    def row(self) -> np.ndarray:
        """`(n_issued,)` rows of the caller's offers table."""
        return self.problem.offers.rows_of(self.offer)

    @property
    def value(self) -> np.ndarray:
        """`(n_issued,)` float64, currency."""
        return self.problem.column("value", self.offer)

    @property
    def cost(self) -> np.ndarray:
        """`(n_issued,)` float64, currency."""
        return self.problem.column("cost", self.offer)

    def to_pandas(self) -> pd.DataFrame:
        """Return a table with `user_id`, `coupon`, `value`, `cost` and the other measures that the problem holds."""
        import pandas as pd

        problem = self.problem
        if problem.user_ids is None:
            user_id = self.user
        else:
            user_id = problem.user_ids.take(problem.offers.users_of(self.offer)).to_numpy(zero_copy_only=False)
        names = np.array(problem.coupon_ids, dtype=object)
        table = {"user_id": user_id, "coupon": names[self.coupon], "value": self.value, "cost": self.cost}
        table.update({name: column[self.offer] for name, column in problem.offers.columns.items()})
        return pd.DataFrame(table)
