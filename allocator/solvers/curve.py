"""The dual's minimum for many numbers of one limit, for little more than the price of one.

Without its right-hand side the dual does not depend on the limits' numbers, and its minimum moves little from one number
to the next. Between two numbers whose prices are known, all users are set aside whose choice is constant in a box around
both; the number in the middle is solved among the others, and then both halves in the same way: so a user is looked at
only near the numbers where the choice changes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from allocator.solvers import boxes
from allocator.solvers.piece import Piece
from allocator.solvers.prices import Prices, Search

MARGIN = 0.25  # of the way between two prices, added to the box around them
WARMTH = 0.02  # first temperature, as a share of how far an offer's reduced value moves between the two


@dataclass(frozen=True, eq=False)
class Curve:
    """A search whose limit `at` takes many numbers as its at-most side."""

    search: Search
    at: int

    def minima(self, numbers: Sequence[float], prices: np.ndarray, tau: float) -> Iterator[tuple[int, Piece, Prices]]:
        """Yield each number's position, the whole problem with it, and its minimum; `numbers` ascends.

        The first search starts from `prices` at temperature `tau`.
        """
        last = len(numbers) - 1
        ends = [self.alone(numbers[last], prices, tau)]
        yield last, self.whole(numbers[last]), ends[0]
        if last:
            ends.append(self.alone(numbers[0], ends[0].prices, tau))
            yield 0, self.whole(numbers[0]), ends[1]
        if last > 1:
            yield from self.between(numbers, 0, last, ends[1], ends[0], self.search.whole, self.search.signs)

    def between(
        self,
        numbers: Sequence[float],
        low: int,
        high: int,
        below: Prices,
        above: Prices,
        piece: Piece,
        outer: boxes.Box,
    ) -> Iterator[tuple[int, Piece, Prices]]:
        """Yield the minima of the numbers between positions `low` and `high`, whose minima are known."""
        middle = (low + high) // 2
        if middle == low:
            return
        search, apart = self.search, np.abs(above.prices - below.prices)
        least = MARGIN * apart + np.where(apart > 0, 1e-6 * (1.0 + np.abs(above.prices)), 0.0)
        share = (numbers[middle] - numbers[low]) / (numbers[high] - numbers[low])
        start = below.prices + share * (above.prices - below.prices)
        radius = np.stack(
            [start - np.minimum(below.prices, above.prices), np.maximum(below.prices, above.prices) - start]
        )
        box = outer.within(start, radius + least)
        inside = box.open_piece(piece)
        tau = WARMTH * float((apart * search.scale).max()) + 1e-9
        among = self.with_number(inside, numbers[middle])
        found = dataclasses.replace(search, whole=self.whole(numbers[middle])).run(start, tau, among, box)
        yield middle, self.whole(numbers[middle]), found
        if not box.holds(found.prices):
            # Its search had to leave the box: who is set aside in it may choose otherwise at these prices.
            inside, box = search.whole, search.signs
        yield from self.between(numbers, low, middle, below, found, inside, box)
        yield from self.between(numbers, middle, high, found, above, inside, box)

    def alone(self, number: float, prices: np.ndarray, tau: float) -> Prices:
        """Return the minimum for one number, searched among all users."""
        return dataclasses.replace(self.search, whole=self.whole(number)).run(prices, tau)

    def whole(self, number: float) -> Piece:
        """Return the whole problem with this number."""
        return self.with_number(self.search.whole, number)

    def with_number(self, piece: Piece, number: float) -> Piece:
        """Return a piece of the searched problem with this number in place of the one it has."""
        at_most = piece.folding.at_most.copy()
        at_most[self.at] += number - self.search.whole.folding.at_most[self.at]
        return dataclasses.replace(piece, folding=piece.folding.with_bounds(piece.folding.at_least, at_most))
