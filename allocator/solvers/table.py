"""What exchanges look at: choices near the users' best ones, and what is left of the limits that they may come to break."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocator.kernels import exchange as kernels
from allocator.solvers.piece import Piece
from allocator.solvers.pool import Pool

MOST_KINDS = 64
FAR_ABOVE = 4.0  # times its price, what a limit costs that is broken


@dataclass(frozen=True, eq=False)
class Table:
    """All that exchanges look at: a pool, what is left of the watched limits, and the limits' part in it.

    Attributes
    ----------
    du
        `(choices, n_limits)`: what each choice uses more than the best one.
    above, below
        `(n_limits,)`: what is left of each side when all take their best choice.
    prices, weight
        `(n_limits,)` currency per unit: of the limit, and what it costs while it is broken.
    counting, primary, keys, kind_of, covers
        As in `kernels.exchange.exchange`.
    room
        What the bound is above the value of all best choices, currency.
    stop
        `(1,)` uint8, set when the time is over.
    """

    pool: Pool
    du: np.ndarray
    above: np.ndarray
    below: np.ndarray
    prices: np.ndarray
    weight: np.ndarray
    counting: np.ndarray
    primary: int
    keys: np.ndarray
    kind_of: np.ndarray
    covers: np.ndarray
    room: float
    tolerance: float
    rng: np.random.Generator
    stop: np.ndarray

    def left(self, plan: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what a plan leaves of each side of each limit, `(n_limits,)` each."""
        used = self.du[plan[plan >= 0]].sum(axis=0)
        return self.above - used, self.below + used

    def exchange(self, current: np.ndarray, width: int, evaluations: int) -> tuple[np.ndarray, float]:
        """Improve a plan among the first `width` choices; return it and its gap, infinite where limits are broken."""
        pool, swept = self.pool, np.arange(width)
        everything = np.concatenate([-1 - np.unique(pool.owner), np.arange(pool.owner.size)])
        found, gap = kernels.exchange(
            np.concatenate([-1 - np.unique(pool.owner[swept]), swept]),
            everything,
            pool.owner,
            pool.dv,
            self.du,
            pool.lost,
            current,
            self.above,
            self.below,
            self.weight,
            self.prices,
            self.counting,
            self.primary,
            self.keys,
            self.kind_of,
            self.covers,
            self.room,
            self.tolerance,
            evaluations,
            self.rng,
            self.stop,
        )
        return found, gap


def table_of(
    piece: Piece, prices: np.ndarray, used: np.ndarray, pool: Pool, watched: np.ndarray, tolerance: float, seed: int
) -> Table:
    """Return what exchanges look at, where best choices use `used` of each limit and some limits are `watched`."""
    folding = piece.folding
    # Rounding of running sums must not lead over a limit; counts are exact.
    counting = ((folding.weights[:, :-1] == 0).all(axis=1) & (folding.weights[:, -1] == 1))[watched]
    prices, used = prices[watched], used[watched]
    du = np.ascontiguousarray(pool.du[:, watched])
    size = np.where(counting, 0.0, 1e-9 + 1e-13 * np.abs(used))
    above, below = folding.at_most[watched] - used - size, used - folding.at_least[watched] - size
    up, down = prices > 0, prices < 0
    room = float(prices[up] @ above[up] - prices[down] @ below[down])
    weight = FAR_ABOVE * np.abs(prices) + np.abs(pool.dv).mean() / np.maximum(np.abs(du).max(axis=0), 1e-12)
    worth = np.where(counting, 0.0, np.abs(prices) * np.abs(du).mean(axis=0))
    primary = int(np.argmax(worth)) if worth.any() else -1
    kind_of, covers = _kinds(pool, du, ~counting & (prices != 0))
    rng = np.random.default_rng(seed)
    return Table(
        pool,
        du,
        above,
        below,
        prices,
        weight,
        counting,
        primary,
        rng.integers(-(2**62), 2**62, prices.size),
        kind_of,
        covers,
        room,
        tolerance,
        rng,
        np.zeros(1, np.uint8),
    )


def _kinds(pool: Pool, du: np.ndarray, priced: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the kind of each user, and the priced limits that each kind uses, `(n_kinds, n_limits)` bool.

    One kind for all where nearly every user would be a kind of its own.
    """
    if not priced.any():
        return np.zeros(pool.n_users, np.int64), np.zeros((1, du.shape[1]), dtype=bool)
    touched = np.zeros((pool.n_users, du.shape[1]), dtype=bool)
    for r in np.flatnonzero(priced):
        touched[pool.owner[du[:, r] != 0], r] = True
    # Rows as single items: comparing rows as such takes longer than all exchanges together.
    packed = np.ascontiguousarray(np.packbits(touched, axis=1))
    rows = packed.view(np.dtype((np.void, packed.shape[1]))).reshape(-1)
    _, first, kind_of = np.unique(rows, return_index=True, return_inverse=True)
    covers = touched[first]
    if covers.shape[0] > MOST_KINDS:
        return np.zeros(pool.n_users, np.int64), np.ones((1, du.shape[1]), dtype=bool)
    return kind_of.reshape(-1).astype(np.int64), covers
