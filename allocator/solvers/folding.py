"""Folds any number of limits into small tables, and their usage out of them.

Limits that cover all users fold into a table by coupon; the others into one by user group and coupon class, where
coupons that the same limits cover share a class.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from allocator.executors.local import Cover, Tables
from allocator.problem import Problem

ALWAYS = ("value", "cost")
MANY = 300  # limits; of more, the curvature is kept sparse
MOST_DENSE = 20_000  # numbers of a table of coupons by limits
MOST_OWN = 500_000  # numbers that levers of user groups may take


@dataclass(frozen=True, eq=False)
class Levers:
    """What the curvature of the dual is summed over, before it is known of each limit.

    Limits of one measure over overlapping segments all move with the same sums: those by user group, coupon class and
    measure. These are the groups' own levers; the shared ones are the limits that cover all users. Where that would take
    more memory than the limits themselves, all limits are shared levers.

    Attributes
    ----------
    cover
        Which levers cover which offers, and their weights.
    moves
        `(n_own, n_narrow)`: 1 where an own lever (class, measure) moves a narrow limit's usage.
    """

    cover: Cover
    moves: np.ndarray


@dataclass(frozen=True, eq=False)
class Folding:
    """How a problem's limits fold.

    Attributes
    ----------
    columns
        Further columns that limits measure, in the order of `Shard.extra`.
    weights
        `(n_limits, 3 + n_extra)`: each limit's weights for (value, cost, further columns ..., count).
    at_least, at_most
        `(n_limits,)`, infinite where there is none, less what required offers use.
    wide, narrow
        Positions of limits that cover all users, and of the others.
    """

    columns: tuple[str, ...]
    weights: np.ndarray
    at_least: np.ndarray
    at_most: np.ndarray
    wide: np.ndarray
    narrow: np.ndarray
    wide_coupons: (
        sp.csr_array
    )  # (n_wide, n_coupons) float64 0/1; sparse: a quantity for each of 5,000 coupons is 5,000 rows
    groups: np.ndarray  # (n_narrow, n_groups) float64 0/1
    classes: np.ndarray  # (n_narrow, n_classes) float64 0/1
    class_of: np.ndarray  # (n_coupons,) int32

    @property
    def n_limits(self) -> int:
        """Number of limits."""
        return int(self.weights.shape[0])

    @cached_property
    def _covered(self) -> np.ndarray | sp.csr_array:
        """`wide_coupons`, dense where it is small: sparse products take longer there."""
        size = self.wide_coupons.shape[0] * self.wide_coupons.shape[1]
        return self.wide_coupons.toarray() if size <= MOST_DENSE else self.wide_coupons

    def tables(self, prices: np.ndarray, *, of_value: float = 1.0) -> Tables:
        """Return the tables whose rows give an offer's value (times `of_value`) less the prices of what it uses."""
        scaled = -prices[:, None] * self.weights
        wide = self._covered.T @ scaled[self.wide]
        wide[:, 0] += of_value
        return Tables(wide, self._narrow(scaled), self.class_of)

    def radii(self, radius: np.ndarray) -> Tables:
        """Return the tables whose rows bound how far a reduced value moves when each price moves by its radius."""
        scaled = radius[:, None] * np.abs(self.weights)
        return Tables(self._covered.T @ scaled[self.wide], self._narrow(scaled), self.class_of)

    def _narrow(self, scaled: np.ndarray) -> np.ndarray:
        if not self.narrow.size:
            return np.empty((0, 0, scaled.shape[1]))
        n_classes, width = self.classes.shape[1], scaled.shape[1]
        by_class = self.classes[:, :, None] * scaled[self.narrow][:, None, :]
        flat = self.groups.T @ by_class.reshape(self.narrow.size, n_classes * width)
        return np.ascontiguousarray(flat.reshape(-1, n_classes, width))

    def usage(self, used_wide: np.ndarray, used_narrow: np.ndarray) -> np.ndarray:
        """Return each limit's usage from the tables of sums, `(n_limits,)`."""
        used = np.zeros(self.n_limits)
        if self.wide.size:
            used[self.wide] = ((self._covered @ used_wide) * self.weights[self.wide]).sum(axis=1)
        if self.narrow.size:
            n_groups, n_classes, width = used_narrow.shape
            by_limit = (self.groups @ used_narrow.reshape(n_groups, -1)).reshape(-1, n_classes, width)
            sums = (self.classes[:, :, None] * by_limit).sum(axis=1)
            used[self.narrow] = (sums * self.weights[self.narrow]).sum(axis=1)
        return used

    @cached_property
    def cover(self) -> Cover:
        """For each coupon and for each (group, class): the limits that cover it."""
        wide_start, wide_limit = _by_coupon(self.wide_coupons, self.wide)
        pair_start, pair_limit = np.empty(0, np.int64), np.empty(0, np.int64)
        if self.narrow.size:
            n_groups, n_classes = self.groups.shape[1], self.classes.shape[1]
            cells = [
                (np.flatnonzero(groups)[:, None] * n_classes + np.flatnonzero(classes)).reshape(-1)
                for groups, classes in zip(self.groups, self.classes, strict=True)
            ]
            cell, limit = np.concatenate(cells), np.repeat(self.narrow, [own.size for own in cells])
            pair_start = np.concatenate([[0], np.cumsum(np.bincount(cell, minlength=n_groups * n_classes))])
            pair_limit = limit[np.argsort(cell, kind="stable")].astype(np.int64)
        return Cover(self.weights, wide_start, wide_limit, pair_start, pair_limit, self.classes.shape[1], self.n_limits)

    def coupons_of(self, limits: np.ndarray) -> np.ndarray:
        """Return which coupons any of these limits covers, `(n_coupons,)` bool."""
        wide, narrow = np.isin(self.wide, limits), np.isin(self.narrow, limits)
        of_wide = np.asarray(self._covered[np.flatnonzero(wide)].sum(axis=0)).reshape(-1) > 0
        covered: np.ndarray = of_wide | (self.classes[narrow].sum(axis=0) > 0)[self.class_of]
        return covered

    @property
    def is_listed(self) -> bool:
        """Whether the curvature is kept as a sparse matrix."""
        return self.n_limits > MANY and not self.levers.moves.size

    @cached_property
    def levers(self) -> Levers:
        """What curvature is summed over."""
        if not self.narrow.size:
            return Levers(self.cover, np.empty((0, 0)))
        measures, measure_of = np.unique(self.weights[self.narrow], axis=0, return_inverse=True)
        n_classes, n_groups, n_wide = self.classes.shape[1], self.groups.shape[1], self.wide.size
        n_own = n_classes * measures.shape[0]
        if n_groups * n_own * (n_wide + n_own) > MOST_OWN:
            return Levers(self.cover, np.empty((0, 0)))
        of_measure = measure_of.reshape(-1)[None, :] == np.arange(measures.shape[0])[:, None]
        moves = (self.classes.T[:, None, :] * of_measure[None, :, :]).reshape(n_own, self.narrow.size)
        covered = (self.groups.T @ moves.T > 0).reshape(n_groups * n_classes, -1)  # by (group, class): its measures
        wide_start, wide_lever = _by_coupon(self.wide_coupons, np.arange(n_wide))
        pair_start, place = _lists(covered, np.arange(measures.shape[0]))
        cell = np.repeat(np.arange(covered.shape[0]), np.diff(pair_start))
        pair_lever = n_wide + (cell % n_classes) * measures.shape[0] + place
        weights = np.vstack([self.weights[self.wide], np.tile(measures, (n_classes, 1))])
        return Levers(Cover(weights, wide_start, wide_lever, pair_start, pair_lever, n_classes, n_wide), moves)

    def by_limit(self, summed: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """Return the symmetric `(n_limits, n_limits)` that these sums by lever stand for."""
        shared, own = summed
        moves = self.levers.moves
        if not moves.size:
            return shared
        result = np.zeros((self.n_limits, self.n_limits))
        result[np.ix_(self.wide, self.wide)] = shared
        for lever, moved in enumerate(moves > 0):
            limits = self.narrow[moved]
            of_wide = self.groups[moved] @ own[:, lever, : self.wide.size]
            result[np.ix_(limits, self.wide)] += of_wide
            result[np.ix_(self.wide, limits)] += of_wide.T
            for other, also in enumerate(moves > 0):
                both = self.groups[moved] * own[:, lever, self.wide.size + other] @ self.groups[also].T
                result[np.ix_(limits, self.narrow[also])] += both
        return result

    def with_groups(self, groups: np.ndarray) -> Folding:
        """Return the folding of users of these groups alone, numbered anew in this order."""
        return dataclasses.replace(self, groups=np.ascontiguousarray(self.groups[:, groups]))

    def with_bounds(self, at_least: np.ndarray, at_most: np.ndarray) -> Folding:
        """Return the same folding with other numbers."""
        other = dataclasses.replace(self, at_least=at_least, at_most=at_most)
        for known in ("cover", "levers", "_covered"):  # they do not depend on the numbers
            if known in self.__dict__:
                other.__dict__[known] = self.__dict__[known]
        return other


def fold(problem: Problem) -> Folding:
    """Fold a problem's limits."""
    names = sorted({name for limit in problem.limits for name in limit.weights} - {*ALWAYS, "count"})
    position = {"value": 0, "cost": 1, **{name: 2 + j for j, name in enumerate(names)}, "count": 2 + len(names)}
    n = len(problem.limits)
    weights = np.zeros((n, 3 + len(names)))
    for r, limit in enumerate(problem.limits):
        for name, weight in limit.weights.items():
            weights[r, position[name]] += weight
    at_least, at_most = bounds(problem)
    everyone = problem.limit_groups.all(axis=1) if n else np.zeros(0, dtype=bool)
    wide, narrow = np.flatnonzero(everyone), np.flatnonzero(~everyone)
    classes, class_of = np.zeros((0, 1), dtype=bool), np.zeros(problem.n_coupons, np.int64)
    if narrow.size:
        classes, class_of = np.unique(problem.limit_coupons[narrow], axis=1, return_inverse=True)
    return Folding(
        columns=tuple(names),
        weights=weights,
        at_least=at_least,
        at_most=at_most,
        wide=wide,
        narrow=narrow,
        wide_coupons=sp.csr_array(problem.limit_coupons[wide], dtype=np.float64),
        groups=problem.limit_groups[narrow].astype(np.float64),
        classes=classes.astype(np.float64),
        class_of=class_of.reshape(-1).astype(np.int32),
    )


def bounds(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Return at_least and at_most of each limit, `(n_limits,)` float64: infinite where none, less what is required."""
    limits = problem.limits
    at_least = np.array([-np.inf if limit.at_least is None else limit.at_least for limit in limits], np.float64)
    at_most = np.array([np.inf if limit.at_most is None else limit.at_most for limit in limits], np.float64)
    if problem.required.size:
        used = np.array([problem.measure(r, problem.required).sum() for r in range(len(limits))])
        at_least, at_most = at_least - used, at_most - used
    return at_least, at_most


def _by_coupon(wide_coupons: sp.csr_array, limits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn (limit, coupon) rows into (start, limit) lists by coupon, numbered as in `limits`."""
    turned = wide_coupons.tocsc()
    turned.sort_indices()
    return turned.indptr.astype(np.int64), limits[turned.indices].astype(np.int64)


def _lists(covered: np.ndarray, limits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn a (cell, limit) bool table into (start, limit) lists by cell."""
    cell, position = np.nonzero(covered)
    start = np.zeros(covered.shape[0] + 1, np.int64)
    np.cumsum(np.bincount(cell, minlength=covered.shape[0]), out=start[1:])
    return start, limits[position].astype(np.int64)
