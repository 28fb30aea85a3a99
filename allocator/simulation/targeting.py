"""Did the plan rank users rightly? Qini's curve, and a coefficient with an interval.

The curve is that of Radcliffe 2007, and of scikit-uplift; the coefficient is written as a mean over users, so that its
interval needs no bootstrap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocator.simulation.lift import Estimate, difference, student_mean


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
    coefficient = student_mean(terms, confidence)
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


@dataclass(frozen=True)
class PublicScores:
    """How well a score ranks users, in the numbers of CausalML: to hold against what other tools say of the same data.

    Both are sums over all treated, or all users, in the outcome's unit, and have no interval. The one of Qini, divided by
    the number of treated users, estimates the same as `Qini.coefficient`, with the arms' shares among the users so far
    instead of those among all.

    Attributes
    ----------
    qini_score, auuc_score
        As its functions of these names give them with `normalize=False`.
    """

    qini_score: float
    auuc_score: float


def public_scores(outcome: np.ndarray, score: np.ndarray, treated: np.ndarray) -> PublicScores:
    """Return CausalML's `qini_score` and `auuc_score`, `(n_users,)` arrays given.

    Its curves (`causalml.metrics.get_qini`, `get_cumgain`) have a point after each user, best score first, and one at 0;
    while an arm has nobody yet they go straight from there. Users of equal scores, whose order it leaves to chance, are
    passed over in a straight line here.
    """
    order = np.argsort(-score, kind="stable")
    y, t, ranked = outcome[order], treated[order], score[order]
    n = np.arange(1.0, y.size + 1)
    n_t, y_t, y_c = np.cumsum(t), np.cumsum(y * t), np.cumsum(y * ~t)
    n_c = n - n_t
    with np.errstate(divide="ignore", invalid="ignore"):
        more, lift = y_t - y_c * n_t / n_c, y_t / n_t - y_c / n_c
    ends = np.append(ranked[1:] != ranked[:-1], True)
    gained = _straight(more, ends & (n_c > 0))
    gain = _straight(_straight(lift, (n_t > 0) & (n_c > 0)) * n, ends)
    points = y.size + 1
    return PublicScores(float(gained.sum()) / points - 0.5 * float(gained[-1]), float(gain.sum()) / points)


def _straight(curve: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return a curve that begins at 0 before its first point, straight between the points that are known."""
    at = np.flatnonzero(known)
    return np.interp(np.arange(curve.size), np.append(-1, at), np.append(0.0, curve[at]))


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
