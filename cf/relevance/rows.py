"""The rows that relevance is trained on: pairs of user and scope of a past window."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cf.interactions import Interactions
from cf.relevance.crowd import Crowd
from cf.relevance.features import features
from cf.relevance.gathering import outcomes
from cf.relevance.scopes import Scopes

Floats = npt.NDArray[np.float32]
PAIRS = 200_000  # (user, scope) pairs at a time: 26 MB of features, as much again of sums
SPARE = 3.0  # pairs whose features are made for one that is drawn: more users, fewer pairs of each, tell more


@dataclass(frozen=True)
class Rows:
    """Training rows: `(rows, columns)` features, whether bought, and for how much (currency)."""

    features: Floats
    bought: npt.NDArray[np.bool_]
    spent: Floats


def drawn(
    known: Interactions,
    later: Interactions,
    scopes: Scopes,
    crowd: Crowd,
    window: float,
    share: float,
    rng: np.random.Generator,
) -> Iterator[Rows]:
    """Give a random share of the pairs of users with some history, in blocks; where few, of a share of the users."""
    users = np.flatnonzero(np.diff(known.start))
    asked = min(1.0, SPARE * share)  # features are made of all pairs of a user
    users = users[rng.random(users.size) < asked] if asked < 1.0 else users
    share = share / asked if share else 0.0
    size = max(1, PAIRS // len(scopes))
    for begin in range(0, users.size, size):
        block = users[begin : begin + size]
        made = features(known.only(block), scopes, crowd, window)
        bought, spent = outcomes(later.only(block), scopes)
        kept = rng.random(bought.shape) < share
        yield Rows(made[kept], bought[kept], spent[kept])
