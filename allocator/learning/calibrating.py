"""No promise that the trial does not keep: what a model predicts is brought to what users it did not see showed.

A plan picks the offers with the largest predictions, so it picks their errors too (the optimiser's curse: Smith and
Winkler 2006, 10.1287/mnsc.1050.0451). Two factors temper that: one on each coupon's average (the level), one on
users' deviations from it (the spread). Both are regressions of doubly robust scores on cross-fitted predictions, drawn
toward a normal prior as far as their own errors suggest. An average is near what the trial shows, so the level's prior is
near 1; how much of the deviations is real is not known beforehand, so the trial has most of the say on the spread. Models
whose own shrinkage was estimated (`allocator.learning.pooled`) need less of it: their spread's prior is nearer to 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from allocator.learning.members import Members
from uplift import Effects, Trial
from uplift.metrics import dr_scores

# Mean and standard deviation of a factor before the trial is asked.
LEVEL_PRIOR, SPREAD_PRIOR = (1.0, 0.25), (0.5, 0.5)
SALES_SPREAD_PRIOR = (1.0, 0.3)
MOST = 1.5


@dataclass(frozen=True)
class Factor:
    """A factor as the trial alone has it, with its error, and as it is used."""

    raw: float
    standard_error: float
    used: float


ONE = Factor(1.0, 0.0, 1.0)  # where there is nothing to fit it on


@dataclass(frozen=True)
class Calibration:
    """What predictions are multiplied with.

    Attributes
    ----------
    averages
        `(coupons,)` average predicted uplift of the trial's users, that the spread is around.
    level, spread
        Of the uplift of the purchase.
    sales_ratios
        `(coupons,)` average predicted incremental sales as a share of the spend without a coupon, that the spread is
        around: who spends little is not drawn toward what heavy buyers gain. Empty where the trial has no spend.
    sales, sales_spread
        Level and spread of incremental sales.
    """

    averages: tuple[float, ...]
    level: Factor
    spread: Factor
    sales_ratios: tuple[float, ...] = ()
    sales: Factor = ONE
    sales_spread: Factor = ONE

    def apply(self, members: Members) -> Members:
        """Return calibrated members; the errors shrink with the larger of the two factors."""
        return _scaled(members, np.array(self.averages), self.level.used, self.spread.used, 1.0)

    def apply_to_sales(self, members: Members) -> Members:
        """Return calibrated members of spend, currency."""
        middle = members.control[:, None] * np.array(self.sales_ratios)
        return _scaled(members, middle, self.sales.used, self.sales_spread.used, None)

    def effects(self, effects: Effects) -> Effects:
        """Calibrate effects without errors."""
        return self.apply(_without_errors(effects)).effects()

    def sales_effects(self, effects: Effects) -> Effects:
        """Calibrate effects on spend."""
        return self.apply_to_sales(_without_errors(effects)).effects()


def _scaled(members: Members, middle: np.ndarray, level: float, spread: float, most: float | None) -> Members:
    uplift = level * middle + spread * (members.uplift - middle)
    treated = np.clip(members.control[:, None] + uplift, 0.0, most)
    return Members(members.control, treated, members.deviations * np.float32(max(level, spread)))


def _without_errors(effects: Effects) -> Members:
    return Members(effects.control, effects.treated, np.zeros((1, *effects.treated.shape), dtype=np.float32))


def calibrate(trial: Trial, effects: Effects) -> Calibration:
    """Fit level and spread on cross-fitted effects of a trial's purchase."""
    averages = np.average(effects.uplift, axis=0, weights=trial.weight)
    level, spread = _factors(trial, effects, averages, (LEVEL_PRIOR, SPREAD_PRIOR))
    return Calibration(tuple(averages.tolist()), level, spread)


def calibrate_sales(calibration: Calibration, money: Trial, spend: Effects) -> Calibration:
    """Add level and spread of incremental sales, fitted on cross-fitted spend; the outcome of `money` is spend."""
    gains = np.average(spend.uplift, axis=0, weights=money.weight)
    ratios = gains / max(float(np.average(spend.control, weights=money.weight)), 1e-12)
    level, spread = _factors(money, spend, spend.control[:, None] * ratios, (LEVEL_PRIOR, SALES_SPREAD_PRIOR))
    return dataclasses.replace(calibration, sales_ratios=tuple(ratios.tolist()), sales=level, sales_spread=spread)


def _factors(
    trial: Trial, effects: Effects, middle: np.ndarray, priors: Sequence[tuple[float, float]]
) -> tuple[Factor, Factor]:
    scores = dr_scores(trial, effects)
    gain = scores[:, 1:] - scores[:, :1]
    columns = np.stack([np.broadcast_to(middle, gain.shape), effects.uplift - middle], axis=-1)
    raw, covariance = _regression(columns, gain, trial.weight)
    used = _posterior(raw, covariance, priors)
    error = np.sqrt(np.diag(covariance))
    level, spread = (Factor(float(raw[j]), float(error[j]), float(np.clip(used[j], 0.0, MOST))) for j in range(2))
    return level, spread


def _regression(columns: np.ndarray, gain: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least squares of `(n, K)` scores on `(n, K, p)` columns; the covariance counts users, not pairs."""
    w = weight / weight.sum()
    p = columns.shape[-1]
    scale = np.sqrt(np.einsum("n,nkp->p", w, columns**2)) + 1e-300
    x = columns / scale
    gram = np.einsum("n,nkp,nkq->pq", w, x, x)
    # A column of zeros (no spread at all) says nothing: its factor stays at the prior.
    dead = np.diag(gram) < 0.5
    gram[dead, dead] = 1.0
    inverse = np.linalg.inv(gram + 1e-9 * np.eye(p))
    theta = inverse @ np.einsum("n,nkp,nk->p", w, x, gain)
    residual = gain - x @ theta
    by_user = w[:, None] * np.einsum("nkp,nk->np", x, residual)
    covariance = inverse @ (by_user.T @ by_user) @ inverse
    theta, covariance = theta / scale, covariance / np.outer(scale, scale)
    theta[dead] = 1.0
    covariance[dead, :] = covariance[:, dead] = 0.0
    covariance[dead, dead] = 1e6
    return theta, covariance


def _posterior(raw: np.ndarray, covariance: np.ndarray, priors: Sequence[tuple[float, float]]) -> np.ndarray:
    """Posterior mean of factors under independent normal priors, a mean and a standard deviation each."""
    mean, deviation = np.array(priors).T
    precision = np.linalg.inv(covariance + 1e-12 * np.eye(raw.size))
    prior = np.diag(1.0 / deviation**2)
    return np.asarray(np.linalg.solve(precision + prior, precision @ raw + prior @ mean))
