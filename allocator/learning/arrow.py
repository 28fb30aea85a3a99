"""Symmetric systems that couple a few shared unknowns with one block for each coupon, and no two blocks with each other.

Eliminating the blocks (Schur complement: Golub and Van Loan 2013, section 4.3) takes time in proportion to their number,
where the whole system would take its cube. Blocks and complement are positive definite as the system is, so each is
factored by Cholesky, once for all that is asked of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular


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

    @cached_property
    def _lower(self) -> list[np.ndarray]:
        """L of each block L L'; raises `numpy.linalg.LinAlgError` where one is not positive definite."""
        return [cholesky(block, lower=True, check_finite=False) for block in self.blocks]

    @cached_property
    def _halves(self) -> list[np.ndarray]:
        """L^-1 side `(q, p)` of each block: the products of a half with itself are symmetric, which halves the work."""
        return [_under(lower, side) for lower, side in zip(self._lower, self.side, strict=True)]

    @cached_property
    def _complement(self) -> np.ndarray:
        """Cholesky factor `(p, p)` of what is left of the shared unknowns' part when the blocks are eliminated."""
        return cholesky(self.top - sum(half.T @ half for half in self._halves), lower=True, check_finite=False)

    def solve(self, right: np.ndarray) -> np.ndarray:
        """Return the solution of a right-hand side `(p + K q,)`, shared unknowns first."""
        p = len(self.top)
        own = [
            _under(lower, part) for lower, part in zip(self._lower, right[p:].reshape(self.side.shape[:2]), strict=True)
        ]
        left = right[:p] - sum(half.T @ part for half, part in zip(self._halves, own, strict=True))
        shared = cho_solve((self._complement, True), left, check_finite=False)
        return np.concatenate(
            [shared]
            + [
                solve_triangular(lower, part - half @ shared, trans=1, lower=True, check_finite=False)
                for lower, half, part in zip(self._lower, self._halves, own, strict=True)
            ]
        )

    def inverse_diagonal(self) -> np.ndarray:
        """Return the diagonal of the inverse `(p + K q,)`: variances, where this is an information matrix."""
        shared = _under(self._complement, np.eye(len(self.top)))
        parts = [_squares(shared)]
        for lower, half in zip(self._lower, self._halves, strict=True):
            inverse = _under(lower, np.eye(len(lower)))
            # The block's own B^-1 = (L^-1)' L^-1, and what not knowing the shared unknowns adds: of (C^-1 half' L^-1).
            parts.append(_squares(inverse) + _squares(_under(self._complement, half.T @ inverse)))
        return np.concatenate(parts)


def _under(lower: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.asarray(solve_triangular(lower, right, lower=True, check_finite=False))


def _squares(matrix: np.ndarray) -> np.ndarray:
    """Sum of the squares of each column."""
    return np.asarray(np.einsum("ij,ij->j", matrix, matrix))
