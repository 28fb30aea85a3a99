"""A symmetric matrix as a sum of weighted outer products of sparse rows: never formed, only multiplied with vectors.

With 5,000 limits of which each user touches 20, the sum itself would be nearly dense while users are near many ties.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp


@dataclass(frozen=True, eq=False)
class Terms:
    """The sum of `weight` times outer(z, z) over the `rows` z, and `ridge` on the diagonal.

    Attributes
    ----------
    rows
        `(n_rows, n)` CSR.
    weight
        `(n_rows,)`.
    """

    rows: sp.csr_array
    weight: np.ndarray
    ridge: float = 0.0

    @classmethod
    def of(cls, parts: list[tuple[np.ndarray, ...]], n: int) -> Terms:
        """Join lists of (start, position, number, weight), as kernels return them, in their order."""
        rows = [sp.csr_array((number, place, start), shape=(weight.size, n)) for start, place, number, weight in parts]
        return cls(sp.csr_array(sp.vstack(rows, format="csr")), np.concatenate([part[3] for part in parts]))

    @cached_property
    def _turned(self) -> sp.csr_array:
        return sp.csr_array(self.rows.T)

    def diagonal(self) -> np.ndarray:
        """Return the diagonal, `(n,)`."""
        entry_weight = np.repeat(self.weight, np.diff(self.rows.indptr))
        return np.bincount(self.rows.indices, self.rows.data**2 * entry_weight, self.rows.shape[1]) + self.ridge

    def __matmul__(self, vector: np.ndarray) -> np.ndarray:
        """Return the matrix times a vector, `(n,)`."""
        result: np.ndarray = self._turned @ (self.weight * (self.rows @ vector)) + self.ridge * vector
        return result

    def __truediv__(self, number: float) -> Terms:
        """Return the matrix divided by a number."""
        return dataclasses.replace(self, weight=self.weight / number, ridge=self.ridge / number)

    def scaled(self, index: np.ndarray, shrink: np.ndarray, ridge: float) -> Terms:
        """Return the rows and columns `index`, each times its `shrink`, with this ridge."""
        rows = sp.csr_array(self.rows[:, index] @ sp.diags_array(shrink))
        some = np.flatnonzero(np.diff(rows.indptr))
        return Terms(rows[some], self.weight[some], ridge)
