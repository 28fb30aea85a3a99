"""A plan from prices: everyone's best choice, mended and improved by exchanges among the users near indifference."""

from __future__ import annotations

import numpy as np

from allocator.kernels import exchange as kernels
from allocator.solvers.piece import Piece
from allocator.solvers.relaxation import limit_matrix

OFFERS = 20_000  # with the smallest losses, that are looked at
CHOICES = 4_000  # that take part
SWEPT = (150, 600)  # of them that are tried in pairs with each other; the work is their square, so first with few
FOR_EACH = 40  # of them that use more of a limit, and that use less
EVALUATIONS = 60_000_000  # pairs of choices looked at, at most
FAR_ABOVE = 4.0  # times its price, what a limit costs that is broken


def exchanged(piece: Piece, prices: np.ndarray, most: float, tolerance: float, seed: int) -> np.ndarray | None:
    """Return the problem's offers of a good plan within a piece, or `None` where the limits could not be kept.

    Only offers whose flip loses at most `most` change. Stops within `tolerance` (currency) of the bound at `prices`. The
    sums are not exact: the caller checks the limits.
    """
    shard, folding = piece.shard, piece.folding
    _, used, choices = piece.exact(prices)
    base = choices.picked
    offer, loss, chosen = piece.executor.losses(shard, folding.tables(prices), most)
    if offer.size > OFFERS:
        near = np.sort(np.argpartition(loss, OFFERS)[:OFFERS])
        offer, loss, chosen = offer[near], loss[near], chosen[near]
    users, user = np.unique(shard.users_of(offer), return_inverse=True)
    if users.size == 0:
        return None
    held = np.bincount(shard.users_of(base), minlength=shard.n_users)
    caps = shard.caps[users] if shard.caps.size else np.full(users.size, shard.cap)
    group = shard.exclusive[shard.coupons_of(offer)]
    owner, dropped, added = kernels.list_choices(
        user.reshape(-1), offer, chosen, loss, group, caps - held[users], np.inf
    )
    matrix = limit_matrix(shard, folding, offer, np.arange(prices.size)).T.toarray()
    matrix = np.vstack([matrix, np.zeros(prices.size)])  # position -1 uses nothing
    value = np.append(shard.value[offer], 0.0)
    du, dv = matrix[added] - matrix[dropped], value[added] - value[dropped]
    lost = du @ prices - dv
    closest = _taking_part(du, lost)
    owner, dropped, added, du, dv, lost = (part[closest] for part in (owner, dropped, added, du, dv, lost))
    # Rounding of running sums must not lead over a limit; counts are exact.
    counting = (folding.weights[:, :-1] == 0).all(axis=1) & (folding.weights[:, -1] == 1)
    size = np.where(counting, 0.0, 1e-9 + 1e-13 * np.abs(used))
    above, below = folding.at_most - used - size, used - folding.at_least - size
    up, down = prices > 0, prices < 0
    room = float(prices[up] @ above[up] - prices[down] @ below[down])
    weight = FAR_ABOVE * np.abs(prices) + np.abs(value).mean() / np.maximum(np.abs(matrix).max(axis=0), 1e-12)
    worth = np.where(counting, 0.0, np.abs(prices) * np.abs(du).mean(axis=0))
    rng = np.random.default_rng(seed)
    primary = int(np.argmax(worth)) if worth.any() else -1
    keys, gap = rng.integers(-(2**62), 2**62, prices.size), np.inf
    for width in SWEPT:
        swept = np.arange(min(width, owner.size))
        found, reached = kernels.exchange(
            np.concatenate([-1 - np.unique(owner[swept]), swept]), owner, dv, np.ascontiguousarray(du), lost,
            users.size, above.copy(), below.copy(), weight, prices, counting, primary, keys, room, tolerance,
            EVALUATIONS, rng,
        )  # fmt: skip
        if reached < gap or width == SWEPT[0]:
            current, gap = found, reached
        if gap <= tolerance or swept.size == owner.size:
            break
    if not np.isfinite(gap):
        return None
    taken = current[current >= 0]
    out, into = offer[dropped[taken][dropped[taken] >= 0]], offer[added[taken][added[taken] >= 0]]
    plan = np.concatenate([base[~np.isin(base, out)], into])
    return np.concatenate([*piece.picked, plan if shard.origin is None else shard.origin[plan]])


def _taking_part(du: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """Return the choices with the smallest losses; first some that move each limit up or down."""
    order = np.argsort(lost, kind="stable")
    part = np.zeros(lost.size, dtype=bool)
    for r in range(du.shape[1]):
        along = du[order, r]
        part[order[along > 0][:FOR_EACH]] = True
        part[order[along < 0][:FOR_EACH]] = True
    part[order[: SWEPT[-1] // 2]] = True
    first, rest = order[part[order]], order[~part[order]]
    return np.concatenate([first, rest])[:CHOICES]
