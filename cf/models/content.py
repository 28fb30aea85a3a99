"""Content: items like those that the user had, by their attributes; serves items that nobody has had yet."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from cf.errors import UsageError
from cf.ids import Ids
from cf.interactions import Interactions, Weighting
from cf.model import Numbers, Reason, Scores, item_reasons, popularity_of
from cf.neighbours.nearest import csr
from cf.progress import Progress, silent

WORD = re.compile(r"\w+")
BINS = 8  # of a numeric attribute, by quantiles


def categories(values: npt.ArrayLike) -> sparse.csr_matrix:
    """Return one column a distinct value, `(items, values)`; None and NaN have none."""
    codes, names = pd.factorize(np.asarray(values, object), sort=False)
    held = np.flatnonzero(codes >= 0)
    return sparse.csr_matrix((np.ones(held.size, np.float32), (held, codes[held])), shape=(codes.size, len(names)))


def bins(values: npt.ArrayLike) -> sparse.csr_matrix:
    """Return one column an eighth of the items by value; NaN has none."""
    numbers = np.asarray(values, float)
    edges = (
        np.unique(np.nanquantile(numbers, np.linspace(0, 1, BINS + 1)[1:-1]))
        if np.isfinite(numbers).any()
        else np.zeros(0)
    )
    place = np.searchsorted(edges, numbers).astype(object)
    place[~np.isfinite(numbers)] = None
    return categories(place)


def words(texts: npt.NDArray[Any]) -> sparse.csr_matrix:
    """Return one column a word, lower case."""
    row, token = [], []
    for place, text in enumerate(texts):
        found = set(WORD.findall(text.lower())) if isinstance(text, str) else set()
        row.extend([place] * len(found))
        token.extend(sorted(found))
    codes, names = pd.factorize(np.asarray(token, object))
    return sparse.csr_matrix((np.ones(len(row), np.float32), (row, codes)), shape=(len(texts), max(len(names), 1)))


@dataclass(frozen=True)
class Attributes:
    """What items are.

    Attributes
    ----------
    items
        Ids.
    features
        `(items, features)` float32, rows of length 1 (or 0 where nothing is known).
    """

    items: Ids
    features: sparse.csr_matrix

    @classmethod
    def of(
        cls,
        items: npt.ArrayLike | Ids,
        *,
        categorical: Mapping[str, npt.ArrayLike] | None = None,
        numeric: Mapping[str, npt.ArrayLike] | None = None,
        text: Mapping[str, Sequence[str | None]] | None = None,
    ) -> Attributes:
        """Make features of attributes, each `(items,)`: a rare value says more than a common one (inverse frequency)."""
        ids = items if isinstance(items, Ids) else Ids(items)
        parts = []
        groups: list[tuple[Any, Mapping[str, Any] | None]] = [(categories, categorical), (bins, numeric), (words, text)]
        for maker, group in groups:
            for name, values in (group or {}).items():
                if len(np.asarray(values, object)) != len(ids):
                    raise UsageError(
                        f"attribute {name!r} has {len(np.asarray(values, object))} entries for {len(ids)} items"
                    )
                part = maker(np.asarray(values, object))
                holders = np.bincount(part.indices, minlength=part.shape[1])
                weight = np.log1p(len(ids) / np.maximum(holders, 1)).astype(np.float32)
                parts.append(part @ sparse.diags(weight))
        if not parts:
            raise UsageError("items need at least one attribute")
        table = csr(sparse.hstack(parts))
        length = np.sqrt(np.asarray(table.multiply(table).sum(axis=1)).ravel())
        scale = np.divide(1.0, length, out=np.zeros_like(length), where=length > 0)
        return cls(ids, csr(sparse.diags(scale.astype(np.float32)) @ table))

    def aligned(self, items: Ids) -> sparse.csr_matrix:
        """Return the features of these items, empty rows for those not known."""
        place = self.items.find(items.values)
        known = (place >= 0).astype(np.float32)
        return csr(sparse.diags(known) @ self.features[np.maximum(place, 0)])


@dataclass(frozen=True)
class Content:
    """score(u, i) = sum over the user's items j of w(u, j) f_j . f_i / sum of w(u, j).

    Rocchio's profile in the vector space of attributes: Pazzani & Billsus, *Content-based recommendation systems*, 2007,
    doi:10.1007/978-3-540-72079-9_10. Items with attributes but no event are scored too.
    """

    attributes: Attributes
    weighting: Weighting = field(default_factory=lambda: Weighting(half_life=90.0, repeats="log"))

    def fit(self, interactions: Interactions, progress: Progress = silent) -> ContentModel:
        """Number the items with events and those with attributes."""
        items, _ = interactions.items.with_new(self.attributes.items.values)
        popularity = np.zeros(len(items), np.float32)
        popularity[: interactions.n_items] = popularity_of(interactions)
        return ContentModel(items, popularity, self.weighting, self.attributes.aligned(items))


@dataclass(frozen=True)
class ContentModel:
    """`features`: `(items, features)`."""

    items: Ids
    popularity: npt.NDArray[np.float32]
    weighting: Weighting
    features: sparse.csr_matrix

    def _weights(self, history: Interactions, users: Numbers) -> sparse.csr_matrix:
        weights = history.only(users).matrix(self.weighting)
        total = np.asarray(weights.sum(axis=1)).ravel()
        scale = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
        return csr(sparse.diags(scale.astype(np.float32)) @ weights)

    def scores(self, history: Interactions, users: Numbers) -> Scores:
        """Return the likeness of the user's profile and each item."""
        profile = self._weights(history, users) @ self.features
        return np.asarray((profile @ self.features.T).toarray(), np.float32)

    def reasons(self, history: Interactions, user: int, item: int) -> Sequence[Reason]:
        """Return the user's items that are like it."""
        column = (self.features @ self.features[[item]].T).toarray().ravel()
        return item_reasons(self.items, self._weights(history, np.array([user])), column)

    def similar(self, items: Numbers) -> sparse.csr_matrix:
        """Return the cosines between the attributes of these and of all items."""
        return self.features[items] @ self.features.T
