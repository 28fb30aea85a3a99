"""What a policy (one arm a user) would have brought, estimated from a trial that gave other arms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from uplift.effects import Effects
from uplift.errors import TrialError
from uplift.metrics.curves import Curve
from uplift.trial import Trial


@dataclass(frozen=True)
class Estimate:
    """A number and how sure it is.

    Attributes
    ----------
    value, standard_error
        In the unit of the outcome.
    n
        Number of independent users behind it.
    """

    value: float
    standard_error: float
    n: int

    def interval(self, z: float = 1.959963984540054) -> tuple[float, float]:
        """Return the normal interval, 95 % by default."""
        return self.value - z * self.standard_error, self.value + z * self.standard_error


def _mean(values: np.ndarray, weight: np.ndarray) -> Estimate:
    share = weight / weight.sum()
    average = float(share @ values)
    return Estimate(average, float(np.sqrt((share**2 * (values - average) ** 2).sum())), values.size)


def _checked(trial: Trial, choice: np.ndarray) -> np.ndarray:
    arms = np.asarray(choice)
    if arms.shape != (len(trial),) or arms.dtype.kind not in "iu":
        raise TrialError(f"choice must be one arm (whole number) a user, ({len(trial)},)")
    if arms.min() < 0 or arms.max() >= trial.n_arms:
        raise TrialError(f"choice has arm {arms.min()} or {arms.max()}; the trial has 0 ... {trial.n_arms - 1}")
    return arms


def policy_value_ips(trial: Trial, choice: np.ndarray) -> Estimate:
    """Average outcome if user i had been given arm `choice[i]`: inverse propensity (Horvitz and Thompson 1952)."""
    arms = _checked(trial, choice)
    return _mean((trial.arm == arms) * trial.outcome / trial.received(), trial.weight)


def policy_value_snips(trial: Trial, choice: np.ndarray) -> Estimate:
    """Self-normalised inverse propensity (Swaminathan and Joachims 2015): a ratio; its error by the delta method."""
    arms = _checked(trial, choice)
    w = trial.weight * (trial.arm == arms) / trial.received()
    if w.sum() == 0:
        raise TrialError("nobody in the trial was given the arm that the policy chooses")
    average = float((w @ trial.outcome) / w.sum())
    error = float(np.sqrt((w**2 * (trial.outcome - average) ** 2).sum()) / w.sum())
    return Estimate(average, error, int((w > 0).sum()))


def policy_value_dr(trial: Trial, choice: np.ndarray, effects: Effects) -> Estimate:
    """Doubly robust (Dudik, Langford and Li 2011): right where the propensities or the predictions are.

    `effects` must come from models that did not see these users.
    """
    arms = _checked(trial, choice)
    return _mean(dr_scores(trial, effects)[np.arange(len(trial)), arms], trial.weight)


def dr_scores(trial: Trial, effects: Effects) -> np.ndarray:
    """`(n, arms)`: mu_k + 1[arm = k] (y - mu_k) / e_k, whose average is that of the outcome under arm k."""
    mu = np.column_stack([effects.control, effects.treated])
    rows = np.arange(len(trial))
    scores = mu.astype(np.float64, copy=True)
    scores[rows, trial.arm] += (trial.outcome - mu[rows, trial.arm]) / trial.received()
    return scores


def recommended(trial: Trial, effects: Effects) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Reduce several coupons to one question: does it pay to give each user the best coupon for them?

    Returns the rows of users who got their best coupon or none, and for these rows the score (estimated uplift of the
    best coupon), whether they got it, and the weight (the trial's over the propensity).
    """
    best = effects.uplift.argmax(axis=1)
    got = trial.arm == best + 1
    rows = np.flatnonzero(got | (trial.arm == 0))
    score = effects.uplift[rows, best[rows]]
    return rows, score, got[rows], trial.weight[rows] / trial.received()[rows]


def policy_curve(trial: Trial, effects: Effects, nuisance: Effects | None = None, points: int = 101) -> Curve:
    """Gain a user over giving nothing when a share of users gets their best coupon, best first; doubly robust.

    x is the share from 0 to 1, y in the unit of the outcome; the area is the average gain over all shares.
    `nuisance` are predictions from models that did not see these users (by default `effects`).
    """
    scores = dr_scores(trial, effects if nuisance is None else nuisance)
    best = effects.uplift.argmax(axis=1)
    rows = np.arange(len(trial))
    gain = trial.weight * (scores[rows, best + 1] - scores[:, 0])
    predicted = effects.uplift[rows, best]
    order = np.argsort(-predicted, kind="stable")
    last = np.append(np.flatnonzero(np.diff(predicted[order])), order.size - 1)  # tied users come as one block
    share = np.append(0.0, np.cumsum(trial.weight[order])[last] / trial.weight.sum())
    total = np.append(0.0, np.cumsum(gain[order])[last] / trial.weight.sum())
    grid = np.linspace(0.0, 1.0, points)
    return Curve(grid, np.interp(grid, share, total))


def bootstrap(
    statistic: Callable[[np.ndarray], float], n: int, *, repeats: int = 200, seed: int = 0
) -> tuple[float, float, float]:
    """Return the standard error and the 5 % and 95 % quantiles of `statistic(rows)` over resampled users."""
    rng = np.random.default_rng(seed)
    draws = np.array([statistic(rng.integers(0, n, n)) for _ in range(repeats)])
    return float(draws.std(ddof=1)), float(np.quantile(draws, 0.05)), float(np.quantile(draws, 0.95))
