"""Marks against a known truth: synthetic trials only."""

from __future__ import annotations

import numpy as np


def pehe(estimated: np.ndarray, true: np.ndarray) -> float:
    """Root of the mean squared error of the effects (Hill 2011, 10.1198/jcgs.2010.08162)."""
    return float(np.sqrt(np.mean((np.asarray(estimated) - np.asarray(true)) ** 2)))


def relative_pehe(estimated: np.ndarray, true: np.ndarray) -> float:
    """PEHE over the deviation of the true effects: 1 is no better than knowing their average."""
    return pehe(estimated, true) / float(np.std(true))


def slope(estimated: np.ndarray, true: np.ndarray) -> float:
    """Slope of the true effect on the estimated one, within coupons: 1 is calibrated, below 1 too spread out."""
    e = np.asarray(estimated) - np.mean(estimated, axis=0)
    t = np.asarray(true) - np.mean(true, axis=0)
    return float((e * t).sum() / (e * e).sum())
