"""Scopes: which items each coupon is good for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from cf.errors import UsageError
from cf.ids import Ids


@dataclass(frozen=True)
class Scopes:
    """Named sets of items.

    Attributes
    ----------
    names
        One a scope.
    items
        The ids behind the rows of `covers`.
    covers
        `(items, scopes)` boolean, sparse: which scopes an item lies in.
    """

    names: tuple[Any, ...]
    items: Ids
    covers: sparse.csr_matrix

    def __post_init__(self) -> None:
        if self.covers.shape != (len(self.items), len(self.names)):
            raise UsageError(
                f"covers is {self.covers.shape}; there are {len(self.items)} items and {len(self.names)} scopes"
            )
        if not self.names:
            raise UsageError("there are no scopes")

    @classmethod
    def of(cls, items: Ids, sets: Mapping[Any, npt.ArrayLike | Sequence[Any]]) -> Scopes:
        """Take a mapping from each scope's name to the ids of its items; ids that were never seen are kept out."""
        rows, columns = [], []
        for number, wanted in enumerate(sets.values()):
            found = items.find(wanted)
            found = np.unique(found[found >= 0])
            rows.append(found)
            columns.append(np.full(found.size, number))
        row, column = np.concatenate([*rows, []]).astype(np.int64), np.concatenate([*columns, []]).astype(np.int64)
        shape = (len(items), len(sets))
        return cls(tuple(sets), items, sparse.csr_matrix((np.ones(row.size, bool), (row, column)), shape=shape))

    @classmethod
    def by_group(cls, items: Ids, group: npt.ArrayLike) -> Scopes:
        """Make one scope of each distinct value of `group`, `(items,)` (a category, a department); None is in no scope."""
        groups = np.asarray(group, object)
        if groups.shape != (len(items),):
            raise UsageError(f"group has shape {groups.shape}; there are {len(items):,} items")
        codes, names = pd.factorize(groups, sort=True)
        inside = np.flatnonzero(codes >= 0)
        shape = (len(items), len(names))
        ones = np.ones(inside.size, bool)
        return cls(tuple(names), items, sparse.csr_matrix((ones, (inside, codes[inside])), shape=shape))

    def __len__(self) -> int:
        return len(self.names)

    def aligned(self, items: Ids) -> Scopes:
        """Return the same scopes over other item numbers; items unknown there leave."""
        if items is self.items or items == self.items:
            return self
        place = self.items.find(items.values)
        known = place >= 0
        picked = self.covers[np.where(known, place, 0)]
        return Scopes(self.names, items, (sparse.diags(known.astype(np.float32)) @ picked).astype(bool).tocsr())

    def only(self, scopes: npt.ArrayLike) -> Scopes:
        """Return some of the scopes, by number."""
        chosen = np.asarray(scopes, np.int64)
        return Scopes(tuple(self.names[n] for n in chosen), self.items, self.covers[:, chosen].tocsr())
