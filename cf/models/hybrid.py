"""A hybrid: parts blended with weights learned on the last window, apart for users of whom much, little or nothing is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from numba import njit, prange
from scipy import optimize, sparse

from cf.errors import UsageError
from cf.evaluation.splits import Split, TemporalSplit
from cf.ids import Ids
from cf.interactions import Interactions
from cf.model import Model, Numbers, Reason, Recommender, Scores, at_least_one, not_negative, popularity_of, present
from cf.progress import Progress, silent
from cf.recommending.ranking import ranked

SEGMENTS = ("new", "few-shot", "warm")
POWERS = (1.0, 0.5)  # shapes of a part's score: a weight for each lets the blend bend it
BLOCK = 256  # users


@dataclass(frozen=True)
class Hybrid:
    """score(u, i) = sum over parts m of a_m f_m + b_m sqrt(f_m), f_m = score of m / the user's highest of m.

    The weights, none below 0, are those under which what users had in the last window is likeliest among the parts' best
    candidates: a softmax over each user's candidates, as in ListNet (Cao et al., ICML 2007, doi:10.1145/1273496.1273513).
    They are learned three times, from all that is known of each user, from the last visit alone, and from nothing, and each
    serves the users of whom as much is known. Then the parts are fitted again on everything.

    Attributes
    ----------
    parts
        Recommenders by name.
    window
        Days at the end of the interactions that the weights are learned on.
    candidates
        Best items of each part that compete.
    penalty
        On the squared weights, in users' worth of likelihood.
    most_users
        Users that the weights are learned from, drawn with `seed`.
    """

    parts: Mapping[str, Recommender]
    window: float = 28.0
    candidates: int = 60
    penalty: float = 1.0
    most_users: int = 5_000
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.parts:
            raise UsageError("a hybrid needs parts")
        at_least_one(candidates=self.candidates, most_users=self.most_users)
        not_negative(penalty=self.penalty)

    def fit(self, interactions: Interactions, progress: Progress = silent) -> HybridModel:
        """Learn the weights on the last window, then fit the parts on everything."""
        split = TemporalSplit(days=self.window).of(interactions)
        early = {name: part.fit(split.known) for name, part in self.parts.items()}
        items = interactions.items
        for model in early.values():  # content and two towers also know items without events
            items, _ = items.with_new(model.items.values)
        if len(items) > interactions.n_items:
            interactions = interactions.aligned(items)
            split = TemporalSplit(days=self.window).of(interactions)
            early = {name: part.fit(split.known) for name, part in self.parts.items()}
        chosen = split.users
        if chosen.size > self.most_users:
            chosen = np.sort(np.random.default_rng(self.seed).choice(chosen, self.most_users, replace=False))
        visits = split.known.visits
        histories = {"new": split.known.last_visits(0), "few-shot": split.known.last_visits(1), "warm": split.known}
        weights = {}
        for number, (segment, history) in enumerate(histories.items()):
            progress("hybrid's weights", number, len(SEGMENTS))
            users = chosen if segment == "new" else chosen[visits[chosen] >= (2 if segment == "warm" else 1)]
            weights[segment] = self._learn(list(early.values()), split, history, users)
        models = {name: part.fit(interactions) for name, part in self.parts.items()}
        progress("hybrid's weights", len(SEGMENTS), len(SEGMENTS))
        return HybridModel(interactions.items, popularity_of(interactions, 28.0), models, weights)

    def _learn(
        self, models: list[Model], split: Split, history: Interactions, users: Numbers
    ) -> npt.NDArray[np.float64]:
        """Return the weights, `(parts, powers)`."""
        shape = (len(models), len(POWERS))
        if not users.size:
            return np.full(shape, 1.0)
        blocks = list(candidate_blocks(models, split.targets, history, users, self.candidates))
        features = np.concatenate([block.features for block in blocks])
        hit = np.concatenate([block.hit for block in blocks])
        start = np.concatenate([[0], np.cumsum(np.concatenate([block.number for block in blocks]))]).astype(np.int64)
        if not hit.any():
            return np.full(shape, 1.0)
        return listwise(features, hit, start, self.penalty).reshape(shape)


def shaped(score: Scores, highest: Scores) -> npt.NDArray[np.float32]:
    """Return scores over the user's highest, in each of `POWERS` along a last axis; below 0 counts as 0."""
    positive = np.maximum(score, 0.0)
    relative = np.divide(positive, highest, out=np.zeros_like(positive), where=highest > 0)
    return np.stack([relative if power == 1.0 else relative**power for power in POWERS], axis=-1)


@njit(nogil=True, cache=True, parallel=True)
def add_shaped(score, weights, out):  # type: ignore[no-untyped-def]
    """Add a f + b sqrt(f) to `out`, `(users, items)`, f being scores over the user's highest; `weights`: `(users, 2)`."""
    for row in prange(score.shape[0]):
        highest = score[row].max()
        if highest <= 0.0:
            continue
        a, b = weights[row, 0] / highest, weights[row, 1] / np.sqrt(highest)
        for column in range(score.shape[1]):
            value = score[row, column]
            if value > 0.0:
                out[row, column] += a * value + b * np.sqrt(value)


@dataclass(frozen=True)
class Candidates:
    """What competes: `features` and `hit` of each candidate, and the number of candidates of each user."""

    features: npt.NDArray[np.float32]
    hit: npt.NDArray[np.bool_]
    number: npt.NDArray[np.int64]


def candidate_blocks(models: list[Model], targets: sparse.csr_matrix, history: Interactions, users: Numbers, most: int) -> Iterator[Candidates]:  # fmt: skip
    """Give the candidates of blocks of users: the best of each model."""
    nothing = np.zeros(0, bool)
    for begin in range(0, users.size, BLOCK):
        block = users[begin : begin + BLOCK]
        skip = np.zeros(block.size + 1, np.int64), np.zeros(0, np.int32)
        scores = [model.scores(history, block) for model in models]
        pairs = []
        for model, score in zip(models, scores, strict=True):
            items, values = ranked(score, most, skip, nothing, np.zeros(0, np.int64))
            row, place = np.nonzero(values > 0)
            pairs.append(row * len(model.items) + items[row, place])
        row, column = np.divmod(np.unique(np.concatenate(pairs)), scores[0].shape[1])
        features = [shaped(score[row, column], score.max(axis=1)[row]) for score in scores]
        hit = present(targets[block], row, column)
        yield Candidates(np.concatenate(features, axis=1), hit, np.bincount(row, minlength=block.size))


def listwise(features: npt.NDArray[np.float32], hit: npt.NDArray[np.bool_], start: npt.NDArray[np.int64], penalty: float) -> npt.NDArray[np.float64]:  # fmt: skip
    """Return weights >= 0 that minimise the mean over users of -log softmax of what they had, `(features,)`."""
    held = np.diff(start)
    begin = start[:-1][held > 0]
    owner = np.repeat(np.arange(begin.size), held[held > 0])
    number = np.bincount(owner, weights=hit)
    counted = number > 0
    share = hit / np.maximum(number, 1.0)[owner]
    mass = counted[owner].astype(float)
    observed = share @ features
    users = max(int(counted.sum()), 1)

    def loss(weights: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        score = features @ weights
        shifted = np.exp(score - np.maximum.reduceat(score, begin)[owner])
        total = np.add.reduceat(shifted, begin)
        chance = shifted / total[owner] * mass
        log_total = np.log(total) + np.maximum.reduceat(score, begin)
        value = -(observed @ weights) + log_total[counted].sum() + 0.5 * penalty * weights @ weights
        gradient = -observed + chance @ features + penalty * weights
        return value / users, gradient / users

    first = np.full(features.shape[1], 0.5)
    found = optimize.minimize(loss, first, jac=True, method="L-BFGS-B", bounds=[(0.0, None)] * first.size)
    return np.asarray(found.x, float)


@dataclass(frozen=True)
class HybridModel:
    """`weights[segment]`: `(parts, powers)`; segments are `new`, `few-shot` and `warm`, by visits known."""

    items: Ids
    popularity: npt.NDArray[np.float32]
    parts: Mapping[str, Model]
    weights: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict)

    def _weights(self, history: Interactions, users: Numbers) -> npt.NDArray[np.float64]:
        """Return each user's weights, `(users, parts, powers)`."""
        visits = np.minimum(history.only(users).visits, 2)
        return np.stack([self.weights[segment] for segment in SEGMENTS])[visits]

    def scores(self, history: Interactions, users: Numbers) -> Scores:
        """Return the blend."""
        weights = self._weights(history, users).astype(np.float32)
        out = np.zeros((len(users), len(self.items)), np.float32)
        for place, model in enumerate(self.parts.values()):
            if weights[:, place].any():
                add_shaped(model.scores(history, users), weights[:, place], out)
        return out

    def reasons(self, history: Interactions, user: int, item: int) -> Sequence[Reason]:
        """Return the parts' reasons, each part's scaled so that together they are what the part adds to the score."""
        weights = self._weights(history, np.array([user]))[0]
        found: dict[tuple[str, object], float] = {}
        for place, model in enumerate(self.parts.values()):
            score = model.scores(history, np.array([user]))
            added = float(shaped(score[:, item], score.max(axis=1))[0] @ weights[place])
            if added == 0.0:
                continue
            for reason in model.reasons(history, user, item):
                key = (reason.because, reason.of)
                found[key] = found.get(key, 0.0) + reason.contribution / float(score[0, item]) * added
        return [Reason(because, of, part) for (because, of), part in found.items()]
