"""A hybrid: parts blended with weights learned on held-out events, apart for users of whom much, little or nothing is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cf.errors import CannotLearn, UsageError
from cf.evaluation.splits import RandomSplit, Split, TemporalSplit
from cf.events.columns import DAY
from cf.ids import Ids
from cf.interactions import Interactions, Weighting
from cf.model import Model, Numbers, Reason, Recommender, Scores, at_least_one, not_negative, popularity_of
from cf.models.als import Als
from cf.models.blending import POWERS, Contest, add_shaped, candidate_blocks, listwise, scores_of, shaped
from cf.models.ease import Ease
from cf.models.frequency import Frequency
from cf.models.knn import ItemKNN, UserKNN
from cf.models.popularity import Popularity
from cf.models.repeat import Repeat
from cf.models.tifu import TifuKNN
from cf.progress import Progress, silent

SEGMENTS = ("new", "few-shot", "warm")
RETURNING = 0.1  # share of the users who come back in the window, below which time tells little of them
AGAIN = 0.01  # share of what is held out that the user had before, below which nothing is had twice


def usual_parts() -> dict[str, Recommender]:
    """Return parts that serve repeat purchases and new ones, much history and none; the weights say which count."""
    return {
        "two weeks": Frequency(Weighting(half_life=14.0)),
        "four months": Frequency(Weighting(half_life=120.0)),
        "repeat": Repeat(),
        "TIFU-kNN": TifuKNN(),
        "user-kNN": UserKNN(k=200, own=0.0, weighting=Weighting(half_life=120.0)),
        "user-kNN lately": UserKNN(k=50, own=0.0, weighting=Weighting(half_life=30.0)),
        "user-kNN ever": UserKNN(own=0.0, weighting=Weighting(repeats="once")),
        "item-kNN": ItemKNN(own=0.0),
        "EASE": Ease(most_items=4_000),
        "ALS": Als(),
        "popular lately": Popularity(14.0),
        "popular": Popularity(60.0),
    }


@dataclass(frozen=True)
class Hybrid:
    """score(u, i) = sum over parts m of a_m f_m + b_m sqrt(f_m), f_m = score of m / the user's highest of m.

    The weights, none below 0, are those that rank what was held out best (NDCG@10) among the parts' best candidates. They
    are looked for by coordinate ascent from two starts: the best part alone, so that the blend is no worse than it, and the
    weights under which what was held out is likeliest, a softmax over each user's candidates, as in ListNet (Cao et al.,
    ICML 2007, doi:10.1145/1273496.1273513). They are learned three times, from all that is known of each user, from the
    last visit alone, and from nothing, and each serves the users of whom as much is known. Then the parts are fitted again
    on everything.

    Where nothing that was held out had been had before (films, books), the blend scores no item that the user has had.

    Attributes
    ----------
    parts
        Recommenders by name. One that cannot learn from the events (`CannotLearn`) is left out, and the model says so.
    validation
        What is held out. By default the last `window` days, or, where fewer than a tenth of the users come back in them, a
        random fifth of each user's items.
    window
        Days.
    candidates
        Best items of each part that compete.
    penalty
        On the squared weights of the second start, in users' worth of likelihood.
    most_users
        Users that the weights are learned from, drawn with `seed`.
    """

    parts: Mapping[str, Recommender] = field(default_factory=usual_parts)
    validation: TemporalSplit | RandomSplit | None = None
    window: float = 28.0
    candidates: int = 60
    penalty: float = 1.0
    most_users: int = 2_000
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.parts:
            raise UsageError("a hybrid needs parts")
        at_least_one(candidates=self.candidates, most_users=self.most_users)
        not_negative(penalty=self.penalty)

    def fit(self, interactions: Interactions, progress: Progress = silent) -> HybridModel:
        """Learn the weights on what is held out, then fit the parts on everything."""
        rule = self.validation or self._rule(interactions)
        split = rule.of(interactions)
        early, left_out = self._fitted(split.known, progress)
        items = interactions.items
        for model in early.values():  # content and two towers also know items without events
            items, _ = items.with_new(model.items.values)
        if len(items) > interactions.n_items:
            interactions = interactions.aligned(items)
            split = rule.of(interactions)
            early, left_out = self._fitted(split.known, progress)
        fresh = share_again(split) < AGAIN
        weights, held_out = {}, {}
        for number, segment in enumerate(SEGMENTS):
            progress("hybrid's weights", number, len(SEGMENTS))
            weights[segment], held_out[segment] = self._learn(early, split, segment, fresh)
        progress("hybrid's weights", len(SEGMENTS), len(SEGMENTS))
        models, late = self._fitted(interactions, progress, {name: self.parts[name] for name in early})
        kept = [place for place, name in enumerate(early) if name in models]
        weights = {segment: held[kept] for segment, held in weights.items()}
        return HybridModel(
            interactions.items, popularity_of(interactions, 28.0), models, weights, fresh, held_out, left_out | late
        )

    def _rule(self, interactions: Interactions) -> TemporalSplit | RandomSplit:
        """Return the last window, or a random split where few users come back in it."""
        rule = TemporalSplit(days=self.window)
        begin = np.datetime64(interactions.now - int(self.window * DAY), "s")
        known, later = interactions.before(begin), interactions.between(begin, None)
        active = np.diff(known.start) > 0
        back = active & (np.diff(later.start) > 0)
        return rule if back.sum() >= RETURNING * max(active.sum(), 1) and back.any() else RandomSplit(seed=self.seed)

    def _fitted(
        self, known: Interactions, progress: Progress, parts: Mapping[str, Recommender] | None = None
    ) -> tuple[dict[str, Model], dict[str, str]]:
        """Return the parts' models, and why others could not learn."""
        chosen = self.parts if parts is None else parts
        models, left_out = {}, {}
        for number, (name, part) in enumerate(chosen.items()):
            progress("hybrid's parts", number, len(chosen))
            try:
                models[name] = part.fit(known)
            except CannotLearn as reason:
                left_out[name] = str(reason)
        progress("hybrid's parts", len(chosen), len(chosen))
        if not models:
            raise CannotLearn("; ".join(f"{name}: {reason}" for name, reason in left_out.items()))
        return models, left_out

    def _learn(
        self, models: Mapping[str, Model], split: Split, segment: str, fresh: bool
    ) -> tuple[npt.NDArray[np.float64], dict[str, float]]:
        """Return the weights of a segment, `(parts, powers)`, and the NDCG@10 among candidates of each part and the blend."""
        shape = (len(models), len(POWERS))
        most = SEGMENTS.index(segment)
        history = split.known if segment == "warm" else split.known.last_visits(most)
        users = split.users[split.known.visits[split.users] >= most]
        if users.size > self.most_users:
            users = np.sort(np.random.default_rng(self.seed).choice(users, self.most_users, replace=False))
        if not users.size:
            return np.full(shape, 1.0), {}
        blocks = list(candidate_blocks(list(models.values()), split.targets, history, users, self.candidates, fresh))
        contest = Contest.of(blocks, np.diff(split.targets.indptr)[users])
        if not contest.hit.any():
            return np.full(shape, 1.0), {}
        alone = {name: contest.ndcg(contest.features[:, len(POWERS) * place]) for place, name in enumerate(models)}
        single = np.zeros(shape)
        single[list(models).index(max(alone, key=lambda name: alone[name])), 0] = 1.0
        likely = listwise(contest.features, contest.hit, contest.start, self.penalty)
        weights, reached = max(
            (contest.climbed(first) for first in (likely, single.ravel())), key=lambda found: found[1]
        )
        return weights.reshape(shape), alone | {"blend": reached}


def share_again(split: Split) -> float:
    """Return the share of what is held out, of users with history, that the user had had before."""
    held = split.known.matrix(Weighting(repeats="once"))[split.users]
    known = np.diff(held.indptr) > 0
    targets = split.targets[split.users][known]
    return float(targets.multiply(held[known] > 0).sum() / max(targets.nnz, 1))


@dataclass(frozen=True)
class HybridModel:
    """Parts and the weights of their scores.

    Attributes
    ----------
    weights
        By segment (`new`, `few-shot`, `warm`: no, one, more visits known), `(parts, powers)`.
    fresh
        Whether only items that the user has not had are scored.
    held_out
        By segment, the NDCG@10 of each part and of the `blend` on what was held out. The blend's weights were learned on
        it, so its figure flatters a little.
    left_out
        Why parts that could not learn are missing.
    """

    items: Ids
    popularity: npt.NDArray[np.float32]
    parts: Mapping[str, Model]
    weights: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    fresh: bool = False
    held_out: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)

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
                add_shaped(scores_of(model, history, users, self.fresh), weights[:, place], out)
        return out

    def reasons(self, history: Interactions, user: int, item: int) -> Sequence[Reason]:
        """Return the parts' reasons, each part's scaled so that together they are what the part adds to the score."""
        weights = self._weights(history, np.array([user]))[0]
        found: dict[tuple[str, object], float] = {}
        for place, model in enumerate(self.parts.values()):
            score = scores_of(model, history, np.array([user]), self.fresh)
            added = float(shaped(score[:, item], score.max(axis=1))[0] @ weights[place])
            if added == 0.0:
                continue
            for reason in model.reasons(history, user, item):
                key = (reason.because, reason.of)
                found[key] = found.get(key, 0.0) + reason.contribution / float(score[0, item]) * added
        return [Reason(because, of, part) for (because, of), part in found.items()]
