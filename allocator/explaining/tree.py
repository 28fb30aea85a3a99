"""A small classification tree that people can read: who of some users has something, by their features.

CART (Breiman, Friedman, Olshen and Stone 1984) on binned features, grown best split first. For a yes-or-no outcome the best
grouping of levels is found by ordering them by their share of yes (their theorem 4.5), so that every split of a feature
is looked at. No split leaves a cell of fewer than ten users, of those who have it or of those who do not, so that a rule
points at nobody, and none that chance alone would explain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from allocator.explaining.features import Feature

FEWEST = 10  # users in a cell; with fewer nothing is said
MOST_DEPTH, MOST_LEAVES = 3, 8
LEAST_SHARE = 0.005  # of the users in a cell: smaller ones tell little
LEAST_GAIN = 0.002  # of the root's spread that a split must account for
CHANCE = 20.0  # chi-squared of one degree; by chance one cut in 100,000 exceeds it, and some hundred are tried


@dataclass(frozen=True, eq=False)
class Node:
    """Users that a rule puts together.

    Attributes
    ----------
    rule
        What sets them apart from the rest of the node above; empty at the root.
    rows
        `(users,)` int64: which they are.
    """

    rule: str
    rows: np.ndarray
    children: tuple[Node, ...] = ()


@dataclass(frozen=True, eq=False)
class _Split:
    gain: float
    feature: Feature
    inside: np.ndarray  # (n_bins,) bool: the bins that go to the first child


@dataclass(eq=False)
class _Growing:
    rule: str
    rows: np.ndarray
    depth: int
    split: _Split | None
    children: list[_Growing] = field(default_factory=list)


def grow(features: Sequence[Feature], has: np.ndarray) -> tuple[Node, float]:
    """Grow a tree.

    Parameters
    ----------
    features
        What rules may refer to.
    has
        `(n,)` bool: who has it.

    Returns
    -------
    root
        Of all users.
    accounted
        Share of the spread (variance) of `has` that the leaves account for: 0 nothing, 1 all.
    """
    least = max(FEWEST, int(LEAST_SHARE * has.size))
    spread = has.size * has.mean() * (1.0 - has.mean()) if has.size else 0.0

    def best(rows: np.ndarray, depth: int) -> _Split | None:
        if depth >= MOST_DEPTH or rows.size < 2 * least:
            return None
        splits = [found for feature in features if (found := _best_split(feature, has, rows, least)) is not None]
        return max(splits, key=lambda split: split.gain, default=None)

    everybody = np.arange(has.size)
    root = _Growing("", everybody, 0, best(everybody, 0))
    leaves, accounted = [root], 0.0
    while len(leaves) < MOST_LEAVES:
        open_leaves = [leaf for leaf in leaves if leaf.split is not None]
        leaf = max(open_leaves, key=lambda item: item.split.gain if item.split else 0.0, default=None)
        if leaf is None or leaf.split is None or leaf.split.gain < LEAST_GAIN * spread:
            break
        accounted += leaf.split.gain / spread
        leaf.children = _parted(leaf, leaf.split, has)
        for child in leaf.children:
            child.split = best(child.rows, child.depth)
        leaves = [item for item in leaves if item is not leaf] + leaf.children
    return _node(root), accounted


def _parted(leaf: _Growing, split: _Split, has: np.ndarray) -> list[_Growing]:
    """Return the two sides of a split, the one where more have it first."""
    inside = split.inside[split.feature.bins[leaf.rows]]
    sides = [
        _Growing(split.feature.words(chosen, leaf.rows), leaf.rows[rows], leaf.depth + 1, None)
        for chosen, rows in ((split.inside, inside), (~split.inside, ~inside))
    ]
    return sorted(sides, key=lambda side: -float(has[side.rows].mean()))


def _node(item: _Growing) -> Node:
    return Node(item.rule, item.rows, tuple(_node(child) for child in item.children))


def _best_split(feature: Feature, has: np.ndarray, rows: np.ndarray, least: int) -> _Split | None:
    bins = feature.bins[rows]
    users = np.bincount(bins, minlength=feature.n_bins)
    holders = np.bincount(bins[has[rows]], minlength=feature.n_bins)
    filled = np.flatnonzero(users)
    if filled.size < 2:
        return None
    if not feature.ordered:
        filled = filled[np.argsort(holders[filled] / users[filled], kind="stable")]
    left, left_has = np.cumsum(users[filled])[:-1], np.cumsum(holders[filled])[:-1]
    total, total_has = rows.size, int(holders.sum())
    right, right_has = total - left, total_has - left_has
    mean = total_has / total
    gain = left * (left_has / left - mean) ** 2 + right * (right_has / right - mean) ** 2
    allowed = (np.minimum(left, right) >= least) & (gain >= CHANCE * mean * (1.0 - mean))
    for cell in (left_has, right_has, left - left_has, right - right_has):
        allowed &= (cell == 0) | (cell >= FEWEST)
    if not allowed.any():
        return None
    place = int(np.argmax(np.where(allowed, gain, -1.0)))
    inside = np.zeros(feature.n_bins, dtype=bool)
    inside[filled[: place + 1]] = True
    return _Split(float(gain[place]), feature, inside)
