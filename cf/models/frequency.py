"""Personal frequency and recency: what the user had often and lately comes again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy import sparse

from cf.ids import Ids
from cf.interactions import Interactions, Weighting
from cf.model import Numbers, Reason, Scores, item_reasons, popularity_of
from cf.progress import Progress, silent


@dataclass(frozen=True)
class Frequency:
    """The user's decayed number of visits with the item; by default a visit 90 days ago counts half.

    Decay in place of a plain count follows the personal part of TIFU-KNN: Hu et al., *Modeling personalized item frequency
    information for next-basket recommendation*, SIGIR 2020, doi:10.1145/3397271.3401066.
    """

    weighting: Weighting = field(default_factory=lambda: Weighting(half_life=90.0))

    def fit(self, interactions: Interactions, progress: Progress = silent) -> FrequencyModel:
        """Remember the items; a history says the rest."""
        return FrequencyModel(interactions.items, popularity_of(interactions), self.weighting)


@dataclass(frozen=True)
class FrequencyModel:
    """Scores a user's own items only."""

    items: Ids
    popularity: npt.NDArray[np.float32]
    weighting: Weighting

    def _weights(self, history: Interactions, users: Numbers) -> sparse.csr_matrix:
        return history.only(users).matrix(self.weighting)

    def scores(self, history: Interactions, users: Numbers) -> Scores:
        """Return decayed visits."""
        return self._weights(history, users).toarray()

    def reasons(self, history: Interactions, user: int, item: int) -> Sequence[Reason]:
        """Return the item itself, where the user has had it."""
        column = np.zeros(len(self.items), np.float32)
        column[item] = 1.0
        return item_reasons(self.items, self._weights(history, np.array([user])), column)
