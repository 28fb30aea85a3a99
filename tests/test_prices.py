"""Curvature summed by what limits share; boxes and widths of prices."""

import numpy as np
import pytest

from allocator import Limit, Problem
from allocator.executors.local import LocalExecutor
from allocator.executors.shard import whole
from allocator.solvers import folding
from allocator.solvers.piece import Piece


def overlapping(max_per_user: int = 1) -> Piece:
    """Sixty users, two limits on all of them and four on overlapping segments, of two measures and coupon sets."""
    rng = np.random.default_rng(0)
    cost = rng.random((60, 3)) + 0.1
    limits = [Limit(f"segment {j}", at_most=3.0 + j, users=rng.random(60) < 0.5) for j in range(3)]
    limits.append(Limit("rare", "count", at_most=2.0, users=rng.random(60) < 0.3, coupons=["0", "2"]))
    problem = Problem.from_arrays(
        cost * rng.normal(1.5, 0.5, cost.shape), cost, budget=9.0, quantities=[4, None, None], limits=limits,
        max_per_user=max_per_user,
    )  # fmt: skip
    fold = folding.fold(problem)
    return Piece(whole(problem, fold.columns), fold, LocalExecutor(), 0.0, ())


@pytest.mark.parametrize("max_per_user", [1, 2])
def test_curvature_by_segment_is_the_curvature_by_limit(max_per_user: int, monkeypatch: pytest.MonkeyPatch) -> None:
    prices = np.array([0.1, 0.05, 0.2, 0.0, 0.1, 0.02])
    piece = overlapping(max_per_user)
    _, _, hessian = piece.soft(prices, 0.1)
    spread = piece.spread(prices, 0.1)
    monkeypatch.setattr(folding, "MOST_OWN", 0)
    plain = overlapping(max_per_user)
    assert piece.folding.levers.moves.size and not plain.folding.levers.moves.size
    assert hessian == pytest.approx(plain.soft(prices, 0.1)[2], abs=1e-12)
    assert spread == pytest.approx(plain.spread(prices, 0.1), abs=1e-12)


def test_a_piece_with_its_own_groups_has_their_curvature() -> None:
    """Groups without users are left out of the tables of a small piece, and its levers are numbered like them."""
    piece = overlapping()
    users = np.arange(0, 60, 12)
    prices = np.full(6, 0.05)
    part = Piece(piece.shard.take(users), piece.folding, piece.executor, 0.0, ())
    own = part.with_own_groups()
    assert own.folding.groups.shape[1] < piece.folding.groups.shape[1]
    assert own.soft(prices, 0.1)[2] == pytest.approx(part.soft(prices, 0.1)[2], abs=1e-12)
