"""Calibration of uplift itself: what was predicted against what the trial shows, on users not trained on.

The outcome of one user never shows an effect; doubly robust scores do on average, so they take its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from uplift.effects import Effects
from uplift.errors import TrialError
from uplift.metrics.policy import Estimate, dr_scores
from uplift.models import Fitted
from uplift.trial import Trial

_Z95 = 1.959963984540054


@dataclass(frozen=True)
class Bin:
    """Users with about the same predicted uplift.

    Attributes
    ----------
    users
        Number of (user, coupon) pairs.
    predicted, observed
        Average uplift by the model, and by doubly robust scores.
    standard_error
        Of `observed`.
    """

    users: int
    predicted: float
    observed: float
    standard_error: float

    def interval(self) -> tuple[float, float]:
        """Return the 95 % interval of what was observed."""
        return self.observed - _Z95 * self.standard_error, self.observed + _Z95 * self.standard_error


def reliability(trial: Trial, effects: Effects, *, bins: int = 10, nuisance: Effects | None = None) -> tuple[Bin, ...]:
    """Return bins of the predicted uplift, from low to high, with what the trial shows for each.

    `effects` must be of models that did not see these users. Pairs of one user share a score of control; the errors
    count by user.
    """
    gain = _gains(trial, effects if nuisance is None else nuisance)
    flat = effects.uplift.ravel()
    edges = np.unique(np.quantile(flat, np.linspace(0.0, 1.0, bins + 1)[1:-1]))
    where = np.searchsorted(edges, effects.uplift, side="right")
    rows = []
    for b in range(edges.size + 1):
        inside = where == b
        if not inside.any():
            continue
        rows.append(_pooled(inside, effects.uplift, gain, trial.weight))
    return tuple(rows)


def _gains(trial: Trial, nuisance: Effects) -> np.ndarray:
    scores = dr_scores(trial, nuisance)
    return np.asarray(scores[:, 1:] - scores[:, :1])


def _pooled(inside: np.ndarray, predicted: np.ndarray, gain: np.ndarray, weight: np.ndarray) -> Bin:
    w = inside * weight[:, None]
    total = w.sum()
    observed = float((w * gain).sum() / total)
    by_user = (w * (gain - observed)).sum(axis=1)
    return Bin(
        int(inside.sum()), float((w * predicted).sum() / total), observed, float(np.sqrt((by_user**2).sum()) / total)
    )


@dataclass(frozen=True)
class Promise:
    """What a choice of offers was predicted to bring in all, and what the trial says it brings.

    Attributes
    ----------
    predicted
        Sum of the predicted uplift over the chosen users.
    observed
        Its doubly robust estimate, as a sum.
    """

    predicted: float
    observed: Estimate

    @property
    def kept(self) -> bool:
        """Whether the prediction lies within the 95 % interval of the estimate."""
        low, high = self.observed.interval()
        return low <= self.predicted <= high


def promise(trial: Trial, effects: Effects, choice: np.ndarray, *, nuisance: Effects | None = None) -> Promise:
    """Check the sum of predicted uplift over users whose `choice` `(n,)` is a coupon (arm; 0 none).

    `effects` must be of models that did not see these users.
    """
    rows = np.flatnonzero(choice > 0)
    if rows.size == 0:
        raise TrialError("choice gives nobody a coupon")
    gain = _gains(trial, effects if nuisance is None else nuisance)[rows, choice[rows] - 1]
    weight = trial.weight[rows]
    average = float(np.average(gain, weights=weight))
    error = float(np.sqrt((weight**2 * (gain - average) ** 2).sum()))
    total = float(weight @ effects.uplift[rows, choice[rows] - 1])
    return Promise(total, Estimate(average * float(weight.sum()), error, rows.size))


@dataclass(frozen=True, eq=False)
class Calibrator:
    """A monotone map from predicted to calibrated uplift, for each coupon.

    Attributes
    ----------
    predicted, calibrated
        For each coupon the knots of a piecewise-linear map.
    winners
        Factor on the uplift above the average of a user's best coupon: choosing the best of several estimates picks
        errors too (the winner's curse). At most 1.
    """

    predicted: tuple[np.ndarray, ...]
    calibrated: tuple[np.ndarray, ...]
    winners: float

    @classmethod
    def fit(cls, trial: Trial, effects: Effects, *, bins: int = 20) -> Calibrator:
        """Fit on cross-fitted effects: averages of doubly robust scores in bins, then isotonic over the bins.

        Isotonic regression of single scores would follow their noise at both ends; bins of 5 % of the users do not.
        """
        from sklearn.isotonic import IsotonicRegression

        gain = _gains(trial, effects)
        knots, values = [], []
        for k in range(trial.n_coupons):
            x = effects.uplift[:, k]
            edges = np.unique(np.quantile(x, np.linspace(0.0, 1.0, bins + 1)[1:-1]))
            where = np.searchsorted(edges, x, side="right")
            size = np.bincount(where, trial.weight, edges.size + 1)
            full = size > 0
            middle = np.bincount(where, trial.weight * x, edges.size + 1)[full] / size[full]
            level = np.bincount(where, trial.weight * gain[:, k], edges.size + 1)[full] / size[full]
            knots.append(middle)
            values.append(IsotonicRegression().fit_transform(middle, level, sample_weight=size[full]))
        return cls(tuple(knots), tuple(values), winners_factor(trial, effects))

    def apply(self, effects: Effects) -> Effects:
        """Return effects with calibrated uplift on the same outcome without a coupon."""
        columns = [
            np.interp(effects.uplift[:, k], self.predicted[k], self.calibrated[k]) for k in range(len(self.predicted))
        ]
        return Effects(effects.control, effects.control[:, None] + np.column_stack(columns), effects.standard_error)


def winners_factor(trial: Trial, effects: Effects) -> float:
    """Share of the predicted advantage of users' best coupons that doubly robust scores confirm, from 0 to 1.

    The advantage is over the average uplift of that coupon; the factor is shrunk to 1 by its own error (a factor that
    is not surely below 1 stays 1).
    """
    gain = _gains(trial, effects)
    rows = np.arange(len(trial))
    best = effects.uplift.argmax(axis=1)
    weight = trial.weight / trial.weight.sum()
    means = weight @ effects.uplift
    advantage = effects.uplift[rows, best] - means[best]
    confirmed = gain[rows, best] - (weight @ gain)[best]
    size = float(weight @ advantage)
    if size <= 0:
        return 1.0
    ratio = float(weight @ confirmed) / size
    error = float(np.sqrt((weight**2 * (confirmed - ratio * advantage) ** 2).sum())) / size
    return float(np.clip(ratio + error, 0.0, 1.0)) if ratio < 1.0 else 1.0


def shrink_winners(effects: Effects, averages: np.ndarray, factor: float) -> Effects:
    """Draw each user's best coupon toward that coupon's average uplift `(coupons,)` by `factor`."""
    uplift = effects.uplift.copy()
    rows, best = np.arange(len(effects)), effects.uplift.argmax(axis=1)
    uplift[rows, best] = averages[best] + factor * (uplift[rows, best] - averages[best])
    return Effects(effects.control, effects.control[:, None] + uplift, effects.standard_error)


@dataclass(frozen=True, eq=False)
class Calibrated:
    """A model whose uplift is calibrated after it."""

    model: Fitted
    calibrator: Calibrator

    def predict(self, features: Any) -> Effects:
        """Estimate, then calibrate."""
        return self.calibrator.apply(self.model.predict(features))
