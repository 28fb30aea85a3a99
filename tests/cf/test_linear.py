"""The linear algebra of relevance against plain references."""

from __future__ import annotations

import numpy as np
from scipy import optimize, sparse
from scipy.special import expit

from cf.relevance.linear import affine, decomposed, logistic


def test_logistic_regressions_of_many_targets_are_each_their_own_optimum() -> None:
    rng = np.random.default_rng(0)
    inputs = (rng.normal(size=(600, 5)) * [1.0, 3.0, 0.2, 1.0, 1.0] + [0.0, 5.0, 1.0, 0.0, 0.0]).astype(np.float32)
    slopes = rng.normal(size=(5, 3)) / np.array([[1.0], [3.0], [0.2], [1.0], [1.0]])
    targets = rng.random((600, 3)) < expit((inputs - inputs.mean(axis=0)) @ slopes + [-3.0, 0.0, 1.0])
    penalty = 30.0
    found = affine(inputs, logistic(inputs, targets, penalty))
    table = (inputs - inputs.mean(axis=0)) / inputs.std(axis=0)

    for number in range(3):
        bought = targets[:, number]

        def loss(weights: np.ndarray, bought: np.ndarray = bought) -> float:
            odds = table @ weights[:-1] + weights[-1]
            return float(np.logaddexp(0.0, odds).sum() - odds[bought].sum() + penalty / 2 * weights[:-1] @ weights[:-1])

        best = optimize.minimize(loss, np.zeros(6)).x
        assert np.abs(expit(found[:, number]) - expit(table @ best[:-1] + best[-1])).max() < 0.01


def test_many_inputs_are_read_through_their_leading_directions() -> None:
    rng = np.random.default_rng(1)
    hidden = rng.normal(size=(2_000, 4))
    inputs = (hidden @ rng.normal(size=(4, 300)) + 0.05 * rng.normal(size=(2_000, 300))).astype(np.float32)
    targets = rng.random((2_000, 2)) < expit(hidden[:, :2])
    found = affine(inputs, logistic(inputs, targets, 10.0))
    assert np.corrcoef(found[:, 0], hidden[:, 0])[0, 1] > 0.99
    assert np.corrcoef(found[:, 1], hidden[:, 1])[0, 1] > 0.99


def test_a_target_that_never_happens_and_inputs_that_never_vary_are_no_trouble() -> None:
    inputs = np.ones((50, 3), np.float32)
    weights = logistic(inputs, np.zeros((50, 2), bool), 1.0)
    assert (affine(inputs, weights) < -3.0).all()
    assert affine(inputs, np.zeros((0, 2), np.float32)).tolist() == [[0.0, 0.0]] * 50


def test_singular_vectors_span_what_a_dense_decomposition_spans() -> None:
    rng = np.random.default_rng(2)
    table = (rng.normal(size=(90, 3)) @ rng.normal(size=(3, 40))).astype(np.float32)
    found = decomposed(sparse.csr_matrix(table), 0)[:, :3]
    right = np.linalg.svd(table, full_matrices=False)[2][:3].T
    assert np.allclose(np.abs(found.T @ right), np.eye(3), atol=1e-3)
