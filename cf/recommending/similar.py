"""Items like an item."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from scipy import sparse

from cf.errors import UsageError
from cf.ids import Ids
from cf.model import Numbers, at_least_one


@runtime_checkable
class Likens(Protocol):
    """A model that knows how similar items are."""

    @property
    def items(self) -> Ids:
        """The items."""
        ...

    def similar(self, items: Numbers) -> Any:
        """Return similarities to all items, `(len(items), items)`, dense or sparse."""
        ...


def similar_items(model: Likens, item: Any, n: int = 10) -> list[tuple[Any, float]]:
    """Return the n items most similar to this one (id), with their similarities, best first."""
    at_least_one(n=n)
    if not isinstance(model, Likens):
        raise UsageError(f"{type(model).__name__} knows no similar items; use item-kNN, ALS or content")
    number = model.items.numbers([item], "item")
    found = model.similar(number)
    row = (found.toarray() if sparse.issparse(found) else np.array(found)).ravel()
    row[number[0]] = -np.inf
    best = np.argsort(-row, kind="stable")[:n]
    return [(model.items.values[place], float(row[place])) for place in best if row[place] > 0]
