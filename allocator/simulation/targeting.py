"""Did the plan rank users rightly? Qini's curve, and a coefficient with an interval.

The curve is that of Radcliffe 2007, and of scikit-uplift; the coefficient is written as a mean over users, so that its
interval needs no bootstrap.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from allocator.simulation.lift import Estimate, difference, student


@dataclass(frozen=True, eq=False)
class Qini:
    """How well a score ranks users by what they gained.

    Attributes
    ----------
    coefficient
        Area between the gain curve (gain per user of treating the best share, against the share) and the straight line,
        in the outcome's unit per user. 0: the score ranks no better than chance; below: worse.
    share, gain
        `(n_points,)` the curve: share of the users treated, best score first, and gain per user of all.
    """

    coefficient: Estimate
    share: np.ndarray
    gain: np.ndarray


def qini(
    outcome: np.ndarray,
    score: np.ndarray,
    treated: np.ndarray,
    *,
    points: int = 21,
    confidence: float = 0.95,
) -> Qini:
    """Measure how a score ranks users of a randomised campaign.

    With z = T / e - (1 - T) / (1 - e), where e is the share of treated, the gain of treating the best m of n users is
    the mean of z y over them, and the area between curve and line is the mean of z y (1/2 - rank / n). Each is a mean
    of independent terms given the scores, also with (1 - e) mean(y | T) + e mean(y | C) taken off y, which takes noise
    out and no truth. Equal scores share their mean rank.

    Parameters
    ----------
    outcome, score
        `(n_users,)` float64.
    treated
        `(n_users,)` bool.
    """
    n = outcome.size
    share = float(treated.mean())
    centre = (1 - share) * float(outcome[treated].mean()) + share * float(outcome[~treated].mean())
    z = np.where(treated, 1.0 / share, -1.0 / (1.0 - share)) * (outcome - centre)
    order = np.argsort(-score, kind="stable")
    place = _mean_ranks(score, order)
    terms = z * (0.5 - (place + 0.5) / n)
    coefficient = student(float(terms.mean()), float(terms.std(ddof=1)) / math.sqrt(n), n - 1.0, confidence)
    cumulated = np.concatenate([[0.0], np.cumsum(z[order])]) / n
    at = np.linspace(0, n, points).round().astype(np.int64)
    return Qini(coefficient, at / n, cumulated[at])


def _mean_ranks(score: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Return each user's place from the best, 0 first; equal scores share their mean place."""
    ranked = score[order]
    starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
    sizes = np.diff(starts, append=ranked.size)
    place = np.empty(score.size)
    place[order] = np.repeat(starts + (sizes - 1) / 2, sizes)
    return place


def qini_curve(outcome: np.ndarray, score: np.ndarray, treated: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return scikit-uplift's `qini_curve`: users targeted, and Y_t - Y_c n_t / n_c among them, where scores change."""
    order = np.argsort(score, kind="mergesort")[::-1]
    y, t, s = outcome[order], treated[order].astype(np.float64), score[order]
    ends = np.concatenate([np.flatnonzero(np.diff(s)), [s.size - 1]])
    n_t, y_t = np.cumsum(t)[ends], np.cumsum(y * t)[ends]
    n_all, y_c = ends + 1.0, np.cumsum(y * (1 - t))[ends]
    n_c = n_all - n_t
    gain = y_t - y_c * np.divide(n_t, n_c, out=np.zeros_like(n_t), where=n_c != 0)
    if n_all[0] != 0 or gain[0] != 0:
        n_all, gain = np.concatenate([[0.0], n_all]), np.concatenate([[0.0], gain])
    return n_all, gain


@dataclass(frozen=True)
class Bin:
    """A fifth of the users by score: what was promised for each of them, and what was measured."""

    promised: float
    measured: Estimate
    treated: int
    control: int


def by_score(
    outcome: np.ndarray,
    score: np.ndarray,
    treated: np.ndarray,
    *,
    before: np.ndarray | None = None,
    bins: int = 5,
    least: int = 10,
    confidence: float = 0.95,
) -> list[Bin]:
    """Compare promise and measurement in equal bins of the score, best first; bins with fewer than `least` an arm left out."""
    order = np.argsort(-score, kind="stable")
    rows = []
    for some in np.array_split(order, bins):
        arm = treated[some]
        if min(arm.sum(), (~arm).sum()) < least:
            continue
        found = difference(outcome[some], arm, before=None if before is None else before[some])
        rows.append(Bin(float(score[some][arm].mean()), found.estimate(0, confidence), found.treated, found.control))
    return rows
