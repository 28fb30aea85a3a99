"""What every recommender offers: parameters that fit, and a fitted model that scores any history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from scipy import sparse

from cf.errors import UsageError
from cf.ids import Ids
from cf.interactions import Interactions, Weighting
from cf.progress import Progress, silent

Scores = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Reason:
    """One summand of a score: `because` says which sort of thing (`item`, `user`, ...), `of` which one (its id)."""

    because: str
    of: Any
    contribution: float


@runtime_checkable
class Model(Protocol):
    """A fitted recommender. It scores the users of any history: those it was fitted on, or others, or a basket."""

    @property
    def items(self) -> Ids:
        """The items that are scored, in the order of the scores' columns."""
        ...

    @property
    def popularity(self) -> npt.NDArray[np.float32]:
        """`(items,)`: what is recommended, in falling order, where the model has nothing to say."""
        ...

    def scores(self, history: Interactions, users: Numbers) -> Scores:
        """Return `(len(users), items)` scores of users of `history` (aligned with `items`); 0 says nothing."""
        ...

    def reasons(self, history: Interactions, user: int, item: int) -> Sequence[Reason]:
        """Return summands that add up to `scores(history, [user])[0, item]`, none where that is 0."""
        ...


class Recommender(Protocol):
    """Parameters of a way to recommend."""

    def fit(self, interactions: Interactions, progress: Progress = silent) -> Model:
        """Learn from interactions."""
        ...


@dataclass(frozen=True)
class Sums:
    """A score that is a sum over the items of a user's history: weights times a matrix, `(items, items)`."""

    left: sparse.csr_matrix
    right: sparse.csr_matrix


@runtime_checkable
class SparseModel(Model, Protocol):
    """A model whose scores are a sparse product, so that the best N need no dense scores."""

    def product(self, history: Interactions, users: Numbers) -> Sums:
        """Return the factors, `left` with a row for each of `users`."""
        ...


def present(matrix: sparse.csr_matrix, row: npt.NDArray[Any], column: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return whether each (row, column) of a sparse matrix is not 0; none asked for is fine too, as it is not for SciPy."""
    if not row.size:
        return np.zeros(0, bool)
    return np.asarray(matrix[row, column]).ravel().astype(bool)


def at_least_one(**values: int) -> None:
    """Refuse a count below 1 or not whole, naming it."""
    for name, value in values.items():
        if not isinstance(value, int | np.integer) or value < 1:
            raise UsageError(f"{name} must be a whole number, at least 1; got {value}")


def not_negative(**values: float) -> None:
    """Refuse a number below 0 or not finite, naming it."""
    for name, value in values.items():
        if not 0 <= value < np.inf:
            raise UsageError(f"{name} must be at least 0; got {value}")


def popularity_of(interactions: Interactions, half_life: float = 90.0) -> npt.NDArray[np.float32]:
    """Return the number of users of each item, a user counting by how recent the last purchase is; `(items,)`."""
    matrix = interactions.matrix(Weighting(half_life=half_life))
    np.minimum(matrix.data, 1.0, out=matrix.data)
    return np.asarray(matrix.sum(axis=0), np.float32).ravel()


def item_reasons(items: Ids, weights: sparse.csr_matrix, column: npt.NDArray[np.floating]) -> list[Reason]:
    """Return the summands weight x column[item] over the items of one row of weights."""
    parts = weights.data * column[weights.indices]
    return [
        Reason("item", items.values[j], float(part))
        for j, part in zip(weights.indices, parts, strict=True)
        if part != 0.0
    ]
