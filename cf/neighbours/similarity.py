"""Similarities between rows of a sparse matrix, and the weights that go before them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy import sparse

from cf.errors import UsageError
from cf.neighbours import kernels

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Terms:
    """What a similarity needs of each row, `(rows,)` each: (dot - centre centre') scale scale'."""

    centre: Floats
    scale: Floats


class Similarity(Protocol):
    """Turns the dot products of rows into similarities."""

    @property
    def shrinkage(self) -> float:
        """Added to the number of common columns in n / (n + shrinkage)."""
        ...

    def terms(self, rows: sparse.csr_matrix) -> Terms:
        """Return each row's centre and scale."""
        ...


def checked(shrinkage: float) -> None:
    """Refuse a shrinkage below 0."""
    if not 0 <= shrinkage < np.inf:
        raise UsageError(f"shrinkage must be at least 0; got {shrinkage}")


def inverse(values: Floats) -> Floats:
    """Return 1 / values, and 0 where they are 0."""
    return np.divide(1.0, values, out=np.zeros_like(values), where=values > 0)


def row_sums(rows: sparse.csr_matrix) -> Floats:
    """Return each row's sum."""
    return np.asarray(kernels.row_totals(rows.indptr, rows.data, False), np.float64)


def squares(rows: sparse.csr_matrix) -> Floats:
    """Return each row's sum of squares."""
    return np.asarray(kernels.row_totals(rows.indptr, rows.data, True), np.float64)


@dataclass(frozen=True)
class Cosine:
    """x.y / (|x| |y|), times n / (n + shrinkage) for n common columns.

    Sarwar et al., *Item-based collaborative filtering recommendation algorithms*, WWW 2001, doi:10.1145/371920.372071;
    shrinkage as in Bell & Koren, *Scalable collaborative filtering*, ICDM 2007, doi:10.1109/ICDM.2007.90.
    """

    shrinkage: float = 0.0

    def __post_init__(self) -> None:
        checked(self.shrinkage)

    def terms(self, rows: sparse.csr_matrix) -> Terms:
        """Centre at 0, scale to length 1."""
        return Terms(np.zeros(rows.shape[0]), inverse(np.sqrt(squares(rows))))


@dataclass(frozen=True)
class Pearson:
    """Correlation of whole rows, absent entries being zeros: (x.y - n mx my) / (n sx sy), times the shrinkage.

    For implicit data an absent entry is an observation (not bought), unlike for ratings. Only positive correlations make
    neighbours. Resnick et al., *GroupLens*, CSCW 1994, doi:10.1145/192844.192905.
    """

    shrinkage: float = 0.0

    def __post_init__(self) -> None:
        checked(self.shrinkage)

    def terms(self, rows: sparse.csr_matrix) -> Terms:
        """Centre at the mean, scale by the deviation; both times the root of the number of columns."""
        n = max(rows.shape[1], 1)
        total = row_sums(rows)
        spread = np.maximum(squares(rows) - total**2 / n, 0.0)
        spread[spread < 1e-9 * total**2] = 0.0  # a constant row correlates with nothing
        return Terms(total / np.sqrt(n), inverse(np.sqrt(spread)))


class Reweighting(Protocol):
    """Reweights a `(users, items)` matrix before similarities are taken."""

    def apply(self, matrix: sparse.csr_matrix, among: sparse.csr_matrix | None = None) -> sparse.csr_matrix:
        """Return the reweighted matrix; the given one stays as it is.

        How rare items are, and how long users' rows, is counted in `among`: by default in the matrix itself.
        """
        ...


@dataclass(frozen=True)
class Plain:
    """Weights as they are."""

    def apply(self, matrix: sparse.csr_matrix, among: sparse.csr_matrix | None = None) -> sparse.csr_matrix:
        """Return the matrix."""
        return matrix


def rarity(matrix: sparse.csr_matrix) -> Floats:
    """Return log(users / (1 + users of the item)), at least 0, `(items,)`."""
    holders = np.bincount(matrix.indices, minlength=matrix.shape[1])
    return np.maximum(np.log(max(matrix.shape[0], 1)) - np.log1p(holders), 0.0)


def same_shape(matrix: sparse.csr_matrix, data: npt.NDArray[np.floating]) -> sparse.csr_matrix:
    """Return a matrix of the same pairs with other weights."""
    return sparse.csr_matrix((data.astype(np.float32), matrix.indices, matrix.indptr), shape=matrix.shape)


@dataclass(frozen=True)
class TfIdf:
    """sqrt(w) log(U / (1 + U_i)): what everyone has says little.

    Salton & Buckley, *Term-weighting approaches in automatic text retrieval*, 1988, doi:10.1016/0306-4573(88)90021-0.
    """

    def apply(self, matrix: sparse.csr_matrix, among: sparse.csr_matrix | None = None) -> sparse.csr_matrix:
        """Return the reweighted matrix."""
        return same_shape(matrix, np.sqrt(matrix.data) * rarity(matrix if among is None else among)[matrix.indices])


@dataclass(frozen=True)
class BM25:
    """w (k1 + 1) / (w + k1 (1 - b + b |u| / mean |u|)) log(U / (1 + U_i)); |u| is the user's sum of weights.

    Robertson & Zaragoza, *The probabilistic relevance framework: BM25 and beyond*, 2009, doi:10.1561/1500000019.
    """

    k1: float = 1.2
    b: float = 0.75

    def __post_init__(self) -> None:
        if not self.k1 >= 0 or not 0 <= self.b <= 1:
            raise UsageError(f"k1 must be at least 0 and b between 0 and 1; got {self.k1} and {self.b}")

    def apply(self, matrix: sparse.csr_matrix, among: sparse.csr_matrix | None = None) -> sparse.csr_matrix:
        """Return the reweighted matrix."""
        crowd = matrix if among is None else among
        held = row_sums(crowd)
        held = held[held > 0]
        relative = row_sums(matrix) / (held.mean() if held.size else 1.0)
        damped = np.repeat(self.k1 * (1.0 - self.b + self.b * relative), np.diff(matrix.indptr))
        return same_shape(
            matrix, matrix.data * (self.k1 + 1.0) / (matrix.data + damped) * rarity(crowd)[matrix.indices]
        )
