"""Popularity: what most users have had lately, of all users or of the user's segment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cf.ids import Ids
from cf.interactions import Interactions, Weighting
from cf.model import Numbers, Reason, Scores, not_negative
from cf.progress import Progress, silent


@dataclass(frozen=True)
class Segments:
    """Which segment each user is in.

    Attributes
    ----------
    users
        The users that are known.
    segment
        `(users,)` any values; None or NaN is no segment.
    """

    users: Ids
    segment: npt.NDArray[Any]

    def of(self, users: npt.NDArray[Any], known: Sequence[Any]) -> Numbers:
        """Return the place in `known` of each user's segment, -1 where it has none."""
        place = self.users.find(users)
        number = pd.Index(list(known), dtype=object).get_indexer(pd.Index(np.asarray(self.segment, object)))
        return np.where(place >= 0, number[np.maximum(place, 0)], -1)


@dataclass(frozen=True)
class Popularity:
    """The share of users who had the item, recent ones counting more.

    Attributes
    ----------
    half_life
        Days after which having had an item counts half.
    segments
        With them, a user's share is that of the segment, drawn towards everyone's by `prior` users' worth.
    """

    half_life: float = 90.0
    segments: Segments | None = None
    prior: float = 100.0

    def __post_init__(self) -> None:
        not_negative(prior=self.prior)
        Weighting(half_life=self.half_life)

    def fit(self, interactions: Interactions, progress: Progress = silent) -> PopularityModel:
        """Learn the shares."""
        matrix = interactions.matrix(Weighting(half_life=self.half_life))
        np.minimum(matrix.data, 1.0, out=matrix.data)
        overall = np.asarray(matrix.sum(axis=0), np.float64).ravel() / max(interactions.n_users, 1)
        shares, names = [overall], []
        if self.segments is not None:
            names = list(pd.unique(pd.Series(np.asarray(self.segments.segment, object)).dropna()))
            number = self.segments.of(interactions.users.values, names)
            for place in range(len(names)):
                inside = np.flatnonzero(number == place)
                total = np.asarray(matrix[inside].sum(axis=0), np.float64).ravel()
                shares.append((total + self.prior * overall) / (inside.size + max(self.prior, 1e-9)))
        return PopularityModel(interactions.items, np.asarray(shares, np.float32), tuple(names), self.segments)


@dataclass(frozen=True)
class PopularityModel:
    """`shares`: `(1 + segments, items)`, everyone's first."""

    items: Ids
    shares: Scores
    names: tuple[Any, ...]
    segments: Segments | None

    @property
    def popularity(self) -> npt.NDArray[np.float32]:
        """Everyone's share."""
        return self.shares[0]

    def _row(self, users: npt.NDArray[Any]) -> Numbers:
        if self.segments is None:
            return np.zeros(users.size, np.int64)
        return 1 + self.segments.of(users, self.names)

    def scores(self, history: Interactions, users: Numbers) -> Scores:
        """Return the share of each user's segment."""
        return self.shares[self._row(history.users.values[users])]

    def reasons(self, history: Interactions, user: int, item: int) -> Sequence[Reason]:
        """Return one reason: how many have it."""
        row = int(self._row(history.users.values[[user]])[0])
        share = float(self.shares[row, item])
        return [Reason("popular", self.names[row - 1] if row else None, share)] if share else []
