"""Targeting operator characteristic and rank-weighted average treatment effects (Yadlowsky et al., arXiv:2111.07966)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from uplift.errors import TrialError
from uplift.metrics.curves import Curve


@dataclass(frozen=True)
class Rate:
    """A rank-weighted average treatment effect; its error by the half-sample bootstrap of the paper's section 3."""

    value: float
    standard_error: float


def toc(gain: np.ndarray, score: np.ndarray) -> Curve:
    """Average effect among the top share q of users less the average of all (equation 2.3).

    `gain` `(n,)` is an unbiased score of each user's effect (a column of `dr_scores` less control's), `score` `(n,)`
    ranks the users; within tied scores every order counts the same.
    """
    g, order, last = _ranked(gain, score)
    n = g.size
    block_mean = np.add.reduceat(g[order], np.append(0, last[:-1] + 1)) / np.diff(np.append(-1, last))
    smoothed = np.repeat(block_mean, np.diff(np.append(-1, last)))
    count = np.arange(1, n + 1)
    return Curve(count / n, np.cumsum(smoothed) / count - g.mean())


def _ranked(gain: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    g, s = np.asarray(gain, dtype=np.float64), np.asarray(score, dtype=np.float64)
    if g.shape != s.shape or g.ndim != 1 or g.size == 0:
        raise TrialError(f"gain and score must be one number a user; they have shapes {g.shape} and {s.shape}")
    order = np.argsort(-s, kind="stable")
    return g, order, np.append(np.flatnonzero(np.diff(s[order])), s.size - 1)


def _rate(
    weight: Callable[[np.ndarray], np.ndarray], gain: np.ndarray, score: np.ndarray, repeats: int, seed: int
) -> Rate:
    def value(rows: np.ndarray) -> float:
        curve = toc(gain[rows], score[rows])
        return float((weight(curve.x) * curve.y).mean())

    n = np.asarray(gain).size
    rng = np.random.default_rng(seed)
    half = max(n // 2, 1)
    draws = [value(rng.permutation(n)[:half]) for _ in range(repeats)]
    error = float(np.std(draws, ddof=1)) if repeats > 1 else float("nan")
    return Rate(value(np.arange(n)), error)


def autoc(gain: np.ndarray, score: np.ndarray, *, repeats: int = 200, seed: int = 0) -> Rate:
    """Area under the TOC: weight 1 on every share; most sensitive to the very top."""
    return _rate(np.ones_like, np.asarray(gain), np.asarray(score), repeats, seed)


def qini_rate(gain: np.ndarray, score: np.ndarray, *, repeats: int = 200, seed: int = 0) -> Rate:
    """Qini as a rank-weighted average effect: weight q on the share q."""
    return _rate(lambda q: q, np.asarray(gain), np.asarray(score), repeats, seed)
