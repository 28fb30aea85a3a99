"""No promise that the trial does not keep: what a model predicts is brought to what users it did not see showed.

A plan picks the offers with the largest predictions, so it picks their errors too (the optimiser's curse: Smith and
Winkler 2006, 10.1287/mnsc.1050.0451). Two factors repair that: one on each coupon's average uplift (the level), one on
users' deviations from it (the spread). Both are regressions of doubly robust scores on cross-fitted predictions, drawn
toward 1 as far as their own errors suggest (a normal prior).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocator.learning.members import Members
from uplift import Effects, Trial
from uplift.metrics import dr_scores

PRIOR = 0.25  # standard deviation of a factor around 1 before the trial is asked
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
    sales
        Of incremental sales, after the others; 1 where the trial has no spend.
    """

    averages: tuple[float, ...]
    level: Factor
    spread: Factor
    sales: Factor = ONE

    def apply(self, members: Members) -> Members:
        """Return calibrated members; the errors shrink with the larger of the two factors."""
        averages = np.array(self.averages)
        uplift = self.level.used * averages + self.spread.used * (members.uplift - averages)
        treated = np.clip(members.control[:, None] + uplift, 0.0, 1.0)
        scale = np.float32(max(self.level.used, self.spread.used))
        return Members(members.control, treated, members.deviations * scale)

    def effects(self, effects: Effects) -> Effects:
        """Calibrate effects without errors."""
        none = np.zeros((1, *effects.treated.shape), dtype=np.float32)
        return self.apply(Members(effects.control, effects.treated, none)).effects()


def calibrate(trial: Trial, effects: Effects) -> Calibration:
    """Fit level and spread on cross-fitted effects of a trial's purchase."""
    scores = dr_scores(trial, effects)
    gain = scores[:, 1:] - scores[:, :1]
    averages = np.average(effects.uplift, axis=0, weights=trial.weight)
    columns = np.stack([np.broadcast_to(averages, gain.shape), effects.uplift - averages], axis=-1)
    raw, covariance = _regression(columns, gain, trial.weight)
    used = _drawn_to_one(raw, covariance)
    error = np.sqrt(np.diag(covariance))
    level, spread = (Factor(float(raw[j]), float(error[j]), float(np.clip(used[j], 0.0, MOST))) for j in range(2))
    return Calibration(tuple(averages.tolist()), level, spread)


def sales_factor(trial: Trial, predicted: np.ndarray, nuisance: Effects) -> Factor:
    """Factor on incremental sales `(n, coupons)`, from a trial whose outcome is spend."""
    scores = dr_scores(trial, nuisance)
    gain = scores[:, 1:] - scores[:, :1]
    averages = np.average(predicted, axis=0, weights=trial.weight)
    raw, covariance = _regression(np.broadcast_to(averages, gain.shape)[..., None], gain, trial.weight)
    used = _drawn_to_one(raw, covariance)
    return Factor(float(raw[0]), float(np.sqrt(covariance[0, 0])), float(np.clip(used[0], 0.0, MOST)))


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


def _drawn_to_one(raw: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Posterior mean under a normal prior around 1."""
    precision = np.linalg.inv(covariance + 1e-12 * np.eye(raw.size))
    prior = np.eye(raw.size) / PRIOR**2
    return np.asarray(np.linalg.solve(precision + prior, precision @ raw + prior @ np.ones(raw.size)))
