"""Prices: the minimum of the dual, in a few passes over the data.

1. On random samples that grow, projected Newton on the smoothed dual, the temperature falling until the sample's own
   error dominates. That error is known: the curvature and the spread of the users' usage give the prices' covariance.
2. One pass over all users fixes those whose choice is constant in a box of a few standard errors.
3. Among the others the temperature falls further, and the box shrinks with it (at temperature tau the prices' error has
   covariance tau * inverse curvature), until a few thousand users are left.
4. For these an exact linear program. If its prices lie inside the box they are globally optimal, by convexity.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

import numpy as np
import scipy.linalg as la

from allocator.executors.local import Cover
from allocator.solvers import newton
from allocator.solvers.piece import Piece
from allocator.solvers.relaxation import minimise_in_box

FIRST_SAMPLE = 8_000  # users
GROWTH = 24  # from one sample to the next
ERRORS = 4.5  # half width of the box in standard errors
SMOOTH_ENOUGH = 0.05  # share of the smoothing error's variance in the sampling error's
MOST_BOXES = 5  # then the search goes on without one
COOLING = 5.0  # the temperature falls by this factor
SMALL = 2_500  # users that the exact linear program takes
SMALL_OFFERS = 60_000


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
    wants_out
        `(n_limits,)` bool: prices at zero whose limit is broken there.
    """

    prices: np.ndarray
    value: float
    piece: Piece
    exact: bool
    infeasible: bool
    wants_out: np.ndarray


@dataclass
class Search:
    """State of one search for prices."""

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
        size = FIRST_SAMPLE
        radius = None
        while size * 3 < n_users:
            descent, tau = self.cool(self.whole.sample(size, self.rng), prices, tau, size)
            if descent.value < self.floor * size / n_users:
                return self.unbounded(descent.prices)
            prices = descent.prices
            radius = self.sampling_radius(descent, size, tau)
            self.report("prices", size / n_users)
            size *= GROWTH
        return self.finish(prices, radius, tau)

    def cool(self, piece: Piece, prices: np.ndarray, tau: float, size: int) -> tuple[newton.Descent, float]:
        """Lower the temperature until the smoothing error is small beside the error of a sample of `size` users."""
        floor = self.floor * size / self.whole.shard.n_users
        while True:
            first = self.spread is None
            descent = newton.minimise(piece, prices, tau, self.cover, self.scale, spread=first, floor=floor)
            prices = descent.prices
            spread = self.spread if self.spread is not None else spread_of(descent, size) / size
            smoothing = tau * np.diag(descent.hessian)[descent.free]
            sampling = size * np.diag(spread)[descent.free]
            if descent.value < floor or (smoothing <= SMOOTH_ENOUGH * sampling).all() or monotonic() > self.deadline:
                self.spread = spread
                return descent, tau
            tau /= COOLING

    def finish(self, prices: np.ndarray, radius: np.ndarray | None, tau: float) -> Prices:
        """Minimise over all users, from a box of prices around the sample's optimum (`None`: no box)."""
        for attempt in range(MOST_BOXES + 1):
            if attempt == MOST_BOXES:
                radius = None
            piece = self.whole if radius is None else self.whole.inside(prices, radius)
            result = self.descend(piece, prices, radius, tau)
            if result.infeasible or radius is None or monotonic() > self.deadline:
                return result
            outside = (np.abs(result.prices - prices) > 0.999 * radius) & (result.prices != 0)
            pinned = result.wants_out & (radius <= 0)
            if not (outside | pinned).any():
                return result
            # The box missed the optimum: go on from where the search pressed against it.
            radius = np.where(pinned, tau / self.scale, 2.0 * radius)
            prices = result.prices
        raise AssertionError("the search without a box always returns")

    def descend(self, piece: Piece, prices: np.ndarray, radius: np.ndarray | None, tau: float) -> Prices:
        """Cool and shrink until the exact linear program can take over."""
        best = prices
        while True:
            if piece.shard.n_users <= SMALL and piece.shard.n_offers <= SMALL_OFFERS:
                return self.exact(piece, best, radius)
            reach = None if radius is None else np.maximum(radius - np.abs(best - prices), 0.0)
            descent = newton.minimise(piece, best, tau, self.cover, self.scale, floor=self.floor, reach=reach)
            best = descent.prices
            if descent.value < self.floor:
                return self.unbounded(best)
            if radius is not None and (np.abs(best - prices) > radius).any():
                return self.settle(piece, best, exact=False)
            inner = ERRORS * np.sqrt(tau * np.maximum(np.diag(inverse(descent.hessian, descent.free)), 0.0))
            smaller = piece.inside(best, inner)
            if smaller.shard.n_users <= SMALL and smaller.shard.n_offers <= SMALL_OFFERS:
                result = self.exact(smaller, best, inner)
                if result.exact:
                    return result
            elif smaller.shard.n_users <= 0.3 * piece.shard.n_users:
                result = self.descend(smaller, best, inner, tau / COOLING)
                if result.exact:
                    return result
            tau /= COOLING
            if tau < 1e-13 * max(1.0, abs(descent.value)) / max(1, piece.shard.n_users) or monotonic() > self.deadline:
                return self.settle(piece, best, exact=False)

    def exact(self, piece: Piece, prices: np.ndarray, radius: np.ndarray | None) -> Prices:
        """Solve the linear program of a small piece over the box."""
        if radius is None:
            radius = np.full(prices.size, np.inf)
        optimum = minimise_in_box(piece, prices, radius, max(1.0, self.deadline - monotonic()))
        if optimum is None:
            return self.settle(piece, prices, exact=False)
        result = self.settle(piece, optimum.prices, exact=not optimum.edge.any())
        if (result.wants_out & (radius <= 0)).any():
            return dataclasses.replace(result, exact=False)
        return result

    def settle(self, piece: Piece, prices: np.ndarray, *, exact: bool) -> Prices:
        """Evaluate the dual at final prices."""
        value, used, _ = piece.exact(prices)
        _, free = newton.slope(piece, prices, used)
        return Prices(prices, value, piece, exact, value < self.floor, free & (prices == 0))

    def unbounded(self, prices: np.ndarray) -> Prices:
        """Return prices whose dual lies below any plan's value."""
        value, _, _ = self.whole.exact(prices)
        nothing = np.zeros(prices.size, dtype=bool)
        return Prices(prices, value, self.whole, exact=False, infeasible=value < self.floor, wants_out=nothing)

    def sampling_radius(self, descent: newton.Descent, size: int, tau: float) -> np.ndarray:
        """Return the half widths of a box that holds the optimum over all users, all but surely."""
        assert self.spread is not None
        root = inverse(descent.hessian, descent.free)
        sampling = self.spread * size * (1.0 - size / self.whole.shard.n_users)
        covariance = root @ (sampling + tau * descent.hessian) @ root
        return ERRORS * np.sqrt(np.maximum(np.diag(covariance), 0.0))


def spread_of(descent: newton.Descent, n_users: int) -> np.ndarray:
    """Return the covariance of the sum of the users' usage, `(n_limits, n_limits)`, were the users drawn anew."""
    return descent.moment - np.outer(descent.usage, descent.usage) / max(1, n_users)


def inverse(hessian: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Return the inverse curvature in the free prices, zero elsewhere."""
    result = np.zeros_like(hessian)
    index = np.flatnonzero(free)
    if index.size:
        scaled, size = newton.unit_scaled(hessian, index)
        scaled[np.diag_indices(index.size)] += 1e-9
        result[np.ix_(index, index)] = la.inv(scaled, check_finite=False) / size[:, None] / size[None, :]
    return result
