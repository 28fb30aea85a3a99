"""Offers taken in an order, one after the other, as long as rules and limits allow: what every simple plan is made by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocator.executors.local import Cover
from allocator.executors.shard import Shard
from allocator.kernels import strategies as kernels
from allocator.solvers.folding import Folding
from allocator.solvers.piece import Piece

ALL = 1 << 30  # more offers than a user may get
MOST_RANKED = 8_000_000  # offers beside the best choices, about


@dataclass(frozen=True, eq=False)
class Standing:
    """How far such a plan has got.

    Attributes
    ----------
    owner
        `(n_offers,)` int32 user of each offer; empty where the shard is dense.
    count
        `(n_users,)` int32: how many offers each user holds.
    used
        `(n_limits, 3)`: the sum of each limit as two floats, and the sum of its terms' sizes.
    least
        `(n_limits,)`: the smallest number that an offer has on a limit that covers all offers, -inf for others.
    taken, held
        `(n_offers,)` bool, and `(n_users * n_groups,)` bool: whether a user holds an offer of an exclusive group.
    several
        `(n_limits,)` bool: limits whose number is a sum of three terms or more.
    """

    folding: Folding
    shard: Shard
    cover: Cover
    owner: np.ndarray
    count: np.ndarray
    used: np.ndarray
    least: np.ndarray
    taken: np.ndarray
    held: np.ndarray
    several: np.ndarray

    @classmethod
    def of(cls, folding: Folding, shard: Shard, owner: np.ndarray, least: np.ndarray) -> Standing:
        """Return the beginning, with nothing taken."""
        n_groups = int(shard.exclusive.max(initial=-1)) + 1
        return cls(
            folding,
            shard,
            folding.cover,
            owner,
            np.zeros(shard.n_users, np.int32),
            np.zeros((folding.n_limits, 3)),
            least,
            np.zeros(shard.n_offers, np.bool_),
            np.zeros(shard.n_users * n_groups, np.bool_),
            (folding.weights != 0).sum(axis=1) > 2,
        )

    @property
    def growing(self) -> np.ndarray:
        """Positions of the limits that cover all offers and whose sums never fall."""
        return np.flatnonzero(self.least >= 0)

    def take(self, order: np.ndarray, cap: int = ALL, *, needed_only: bool = False) -> bool:
        """Take the offers of `order` that fit, up to `cap` a user; return whether any later one still may.

        With `needed_only`, take only offers that bring an unmet at-least limit closer.
        """
        shard, cover = self.shard, self.cover
        more: bool = kernels.take_in_order(
            order,
            self.owner,
            shard.width,
            shard.coupon,
            shard.value,
            shard.cost,
            shard.extra,
            shard.group,
            min(cap, ALL if shard.caps.size else shard.cap),
            shard.caps,
            shard.exclusive,
            cover.weights,
            cover.wide_start,
            cover.wide_limit,
            cover.pair_start,
            cover.pair_limit,
            self.folding.class_of,
            cover.n_classes,
            self.used,
            self.folding.at_least,
            self.folding.at_most,
            self.least,
            self.several,
            self.count,
            self.held,
            int(shard.exclusive.max(initial=-1)) + 1,
            self.taken,
            needed_only,
        )
        return more


def owners(shard: Shard) -> np.ndarray:
    """Return the user of each offer, `(n_offers,)` int32; nothing where the shard is dense."""
    if shard.width:
        return np.empty(0, np.int32)
    return np.repeat(np.arange(shard.n_users, dtype=np.int32), np.diff(shard.start))


def filled(piece: Piece, prices: np.ndarray) -> np.ndarray:
    """Return a plan of the piece's shard (its offer indices) made in one sweep, from prices that may be far from the best.

    First those best choices that lose most where they are left out, last the offers that lose most where they are taken
    in; each only where it fits. What no limit asks for at least is then kept; other limits may be missed.
    """
    shard = piece.shard
    size = float(np.nansum(np.abs(shard.value))) / max(1, shard.n_offers)
    # A limit that is broken at the prices pushes users to choices that lose much: few of very many are enough.
    most = np.inf if shard.n_offers <= MOST_RANKED else size * MOST_RANKED / shard.n_offers
    tables = piece.folding.tables(prices)
    offer, loss, chosen = piece.executor.losses(shard, tables, most)
    kept = piece.executor.choose(shard, tables).picked
    order = np.concatenate([kept, offer[~chosen]])
    urgency = np.full(kept.size, np.inf)
    urgency[np.searchsorted(kept, offer[chosen])] = loss[chosen]
    order = order[np.argsort(np.concatenate([-urgency, loss[~chosen]]), kind="stable")].astype(shard.index_type)
    standing = Standing.of(piece.folding, shard, owners(shard), np.full(piece.folding.n_limits, -np.inf))
    if (piece.folding.at_least > 0).any():
        standing.take(order, needed_only=True)
    standing.take(order[shard.value[order] > 0])
    return np.flatnonzero(standing.taken)
