"""Differences between two randomised arms within strata, their covariance, ratios of them, and many at once.

Rows are users. An arm's units are compared within their stratum and the strata's differences are averaged with the
weights of the treated: the effect on those who were treated. The variance is Neyman's, which never understates on
average that of the users at hand, whatever the effects. Intervals are Student's; a correction for skewness (Hall 1992) was
tried, and covered no better: with few controls the skewness is itself poorly known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from allocator.errors import DataError, UsageError

LEAST_PER_ARM = 5  # users of each arm in a stratum; smaller ones are merged with their neighbours


@dataclass(frozen=True)
class Estimate:
    """A number with its uncertainty.

    Attributes
    ----------
    value, standard_error, low, high
        In the unit of the outcome; `low`..`high` covers the truth with the chance `confidence`. Infinite ends: the data
        set no bound on that side.
    p_value
        Two-sided, of the hypothesis that the truth is 0; NaN where none is tested.
    """

    value: float
    standard_error: float
    low: float
    high: float
    confidence: float
    p_value: float = math.nan

    def scaled(self, factor: float) -> Estimate:
        """Return the estimate in another unit; `factor` above 0."""
        return Estimate(
            self.value * factor,
            self.standard_error * factor,
            self.low * factor,
            self.high * factor,
            self.confidence,
            self.p_value,
        )


@dataclass(frozen=True, eq=False)
class Difference:
    """Mean differences (treated less control) of several outcomes, per treated user.

    Attributes
    ----------
    value
        `(n_outcomes,)`, in each outcome's unit.
    covariance
        `(n_outcomes, n_outcomes)` of `value`.
    degrees
        `(n_outcomes,)` Satterthwaite's degrees of freedom.
    treated, control
        Numbers of users.
    variance_kept
        `(n_outcomes,)` variance with the adjustment as a share of that without; 1: no adjustment.
    """

    value: np.ndarray
    covariance: np.ndarray
    degrees: np.ndarray
    treated: int
    control: int
    variance_kept: np.ndarray

    def estimate(self, outcome: int, confidence: float = 0.95) -> Estimate:
        """Return one outcome's difference with Student's interval."""
        return student(
            float(self.value[outcome]),
            math.sqrt(max(float(self.covariance[outcome, outcome]), 0.0)),
            float(self.degrees[outcome]),
            confidence,
        )

    def ratio(self, top: int, bottom: int, confidence: float = 0.95) -> Estimate:
        """Return one difference over another with Fieller's interval."""
        cov = self.covariance
        return fieller(
            float(self.value[top]),
            float(self.value[bottom]),
            float(cov[top, top]),
            float(cov[bottom, bottom]),
            float(cov[top, bottom]),
            float(min(self.degrees[top], self.degrees[bottom])),
            confidence,
        )


def student(value: float, error: float, degrees: float, confidence: float = 0.95) -> Estimate:
    """Return an estimate with a two-sided interval of Student's t (the normal where `degrees` is infinite)."""
    check_confidence(confidence)
    law = stats.norm if not math.isfinite(degrees) else stats.t(degrees)
    reach = float(law.ppf(0.5 + confidence / 2)) * error
    p_value = 2 * float(law.sf(abs(value) / error)) if error > 0 else (1.0 if value == 0 else 0.0)
    return Estimate(value, error, value - reach, value + reach, confidence, p_value)


def student_mean(sample: np.ndarray, confidence: float = 0.95) -> Estimate:
    """Return the mean of `(n,)` independent numbers, with `student`'s interval."""
    error = float(sample.std(ddof=1)) / math.sqrt(sample.size)
    return student(float(sample.mean()), error, sample.size - 1.0, confidence)


def check_confidence(confidence: float) -> None:
    """Raise `UsageError` unless `confidence` lies between 0 and 1."""
    if not 0.0 < confidence < 1.0:
        raise UsageError(f"confidence is {confidence:g}; it must lie between 0 and 1, such as 0.95")


def merged(stratum: np.ndarray, treated: np.ndarray, least: int = LEAST_PER_ARM) -> np.ndarray:
    """Merge strata with fewer than `least` users of either arm into the one before them; the last into its neighbour.

    Strata are codes whose neighbours are alike (the plan sorts them by coupon, then attributes, then value). Merging is
    sound where every stratum has the same share of controls.

    Returns
    -------
    stratum
        `(n_users,)` int64 codes 0, 1, ...; all 0 where the users do not fill one stratum.
    """
    size = int(stratum.max(initial=-1)) + 1
    arms = np.bincount(stratum * 2 + treated, minlength=2 * size).reshape(size, 2).tolist()
    new, current, filled = [0] * size, 0, [0, 0]
    for code, (control, treats) in enumerate(arms):
        new[code] = current
        filled = [filled[0] + control, filled[1] + treats]
        if min(filled) >= least:
            current, filled = current + 1, [0, 0]
    # What is left at the end is too small: it joins the last full one.
    codes = np.minimum(np.array(new, np.int64), max(current - 1, 0))
    return codes[stratum]


def slope(outcome: np.ndarray, before: np.ndarray, treated: np.ndarray, stratum: np.ndarray) -> float:
    """Return CUPED's theta: the slope of the outcome on what was known before, within strata and arms.

    Deng, Xu, Kohavi and Walker 2013 (doi:10.1145/2433396.2433413), eq. 5. One slope for both arms: with few controls a
    slope of their own would carry their noise into the estimate, and the interval would not know.
    """
    cell = stratum * 2 + treated
    y, x = _within(outcome, cell), _within(before, cell)
    spread = float(x @ x)
    return float(x @ y) / spread if spread > 0 else 0.0


def _within(column: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Return a column less its mean in each cell."""
    counts = np.maximum(np.bincount(cell), 1)
    return column - (np.bincount(cell, weights=column) / counts)[cell]


def difference(
    outcomes: np.ndarray,
    treated: np.ndarray,
    stratum: np.ndarray | None = None,
    *,
    before: np.ndarray | None = None,
    theta: np.ndarray | None = None,
) -> Difference:
    """Compare two arms within strata.

    Parameters
    ----------
    outcomes
        `(n_users,)` or `(n_users, n_outcomes)` float64.
    treated
        `(n_users,)` bool, drawn at random within each stratum with one chance for all.
    stratum
        `(n_users,)` codes from 0; `None`: one stratum. Small ones are merged, see `merged`.
    before
        `(n_users,)` float64, known before the campaign (CUPED): its part of the outcomes' noise is taken out.
    theta
        `(n_outcomes,)` slopes to use; by default estimated from these users.

    Raises
    ------
    DataError
        Where an arm has fewer than two users.
    """
    y = np.asarray(outcomes, np.float64)
    y = y.reshape(y.shape[0], -1)
    arm = np.asarray(treated, bool)
    n_treated, n_control = int(arm.sum()), int((~arm).sum())
    if min(n_treated, n_control) < 2:
        raise DataError(f"{n_treated:,} treated and {n_control:,} held-out users: two of each are needed to compare")
    codes = np.zeros(arm.size, np.int64) if stratum is None else np.asarray(stratum, np.int64)
    codes = merged(codes, arm) if stratum is not None else codes
    plain, plain_cov, degrees = _neyman(y, arm, codes)
    if before is None:
        return Difference(plain, plain_cov, degrees, n_treated, n_control, np.ones(y.shape[1]))
    if theta is None:
        theta = np.array([slope(column, before, arm, codes) for column in y.T])
    value, cov, degrees = _neyman(y - np.outer(before - before.mean(), theta), arm, codes)
    kept = np.divide(np.diag(cov), np.diag(plain_cov), out=np.ones(y.shape[1]), where=np.diag(plain_cov) > 0)
    return Difference(value, cov, degrees, n_treated, n_control, kept)


def _neyman(y: np.ndarray, arm: np.ndarray, stratum: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the weighted differences, their covariance, and Satterthwaite's degrees of freedom."""
    size = int(stratum.max()) + 1
    cell = stratum * 2 + arm
    counts = np.bincount(cell, minlength=2 * size).astype(np.float64)
    # Where strata could not be merged to two users an arm, one stratum is left and has them (checked before).
    totals = np.column_stack([np.bincount(cell, weights=column, minlength=2 * size) for column in y.T])
    means: np.ndarray = totals / np.maximum(counts, 1)[:, None]
    weight = counts[1::2] / counts[1::2].sum()
    value = weight @ (means[1::2] - means[0::2])
    residual = y - means[cell]
    # Variance of a cell's mean is s^2 / n, with s^2 of n - 1 degrees; each row carries its share of it.
    spread = np.repeat(weight, 2) ** 2 / np.maximum(counts * (counts - 1), 1)
    covariance = residual.T @ (residual * spread[cell][:, None])
    squares = np.column_stack([np.bincount(cell, weights=column**2, minlength=2 * size) for column in residual.T])
    parts: np.ndarray = squares * spread[:, None]
    bottom = (parts**2 / np.maximum(counts - 1, 1)[:, None]).sum(axis=0)
    degrees = np.divide(parts.sum(axis=0) ** 2, bottom, out=np.full(y.shape[1], np.inf), where=bottom > 0)
    return value, covariance, degrees


def fieller(
    top: float,
    bottom: float,
    top_var: float,
    bottom_var: float,
    covariance: float,
    degrees: float = math.inf,
    confidence: float = 0.95,
) -> Estimate:
    """Return the ratio of two estimates with the interval of Fieller 1954 (doi:10.1111/j.2517-6161.1954.tb00159.x).

    It holds the ratios r for which top - r bottom is not significantly different from 0. The delta method's interval is
    its limit for a precise denominator, and covers too little otherwise. Where the denominator is not significantly
    different from 0 itself, no bounded set can cover: the ends are infinite then.
    """
    check_confidence(confidence)
    quantile = stats.norm.ppf(0.5 + confidence / 2)
    if math.isfinite(degrees):
        quantile = stats.t(degrees).ppf(0.5 + confidence / 2)
    if bottom == 0:
        return Estimate(math.nan, math.nan, -math.inf, math.inf, confidence)
    square = float(quantile) ** 2
    a = bottom**2 - square * bottom_var
    b = top * bottom - square * covariance
    c = top**2 - square * top_var
    ratio = top / bottom
    delta = math.sqrt(max(top_var - 2 * ratio * covariance + ratio**2 * bottom_var, 0.0)) / abs(bottom)
    if a <= 0:
        return Estimate(ratio, delta, -math.inf, math.inf, confidence)
    reach = math.sqrt(max(b * b - a * c, 0.0))
    return Estimate(ratio, delta, (b - reach) / a, (b + reach) / a, confidence)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number (Holm 1979): below 0.05 in any of them by chance alone at most 5 %."""
    order = np.argsort(p_values)
    adjusted = np.empty(len(p_values))
    worst = 0.0
    for place, index in enumerate(order.tolist()):
        worst = max(worst, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = worst
    return adjusted.tolist()
