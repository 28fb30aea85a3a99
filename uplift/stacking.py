"""Which candidates to believe, and how far: weights earned on users that the candidates did not see.

Outcome ~ link(offset + level + sum_k d_k (a_k + sum_c w_c (effect_ck - its average))): one weight w_c >= 0 a candidate (0 drops
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
_BOOTSTRAPS = 100
_BLOCKS = 64  # users are resampled in so many blocks


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
    level
        What is added to the offset.
    gain
        What the stack earns over the averages alone, nats on the users it was fitted on.
    """

    weights: dict[str, float]
    weight_errors: dict[str, float]
    centers: dict[str, tuple[float, ...]]
    averages: tuple[float, ...]
    average_errors: tuple[float, ...]
    level: float
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
    coupons = design.shape[1]
    share = weight / weight.sum()
    centers = {name: share @ candidates[name] for name in names}
    columns = np.column_stack(
        [((candidates[name] - centers[name]) * design).sum(axis=1) for name in names] or [np.zeros((outcome.size, 0))]
    )
    fit = _Fit(outcome, offset, weight / dispersion, link)
    # Large effects bend the link: the average over the arms is then not where the offset has it.
    arms = np.column_stack([design, np.ones(outcome.size)])
    averages, covariance, _ = fit.maximise(arms, 1e-6 * np.eye(coupons + 1))
    penalty = np.diag(np.full(coupons + 1, 1e-6))
    penalty[:coupons, :coupons] = _toward_each_other(averages[:coupons], covariance[:coupons, :coupons])
    theta, covariance, flat_loss = fit.maximise(arms, penalty)
    mixture, gain, slope, slope_error = _mixture(columns, arms, penalty, fit, theta), 0.0, 0.0, 0.0
    if mixture.any():
        x = np.column_stack([columns @ mixture, arms])
        whole = np.zeros((coupons + 2,) * 2)
        whole[1:, 1:] = penalty
        mixed, mixed_covariance, loss = fit.maximise(x, whole)
        if flat_loss - loss >= _LEAST_GAIN and mixed[0] > 0:
            gain, slope, slope_error = flat_loss - loss, float(mixed[0]), float(np.sqrt(mixed_covariance[0, 0]))
            theta, covariance = mixed[1:], mixed_covariance[1:, 1:]
    return Stack(
        weights={name: slope * float(w) for name, w in zip(names, mixture, strict=True)},
        weight_errors={name: slope_error * float(w) for name, w in zip(names, mixture, strict=True)},
        centers={name: tuple(center.tolist()) for name, center in centers.items()},
        averages=tuple(theta[:coupons].tolist()),
        average_errors=tuple(np.sqrt(np.diag(covariance)[:coupons]).tolist()),
        level=float(theta[coupons]),
        gain=gain,
    )


def _mixture(columns: np.ndarray, arms: np.ndarray, penalty: np.ndarray, fit: _Fit, theta: np.ndarray) -> np.ndarray:
    """`(candidates,)` weights averaged over Bayesian bootstraps of the users (Rubin 1981).

    Candidates that are nearly as good as the best on one set of users would have won on another: averaging over
    bootstraps gives each its due (Yao et al. 2018, 10.1214/17-BA1091, section 3.4), and mixtures err less. The loss is
    taken as quadratic around the averages alone, so that a bootstrap is a matter of a few small equations.
    """
    count = columns.shape[1]
    x = np.column_stack([columns, arms])
    full = np.zeros((x.shape[1],) * 2)
    full[count:, count:] = penalty
    mean = fit.link.mean(fit.offset + arms @ theta)
    pull = fit.weight * (fit.outcome - mean)
    curvature = fit.weight * np.maximum(fit.link.curvature(mean), 1e-9)
    block = np.arange(mean.size) % _BLOCKS
    gradients = np.zeros((_BLOCKS, x.shape[1]))
    hessians = np.zeros((_BLOCKS, x.shape[1], x.shape[1]))
    for b in range(_BLOCKS):
        mine = block == b
        gradients[b] = x[mine].T @ pull[mine]
        hessians[b] = (x[mine] * curvature[mine, None]).T @ x[mine]
    prior = full @ np.append(np.zeros(count), theta)
    rng = np.random.default_rng(0)  # the same trial has the same stack
    total = np.zeros(count)
    for _ in range(_BOOTSTRAPS):
        draw = rng.exponential(1.0, _BLOCKS)
        total += _greedy(np.tensordot(draw, gradients, 1) - prior, np.tensordot(draw, hessians, 1) + full, count)
    return total / _BOOTSTRAPS


def _greedy(gradient: np.ndarray, hessian: np.ndarray, count: int) -> np.ndarray:
    """Add the candidate that helps most while it helps enough and all weights stay above 0."""
    rest = list(range(count, gradient.size))
    ridge = 1e-9 * np.eye(gradient.size)

    def solve(active: list[int]) -> tuple[np.ndarray, float]:
        index = [*active, *rest]
        step = np.linalg.solve((hessian + ridge)[np.ix_(index, index)], gradient[index])
        return step[: len(active)], 0.5 * float(step @ gradient[index])

    chosen: list[int] = []
    weights, best = np.zeros(count), solve([])[1]
    while True:
        tried = [
            (gain, c) for c in range(count) if c not in chosen for w, gain in [solve([*chosen, c])] if (w > 0).all()
        ]
        if not tried or max(tried)[0] - best < _LEAST_GAIN:
            return weights
        best, added = max(tried)
        chosen.append(added)
        weights = np.zeros(count)
        weights[chosen] = solve(chosen)[0]


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
