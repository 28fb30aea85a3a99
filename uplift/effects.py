"""What a model says of users: the outcome without and with each coupon, and how sure it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_Z90 = 1.6448536269514722  # a two-sided normal interval of 90 %


@dataclass(frozen=True, eq=False)
class Effects:
    """Estimated outcomes of users.

    Attributes
    ----------
    control
        `(n,)` float64: expected outcome without a coupon (a probability where the outcome is binary).
    treated
        `(n, coupons)` float64: expected outcome with each coupon.
    standard_error
        `(n, coupons)` float64: standard error of the uplift; NaN where the model does not know.
    """

    control: np.ndarray
    treated: np.ndarray
    standard_error: np.ndarray

    @classmethod
    def create(cls, control: np.ndarray, treated: np.ndarray, standard_error: np.ndarray | None = None) -> Effects:
        """Take arrays; without `standard_error` it is unknown."""
        if standard_error is None:
            standard_error = np.full(treated.shape, np.nan)
        return cls(control, treated, standard_error)

    def __len__(self) -> int:
        """Return the number of users."""
        return int(self.control.size)

    @property
    def uplift(self) -> np.ndarray:
        """`(n, coupons)` expected change of the outcome by each coupon."""
        return self.treated - self.control[:, None]

    def interval(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the 90 % interval of the uplift, low and high, `(n, coupons)` each."""
        return self.uplift - _Z90 * self.standard_error, self.uplift + _Z90 * self.standard_error

    def take(self, rows: np.ndarray) -> Effects:
        """Return these users alone."""
        return Effects(self.control[rows], self.treated[rows], self.standard_error[rows])
