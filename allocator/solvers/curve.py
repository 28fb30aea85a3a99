"""The dual's minimum for many numbers of one limit, for little more than the price of one.

Without its right-hand side the dual does not depend on the limits' numbers, and its minimum moves little from one number
to the next. Between two numbers whose prices are known, all users are set aside whose choice is constant in a box around
both; the number in the middle is solved among the others, and then both halves in the same way: so a user is looked at
only near the numbers where the choice changes.

Halfway between known minima the prices are nearly known: a few Newton steps lead so close to the minimum that the dual is
off by less than a share of the tolerance. It is a bound wherever it is evaluated, and a plan near it proves it good.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from allocator.problem import Problem
from allocator.solvers import boxes, newton
from allocator.solvers.piece import Piece
from allocator.solvers.prices import Prices, Search
from allocator.solvers.tally import Tally

MARGIN = 0.25  # of the way between two prices, added to the box around them
WARMTH = 0.02  # first temperature, as a share of how far an offer's reduced value moves between the two
TELLING = 0.1  # the same, for the curvature between them
SAMPLE = 4_000  # users that tell the curvature
MOST_WARMINGS, WARMER = 2, 10.0
A_FEW = 16.0  # offers
FIRST_STEPS, LAST_STEPS = 1, 12  # of Newton, among all users that are left and among few
MOST_ROUNDS = 3
BEYOND = 3.0  # times the next step, that prices may move
ENOUGH = 0.05  # of the tolerance: what a Newton step may still promise


@dataclass(frozen=True, eq=False)
class Point:
    """The dual's minimum, or prices close to it, for one number.

    Attributes
    ----------
    position
        Of the number among all.
    whole, near
        The whole problem with this number, and the users whose choice may differ between it and its neighbours.
    box
        The prices at which the others choose as they were set aside.
    fixed
        Sums over the others' choices.
    minimum
        `exact` says whether it is one.
    reach
        `(n_limits,)`: how far each price must move, about, to flip a few offers.
    exactly
        Finds the minimum.
    """

    position: int
    whole: Piece
    near: Piece
    box: boxes.Box
    fixed: Tally
    minimum: Prices
    reach: np.ndarray
    exactly: Callable[[], Prices]

    def bound(self, prices: np.ndarray) -> float:
        """Return the dual at any prices, required offers left out, currency: among all users where it must be."""
        value, _, _ = (self.near if self.box.holds(prices) else self.whole).exact(prices)
        return value


@dataclass(frozen=True, eq=False)
class Curve:
    """A search whose limit `at` takes many numbers as its at-most side.

    `tolerance` gives the gap (currency) that is good enough at a value of the dual.
    """

    search: Search
    problem: Problem
    at: int
    tolerance: Callable[[float], float]

    def points(self, numbers: Sequence[float], prices: np.ndarray, tau: float) -> Iterator[Point]:
        """Yield a point for each number; `numbers` ascends. The first search starts from `prices` at temperature `tau`."""
        last = len(numbers) - 1
        fixed = Tally.of(self.problem, self.problem.required)
        above = self._alone(last, numbers[last], prices, tau, fixed)
        yield above
        if last:
            below = self._alone(0, numbers[0], above.minimum.prices, tau, fixed)
            yield below
            yield from self._between(numbers, below, above, self.search.whole, self.search.signs, fixed)

    def _between(
        self, numbers: Sequence[float], below: Point, above: Point, piece: Piece, outer: boxes.Box, fixed: Tally
    ) -> Iterator[Point]:
        """Yield the points of the numbers between two, in whose `outer` box all but the users of `piece` are fixed."""
        low, high = below.position, above.position
        middle = (low + high) // 2
        if middle == low:
            return
        search, before, after = self.search, below.minimum.prices, above.minimum.prices
        apart = np.abs(after - before)
        least = MARGIN * apart + np.where(apart > 0, 1e-6 * (1.0 + np.abs(after)), 0.0)
        least = np.maximum(least, np.where((before != 0) | (after != 0), np.maximum(below.reach, above.reach), 0.0))
        share = (numbers[middle] - numbers[low]) / (numbers[high] - numbers[low])
        start = before + share * (after - before)
        radius = np.stack([start - np.minimum(before, after), np.maximum(before, after) - start])
        box = outer.within(start, radius + least)
        inside = box.open_piece(piece)
        if inside is not piece:
            fixed = fixed.plus(inside.picked[-1])
        move = float((apart * search.scale).max())
        among, whole = self._with_number(inside, numbers[middle]), self._whole(numbers[middle])

        def at_length() -> Prices:
            return dataclasses.replace(search, whole=whole).run(start, WARMTH * move + 1e-9, among, box)

        found, reach = self._close(among, start, TELLING * move + 1e-9, box)
        minimum = found or at_length()
        if not box.holds(minimum.prices):
            # The search had to leave the box: those who are set aside in it may choose otherwise at these prices.
            among, inside, box = whole, search.whole, search.signs
            fixed = Tally.of(self.problem, self.problem.required)
        reach = np.where(reach > 0, reach, np.maximum(below.reach, above.reach))

        def exactly() -> Prices:
            return self._refined(minimum) or at_length()

        point = Point(middle, whole, among, box, fixed, minimum, reach, exactly)
        yield point
        yield from self._between(numbers, below, point, inside, box, fixed)
        yield from self._between(numbers, point, above, inside, box, fixed)

    def _alone(self, position: int, number: float, prices: np.ndarray, tau: float, fixed: Tally) -> Point:
        """Return the point of one number, searched among all users."""
        whole = self._whole(number)
        minimum = dataclasses.replace(self.search, whole=whole).run(prices, tau)
        reach = np.zeros(prices.size)
        return Point(position, whole, whole, self.search.signs, fixed, minimum, reach, lambda: minimum)

    def _close(self, piece: Piece, start: np.ndarray, tau: float, box: boxes.Box) -> tuple[Prices | None, np.ndarray]:
        """Return prices close to the minimum over a box (`None` where nothing short leads there), and their reach."""
        if piece.folding.is_listed or not piece.shard.n_users:
            return None, np.zeros(start.size)
        value, curvature = self._curvature(piece, start, tau)
        bend = curvature.diagonal()
        reach = np.divide(A_FEW * self.search.scale, bend, out=np.zeros(start.size), where=bend > 0)
        enough = ENOUGH * self.tolerance(value)
        prices = start
        for _ in range(MOST_ROUNDS):
            sharp = newton.sharpened(piece, prices, curvature, box.low, box.high, enough, FIRST_STEPS)
            # All that is left to do is near these prices, most likely, among few users, who tell the curvature best.
            radius = np.where((sharp.prices != 0) | (sharp.step != 0), BEYOND * np.abs(sharp.step) + reach, 0.0)
            inner = box.within(sharp.prices, np.stack([radius, radius]))
            inside = inner.open_piece(piece)
            if not inside.shard.n_users:
                return None, reach  # nobody is near: the dual is flat or steep here, and has no curvature to follow
            tau = TELLING * float((radius * self.search.scale).max()) + 1e-9
            _, curvature = self._curvature(inside, sharp.prices, tau)
            sharp = newton.sharpened(inside, sharp.prices, curvature, inner.low, inner.high, enough, LAST_STEPS)
            prices = sharp.prices
            if sharp.promised <= enough:
                infeasible = sharp.value < self.search.floor
                return Prices(prices, sharp.value, inside, exact=False, infeasible=infeasible), reach
            if boxes.is_small(inside):
                found = self._walked(inside, prices, inner)
                if found:
                    return found, reach
        return None, reach

    def _curvature(self, piece: Piece, prices: np.ndarray, tau: float) -> tuple[float, np.ndarray]:
        """Return the smoothed dual, and its curvature; of a price that few users are near, at a higher temperature."""
        sample = piece.sample(SAMPLE, self.search.rng) if piece.shard.n_users > 2 * SAMPLE else piece
        share = sample.shard.n_users / piece.shard.n_users
        value, _, curvature = sample.soft(prices, tau)
        assert isinstance(curvature, np.ndarray)
        result = curvature.copy()
        for _ in range(MOST_WARMINGS):
            blind = (prices != 0) & (tau * result.diagonal() < self.search.scale**2)
            if not blind.any():
                break
            tau *= WARMER
            _, _, curvature = sample.soft(prices, tau)
            assert isinstance(curvature, np.ndarray)
            result[blind, :], result[:, blind] = curvature[blind, :], curvature[:, blind]
        return value / share, result / share

    def _refined(self, close: Prices) -> Prices | None:
        """Return the minimum among the users that are open around close prices, `None` where it lies beyond."""
        piece, prices = close.piece, close.prices
        radius = boxes.radius_by_users(piece, prices, np.full(prices.size, A_FEW), self.search.scale)
        return self._walked(piece, prices, self.search.signs.within(prices, np.where(prices != 0, radius, 0.0)))

    def _walked(self, piece: Piece, prices: np.ndarray, outer: boxes.Box) -> Prices | None:
        """Return the minimum that small linear programs lead to from close prices, or `None` where they do not."""
        search = self.search
        radius = boxes.radius_by_users(piece, prices, np.full(prices.size, boxes.SEVERAL), search.scale)
        walk = boxes.walk(piece, outer, prices, radius, search.scale, search.floor, search.deadline)
        return search.settle(walk.piece, walk.prices, search.floor, exact=True) if walk.exact else None

    def _whole(self, number: float) -> Piece:
        """Return the whole problem with this number."""
        return self._with_number(self.search.whole, number)

    def _with_number(self, piece: Piece, number: float) -> Piece:
        """Return a piece of the searched problem with this number in place of the one it has."""
        at_most = piece.folding.at_most.copy()
        at_most[self.at] += number - self.search.whole.folding.at_most[self.at]
        return dataclasses.replace(piece, folding=piece.folding.with_bounds(piece.folding.at_least, at_most))
