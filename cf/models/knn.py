"""Item-based and user-based collaborative filtering: exact nearest neighbours of items, and of users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy import sparse

from cf.ids import Ids
from cf.interactions import Interactions, Weighting
from cf.model import Numbers, Reason, Scores, Sums, at_least_one, item_reasons, not_negative, popularity_of
from cf.neighbours import Cosine, Plain, Reweighting, Similarity, TfIdf, best_of_product, neighbours
from cf.neighbours.nearest import csr
from cf.neighbours.similarity import Terms
from cf.progress import Progress, silent


@dataclass(frozen=True)
class ItemKNN:
    """score(u, i) = sum over the user's items j of w(u, j) (own [i = j] + s(j, i)), i being among the k nearest of j.

    s(j, i) = sim(j, i) / sum over the k nearest of j, so that each item of the user passes on as much as any other: without
    that, those with many near items outweigh what the user has. Sarwar et al., WWW 2001, doi:10.1145/371920.372071;
    the normalisation: Deshpande & Karypis, *Item-based top-N recommendation algorithms*, TOIS 2004,
    doi:10.1145/963770.963776.

    Attributes
    ----------
    k
        Neighbours of an item.
    own
        What an item counts for itself, its neighbours counting 1 together: 0 leaves out what the user had, unless its
        neighbours speak for it. Where users come back for the same things, a little above 1 is best.
    normalised
        Whether neighbours' similarities are made to sum to 1; else s = sim.
    weighting, reweighting
        Weights of the pairs, and what is made of them before similarities are taken.
    """

    similarity: Similarity = field(default_factory=lambda: Cosine(shrinkage=20.0))
    k: int = 100
    own: float = 4.0
    normalised: bool = True
    weighting: Weighting = field(default_factory=lambda: Weighting(half_life=90.0))
    reweighting: Reweighting = field(default_factory=Plain)

    def __post_init__(self) -> None:
        at_least_one(k=self.k)
        not_negative(own=self.own)

    def fit(self, interactions: Interactions, progress: Progress = silent) -> ItemKNNModel:
        """Find every item's neighbours."""
        columns = csr(self.reweighting.apply(interactions.matrix(self.weighting)).T)
        near = neighbours(columns, self.similarity, self.k, progress)
        shares = unit_sums(near) if self.normalised else near
        spread = shares if self.own == 0 else shares + self.own * sparse.identity(near.shape[0], np.float32, "csr")
        return ItemKNNModel(interactions.items, popularity_of(interactions), self.weighting, csr(near), csr(spread))


def unit_sums(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """Scale each row to sum to 1; a row of zeros stays."""
    total = np.asarray(matrix.sum(axis=1)).ravel()
    scale = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
    return csr(sparse.diags(scale.astype(np.float32)) @ matrix)


@dataclass(frozen=True)
class ItemKNNModel:
    """`near`: `(items, items)`, similarities; `spread`: what scores are made of, each item's own weight included."""

    items: Ids
    popularity: npt.NDArray[np.float32]
    weighting: Weighting
    near: sparse.csr_matrix
    spread: sparse.csr_matrix

    def product(self, history: Interactions, users: Numbers) -> Sums:
        """Return the users' weights and the similarities."""
        return Sums(history.only(users).matrix(self.weighting), self.spread)

    def scores(self, history: Interactions, users: Numbers) -> Scores:
        """Return weights times similarities."""
        factors = self.product(history, users)
        return (factors.left @ factors.right).toarray()

    def reasons(self, history: Interactions, user: int, item: int) -> Sequence[Reason]:
        """Return the user's items that are near."""
        column = self.spread[:, [item]].toarray().ravel()
        return item_reasons(self.items, self.product(history, np.array([user])).left, column)

    def similar(self, items: Numbers) -> sparse.csr_matrix:
        """Return the nearest items of each of these, `(len(items), items)`."""
        return self.near[items]


@dataclass(frozen=True)
class UserKNN:
    """score(u, i) = sum over the k users v nearest to u of sim(u, v) w(v, i) / sum of sim, plus `own` w(u, i).

    Resnick et al., *GroupLens*, CSCW 1994, doi:10.1145/192844.192905, without the means of ratings, which implicit data lack.

    Attributes
    ----------
    k
        Neighbours of a user.
    own
        What the user's own weights count beside the neighbours' mean: 0 leaves out what the user had, unless neighbours
        speak for it.
    weighting, reweighting
        Weights of the pairs, which scores are made of, and what is made of them before similarities are taken.
    """

    similarity: Similarity = field(default_factory=Cosine)
    k: int = 100
    own: float = 2.0
    weighting: Weighting = field(default_factory=lambda: Weighting(half_life=90.0))
    reweighting: Reweighting = field(default_factory=TfIdf)

    def __post_init__(self) -> None:
        at_least_one(k=self.k)
        not_negative(own=self.own)

    def fit(self, interactions: Interactions, progress: Progress = silent) -> UserKNNModel:
        """Keep everyone's weights; neighbours are found when a user asks."""
        weights = interactions.matrix(self.weighting)
        profile = csr(self.reweighting.apply(weights))
        terms = self.similarity.terms(profile)
        return UserKNNModel(
            interactions.items,
            popularity_of(interactions),
            self,
            interactions.users,
            csr(weights),
            csr(profile.T),
            terms,
        )


@dataclass(frozen=True)
class UserKNNModel:
    """`weights`: `(users, items)`; `profiles`: reweighted, `(items, users)`."""

    items: Ids
    popularity: npt.NDArray[np.float32]
    parameters: UserKNN
    users: Ids
    weights: sparse.csr_matrix
    profiles: sparse.csr_matrix
    terms: Terms

    def neighbours_of(self, history: Interactions, users: Numbers) -> sparse.csr_matrix:
        """Return the shares of the nearest users, `(len(users), fitted users)`; a user is no neighbour of itself."""
        rule = self.parameters
        chosen = history.only(users)
        asked = csr(rule.reweighting.apply(chosen.matrix(rule.weighting), self.weights))
        near = best_of_product(
            asked,
            self.profiles,
            rule.k,
            left_terms=rule.similarity.terms(asked),
            right_terms=self.terms,
            shrinkage=rule.similarity.shrinkage,
            own=self.users.find(chosen.users.values) if len(self.users) else None,
        )
        return unit_sums(near)

    def product(self, history: Interactions, users: Numbers) -> Sums:
        """Return neighbours' shares (beside the users' own weights) and everyone's weights."""
        near = self.neighbours_of(history, users)
        if self.parameters.own == 0:
            return Sums(near, self.weights)
        own = self.parameters.own * history.only(users).matrix(self.parameters.weighting)
        everything = sparse.vstack([self.weights, sparse.identity(len(self.items), np.float32)], format="csr")
        return Sums(csr(sparse.hstack([near, own])), csr(everything))

    def scores(self, history: Interactions, users: Numbers) -> Scores:
        """Return the neighbours' weighted mean, and one's own weights."""
        factors = self.product(history, users)
        return (factors.left @ factors.right).toarray()

    def reasons(self, history: Interactions, user: int, item: int) -> Sequence[Reason]:
        """Return the neighbours who have the item, and the item itself where one's own weights count."""
        near = self.neighbours_of(history, np.array([user]))
        parts = near.data * self.weights[near.indices, :][:, [item]].toarray().ravel()
        found = [Reason("user", self.users.values[v], float(p)) for v, p in zip(near.indices, parts, strict=True) if p]
        own = self.parameters.own * history.only(np.array([user])).matrix(self.parameters.weighting)[0, item]
        return [*found, Reason("item", self.items.values[item], float(own))] if own else found
