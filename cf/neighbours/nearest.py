"""The nearest neighbours of rows, exact."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from scipy import sparse

from cf.neighbours import kernels
from cf.neighbours.similarity import Similarity, Terms
from cf.progress import Progress, silent

BLOCK = 20_000  # rows between two reports of progress
NONE = np.zeros(0)


def csr(matrix: Any) -> sparse.csr_matrix:
    """Return CSR with 64-bit pointers, 32-bit indices and 32-bit weights, as the kernels are compiled for."""
    made = matrix.tocsr()
    made.sum_duplicates()
    return sparse.csr_matrix(
        (made.data.astype(np.float32, copy=False), made.indices.astype(np.int32, copy=False), made.indptr.astype(np.int64)),
        shape=made.shape,
    )  # fmt: skip


def pointers(matrix: sparse.csr_matrix) -> tuple[Any, Any, Any]:
    """Return (pointers, indices, weights) in the kernels' types."""
    return (
        matrix.indptr.astype(np.int64, copy=False), matrix.indices.astype(np.int32, copy=False),
        matrix.data.astype(np.float32, copy=False),
    )  # fmt: skip


def best_of_product(
    left: sparse.csr_matrix, right: sparse.csr_matrix, k: int, *, left_terms: Terms | None = None,
    right_terms: Terms | None = None, shrinkage: float = 0.0, own: npt.NDArray[np.int64] | None = None,
    progress: Progress = silent, task: str = "neighbours",
) -> sparse.csr_matrix:  # fmt: skip
    """Return the k largest positive entries of each row of `left @ right`, made similarities by the terms.

    The result's rows are ordered best first (ties: lower column first); its indices are thus not sorted.
    """
    n, width = left.shape[0], right.shape[1]
    plain_left = left_terms or Terms(np.zeros(n), np.ones(n))
    plain_right = right_terms or Terms(np.zeros(width), np.ones(width))
    skipped = np.full(n, -1, np.int64) if own is None else own
    threads = numba.get_num_threads()
    found_indices, found_values, sizes = [], [], np.zeros(n, np.int64)
    for begin in range(0, n, BLOCK):
        rows = np.arange(begin, min(begin + BLOCK, n))
        indices = np.zeros((rows.size, k), np.int32)
        values = np.zeros((rows.size, k), np.float32)
        size = np.zeros(rows.size, np.int64)
        kernels.best_products(
            rows, *pointers(left), *pointers(right), plain_left.centre, plain_right.centre, plain_left.scale,
            plain_right.scale, float(shrinkage), skipped, width, threads, indices, values, size,
        )  # fmt: skip
        held = np.arange(k) < size[:, None]
        found_indices.append(indices[held])
        found_values.append(values[held])
        sizes[rows] = size
        progress(task, int(rows[-1]) + 1, n)
    indptr = np.concatenate([[0], np.cumsum(sizes)])
    data = np.concatenate([*found_values, np.zeros(0, np.float32)])
    column = np.concatenate([*found_indices, np.zeros(0, np.int32)])
    return sparse.csr_matrix((data, column, indptr), shape=(n, width))


def neighbours(rows: sparse.csr_matrix, similarity: Similarity, k: int, progress: Progress = silent) -> sparse.csr_matrix:  # fmt: skip
    """Return each row's k most similar other rows, `(rows, rows)`, best first."""
    terms = similarity.terms(rows)
    return best_of_product(
        rows, csr(rows.T), k, left_terms=terms, right_terms=terms, shrinkage=similarity.shrinkage,
        own=np.arange(rows.shape[0]), progress=progress,
    )  # fmt: skip
