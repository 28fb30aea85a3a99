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
HEAPS = 100_000_000  # neighbours that all threads hold together at most: 800 MB
LAST = np.uint64(0xFFFFFFFF)
NOTHING = np.zeros(0, np.float32), np.zeros(0, np.int32), np.zeros(0, np.int64)


def csr(matrix: Any) -> sparse.csr_matrix:
    """Return CSR with 64-bit pointers, 32-bit indices and 32-bit weights, as the kernels are compiled for."""
    made = matrix.tocsr()
    made.sum_duplicates()
    return sparse.csr_matrix(
        (
            made.data.astype(np.float32, copy=False),
            made.indices.astype(np.int32, copy=False),
            made.indptr.astype(np.int64),
        ),
        shape=made.shape,
    )


def pointers(matrix: sparse.csr_matrix) -> tuple[Any, Any, Any]:
    """Return (pointers, indices, weights) in the kernels' types."""
    return (
        matrix.indptr.astype(np.int64, copy=False),
        matrix.indices.astype(np.int32, copy=False),
        matrix.data.astype(np.float32, copy=False),
    )


def best_of_product(
    left: sparse.csr_matrix,
    right: sparse.csr_matrix,
    k: int,
    *,
    left_terms: Terms | None = None,
    right_terms: Terms | None = None,
    shrinkage: float = 0.0,
    own: npt.NDArray[np.int64] | None = None,
    progress: Progress = silent,
    task: str = "neighbours",
) -> sparse.csr_matrix:
    """Return the k largest positive entries of each row of `left @ right`, made similarities by the terms.

    The result's rows are ordered best first (ties: lower column first); its indices are thus not sorted.
    """
    n, width = left.shape[0], right.shape[1]
    k = min(k, max(width, 1))
    plain_left = left_terms or Terms(np.zeros(n), np.ones(n))
    plain_right = right_terms or Terms(np.zeros(width), np.ones(width))
    skipped = np.full(n, -1, np.int64) if own is None else own
    threads, listing = numba.get_num_threads(), positive(left) and positive(right)
    parts = []
    for begin in range(0, n, BLOCK):
        rows = np.arange(begin, min(begin + BLOCK, n))
        keys = np.zeros((rows.size, k), np.uint64)
        sizes = np.zeros(rows.size, np.int64)
        kernels.best_products(
            rows,
            *pointers(left),
            *pointers(right),
            plain_left.centre,
            plain_right.centre,
            plain_left.scale,
            plain_right.scale,
            float(shrinkage),
            skipped,
            width,
            listing,
            threads,
            keys,
            sizes,
        )
        parts.append(opened(keys, sizes))
        progress(task, int(rows[-1]) + 1, n)
    value, column, size = (
        (np.concatenate([*found, none]) for found, none in zip(zip(*parts, strict=True), NOTHING, strict=True))
        if parts
        else NOTHING
    )
    return sparse.csr_matrix((value, column, np.concatenate([[0], np.cumsum(size)])), shape=(n, width))


def positive(matrix: sparse.csr_matrix) -> bool:
    """Return whether all weights held are above 0."""
    return not matrix.nnz or bool(matrix.data.min() > 0)


def opened(keys: npt.NDArray[np.uint64], sizes: npt.NDArray[np.int64]) -> tuple[Any, Any, npt.NDArray[np.int64]]:
    """Return the values and columns of rows of rising keys, best first row by row, and the rows' sizes."""
    place = np.arange(keys.shape[1])
    held = keys[:, ::-1][place >= keys.shape[1] - sizes[:, None]]
    return (held >> np.uint64(32)).astype(np.uint32).view(np.float32), (LAST - (held & LAST)).astype(np.int32), sizes


def neighbours(
    rows: sparse.csr_matrix, similarity: Similarity, k: int, progress: Progress = silent
) -> sparse.csr_matrix:
    """Return each row's k most similar other rows, `(rows, rows)`, best first (ties: lower row first)."""
    rows = csr(rows)
    terms = similarity.terms(rows)
    n, threads = rows.shape[0], numba.get_num_threads()
    k = min(k, max(n, 1))
    if threads * n * k > HEAPS:  # no room for every thread's best of every row
        return best_of_product(
            rows,
            csr(rows.T),
            k,
            left_terms=terms,
            right_terms=terms,
            shrinkage=similarity.shrinkage,
            own=np.arange(n),
            progress=progress,
        )
    left, right = pointers(rows), pointers(csr(rows.T))
    after = kernels.places_after(left[0], left[1], right[0])
    keys, sizes = np.zeros((threads, n, k), np.uint64), np.zeros((threads, n), np.int64)
    for begin in range(0, n, BLOCK):
        block = np.arange(begin, min(begin + BLOCK, n))
        kernels.best_pairs(
            block,
            *left,
            after,
            *right,
            terms.centre,
            terms.scale,
            float(similarity.shrinkage),
            positive(rows),
            keys,
            sizes,
        )
        progress("neighbours", int(block[-1]) + 1, n)
    kernels.merged(keys, sizes)
    value, column, size = opened(keys[0], sizes[0])
    return sparse.csr_matrix((value, column, np.concatenate([[0], np.cumsum(size)])), shape=(n, n))
