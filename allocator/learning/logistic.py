"""Logistic models of a purchase: plain numbers, so that they are saved without code, and fast beside the network.

An S-learner (Künzel et al. 2019, 10.1073/pnas.1804597116) on the features, the coupon, and their products; its errors by
the delete-a-group jackknife (Shao and Wu 1989, 10.1214/aos/1176347263).
"""

from __future__ import annotations

import dataclasses
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from allocator.learning.members import Members
from uplift import Effects, Schema, Trial

GROUPS = 10  # of the jackknife
MOST_NEWTON = 200  # columns
# Width of the errors of users' deviations over what leaving out groups shows: all groups share the bias of shrinkage,
# which no resampling sees. The factor of `uplift`'s network, which was chosen so that its intervals cover.
_HIDDEN_BIAS = 1.9
_FREE = 30.0  # the averages of the arms are not to be shrunk: on this scale the penalty on them is 900 times less


@dataclass(frozen=True, eq=False)
class Logistic:
    """log odds of the purchase in arm a = intercept[a] + x . slope[a], for the whole trial and without each group.

    Attributes
    ----------
    intercepts
        `(1 + groups, arms)`; the first of the whole trial.
    slopes
        `(1 + groups, arms, width)`.
    centers
        `(groups, coupons)` what leaving out each group changes of the average uplift.
    """

    schema: Schema
    intercepts: np.ndarray
    slopes: np.ndarray
    centers: np.ndarray

    def predict_members(self, features: Any) -> Members:
        """Estimate; the parts are what leaving out each group changes."""
        x = self.encoded(features)
        groups = self.centers.shape[0]
        whole = self._chances(x, 0)
        parts = np.empty((groups, len(x), whole.shape[1] - 1), dtype=np.float32)
        for g in range(groups):
            moved = _uplift(self._chances(x, g + 1)) - _uplift(whole)
            middle = self.centers[g]
            parts[g] = np.sqrt((groups - 1) / groups) * (middle + _HIDDEN_BIAS * (moved - middle))
        return Members(whole[:, 0], whole[:, 1:], parts)

    def moved(self, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """`(groups, coupons)` what leaving out each group changes of the average uplift of encoded users."""
        share = weight / weight.sum()
        means = [share @ _uplift(self._chances(x, fit)) for fit in range(self.centers.shape[0] + 1)]
        return np.stack(means)[1:] - means[0]

    def encoded(self, features: Any) -> np.ndarray:
        """`(n, columns)` numbers that the model is linear in."""
        return curved(self.schema, features)

    def predict(self, features: Any) -> Effects:
        """Estimate without errors."""
        chances = self._chances(self.encoded(features), 0)
        return Effects.create(chances[:, 0], chances[:, 1:])

    def _chances(self, x: np.ndarray, fit: int) -> np.ndarray:
        odds = self.intercepts[fit] + x @ self.slopes[fit].T
        return np.asarray(1.0 / (1.0 + np.exp(-np.clip(odds, -30.0, 30.0))))


def curved(schema: Schema, features: Any) -> np.ndarray:
    """Return `(n, columns)` float64: the encoded features, and the square of each number among them.

    A number is encoded by its rank, as a standard normal score; a line in it cannot rise and fall again, or level off.
    """
    x = schema.encode(features).astype(np.float64)
    starts = np.cumsum([0, *(column.width for column in schema.columns)])[:-1]
    numbers = [start for start, column in zip(starts.tolist(), schema.columns, strict=True) if hasattr(column, "knots")]
    return np.hstack([x, 0.5 * (x[:, numbers] ** 2 - 1.0)])


def _uplift(chances: np.ndarray) -> np.ndarray:
    return chances[:, 1:] - chances[:, :1]


@dataclass(frozen=True)
class LogisticLearner:
    """Fits `Logistic`; `strength` is scikit-learn's C, or `None` for the arms' averages alone."""

    strength: float | None
    name: str

    def fit(self, trial: Trial, *, seed: int, groups: int = GROUPS) -> Logistic:
        """Fit on the trial and on all but each of `groups` parts of it."""
        schema = Schema.fit(trial.features)
        x = curved(schema, trial.features)
        weight = trial.weight * trial.propensities().mean(axis=0)[trial.arm] / trial.received()
        # Drawn without regard to arms and outcomes: groups that are alike in these would hide the error of the averages.
        part = np.random.default_rng([seed, 16]).permutation(len(trial)) % max(groups, 1)
        fits = [self._one(trial, x, weight, np.arange(len(trial)))]
        fits += [self._one(trial, x, weight, np.flatnonzero(part != g)) for g in range(groups)]
        none = np.zeros((groups, trial.n_coupons))
        made = Logistic(schema, np.stack([fit[0] for fit in fits]), np.stack([fit[1] for fit in fits]), none)
        return dataclasses.replace(made, centers=made.moved(x, trial.weight))

    def _one(self, trial: Trial, x: np.ndarray, weight: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        arms, arm, outcome, w = trial.n_arms, trial.arm[rows], trial.outcome[rows], weight[rows]
        if self.strength is None or not np.ptp(outcome):  # where all did alike, no feature tells them apart
            # Half a purchase more and half a failure more: an arm where nobody bought still has odds.
            bought = np.bincount(arm, w * outcome, arms) + 0.5
            failed = np.bincount(arm, w * (1.0 - outcome), arms) + 0.5
            return np.log(bought / failed), np.zeros((arms, x.shape[1]))
        from sklearn.linear_model import LogisticRegression

        z, coupons = x[rows], np.eye(arms)[arm][:, 1:]
        # Centred, so that a coupon's own coefficient is its effect on the average user.
        center = np.average(z, axis=0, weights=w)
        z = z - center
        table = np.column_stack([z, _FREE * coupons, *(z * coupons[:, [k]] for k in range(arms - 1))])
        with warnings.catch_warnings():  # a few more iterations would change the last digits
            warnings.filterwarnings("ignore", message=".*(lbfgs|converge).*")
            # Newton's steps are few and exact where the columns are not many.
            solver = "newton-cholesky" if table.shape[1] <= MOST_NEWTON else "lbfgs"
            fit = LogisticRegression(C=self.strength, max_iter=500, solver=solver).fit(table, outcome, sample_weight=w)
        width, coefficients = x.shape[1], fit.coef_[0]
        own = coefficients[width + arms - 1 :].reshape(arms - 1, width)
        slopes = np.vstack([np.zeros(width), own]) + coefficients[:width]
        averages = np.append(0.0, _FREE * coefficients[width : width + arms - 1])
        return float(fit.intercept_[0]) + averages - slopes @ center, slopes
