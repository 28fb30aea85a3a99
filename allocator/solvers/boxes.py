"""Boxes of prices: how wide they may be, and a walk of small ones through a piece to the dual's minimum.

Inside a box most users' choices are constant and the dual is a small linear program, so that every step of the walk is
exact: a trust-region method (Conn, Gould & Toint, *Trust-Region Methods*, SIAM 2000) whose model has no error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocator.clock import working_time
from allocator.solvers import newton
from allocator.solvers.folding import Folding
from allocator.solvers.piece import Piece
from allocator.solvers.relaxation import limit_matrix, minimise_in_box
from allocator.solvers.twins import distinct_users

SMALL = 4_000  # users that the exact linear program takes
SMALL_OFFERS = 60_000
SEVERAL = 50  # offers whose flip a price's box should be able to cause
WALKING = 1_500  # the same of a walking box, over all prices
LOOKED_AT = 5_000  # users; more tell a box's width no better
WIDER = 4.0  # boxes, where prices press against their edge
MOST_STEPS = 60
SETTLED = 1e-5  # currency; a step that lowers the dual by less is the last


@dataclass(frozen=True, eq=False)
class Box:
    """Prices between `low` and `high`, `(n_limits,)` each, may be infinite."""

    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of_signs(cls, folding: Folding) -> Box:
        """Return all prices of the right sign: above 0 only for an at-most side, below 0 only for an at-least one."""
        return cls(
            np.where(np.isfinite(folding.at_least), -np.inf, 0.0), np.where(np.isfinite(folding.at_most), np.inf, 0.0)
        )

    def within(self, center: np.ndarray, radius: np.ndarray) -> Box:
        """Return the part around `center` that lies in this box; `radius` `(2, n_limits)`: below and above it."""
        return Box(np.maximum(self.low, center - radius[0]), np.minimum(self.high, center + radius[1]))

    @property
    def is_bounded(self) -> bool:
        """Whether all sides are finite."""
        return bool(np.isfinite(self.low).all() and np.isfinite(self.high).all())

    @property
    def middle(self) -> np.ndarray:
        """The prices in the middle, `(n_limits,)`."""
        return 0.5 * (self.low + self.high)

    @property
    def half_width(self) -> np.ndarray:
        """How far from the middle each side is, `(n_limits,)`."""
        return 0.5 * (self.high - self.low)

    def holds(self, prices: np.ndarray) -> bool:
        """Whether these prices lie inside."""
        return bool((prices >= self.low).all() and (prices <= self.high).all())

    def contains(self, other: Box) -> bool:
        """Whether all prices of another box are in this one."""
        return bool((self.low <= other.low).all() and (other.high <= self.high).all())

    def open_piece(self, piece: Piece) -> Piece:
        """Fix every user of a piece whose choice is constant in this box."""
        return piece.inside(self.middle, self.half_width) if self.is_bounded else piece

    def next_radius(self, before: np.ndarray, prices: np.ndarray, pressed: np.ndarray, least: np.ndarray) -> np.ndarray:
        """Return the half widths of the next box: wider where `prices` press against this one, else as far as they moved."""
        sides = pressed & np.stack([prices <= self.low, prices >= self.high])
        width = WIDER * np.where(pressed, self.high - self.low, 0.0)
        return np.maximum(np.where(sides, width, np.abs(prices - before)), least)


@dataclass(frozen=True, eq=False)
class Walk:
    """Where a walk ended: prices, the small piece around them, whether they are optimal, and where they want out."""

    prices: np.ndarray
    piece: Piece
    exact: bool
    pressed: np.ndarray


def is_small(piece: Piece) -> bool:
    """Tell whether the exact linear program takes all users of a piece."""
    return piece.shard.n_users <= SMALL and piece.shard.n_offers <= SMALL_OFFERS


def radius_by_users(piece: Piece, prices: np.ndarray, quota: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return for each price how far it must move, alone, to flip that many offers of the piece.

    `(2, n_limits)`: down, which brings offers in, and up, which drops some. Where so few offers can be flipped that it
    takes all of them, it is far enough for all.
    """
    return flips(piece, prices, np.arange(prices.size), scale, LOOKED_AT).radius(quota)


@dataclass(frozen=True, eq=False)
class Flips:
    """How far prices must move, each alone, to flip offers of a piece.

    Attributes
    ----------
    far
        `(n_limits,)`: far enough for all that can be flipped.
    ratios
        For each limit that is told of, where moves down and where moves up flip an offer, in no order.
    share
        Of the piece's users, who are looked at.
    """

    far: np.ndarray
    ratios: dict[int, tuple[np.ndarray, np.ndarray]]
    share: float

    def radius(self, quota: np.ndarray) -> np.ndarray:
        """Return how far each price must move down and up, `(2, n_limits)`, to flip so many offers."""
        radius = np.tile(self.far, (2, 1))
        for r, sides in self.ratios.items():
            place = int(quota[r] * self.share)
            for side, own in enumerate(sides):
                if own.size > place:
                    radius[side, r] = min(radius[side, r], float(np.partition(own, place)[place]))
        return radius


def flips(piece: Piece, prices: np.ndarray, limits: np.ndarray, scale: np.ndarray, looked_at: int) -> Flips:
    """Return what moves of these limits' prices flip; told from about `looked_at` users where there are more."""
    shard, share = piece.shard, 1.0
    if shard.n_users > looked_at:
        users = np.arange(0, shard.n_users, -(-shard.n_users // looked_at))
        shard, share = shard.take(users), users.size / shard.n_users
    wanted = piece.folding.coupons_of(limits)
    offer, loss, chosen = piece.executor.losses(shard, piece.folding.tables(prices), np.inf, wanted)
    most = float(loss.max(initial=0.0)) + float(np.abs(prices).max(initial=0.0)) + 1.0
    uses = limit_matrix(shard, piece.folding, offer, limits)
    ratio = loss[uses.indices] / np.maximum(np.abs(uses.data), 1e-300)
    up = chosen[uses.indices] == (uses.data > 0)
    ratios = {}
    for row, r in enumerate(limits.tolist()):
        part = slice(uses.indptr[row], uses.indptr[row + 1])
        ratios[r] = (ratio[part][~up[part]], ratio[part][up[part]])
    return Flips(WIDER * most / scale, ratios, share)


def walk(
    piece: Piece,
    outer: Box,
    prices: np.ndarray,
    radius: np.ndarray,
    scale: np.ndarray,
    floor: float,
    deadline: float,
    opened: tuple[Piece, Box, np.ndarray] | None = None,
) -> Walk:
    """Move a small box from `prices` through a piece, which is the dual inside `outer`, to the minimum or its edge.

    `radius` is the first box's half widths; `scale` as in `prices.Search`. Stops once the dual falls below `floor`.
    `opened` is the first box with its open users and half widths, where the caller has them already.
    """
    quota = np.full(prices.size, max(SEVERAL, WALKING // max(1, prices.size)))
    inside, small, before_value = piece, is_small(piece), np.inf
    for _ in range(MOST_STEPS):
        if working_time() > deadline:
            break
        found = (piece, outer, radius) if small else opened or _narrowed(piece, outer, prices, radius)
        opened = None
        if found is None:
            break
        inside, box, radius = found
        kinds = None if is_small(inside) else distinct_users(inside.shard)
        optimum = minimise_in_box(inside, prices, box.low, box.high, max(1.0, deadline - working_time()), kinds)
        if optimum is None:
            break
        before, prices = prices, optimum.prices
        value, used, _ = inside.exact(prices)
        gradient, free = newton.slope(inside, prices, used)
        # Held at zero, though its limit is broken there.
        woken = free & (prices == 0) & (box.low == box.high)
        up, down = optimum.up | (woken & (gradient < 0)), optimum.down | (woken & (gradient > 0))
        stuck = (up & (prices >= outer.high)) | (down & (prices <= outer.low))
        moving = (up | down) & ~stuck
        # Where many limits tie, the last steps move prices but gain nothing.
        settled = before_value - value < SETTLED
        if value < floor or not moving.any() or settled:
            return Walk(prices, inside, not stuck.any(), stuck)
        before_value = value
        least = radius_by_users(piece, prices, quota, scale)
        radius = np.where(free | (prices != 0), box.next_radius(before, prices, moving, least), 0.0)
    return Walk(prices, inside, False, np.zeros(prices.size, dtype=bool))


def _narrowed(piece: Piece, outer: Box, prices: np.ndarray, radius: np.ndarray) -> tuple[Piece, Box, np.ndarray] | None:
    """Narrow a box until few enough users are open; `None` where too many are tied at the prices themselves."""
    before = piece.shard.n_users
    for _ in range(40):
        box = outer.within(prices, radius)
        inside = box.open_piece(piece)
        if is_small(inside):
            return inside, box, radius
        share = min(SMALL / max(1, inside.shard.n_users), SMALL_OFFERS / max(1, inside.shard.n_offers))
        stuck = inside.shard.n_users > 0.95 * before  # near ties: the box is far wider than what tells them apart
        before = inside.shard.n_users
        if stuck and distinct_users(inside.shard)[0].size <= SMALL // 2:
            return inside, box, radius
        radius = radius * (0.1 if stuck else min(0.8, max(0.05, share)))
    return None
