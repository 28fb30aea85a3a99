"""Twins: users with the same offers, rules and group, who are one user with a multiplicity to a linear program."""

from __future__ import annotations

import numpy as np

from allocator.executors.shard import Shard

MULTIPLIERS = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0xD6E8FEB86659FD93)


def distinct_users(shard: Shard) -> tuple[np.ndarray, np.ndarray]:
    """Return one user of each kind, ascending, and how many there are of each.

    Told by 64-bit hashes: a collision, should one ever occur, costs the linear program some of its precision, but no
    bound its validity, since bounds are evaluated over all users.
    """
    key = _mixed(shard.coupons_of(np.arange(shard.n_offers)).astype(np.uint64), 0)
    for position, column in enumerate((shard.value, shard.cost, *shard.extra)):
        bits = np.where(np.isnan(column), np.nan, column + 0.0).view(np.uint64)  # one NaN, one zero
        key = _mixed(key ^ _mixed(bits, position + 1), position)
    sums = np.zeros(shard.n_users + 1, np.uint64)
    if shard.width:
        sums[1:] = np.cumsum(key.reshape(shard.n_users, shard.width).sum(axis=1, dtype=np.uint64), dtype=np.uint64)
    else:
        running = np.concatenate([np.zeros(1, np.uint64), np.cumsum(key, dtype=np.uint64)])
        sums = running[shard.start]
    user = np.diff(sums)
    for position, rule in enumerate((shard.group, shard.caps)):
        if rule.size:
            user = _mixed(user ^ _mixed(rule.astype(np.uint64), position + 2), position)
    _, first, counts = np.unique(user, return_index=True, return_counts=True)
    order = np.argsort(first)
    return first[order], counts[order]


def _mixed(bits: np.ndarray, position: int) -> np.ndarray:
    """Spread the bits (the finaliser of SplitMix64: Steele, Lea & Flood, 2014, doi:10.1145/2660193.2660195)."""
    mixed = bits + np.uint64(MULTIPLIERS[position % len(MULTIPLIERS)])
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(MULTIPLIERS[1])
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(MULTIPLIERS[2])
    result: np.ndarray = mixed ^ (mixed >> np.uint64(31))
    return result
