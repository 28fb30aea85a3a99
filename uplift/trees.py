"""The tree candidate: boosted trees whose leaves hold one effect a coupon, shrunk by how related the coupons are.

For steps and boxes that smooth networks round off. Newton boosting (Friedman 2001, 10.1214/aos/1013203451) of the same
centred likelihood as the other candidates: a leaf's effects have the prior N(0, v S) with S the relation of the coupons
that the wide candidate learned. In the basis that diagonalises S and the variance of the centred arms the coupons are
independent: a leaf's effect k is G_k / (H + d_k / v), and that is all the histograms need.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import cpu_count

import numpy as np

from uplift.links import Link

N_BINS = 32


@dataclass(frozen=True)
class Growth:
    """How trees are grown.

    Attributes
    ----------
    trees
        At most; the number is chosen out of fold.
    patience
        Growing ends when so many more trees have not helped out of fold.
    depth
        Levels of splits.
    rate
        Share of each leaf's effect that is added.
    prior
        Variance of a leaf's effects on the linear predictor, for the most related direction of the coupons.
    least
        Least curvature in a leaf: users times the variance of a binary outcome.
    rows, columns
        Shares of users and features that each tree sees.
    """

    trees: int = 80
    patience: int = 8
    depth: int = 3
    rate: float = 0.12
    prior: float = 0.02
    least: float = 40.0
    rows: float = 0.6
    columns: float = 0.6


@dataclass(frozen=True, eq=False)
class Forest:
    """Boosted trees.

    Attributes
    ----------
    edges
        `(width, N_BINS - 1)` upper edges of the bins of the encoded features.
    feature, cut
        `(trees, depth, nodes)` split of each node on each level; feature -1 where there is none.
    leaf
        `(trees, leaves, coupons)` effects on the linear predictor, with the rate in them.
    """

    edges: np.ndarray
    feature: np.ndarray
    cut: np.ndarray
    leaf: np.ndarray

    def predict(self, users: np.ndarray) -> np.ndarray:
        """`(n, width)` encoded users -> `(n, coupons)` effects on the linear predictor."""
        return self.predict_binned(binned(users, self.edges))

    def predict_binned(self, bins: np.ndarray) -> np.ndarray:
        """Like `predict`, of `(width, n)` bins: forests of one trial share their edges."""
        from uplift.kernels import walk

        out = np.zeros((bins.shape[1], self.leaf.shape[2]))
        if self.feature.shape[0]:
            walk(bins, self.feature, self.cut, self.leaf, out)
        return out


def bin_edges(users: np.ndarray) -> np.ndarray:
    """Edges between bins of about equal numbers of users; the largest number there is where a feature has fewer."""
    quantiles = np.quantile(users, np.linspace(0.0, 1.0, N_BINS + 1)[1:-1], axis=0).T.astype(np.float32)
    edges = np.full(quantiles.shape, np.finfo(np.float32).max, dtype=np.float32)
    for j, row in enumerate(quantiles):
        levels = np.unique(row)
        edges[j, : levels.size] = levels
    return edges


def binned(users: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """`(width, n)` uint8: the number of edges below each value."""
    return np.stack([np.searchsorted(edges[j], users[:, j], side="left") for j in range(edges.shape[0])]).astype(
        np.uint8
    )


@dataclass(frozen=True, eq=False)
class Sample:
    """What trees are grown on: outcome ~ link(offset + effects . design of the arm), in the diagonal basis.

    Attributes
    ----------
    bins
        `(width, n)` uint8.
    design
        `(arms, coupons)`: the centred arms in the basis where coupons are independent.
    spread
        `(coupons,)` inverse prior variance of each direction, of order 1.
    """

    bins: np.ndarray
    outcome: np.ndarray
    offset: np.ndarray
    arm: np.ndarray
    weight: np.ndarray
    design: np.ndarray
    spread: np.ndarray
    link: Link
    dispersion: float


class _Booster:
    """Trees grown one at a time on some rows, with the loss on others."""

    def __init__(self, sample: Sample, train: np.ndarray, held: np.ndarray, growth: Growth, seed: list[int]) -> None:
        self.sample, self.train, self.held, self.growth = sample, train, held, growth
        self.rng = np.random.default_rng(seed)
        self.weight = sample.weight / sample.dispersion
        self.effect = np.zeros((sample.outcome.size, sample.spread.size))
        self.score = np.empty(self.effect.shape, dtype=np.float32)
        self.size = np.empty(sample.outcome.size, dtype=np.float32)
        self.design = sample.design[sample.arm[held]]
        self.shrink = sample.spread / growth.prior
        self.trees: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def loss(self) -> float:
        """Loss on the held rows with the trees so far."""
        s, rows = self.sample, self.held
        predictor = s.offset[rows] + (self.effect[rows] * self.design).sum(axis=1)
        return float(s.weight[rows] @ s.link.loss(predictor, s.outcome[rows]))

    def grown(self) -> float:
        """Add one tree and return the loss on the held rows."""
        self.grow()
        return self.loss()

    def grow(self) -> None:
        """Add one tree."""
        from uplift.kernels import add_leaves, best_splits, descend, histograms, leaf_sums, pulls

        s, growth, score, size = self.sample, self.growth, self.score, self.size
        leaves = 2**growth.depth
        pulls(s.outcome, s.offset, self.effect, s.design, s.arm, self.weight, s.link.binary, score, size)
        rows = self.train[self.rng.random(self.train.size) < growth.rows]
        width = s.bins.shape[0]
        columns = np.sort(self.rng.permutation(width)[: max(1, round(growth.columns * width))])
        feature = np.full((growth.depth, leaves), -1, dtype=np.int32)
        cut = np.zeros((growth.depth, leaves), dtype=np.uint8)
        node = np.zeros(s.outcome.size, dtype=np.int32)
        for level in range(growth.depth):
            sums = histograms(s.bins, rows, node, score, size, columns, 2**level, N_BINS)
            where, at, gain = best_splits(sums, self.shrink, growth.least)
            feature[level, : 2**level] = np.where(gain > 0, columns[where], -1)
            cut[level, : 2**level] = at
            descend(s.bins, node, feature[level], cut[level])
        total, mass = leaf_sums(rows, node, score, size, leaves)
        leaf = growth.rate * total / (mass[:, None] + self.shrink)
        add_leaves(self.effect, node, leaf)
        self.trees.append((feature, cut, leaf))


def grow_out_of_fold(
    sample: Sample, edges: np.ndarray, fold: np.ndarray, basis: np.ndarray, growth: Growth, seed: int
) -> tuple[Forest, ...]:
    """Grow one forest for each fold left out; all have the number of trees with the least loss out of fold.

    `basis` `(coupons, coupons)` leads back from the diagonal basis to coupons.
    """
    boosters = [
        _Booster(sample, np.flatnonzero(fold != f), np.flatnonzero(fold == f), growth, [seed, f])
        for f in range(int(fold.max()) + 1)
    ]
    losses = [sum(booster.loss() for booster in boosters)]
    with ThreadPoolExecutor(min(len(boosters), cpu_count() or 1)) as pool:
        while len(losses) <= growth.trees and len(losses) - int(np.argmin(losses)) <= growth.patience:
            losses.append(sum(pool.map(_Booster.grown, boosters)))
    number = int(np.argmin(losses))
    leaves, coupons = 2**growth.depth, sample.spread.size
    made = []
    for booster in boosters:
        kept = booster.trees[:number]
        feature = np.array([tree[0] for tree in kept], dtype=np.int32).reshape(number, growth.depth, leaves)
        cut = np.array([tree[1] for tree in kept], dtype=np.uint8).reshape(number, growth.depth, leaves)
        leaf = np.array([tree[2] for tree in kept], dtype=np.float64).reshape(number, leaves, coupons)
        made.append(Forest(edges, feature, cut, leaf @ basis.T))
    return tuple(made)
