"""Compiled loops of the boosted trees. Import it inside functions: numba is heavy."""

from __future__ import annotations

import numpy as np
from numba import njit, prange


@njit(parallel=True, cache=True)
def histograms(
    bins: np.ndarray,
    rows: np.ndarray,
    node: np.ndarray,
    score: np.ndarray,
    size: np.ndarray,
    features: np.ndarray,
    nodes: int,
    n_bins: int,
) -> np.ndarray:
    """Sum scores and sizes by feature, node and bin: `(features, nodes, bins, coupons + 1)` float64.

    `bins` `(all features, n)` uint8; each thread owns whole features, so the sums do not depend on their number.
    """
    coupons = score.shape[1]
    out = np.zeros((features.size, nodes, n_bins, coupons + 1))
    for f in prange(features.size):
        column = bins[features[f]]
        mine = out[f]
        for position in range(rows.size):
            i = rows[position]
            cell = mine[node[i], column[i]]
            for k in range(coupons):
                cell[k] += score[i, k]
            cell[coupons] += size[i]
    return out


@njit(cache=True)
def best_splits(sums: np.ndarray, shrink: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Best feature (position), bin and gain of each node; a split sends bins up to it to the left. Gain 0: none."""
    features, nodes, n_bins, width = sums.shape
    coupons = width - 1
    where, cut, gain = np.zeros(nodes, np.int64), np.zeros(nodes, np.int64), np.zeros(nodes)
    total, left = np.zeros(width), np.zeros(width)
    for node in range(nodes):
        for f in range(features):
            total[:] = 0.0
            for b in range(n_bins):
                total += sums[f, node, b]
            whole = 0.0
            for k in range(coupons):
                whole += total[k] ** 2 / (total[coupons] + shrink[k])
            left[:] = 0.0
            for b in range(n_bins - 1):
                left += sums[f, node, b]
                size_left, size_right = left[coupons], total[coupons] - left[coupons]
                if size_left < least or size_right < least:
                    continue
                value = -whole
                for k in range(coupons):
                    value += left[k] ** 2 / (size_left + shrink[k])
                    value += (total[k] - left[k]) ** 2 / (size_right + shrink[k])
                if value > gain[node]:
                    gain[node], where[node], cut[node] = value, f, b
    return where, cut, gain


@njit(parallel=True, cache=True)
def descend(bins: np.ndarray, node: np.ndarray, feature: np.ndarray, cut: np.ndarray) -> None:
    """Move each user from their node to its left (2 x node) or right (2 x node + 1) child; feature -1: left."""
    for i in prange(node.size):
        j = node[i]
        f = feature[j]
        node[i] = 2 * j + (1 if f >= 0 and bins[f, i] > cut[j] else 0)


@njit(parallel=True, cache=True)
def walk(bins: np.ndarray, feature: np.ndarray, cut: np.ndarray, leaf: np.ndarray, out: np.ndarray) -> None:
    """Add the leaves of all trees to `out` `(n, coupons)`.

    `feature`, `cut` `(trees, depth, nodes)`; `leaf` `(trees, nodes, coupons)`.
    """
    trees, depth, _ = feature.shape
    for i in prange(out.shape[0]):
        for t in range(trees):
            j = 0
            for level in range(depth):
                f = feature[t, level, j]
                j = 2 * j + (1 if f >= 0 and bins[f, i] > cut[t, level, j] else 0)
            for k in range(out.shape[1]):
                out[i, k] += leaf[t, j, k]
