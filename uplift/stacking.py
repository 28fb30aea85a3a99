"""Which candidates to believe, and how far: weights earned on users that the candidates did not see.

Outcome ~ link(offset + sum_k d_k (a_k + sum_c w_c (effect_ck - its average))): one weight w_c >= 0 a candidate (0 drops
it) and one average effect a_k a coupon. Stacking (Wolpert 1992, 10.1016/S0893-6080(05)80023-1; Breiman 1996 on weights
that are not negative) is at once the calibration of the effects' spread; the averages are shrunk toward each other by
empirical Bayes as far as their errors suggest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uplift.links import Link

# Nats that a candidate must earn to be believed at all: where nothing works, each of four candidates does with a chance
# of under 1 % (a likelihood ratio of 6, one-sided).
_LEAST_GAIN = 3.0


@dataclass(frozen=True)
class Stack:
    """The weights.

    Attributes
    ----------
    weights
        By candidate; 0 where it is not believed.
    weight_errors
        Standard error of each weight; 0 where it is not believed.
    centers
        By candidate `(coupons,)`: its average effects.
    averages, average_errors
        `(coupons,)` average effect of each coupon on the linear predictor, and standard errors.
    gain
        What the stack earns over the averages alone, nats on the users it was fitted on.
    """

    weights: dict[str, float]
    weight_errors: dict[str, float]
    centers: dict[str, tuple[float, ...]]
    averages: tuple[float, ...]
    average_errors: tuple[float, ...]
    gain: float

    def combine(self, candidates: dict[str, np.ndarray]) -> np.ndarray:
        """`(n, coupons)` effects of each candidate -> their stack."""
        total = np.array(self.averages)
        for name, weight in self.weights.items():
            if weight > 0:
                total = total + weight * (candidates[name] - np.array(self.centers[name]))
        return np.asarray(total)


def fit_stack(
    candidates: dict[str, np.ndarray],
    outcome: np.ndarray,
    offset: np.ndarray,
    design: np.ndarray,
    weight: np.ndarray,
    link: Link,
    dispersion: float = 1.0,
) -> Stack:
    """Fit on out-of-fold effects `(n, coupons)` and centred arms `design` `(n, coupons)`."""
    names = list(candidates)
    share = weight / weight.sum()
    centers = {name: share @ candidates[name] for name in names}
    columns = {name: ((candidates[name] - centers[name]) * design).sum(axis=1) for name in names}
    fit = _Fit(outcome, offset, weight / dispersion, link)
    averages, covariance, _ = fit.maximise(design, np.zeros((design.shape[1],) * 2) + 1e-6 * np.eye(design.shape[1]))
    penalty = _toward_each_other(averages, covariance)
    _, _, flat_loss = fit.maximise(design, penalty)
    chosen, gain = _choose(names, columns, design, penalty, fit, flat_loss)
    coupons = design.shape[1]
    x = np.column_stack([*(columns[name] for name in chosen), design])
    full = np.zeros((x.shape[1],) * 2)
    full[-coupons:, -coupons:] = penalty
    theta, covariance, _ = fit.maximise(x, full)
    errors = np.sqrt(np.diag(covariance))
    return Stack(
        weights={n: float(theta[chosen.index(n)]) if n in chosen else 0.0 for n in names},
        weight_errors={n: float(errors[chosen.index(n)]) if n in chosen else 0.0 for n in names},
        centers={n: tuple(centers[n].tolist()) for n in names},
        averages=tuple(theta[-coupons:].tolist()),
        average_errors=tuple(errors[-coupons:].tolist()),
        gain=gain,
    )


def _choose(
    names: list[str],
    columns: dict[str, np.ndarray],
    design: np.ndarray,
    penalty: np.ndarray,
    fit: _Fit,
    flat_loss: float,
) -> tuple[list[str], float]:
    """Add the candidate that helps most while it helps enough and all weights stay above 0."""
    coupons = design.shape[1]
    chosen: list[str] = []
    best = flat_loss
    while len(chosen) < len(names):
        tried = []
        for name in names:
            if name in chosen:
                continue
            x = np.column_stack([*(columns[n] for n in [*chosen, name]), design])
            full = np.zeros((x.shape[1],) * 2)
            full[-coupons:, -coupons:] = penalty
            theta, _, loss = fit.maximise(x, full)
            if (theta[: len(chosen) + 1] > 0).all():
                tried.append((loss, name))
        if not tried or best - min(tried)[0] < _LEAST_GAIN:
            break
        best, name = min(tried)
        chosen.append(name)
    return chosen, flat_loss - best


def _toward_each_other(averages: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Precision of a normal prior on the average effects, as wide as they prove to be.

    Their mean is drawn to 0, and each of them to their mean, by what their errors alone would have made of no effect:
    a trial in which nothing works must not promise anything.
    """
    coupons = averages.size
    along = np.full((coupons, coupons), 1.0 / coupons)
    mean = float(averages.mean())
    noise = float(covariance.mean())  # variance of the mean
    precision = along / (coupons * max(mean**2 - noise, 0.05 * noise))
    if coupons > 1:
        around = np.eye(coupons) - along
        error = float(np.trace(around @ covariance)) / (coupons - 1)
        precision = precision + around / max(float(averages.var(ddof=1)) - error, 0.05 * error)
    return np.asarray(precision)


@dataclass(frozen=True, eq=False)
class _Fit:
    """Newton's method for a penalised generalised linear model."""

    outcome: np.ndarray
    offset: np.ndarray
    weight: np.ndarray
    link: Link

    def maximise(self, x: np.ndarray, precision: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """Return coefficients, their covariance, and the loss in nats (with the penalty)."""
        theta = np.zeros(x.shape[1])
        hessian = np.eye(x.shape[1])
        for _ in range(25):
            mean = self.link.mean(self.offset + x @ theta)
            gradient = x.T @ (self.weight * (self.outcome - mean)) - precision @ theta
            curvature = self.weight * np.maximum(self.link.curvature(mean), 1e-9)
            hessian = (x * curvature[:, None]).T @ x + precision + 1e-9 * np.eye(x.shape[1])
            step = np.linalg.solve(hessian, gradient)
            step *= min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))  # no leap out of the curve's range
            theta = theta + step
            if np.abs(step).max() < 1e-8:
                break
        loss = float(self.weight @ self.link.loss(self.offset + x @ theta, self.outcome))
        return theta, np.linalg.inv(hessian), loss + 0.5 * float(theta @ precision @ theta)
