"""Fast prediction with LightGBM's trees: tests over columns in place of walks over nodes.

Walking a tree costs a mispredicted branch at nearly every node. Here every node of a tree is tested for a block of rows at
once, which compiles to vector instructions, and removes from each row's set of leaves those that it can no longer reach; the
leftmost leaf that is left is the one. Lucchese et al., *QuickScorer*, SIGIR 2015, doi:10.1145/2766462.2767733.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import prange

from cf.compiling import njit

MOST_LEAVES = 32  # of a tree: bits of a set
BLOCK = 512  # rows: their sets and a column stay in the nearest cache
DEFAULT_LEFT, MISSING_NAN = 2, 2  # of LightGBM's decision_type: its second bit, and the value of its third and fourth
DE_BRUIJN = np.uint32(0x077CB531)
PLACE = np.zeros(32, np.uint8)  # place of the lowest bit, by the product with a de Bruijn sequence
PLACE[[((0x077CB531 << bit) & 0xFFFFFFFF) >> 27 for bit in range(32)]] = np.arange(32)


@njit(nogil=True, cache=True, parallel=True, error_model="numpy")
def evaluate(rows, node_start, feature, threshold, nan_right, mask, leaf_start, leaf, place, out):  # type: ignore[no-untyped-def]
    """Add every tree's leaf to `out`, `(rows,)` float64; `rows` is `(rows, features)` float32."""
    n = out.size
    for block in prange((n + BLOCK - 1) // BLOCK):
        low = block * BLOCK
        size = min(BLOCK, n - low)
        left = np.empty(BLOCK, np.uint32)
        columns = np.empty((rows.shape[1], BLOCK), np.float32)  # turned here, while the rows are near
        for r in range(size):
            for f in range(rows.shape[1]):
                columns[f, r] = rows[low + r, f]
        for tree in range(node_start.size - 1):
            left[:] = np.uint32(0xFFFFFFFF)
            for node in range(node_start[tree], node_start[tree + 1]):
                x = columns[feature[node]]
                limit, keep = threshold[node], mask[node]
                if nan_right[node]:
                    for r in range(size):
                        left[r] &= np.uint32(0xFFFFFFFF) if x[r] <= limit else keep
                else:
                    for r in range(size):
                        left[r] &= keep if x[r] > limit else np.uint32(0xFFFFFFFF)
            first = leaf_start[tree]
            for r in range(size):
                lowest = np.uint32(left[r] & (~left[r] + np.uint32(1)))
                out[low + r] += leaf[first + place[np.uint32(lowest * DE_BRUIJN) >> np.uint32(27)]]


@dataclass(frozen=True)
class Forest:
    """Trees as tests; tree t has nodes `node_start[t]` to `node_start[t + 1]`, and leaves likewise.

    Attributes
    ----------
    feature, threshold, nan_right
        `(nodes,)`: a row goes right where its feature is above the threshold, and, missing, where `nan_right`.
    mask
        `(nodes,)` uint32: the leaves that a row can still reach when it goes right.
    leaf
        `(leaves,)` float64, left to right.
    logistic, exponential
        What becomes of the sum: 1 / (1 + exp(-sum)), exp(sum), or neither.
    """

    node_start: npt.NDArray[np.int64]
    feature: npt.NDArray[np.int64]
    threshold: npt.NDArray[np.float32]
    nan_right: npt.NDArray[np.bool_]
    mask: npt.NDArray[np.uint32]
    leaf_start: npt.NDArray[np.int64]
    leaf: npt.NDArray[np.float64]
    logistic: bool
    exponential: bool

    def predict(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Return predictions of `(rows, features)`, NaN allowed."""
        total = np.zeros(len(rows))
        evaluate(
            np.ascontiguousarray(rows, np.float32),
            self.node_start,
            self.feature,
            self.threshold,
            self.nan_right,
            self.mask,
            self.leaf_start,
            self.leaf,
            PLACE,
            total,
        )
        if self.logistic:
            return 1.0 / (1.0 + np.exp(-total))
        return np.exp(total) if self.exponential else total


def forest_of(text: str) -> Forest | None:
    """Return the trees of LightGBM's text, or None where they are of a form that these tests do not cover."""
    head, *trees = text.split("\nTree=")
    objective = next((line.split("=", 1)[1].split() for line in head.splitlines() if line.startswith("objective=")), [])
    if not trees or objective not in (["binary", "sigmoid:1"], ["gamma"]):
        return None
    nodes: list[list[Any]] = [[], [], [], []]
    leaves: list[float] = []
    node_start, leaf_start = [0], [0]
    for tree in trees:
        page = dict(line.split("=", 1) for line in tree.split("\n\n")[0].splitlines() if "=" in line)
        if (
            int(page["num_leaves"]) > MOST_LEAVES
            or page.get("num_cat", "0") != "0"
            or page.get("is_linear", "0") != "0"
        ):
            return None
        order, tests = unrolled(page)
        for column, values in zip(nodes, tests, strict=True):
            column.extend(values)
        leaves.extend(float(page["leaf_value"].split()[number]) for number in order)
        node_start.append(len(nodes[0]))
        leaf_start.append(len(leaves))
    feature, threshold, nan_right, mask = nodes
    return Forest(
        np.array(node_start),
        np.array(feature, np.int64),
        np.array(threshold, np.float32),
        np.array(nan_right, bool),
        np.array(mask, np.uint32),
        np.array(leaf_start),
        np.array(leaves),
        objective[0] == "binary",
        objective[0] == "gamma",
    )


def unrolled(page: dict[str, str]) -> tuple[list[int], list[list[Any]]]:
    """Return a tree's leaves from left to right, and its nodes' features, thresholds, ways of the missing, and masks."""
    if int(page["num_leaves"]) == 1:
        return [0], [[], [], [], []]
    left, right = ([int(v) for v in page[name].split()] for name in ("left_child", "right_child"))
    order: list[int] = []
    gone: dict[int, int] = {}  # a node's mask of the leaves of its left subtree
    work: list[tuple[int, int, int]] = [(0, 0, 0)]  # a node, what to do with it, where its leaves begin
    while work:
        node, stage, begin = work.pop()
        if node < 0:  # LightGBM writes leaf n as -n - 1
            order.append(-node - 1)
        elif stage == 0:
            work += [(node, 1, len(order)), (left[node], 0, 0)]
        else:
            gone[node] = ((1 << len(order)) - 1) & ~((1 << begin) - 1)
            work.append((right[node], 0, 0))
    features = [int(v) for v in page["split_feature"].split()]
    thresholds = [float(v) for v in page["threshold"].split()]
    kinds = [int(v) for v in page["decision_type"].split()]
    nan_right = [
        not kind & DEFAULT_LEFT if kind >> 2 == MISSING_NAN else limit < 0
        for kind, limit in zip(kinds, thresholds, strict=True)
    ]
    limits = [below(limit) for limit in thresholds]
    return order, [features, limits, nan_right, [0xFFFFFFFF & ~gone[node] for node in range(len(features))]]


def below(limit: float) -> np.float32:
    """Return the largest float32 not above a limit: float32 features fall on the same side of both."""
    near = np.float32(limit)
    return near if float(near) <= limit else np.nextafter(near, np.float32(-np.inf))
