"""Symmetric systems that couple a few shared unknowns with one block for each coupon, and no two blocks with each other.

Eliminating the blocks (Schur complement: Golub and Van Loan 2013, section 4.3) takes time in proportion to their number,
where the whole system would take its cube.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Arrow:
    """`[[top, side'], [side, diag(blocks)]]`, positive definite.

    Attributes
    ----------
    top
        `(p, p)` float64.
    side
        `(K, q, p)` of each block with the shared unknowns.
    blocks
        `(K, q, q)`.
    """

    top: np.ndarray
    side: np.ndarray
    blocks: np.ndarray

    def solve(self, right: np.ndarray) -> np.ndarray:
        """Return the solution of a right-hand side `(p + K q,)`, shared unknowns first."""
        p = len(self.top)
        own = right[p:].reshape(self.side.shape[:2])
        reduced = np.linalg.solve(self.blocks, np.concatenate([self.side, own[:, :, None]], axis=2))
        schur = self.top - np.einsum("kqp,kqr->pr", self.side, reduced[:, :, :p], optimize=True)
        shared = np.linalg.solve(schur, right[:p] - np.einsum("kqp,kq->p", self.side, reduced[:, :, p]))
        return np.concatenate([shared, (reduced[:, :, p] - reduced[:, :, :p] @ shared).ravel()])

    def inverse_diagonal(self) -> np.ndarray:
        """Return the diagonal of the inverse `(p + K q,)`: variances, where this is an information matrix."""
        inverse = np.linalg.inv(self.blocks)
        reduced = inverse @ self.side
        shared = np.linalg.inv(self.top - np.einsum("kqp,kqr->pr", self.side, reduced, optimize=True))
        own = np.diagonal(inverse, axis1=1, axis2=2) + ((reduced @ shared) * reduced).sum(axis=2)
        return np.concatenate([np.diag(shared), own.ravel()])
