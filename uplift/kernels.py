"""Compiled loops of the boosted trees. Import it inside functions: numba is heavy.

Those of training run on one thread and without the interpreter's lock: the folds are grown side by side, which keeps the
sums the same on any number of cores and leaves no thread waiting for another.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from uplift.compiling import njit


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


@njit(parallel=True, nogil=True, cache=True)
def walk_arms(
    users: np.ndarray,
    pairs: np.ndarray,
    left_arms: np.ndarray,
    roots: np.ndarray,
    feature: np.ndarray,
    cut: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    leaf: np.ndarray,
    out: np.ndarray,
) -> None:
    """Add the leaves of all trees to `out` `(n, arms)`; all arms of a user go together until a node parts them.

    `users` `(n, width)`; `pairs` `(n, arms, d)`: the features from `width` on; those after them are of the arm alone, and
    `left_arms` `(nodes,)` has a bit for each arm that such a node sends to the left.
    """
    arms, width, of_pairs = out.shape[1], users.shape[1], pairs.shape[2]
    every = (np.int64(1) << arms) - 1
    for i in prange(out.shape[0]):
        waiting = np.empty(arms, np.int64)  # a node each, for the arms that were parted from the others
        waiting_arms = np.empty(arms, np.int64)
        for t in range(roots.size):
            node, mine, count = roots[t], every, 0
            while True:
                while node >= 0:
                    if feature[node] < width:
                        node = left[node] if users[i, feature[node]] <= cut[node] else right[node]
                        continue
                    goes = mine & left_arms[node]
                    if feature[node] < width + of_pairs:
                        goes = np.int64(0)
                        for k in range(arms):
                            if mine >> k & 1 and pairs[i, k, feature[node] - width] <= cut[node]:
                                goes |= np.int64(1) << k
                    if goes == mine:
                        node = left[node]
                    elif goes == 0:
                        node = right[node]
                    else:
                        waiting[count], waiting_arms[count] = right[node], mine & ~goes
                        count += 1
                        node, mine = left[node], goes
                value = leaf[-node - 1]
                for k in range(arms):
                    if mine >> k & 1:
                        out[i, k] += value
                if count == 0:
                    break
                count -= 1
                node, mine = waiting[count], waiting_arms[count]
