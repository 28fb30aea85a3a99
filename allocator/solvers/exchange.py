"""A plan from prices: everyone's best choice, mended and improved by exchanges among the users near indifference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocator.kernels import exchange as kernels
from allocator.solvers.ejection import stopped_at
from allocator.solvers.piece import Piece
from allocator.solvers.relaxation import limit_matrix

OFFERS = 20_000  # with the smallest losses, that are looked at
CHOICES = 4_000  # that take part
SWEPT = (150, 600)  # of them that are tried in pairs with each other; the work is their square, so first with few
FOR_EACH = 40  # of them that use more of a limit, and that use less
EVALUATIONS = 4_000_000  # pairs of choices looked at, at most, times the effort
FEW_LIMITS = 40  # with more of them a pair takes longer, and fewer are looked at
FAR_ABOVE = 4.0  # times its price, what a limit costs that is broken


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


def exchanged(
    piece: Piece,
    prices: np.ndarray,
    most: float,
    tolerance: float,
    seed: int,
    effort: float = 1.0,
    start: np.ndarray | None = None,
    deadline: float = np.inf,
) -> np.ndarray | None:
    """Return the problem's offers of a good plan within a piece, or `None` where the limits could not be kept.

    Only offers whose flip loses at most `most` change. Begins with the plan `start` (the problem's offers) where it differs
    from the best choices in such offers only, else with the best choices. Stops within `tolerance` (currency) of the
    bound at `prices`, when the `effort` is spent or at the `deadline` (monotonic clock). The sums are not exact: the caller checks the limits.
    """
    folding = piece.folding
    _, used, choices = piece.exact(prices)
    pool = _pool(piece, prices, choices.picked, most, start)
    if pool is None:
        return None
    # Rounding of running sums must not lead over a limit; counts are exact.
    counting = (folding.weights[:, :-1] == 0).all(axis=1) & (folding.weights[:, -1] == 1)
    size = np.where(counting, 0.0, 1e-9 + 1e-13 * np.abs(used))
    above, below = folding.at_most - used - size, used - folding.at_least - size
    up, down = prices > 0, prices < 0
    room = float(prices[up] @ above[up] - prices[down] @ below[down])
    weight = FAR_ABOVE * np.abs(prices) + np.abs(pool.dv).mean() / np.maximum(np.abs(pool.du).max(axis=0), 1e-12)
    worth = np.where(counting, 0.0, np.abs(prices) * np.abs(pool.du).mean(axis=0))
    primary = int(np.argmax(worth)) if worth.any() else -1
    rng = np.random.default_rng(seed)
    keys = rng.integers(-(2**62), 2**62, prices.size)
    current, gap = pool.start(), np.inf
    everything = np.concatenate([-1 - np.unique(pool.owner), np.arange(pool.owner.size)])
    evaluations = int(effort * EVALUATIONS * min(1.0, FEW_LIMITS / max(1, prices.size)))
    stop = np.zeros(1, np.uint8)
    for width in SWEPT:
        swept = np.arange(min(width, pool.owner.size))
        with stopped_at(deadline, stop):
            found, reached = kernels.exchange(
                np.concatenate([-1 - np.unique(pool.owner[swept]), swept]), everything, pool.owner, pool.dv, pool.du,
                pool.lost, current, above, below, weight, prices, counting, primary, keys, room, tolerance, evaluations,
                rng, stop,
            )  # fmt: skip
        if reached < gap:
            current, gap = found, reached
        if gap <= tolerance or swept.size == pool.owner.size or stop[0]:
            break
    if not np.isfinite(gap):
        return None
    plan = pool.plan(current)
    return np.concatenate([*piece.picked, plan if piece.shard.origin is None else piece.shard.origin[plan]])


def _pool(piece: Piece, prices: np.ndarray, base: np.ndarray, most: float, start: np.ndarray | None) -> Pool | None:
    """Return the choices that take part, those of `start` among them; `None` where there are none."""
    shard, folding = piece.shard, piece.folding
    offer, loss, chosen = piece.executor.losses(shard, folding.tables(prices), most)
    if offer.size > OFFERS:
        near = np.sort(np.argpartition(loss, OFFERS)[:OFFERS])
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
        origin = offer if shard.origin is None else shard.origin[offer]
        flipped = np.append(np.isin(origin, start) != chosen, False)
        flips = np.bincount(user.reshape(-1)[flipped[:-1]], minlength=users.size)
        in_choice = (dropped >= 0).astype(np.int64) + (added >= 0)
        told = flipped[dropped].astype(np.int64) + flipped[added]
        begun = (told == in_choice) & (flips[owner] == in_choice)
        if begun.sum() < np.count_nonzero(flips):  # some user's choice in `start` is not among those listed
            begun[:] = False
    part = _taking_part(du, lost, begun)
    return Pool(
        base, offer, owner[part], dropped[part], added[part], np.ascontiguousarray(du[part]), dv[part], lost[part],
        begun[part], users.size,
    )  # fmt: skip


def _taking_part(du: np.ndarray, lost: np.ndarray, begun: np.ndarray) -> np.ndarray:
    """Return the choices with the smallest losses; first those begun with and some that move each limit up or down."""
    order = np.argsort(lost, kind="stable")
    part = begun.copy()
    for r in range(du.shape[1]):
        along = du[order, r]
        part[order[along > 0][:FOR_EACH]] = True
        part[order[along < 0][:FOR_EACH]] = True
    part[order[: SWEPT[-1] // 2]] = True
    first, rest = order[part[order]], order[~part[order]]
    return np.concatenate([first, rest])[: max(CHOICES, int(part.sum()))]
