"""Splits: what is known, and what is to be foretold. By time unless asked otherwise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from cf.errors import UsageError
from cf.events.columns import DAY, moment
from cf.interactions import Interactions
from cf.interactions.weighting import Weighting


@dataclass(frozen=True)
class Split:
    """What is known of all users, and who then had what.

    Attributes
    ----------
    known
        The interactions to learn from and to score.
    targets
        `(users, items)` boolean, sparse: what is to be foretold.
    users
        `(n,)` numbers of the users with a target.
    segment
        `(n,)` of `warm` (two visits or more are known), `few-shot` (one visit) or `new` (none).
    """

    known: Interactions
    targets: sparse.csr_matrix
    users: npt.NDArray[np.int64]
    segment: npt.NDArray[Any]


def segments(known: Interactions, users: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Return `warm`, `few-shot` or `new` for each user, by the number of visits that are known."""
    return np.asarray(np.array(["new", "few-shot", "warm"])[np.minimum(known.visits[users], 2)], object)


def held_by(later: Interactions) -> sparse.csr_matrix:
    """Return which items each user has in these interactions."""
    return later.matrix(Weighting(repeats="once")).astype(bool)


def made(known: Interactions, targets: sparse.csr_matrix) -> Split:
    """Return the split for the users who have a target."""
    users = np.flatnonzero(np.diff(targets.indptr))
    if not users.size:
        raise UsageError("no user has an event to foretell; choose another time")
    return Split(known, targets, users, segments(known, users))


@dataclass(frozen=True)
class TemporalSplit:
    """Learn from what was before a time, foretell what each user has in the window after it.

    Attributes
    ----------
    at
        The time: a datetime or a number of days; by default `days` before the end of the interactions.
    days
        Length of the window.
    one_visit, nothing
        Shares of the users whose known history is cut to the last visit, and to nothing: how well does a model serve
        them? Drawn with `seed` among the users to foretell.
    """

    at: Any = None
    days: float = 28.0
    one_visit: float = 0.0
    nothing: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.days > 0:
            raise UsageError(f"days must be above 0; got {self.days}")
        if self.one_visit < 0 or self.nothing < 0 or self.one_visit + self.nothing > 1:
            raise UsageError(
                f"one_visit and nothing are shares that sum to at most 1; got {self.one_visit} and {self.nothing}"
            )

    def of(self, interactions: Interactions) -> Split:
        """Split interactions."""
        at = interactions.now - int(self.days * DAY) if self.at is None else moment(self.at)
        begin = np.datetime64(at, "s")
        later = interactions.between(begin, np.datetime64(at + int(self.days * DAY), "s"))
        split = made(interactions.before(begin), held_by(later))
        if not self.one_visit and not self.nothing:
            return split
        order = np.random.default_rng(self.seed).permutation(split.users)
        ones = round(self.one_visit * order.size)
        visits = np.full(interactions.n_users, 2**31)
        visits[order[:ones]] = 1
        visits[order[ones : ones + round(self.nothing * order.size)]] = 0
        return made(split.known.last_visits(visits), split.targets)


@dataclass(frozen=True)
class RandomSplit:
    """Hold out a random share of each user's items, whatever their time: for data whose times say nothing.

    It lets a model see the future of other users, so it flatters; use `TemporalSplit` where times are real.
    """

    share: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise UsageError(f"share must be between 0 and 1; got {self.share}")

    def of(self, interactions: Interactions) -> Split:
        """Split interactions; all events of a held-out (user, item) pair are held out."""
        pairs = held_by(interactions).tocsr()
        draw = np.random.default_rng(self.seed).random(pairs.nnz) < self.share
        owner = np.repeat(np.arange(pairs.shape[0]), np.diff(pairs.indptr))
        out = sparse.csr_matrix((np.ones(draw.sum(), bool), (owner[draw], pairs.indices[draw])), shape=pairs.shape)
        hidden = (owner * pairs.shape[1] + pairs.indices)[draw]
        own = interactions.users_of_events() * pairs.shape[1] + interactions.item
        return made(replace(interactions._where(~np.isin(own, hidden))), out)
