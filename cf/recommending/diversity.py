"""Diversity: not all of one category."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cf.errors import UsageError
from cf.ids import Ids


@dataclass(frozen=True)
class Diversity:
    """At most `most` items of one category; what is over gives way to the next best of others.

    Attributes
    ----------
    items, category
        `(n,)` ids and the category of each; items not named here, or without a category (None), are not limited.
    pool_factor
        The best `pool_factor` x n items are looked through; where they do not fill n places, places stay empty.
    """

    items: Ids
    category: npt.NDArray[Any]
    most: int = 2
    pool_factor: int = 20

    def __post_init__(self) -> None:
        if self.most < 1 or self.pool_factor < 1:
            raise UsageError(f"most and pool_factor must be at least 1; got {self.most} and {self.pool_factor}")
        if len(self.category) != len(self.items):
            raise UsageError(f"there are {len(self.items)} items and {len(self.category)} categories")

    def pool(self, n: int, width: int) -> int:
        """Return how many items to look through."""
        return min(n * self.pool_factor, max(width, n))

    def pick(
        self,
        items: npt.NDArray[np.int32],
        scores: npt.NDArray[np.float32],
        n: int,
        catalogue: Ids,
        first: npt.NDArray[np.int64],
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """Return the first n of each row that keep the limit beside those that come `first` of all."""
        codes, _ = pd.factorize(np.asarray(self.category, object))
        place = self.items.find(catalogue.values)
        code = np.where(place >= 0, codes[np.maximum(place, 0)] if codes.size else -1, -1)
        out = np.full((items.shape[0], n), -1, np.int32)
        values = np.full((items.shape[0], n), np.nan, np.float32)
        for row in range(items.shape[0]):
            held = items[row][items[row] >= 0]
            group = pd.Series(code[np.concatenate([first, held])])
            rank = group.groupby(group).cumcount().to_numpy()
            kept = np.flatnonzero(((group.to_numpy() < 0) | (rank < self.most))[first.size :])[:n]
            out[row, : kept.size], values[row, : kept.size] = held[kept], scores[row][kept]
        return out, values
