"""The dual over a box of prices, exactly: a small linear program for the few users whose choice is open."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from allocator.executors.shard import Shard
from allocator.kernels.entries import limit_entries
from allocator.solvers.folding import Folding
from allocator.solvers.piece import Piece
from allocator.solvers.programs import Ending, Program, solve_linear

TRADED = 1e-7  # of a limit's unit; less is the solver's rounding


@dataclass(frozen=True, eq=False)
class BoxOptimum:
    """Prices that minimise the dual over a box.

    Attributes
    ----------
    prices
        `(n_limits,)`, currency per unit.
    up, down
        `(n_limits,)` bool: more than nothing is gained from beyond the box's upper or lower edge here. Where none is, the
        prices are optimal outside the box too: the primal point keeps every limit without trade, and earns the dual's
        value.
    """

    prices: np.ndarray
    up: np.ndarray
    down: np.ndarray


def open_offers(piece: Piece, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the offers that are chosen somewhere in the box (or more): those whose flip can cost nothing there."""
    folding, shard = piece.folding, piece.shard
    if np.isinf(high - low).any():
        return np.flatnonzero(~np.isnan(shard.value))
    prices, radius = 0.5 * (low + high), 0.5 * (high - low)
    offer, loss, chosen = piece.executor.losses(shard, folding.tables(prices), np.inf)
    columns = offer_columns(shard, offer)
    group = shard.group[shard.users_of(offer)] if shard.group.size else np.zeros(offer.size, np.int64)
    coupon = shard.coupons_of(offer)
    tables = folding.radii(radius)
    span = (tables.wide[coupon] * np.abs(columns.T)).sum(axis=1)
    if tables.narrow.size:
        span += (tables.narrow[group, tables.class_of[coupon]] * np.abs(columns.T)).sum(axis=1)
    # A flip changes at most the offer itself and one that it displaces; the latter moves by the user's widest span.
    user = shard.users_of(offer)
    most = np.zeros(shard.n_users)
    np.maximum.at(most, user, span)
    return np.sort(offer[chosen | (loss <= span + most[user])])


def offer_columns(shard: Shard, offer: np.ndarray) -> np.ndarray:
    """Return `(3 + n_extra, n)`: value, cost, further columns and ones for these offers."""
    return np.vstack([shard.value[offer], shard.cost[offer], shard.extra[:, offer], np.ones(offer.size)])


def limit_matrix(shard: Shard, folding: Folding, offer: np.ndarray, limits: np.ndarray) -> sp.csr_matrix:
    """Return `(limits, offers)` CSR: what each offer uses of each of these limits (positions that ascend)."""
    cover, row_of = folding.cover, np.full(folding.n_limits, -1, np.int64)
    row_of[limits] = np.arange(limits.size)
    group = shard.group[shard.users_of(offer)] if shard.group.size else np.zeros(offer.size)
    # One dtype each, or the kernel would be compiled for every mixture of them.
    group, coupon = group.astype(np.int32, copy=False), shard.coupons_of(offer).astype(np.int32, copy=False)
    start, place, number = limit_entries(
        offer,
        coupon,
        group,
        shard.value,
        shard.cost,
        shard.extra,
        cover.weights,
        cover.wide_start,
        cover.wide_limit,
        cover.pair_start,
        cover.pair_limit,
        folding.class_of,
        cover.n_classes,
        row_of,
        limits.size,
    )
    return sp.csr_matrix((number, place, start), shape=(limits.size, offer.size))


def rule_matrix(piece: Piece, offer: np.ndarray) -> tuple[sp.csr_matrix, np.ndarray]:
    """Return the local rules over these offers: rows for users' caps and exclusive groups, and their right sides."""
    shard = piece.shard
    users, user_row = np.unique(shard.users_of(offer), return_inverse=True)
    caps = shard.caps[users] if shard.caps.size else np.full(users.size, shard.cap)
    group = shard.exclusive[shard.coupons_of(offer)]
    place = np.arange(offer.size)
    rows, places, tops = [user_row], [place], [caps.astype(np.float64)]
    grouped = np.flatnonzero((group >= 0) & (caps[user_row] > 1))
    if grouped.size:
        key = user_row[grouped].astype(np.int64) * (int(shard.exclusive.max()) + 1) + group[grouped]
        found, pair_row = np.unique(key, return_inverse=True)
        rows.append(users.size + pair_row)
        places.append(grouped)
        tops.append(np.ones(found.size))
    index = np.concatenate(rows)
    matrix = sp.csr_matrix(
        (np.ones(index.size), (index, np.concatenate(places))), shape=(int(sum(top.size for top in tops)), offer.size)
    )
    return matrix, np.concatenate(tops)


def minimise_in_box(
    piece: Piece,
    prices: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    time_limit: float,
    kinds: tuple[np.ndarray, np.ndarray] | None = None,
) -> BoxOptimum | None:
    """Minimise the dual of a small piece over a box; `None` where the LP solver gives up.

    The box goes from `low` to `high`, which may be infinite; where they are equal, the price stays as in `prices`.
    `kinds`: one user of each kind in the piece, and how many there are of it (`twins`); then only these are looked at.
    The box appears in the primal as capacity that can be bought at the box's upper price and sold at its lower one.
    """
    times = np.ones(piece.shard.n_users)
    if kinds is not None:
        times = kinds[1].astype(np.float64)
        piece = dataclasses.replace(piece, shard=piece.shard.take(kinds[0]))
    offer = open_offers(piece, low, high)
    times = times[piece.shard.users_of(offer)]
    folding = piece.folding
    limits = np.flatnonzero(high > low)
    rest = np.flatnonzero((high <= low) & (prices != 0))
    value = piece.shard.value[offer]
    if rest.size:  # prices that are pinned act on the objective alone
        value = value - prices[rest] @ limit_matrix(piece.shard, folding, offer, rest)
    uses = limit_matrix(piece.shard, folding, offer, limits)
    rules, tops = rule_matrix(piece, offer)
    tops = tops * times[rules.indices[rules.indptr[:-1]]]  # the offers of a rule are all one user's
    n = limits.size
    low, high = low[limits], high[limits]
    # Zero is where a one-sided limit's price ends by nature: nothing lies beyond it, so nothing is traded there.
    buys = np.flatnonzero(np.isfinite(high) & ((high != 0) | np.isfinite(folding.at_most[limits])))
    sells = np.flatnonzero(np.isfinite(low) & ((low != 0) | np.isfinite(folding.at_least[limits])))
    n_trades = buys.size + sells.size
    signs = np.concatenate([np.full(buys.size, -1.0), np.ones(sells.size)])
    trade = sp.csr_matrix((signs, (np.concatenate([buys, sells]), np.arange(n_trades))), shape=(n, n_trades))
    nothing = sp.csr_matrix((tops.size, n_trades))
    program = Program(
        objective=np.concatenate([value, -high[buys], low[sells]]),
        matrix=sp.csr_matrix(sp.vstack([sp.hstack([uses, trade]), sp.hstack([rules, nothing])])),
        lower=np.concatenate([folding.at_least[limits], np.full(tops.size, -np.inf)]),
        upper=np.concatenate([folding.at_most[limits], tops]),
        ceiling=np.concatenate([times, np.full(n_trades, np.inf)]),
        integer=np.zeros(offer.size + n_trades, dtype=bool),
    )
    answer = solve_linear(program, time_limit)
    if answer.ending is not Ending.OPTIMAL or answer.x is None:
        return None
    result = prices.copy()
    result[limits] = np.clip(answer.dual[:n], low, high)
    # The sign that a one-sided limit allows is exact, whatever the solver's tolerance.
    result = np.where(np.isinf(folding.at_most), np.minimum(result, 0.0), result)
    result = np.where(np.isinf(folding.at_least), np.maximum(result, 0.0), result)
    traded = answer.x[offer.size :] > TRADED
    up, down = np.zeros(prices.size, dtype=bool), np.zeros(prices.size, dtype=bool)
    up[limits[buys[traded[: buys.size]]]] = True
    down[limits[sells[traded[buys.size :]]]] = True
    return BoxOptimum(result, up, down)
