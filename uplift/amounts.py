"""How much is spent by those who buy: few rows and long tails, so few parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from uplift.effects import Effects
from uplift.errors import TrialError
from uplift.features import Schema
from uplift.links import Link
from uplift.splitting import assign_folds
from uplift.stacking import fit_stack
from uplift.trial import Trial

_STRENGTHS = np.geomspace(1e-3, 10.0, 9)  # ridge penalties tried, on the average loss


@dataclass(frozen=True, eq=False)
class Amount:
    """Log-linear average amount of buyers, and one shrunk factor a coupon.

    Attributes
    ----------
    coefficients
        `(1 + width,)`.
    averages
        `(coupons,)` effect of each coupon on the logarithm.
    share
        `(arms,)` that the effects are centred on.
    errors
        `(coupons,)` standard errors of the averages; `None` where they were not kept.
    """

    schema: Schema
    coefficients: np.ndarray
    averages: np.ndarray
    share: np.ndarray
    errors: np.ndarray | None = None

    def predict(self, features: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the expected amount without `(n,)` and with each coupon `(n, coupons)`."""
        start = self.coefficients[0] + self.schema.encode(features) @ self.coefficients[1:]
        start = start - self.averages @ self.share[1:]
        return np.exp(start), np.exp(start[:, None] + self.averages)


def amount_of_buyers(buyers: Trial, folds: int, seed: int, *, doubt: bool = False) -> tuple[Amount, Effects]:
    """Fit amounts on those who bought; also return those of the buyers out of fold. `doubt` as in `fit_stack`.

    Raises
    ------
    TrialError
        Where an arm has fewer buyers than folds.
    """
    counts = np.bincount(buyers.arm, minlength=buyers.n_arms)
    if counts.min() < folds:
        raise TrialError(
            f"an arm has {counts.min()} buyers; the amounts of {folds} folds need at least {folds} in each"
        )
    schema = Schema.fit(buyers.features)
    share = counts / counts.sum()
    model, control, treated = fit_amount(
        schema,
        schema.encode(buyers.features),
        buyers.outcome,
        np.eye(buyers.n_arms)[buyers.arm][:, 1:] - share[1:],
        buyers.weight,
        share,
        assign_folds(buyers, folds, np.random.default_rng([seed, 8])),
        doubt=doubt,
    )
    return model, Effects.create(control, treated)


def fit_amount(
    schema: Schema,
    users: np.ndarray,
    amount: np.ndarray,
    design: np.ndarray,
    weight: np.ndarray,
    share: np.ndarray,
    fold: np.ndarray,
    *,
    doubt: bool,
) -> tuple[Amount, np.ndarray, np.ndarray]:
    """Fit on buyers; the penalty with the least loss out of fold is taken. `doubt` as in `fit_stack`.

    Returns the model, and the amounts out of fold without `(n,)` and with each coupon `(n, coupons)`.
    """
    link = Link(binary=False)
    scale = float(np.average(amount, weights=weight))
    y = amount / scale
    folds = range(int(fold.max()) + 1)
    losses, predictors = [], []
    for strength in _STRENGTHS:
        unseen = np.empty(y.size)
        for f in folds:
            rest = fold != f
            theta = _ridge(users[rest], y[rest], weight[rest], strength, link)
            unseen[~rest] = theta[0] + users[~rest] @ theta[1:]
        predictors.append(unseen)
        losses.append(float(np.average(link.loss(unseen, y), weights=weight)))
    flat = np.zeros(y.size)
    best = int(np.argmin(losses))
    if losses[best] >= float(np.average(link.loss(flat, y), weights=weight)):
        theta, offset = np.zeros(users.shape[1] + 1), flat  # the features say nothing of the amount
    else:
        theta, offset = _ridge(users, y, weight, float(_STRENGTHS[best]), link), predictors[best]
    mean = link.mean(offset)
    dispersion = float(np.average((y - mean) ** 2 / mean, weights=weight))
    stack = fit_stack({}, y, offset, design, weight, link, dispersion, scaled=False, doubt=doubt)
    averages = np.array(stack.averages)
    theta[0] += np.log(scale) + stack.level
    start = offset + np.log(scale) + stack.level - averages @ share[1:]
    model = Amount(schema, theta, averages, share, np.array(stack.average_errors))
    return model, np.exp(start), np.exp(start[:, None] + averages)


def _ridge(users: np.ndarray, y: np.ndarray, weight: np.ndarray, strength: float, link: Link) -> np.ndarray:
    x = np.column_stack([np.ones(y.size), users.astype(np.float64)])
    w = weight / weight.sum()
    penalty = np.full(x.shape[1], strength)
    penalty[0] = 1e-9
    theta = np.zeros(x.shape[1])
    for _ in range(30):
        mean = link.mean(x @ theta)
        hessian = (x * (w * mean)[:, None]).T @ x + np.diag(penalty)
        step = np.linalg.solve(hessian, x.T @ (w * (y - mean)) - penalty * theta)
        theta = theta + step * min(1.0, 1.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-9:
            break
    return theta
