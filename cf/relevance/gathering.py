"""Sums over events, profiles and shares: what crowds and features are made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from cf.interactions import Interactions, Weighting
from cf.neighbours.nearest import csr
from cf.relevance import kernels
from cf.relevance.scopes import Scopes

Floats = npt.NDArray[np.float32]
GROUP_PRIOR = 10.0  # users' worth of the rate of all scopes that a group of a scope's users is drawn to
PROFILE = Weighting(half_life=180.0)


@dataclass(frozen=True)
class Sums:
    """Sums over events, as `cf.relevance.kernels.gather` fills them: `(users, scopes, PAIR)` and `(users, USER)`."""

    pair: Floats
    user: Floats


def sums(history: Interactions, scopes: Scopes) -> Sums:
    """Gather the sums of every user of a history, as of its `now`."""
    pair = np.zeros((history.n_users, len(scopes), kernels.PAIR), np.float32)
    user = np.zeros((history.n_users, kernels.USER), np.float32)
    money = history.money if history.money is not None else np.zeros(0, np.float32)
    covers = scopes.covers
    kernels.gather(
        history.start[:-1],
        history.start[1:],
        history.item,
        history.time,
        money,
        covers.indptr.astype(np.int64),
        covers.indices.astype(np.int32),
        len(scopes),
        history.now,
        pair,
        user,
    )
    return Sums(pair, user)


def outcomes(later: Interactions, scopes: Scopes) -> tuple[npt.NDArray[np.bool_], Floats]:
    """Return whether and for how much each user buys from each scope in these interactions, `(users, scopes)`."""
    bought = np.zeros((later.n_users, len(scopes)), bool)
    spent = np.zeros((later.n_users, len(scopes)), np.float32)
    money = later.money if later.money is not None else np.zeros(0, np.float32)
    covers = scopes.covers
    kernels.outcomes(
        later.start[:-1],
        later.start[1:],
        later.item,
        money,
        covers.indptr.astype(np.int64),
        covers.indices.astype(np.int32),
        bought,
        spent,
    )
    return bought, spent


def odds_within(group: npt.NDArray[np.bool_], bought: npt.NDArray[np.bool_]) -> Floats:
    """Return the log-odds of buying among a group of each scope's users, drawn to that of all scopes; `(scopes,)`."""
    size, buyers = group.sum(axis=0), (bought & group).sum(axis=0)
    everyone = (buyers.sum() + 0.5) / (size.sum() + 1.0)
    share = (buyers + GROUP_PRIOR * everyone) / (size + GROUP_PRIOR)
    return np.asarray(np.log(share / (1.0 - share)), np.float32)


def unit_rows(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return rows of length 1."""
    length = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    scale = np.divide(1.0, length, out=np.zeros_like(length), where=length > 0)
    return csr(sparse.diags(scale.astype(np.float32)) @ matrix)


def profile_of(history: Interactions, rare: npt.NDArray[np.float64]) -> sparse.csr_matrix:
    """Return users' TF-IDF profiles of length 1, `(users, items)`."""
    matrix = history.matrix(PROFILE)
    weights = np.log1p(3.0 * matrix.data) * rare[matrix.indices]
    return unit_rows(sparse.csr_matrix((weights.astype(np.float32), matrix.indices, matrix.indptr), shape=matrix.shape))
