"""Tubes of prices: all that lies between two boxes.

The choices of a user whose best one is the same at two prices are the same at all prices between these, since each
reduced value is linear in the prices. So a user who chooses the same in two small boxes does so in their convex hull,
which is far less than the box around both: along a path of prices few choices change.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocator.solvers.boxes import Box
from allocator.solvers.piece import Piece


@dataclass(frozen=True, eq=False)
class Tube:
    """The convex hull of two boxes; all prices where `first` is `last`."""

    first: Box
    last: Box

    def at(self, prices: np.ndarray) -> Box | None:
        """Return a box in this tube that holds these prices, or `None` where they lie outside."""
        low, high = self._share(prices)
        if low > high:
            return None
        return self._across(0.5 * (low + high))

    def holds(self, prices: np.ndarray) -> bool:
        """Whether these prices lie inside."""
        low, high = self._share(prices)
        return low <= high

    def _across(self, share: float) -> Box:
        """Return the box at this share of the way from the first to the last."""
        if not self.first.is_bounded:
            return self.first
        ends = (self.first, self.last)
        low, high = (np.stack([getattr(end, side) for end in ends]) for side in ("low", "high"))
        weights = np.array([1.0 - share, share])
        return Box(weights @ low, weights @ high)

    def _share(self, prices: np.ndarray) -> tuple[float, float]:
        """Return from where to where on the way boxes hold these prices: from above to below where none does."""
        if not self.first.is_bounded:
            return (0.0, 1.0) if self.first.holds(prices) else (1.0, 0.0)
        least, most = 0.0, 1.0
        for begin, end in (
            (self.first.high - prices, self.last.high - prices),
            (prices - self.first.low, prices - self.last.low),
        ):
            # begin + share * (end - begin) >= 0 for every limit
            rising, falling = (begin < 0) & (end >= 0), (begin >= 0) & (end < 0)
            if ((begin < 0) & (end < 0)).any():
                return 1.0, 0.0
            if rising.any():
                least = max(least, float((begin[rising] / (begin[rising] - end[rising])).max()))
            if falling.any():
                most = min(most, float((begin[falling] / (begin[falling] - end[falling])).min()))
        return least, most

    def open_piece(self, piece: Piece) -> Piece:
        """Fix every user of a piece whose choice is constant in this tube."""
        first, last = self.first, self.last
        if not first.is_bounded:
            return piece
        return piece.between((first.middle, first.half_width), (last.middle, last.half_width))
