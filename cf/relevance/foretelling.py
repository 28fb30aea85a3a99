"""Linear models of a window's purchases from what was known before it, learned from earlier windows of many users."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from cf.events.columns import DAY
from cf.interactions import Interactions, Weighting
from cf.relevance.gathering import Floats, Sums, odds_within, outcomes, profile_of, sums
from cf.relevance.linear import logistic
from cf.relevance.scopes import Scopes

WINDOWS = 6  # to learn from; single visits are read at their middles too
LEARNERS = 5_000  # users to learn from at most,
LEARNED_PAIRS = 2_500_000  # and pairs of user and scope of a window
FULL_PENALTY = 1_000.0
BASKET_PENALTY = 300.0
ONCE = Weighting(repeats="once")
RECENCIES = (1.5, 3.5, 7.5, 14.5, 28.5)  # days: steps of how long ago the last visit was
RARE = 3  # visits; items of fewer tell nothing
LIFT_ITEMS = 20_000  # the most popular ones, whose purchase foretells scopes one by one
LIFT_PRIOR = 30.0  # visits' worth of the scope's rate that an item's is drawn to


@dataclass(frozen=True)
class Span:
    """A window of the past, as those learn from it who were known before it: `learners` numbers the rows.

    Attributes
    ----------
    full, bought
        `(learners, inputs)` and `(learners, scopes)`: what was known, and whether it was bought in the window.
    visit, alone
        The last visit before the window, and `basket_inputs` of it without factors.
    """

    full: Floats
    bought: npt.NDArray[np.bool_]
    visit: Interactions
    alone: Floats


class Past:
    """The earlier windows of reference users, each read once though the crowds of several moments learn from it."""

    def __init__(self, reference: Interactions, scopes: Scopes, window: float, seed: int) -> None:
        most = max(1, min(LEARNERS, LEARNED_PAIRS // len(scopes)))
        if reference.n_users > most:
            chosen = np.random.default_rng(seed).choice(reference.n_users, most, replace=False)
            reference = reference.only(np.sort(chosen))
        self._users, self._scopes, self._step = reference, scopes, int(window * DAY)
        self._first = int(reference.time.min()) if len(reference) else reference.now
        self._spans: dict[int, Span | None] = {}

    def spans(self, now: int) -> list[tuple[bool, Span]]:
        """Return the windows that had ended by `now` at every half window's distance, and whether it is a whole one's."""
        found = []
        for halves in range(2, 2 * WINDOWS + 2):
            begin = now - self._step * halves // 2
            if begin not in self._spans:
                self._spans[begin] = self._read(begin)
            span = self._spans[begin]
            if span is not None:
                found.append((halves % 2 == 0, span))
        return found

    def before(self, begin: int) -> tuple[Interactions, Interactions] | None:
        """Return what was known of the learners at a moment, and their window from then on; None before the first event."""
        if begin <= self._first:
            return None
        at = np.datetime64(begin, "s")
        known = self._users.before(at)
        active = np.flatnonzero(np.diff(known.start))
        return known.only(active), self._users.between(at, np.datetime64(begin + self._step, "s")).only(active)

    def moments(self, now: int, parts: int, most: int, most_users: int) -> Iterator[tuple[Interactions, Interactions]]:
        """Give `before` of the windows that had ended by `now`, the latest first, `parts` to a window's length.

        At most `most` of them, and `most_users` in all.
        """
        users = 0
        for number in range(most):
            found = self.before(now - self._step - self._step * number // parts)
            users += 0 if found is None else found[0].n_users
            if found is None or users > most_users:
                return
            yield found

    def _read(self, begin: int) -> Span | None:
        found = self.before(begin)
        if found is None:
            return None
        known, later = found
        visit = known.last_visits(1)
        return Span(
            full_inputs(sums(known, self._scopes)),
            outcomes(later, self._scopes)[0],
            visit,
            basket_inputs(sums(visit, self._scopes)),
        )


@dataclass(frozen=True)
class Foretelling:
    """Linear models of a window from what was known before it; see `Crowd`."""

    full: Floats
    basket: Floats
    basket_odds: Floats
    telling: npt.NDArray[np.int64]
    lifts: Floats


def foretelling(past: Past, now: int, scopes: Scopes, rare: npt.NDArray[np.float64], factors: Floats) -> Foretelling:
    """Learn from the windows that ended by `now`: from all that was known before each, and from the last visit alone."""
    found = past.spans(now)
    if not found:
        empty = np.zeros((0, len(scopes)), np.float32)
        return Foretelling(empty, empty, np.zeros((len(scopes), 2), np.float32), np.zeros(0, np.int64), empty)
    whole = [span for is_whole, span in found if is_whole]
    full = logistic(
        np.concatenate([span.full for span in whole]), np.concatenate([span.bought for span in whole]), FULL_PENALTY
    )
    came = np.concatenate([span.bought for _, span in found])
    inputs = [np.concatenate([span.alone, profile_of(span.visit, rare) @ factors], axis=1) for _, span in found]
    basket = logistic(np.concatenate(inputs), came, BASKET_PENALTY)
    had = np.concatenate([span.alone[:, : len(scopes)] > 0 for _, span in found])
    telling, lifts = lifts_of(sparse.vstack([span.visit.matrix(ONCE) for _, span in found], format="csr"), came)
    return Foretelling(
        full, basket, np.stack([odds_within(had, came), odds_within(~had, came)], axis=-1), telling, lifts
    )


def lifts_of(baskets: sparse.csr_matrix, came: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int64], Floats]:
    """Return which items tell, and the lifts of the scopes after a visit with each; see `Crowd`."""
    number = np.bincount(baskets.indices, minlength=baskets.shape[1])
    telling = np.sort(np.argsort(-number, kind="stable")[:LIFT_ITEMS])
    telling = telling[number[telling] >= RARE]
    after = np.asarray(baskets[:, telling].T @ came.astype(np.float32))
    usual = np.maximum(came.mean(axis=0), 1e-6)
    share = (after + LIFT_PRIOR * usual) / (number[telling] + LIFT_PRIOR)[:, None]
    return telling, np.log(share / usual).astype(np.float32)


def full_inputs(found: Sums) -> Floats:
    """Return what the next window is told from linearly: habits at three paces, and activity; `(users, inputs)`."""
    pair, user = found.pair, found.user
    paces = [np.log1p(3.0 * pair[..., place]) for place in (2, 3, 4)]
    visits = np.maximum(user[:, :1], 1.0)
    activity = [
        np.log(user[:, 1:5] + 0.05),
        np.log1p(np.maximum(user[:, 5:6], 0.0)),
        np.log1p(user[:, 8:9]),
        np.log1p(user[:, 7:8] / visits),
        np.log1p(np.maximum(user[:, 9:10], 0.0) / visits),  # refunds may leave less than nothing
    ]
    return np.concatenate([*paces, *activity], axis=1).astype(np.float32)


def basket_inputs(found: Sums) -> Floats:
    """Return what the next window is told from where only the last visit is looked at, factors apart; `(users, inputs)`.

    The first columns are whether each scope was in it.
    """
    held = (found.pair[..., 0] > 0).astype(np.float32)
    idle = np.maximum(found.user[:, 5:6], 0.0)
    recency = [np.log1p(idle), np.log1p(idle) ** 2, idle < np.array(RECENCIES)]
    size = np.log1p(np.maximum(found.user[:, 7:10], 0.0))
    return np.concatenate([held, size, *recency], axis=1).astype(np.float32)
