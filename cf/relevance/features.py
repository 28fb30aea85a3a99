"""What the probability of a purchase is told from: a user's habits with the scope, at large, and what others say."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cf.interactions import Interactions
from cf.relevance import kernels
from cf.relevance.crowd import Crowd
from cf.relevance.gathering import Sums, sums
from cf.relevance.scopes import Scopes

Floats = npt.NDArray[np.float32]
NAMES = (
    *(f"visits with the scope a window, {life:.0f}-day half-life" for life in kernels.LIVES),
    "expected visits (Gamma-Poisson)",
    "days since the last",
    "mean days between",
    "days since the last over mean days between",
    "last days between",
    *(f"share of visits, {life:.0f}-day half-life" for life in kernels.LIVES[1:]),
    "visits in the last 28 days",
    "money a visit",
    "units a visit",
    "EASE on whether",
    "EASE on how much",
    "neighbours' habits",
    "neighbours' last window",
    "factors",
    "log-odds by habits with all scopes",
    "log-odds by the last visit",
    "lifts of the last visit's items",
    "lifts of all items",
    *(f"visits a window, {life:.0f}-day half-life" for life in kernels.LIVES),
    "days since the last visit",
    "days known",
    "events a visit",
    "scopes",
    "money a visit at large",
    "visits",
    "scopes bought lately",
    "scopes bought for the first time lately",
    "log-odds of the scope, last window",
    "log-odds of the scope, usually",
    "log-odds of the scope, among last window's buyers",
    "log-odds of the scope, among earlier buyers",
    "log-odds of the scope, among those who never bought it",
    "visits with the scope a buyer",
    "days between visits with the scope, of anyone",
    "log-odds of the scope, after a visit with it",
    "log-odds of the scope, after a visit without it",
    "days since the last over days between, of anyone",
)
SHAPE = 0.5  # of the Gamma distribution of rates over users
LONGEST = 120.0  # days; a longer tenure tells no more, and would tell training windows apart


def log_odds(share: Floats) -> Floats:
    """Return log(p / (1 - p))."""
    return np.log(share / (1.0 - share))


def features(history: Interactions, scopes: Scopes, crowd: Crowd, window: float, found: Sums | None = None) -> Floats:
    """Return `(users, scopes, len(NAMES))` of every user of a history, as of its `now`, NaN where there is nothing.

    Counts are brought to a common scale, visits a window of `window` days, by how long the user has been known, so that a
    model learned early in a log holds late in it. `found`: the `sums` of the history, where they are known.
    """
    found = found or sums(history, scopes)
    pair, user = found.pair, found.user
    known = np.clip(user[:, 6], 1.0, crowd.days) + 1.0
    lives = np.array(kernels.LIVES)
    # what a steady visit a day would have added up to
    steady = (lives / np.log(2.0) * (1.0 - 0.5 ** (known[:, None] / lives))).astype(np.float32)
    steady = np.maximum(steady, lives.astype(np.float32) * 0.2)
    out = np.empty((*pair.shape[:2], len(NAMES)), np.float32)
    count = pair[..., 0]
    since = np.where(count > 0, pair[..., 5], np.nan)
    gap = np.where(count > 1, pair[..., 7] / np.maximum(count - 1.0, 1.0), np.nan)
    out[..., 0:4] = np.log(pair[..., 1:5] / steady[:, None] * window + 0.02)
    exposure = steady[:, 2] / window
    out[..., 4] = np.log((SHAPE + pair[..., 3]) / (SHAPE / np.maximum(crowd.pace, 1e-4) + exposure[:, None]))
    out[..., 5], out[..., 6], out[..., 7] = since, gap, since / np.maximum(gap, 1.0)
    out[..., 8] = np.where(count > 1, pair[..., 6] - pair[..., 5], np.nan)
    out[..., 9:12] = pair[..., 2:5] / (user[:, None, 2:5] + 0.3)
    out[..., 12] = pair[..., 11]
    out[..., 13] = np.log1p(pair[..., 8] / np.maximum(count, 1.0))
    out[..., 14] = pair[..., 10] / np.maximum(count, 1.0)
    out[..., 15:24] = crowd.signals(history, scopes, found)
    visits = np.maximum(user[:, 0], 1.0)
    out[..., 24:28] = np.log(user[:, 1:5] / steady * window + 0.05)[:, None]
    for place, column in enumerate(
        (
            user[:, 5],
            np.minimum(known, LONGEST),
            np.log1p(user[:, 7] / visits),
            np.log1p(user[:, 8]),
            np.log1p(user[:, 9] / visits),
            np.log1p(np.minimum(user[:, 0], 50.0)),
        )
    ):
        out[..., 28 + place] = column[:, None]
    held = count > 0
    recent = held & (pair[..., 5] <= window)
    first = recent & (pair[..., 5] + pair[..., 7] <= window)
    out[..., 34] = np.log1p(recent.sum(axis=1))[:, None]
    out[..., 35] = np.log1p(first.sum(axis=1))[:, None]
    out[..., 36], out[..., 37] = log_odds(crowd.recent), log_odds(crowd.usual)
    out[..., 38:43], out[..., 43:45] = crowd.loyalty, crowd.basket_odds
    out[..., 45] = since / np.maximum(np.expm1(crowd.loyalty[:, 4]), 1.0)
    return out
