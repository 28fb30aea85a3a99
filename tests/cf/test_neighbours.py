"""Neighbours against plain dense arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from cf.errors import UsageError
from cf.neighbours import BM25, Cosine, Pearson, TfIdf, nearest, neighbours
from cf.neighbours.nearest import csr


def dense_similarity(x: np.ndarray, pearson: bool, shrinkage: float) -> np.ndarray:
    centred = x - x.mean(axis=1, keepdims=True) if pearson else x
    length = np.linalg.norm(centred, axis=1)
    length[x.std(axis=1) < 1e-9 if pearson else length == 0] = np.inf
    similar = centred @ centred.T / np.outer(length, length)
    common = (x != 0).astype(float) @ (x != 0).T
    similar *= common / np.maximum(common + shrinkage, 1e-12)
    np.fill_diagonal(similar, 0.0)
    return similar * (common > 0)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 100_000), st.booleans(), st.sampled_from([0.0, 3.0]), st.integers(1, 12))
def test_neighbours_are_those_of_the_plain_formula(seed: int, pearson: bool, shrinkage: float, k: int) -> None:
    rng = np.random.default_rng(seed)
    x = np.where(rng.random((9, 14)) < 0.4, rng.integers(1, 5, (9, 14)), 0).astype(np.float64)
    found = neighbours(csr(sparse.csr_matrix(x)), Pearson(shrinkage) if pearson else Cosine(shrinkage), k)
    expected = dense_similarity(x, pearson, shrinkage)
    for row in range(len(x)):
        positive = np.sort(expected[row][expected[row] > 1e-6])[::-1][:k]
        part = found.data[found.indptr[row] : found.indptr[row + 1]]
        column = found.indices[found.indptr[row] : found.indptr[row + 1]]
        real = part > 1e-6
        assert np.allclose(part[real], positive, atol=1e-5)
        assert np.allclose(part, expected[row, column], atol=1e-5)
        assert (np.diff(part) <= 0).all()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 100_000),
    st.booleans(),
    st.sampled_from([0.0, 3.0]),
    st.sampled_from([0, 1, -2]),
    st.floats(0.05, 0.9),
)
def test_pairs_met_once_give_what_every_product_gives(
    seed: int, pearson: bool, shrinkage: float, least: int, dense: float
) -> None:
    """Weights of 0 or below, ties and crowded rows included; and where there is no room for heaps of all rows."""
    rng = np.random.default_rng(seed)
    x = csr(sparse.random(25, 30, dense, random_state=rng, data_rvs=lambda n: rng.integers(least, 4, n).astype(float)))
    similarity = Pearson(shrinkage) if pearson else Cosine(shrinkage)
    found = neighbours(x, similarity, 5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest, "HEAPS", 0)
        other = neighbours(x, similarity, 5)
    for name in ("indptr", "indices", "data"):
        assert np.array_equal(getattr(found, name), getattr(other, name))


def test_best_of_a_product_with_negative_weights_are_its_largest_above_zero() -> None:
    rng = np.random.default_rng(3)
    left, right = (
        np.where(rng.random((40, 40)) < 0.3, rng.normal(size=(40, 40)), 0.0).astype(np.float32) for _ in range(2)
    )
    found = nearest.best_of_product(csr(sparse.csr_matrix(left)), csr(sparse.csr_matrix(right)), 6)
    expected = np.sort(np.maximum(left @ right, 0.0), axis=1)[:, ::-1][:, :6]
    for row in range(40):
        part = found.data[found.indptr[row] : found.indptr[row + 1]]
        assert np.allclose(part, expected[row, : part.size], atol=1e-5)
        assert np.allclose(expected[row, part.size :], 0.0, atol=1e-5)


def test_reweightings_follow_their_formulas() -> None:
    x = np.array([[1.0, 4.0, 0.0], [2.0, 0.0, 0.0], [1.0, 0.0, 9.0], [3.0, 0.0, 0.0]])
    rare = np.maximum(np.log(4) - np.log1p([4, 1, 1]), 0.0)
    assert np.allclose(TfIdf().apply(sparse.csr_matrix(x)).toarray(), np.sqrt(x) * rare)
    length = x.sum(axis=1, keepdims=True)
    damped = 1.2 * (1 - 0.75 + 0.75 * length / length.mean())
    assert np.allclose(BM25().apply(sparse.csr_matrix(x)).toarray(), x * 2.2 / (x + damped) * rare)


def test_wrong_parameters_are_refused() -> None:
    with pytest.raises(UsageError, match="shrinkage"):
        Cosine(-1.0)
    with pytest.raises(UsageError, match="k1"):
        BM25(b=2.0)
