"""Implicit matrix factorisation by alternating least squares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from numba import prange
from scipy import sparse

from cf.compiling import njit
from cf.errors import UsageError
from cf.ids import Ids
from cf.interactions import Interactions, Weighting
from cf.model import Numbers, Reason, Scores, at_least_one, popularity_of
from cf.neighbours.nearest import csr, pointers
from cf.progress import Progress, silent

Factors = npt.NDArray[np.float32]


@njit(nogil=True, cache=True, parallel=True, fastmath=True)
def solve_rows(indptr, indices, weights, gram, other, steps, out):  # type: ignore[no-untyped-def]
    """Improve each row's factors by conjugate gradients on its normal equations, from where they are.

    (Y'Y + penalty I + sum w y y') x = sum (1 + w) y over the row's entries; `gram` holds Y'Y + penalty I.
    """
    f = gram.shape[0]
    for u in prange(indptr.size - 1):
        low, high = indptr[u], indptr[u + 1]
        x = out[u]
        if low == high:
            x[:] = 0.0
            continue
        r = -(gram @ x)
        for p in range(low, high):
            y = other[indices[p]]
            dot = np.float32(0.0)
            for j in range(f):
                dot += y[j] * x[j]
            scale = 1.0 + weights[p] - weights[p] * dot
            for j in range(f):
                r[j] += scale * y[j]
        d = r.copy()
        rr = np.dot(r, r)
        for _ in range(steps):
            if rr < 1e-12:
                break
            q = gram @ d
            for p in range(low, high):
                y = other[indices[p]]
                dot = np.float32(0.0)
                for j in range(f):
                    dot += y[j] * d[j]
                dot *= weights[p]
                for j in range(f):
                    q[j] += dot * y[j]
            step = rr / np.dot(d, q)
            for j in range(f):
                x[j] += step * d[j]
                r[j] -= step * q[j]
            fresh = np.dot(r, r)
            ratio = fresh / rr
            for j in range(f):
                d[j] = r[j] + ratio * d[j]
            rr = fresh


@dataclass(frozen=True)
class Als:
    """Factors x_u, y_i that minimise sum (1 + w) (p - x'y)^2 + penalty (|x|^2 + |y|^2), p = 1 where there is an event.

    Hu, Koren & Volinsky, *Collaborative filtering for implicit feedback datasets*, ICDM 2008, doi:10.1109/ICDM.2008.22;
    solved by conjugate gradients as in Takács, Pilászy & Tikk, RecSys 2011, doi:10.1145/2043932.2043987. A user of any
    history gets factors from that history (fold-in), solved to the end.
    """

    factors: int = 64
    penalty: float = 30.0
    confidence: float = 5.0
    passes: int = 12
    seed: int = 0
    weighting: Weighting = field(default_factory=lambda: Weighting(half_life=180.0, repeats="log"))

    def __post_init__(self) -> None:
        at_least_one(factors=self.factors, passes=self.passes)
        if not (0 < self.penalty < np.inf and 0 < self.confidence < np.inf):
            raise UsageError(f"penalty and confidence must be above 0; got {self.penalty} and {self.confidence}")

    def fit(self, interactions: Interactions, progress: Progress = silent) -> AlsModel:
        """Alternate between users and items."""
        rows = csr(interactions.matrix(self.weighting) * self.confidence)
        columns = csr(rows.T)
        rng = np.random.default_rng(self.seed)
        scale = 0.1 / np.sqrt(self.factors)
        users = rng.normal(0.0, scale, (rows.shape[0], self.factors)).astype(np.float32)
        items = rng.normal(0.0, scale, (rows.shape[1], self.factors)).astype(np.float32)
        for done in range(self.passes):
            solve_rows(*pointers(rows), self._gram(items), items, 3, users)
            solve_rows(*pointers(columns), self._gram(users), users, 3, items)
            progress("ALS", done + 1, self.passes)
        return AlsModel(interactions.items, popularity_of(interactions), self, items)

    def _gram(self, factors: Factors) -> Factors:
        return (factors.T @ factors + self.penalty * np.identity(self.factors)).astype(np.float32)


@dataclass(frozen=True)
class AlsModel:
    """`factors`: `(items, factors)`."""

    items: Ids
    popularity: npt.NDArray[np.float32]
    parameters: Als
    factors: Factors

    def _weights(self, history: Interactions, users: Numbers) -> sparse.csr_matrix:
        return csr(history.only(users).matrix(self.parameters.weighting) * self.parameters.confidence)

    def users(self, history: Interactions, users: Numbers) -> Factors:
        """Return the factors of users of any history, `(len(users), factors)`; zeros for those without events."""
        rows = self._weights(history, users)
        out = np.zeros((len(users), self.parameters.factors), np.float32)
        solve_rows(*pointers(rows), self.parameters._gram(self.factors), self.factors, 2 * self.parameters.factors, out)
        return out

    def scores(self, history: Interactions, users: Numbers) -> Scores:
        """Return x'y."""
        return self.users(history, users) @ self.factors.T

    def reasons(self, history: Interactions, user: int, item: int) -> Sequence[Reason]:
        """Return (1 + w) y_i' W y_j for each item j of the user, W being the inverse: Hu et al., section 5."""
        row = self._weights(history, np.array([user]))
        if not row.nnz:
            return []
        held = self.factors[row.indices].astype(np.float64)
        system = self.parameters._gram(self.factors) + held.T @ (row.data[:, None] * held)
        parts = (1.0 + row.data) * (held @ np.linalg.solve(system, self.factors[item].astype(np.float64)))
        return [Reason("item", self.items.values[j], float(p)) for j, p in zip(row.indices, parts, strict=True)]

    def similar(self, items: Numbers) -> npt.NDArray[np.float32]:
        """Return cosines between the factors of these and all items, `(len(items), items)`."""
        length = np.maximum(np.linalg.norm(self.factors, axis=1), 1e-12)
        unit = self.factors / length[:, None]
        return unit[items] @ unit.T
