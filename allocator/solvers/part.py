"""A part of a problem: some offers are free, all others are as they stand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from allocator.solvers.piece import Piece
from allocator.solvers.programs import Program
from allocator.solvers.relaxation import limit_matrix, rule_matrix


@dataclass(frozen=True, eq=False)
class Part:
    """Free offers of a piece, its other chosen offers kept.

    Attributes
    ----------
    kept, free
        The piece's offer indices; `free` ascends.
    owner
        `(free,)` user of each free offer, numbered from 0 without gaps.
    program
        Chooses among the free offers, within what the kept ones leave of every limit and local rule.
    fixed
        Value of what is not free, currency.
    """

    piece: Piece
    kept: np.ndarray
    free: np.ndarray
    owner: np.ndarray
    program: Program
    fixed: float

    def offers(self, x: np.ndarray) -> np.ndarray:
        """Return the problem's offers that a point of the program stands for."""
        taken = np.concatenate([self.kept, self.free[x > 0.5]])
        return np.concatenate([*self.piece.picked, self.piece.shard.originals(taken)])


@dataclass(frozen=True, eq=False)
class Opened:
    """All that may differ in a better plan.

    Attributes
    ----------
    lost, chosen
        `(free,)` of the part: what a flip loses, currency, and whether it is among the best choices at the prices.
    base
        Those best choices, the piece's offer indices.
    complete
        Nothing else can differ.
    """

    part: Part
    lost: np.ndarray
    chosen: np.ndarray
    base: np.ndarray
    complete: bool

    def closest(self, n: int) -> Part:
        """Return the part of the `n` offers that lose the least, all others as they are best at the prices."""
        core = np.sort(np.argsort(self.lost, kind="stable")[:n])
        offer = self.part.free[core]
        return part_of(self.part.piece, self.base[~np.isin(self.base, offer[self.chosen[core]])], offer)


def part_of(piece: Piece, kept: np.ndarray, free: np.ndarray) -> Part:
    """Free these offers of a piece and keep those."""
    folding, shard = piece.folding, piece.shard
    everything = np.arange(folding.n_limits)
    used = np.asarray(limit_matrix(shard, folding, kept, everything).sum(axis=1)).reshape(-1)
    uses = limit_matrix(shard, folding, free, everything)
    rules, tops = rule_matrix(piece, free)
    owners, counts = np.unique(shard.users_of(kept), return_counts=True)
    users, owner = np.unique(shard.users_of(free), return_inverse=True)
    place = np.searchsorted(owners, users).clip(max=max(0, owners.size - 1))
    if owners.size:
        tops[: users.size] -= np.where(owners[place] == users, counts[place], 0)
    lower = folding.at_least - used
    value = shard.value[free]
    program = Program(
        objective=value,
        matrix=sp.csr_matrix(sp.vstack([uses, rules])),
        lower=np.concatenate([lower, _least(piece, lower, uses, rules, tops, users.size)]),
        upper=np.concatenate([folding.at_most - used, tops]),
        ceiling=np.ones(free.size),
        integer=np.ones(free.size, dtype=bool),
    )
    return Part(piece, kept, free, owner.reshape(-1), program, float(shard.value[kept].sum()) + piece.value)


def _least(
    piece: Piece, lower: np.ndarray, uses: sp.csr_matrix, rules: sp.csr_matrix, tops: np.ndarray, n_users: int
) -> np.ndarray:
    """Return the least number of offers in each local rule, `(rules,)`, -inf where there is none.

    An at-least limit on a count that the users' caps only just allow says that every user gets as many as the cap: said
    row by row, it tightens the relaxation, and branch and bound sees the assignment problem that it is.
    """
    least = np.full(tops.size, -np.inf)
    weights = piece.folding.weights
    counts = np.flatnonzero((weights[:, -1] == 1.0) & (weights[:, :-1] == 0.0).all(axis=1) & np.isfinite(lower))
    for r in counts.tolist():
        covered = np.zeros(uses.shape[1])
        covered[uses[[r]].indices] = 1.0
        most = np.minimum(tops[:n_users], rules[:n_users] @ covered)
        if most.sum() <= lower[r] + 0.5:
            least[:n_users] = np.maximum(least[:n_users], most)
    return least
