"""Ties: where very many offers are exactly as good as others, a speck of value on each tells them apart.

Identical users, or values in proportion to costs, leave thousands of offers that cost nothing to flip at the best prices:
too many for a core, and none of them a reason to choose one over another. With a random speck on each value the prices
pick among them, so that few are left near indifference. The specks are at least 0 and together below the tolerance, so a
bound with them is a bound without them, and a plan that is close to it is close to the best.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from allocator.solvers.piece import Piece

TIED = 2_000  # offers that are as good as others; below that a core takes them
SHARE = 0.25  # of the tolerance, that all specks together may come to
NOTHING = 1e-9  # of an offer's typical size: a loss that is only rounding


def is_tied(piece: Piece, prices: np.ndarray) -> bool:
    """Tell whether flips of very many of the piece's offers lose nothing at these prices."""
    if piece.shard.n_offers <= TIED:
        return False
    size = float(np.nansum(np.abs(piece.shard.value))) / piece.shard.n_offers
    offer, _, _ = piece.executor.losses(piece.shard, piece.folding.tables(prices), NOTHING * size)
    return bool(offer.size > TIED)


def told_apart(piece: Piece, tolerance: float, rng: np.random.Generator) -> Piece:
    """Return the piece with a speck of value on each offer; all specks of a plan are below a share of `tolerance`."""
    shard = piece.shard
    caps = shard.caps if shard.caps.size else np.array([shard.cap * shard.n_users])
    speck = SHARE * tolerance / max(1.0, float(min(caps.sum(dtype=np.float64), shard.n_offers)))
    value = shard.value + speck * rng.random(shard.value.size)
    return dataclasses.replace(piece, shard=dataclasses.replace(shard, value=value))
