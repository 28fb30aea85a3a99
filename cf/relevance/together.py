"""What the joint networks tell: of users with many visits from all their habits, of users with one from that visit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cf.interactions import Interactions
from cf.relevance.crowd import Crowd
from cf.relevance.foretelling import Past, basket_inputs, full_inputs
from cf.relevance.gathering import Floats, Sums, outcomes, sums
from cf.relevance.joint import Joint, JointNetwork
from cf.relevance.scopes import Scopes

HABITS = JointNetwork(epochs=12, decay=3.0)
VISIT = JointNetwork(epochs=12, decay=1.0)
HABIT_PARTS, HABIT_MOMENTS = 2, 18  # windows to learn from begin at every half of a window's length, the last so many
VISIT_PARTS, VISIT_MOMENTS = 4, 40  # and at every quarter
MOST_PAIRS = 5_000_000  # of user and scope that the habits are learned from: 280 MB of own habits
MOST_VISIT_PAIRS = 20_000_000
LEAST_MOMENTS = 6  # that all learners are read at; of fewer nothing is learned
MOST_DUE = 6.0  # mean days between visits since the last
PACES = (7.0, 28.0)  # days, of the fading of the last visit


@dataclass(frozen=True)
class Together:
    """Joint networks of one moment and its scopes; None where there was too little to learn from.

    Attributes
    ----------
    habits
        From `full_inputs` and `own_habits`.
    visit
        From the last visit alone: `visit_inputs`, and whether each scope was in it.
    """

    habits: Joint | None
    visit: Joint | None

    def of_habits(self, found: Sums) -> Floats | None:
        """Return log-odds of each scope from all that is known, `(users, scopes)`."""
        return None if self.habits is None else self.habits.odds(full_inputs(found), own_habits(found))

    def of_visit(self, visit: Interactions, scopes: Scopes, crowd: Crowd) -> Floats | None:
        """Return log-odds of each scope from histories of one visit, `(users, scopes)`."""
        if self.visit is None:
            return None
        inputs = visit_inputs(visit, scopes, crowd)
        return self.visit.odds(inputs, inputs[:, None, : len(scopes)])


def together_of(past: Past, scopes: Scopes, crowd: Crowd, seed: int) -> Together:
    """Learn from the windows that had ended by the crowd's `now`."""
    return Together(_habits(past, scopes, crowd.now, seed), _visit(past, scopes, crowd, seed))


def _habits(past: Past, scopes: Scopes, now: int, seed: int) -> Joint | None:
    inputs: list[Floats] = []
    own: list[Floats] = []
    bought: list[npt.NDArray[np.bool_]] = []
    for known, later in past.moments(now, HABIT_PARTS, HABIT_MOMENTS, MOST_PAIRS // len(scopes)):
        found = sums(known, scopes)
        inputs.append(full_inputs(found))
        own.append(own_habits(found))
        bought.append(outcomes(later, scopes)[0])
    if len(inputs) < LEAST_MOMENTS:
        return None
    return HABITS.fit(np.concatenate(inputs), np.concatenate(own), np.concatenate(bought), seed)


def _visit(past: Past, scopes: Scopes, crowd: Crowd, seed: int) -> Joint | None:
    inputs: list[Floats] = []
    bought: list[npt.NDArray[np.bool_]] = []
    for known, later in past.moments(crowd.now, VISIT_PARTS, VISIT_MOMENTS, MOST_VISIT_PAIRS // len(scopes)):
        inputs.append(visit_inputs(known.last_visits(1), scopes, crowd))
        bought.append(outcomes(later, scopes)[0])
    if len(inputs) < LEAST_MOMENTS:
        return None
    table = np.concatenate(inputs)
    return VISIT.fit(table, table[:, None, : len(scopes)], np.concatenate(bought), seed)


def visit_inputs(visit: Interactions, scopes: Scopes, crowd: Crowd) -> Floats:
    """Return `basket_inputs` and the factors of histories of one visit, `(users, inputs)`."""
    factors = np.asarray(crowd.profile(visit) @ crowd.factors, np.float32)
    return np.concatenate([basket_inputs(sums(visit, scopes)), factors], axis=1)


def own_habits(found: Sums) -> Floats:
    """Return a user's habits with each scope, `(users, habits, scopes)`: how often, how lately, and how due it is."""
    pair, user = found.pair, found.user
    times, since = pair[..., 0], pair[..., 5]
    held, again = times > 0, times > 1
    between = np.maximum(pair[..., 7] / np.maximum(times - 1.0, 1.0), 1.0)
    due = np.minimum(since / between, MOST_DUE)
    return np.stack(
        [
            *(np.log1p(3.0 * pair[..., place]) for place in (1, 2, 3, 4)),
            held,
            np.log1p(times),
            *(held * np.exp(-since / pace) for pace in PACES),
            again,
            again * np.exp(-due),
            np.log1p(pair[..., 11]),
            pair[..., 3] / (user[:, None, 3] + 0.3),
            np.log1p(np.maximum(pair[..., 8], 0.0) / np.maximum(times, 1.0)),
            again * np.log1p(np.maximum(pair[..., 6] - since, 0.0)),
        ],
        axis=1,
        dtype=np.float32,
        casting="unsafe",
    )
