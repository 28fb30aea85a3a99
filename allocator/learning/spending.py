"""Expected spend without and with each coupon, whose effects are in proportion to how far a coupon reaches a user."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from allocator.learning.logistic import GROUPS, Logistic, curved
from allocator.learning.pooled import ROUNDS, Lines, Pooling, State
from uplift import Schema, Trial

FIRST_ROUNDS = 3  # of expectation-maximisation, to find the spend without a coupon
MOST_REACH = 8.0  # times the usual one
MOST_LOG = 30.0


@dataclass(frozen=True, eq=False)
class Reach:
    """How far a coupon reaches a user: r sqrt(d / w), as a share of its mean over the trial's users and coupons.

    r is the chance of redemption, d its discount and w the user's expected spend without a coupon. Who is moved is among
    those whom a coupon reaches, and these are in proportion to those who redeem it; how far they are moved grows with the
    discount, each further unit of it less than the one before. Who redeems is seen of every user who got a coupon: no
    control is needed, so it is known far better than any effect, and tells effects apart before their noise does. It also
    makes coupons that hardly anyone redeems a second control group.

    Attributes
    ----------
    redemption
        P(redeemed if issued), the first coupon in the place of control.
    discounts
        `(coupons,)` of a redemption, currency.
    intercept, slope
        Log of the expected spend without a coupon, on the encoded features `(width,)`.
    usual
        Mean of r sqrt(d / w).
    """

    redemption: Logistic
    discounts: np.ndarray
    intercept: float
    slope: np.ndarray
    usual: float

    def of(self, features: Any, x: np.ndarray) -> np.ndarray:
        """`(n, coupons)` of users whose encoded features are `x` `(n, width)`."""
        made = self.redemption.predict(features)
        chances = np.column_stack([made.control, made.treated])[:, : self.discounts.size]
        light = np.exp(-0.5 * np.clip(self.intercept + x @ self.slope, -MOST_LOG, MOST_LOG))
        return np.asarray(np.minimum(chances * np.sqrt(self.discounts) * light[:, None] / self.usual, MOST_REACH))


@dataclass(frozen=True, eq=False)
class Spending(Logistic):
    """log expected spend = base, and with coupon k + message + s_k (intercept[k] + x . slope[k]); whole trial, without each group.

    The first of `intercepts` and `slopes` is the base, the others are those of the coupons.

    Attributes
    ----------
    reach
        Where s comes from; `None`: the trial did not say who redeemed, and s is 1.
    message
        `(1 + groups,)`.
    """

    reach: Reach | None
    message: np.ndarray

    @classmethod
    def of(cls, schema: Schema, fits: list[Lines], reach: Reach | None) -> Spending:
        """Put together the fits to the whole and without each group."""
        lines = np.stack([np.vstack([fit.base, fit.lines[1:]]) for fit in fits])
        none = np.zeros((len(fits) - 1, lines.shape[1] - 1))
        message = np.array([fit.message for fit in fits])
        return cls(schema, lines[:, :, 0], lines[:, :, 1:], none, reach, message)

    def encoded(self, features: Any) -> np.ndarray:
        """`(n, width + coupons)`: the encoded features, then the reach of each coupon."""
        x = super().encoded(features)
        coupons = self.intercepts.shape[1] - 1
        return np.hstack([x, np.ones((len(x), coupons)) if self.reach is None else self.reach.of(features, x)])

    def _chances(self, x: np.ndarray, fit: int) -> np.ndarray:
        width = self.slopes.shape[2]
        lines = self.intercepts[fit] + x[:, :width] @ self.slopes[fit].T
        lines[:, 1:] = lines[:, :1] + self.message[fit] + x[:, width:] * lines[:, 1:]
        return np.asarray(np.exp(np.minimum(lines, MOST_LOG)))


def fit_spending(
    money: Trial, redemption: Logistic | None, discounts: np.ndarray | None, *, seed: int, groups: int = GROUPS
) -> Spending:
    """Fit expected spend in each arm.

    Parameters
    ----------
    money
        A trial whose outcome is spend.
    redemption
        Learned from the same users; `None` where the trial does not say who redeemed.
    discounts
        `(coupons,)` mean discount of a redemption, currency; `None` or NaN: not known, and taken as all alike.
    """
    schema = Schema.fit(money.features)
    x = curved(schema, money.features)
    pooling = Pooling.of(money, x, True)
    state = pooling.estimate(pooling.start(), ROUNDS if redemption is None else FIRST_ROUNDS)
    reach = None
    if redemption is not None:
        reach = _reach(redemption, discounts, pooling.lines(state), money, x)
        every = reach.of(money.features, x)
        got = np.take_along_axis(every, np.maximum(money.arm - 1, 0)[:, None], axis=1)[:, 0]
        reached = Pooling.of(money, x, True, got)
        beta = reached.start().beta
        beta[: 1 + x.shape[1]] = state.beta[: 1 + x.shape[1]]
        state = State(beta, None, reached.start().variance | {"base": state.variance["base"]}, state.dispersion)
        pooling, state = reached, reached.estimate(state, ROUNDS)
    made = Spending.of(schema, pooling.refitted(state, seed, groups), reach)
    return dataclasses.replace(made, centers=made.moved(made.encoded(money.features), money.weight))


def _reach(redemption: Logistic, discounts: np.ndarray | None, found: Lines, money: Trial, x: np.ndarray) -> Reach:
    """Measure reach by a first fit of the spend without a coupon."""
    taken = np.ones(money.n_coupons) if discounts is None else discounts
    known = taken[np.isfinite(taken)]
    taken = np.where(np.isfinite(taken), taken, known.mean() if known.size else 1.0)
    reach = Reach(redemption, np.maximum(taken, 1e-9), float(found.base[0]), found.base[1:], 1.0)
    usual = float(np.average(reach.of(money.features, x).mean(axis=1), weights=money.weight))
    return dataclasses.replace(reach, usual=max(usual, 1e-12))
