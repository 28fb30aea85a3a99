"""Linear algebra of relevance: singular vectors of a sparse matrix, and logistic regression of many targets at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import linalg, sparse

Floats = npt.NDArray[np.float32]
FACTORS = 64
DIRECTIONS = 128  # of the inputs of a logistic regression that are looked at, where there are many more
DIRECTION_ROWS = 4_000  # that these directions are taken from
STEPS = 10
BLOCK = 2_048  # rows
MOST_ODDS = 60.0  # whose exponential 32 bits hold
CURVATURE = 0.15  # of the log-loss, p (1 - p) of the middling: at most 0.25, and less where purchases are rare


def orthonormal(basis: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return an orthonormal basis of the columns' span, by the Cholesky factor of their (small) Gram matrix."""
    tall = np.asarray(basis, np.float64)
    gram = tall.T @ tall
    gram[np.diag_indices_from(gram)] += 1e-10 * max(np.trace(gram), 1e-30)
    return np.asarray(linalg.solve_triangular(np.linalg.cholesky(gram), tall.T, lower=True).T)


def range_of(table: sparse.csr_matrix | Floats, size: int, seed: int) -> npt.NDArray[np.float32]:
    """Return an orthonormal basis near the span of the leading left singular vectors, `(rows, size + 8)` or narrower.

    Halko, Martinsson & Tropp 2011, doi:10.1137/090771806, algorithm 4.4 with two power steps.
    """
    width = min(size + 8, *table.shape)
    basis = orthonormal(table @ np.random.default_rng(seed).normal(size=(table.shape[1], width)).astype(np.float32))
    for _ in range(2):
        basis = orthonormal(table @ orthonormal(table.T @ basis.astype(np.float32)).astype(np.float32))
    return basis.astype(np.float32)


def decomposed(profile: sparse.csr_matrix, seed: int) -> Floats:
    """Return the leading right singular vectors of the profiles, `(items, factors)`, by randomised range finding."""
    held = np.flatnonzero(np.bincount(profile.indices, minlength=profile.shape[1]))
    factors = np.zeros((profile.shape[1], FACTORS), np.float32)
    if not held.size:
        return factors
    table = profile[:, held]
    size = min(FACTORS, *table.shape)
    small = table.T @ range_of(table, size, seed)
    value, vector = np.linalg.eigh((small.T @ small).astype(np.float64))
    order = np.argsort(-value)[:size]
    right = small @ vector[:, order] / np.sqrt(np.maximum(value[order], 1e-12))
    factors[held, :size] = right
    return factors


def affine(inputs: Floats, weights: Floats) -> Floats:
    """Return inputs times weights plus the last row; zeros where there was too little to learn weights from."""
    if not len(weights):
        return np.zeros((len(inputs), weights.shape[1]), np.float32)
    return np.asarray(inputs @ weights[:-1] + weights[-1], np.float32)


def excess(table: Floats, targets: npt.NDArray[np.bool_], weights: Floats, base: Floats) -> tuple[Floats, Floats]:
    """Return the inputs' products with what is foretold too much, `(inputs, targets)`, and its sums, `(targets,)`.

    A block of rows at a time, that stays in the nearest caches through all steps.
    """
    slope, total = np.zeros_like(weights), np.zeros_like(base)
    for begin in range(0, len(table), BLOCK):
        rows = table[begin : begin + BLOCK]
        wrong = rows @ weights
        wrong += base
        np.clip(wrong, -MOST_ODDS, MOST_ODDS, out=wrong)
        np.negative(wrong, out=wrong)
        np.exp(wrong, out=wrong)
        wrong += 1.0
        np.reciprocal(wrong, out=wrong)
        wrong -= targets[begin : begin + BLOCK]
        slope += rows.T @ wrong
        total += wrong.sum(axis=0)
    return slope, total


def logistic(inputs: Floats, targets: npt.NDArray[np.bool_], penalty: float) -> Floats:
    """Return ridge logistic regressions of many targets on the same inputs, `(inputs + 1, targets)`, intercepts last.

    The penalty is on the squared weights of inputs brought to mean 0 and deviation 1. All targets share one curvature, so
    that a step is two matrix products and one solution with a factor computed once, as in the bound of Böhning & Lindsay
    1988, doi:10.1007/BF00049423. Theirs is 0.25; `CURVATURE` is nearer the truth for rare purchases, and as more than half
    of theirs it shrinks the error in every direction too. Where there are many inputs, only their leading principal
    directions are looked at.
    """
    middle, scale = inputs.mean(axis=0), inputs.std(axis=0) + np.float32(1e-6)
    table = (inputs - middle) / scale
    turn = None
    if table.shape[1] > 2 * DIRECTIONS and len(table) > DIRECTIONS:
        some = table[:: max(1, len(table) // DIRECTION_ROWS)]
        turn = range_of(some.T, DIRECTIONS, 0)
        table = table @ turn
    curvature = CURVATURE * (table.T @ table).astype(np.float64)
    curvature[np.diag_indices_from(curvature)] += penalty
    factor = linalg.cho_factor(curvature, check_finite=False)
    share = (targets.sum(axis=0) + 0.5) / (len(targets) + 1.0)
    base = np.log(share / (1.0 - share)).astype(np.float32)
    weights = np.zeros((table.shape[1], targets.shape[1]), np.float32)
    for _ in range(STEPS):
        slope, total = excess(table, targets, weights, base)
        weights -= linalg.cho_solve(factor, slope + np.float32(penalty) * weights, check_finite=False).astype(
            np.float32
        )
        base -= total / np.float32(CURVATURE * len(table))
    whole = (weights if turn is None else turn @ weights) / scale[:, None]
    return np.concatenate([whole, (base - middle @ whole)[None]]).astype(np.float32)
