"""Which candidates to believe, and how far: weights earned on users that the candidates did not see.

Outcome ~ link(offset + level + sum_k d_k (a_k (1 + t h(offset)) + s_k u_k + r (average of u over the coupons))), u_k = sum_c w_c (effect_ck - its average):

- a_k, one average effect a coupon, drawn toward each other and to 0 as far as chance could have made them;
- w_c >= 0, one weight a candidate, drawn toward equal weights. Which of several good candidates is best is decided by noise,
  and mixtures err less (stacking: Wolpert 1992, 10.1016/S0893-6080(05)80023-1; Breiman 1996 on weights that are not negative;
  Stock and Watson 2004, 10.1002/for.928, on why equal weights are hard to beat);
- s_k, a slope for each coupon, as far from a common one as their errors leave no other explanation (DerSimonian and Laird
  1986, 10.1016/0197-2456(86)90046-2): effects of one coupon may differ between users where another's do not;
- r, a slope for what all coupons have in common: it is the contrast to control, whose errors all coupons share;
- t, the scale on which effects add up: 0 on the link's, 1 on the outcome's own (a coupon that brings as many purchases
  from rare as from frequent buyers), h = (curvature's harmonic mean / curvature) - 1. A wrong scale promises too much of
  frequent buyers, who are the ones that plans choose (effect heterogeneity by baseline risk: Kent et al. 2020,
  10.7326/M18-3667).

Weights and slopes are at once the calibration of the effects' spread.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls
from scipy.stats import chi2

from uplift.links import Link

# Nats that a candidate must earn to be believed at all. Where nothing works its slope out of fold varies twice as much as its
# error says, as each fold is judged by what the others have in common: 5 nats are 2.2 deviations. Where coupons change
# nothing on average, more is asked of the claim that they move some users up and others down: of eight placebos of 20,000
# users one made 9 nats.
_LEAST_GAIN, _LEAST_GAIN_ALONE = 5.0, 10.0
# What a candidate earns for nothing where its size was searched for on the same users: over 20 placebos of 10,000 users,
# the number of trees that did best earned 2.2 nats on average and 5.7 at most, candidates without a search 2.8 at most.
_SEARCH_GAIN = 4.0
# Averages count for nothing where chance alone makes as much of their mean, or of how they differ, in one trial of so many: a
# trial in which nothing works must promise nothing. That coupons differ while they do nothing on average is the less likely.
_CHANCE, _CHANCE_APART = 0.02, 0.002
_NOTHING, _LEAST_PRIOR = 1e-6, 0.05  # prior variances over the error's
_LEAST_EFFECT = 1e-4  # on the linear predictor; what `_NOTHING` leaves is less
# Prior deviations, chosen on synthetic worlds and half splits of Hillstrom's trial.
_WEIGHT_SPREAD = 0.3  # of a weight, as a share of what it would be alone
_SHARED_SPREAD = 0.5  # of r
_SLOPE_SPREAD = 1.0  # of a coupon's slope around 1, before their spread is known
_SCALE_SPREAD = 0.5
_SCALE_RANGE = (0.01, 0.99)  # quantiles of the curvature beyond which h stays


@dataclass(frozen=True)
class Scale:
    """How far a user is from the typical one on the way from the link's scale to the outcome's own.

    Attributes
    ----------
    typical, low, high
        Harmonic mean of the link's curvature over users, and the range that it is clipped to.
    """

    typical: float
    low: float
    high: float

    @classmethod
    def of(cls, link: Link, predictor: np.ndarray, share: np.ndarray) -> Scale:
        """Take the curvatures of the users of a trial, whose weights `share` `(n,)` add up to 1."""
        curvature = np.maximum(link.curvature(link.mean(predictor)), 1e-9)
        low, high = (float(value) for value in np.quantile(curvature, _SCALE_RANGE))
        return cls(float(1.0 / (share @ (1.0 / np.clip(curvature, low, high)))), low, high)

    def __call__(self, link: Link, predictor: np.ndarray) -> np.ndarray:
        """`(n,)` linear predictor whatever the arm -> `(n,)` h, on average 0."""
        curvature = np.clip(link.curvature(link.mean(predictor)), self.low, self.high)
        return np.asarray(self.typical / curvature - 1.0)


@dataclass(frozen=True)
class Stack:
    """The weights.

    Attributes
    ----------
    weights
        By candidate; 0 where it is not believed.
    weight_errors
        Standard error of each weight; 0 where it is not believed.
    slopes, shared
        `(coupons,)` factors on the candidates' effects, around 1, and factor on their average over the coupons, around 0.
    centers
        By candidate `(coupons,)`: its average effects.
    averages, average_errors
        `(coupons,)` average effect of each coupon on the linear predictor, and standard errors before they were shrunk; where
        averages count for nothing their errors have what was dropped.
    noise
        `(coupons,)` standard errors by chance alone.
    scale, bend
        How averages differ between rare and frequent buyers: `bend` `(coupons,)` times h of the user is added to them.
    level
        What is added to the offset.
    gain
        What the candidates earn over the averages alone, nats on the users they were fitted on.
    """

    weights: dict[str, float]
    weight_errors: dict[str, float]
    slopes: tuple[float, ...]
    shared: float
    centers: dict[str, tuple[float, ...]]
    averages: tuple[float, ...]
    average_errors: tuple[float, ...]
    noise: tuple[float, ...]
    scale: Scale
    bend: tuple[float, ...]
    level: float
    gain: float

    @property
    def promises(self) -> bool:
        """Whether coupons change anything, as far as the trial shows."""
        return max(np.abs(self.averages).max(), max(self.weights.values(), default=0.0)) > _LEAST_EFFECT

    def combine(self, candidates: dict[str, np.ndarray], link: Link, predictor: np.ndarray) -> np.ndarray:
        """`(..., n, coupons)` effects of each candidate and the `(n,)` offset -> the stack's effects."""
        total = np.array(self.averages) + self.scale(link, predictor)[:, None] * np.array(self.bend)
        believed = {name: weight for name, weight in self.weights.items() if weight > 0}
        if believed:
            mixed = sum(w * (candidates[name] - np.array(self.centers[name])) for name, w in believed.items())
            total = total + np.array(self.slopes) * mixed + self.shared * np.mean(mixed, axis=-1, keepdims=True)
        return np.asarray(total)


def fit_stack(
    candidates: dict[str, np.ndarray],
    outcome: np.ndarray,
    offset: np.ndarray,
    design: np.ndarray,
    weight: np.ndarray,
    link: Link,
    dispersion: float = 1.0,
    *,
    scaled: bool = True,
    searched: Collection[str] = (),
    doubt: bool = True,
) -> Stack:
    """Fit on out-of-fold effects `(n, coupons)` and centred arms `design` `(n, coupons)`.

    Without `scaled` average effects add up on the link's scale, the same for everybody. `searched` are candidates whose
    size was chosen by what it earns on these users: they must earn more. Without `doubt` it is known that coupons work, for
    the step before has shown it: averages are then shrunk, but never dropped.
    """
    coupons = design.shape[1]
    share = weight / weight.sum()
    fit = _Fit(outcome, offset, weight / dispersion, link)
    start = _averages(fit, design, share, scaled, doubt)
    arms, penalty = start.arms, start.penalty
    theta, _, flat_loss = fit.maximise(arms, penalty)
    centers = {name: share @ effects for name, effects in candidates.items()}
    apart = {name: effects - centers[name] for name, effects in candidates.items()}
    needed = _LEAST_GAIN if start.works else _LEAST_GAIN_ALONE
    least = np.array([needed + _SEARCH_GAIN * (name in searched) for name in candidates])
    mixture = _mixture(apart, design, arms, penalty, fit, theta, least)
    slope, slope_error, slopes, shared, gain = 0.0, 0.0, np.ones(coupons), 0.0, 0.0
    if mixture.any():
        mixed = np.asarray(sum(w * a for w, a in zip(mixture, apart.values(), strict=True) if w > 0))
        acting = (mixed * design).sum(axis=1)
        common, its_covariance, loss = fit.maximise(np.column_stack([acting, arms]), _diagonal(np.zeros(1), penalty))
        if flat_loss - loss >= needed and common[0] > 0:
            gain, slope, slope_error = flat_loss - loss, float(common[0]), float(np.sqrt(its_covariance[0, 0]))
            around = _Fit(outcome, offset + slope * acting, fit.weight, link)
            theta, slopes, shared = _slopes(around, slope * mixed, design, arms, penalty)
    names = list(candidates)
    return Stack(
        weights={name: slope * float(w) for name, w in zip(names, mixture, strict=True)},
        weight_errors={name: slope_error * float(w) for name, w in zip(names, mixture, strict=True)},
        slopes=tuple(slopes.tolist()),
        shared=shared,
        centers={name: tuple(center.tolist()) for name, center in centers.items()},
        averages=tuple(theta[:coupons].tolist()),
        average_errors=tuple(start.errors.tolist()),
        noise=tuple(start.noise.tolist()),
        scale=start.scale,
        bend=tuple((float(theta[-1]) * start.bend).tolist()),
        level=float(theta[coupons]),
        gain=gain,
    )


def _slopes(
    fit: _Fit, mixed: np.ndarray, design: np.ndarray, arms: np.ndarray, penalty: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Coefficients of `arms`, the coupons' slopes and that of their average; `fit` has slope 1."""
    coupons = design.shape[1]
    if coupons == 1:
        return fit.maximise(arms, penalty)[0], np.ones(1), 0.0
    average = mixed.mean(axis=1) * design.sum(axis=1)
    x = np.column_stack([mixed * design, average, arms])
    rest = _diagonal(np.array([_SHARED_SPREAD**-2]), penalty)
    theta, covariance, _ = fit.maximise(x, _diagonal(np.full(coupons, _SLOPE_SPREAD**-2), rest))
    own, sure = theta[:coupons], 1.0 / np.diag(covariance)[:coupons]
    apart = float(sure @ (own - sure @ own / sure.sum()) ** 2) - (coupons - 1)
    spread = apart / (sure.sum() - (sure @ sure) / sure.sum())
    # Where errors alone explain how slopes differ, all are one.
    theta, _, _ = fit.maximise(x, _diagonal(np.full(coupons, 1.0 / max(spread, 1e-4)), rest))
    slopes = np.maximum(1.0 + theta[:coupons], 0.0)
    return theta[coupons + 1 :], slopes, max(float(theta[coupons]), -1.0)


@dataclass(frozen=True, eq=False)
class _Start:
    """The model without candidates.

    Attributes
    ----------
    arms, penalty
        Columns `(n, coupons + 2)` and their precision: the centred arms, 1 for the level (large effects bend the link: the
        average over the arms is then not where the offset has it), and what adding up on the outcome's own scale would change.
    scale, bend
        Of the last column.
    errors, noise
        `(coupons,)` of the averages: with what was dropped, and by chance alone.
    works
        Whether the averages are more than chance makes of nothing.
    """

    arms: np.ndarray
    penalty: np.ndarray
    scale: Scale
    bend: np.ndarray
    errors: np.ndarray
    noise: np.ndarray
    works: bool


def _averages(fit: _Fit, design: np.ndarray, share: np.ndarray, scaled: bool, doubt: bool) -> _Start:
    coupons = design.shape[1]
    arms = np.column_stack([design, np.ones(share.size)])
    averages, covariance, _ = fit.maximise(arms, 1e-6 * np.eye(coupons + 1))
    penalty = np.diag(np.full(coupons + 1, 1e-6))
    averages, covariance = averages[:coupons], covariance[:coupons, :coupons]
    works = not doubt or _works(averages, covariance)
    nothing = np.eye(coupons) / (_NOTHING * float(covariance.mean()))
    penalty[:coupons, :coupons] = _toward_each_other(averages, covariance) if works else nothing
    bend = fit.maximise(arms, penalty)[0][:coupons] if scaled else np.zeros(coupons)
    scale = Scale.of(fit.link, fit.offset, share)
    column = scale(fit.link, fit.offset) * (design @ bend)
    whole = _diagonal(penalty, np.array([_SCALE_SPREAD**-2]))
    noise = np.sqrt(np.diag(covariance))
    # What a test drops is off by what it might have been (pre-test estimators: Bancroft 1944, 10.1214/aoms/1177731284).
    errors = noise if works else np.hypot(noise, averages)
    return _Start(np.column_stack([arms, column]), whole, scale, bend, errors, noise, works)


def _diagonal(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Block-diagonal precision; a vector stands for a diagonal."""
    blocks = [np.diag(part) if part.ndim == 1 else part for part in (first, second)]
    size = blocks[0].shape[0]
    joined = np.zeros((size + blocks[1].shape[0],) * 2)
    joined[:size, :size], joined[size:, size:] = blocks
    return joined


def _mixture(
    apart: dict[str, np.ndarray],
    design: np.ndarray,
    arms: np.ndarray,
    penalty: np.ndarray,
    fit: _Fit,
    theta: np.ndarray,
    least: np.ndarray,
) -> np.ndarray:
    """`(candidates,)` weights >= 0: the largest posterior under a prior around equal weights.

    The loss is taken as quadratic around the averages alone (`theta`), which effects of coupons deserve; averages and
    level are left free in it.
    """
    count = len(apart)
    weights = np.zeros(count)
    if not count:
        return weights
    x = np.column_stack([*((effects * design).sum(axis=1) for effects in apart.values()), arms])
    mean = fit.link.mean(fit.offset + arms @ theta)
    curvature = fit.weight * np.maximum(fit.link.curvature(mean), 1e-9)
    hessian = (x * curvature[:, None]).T @ x
    hessian[count:, count:] += penalty
    gradient = x.T @ (fit.weight * (fit.outcome - mean))
    gradient[count:] -= penalty @ theta
    free = np.linalg.solve(hessian[count:, count:], np.column_stack([hessian[count:, :count], gradient[count:]]))
    inner = hessian[:count, :count] - hessian[:count, count:] @ free[:, :count]
    pull = gradient[:count] - hessian[:count, count:] @ free[:, count]
    size = np.maximum(np.diag(inner), 1e-12)
    alone = np.maximum(pull / size, 0.0)  # what each would weigh without the others
    able = np.flatnonzero((0.5 * alone**2 * size >= least) & (np.diag(inner) > 1e-9))
    if able.size:
        precision = (_WEIGHT_SPREAD * alone[able]) ** -2.0
        factor = np.linalg.cholesky(inner[np.ix_(able, able)] + np.diag(precision))
        target = pull[able] + precision * alone[able] / able.size
        weights[able] = nnls(factor.T, np.linalg.solve(factor, target))[0]
    return weights


def _works(averages: np.ndarray, covariance: np.ndarray) -> bool:
    """Whether chance seldom makes as much of the averages' mean, or of how they differ from it (Wald tests)."""
    coupons = averages.size
    works = averages.mean() ** 2 > covariance.mean() * chi2.isf(_CHANCE, 1)
    if coupons > 1:
        around = np.eye(coupons) - 1.0 / coupons
        apart = averages @ np.linalg.pinv(around @ covariance @ around, hermitian=True) @ averages
        works = works or apart > chi2.isf(_CHANCE_APART, coupons - 1)
    return bool(works)


def _toward_each_other(averages: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Precision of a normal prior on the average effects, as wide as they prove to be.

    Their mean is drawn to 0, and each of them to their mean, by what their errors alone would have made of no effect (James
    and Stein 1961).
    """
    coupons = averages.size
    along = np.full((coupons, coupons), 1.0 / coupons)
    mean = float(averages.mean())
    noise = float(covariance.mean())  # variance of the mean
    precision = along / (coupons * max(mean**2 - noise, _LEAST_PRIOR * noise))
    if coupons > 1:
        around = np.eye(coupons) - along
        error = float(np.trace(around @ covariance)) / (coupons - 1)
        precision = precision + around / max(float(averages.var(ddof=1)) - error, _LEAST_PRIOR * error)
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
