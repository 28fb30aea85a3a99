"""Compiled sparse products that keep the best k of each row, exactly; rows in parallel, memory bounded by threads.

Like the row-wise products of Gustavson (1978), doi:10.1145/355791.355796, with a heap in place of the whole row.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from cf.compiling import njit

POOL = 4  # times k: keys that are held before the best k are selected
SWEEP = 0.5  # products a column from which on a row's columns are gone through in order, not listed as they are met


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


@njit(nogil=True, cache=True)
def key_of(value, index):  # type: ignore[no-untyped-def]
    """Return one number that orders (value, index): a float32 above 0 by its bits, of equal ones the lower index higher."""
    return (np.uint64(np.float32(value).view(np.uint32)) << np.uint64(32)) | np.uint64(0xFFFFFFFF - index)


@njit(nogil=True, cache=True)
def keep(keys, size, key):  # type: ignore[no-untyped-def]
    """Offer a key to a heap of the largest ones, the least on top; return the heap's new size."""
    k = keys.size
    if size < k:
        at = size
        while at > 0:
            parent = (at - 1) // 2
            if keys[parent] <= key:
                break
            keys[at] = keys[parent]
            at = parent
        keys[at] = key
        return size + 1
    if key <= keys[0]:
        return size
    at = 0
    while True:
        child = 2 * at + 1
        if child >= k:
            break
        if child + 1 < k and keys[child + 1] < keys[child]:
            child += 1
        if key <= keys[child]:
            break
        keys[at] = keys[child]
        at = child
    keys[at] = key
    return size


@njit(nogil=True, cache=True)
def value_of(key):  # type: ignore[no-untyped-def]
    """Return the value that a key orders by."""
    return np.uint32(key >> np.uint64(32)).view(np.float32)


@njit(nogil=True, cache=True)
def select(keys, size, k):  # type: ignore[no-untyped-def]
    """Bring the k largest of the first `size` keys, all distinct, to the front, in any order: Hoare's quickselect."""
    low, high = 0, size - 1
    while low < high:
        a, b, c = keys[low], keys[(low + high) // 2], keys[high]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = low, high
        while i <= j:
            while keys[i] > pivot:
                i += 1
            while keys[j] < pivot:
                j -= 1
            if i <= j:
                keys[i], keys[j] = keys[j], keys[i]
                i += 1
                j -= 1
        if k - 1 <= j:
            high = j
        elif k - 1 >= i:
            low = i
        else:
            return


@njit(nogil=True, cache=True)
def work_of(a_idx, b_from, b_to):  # type: ignore[no-untyped-def]
    """Return how many products make a row of A B, whose entry p meets B's entries `b_from[p]` to `b_to[a_idx[p]]`."""
    work = 0
    for p in range(a_idx.size):
        work += b_to[a_idx[p]] - b_from[p]
    return work


@njit(nogil=True, cache=True)
def add_products(a_idx, a_val, b_from, b_to, b_idx, b_val, counted, listed, dots, touched):  # type: ignore[no-untyped-def]
    """Add a row of A B to `dots`; return how many of its columns are in `touched`, where they are `listed`.

    `counted`: dots[2 c] is column c's sum, dots[2 c + 1] how many products it has, side by side for one access to memory.
    Else dots[c] is the sum, and a column is listed where that was 0: right where no weight is 0 or below.
    """
    size = 0
    for p in range(a_idx.size):
        weight = np.float64(a_val[p])
        low, high = b_from[p], b_to[a_idx[p]]
        if counted:
            for q in range(low, high):
                c = b_idx[q]
                if listed and dots[2 * c + 1] == 0.0:
                    touched[size] = c
                    size += 1
                dots[2 * c] += weight * b_val[q]
                dots[2 * c + 1] += 1.0
        elif listed:
            for q in range(low, high):
                c = b_idx[q]
                before = dots[c]
                touched[size] = c  # stays only where the column is met first: no branch to mispredict
                size += before == 0.0
                dots[c] = before + weight * b_val[q]
        else:
            for q in range(low, high):
                dots[b_idx[q]] += weight * b_val[q]
    return size


@njit(nogil=True, cache=True)
def taken(c, dots, shrinkage):  # type: ignore[no-untyped-def]
    """Return column c's sum of products and the factor n / (n + shrinkage), and set both back to 0."""
    if shrinkage > 0.0:
        dot, n = dots[2 * c], dots[2 * c + 1]
        dots[2 * c] = 0.0
        dots[2 * c + 1] = 0.0
        return dot, n / (n + shrinkage)
    dot = dots[c]
    dots[c] = 0.0
    return dot, 1.0


@njit(nogil=True, cache=True, parallel=True)
def best_products(rows, a_ptr, a_idx, a_val, b_ptr, b_idx, b_val, centre_a, centre_b, scale_a, scale_b, shrinkage, own, width, listing, threads, keys, sizes):  # type: ignore[no-untyped-def] # fmt: skip
    """For each row r of A in `rows`, the keys of the best k columns of A B by similarity, in rising order.

    similarity = (dot - centre_a[r] centre_b[c]) scale_a[r] scale_b[c] n / (n + shrinkage), with n the number of products
    in the dot, as float32; only those above 0 count, of dots other than 0. Column `own[r]` of row r is passed over (-1:
    none). `listing`: whether all weights are above 0. `keys`: `(rows, k)`; `sizes`: how many of them are there.
    """
    b_to = b_ptr[1:]
    for t in prange(threads):
        counted = shrinkage > 0.0
        dots = np.zeros(2 * width if counted else width)
        touched = np.empty(width + 1, np.int32)
        k = keys.shape[1]
        pool = np.empty(
            max(min(POOL * k, width), k) + 1, np.uint64
        )  # cut back to the best k when full: cheaper than a heap
        for at in range(t, rows.size, threads):
            r = rows[at]
            idx, val = a_idx[a_ptr[r] : a_ptr[r + 1]], a_val[a_ptr[r] : a_ptr[r + 1]]
            b_from = b_ptr[idx]
            listed = (listing or counted) and work_of(idx, b_from, b_to) < SWEEP * width
            n = add_products(idx, val, b_from, b_to, b_idx, b_val, counted, listed, dots, touched)
            size, lowest = 0, np.float32(0.0)
            for p in range(n if listed else width):
                c = touched[p] if listed else p
                dot, sure = taken(c, dots, shrinkage)
                if dot == 0.0:
                    continue
                value = np.float32((dot - centre_a[r] * centre_b[c]) * scale_a[r] * scale_b[c] * sure)
                if value > 0.0 and value >= lowest and c != own[r]:
                    pool[size] = key_of(value, c)
                    size += 1
                    if size == pool.size:
                        select(pool, size, k)
                        size, lowest = k, value_of(pool[:k].min())
            if size > k:
                select(pool, size, k)
                size = k
            keys[at, :size] = np.sort(pool[:size])
            sizes[at] = size


@njit(nogil=True, cache=True, parallel=True)
def best_pairs(rows, a_ptr, a_idx, a_val, b_from, b_ptr, b_idx, b_val, centre, scale, shrinkage, listing, keys, sizes):  # type: ignore[no-untyped-def] # fmt: skip
    """Offer the similarities of `rows` of A to later rows to both: half the products of `best_products`.

    B is A's transpose, and `b_from[p]` the place in it just after the entry of A at p, so that only later rows are met.
    Each thread keeps the best of its share of the rows: `keys` is `(threads, A's rows, k)` and `sizes` `(threads, A's rows)`;
    `merged` brings them together.
    """
    width = a_ptr.size - 1
    threads, k = keys.shape[0], keys.shape[2]
    b_to = b_ptr[1:]
    for t in prange(threads):
        counted = shrinkage > 0.0
        dots = np.zeros(2 * width if counted else width)
        touched = np.empty(width + 1, np.int32)
        lowest = np.zeros(width, np.float32)  # apart from the heaps, so that most columns need one access to memory
        for r in range(width):
            if sizes[t, r] == k:
                lowest[r] = value_of(keys[t, r, 0])
        for at in range(t, rows.size, threads):
            r = rows[at]
            idx, val, start = (
                a_idx[a_ptr[r] : a_ptr[r + 1]],
                a_val[a_ptr[r] : a_ptr[r + 1]],
                b_from[a_ptr[r] : a_ptr[r + 1]],
            )
            listed = (listing or counted) and work_of(idx, start, b_to) < SWEEP * (width - r)
            n = add_products(idx, val, start, b_to, b_idx, b_val, counted, listed, dots, touched)
            for p in range(n if listed else width - r - 1):
                c = touched[p] if listed else r + 1 + p
                dot, sure = taken(c, dots, shrinkage)
                if dot == 0.0:
                    continue
                value = np.float32((dot - centre[r] * centre[c]) * scale[r] * scale[c] * sure)
                if value > 0.0:
                    if value >= lowest[r]:
                        sizes[t, r] = keep(keys[t, r], sizes[t, r], key_of(value, c))
                        if sizes[t, r] == k:
                            lowest[r] = value_of(keys[t, r, 0])
                    if value >= lowest[c]:
                        sizes[t, c] = keep(keys[t, c], sizes[t, c], key_of(value, r))
                        if sizes[t, c] == k:
                            lowest[c] = value_of(keys[t, c, 0])


@njit(nogil=True, cache=True, parallel=True)
def merged(keys, sizes):  # type: ignore[no-untyped-def]
    """Bring all threads' best of each row together in the first thread's place, in rising order."""
    for r in prange(keys.shape[1]):
        size = sizes[0, r]
        for t in range(1, keys.shape[0]):
            for p in range(sizes[t, r]):
                size = keep(keys[0, r], size, keys[t, r, p])
        keys[0, r, :size].sort()
        sizes[0, r] = size


@njit(nogil=True, cache=True)
def places_after(a_ptr, a_idx, b_ptr):  # type: ignore[no-untyped-def]
    """Return the place in A's transpose just after that of each entry of A, `(entries,)`; both have sorted indices."""
    free = b_ptr[:-1].copy()
    after = np.empty(a_idx.size, np.int64)
    for p in range(a_idx.size):
        free[a_idx[p]] += 1
        after[p] = free[a_idx[p]]
    return after


@njit(nogil=True, cache=True)
def row_totals(ptr, val, squared):  # type: ignore[no-untyped-def]
    """Return each row's sum of entries, or of their squares, `(rows,)` float64."""
    out = np.zeros(ptr.size - 1)
    for r in range(out.size):
        for p in range(ptr[r], ptr[r + 1]):
            weight = np.float64(val[p])
            out[r] += weight * weight if squared else weight
    return out


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
