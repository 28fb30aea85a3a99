"""Linear algebra of relevance: singular vectors of a sparse matrix, and ridge regression."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import linalg, sparse

Floats = npt.NDArray[np.float32]
FACTORS = 64


def orthonormal(basis: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return an orthonormal basis of the columns' span, by the Cholesky factor of their (small) Gram matrix."""
    tall = np.asarray(basis, np.float64)
    gram = tall.T @ tall
    gram[np.diag_indices_from(gram)] += 1e-10 * max(np.trace(gram), 1e-30)
    return np.asarray(linalg.solve_triangular(np.linalg.cholesky(gram), tall.T, lower=True).T)


def decomposed(profile: sparse.csr_matrix, seed: int) -> Floats:
    """Return the leading right singular vectors of the profiles, `(items, factors)`, by randomised range finding.

    Halko, Martinsson & Tropp 2011, doi:10.1137/090771806, algorithm 4.4 with two power steps.
    """
    held = np.flatnonzero(np.bincount(profile.indices, minlength=profile.shape[1]))
    factors = np.zeros((profile.shape[1], FACTORS), np.float32)
    if not held.size:
        return factors
    table = profile[:, held]
    size = min(FACTORS, *table.shape)
    width = min(size + 8, *table.shape)
    basis = orthonormal(table @ np.random.default_rng(seed).normal(size=(held.size, width)).astype(np.float32))
    for _ in range(2):
        basis = orthonormal(table @ orthonormal(table.T @ basis.astype(np.float32)).astype(np.float32))
    small = table.T @ basis.astype(np.float32)
    value, vector = np.linalg.eigh((small.T @ small).astype(np.float64))
    order = np.argsort(-value)[:size]
    right = small @ vector[:, order] / np.sqrt(np.maximum(value[order], 1e-12))
    factors[held, :size] = right
    return factors


def ridge(inputs: Floats, targets: Floats, penalty: float) -> Floats:
    """Return the weights of a ridge regression, `(inputs, targets)`; `penalty` is in rows' worth of each input's square."""
    gram = (inputs.T @ inputs).astype(np.float64)
    gram[np.diag_indices_from(gram)] += penalty * np.maximum(np.diag(gram) / max(len(inputs), 1), 1e-6)
    return np.asarray(linalg.solve(gram, (inputs.T @ targets).astype(np.float64), assume_a="pos"), np.float32)
