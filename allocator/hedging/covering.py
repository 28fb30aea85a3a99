"""A bound on all plans that keep a limit with a probability: the plane of D and V, covered by boxes.

Prices y of A, p of D and q of V (beside those of the other limits) bound every plan by what their dual D0 says of the
other limits and of the offers, plus y A + p D + q V, where A = budget + S_a D - H(D, V) is the most that a plan with
these D and V may have. So one pass over the offers at some prices bounds all boxes at once: in each by the least that H
has above the plane of slopes S_a + p / y and q / y there. A box is done where known prices bound it well enough. Else
Newton's method looks for prices that do at the point where they are worst, and where that does not help, the box is
priced by itself. What is left is cut around the sums of what is chosen at its prices.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from allocator.clock import working_time
from allocator.hedging.standins import StandIns
from allocator.risk.surrogate import Box, Grid, Stand

MOST_PIECES = 60
FIRST_WIDTH = 0.1  # of D and V: the middle part where a wide box is cut in three
EDGE = 0.02  # of a range
NARROWER = 0.1  # how much narrower the middle part is than the box, where that is less
NARROWEST = 1e-8  # of the largest range
STEPS = 3  # of Newton's method for one box
FURTHER = 2.0  # than the target asks for
HELPS = 0.3  # of what is to be proven; a step that brings less is the last
LEAST_PRICE = 0.1  # of the price of A before; a step does not lead below
DAMPING = 1e-9


@dataclass(frozen=True, eq=False)
class Dual:
    """The dual of a problem: `value(prices)` gives it and each limit's usage, `curvature(prices)` its smoothed curvature."""

    value: Callable[[np.ndarray], tuple[float, np.ndarray]]
    curvature: Callable[[np.ndarray], np.ndarray | None]


@dataclass(frozen=True, eq=False)
class Support:
    """Prices, and what they prove.

    Attributes
    ----------
    prices
        `(n_limits + 3,)`: of the problem's limits, and of A, D and V; that of A is above 0.
    constant
        The dual without the numbers of A, D and V, currency.
    used
        `(n_limits + 3,)`: what is chosen at these prices uses.
    """

    prices: np.ndarray
    constant: float
    used: np.ndarray

    def bound(self, at: np.ndarray) -> float:
        """Return what no plan with these A, D and V earns more than, currency."""
        return self.constant + float(self.prices[-3:] @ at)


@dataclass(frozen=True, eq=False)
class Leaf:
    """A box, a linear function below H in it, prices `(n_limits + 3,)` of the limits, of that one and of the box's ranges.

    Where the prices are a support's, that is known too, and D, V and H where in the box it bounds worst.
    A leaf is settled where the plane is so near H that a smaller box would be bounded no better.
    """

    box: Box
    stand: Stand
    prices: np.ndarray
    bound: float
    support: Support | None = None
    worst: tuple[float, float, float] = (0.0, 0.0, 0.0)
    settled: bool = False


@dataclass(eq=False)
class Cover:
    """The search for boxes and their prices.

    Attributes
    ----------
    price
        Prices one box by itself: a leaf, from a box, a point in it that matters and prices to begin at.
    target
        A bound so low is good enough, currency.
    """

    standins: StandIns
    dual: Dual
    price: Callable[[Box, tuple[float, float], np.ndarray | None], Leaf]
    target: float
    deadline: float
    supports: list[Support] = field(default_factory=list)
    bend: np.ndarray | None = None

    def add(self, prices: np.ndarray) -> Support | None:
        """Evaluate prices of all limits and of A, D and V; `None` where that of A is not above 0, which bounds no A."""
        if prices[-3] <= 0:
            return None
        value, used = self.dual.value(prices)
        numbers = np.array([self.standins.budget, self.standins.largest.growing[1], self.standins.largest.variance[1]])
        support = Support(prices, value - float(np.maximum(prices[-3:], 0.0) @ numbers), used)
        self.supports.append(support)
        return support

    def branch(self, root: Leaf) -> list[Leaf]:
        """Cut boxes until none is left whose bound is above the target, or time or pieces are spent."""
        order = itertools.count()
        heap = [(-root.bound, next(order), root)]
        done: list[Leaf] = []
        while heap and len(heap) + len(done) < MOST_PIECES and working_time() < self.deadline:
            leaf = heap[0][2]
            if leaf.bound <= self.target:
                break
            heapq.heappop(heap)
            parts = [] if leaf.settled else self.cut(leaf)
            if len(parts) < 2:
                done.append(leaf)
                continue
            for box in parts:
                part = self.leaf(box, leaf)
                heapq.heappush(heap, (-part.bound, next(order), part))
        return [*done, *(leaf for _, _, leaf in heap)]

    def leaf(self, box: Box, near: Leaf | None = None) -> Leaf:
        """Return a box with the best prices that are known or found for it."""
        grid = Grid.of(self.standins.surrogate, box)
        best = self.known(box, grid)
        for _ in range(STEPS):
            excess = best.bound - self.target
            if excess <= 0 or working_time() > self.deadline:
                return best
            promised, kept = self.stepped(best)
            if promised < HELPS * excess and self.loose(best) >= HELPS * excess:
                return best  # what is wrong with it is its size
            if min(promised, excess) * HELPS > kept:  # the curvature says nothing of so far away
                break
            best = self.known(box, grid, best)
        else:
            return best
        own = self.price(box, best.worst[:2], None if near is None else near.prices)
        if self.add(self.of_sums(own)) is not None:
            best = self.known(box, grid, best)
        best = own if own.bound < best.bound else best
        bends = float(best.prices[-3]) * max(grid.bends(best.stand.per_growing, best.stand.per_variance))
        return dataclasses.replace(best, settled=bends < HELPS * (best.bound - self.target))

    def loose(self, leaf: Leaf) -> float:
        """Return by how much a leaf's bound would fall were its box but the point that it bounds worst, currency."""
        return math.inf if leaf.support is None else leaf.bound - leaf.support.bound(self.most(leaf))

    def known(self, box: Box, grid: Grid, best: Leaf | None = None) -> Leaf:
        """Return a box with those of the known prices that bound it best; `best` is so already but for the last ones."""
        level, budget = self.standins.surrogate.level, self.standins.budget
        for support in self.supports if best is None else self.supports[-1:]:
            y, p, q = support.prices[-3:]
            offset, worst = grid.lowest(level + p / y, q / y)
            bound = float(support.constant + y * (budget - offset))
            if best is None or bound < best.bound:
                prices = np.concatenate([support.prices[:-2], [0.0, 0.0]])
                stand = Stand(offset, float(level + p / y), float(q / y))
                best = Leaf(box, stand, prices, bound, support, worst)
        assert best is not None
        return best

    def stepped(self, leaf: Leaf) -> tuple[float, float]:
        """Add prices that bound those plans better whose D and V are a leaf's worst.

        They lie on the way to where Newton's method leads, as far as the target asks for and not much further, so that
        elsewhere they bound nearly as well as before; none are added that promise too little. Returns what they promise
        at the worst point, and what they keep of that; currency.
        """
        support, at = leaf.support, self.most(leaf)
        excess = leaf.bound - self.target
        nothing = (excess, 0.0)
        assert support is not None
        if self.bend is None:
            self.bend = self.dual.curvature(support.prices)
        if self.bend is None:
            return nothing
        index, slope = self.slope(support, at)
        size = np.sqrt(self.bend.diagonal()[index])
        scaled = self.bend[np.ix_(index, index)] / np.outer(size, size)
        scaled[np.diag_indices(index.size)] += DAMPING
        step = -np.linalg.lstsq(scaled, slope / size, rcond=None)[0] / size
        most = -float(slope @ step)
        if not most > 0:
            return nothing
        share = min(1.0, FURTHER * excess / most)
        promised = share * (1.0 - 0.5 * share) * most
        if promised < HELPS * excess:
            return promised, 0.0
        prices = support.prices.copy()
        prices[index] += share * step
        n = prices.size - 3
        prices[:n] = np.where(support.prices[:n] > 0, np.maximum(prices[:n], 0.0), np.minimum(prices[:n], 0.0))
        prices[n] = max(prices[n], LEAST_PRICE * support.prices[n])
        after = self.add(prices)
        assert after is not None
        return promised, support.bound(at) - after.bound(at)

    def most(self, leaf: Leaf) -> np.ndarray:
        """Return the most A that plans may have whose D and V are a leaf's worst, with these."""
        d, v, height = leaf.worst
        return np.array([self.standins.budget + self.standins.surrogate.level * d - height, d, v])

    def slope(self, support: Support, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the prices that may move, and along them the slope of what bounds the plans with these A, D and V."""
        limits = self.standins.plain.limits
        numbers = [
            (limit.at_most if y > 0 else limit.at_least) or 0.0
            for limit, y in zip(limits, support.prices, strict=False)
        ]
        assert self.bend is not None
        # Without a shock H is a straight line along D, which then needs no price.
        sums = [True, bool(self.standins.surrogate.spread), True]
        index = np.flatnonzero(np.append(support.prices[:-3] != 0, sums) & (self.bend.diagonal() > 0))
        return index, (np.array([*numbers, *at]) - support.used)[index]

    def of_sums(self, leaf: Leaf) -> np.ndarray:
        """Return a leaf's prices as those of the other limits and of A, D and V."""
        y, growing, variance = leaf.prices[-3:]
        per_growing = y * (leaf.stand.per_growing - self.standins.surrogate.level) + growing
        return np.concatenate([leaf.prices[:-2], [per_growing, y * leaf.stand.per_variance + variance]])

    def sums(self, leaf: Leaf) -> tuple[float, float]:
        """Return D and V of what is chosen at a leaf's prices, moved into its box."""
        d, v = leaf.worst[:2] if leaf.support is None else leaf.support.used[-2:].tolist()
        (low, high), (least, most) = leaf.box.growing, leaf.box.variance
        return min(max(d, low), high), min(max(v, least), most)

    def cut(self, leaf: Leaf) -> list[Box]:
        """Cut a box in up to three along the side on which H leaves the plane further."""
        surrogate, box, largest = self.standins.surrogate, leaf.box, self.standins.largest
        d, v = self.sums(leaf)
        along_d, along_v = (
            [Box(part, box.variance) for part in thirds(box.growing, d, NARROWEST * largest.growing[1])],
            [Box(box.growing, part) for part in thirds(box.variance, v, NARROWEST * largest.variance[1])],
        )
        if not surrogate.spread:
            return along_v
        across = Grid.of(surrogate, box).bends(leaf.stand.per_growing, leaf.stand.per_variance)
        return (along_d or along_v) if across[0] >= across[1] else (along_v or along_d)


def thirds(ends: tuple[float, float], at: float, narrowest: float) -> list[tuple[float, float]]:
    """Cut a range around a point: the middle part is a tenth of the point, or a tenth of the range where that is less.

    A point next to an end says little: it may have been moved there. The range is halved then. None are returned where
    the range, or the middle part, is too narrow.
    """
    low, high = ends
    if not low + EDGE * (high - low) < at < high - EDGE * (high - low):
        middle = 0.5 * (low + high)
        return [(low, middle), (middle, high)] if high - low > narrowest else []
    half = 0.5 * min(FIRST_WIDTH * at, NARROWER * (high - low))
    if half <= narrowest:
        return []
    marks = [low, *(mark for mark in (at - half, at + half) if low + 0.2 * half < mark < high - 0.2 * half), high]
    return list(itertools.pairwise(marks))
