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

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg as la
import scipy.sparse as sp

from allocator.clock import working_time
from allocator.solvers import boxes, newton
from allocator.solvers.piece import Curvature, Piece
from allocator.solvers.transport import transport_of

FIRST_SAMPLE = 1_000  # users at least: what few can tell at high temperatures costs next to nothing
USERS_FOR_EACH = 200  # limit in a sample: of few users a sample says nothing of each
ENOUGH_USERS = 8_000  # for all but very many limits
GROWTH = 8  # from one sample to the next
FEW = 0.15  # share of the users; while a box leaves more of them open, a larger sample is worth its passes
ERRORS = 4.5  # half width of the box in standard errors
SMOOTH_ENOUGH = 0.05  # share of the smoothing error's variance in the sampling error's
WARM = 0.25  # share of a box's width; with a larger smoothing error, pressing against its edge means nothing yet
COOLING = 5.0  # the temperature falls by this factor
TELLING = 0.2  # share of the free prices; where fewer have users near a tie, cooling on teaches nothing
COLD_OF_MANY = 1e-10  # share of the dual that smoothing may add; with very many limits, boxes do not end it earlier
FLOWING = 1e-3  # currency, that flows may end above the minimum
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
    plan
        The problem's offers of a plan that was found on the way, or `None`.
    """

    prices: np.ndarray
    value: float
    piece: Piece
    exact: bool
    infeasible: bool
    plan: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Survey:
    """What a sample says: its smoothed optimum, and how far it may be from that of all.

    Attributes
    ----------
    value, tau
        The smoothed dual there, and the temperature, currency.
    spread
        `(n_limits, n_limits)`: covariance of one user's usage.
    error
        `(n_limits,)`: what the sample's prices are off by (one standard error), times the root of its size.
    """

    prices: np.ndarray
    value: float
    tau: float
    spread: np.ndarray | sp.dia_array
    error: np.ndarray


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
    scale: np.ndarray
    floor: float
    deadline: float
    rng: np.random.Generator
    report: Callable[[str, float], None]

    def run(self, prices: np.ndarray, tau: float, piece: Piece | None = None, outer: boxes.Box | None = None) -> Prices:
        """Minimise the dual from `prices`, first at temperature `tau`.

        Where all but the users of `piece` are known to choose the same throughout `outer`, the search begins there.
        """
        if self.whole.folding.is_listed and (found := self.flowing()):
            return found
        piece, outer, size = piece or self.whole, outer or self.signs, max(FIRST_SAMPLE, USERS_FOR_EACH * prices.size)
        size = size if piece.folding.is_listed else min(size, ENOUGH_USERS)
        error = np.zeros(prices.size)
        while size * 3 < piece.shard.n_users and working_time() < self.deadline:
            sample = piece.sample(size, self.rng)
            floor = self.floor * size / piece.shard.n_users
            survey = self.cool(sample, outer, prices, tau, floor, error)
            if working_time() > self.deadline:
                prices, tau = survey.prices, survey.tau
                break
            result, _ = self.descend(sample, outer, survey.prices, survey.tau / COOLING, floor)
            if result.infeasible or survey.value < floor:
                return self.unbounded(result.prices)
            prices, tau, error = result.prices, survey.tau, survey.error
            box = self.likely_box(sample, prices, survey, outer, size / piece.shard.n_users)
            self.report("prices", size / self.whole.shard.n_users)
            if box.open_piece(sample).shard.n_users > FEW * size:
                size *= GROWTH
            else:  # and if those who are left are still many, a sample of them tells more than one of all
                piece, outer, error = box.open_piece(piece), box, np.zeros(prices.size)
        return self.finish(prices, piece, outer, tau)

    def flowing(self) -> Prices | None:
        """Return the minimum by flows, where all limits but one are quantities; `None` where they are not."""
        transport = transport_of(self.whole)
        found = None if transport is None else transport.minimum(FLOWING, self.deadline)
        if transport is None or found is None:
            return None
        best, taken = found
        prices = transport.prices(best)
        value, _, _ = self.whole.exact(prices)
        plan = np.concatenate([*self.whole.picked, self.whole.shard.originals(taken)])
        return Prices(prices, value, self.whole, exact=True, infeasible=False, plan=plan)

    @property
    def signs(self) -> boxes.Box:
        """All prices of the right sign."""
        return boxes.Box.of_signs(self.whole.folding)

    def cool(
        self, sample: Piece, outer: boxes.Box, prices: np.ndarray, tau: float, floor: float, error: np.ndarray
    ) -> Survey:
        """Lower the temperature until the smoothing error is small beside the sample's own."""
        size = sample.shard.n_users
        while True:
            descent = newton.minimise(
                sample, prices, tau, self.scale, outer.low, outer.high, floor=floor, deadline=self.deadline
            )
            prices, near = descent.prices, descent.informative
            spread = sample.spread(prices, tau)
            # Each price keeps the error from the lowest temperature at which its curvature still means something.
            root = inverse(descent.hessian / size, near)
            error = np.where(near, np.sqrt(np.maximum((root @ spread @ root).diagonal(), 0.0)), error)
            smooth = (tau * descent.hessian.diagonal() <= SMOOTH_ENOUGH * size * spread.diagonal())[near].all()
            tied = self.is_cold(tau, descent.value, sample)  # equal users stay undecided together, however cold it is
            if descent.value < floor or smooth or tied or working_time() > self.deadline:
                return Survey(prices, descent.value, tau, spread, error)
            tau /= COOLING

    def likely_box(
        self, sample: Piece, prices: np.ndarray, survey: Survey, outer: boxes.Box, share: float
    ) -> boxes.Box:
        """Return a box that holds the optimum over all users, all but surely; the sample is a `share` of them."""
        size, unseen = sample.shard.n_users, np.sqrt(1.0 - share)
        radius = ERRORS * unseen / np.sqrt(size) * survey.error
        # By so many offers the sample's demand may be wrong, which is all that is known where curvature says nothing.
        doubt = ERRORS * (unseen * np.sqrt(size * np.maximum(survey.spread.diagonal(), 0.0)) + self.scale)
        radius = np.maximum(radius, boxes.radius_by_users(sample, prices, doubt / self.scale, self.scale))
        # A price at zero stays there where the sample leaves no doubt that its limit is slack.
        _, usage, _ = sample.exact(prices)
        slack = np.minimum(sample.folding.at_most - usage, usage - sample.folding.at_least)
        return outer.within(prices, np.where((prices == 0) & (slack > doubt), 0.0, radius))

    def finish(self, prices: np.ndarray, piece: Piece, outer: boxes.Box, tau: float) -> Prices:
        """Minimise over a box, whose open users are in `piece`; move it among all users where it must."""
        several = np.full(prices.size, boxes.SEVERAL)
        for _ in range(MOST_BOXES):
            result, pressed = self.descend(piece, outer, prices, tau, self.floor)
            if result.exact or result.infeasible or not outer.is_bounded or working_time() > self.deadline:
                break
            least = boxes.radius_by_users(self.whole, result.prices, several, self.scale)
            outer = self.signs.within(result.prices, outer.next_radius(prices, result.prices, pressed, least))
            prices, piece = result.prices, outer.open_piece(self.whole)
        return result

    def descend(
        self, piece: Piece, outer: boxes.Box, prices: np.ndarray, tau: float, floor: float
    ) -> tuple[Prices, np.ndarray]:
        """Minimise over `outer`, in which choices outside `piece` are constant: cool, shrink it, then move a small one.

        Returns the prices, and where they press against `outer`.
        """
        radius, opened = np.tile(outer.high - outer.low, (2, 1)), None
        while not boxes.is_small(piece) and working_time() <= self.deadline:
            descent = newton.minimise(
                piece, prices, tau, self.scale, outer.low, outer.high, floor=floor, deadline=self.deadline
            )
            prices = descent.prices
            error = ERRORS * np.sqrt(tau * np.maximum(inverse(descent.hessian, descent.informative).diagonal(), 0.0))
            pressed = descent.pressed & (error < WARM * (outer.high - outer.low))
            if descent.value < floor or pressed.any():
                return self.settle(piece, prices, floor, exact=False), pressed
            least = boxes.radius_by_users(piece, prices, np.full(prices.size, boxes.SEVERAL), self.scale)
            radius = np.where(descent.free | (prices != 0), np.maximum(error, least), 0.0)
            inner = outer.within(prices, radius)
            smaller = inner.open_piece(piece)
            # With very many limits a box small enough for the linear program is next to nothing: cool on.
            told = piece.folding.is_listed or descent.informative.sum() >= TELLING * descent.free.sum()
            cold = not told or self.is_cold(tau, descent.value, piece)
            opened = (smaller, inner, radius) if boxes.is_small(smaller) else None
            if opened or cold or working_time() > self.deadline:
                break
            tau /= COOLING
            if smaller.shard.n_users <= 0.5 * piece.shard.n_users:
                result, pressed = self.descend(smaller, inner, prices, tau, floor)
                prices = result.prices
                if result.exact or result.infeasible:
                    return result, pressed
        walk = boxes.walk(piece, outer, prices, radius, self.scale, floor, self.deadline, opened)
        result = self.settle(walk.piece, walk.prices, floor, exact=walk.exact)
        lost = not walk.exact and not walk.pressed.any() and not result.infeasible and not boxes.is_small(piece)
        if lost and not self.is_cold(tau, result.value, piece) and working_time() < self.deadline:
            # The walk met more ties than the linear program takes. Smoothed, they do no harm.
            return self.descend(piece, outer, walk.prices, tau / COOLING, floor)
        return result, walk.pressed

    def is_cold(self, tau: float, value: float, piece: Piece) -> bool:
        """Tell whether a lower temperature would change the dual by rounding only."""
        rounding = COLD_OF_MANY if piece.folding.is_listed else 1e-13
        return tau < rounding * max(1.0, abs(value)) / max(1, piece.shard.n_users)

    def settle(self, piece: Piece, prices: np.ndarray, floor: float, *, exact: bool) -> Prices:
        """Evaluate the dual at final prices."""
        value, _, _ = piece.exact(prices)
        return Prices(prices, value, piece, exact, value < floor)

    def unbounded(self, prices: np.ndarray) -> Prices:
        """Return prices whose dual lies below any plan's value."""
        value, _, _ = self.whole.exact(prices)
        return Prices(prices, value, self.whole, exact=False, infeasible=value < self.floor)


def inverse(hessian: Curvature, informative: np.ndarray) -> np.ndarray | sp.dia_array:
    """Return the inverse curvature in these prices, zero elsewhere.

    Of very many limits, each by itself: they share few users, so that the diagonal says nearly all.
    """
    if not isinstance(hessian, np.ndarray):
        own = np.where(informative, hessian.diagonal(), 0.0)
        return sp.diags_array(np.divide(1.0, own, out=np.zeros_like(own), where=own > 0))
    result = np.zeros_like(hessian)
    index = np.flatnonzero(informative)
    if index.size:
        scaled, size = newton.unit_scaled(hessian, index)
        scaled[np.diag_indices(index.size)] += 1e-9
        result[np.ix_(index, index)] = la.inv(scaled, check_finite=False) / size[:, None] / size[None, :]
    return result
