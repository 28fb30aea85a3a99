"""TIFU-kNN: how often and how lately a user had each item, and the same of the users most like it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt
from numba import prange
from scipy import sparse

from cf.compiling import njit
from cf.errors import UsageError
from cf.ids import Ids
from cf.interactions import Interactions
from cf.model import Numbers, Reason, Scores, Sums, at_least_one, popularity_of
from cf.neighbours import kernels
from cf.neighbours.nearest import csr, pointers
from cf.progress import Progress, silent


@njit(nogil=True, cache=True, parallel=True)
def basket_weights(start, item, time, groups, within, across, out):  # type: ignore[no-untyped-def]
    """Fill each event's weight: Hu et al. 2020, equations 1 and 2. An item twice in one basket counts once.

    A user's n baskets form groups of ceil(n / groups), the earliest group being the smaller one. A basket that is p-th from
    its group's end, in the g-th group from the end, weighs within^p / (the group's size) x across^g / (number of groups).
    """
    for u in prange(start.size - 1):
        low, high = start[u], start[u + 1]
        baskets = 0
        for e in range(low, high):
            if e == low or time[e] != time[e - 1]:
                baskets += 1
        if not baskets:
            continue
        size = (baskets + groups - 1) // groups
        number = (baskets + size - 1) // size
        earliest = baskets - (number - 1) * size
        place = -1
        for e in range(high - 1, low - 1, -1):
            if e == high - 1 or time[e] != time[e + 1]:
                place += 1
            if e > low and time[e] == time[e - 1] and item[e] == item[e - 1]:
                out[e] = 0.0
                continue
            group = place // size
            members = size if group < number - 1 else earliest
            out[e] = within ** (place % size) / members * across**group / number


@dataclass(frozen=True)
class TifuKNN:
    """score(u, .) = alpha v_u + (1 - alpha) mean of v over the k users nearest to v_u (Euclidean distance).

    v_u sums the user's baskets, decayed within groups of baskets and across groups, so that lasting and late habits count
    apart: temporal item frequency. Hu et al., *Modeling personalized item frequency information for next-basket
    recommendation*, SIGIR 2020, doi:10.1145/3397271.3401066, equations 1 to 4. Events at one time are a basket, of whatever
    kind the events are; `Interactions.of_kind` narrows them. Neighbours are exact.

    Attributes
    ----------
    k
        Neighbours of a user.
    groups
        Groups that a user's baskets form at most.
    within, across
        Decay from one basket to the one before it in the group, and from one group to the one before it.
    alpha
        Weight of the user's own vector.
    """

    k: int = 300
    groups: int = 7
    within: float = 0.9
    across: float = 0.7
    alpha: float = 0.7

    def __post_init__(self) -> None:
        at_least_one(k=self.k, groups=self.groups)
        for name in ("within", "across", "alpha"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} lies between 0 and 1; got {getattr(self, name)}")

    def vectors(self, history: Interactions) -> sparse.csr_matrix:
        """Return the users' vectors, `(users, items)`."""
        weights = np.empty(len(history), np.float32)
        basket_weights(history.start, history.item, history.time, self.groups, self.within, self.across, weights)
        made = sparse.csr_matrix(
            (weights, history.item.copy(), history.start), shape=(history.n_users, history.n_items)
        )
        return csr(made)

    def fit(self, interactions: Interactions, progress: Progress = silent) -> TifuKNNModel:
        """Keep the vectors of everyone who has any; neighbours are found when a user asks."""
        progress("TIFU-kNN", 0, 1)
        known = interactions.only(np.flatnonzero(np.diff(interactions.start)))
        vectors = self.vectors(known)
        square = np.asarray(vectors.multiply(vectors).sum(axis=1), np.float64).ravel()
        progress("TIFU-kNN", 1, 1)
        return TifuKNNModel(
            interactions.items, popularity_of(interactions), self, known.users, vectors, csr(vectors.T), square
        )


@dataclass(frozen=True)
class TifuKNNModel:
    """`vectors`: `(users, items)`, of the fitted users; `columns`: the same transposed; `square`: their squared lengths."""

    items: Ids
    popularity: npt.NDArray[np.float32]
    parameters: TifuKNN
    users: Ids
    vectors: sparse.csr_matrix
    columns: sparse.csr_matrix
    square: npt.NDArray[np.float64]

    def neighbours_of(self, history: Interactions, users: Numbers) -> sparse.csr_matrix:
        """Return the nearest users' shares, `(len(users), fitted users)`; of users without events, none."""
        asked = history.only(users)
        return self._neighbours(asked, self.parameters.vectors(asked))

    def _neighbours(self, asked: Interactions, vectors: sparse.csr_matrix) -> sparse.csr_matrix:
        n, k = vectors.shape[0], self.parameters.k
        rows = np.flatnonzero(np.diff(vectors.indptr))
        indices, values = np.zeros((rows.size, k), np.int32), np.zeros((rows.size, k), np.float32)
        size = np.zeros(rows.size, np.int64)
        own = self.users.find(asked.users.values)[rows] if len(self.users) else np.full(rows.size, -1)
        kernels.nearest_points(
            np.arange(rows.size),
            *pointers(vectors[rows]),
            *pointers(self.columns),
            self.square,
            np.argsort(self.square, kind="stable"),
            own,
            numba.get_num_threads(),
            indices,
            values,
            size,
        )
        held = np.arange(k) < size[:, None]
        sizes = np.zeros(n, np.int64)
        sizes[rows] = size
        shares = np.repeat(1.0 / np.maximum(size, 1), size).astype(np.float32)
        start = np.concatenate([[0], np.cumsum(sizes)])
        return csr(sparse.csr_matrix((shares, indices[held], start), shape=(n, len(self.users))))

    def product(self, history: Interactions, users: Numbers) -> Sums:
        """Return neighbours' shares beside the users' own vectors, and everyone's vectors."""
        alpha = self.parameters.alpha
        asked = history.only(users)
        own = self.parameters.vectors(asked)
        near = self._neighbours(asked, own)
        everything = sparse.vstack([self.vectors, sparse.identity(len(self.items), np.float32)], format="csr")
        return Sums(csr(sparse.hstack([(1.0 - alpha) * near, alpha * own])), csr(everything))

    def scores(self, history: Interactions, users: Numbers) -> Scores:
        """Return the blend of the user's own vector and its neighbours' mean."""
        factors = self.product(history, users)
        return (factors.left @ factors.right).toarray()

    def reasons(self, history: Interactions, user: int, item: int) -> Sequence[Reason]:
        """Return the item itself, where the user has had it, and the neighbours who have."""
        alpha = self.parameters.alpha
        asked = history.only(np.array([user]))
        near = self.neighbours_of(history, np.array([user]))
        parts = (1.0 - alpha) * near.data * self.vectors[near.indices, :][:, [item]].toarray().ravel()
        found = [Reason("user", self.users.values[v], float(p)) for v, p in zip(near.indices, parts, strict=True) if p]
        own = alpha * self.parameters.vectors(asked)[0, item]
        return [Reason("item", self.items.values[item], float(own)), *found] if own else found
