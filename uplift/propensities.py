"""Chances of the arms where nobody wrote them down: logged campaigns whose targeting followed the features."""

from __future__ import annotations

import numpy as np

from uplift.features import Schema
from uplift.splitting import assign_folds
from uplift.trial import Trial

_FLOOR = 0.01  # chances below this give a user a weight that one outcome could ruin


def estimate_propensity(trial: Trial, *, folds: int = 5, strength: float = 0.1, seed: int = 0) -> np.ndarray:
    """`(n, arms)` chances by multinomial logistic regression, out of fold, kept above 0.01.

    It is right only if everything that the targeting looked at is among the features. Use it as
    `Trial.create(..., propensity=estimate_propensity(trial))`.
    """
    from sklearn.linear_model import LogisticRegression

    users = Schema.fit(trial.features).encode(trial.features).astype(np.float64)
    fold = assign_folds(trial, folds, np.random.default_rng([seed, 13]))
    chances = np.empty((len(trial), trial.n_arms))
    for f in range(folds):
        rest = fold != f
        model = LogisticRegression(C=strength, max_iter=1000).fit(
            users[rest], trial.arm[rest], sample_weight=trial.weight[rest]
        )
        chances[~rest] = model.predict_proba(users[~rest])
    floored = np.maximum(chances, _FLOOR)
    return np.asarray(floored / floored.sum(axis=1, keepdims=True))
