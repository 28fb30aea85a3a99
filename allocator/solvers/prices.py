"""Prices: the minimum of the dual, in a few passes over the data.

1. On a random sample of the users, projected Newton on the smoothed dual, the temperature falling until the sample's own
   error dominates. That error is known: the curvature and the spread of the users' usage give the prices' covariance.
   The sample grows while the box that this error asks for would leave too many users open.
2. One pass over all users fixes those whose choice is constant in that box. A price that the sample says little about (a
   limit that few users are near) gets as wide a box as a few users allow.
3. Among the others the temperature falls further, and the box shrinks with it (at temperature tau the prices' error has
   covariance tau * inverse curvature), until a few thousand users are left.
4. For these an exact linear program (`boxes`). Inside the box it is the dual itself: where its optimum needs nothing from
   beyond the box, it is optimal everywhere, by convexity; where it does, the box moves there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

import numpy as np
import scipy.linalg as la

from allocator.executors.local import Cover
from allocator.solvers import boxes, newton
from allocator.solvers.piece import Piece

FIRST_SAMPLE = 8_000  # users
GROWTH = 8  # from one sample to the next
FEW = 0.15  # share of the users; while a box leaves more of them open, a larger sample is worth its passes
ERRORS = 4.5  # half width of the box in standard errors
SMOOTH_ENOUGH = 0.05  # share of the smoothing error's variance in the sampling error's
COOLING = 5.0  # the temperature falls by this factor
MOST_BOXES = 60  # around all users


@dataclass(frozen=True, eq=False)
class Prices:
    """The outcome: prices, and the piece of users that are open around them.

    Attributes
    ----------
    value
        The dual at `prices`, currency: a bound.
    piece
        Users near indifference; everyone else's choice is fixed in `piece.picked`.
    exact
        Whether the linear program confirmed the minimum.
    infeasible
        The dual fell below any plan's value: no plan exists.
    """

    prices: np.ndarray
    value: float
    piece: Piece
    exact: bool
    infeasible: bool


@dataclass
class Search:
    """State of one search for prices.

    Attributes
    ----------
    scale
        `(n_limits,)`: the typical size of each limit's number for an offer, above 0.
    floor
        No plan's value is below it, currency.
    """

    whole: Piece
    cover: Cover
    scale: np.ndarray
    floor: float
    deadline: float
    rng: np.random.Generator
    report: Callable[[str, float], None]
    spread: np.ndarray | None = None  # covariance of one user's usage, from the first sample

    def run(self, prices: np.ndarray, tau: float) -> Prices:
        """Minimise the dual from `prices`, first at temperature `tau`."""
        n_users = self.whole.shard.n_users
        size, radius = FIRST_SAMPLE, None
        while size * 3 < n_users:
            sample = self.whole.sample(size, self.rng)
            descent, tau = self.cool(sample, prices, tau, size)
            if descent.value < self.floor * size / n_users:
                return self.unbounded(descent.prices)
            prices = descent.prices
            radius = self.sampling_radius(sample, descent, size, tau)
            self.report("prices", size / n_users)
            if sample.inside(prices, radius).shard.n_users <= FEW * size or monotonic() > self.deadline:
                break
            size *= GROWTH
        return self.finish(prices, radius, tau)

    def cool(self, piece: Piece, prices: np.ndarray, tau: float, size: int) -> tuple[newton.Descent, float]:
        """Lower the temperature until the smoothing error is small beside the error of a sample of `size` users."""
        floor = self.floor * size / self.whole.shard.n_users
        while True:
            first = self.spread is None
            descent = newton.minimise(piece, prices, tau, self.cover, self.scale, spread=first, floor=floor)
            prices = descent.prices
            if self.spread is None:
                self.spread = spread_of(descent, size) / size
            smoothing = tau * np.diag(descent.hessian)[descent.informative]
            sampling = size * np.diag(self.spread)[descent.informative]
            if descent.value < floor or (smoothing <= SMOOTH_ENOUGH * sampling).all() or monotonic() > self.deadline:
                return descent, tau
            tau /= COOLING

    def sampling_radius(self, sample: Piece, descent: newton.Descent, size: int, tau: float) -> np.ndarray:
        """Return the half widths of a box that holds the optimum over all users, all but surely."""
        assert self.spread is not None
        root = inverse(descent.hessian, descent.informative)
        sampling = self.spread * size * (1.0 - size / self.whole.shard.n_users)
        covariance = root @ (sampling + tau * descent.hessian) @ root
        radius = ERRORS * np.sqrt(np.maximum(np.diag(covariance), 0.0))
        radius = np.maximum(radius, boxes.radius_by_users(sample, descent.prices, boxes.FEWEST, self.scale))
        # A price at zero stays there where the sample leaves no doubt that its limit is slack.
        doubt = ERRORS * np.sqrt(np.maximum(np.diag(sampling), 0.0)) + ERRORS * self.scale
        slack = np.minimum(sample.folding.at_most - descent.usage, descent.usage - sample.folding.at_least)
        return np.where((descent.prices == 0) & (slack > doubt), 0.0, radius)

    def finish(self, prices: np.ndarray, radius: np.ndarray | None, tau: float) -> Prices:
        """Minimise over all users: in a box around the sample's optimum (`None`: no box), moved where it must."""
        for _ in range(MOST_BOXES):
            piece = self.whole if radius is None else self.whole.inside(prices, radius)
            outer = boxes.Box.around(prices, radius)
            result, pressed = self.descend(piece, outer, tau)
            if result.exact or result.infeasible or radius is None or monotonic() > self.deadline:
                return result
            prices = result.prices
            radius = boxes.grown(radius, pressed, boxes.radius_by_users(piece, prices, boxes.FEWEST, self.scale))
        return result

    def descend(self, piece: Piece, outer: boxes.Box, tau: float) -> tuple[Prices, np.ndarray]:
        """Minimise over a box that makes choices outside `piece` constant: cool, shrink it, then move a small one.

        Returns the prices, and where they press against the box.
        """
        best, still = outer.center, np.zeros(outer.center.size, dtype=bool)
        while not boxes.is_small(piece):
            reach = None if outer.is_everything else outer.room(best)
            descent = newton.minimise(piece, best, tau, self.cover, self.scale, floor=self.floor, reach=reach)
            if descent.value < self.floor:
                return self.unbounded(descent.prices), still
            over = outer.beyond(descent.prices)
            best = outer.clip(descent.prices)
            if over.any():
                return self.settle(piece, best, exact=False), over
            error = tau * np.maximum(np.diag(inverse(descent.hessian, descent.informative)), 0.0)
            inner = np.maximum(ERRORS * np.sqrt(error), boxes.radius_by_users(piece, best, boxes.FEWEST, self.scale))
            inner = np.where(descent.free | (best != 0), inner, 0.0)
            smaller = piece.inside(best, inner)
            tau /= COOLING
            cold = tau < 1e-13 * max(1.0, abs(descent.value)) / max(1, piece.shard.n_users)
            if boxes.is_small(smaller) or cold or monotonic() > self.deadline:
                break
            if smaller.shard.n_users <= 0.5 * piece.shard.n_users:
                result, _ = self.descend(smaller, outer.within(best, inner), tau)
                if result.exact or result.infeasible:
                    return result, still
                best = result.prices
        return self.walk(piece, outer, best)

    def walk(self, piece: Piece, outer: boxes.Box, prices: np.ndarray) -> tuple[Prices, np.ndarray]:
        """Move a box of few users through a piece, by exact linear programs, until nothing is gained beyond it."""
        walk = boxes.walk(piece, outer, prices, self.scale, self.floor, self.deadline)
        return self.settle(walk.piece, walk.prices, exact=walk.exact), walk.pressed

    def settle(self, piece: Piece, prices: np.ndarray, *, exact: bool) -> Prices:
        """Evaluate the dual at final prices."""
        value, _, _ = piece.exact(prices)
        return Prices(prices, value, piece, exact, value < self.floor)

    def unbounded(self, prices: np.ndarray) -> Prices:
        """Return prices whose dual lies below any plan's value."""
        value, _, _ = self.whole.exact(prices)
        return Prices(prices, value, self.whole, exact=False, infeasible=value < self.floor)


def spread_of(descent: newton.Descent, n_users: int) -> np.ndarray:
    """Return the covariance of the sum of the users' usage, `(n_limits, n_limits)`, were the users drawn anew."""
    return descent.moment - np.outer(descent.usage, descent.usage) / max(1, n_users)


def inverse(hessian: np.ndarray, informative: np.ndarray) -> np.ndarray:
    """Return the inverse curvature in these prices, zero elsewhere."""
    result = np.zeros_like(hessian)
    index = np.flatnonzero(informative)
    if index.size:
        scaled, size = newton.unit_scaled(hessian, index)
        scaled[np.diag_indices(index.size)] += 1e-9
        result[np.ix_(index, index)] = la.inv(scaled, check_finite=False) / size[:, None] / size[None, :]
    return result
