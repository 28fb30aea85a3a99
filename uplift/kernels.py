"""Compiled loops of the boosted trees. Import it inside functions: numba is heavy.

Those of training run on one thread and without the interpreter's lock: the folds are grown side by side, which keeps the
sums the same on any number of cores and leaves no thread waiting for another.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from uplift.compiling import njit

_BLOCK = 256  # users
_DE_BRUIJN = np.uint64(0x03F79D71B4CB0A89)
# Where each single bit stands, by the top six bits of its product with the sequence.
_POSITION = np.zeros(64, dtype=np.int64)
_POSITION[[((int(_DE_BRUIJN) << bit) % 2**64) >> 58 for bit in range(64)]] = np.arange(64)


@njit(nogil=True, cache=True)
def pulls(
    outcome: np.ndarray,
    offset: np.ndarray,
    effect: np.ndarray,
    design: np.ndarray,
    arm: np.ndarray,
    weight: np.ndarray,
    binary: bool,
    score: np.ndarray,
    size: np.ndarray,
) -> None:
    """Fill each user's gradient `score` `(n, coupons)` and curvature `size` `(n,)`, both float32, at the effects so far.

    `design` `(arms, coupons)`; `weight` is the user's over the dispersion; `binary`: log odds, else logarithm.
    """
    for i in range(outcome.size):
        x = offset[i]
        for k in range(design.shape[1]):
            x += effect[i, k] * design[arm[i], k]
        x = min(max(x, -30.0), 30.0)
        mean = 1.0 / (1.0 + np.exp(-x)) if binary else np.exp(x)
        pull = weight[i] * (outcome[i] - mean)
        for k in range(design.shape[1]):
            score[i, k] = design[arm[i], k] * pull
        size[i] = weight[i] * (mean * (1.0 - mean) if binary else mean)


@njit(nogil=True, cache=True)
def leaf_sums(
    rows: np.ndarray, node: np.ndarray, score: np.ndarray, size: np.ndarray, leaves: int
) -> tuple[np.ndarray, np.ndarray]:
    """Sum gradients `(leaves, coupons)` and curvatures `(leaves,)` of these rows by leaf, float64."""
    total, mass = np.zeros((leaves, score.shape[1])), np.zeros(leaves)
    for position in range(rows.size):
        i = rows[position]
        mass[node[i]] += size[i]
        for k in range(score.shape[1]):
            total[node[i], k] += score[i, k]
    return total, mass


@njit(nogil=True, cache=True)
def add_leaves(effect: np.ndarray, node: np.ndarray, leaf: np.ndarray) -> None:
    """Add the effects of each user's leaf `(leaves, coupons)` to `effect` `(n, coupons)`."""
    for i in range(node.size):
        for k in range(leaf.shape[1]):
            effect[i, k] += leaf[node[i], k]


@njit(nogil=True, cache=True)
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

    `bins` `(all features, n)` uint8.
    """
    coupons = score.shape[1]
    out = np.zeros((features.size, nodes, n_bins, coupons + 1))
    for f in range(features.size):
        column = bins[features[f]]
        mine = out[f]
        for position in range(rows.size):
            i = rows[position]
            cell = mine[node[i], column[i]]
            for k in range(coupons):
                cell[k] += score[i, k]
            cell[coupons] += size[i]
    return out


@njit(nogil=True, cache=True)
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


@njit(nogil=True, cache=True)
def descend(bins: np.ndarray, node: np.ndarray, feature: np.ndarray, cut: np.ndarray) -> None:
    """Move each user from their node to its left (2 x node) or right (2 x node + 1) child; feature -1: left."""
    for i in range(node.size):
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


@njit(inline="always")
def _lowest(mask: np.uint64) -> int:
    """Position of the lowest bit that is set (Leiserson, Prokop and Randall 1998, with a de Bruijn sequence)."""
    return _POSITION[((mask & (~mask + np.uint64(1))) * _DE_BRUIJN) >> np.uint64(58)]


@njit(parallel=True, nogil=True, cache=True)
def sum_leaves(
    users: np.ndarray,
    pairs: np.ndarray,
    first_node: np.ndarray,
    first_leaf: np.ndarray,
    feature: np.ndarray,
    cut: np.ndarray,
    keep: np.ndarray,
    arm_keep: np.ndarray,
    alike: np.ndarray,
    leaf: np.ndarray,
    out: np.ndarray,
) -> None:
    """Fill `out` `(n, arms)` with the sums of the leaves of all trees, without walking: QuickScorer.

    Every node that sends a user to the right takes the leaves to its left out of the tree's set of leaves, and the first one
    left is the user's (Lucchese et al. 2015, 10.1145/2766462.2767733). Nodes are asked one after another of a block of
    users, without a jump, and for all arms at once.

    Parameters
    ----------
    users, pairs
        `(n, width)` and `(n, arms, d)` float32: the features from 0 and from `width` on; those after them are of the arm alone.
    first_node, first_leaf
        `(trees + 1,)` and `(trees,)`.
    feature, cut, keep
        `(nodes,)` column; float32 largest value that goes to the left; uint64 leaves that are not to the left.
    arm_keep
        `(trees, arms)` uint64 leaves that the nodes about the arm alone leave.
    alike
        `(trees, arms)` the first arm that goes the same way whatever the user; all 0: the tree does not ask about arms.
    """
    n, arms = out.shape
    width, of_pairs = users.shape[1], pairs.shape[2]
    every = ~np.uint64(0)
    for block in prange((n + _BLOCK - 1) // _BLOCK):
        start = block * _BLOCK
        size = min(_BLOCK, n - start)
        x = np.zeros((width, _BLOCK), np.float32)
        for i in range(size):
            for f in range(width):
                x[f, i] = users[start + i, f]
        left, mine = np.empty(_BLOCK, np.uint64), np.empty(_BLOCK, np.uint64)
        common, own = np.zeros(_BLOCK), np.zeros((arms, _BLOCK))
        value = np.zeros((arms, _BLOCK))
        for t in range(first_leaf.size):
            nodes = range(first_node[t], first_node[t + 1])
            left[:] = every
            for j in nodes:
                if feature[j] < width:
                    row, most, kept = x[feature[j]], cut[j], keep[j]
                    for i in range(_BLOCK):
                        left[i] &= every if row[i] <= most else kept
            if not alike[t].any():
                for i in range(_BLOCK):
                    common[i] += leaf[first_leaf[t] + _lowest(left[i])]
                continue
            for k in range(arms):
                if alike[t, k] == k:
                    mine[:] = left & arm_keep[t, k]
                    for j in nodes:
                        if width <= feature[j] < width + of_pairs:
                            for i in range(size):
                                if not pairs[start + i, k, feature[j] - width] <= cut[j]:
                                    mine[i] &= keep[j]
                    for i in range(_BLOCK):
                        value[k, i] = leaf[first_leaf[t] + _lowest(mine[i])]
                own[k] += value[alike[t, k]]
        for i in range(size):
            for k in range(arms):
                out[start + i, k] = common[i] + own[k, i]
