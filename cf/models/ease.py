"""EASE: the closed-form linear model of items on items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy import linalg, sparse

from cf.errors import UsageError
from cf.ids import Ids
from cf.interactions import Interactions, Weighting
from cf.model import Numbers, Reason, Scores, at_least_one, item_reasons, popularity_of
from cf.progress import Progress, silent


@dataclass(frozen=True)
class Ease:
    """Ridge regression of each item on all others: B = I - P diag(1 / P_jj), P = (X'X + penalty I)^-1.

    Steck, *Embarrassingly shallow autoencoders for sparse data*, WWW 2019, doi:10.1145/3308558.3313710, eq. 8.

    Attributes
    ----------
    penalty
        On the squared weights; more for fewer users.
    most_items
        The model is dense, so it holds this many of the most popular items (4 bytes x items squared; 8,000 take 256 MB
        and, in fitting, thrice that); it says nothing on others.
    """

    penalty: float = 300.0
    most_items: int = 8_000
    weighting: Weighting = field(default_factory=lambda: Weighting(repeats="once"))

    def __post_init__(self) -> None:
        at_least_one(most_items=self.most_items)
        if not 0 < self.penalty < np.inf:
            raise UsageError(f"penalty must be above 0; got {self.penalty}")

    def fit(self, interactions: Interactions, progress: Progress = silent) -> EaseModel:
        """Invert the items' Gram matrix."""
        matrix = interactions.matrix(self.weighting)
        holders = np.bincount(matrix.indices, minlength=interactions.n_items)
        kept = np.sort(np.argsort(-holders, kind="stable")[: self.most_items])
        kept = kept[holders[kept] > 0]
        progress("EASE", 0, 1)
        columns = matrix[:, kept]
        gram = (columns.T @ columns).toarray().astype(np.float32)
        gram[np.diag_indices_from(gram)] += self.penalty
        weights = solved(gram)
        progress("EASE", 1, 1)
        return EaseModel(interactions.items, popularity_of(interactions), self.weighting, kept, weights)


def solved(gram: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return B from the Gram matrix with its penalty."""
    if not gram.size:
        return gram
    inverse = linalg.inv(gram, check_finite=False)
    weights = inverse / -np.diag(inverse)
    weights[np.diag_indices_from(weights)] = 0.0
    return np.ascontiguousarray(weights, np.float32)


@dataclass(frozen=True)
class EaseModel:
    """`weights`: `(kept, kept)` between the items numbered `kept`."""

    items: Ids
    popularity: npt.NDArray[np.float32]
    weighting: Weighting
    kept: Numbers
    weights: npt.NDArray[np.float32]

    def _held(self, history: Interactions, users: Numbers) -> sparse.csr_matrix:
        return history.only(users).matrix(self.weighting)[:, self.kept]

    def scores(self, history: Interactions, users: Numbers) -> Scores:
        """Return weights times B."""
        out = np.zeros((len(users), len(self.items)), np.float32)
        out[:, self.kept] = self._held(history, users) @ self.weights
        return out

    def reasons(self, history: Interactions, user: int, item: int) -> Sequence[Reason]:
        """Return the user's items, with what each adds or takes away."""
        place = np.searchsorted(self.kept, item)
        if place == self.kept.size or self.kept[place] != item:
            return []
        held = self._held(history, np.array([user]))
        return item_reasons(Ids(self.items.values[self.kept]), held, self.weights[:, place])
