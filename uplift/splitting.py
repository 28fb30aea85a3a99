"""Parts of a trial that are alike in arms and outcomes."""

from __future__ import annotations

import numpy as np

from uplift.trial import Trial


def assign_folds(trial: Trial, folds: int, rng: np.random.Generator) -> np.ndarray:
    """`(n,)` int64 part of each user, balanced within every arm between those with an outcome and those without."""
    stratum = 2 * trial.arm + (trial.outcome > 0)
    shuffled = rng.permutation(len(trial))
    order = shuffled[np.argsort(stratum[shuffled], kind="stable")]
    part = np.empty(len(trial), dtype=np.int64)
    part[order] = np.arange(len(trial)) % folds
    return part


def split_halves(trial: Trial, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of two random halves."""
    part = assign_folds(trial, 2, rng)
    return np.flatnonzero(part == 0), np.flatnonzero(part == 1)
