"""Compiled sparse products that keep the best k of each row, exactly; rows in parallel, memory bounded by threads.

Like the row-wise products of Gustavson (1978), doi:10.1145/355791.355796, with a heap in place of the whole row.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from cf.compiling import njit


@njit(nogil=True, cache=True)
def worse(value, index, other_value, other_index):  # type: ignore[no-untyped-def]
    """Whether (value, index) ranks after the other: a lower value, or as high with a higher index."""
    return value < other_value or (value == other_value and index > other_index)


@njit(nogil=True, cache=True)
def offer(values, indices, size, value, index):  # type: ignore[no-untyped-def]
    """Offer an entry to a heap of the best ones, the worst on top; return the heap's new size."""
    k = values.size
    if size < k:
        at = size
        while at > 0:
            parent = (at - 1) // 2
            if not worse(value, index, values[parent], indices[parent]):
                break
            values[at], indices[at] = values[parent], indices[parent]
            at = parent
        values[at], indices[at] = value, index
        return size + 1
    if not worse(values[0], indices[0], value, index):
        return size
    at = 0
    while True:
        child = 2 * at + 1
        if child >= k:
            break
        if child + 1 < k and worse(values[child + 1], indices[child + 1], values[child], indices[child]):
            child += 1
        if not worse(values[child], indices[child], value, index):
            break
        values[at], indices[at] = values[child], indices[child]
        at = child
    values[at], indices[at] = value, index
    return size


@njit(nogil=True, cache=True)
def settle(values, indices, size):  # type: ignore[no-untyped-def]
    """Sort the first `size` entries, best first, ties by index."""
    order = np.argsort(indices[:size], kind="mergesort")
    held_values, held_indices = values[:size][order], indices[:size][order]
    order = np.argsort(-held_values, kind="mergesort")
    values[:size] = held_values[order]
    indices[:size] = held_indices[order]


@njit(nogil=True, cache=True, parallel=True)
def best_products(rows, a_ptr, a_idx, a_val, b_ptr, b_idx, b_val, centre_a, centre_b, scale_a, scale_b, shrinkage, own, width, threads, indices, values, sizes):  # type: ignore[no-untyped-def] # fmt: skip
    """For each row r of A in `rows`, the best k columns of A B by similarity, best first.

    similarity = (dot - centre_a[r] centre_b[c]) scale_a[r] scale_b[c] n / (n + shrinkage), with n the number of products
    in the dot; only those above 0 count. Column `own[r]` of row r is passed over (-1: none). Sizes of `indices` and
    `values`: `(rows, k)`.
    """
    for t in prange(threads):
        dots = np.zeros(width)
        common = np.zeros(width, np.int32)
        touched = np.empty(width, np.int64)
        for at in range(t, rows.size, threads):
            r = rows[at]
            n_touched = 0
            for p in range(a_ptr[r], a_ptr[r + 1]):
                j, weight = a_idx[p], a_val[p]
                for q in range(b_ptr[j], b_ptr[j + 1]):
                    c = b_idx[q]
                    if common[c] == 0:
                        touched[n_touched] = c
                        n_touched += 1
                    common[c] += 1
                    dots[c] += weight * b_val[q]
            size = 0
            for p in range(n_touched):
                c = touched[p]
                if c != own[r]:
                    value = (dots[c] - centre_a[r] * centre_b[c]) * scale_a[r] * scale_b[c]
                    if shrinkage > 0.0:
                        value *= common[c] / (common[c] + shrinkage)
                    if value > 0.0:
                        size = offer(values[at], indices[at], size, value, c)
                dots[c] = 0.0
                common[c] = 0
            settle(values[at], indices[at], size)
            sizes[at] = size


@njit(nogil=True, cache=True, parallel=True)
def nearest_points(rows, a_ptr, a_idx, a_val, b_ptr, b_idx, b_val, square, by_square, own, threads, indices, values, sizes):  # type: ignore[no-untyped-def] # fmt: skip
    """For each row r of A in `rows`, the k columns c of B at the least Euclidean distance, nearest first.

    |a - b|^2 = |a|^2 - (2 a.b - |b|^2): ranked by what is in brackets, returned in `values`. `square` holds |b|^2 and
    `by_square` the columns in rising order of it: of those that have nothing in common with a row, the shortest are
    nearest. Column `own[r]` of row r is passed over (-1: none). Sizes of `indices` and `values`: `(rows, k)`.
    """
    width = square.size
    for t in prange(threads):
        dots = np.zeros(width)
        met = np.zeros(width, np.bool_)
        touched = np.empty(width, np.int64)
        for at in range(t, rows.size, threads):
            r = rows[at]
            n_touched = 0
            for p in range(a_ptr[r], a_ptr[r + 1]):
                j, weight = a_idx[p], a_val[p]
                for q in range(b_ptr[j], b_ptr[j + 1]):
                    c = b_idx[q]
                    if not met[c]:
                        met[c] = True
                        touched[n_touched] = c
                        n_touched += 1
                    dots[c] += weight * b_val[q]
            size = 0
            for p in range(n_touched):
                c = touched[p]
                if c != own[r]:
                    size = offer(values[at], indices[at], size, 2.0 * dots[c] - square[c], c)
            left = values.shape[1]
            for p in range(width):
                if left == 0:
                    break
                c = by_square[p]
                if not met[c] and c != own[r]:
                    size = offer(values[at], indices[at], size, -square[c], c)
                    left -= 1
            for p in range(n_touched):
                dots[touched[p]] = 0.0
                met[touched[p]] = False
            settle(values[at], indices[at], size)
            sizes[at] = size


@njit(nogil=True, cache=True, parallel=True)
def best_columns(scores, skip_ptr, skip_idx, only, filler, indices, values, sizes):  # type: ignore[no-untyped-def]
    """For each row of dense scores, the best k columns; then `filler`'s (columns in order) where too few score above 0.

    Columns of the row's stretch of `skip_idx` are left out, and those where `only` (of size 0: all) is false.
    """
    k = indices.shape[1]
    width = scores.shape[1]
    for r in prange(scores.shape[0]):
        barred = np.zeros(width, np.bool_)
        for p in range(skip_ptr[r], skip_ptr[r + 1]):
            barred[skip_idx[p]] = True
        if only.size:
            for c in range(width):
                if not only[c]:
                    barred[c] = True
        size = 0
        for c in range(width):
            if not barred[c] and scores[r, c] > 0.0:
                size = offer(values[r], indices[r], size, scores[r, c], c)
        settle(values[r], indices[r], size)
        if size < k:
            for p in range(size):
                barred[indices[r, p]] = True
            for p in range(filler.size):
                if size == k:
                    break
                if not barred[filler[p]]:
                    indices[r, size] = filler[p]
                    values[r, size] = min(scores[r, filler[p]], 0.0)
                    size += 1
        sizes[r] = size
