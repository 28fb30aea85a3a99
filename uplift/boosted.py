"""The boosted candidate: one model of the outcome in which the arm is a feature among the others (LightGBM).

An S-learner (Kuenzel et al. 2019, 10.1073/pnas.1804597116): its trees find deep interactions and steps that smooth
networks round off, both in who buys and in whom a coupon moves, and coupons share what they have in common. Where the terms
are known, the outcome never falls in depth except by an arm's own number. LightGBM (Ke et al., NIPS 2017) grows the trees; they
are kept as arrays and evaluated here, for all arms at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from os import cpu_count
from typing import Any

import numpy as np

from uplift.errors import UpliftError
from uplift.links import Link
from uplift.trial import Terms

_MOST_LEAVES = 64  # of a tree: one bit each
_CHOICES = 12  # numbers of trees that are tried


@dataclass(frozen=True)
class Rounds:
    """How the trees are grown.

    Attributes
    ----------
    trees
        At most; the number is chosen out of fold.
    rate
        Share of each leaf's value that is added.
    leaves
        Of each tree.
    least
        Users in a leaf, at least.
    rows, columns
        Shares of users and features that each tree sees.
    """

    trees: int = 204
    rate: float = 0.05
    leaves: int = 15
    least: int = 150
    rows: float = 0.8
    columns: float = 0.8

    def __post_init__(self) -> None:
        if not 2 <= self.leaves <= _MOST_LEAVES:
            raise UpliftError(f"leaves must be 2 to {_MOST_LEAVES}, not {self.leaves}")


@dataclass(frozen=True, eq=False)
class Boosted:
    """Trees as arrays; node numbers run over all of them, and below 0 stands leaf -n - 1.

    Attributes
    ----------
    codes
        `(arms, codes)` float64: what the trees see of an arm, after the columns of the users and of their pair features.
    roots
        `(trees,)` first node of each.
    feature, cut
        `(nodes,)` column, and the largest value that goes to the left.
    left, right
        `(nodes,)` the next node.
    leaf
        `(leaves,)` on the linear predictor.
    """

    codes: np.ndarray
    roots: np.ndarray
    feature: np.ndarray
    cut: np.ndarray
    left: np.ndarray
    right: np.ndarray
    leaf: np.ndarray

    def predict(self, users: np.ndarray, pairs: np.ndarray | None = None) -> np.ndarray:
        """`(n, width)` float32 encoded users -> `(n, arms)` linear predictor in each arm.

        `pairs` `(n, coupons, pair width)` float32 where there were some in training.
        """
        from uplift.kernels import sum_leaves

        arms = self.codes.shape[0]
        out = np.empty((users.shape[0], arms))
        # Control has no pair features: 0, as an average coupon.
        own = np.zeros((users.shape[0], arms, 0 if pairs is None else pairs.shape[2]), dtype=np.float32)
        if pairs is not None:
            own[:, 1:] = pairs
        arm_keep, alike = self._arms(users.shape[1], users.shape[1] + own.shape[2])
        first_node, first_leaf, keep, cut = self._leaves
        sum_leaves(users, own, first_node, first_leaf, self.feature, cut, keep, arm_keep, alike, self.leaf, out)
        return out

    @cached_property
    def _leaves(self) -> tuple[np.ndarray, ...]:
        """First node `(trees + 1,)` and first leaf `(trees,)` of each tree, and of each node the leaves that are not to its left.

        Trees lie one behind another, a node before those below it, and leaves from left to right. With them the cuts, rounded
        down to what float32 features can tell apart.
        """
        count = self.feature.size
        first, last, to_left = (np.empty(count, dtype=np.int64) for _ in range(3))
        for node in range(count - 1, -1, -1):
            left, right = self.left[node], self.right[node]
            first[node] = first[left] if left >= 0 else -left - 1
            last[node] = last[right] if right >= 0 else -right - 1
            to_left[node] = (last[left] if left >= 0 else -left - 1) - first[node] + 1
        grown = self.roots >= 0
        first_leaf = -self.roots - 1
        first_leaf[grown] = first[self.roots[grown]]
        if np.diff(np.append(first_leaf, self.leaf.size)).max(initial=0) > _MOST_LEAVES:
            raise UpliftError(f"a boosted tree has more than {_MOST_LEAVES} leaves; train the model again")
        # A tree that is a leaf has no node: it begins where the next one does.
        following = np.append(np.where(grown, self.roots, count), count)
        first_node = np.minimum.accumulate(following[::-1])[::-1]
        lowest = first - np.repeat(first_leaf, np.diff(first_node))
        ones = np.array([2**bits - 1 for bits in range(_MOST_LEAVES + 1)], dtype=np.uint64)
        keep = ~(ones[to_left] << lowest.astype(np.uint64))
        cut = self.cut.astype(np.float32)
        above = cut > self.cut
        cut[above] = np.nextafter(cut[above], np.float32(-np.inf))
        return first_node, first_leaf, keep, cut

    def _arms(self, pairs_from: int, codes_from: int) -> tuple[np.ndarray, np.ndarray]:
        """`(trees, arms)` twice: the leaves that nodes about the arm leave, and the first arm that goes the same way."""
        first_node, _, keep, _ = self._leaves
        tree = np.repeat(np.arange(self.roots.size), np.diff(first_node))
        arms = self.codes.shape[0]
        arm_keep = np.full((self.roots.size, arms), ~np.uint64(0))
        asks = self.feature >= codes_from
        right = self.cut[asks, None] < self.codes[:, self.feature[asks] - codes_from].T
        np.bitwise_and.at(arm_keep, tree[asks], np.where(right, keep[asks, None], ~np.uint64(0)))
        alike = (arm_keep[:, :, None] == arm_keep[:, None, :]).argmax(axis=2)
        alike[tree[(self.feature >= pairs_from) & ~asks]] = np.arange(arms)
        return arm_keep, alike


def arm_codes(arms: int, terms: Terms | None) -> tuple[np.ndarray, list[int]]:
    """`(arms, codes)` what is said of an arm: a coupon at all, its number, depth, groups; and 1 where it must not fall."""
    treated = np.append(0.0, np.ones(arms - 1))
    if terms is None:
        return np.column_stack([treated, np.arange(arms)]), [0, 0]
    groups = np.vstack([np.zeros(terms.group.max() + 1), np.eye(terms.group.max() + 1)[terms.group]])
    codes = np.column_stack([treated, np.arange(arms), np.append(0.0, terms.depth), groups])
    return codes, [0, 0, 1] + [0] * groups.shape[1]


@dataclass(frozen=True, eq=False)
class Lessons:
    """What is learned: outcomes >= 0 of users `(n, width)` float32 in their arms, with their pair features if any."""

    users: np.ndarray
    arm: np.ndarray
    outcome: np.ndarray
    weight: np.ndarray
    link: Link
    pairs: np.ndarray | None = None

    def table(self, rows: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """What the trees see of these users and of the arms that they are in."""
        parts = [self.users[rows], codes[self.arm[rows]].astype(np.float32)]
        if self.pairs is not None:
            own = self.pairs[rows, np.maximum(self.arm[rows], 1) - 1]
            parts.insert(1, own * (self.arm[rows] > 0)[:, None])
        return np.column_stack(parts)


def boost_out_of_fold(
    lessons: Lessons, codes: np.ndarray, rising: list[int], fold: np.ndarray, rounds: Rounds, seed: int
) -> tuple[tuple[Boosted, ...], np.ndarray]:
    """Grow one model for each fold left out; return them and their `(n, arms)` linear predictors out of fold.

    All have the number of trees with the least loss out of fold.
    """
    folds = range(int(fold.max()) + 1)

    def grown(f: int) -> list[Boosted]:
        return list(_grown(lessons, codes, rising, np.flatnonzero(fold != f), rounds, [seed, f]))

    with ThreadPoolExecutor(min(len(folds), cpu_count() or 1)) as pool:
        parts = list(pool.map(grown, folds))
    unseen = np.zeros((fold.size, codes.shape[0]))
    best, least, kept = 0, np.inf, unseen
    rows = np.arange(fold.size)
    for step in range(len(parts[0])):
        unseen = unseen.copy()
        for f in folds:
            held = np.flatnonzero(fold == f)
            pairs = None if lessons.pairs is None else lessons.pairs[held]
            unseen[held] += parts[f][step].predict(lessons.users[held], pairs)
        loss = float(lessons.weight @ lessons.link.loss(unseen[rows, lessons.arm], lessons.outcome))
        if loss < least:
            best, least, kept = step, loss, unseen
    return tuple(_joined(parts[f][: best + 1]) for f in folds), kept


def _grown(
    lessons: Lessons, codes: np.ndarray, rising: list[int], rows: np.ndarray, rounds: Rounds, seed: list[int]
) -> Iterator[Boosted]:
    """Yield the trees in `_CHOICES` lots, the same in each fold."""
    try:
        import lightgbm
    except ImportError as error:
        raise UpliftError("boosted trees need LightGBM: pip install 'coupon-allocator[learn]'") from error
    x = lessons.table(rows, codes)
    parameters = {
        "objective": "binary" if lessons.link.binary else "poisson",
        "num_leaves": rounds.leaves,
        "learning_rate": rounds.rate,
        "min_data_in_leaf": rounds.least,
        "max_bin": 127,
        "bagging_fraction": rounds.rows,
        "bagging_freq": 1,
        "feature_fraction": rounds.columns,
        "monotone_constraints": [0] * (x.shape[1] - len(rising)) + rising,
        "seed": int(np.random.SeedSequence(seed).generate_state(1)[0] % 2**31),
        "num_threads": 1,
        "verbosity": -1,
        "deterministic": True,
        "force_row_wise": True,
    }
    data = lightgbm.Dataset(x, lessons.outcome[rows], weight=lessons.weight[rows], free_raw_data=True)
    trees = lightgbm.train(parameters, data, rounds.trees).dump_model()["tree_info"]
    for lot in np.array_split(np.arange(rounds.trees), min(_CHOICES, rounds.trees)):
        yield _read(
            [trees[t]["tree_structure"] for t in lot if t < len(trees)], codes
        )  # fewer where none splits any more


def _read(trees: list[dict[str, Any]], codes: np.ndarray) -> Boosted:
    """Lay LightGBM's nested nodes out as arrays."""
    nodes: list[list[float]] = []
    leaves: list[float] = []

    def lay(node: dict[str, Any]) -> int:
        if "leaf_value" in node:
            leaves.append(float(node["leaf_value"]))
            return -len(leaves)
        mine = len(nodes)
        nodes.append([float(node["split_feature"]), float(node["threshold"]), 0.0, 0.0])
        nodes[mine][2] = lay(node["left_child"])
        nodes[mine][3] = lay(node["right_child"])
        return mine

    roots = [lay(tree) for tree in trees]
    table = np.array(nodes, dtype=np.float64).reshape(-1, 4)
    feature, left, right = (np.ascontiguousarray(table[:, j]).astype(np.int64) for j in (0, 2, 3))
    cut = np.ascontiguousarray(table[:, 1])
    return Boosted(codes, np.array(roots, dtype=np.int64), feature, cut, left, right, np.array(leaves))


def _joined(lots: list[Boosted]) -> Boosted:
    """Put lots of trees behind one another."""
    nodes = np.cumsum([0, *(lot.feature.size for lot in lots)])
    leaves = np.cumsum([0, *(lot.leaf.size for lot in lots)])

    def moved(part: str) -> np.ndarray:
        made = []
        for lot, node, leaf in zip(lots, nodes, leaves, strict=False):
            numbers = getattr(lot, part)
            made.append(np.where(numbers >= 0, numbers + node, numbers - leaf))
        return np.concatenate(made)

    feature, cut, leaf = (np.concatenate([getattr(lot, part) for lot in lots]) for part in ("feature", "cut", "leaf"))
    return Boosted(lots[0].codes, moved("roots"), feature, cut, moved("left"), moved("right"), leaf)
