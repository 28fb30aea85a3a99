"""Choices near the users' best ones: what exchanges are made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocator.kernels import exchange as kernels
from allocator.solvers.piece import Piece
from allocator.solvers.relaxation import limit_matrix

OFFERS = 20_000  # with the smallest losses, that are looked at
MANY_TIMES = 4  # so many offers; of more, the losses that matter are told from some users first
SAMPLED = 3_000  # users
CHOICES = 4_000  # that take part
SURE = 300  # of them, the closest
FOR_EACH = 40  # of them that use more of a limit, and that use less


@dataclass(frozen=True, eq=False)
class Pool:
    """Choices near the users' best ones that take part in exchanges.

    Attributes
    ----------
    base
        The piece's offers that are the users' best choices.
    offer
        The piece's offers that may flip.
    owner, dropped, added
        `(choices,)`: whose each choice is, from 0, and the positions in `offer` that it drops and adds (-1: none).
    du, dv, lost
        What each uses `(choices, n_limits)` and earns more than the best choice, and what it loses at the prices.
    chosen
        `(choices,)` bool: in the plan to start from.
    n_users
        Users with a choice.
    """

    base: np.ndarray
    offer: np.ndarray
    owner: np.ndarray
    dropped: np.ndarray
    added: np.ndarray
    du: np.ndarray
    dv: np.ndarray
    lost: np.ndarray
    chosen: np.ndarray
    n_users: int

    def plan(self, current: np.ndarray) -> np.ndarray:
        """Return the piece's offers where each user has this choice, -1: the best one."""
        taken = current[current >= 0]
        dropped, added = self.dropped[taken], self.added[taken]
        kept = self.base[~np.isin(self.base, self.offer[dropped[dropped >= 0]])]
        return np.concatenate([kept, self.offer[added[added >= 0]]])

    def start(self) -> np.ndarray:
        """Return each user's choice in the plan to start from, `(n_users,)`."""
        current = np.full(self.n_users, -1, np.int64)
        current[self.owner[self.chosen]] = np.flatnonzero(self.chosen)
        return current


def pool_of(
    piece: Piece, prices: np.ndarray, base: np.ndarray, most: float, start: np.ndarray | None, offers: int = OFFERS
) -> Pool | None:
    """Return the choices that take part, among the so many `offers` of least loss, those of `start` among them.

    `None` where there are none.
    """
    shard, folding = piece.shard, piece.folding
    offer, loss, chosen = piece.executor.losses(shard, folding.tables(prices), min(most, _reach(piece, prices, offers)))
    if offer.size > offers:
        near = np.sort(np.argpartition(loss, offers)[:offers])
        offer, loss, chosen = offer[near], loss[near], chosen[near]
    if offer.size == 0:
        return None
    users, user = np.unique(shard.users_of(offer), return_inverse=True)
    held = np.bincount(shard.users_of(base), minlength=shard.n_users)
    caps = shard.caps[users] if shard.caps.size else np.full(users.size, shard.cap)
    group = shard.exclusive[shard.coupons_of(offer)]
    owner, dropped, added = kernels.list_choices(
        user.reshape(-1), offer, chosen, loss, group, caps - held[users], np.inf
    )
    if owner.size == 0:
        return None
    matrix = limit_matrix(shard, folding, offer, np.arange(prices.size)).T.toarray()
    matrix = np.vstack([matrix, np.zeros(prices.size)])  # position -1 uses nothing
    value = np.append(shard.value[offer], 0.0)
    du, dv = matrix[added] - matrix[dropped], value[added] - value[dropped]
    lost = du @ prices - dv
    begun = np.zeros(owner.size, dtype=bool)
    if start is not None:
        flipped = np.append(np.isin(shard.originals(offer), start) != chosen, False)
        flips = np.bincount(user.reshape(-1)[flipped[:-1]], minlength=users.size)
        in_choice = (dropped >= 0).astype(np.int64) + (added >= 0)
        told = flipped[dropped].astype(np.int64) + flipped[added]
        begun = (told == in_choice) & (flips[owner] == in_choice)
        if begun.sum() < np.count_nonzero(flips):  # some user's choice in `start` is not among those listed
            begun[:] = False
    part = _taking_part(du, lost, begun)
    return Pool(
        base,
        offer,
        owner[part],
        dropped[part],
        added[part],
        np.ascontiguousarray(du[part]),
        dv[part],
        lost[part],
        begun[part],
        users.size,
    )


def _reach(piece: Piece, prices: np.ndarray, offers: int) -> float:
    """Return a loss that about as many offers come below as are looked at, so that others need not be listed."""
    shard = piece.shard
    if shard.n_offers <= MANY_TIMES * offers:
        return np.inf
    users = np.arange(0, shard.n_users, -(-shard.n_users // SAMPLED))
    _, loss, _ = piece.executor.losses(shard.take(users), piece.folding.tables(prices), np.inf)
    place = int(offers * users.size / shard.n_users)
    return float(np.partition(loss, place)[place]) if place < loss.size else np.inf


def _taking_part(du: np.ndarray, lost: np.ndarray, begun: np.ndarray) -> np.ndarray:
    """Return the choices with the smallest losses; first those begun with and some that move each limit up or down."""
    order = np.argsort(lost, kind="stable")
    part = begun.copy()
    for r in range(du.shape[1]):
        along = du[order, r]
        part[order[along > 0][:FOR_EACH]] = True
        part[order[along < 0][:FOR_EACH]] = True
    part[order[:SURE]] = True
    first, rest = order[part[order]], order[~part[order]]
    return np.concatenate([first, rest])[: max(CHOICES, int(part.sum()))]
