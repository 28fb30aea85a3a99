"""A hybrid: parts blended with weights learned on held-out events, apart for users of whom much, little or nothing is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cf.boosting import Trees
from cf.errors import CannotLearn, UsageError
from cf.evaluation.splits import RandomSplit, Split, TemporalSplit
from cf.events.columns import DAY
from cf.ids import Ids
from cf.interactions import Interactions, Weighting
from cf.model import Model, Numbers, Reason, Recommender, Scores, at_least_one, not_negative, popularity_of
from cf.models.als import Als
from cf.models.blending import HELD, POWERS, Contest, add_shaped, candidate_blocks, listwise, scores_of, shaped
from cf.models.ease import Ease
from cf.models.frequency import Frequency
from cf.models.knn import ItemKNN, UserKNN
from cf.models.popularity import Popularity
from cf.models.repeat import Repeat, items_of
from cf.models.reranking import Reranker, contenders, learned
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

    Boosted trees are told the parts' scores beside the user's habits and recency with the item, and rank the blend's best
    again, where they rank better on users that they did not learn from (so for users of whom something is known only).

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
    rerank
        Whether trees may rank again.
    """

    parts: Mapping[str, Recommender] = field(default_factory=usual_parts)
    validation: TemporalSplit | RandomSplit | None = None
    window: float = 28.0
    candidates: int = 60
    penalty: float = 1.0
    most_users: int = 2_000
    rerank: bool = True
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
        learned_of = {}
        for number, segment in enumerate(SEGMENTS):
            progress("hybrid's weights", number, len(SEGMENTS))
            learned_of[segment] = self._learn(early, split, segment, fresh)
        progress("hybrid's weights", len(SEGMENTS), len(SEGMENTS))
        models, late = self._fitted(interactions, progress, {name: self.parts[name] for name in early})
        kept = [place for place, name in enumerate(early) if name in models]
        about = items_of(interactions, int(self.window * DAY))
        again = {
            segment: Reranker(found.used, about, found.trees)
            for segment, found in learned_of.items()
            if found.trees is not None and len(kept) == len(early)
        }
        return HybridModel(
            interactions.items, popularity_of(interactions, 28.0), models,
            {segment: found.weights[kept] for segment, found in learned_of.items()}, again, fresh,
            {segment: found.held_out for segment, found in learned_of.items()}, left_out | late,
        )  # fmt: skip

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

    def _learn(self, models: Mapping[str, Model], split: Split, segment: str, fresh: bool) -> Learned:
        """Learn the weights of a segment, and trees."""
        shape = (len(models), len(POWERS))
        most = SEGMENTS.index(segment)
        history = split.known if segment == "warm" else split.known.last_visits(most)
        users = split.users[split.known.visits[split.users] >= most]
        if users.size > self.most_users:
            users = np.sort(np.random.default_rng(self.seed).choice(users, self.most_users, replace=False))
        if not users.size:
            return Learned(np.full(shape, 1.0), {})
        blocks = list(candidate_blocks(list(models.values()), split.targets, history, users, self.candidates, fresh))
        contest = Contest.of(blocks, np.diff(split.targets.indptr)[users])
        if not contest.hit.any():
            return Learned(np.full(shape, 1.0), {})
        alone = {name: contest.ndcg(contest.features[:, len(POWERS) * place]) for place, name in enumerate(models)}
        single = np.zeros(shape)
        single[list(models).index(max(alone, key=lambda name: alone[name])), 0] = 1.0
        likely = listwise(contest.features, contest.hit, contest.start, self.penalty)
        weights, reached = max(
            (contest.climbed(first) for first in (likely, single.ravel())), key=lambda found: found[1]
        )
        weights, held_out = weights.reshape(shape), alone | {"blend": reached}
        if not self.rerank or segment == "new":
            return Learned(weights, held_out)
        about = items_of(split.known, int(self.window * DAY))
        trees, used, again = learned(contest, weights, history.only(users), about, self.seed)
        return Learned(weights, held_out | {"trees": again}, trees if again > reached else None, used)


@dataclass(frozen=True)
class Learned:
    """What a segment's users taught: weights `(parts, powers)`, trees where they are better, and NDCG@10 by name."""

    weights: npt.NDArray[np.float64]
    held_out: dict[str, float]
    trees: Trees | None = None
    used: Numbers = field(default_factory=lambda: np.zeros(0, np.int64))


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
    again
        By segment, trees that rank the blend's best again; then scores are probabilities.
    fresh
        Whether only items that the user has not had are scored.
    held_out
        By segment, the NDCG@10 of each part, of the `blend` and of `trees` on what was held out. The blend's weights were
        learned on it, so its figure flatters a little; that of trees is of users that they did not learn from.
    left_out
        Why parts that could not learn are missing.
    """

    items: Ids
    popularity: npt.NDArray[np.float32]
    parts: Mapping[str, Model]
    weights: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    again: Mapping[str, Reranker] = field(default_factory=dict)
    fresh: bool = False
    held_out: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)

    def _segments(self, history: Interactions, users: Numbers) -> Numbers:
        """Return the number of each user's segment."""
        return np.minimum(history.only(users).visits, 2)

    def scores(self, history: Interactions, users: Numbers) -> Scores:
        """Return the blend, its best ranked again where trees do it better."""
        out = np.zeros((len(users), len(self.items)), np.float32)
        segments = self._segments(history, users)
        for number, segment in enumerate(SEGMENTS):
            chosen = np.flatnonzero(segments == number)
            size = max(1, HELD // max(len(self.items) * len(self.parts), 1)) if segment in self.again else chosen.size
            for begin in range(0, chosen.size, max(size, 1)):
                rows = chosen[begin : begin + size]
                out[rows] = self._block(history, np.asarray(users)[rows], segment)
        return out

    def _block(self, history: Interactions, users: Numbers, segment: str) -> Scores:
        """Return the scores of users of one segment."""
        weights = self.weights[segment].astype(np.float32)
        again = self.again.get(segment)
        blend = np.zeros((len(users), len(self.items)), np.float32)
        held = {}
        for place, model in enumerate(self.parts.values()):
            if weights[place].any():
                score = scores_of(model, history, users, self.fresh)
                add_shaped(score, np.broadcast_to(weights[place], (len(users), len(POWERS))), blend)
                if again is not None:
                    held[place] = score
        if again is None:
            return blend
        row, column = contenders(blend)
        relative = [shaped(held[place][row, column], held[place].max(axis=1)[row])[:, 0] for place in again.used]
        return again.apply(blend, np.stack(relative, axis=-1), history.only(users), row, column)

    def reasons(self, history: Interactions, user: int, item: int) -> Sequence[Reason]:
        """Return the parts' reasons, each part's scaled so that together they are what the part adds to the blend.

        Where trees made a probability of it, all are scaled to that.
        """
        alone = np.array([user])
        weights = self.weights[SEGMENTS[int(self._segments(history, alone)[0])]]
        found: dict[tuple[str, object], float] = {}
        for place, model in enumerate(self.parts.values()):
            score = scores_of(model, history, alone, self.fresh)
            added = float(shaped(score[:, item], score.max(axis=1))[0] @ weights[place])
            if added == 0.0:
                continue
            for reason in model.reasons(history, user, item):
                key = (reason.because, reason.of)
                found[key] = found.get(key, 0.0) + reason.contribution / float(score[0, item]) * added
        total = sum(found.values())
        scale = float(self.scores(history, alone)[0, item]) / total if total else 1.0
        return [Reason(because, of, part * scale) for (because, of), part in found.items()]
