"""The best N items for users of a history, for a basket, or beside an item."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from cf.errors import UsageError
from cf.events import Events
from cf.ids import Ids
from cf.interactions import Interactions
from cf.model import Model, Numbers, SparseModel, at_least_one
from cf.neighbours import best_of_product, kernels
from cf.neighbours.nearest import csr
from cf.progress import Progress, silent
from cf.recommending.diversity import Diversity

DENSE = 30_000_000  # scores of a block of users: 120 MB


@dataclass(frozen=True)
class Rules:
    """What may be recommended, and what must be.

    Attributes
    ----------
    exclude
        Ids of items never to recommend.
    only
        Ids of the only items to recommend.
    require
        Ids of items that come first, in this order, whatever their score.
    exclude_owned
        Leave out what the user has had already.
    diversity
        At most so many of one category.
    """

    exclude: npt.ArrayLike = ()
    only: npt.ArrayLike | None = None
    require: npt.ArrayLike = ()
    exclude_owned: bool = False
    diversity: Diversity | None = None


@dataclass(frozen=True)
class Recommendations:
    """The best items of each user, best first.

    Attributes
    ----------
    users
        `(n,)` ids of the users asked for.
    items
        `(n, N)` numbers into `catalogue`, -1 where there was nothing left to recommend.
    scores
        `(n, N)` float32; 0 or less for what only its popularity recommends; NaN beside -1.
    catalogue
        The ids behind the items' numbers.
    """

    users: npt.NDArray[Any]
    items: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float32]
    catalogue: Ids

    def ids(self, row: int = 0) -> npt.NDArray[Any]:
        """Return the ids recommended to one user, best first."""
        return self.catalogue.values[self.items[row][self.items[row] >= 0]]


def blocks(users: Numbers, width: int) -> Iterator[Numbers]:
    """Cut users into blocks whose dense scores fit `DENSE`."""
    size = max(1, DENSE // max(width, 1))
    for begin in range(0, users.size, size):
        yield users[begin : begin + size]


def recommend(
    model: Model,
    history: Interactions,
    users: npt.ArrayLike | None = None,
    n: int = 10,
    rules: Rules | None = None,
    progress: Progress = silent,
) -> Recommendations:
    """Return the best n items for users of a history.

    Users of whom the model knows nothing get what is popular, and so do those for whom it has fewer than n items. Memory
    is bounded by the number of items, not users; rows are ranked in parallel.

    Parameters
    ----------
    history
        Interactions with any users; items that the model does not know are passed over.
    users
        Ids of users of the history; all of them where left out.
    """
    at_least_one(n=n)
    rule = rules or Rules()
    known = history.aligned(model.items)
    chosen = np.arange(known.n_users) if users is None else known.users.numbers(users, "user")
    first = required_items(model, rule, n)
    wider = n if rule.diversity is None else rule.diversity.pool(n, len(model.items))
    allowed = allowed_items(model, rule, first)
    filler = np.argsort(-model.popularity, kind="stable").astype(np.int64)
    found_items = np.full((chosen.size, n), -1, np.int32)
    found_scores = np.full((chosen.size, n), np.nan, np.float32)
    done = 0
    for block in blocks(chosen, len(model.items)):
        skip = (
            owned(known, block) if rule.exclude_owned else (np.zeros(block.size + 1, np.int64), np.zeros(0, np.int32))
        )
        left = n - first.size
        items, scores = ranked(model.scores(known, block), wider, skip, allowed, filler)
        if rule.diversity is not None:
            items, scores = rule.diversity.pick(items, scores, left, model.items, first)
        place = slice(done, done + block.size)
        if first.size:
            found_items[place, : first.size] = first
            found_scores[place, : first.size] = model.scores(known, block)[:, first]
        found_items[place, first.size :], found_scores[place, first.size :] = items[:, :left], scores[:, :left]
        done += block.size
        progress("recommending", done, chosen.size)
    return Recommendations(known.users.values[chosen], found_items, found_scores, model.items)


def required_items(model: Model, rule: Rules, n: int) -> Numbers:
    """Return the numbers of the items that come first."""
    if not np.size(rule.require):
        return np.zeros(0, np.int64)
    first = model.items.numbers(rule.require, "item")
    if np.unique(first).size < first.size or first.size > n:
        raise UsageError(f"{first.size} items are required, some twice perhaps; {n} distinct ones fit")
    return first


def allowed_items(model: Model, rule: Rules, first: Numbers) -> npt.NDArray[np.bool_]:
    """Return which items may be ranked, of size 0 where all may."""
    exclude = model.items.find(rule.exclude) if np.size(rule.exclude) else np.zeros(0, np.int64)
    both = np.intersect1d(exclude, first)
    if both.size:
        raise UsageError(f"{both.size} items are both required and excluded, such as {model.items.values[both[0]]!r}")
    if rule.only is None and not exclude.size and not first.size:
        return np.zeros(0, bool)
    allowed = np.full(len(model.items), rule.only is None)
    if rule.only is not None:
        allowed[model.items.numbers(rule.only, "item")] = True
    allowed[exclude[exclude >= 0]] = False
    allowed[first] = False
    return allowed


def owned(history: Interactions, users: Numbers) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Return the distinct items of users as (pointers, items)."""
    held = history.only(users)
    matrix = sparse.csr_matrix((np.ones(len(held), bool), held.item, held.start), shape=(held.n_users, held.n_items))
    matrix.sum_duplicates()
    return matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32)


def ranked(
    scores: npt.NDArray[np.float32], n: int, skip: tuple[Any, Any], allowed: npt.NDArray[np.bool_], filler: Numbers
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Return the best n items of each row of dense scores and their scores, -1 and NaN where there are fewer."""
    items = np.zeros((scores.shape[0], n), np.int32)
    values = np.zeros((scores.shape[0], n), np.float32)
    sizes = np.zeros(scores.shape[0], np.int64)
    kernels.best_columns(scores, *skip, allowed, filler, items, values, sizes)
    absent = np.arange(n) >= sizes[:, None]
    items[absent], values[absent] = -1, np.nan
    return items, values


def recommend_all(
    model: SparseModel, history: Interactions, n: int = 10, progress: Progress = silent
) -> sparse.csr_matrix:
    """Return the n best positive scores of every user, `(users, items)`, best first: the fast way for sparse models."""
    at_least_one(n=n)
    known = history.aligned(model.items)
    factors = model.product(known, np.arange(known.n_users))
    return best_of_product(csr(factors.left), factors.right, n, progress=progress, task="recommending")


def goes_with(model: Model, basket: npt.ArrayLike, n: int = 10, rules: Rules | None = None) -> Recommendations:
    """Return what goes with the items of a basket (ids), the basket itself left out."""
    items = np.asarray(basket)
    if not items.size:
        raise UsageError("the basket is empty; recommend gives what is popular to a user without history")
    model.items.numbers(items, "item")
    events = Events(np.zeros(items.size, np.int64), items, np.zeros(items.size))
    history = Interactions.of(events, now=1 / 86_400, items=model.items)
    return recommend(model, history, n=n, rules=replace(rules or Rules(), exclude_owned=True))
