"""What another policy would have earned, from a log of what one did at random with known chances.

Each row is one user: the arm that the log gave (drawn with a known chance, its propensity), the reward, and the chance
with which the other policy gives that same arm. Formulas are those of Open Bandit Pipeline's estimators (Saito et al.
2021, arXiv:2008.07146), intervals the central limit theorem's for the mean of each estimator's terms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from allocator.errors import DataError, counted
from allocator.simulation.lift import Estimate, student, student_mean

FOLDS = 5
RIDGE = 1.0  # pseudo-users that pull a slope to 0
LEAST_FOR_A_SLOPE = 30  # rows of an arm, below which its mean alone is used


@dataclass(frozen=True)
class PolicyValue:
    """A policy's reward per user, as one estimator sees it.

    Attributes
    ----------
    name
        `ips`, `clipped_ips`, `snips`, `dr` or `switch_dr`.
    mean
        Reward per user, in the reward's unit.
    effective
        Effective sample size (sum w)^2 / sum w^2 of the weights used: how many users the log has for this policy.
    capped
        Rows whose weight was clipped or switched off: the price is bias.
    """

    name: str
    mean: Estimate
    effective: float
    capped: int = 0


@dataclass(frozen=True, eq=False)
class Log:
    """Logged rewards beside another policy's choices; checked by `of`.

    Attributes
    ----------
    reward
        `(n,)` float64.
    propensity
        `(n,)` chance with which the log gave the arm that it gave.
    target
        `(n,)` chance with which the other policy gives that arm; 0 or 1 for a plan.
    predicted
        `(n,)` predicted reward of the logged arm, and `predicted_target` `(n,)` of the other policy's arm (its mean over
        arms), from a model that has not seen the row; `None`: no model, no doubly robust estimate.
    """

    reward: np.ndarray
    propensity: np.ndarray
    target: np.ndarray
    predicted: np.ndarray | None = None
    predicted_target: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        reward: np.ndarray,
        propensity: np.ndarray,
        target: np.ndarray,
        predicted: np.ndarray | None = None,
        predicted_target: np.ndarray | None = None,
    ) -> Log:
        """Check a log; raises `DataError` where a number is missing, a propensity outside (0, 1] or a length differs."""
        given = {"reward": reward, "propensity": propensity, "target": target}
        given |= {} if predicted is None else {"predicted": predicted}
        given |= {} if predicted_target is None else {"predicted_target": predicted_target}
        arrays = {name: np.asarray(array, np.float64) for name, array in given.items()}
        for name, array in arrays.items():
            if array.shape != arrays["reward"].shape or array.ndim != 1:
                raise DataError(f"log: {name} has shape {array.shape}, reward {arrays['reward'].shape}; one a row")
            bad = np.flatnonzero(~np.isfinite(array))
            if bad.size:
                raise DataError(
                    f"log: {name} is not a finite number in {counted(bad.size, 'row', 'rows')} "
                    f"(e.g. rows {', '.join(map(str, bad[:3] + 1))})"
                )
        if arrays["reward"].size < 2:
            raise DataError("log: fewer than two rows")
        for name, low in (("propensity", False), ("target", True)):
            array = arrays[name]
            bad = np.flatnonzero((array < 0) | (array > 1) | ((array == 0) & (not low)))
            if bad.size:
                raise DataError(
                    f"log: {name} lies outside {'[0, 1]' if low else '(0, 1]'} in {counted(bad.size, 'row', 'rows')} "
                    f"(e.g. row {bad[0] + 1}: {array[bad[0]]:g}); it is the chance of the arm"
                )
        return cls(**arrays)

    @property
    def weight(self) -> np.ndarray:
        """`(n,)` importance weight: chance with the other policy over chance with the log."""
        return self.target / self.propensity


def ips(log: Log, *, clip: float = math.inf, confidence: float = 0.95) -> PolicyValue:
    """Inverse propensity score: mean of w r (Horvitz and Thompson 1952). Unbiased; `clip` caps weights, with bias."""
    weight = np.minimum(log.weight, clip)
    name = "ips" if math.isinf(clip) else "clipped_ips"
    capped = int((log.weight > clip).sum())
    return PolicyValue(name, student_mean(weight * log.reward, confidence), effective_size(weight), capped)


def snips(log: Log, *, confidence: float = 0.95) -> PolicyValue:
    """Self-normalised IPS: sum w r / sum w (Swaminathan and Joachims 2015); interval by linearisation."""
    weight = log.weight
    total = float(weight.sum())
    if total == 0:
        return PolicyValue("snips", Estimate(math.nan, math.nan, -math.inf, math.inf, confidence), 0.0)
    value = float(weight @ log.reward) / total
    # The terms of the linearised ratio; their mean is 0.
    terms = weight * (log.reward - value) / weight.mean()
    error = float(terms.std(ddof=1)) / math.sqrt(terms.size)
    return PolicyValue("snips", student(value, error, terms.size - 1.0, confidence), effective_size(weight))


def dr(log: Log, *, clip: float = math.inf, confidence: float = 0.95) -> PolicyValue:
    """Doubly robust: mean of q(x, policy) + w (r - q(x, a)) (Dudik, Langford and Li 2011, arXiv:1103.4601)."""
    weight = np.minimum(log.weight, clip)
    terms = dr_terms(log, weight)
    capped = int((log.weight > clip).sum())
    return PolicyValue(
        "dr" if math.isinf(clip) else "clipped_dr", student_mean(terms, confidence), effective_size(weight), capped
    )


def switch_dr(log: Log, *, threshold: float, confidence: float = 0.95) -> PolicyValue:
    """Doubly robust where the weight is at most `threshold`, the model elsewhere (Wang, Agarwal and Dudik 2017)."""
    weight = np.where(log.weight <= threshold, log.weight, 0.0)
    terms = dr_terms(log, weight)
    capped = int((log.weight > threshold).sum())
    return PolicyValue("switch_dr", student_mean(terms, confidence), effective_size(weight), capped)


def effective_size(weight: np.ndarray) -> float:
    """Return Kish's effective sample size of weights."""
    square = float(weight @ weight)
    return float(weight.sum()) ** 2 / square if square > 0 else 0.0


def dr_terms(log: Log, weight: np.ndarray | None = None) -> np.ndarray:
    """Return each row's term of the doubly robust mean, `(n,)`; raises `DataError` without predicted rewards."""
    if log.predicted is None or log.predicted_target is None:
        raise DataError("log: a doubly robust estimate needs predicted rewards (see fit_rewards)")
    return log.predicted_target + (log.weight if weight is None else weight) * (log.reward - log.predicted)


def fit_rewards(features: np.ndarray, arm: np.ndarray, reward: np.ndarray, n_arms: int, *, seed: int = 0) -> np.ndarray:
    """Predict each row's reward under each arm, from models that have not seen the row (5 folds).

    A ridge regression for each arm; an arm with few rows gets its mean, one with none the mean of all. A poor model
    costs precision, not truth: the propensities stay known.

    Parameters
    ----------
    features
        `(n, n_features)` float64, known before; without a column of ones.
    arm
        `(n,)` integer codes of what the log gave.

    Returns
    -------
    predicted
        `(n, n_arms)` float64.
    """
    rng = np.random.default_rng([seed, 0xF01D])
    fold = rng.permutation(np.arange(arm.size) % FOLDS)
    centre, scale = features.mean(axis=0), features.std(axis=0)
    design = np.column_stack([np.ones(arm.size), (features - centre) / np.where(scale > 0, scale, 1.0)])
    predicted = np.empty((arm.size, n_arms))
    for number in range(FOLDS):
        out = fold == number
        mean = float(reward[~out].mean()) if (~out).any() else 0.0
        for k in range(n_arms):
            rows = np.flatnonzero(~out & (arm == k))
            predicted[out, k] = design[out] @ _ridge(design[rows], reward[rows], mean)
    return predicted


def _ridge(design: np.ndarray, reward: np.ndarray, otherwise: float) -> np.ndarray:
    """Return coefficients, the intercept first."""
    coefficients = np.zeros(design.shape[1])
    coefficients[0] = reward.mean() if reward.size else otherwise
    if reward.size >= max(LEAST_FOR_A_SLOPE, 3 * design.shape[1]):
        penalty = np.full(design.shape[1], RIDGE)
        penalty[0] = 0.0
        coefficients = np.linalg.solve(design.T @ design + np.diag(penalty), design.T @ reward)
    return coefficients


ESTIMATORS = (ips, snips, dr)
