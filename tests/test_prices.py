"""Curvature summed by what limits share; boxes and widths of prices."""

import numpy as np
import pytest
import scipy.sparse as sp

from allocator import Limit, Problem
from allocator.executors.local import LocalExecutor
from allocator.executors.shard import whole
from allocator.executors.terms import Terms
from allocator.solvers import folding
from allocator.solvers.piece import Piece
from allocator.solvers.quadratic import minimise_listed, minimise_quadratic
from allocator.solvers.relaxation import limit_matrix


def overlapping(max_per_user: int = 1) -> Piece:
    """Sixty users, two limits on all of them and four on overlapping segments, of two measures and coupon sets."""
    rng = np.random.default_rng(0)
    cost = rng.random((60, 3)) + 0.1
    limits = [Limit(f"segment {j}", at_most=3.0 + j, users=rng.random(60) < 0.5) for j in range(3)]
    limits.append(Limit("rare", "count", at_most=2.0, users=rng.random(60) < 0.3, coupons=["0", "2"]))
    problem = Problem.from_arrays(
        cost * rng.normal(1.5, 0.5, cost.shape),
        cost,
        budget=9.0,
        quantities=[4, None, None],
        limits=limits,
        max_per_user=max_per_user,
    )
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


@pytest.mark.parametrize("max_per_user", [1, 2])
def test_listed_curvature_is_the_summed_one(max_per_user: int, monkeypatch: pytest.MonkeyPatch) -> None:
    prices = np.array([0.1, 0.05, 0.2, 0.0, 0.1, 0.02])
    monkeypatch.setattr(folding, "MOST_OWN", 0)
    plain = overlapping(max_per_user)
    _, _, hessian = plain.soft(prices, 0.1)
    spread = plain.spread(prices, 0.1)
    monkeypatch.setattr(folding, "MANY", 1)
    listed = overlapping(max_per_user)
    _, _, terms = listed.soft(prices, 0.1)
    assert isinstance(terms, Terms)
    assert np.column_stack([terms @ unit for unit in np.eye(6)]) == pytest.approx(hessian, abs=1e-12)
    assert terms.diagonal() == pytest.approx(hessian.diagonal(), abs=1e-12)
    assert listed.spread(prices, 0.1).diagonal() == pytest.approx(np.diag(spread), abs=1e-12)


def test_a_listed_quadratic_has_the_minimum_of_the_dense_one() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 30)) * (rng.random((60, 30)) < 0.3)
    rows /= np.linalg.norm(rows, axis=0)
    hessian, gradient = rows.T @ rows + 1e-3 * np.eye(30), rng.normal(size=30)
    low, high = -rng.random(30) * (rng.random(30) < 0.8), rng.random(30)
    exact = minimise_quadratic(hessian, gradient, low, high)
    near = minimise_listed(Terms(sp.csr_array(rows), np.ones(60), 1e-3), gradient, low, high)
    assert (near >= low).all() and (near <= high).all()
    models = [gradient @ x + 0.5 * x @ hessian @ x for x in (exact, near)]
    assert models[1] == pytest.approx(models[0], rel=1e-5)


def test_what_offers_use_of_limits_is_what_the_limits_say() -> None:
    piece = overlapping()
    offer, limits = np.array([0, 4, 17, 100]), np.array([0, 1, 3, 5])
    uses = limit_matrix(piece.shard, piece.folding, offer, limits).toarray()
    for position, e in enumerate(offer.tolist()):
        user, coupon = divmod(e, 3)
        for row, r in enumerate(limits.tolist()):
            fold = piece.folding
            if r in fold.wide:
                covered = fold.wide_coupons.toarray()[list(fold.wide).index(r), coupon] > 0
            else:
                j = list(fold.narrow).index(r)
                covered = fold.groups[j, piece.shard.group[user]] * fold.classes[j, fold.class_of[coupon]] > 0
            number = 1.0 if fold.weights[r, -1] else piece.shard.cost[e]
            assert uses[row, position] == (number if covered else 0.0)
