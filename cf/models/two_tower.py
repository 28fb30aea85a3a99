"""Two towers: a network for the user's profile and one for the item's, whose product is the score. TensorFlow trains them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy import sparse

from cf.errors import CannotLearn, UsageError
from cf.events.columns import DAY
from cf.ids import Ids
from cf.interactions import Interactions, Weighting
from cf.model import Numbers, Reason, Scores, at_least_one, popularity_of
from cf.models.content import Attributes
from cf.models.two_tower_training import Samples, train
from cf.neighbours.nearest import csr
from cf.progress import Progress, silent

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class TwoTower:
    """score(u, i) = t(profile of u) . e_i + bias of i, trained to tell what comes in the next window from the history.

    The item's tower adds an embedding of its id and embeddings of its attributes; the user's is a network on the weighted
    mean of the history's items (own embeddings) and of the user's attributes. So an item without events is served by its
    attributes, and a user without history by the user's own. Covington et al., RecSys 2016, doi:10.1145/2959100.2959190;
    a softmax over sampled items, corrected for how often they are sampled: Yi et al., RecSys 2019, doi:10.1145/3298689.3346996.

    Attributes
    ----------
    items, users
        Attributes, where known.
    size, hidden
        Of the embeddings, and of the user network's hidden layer.
    id_dropout
        Share of training steps' items whose id is hidden, and of users whose history is, so that attributes learn to serve.
    negatives
        Sampled items that compete with the right ones, by popularity.
    past_windows
        Windows of `window` days that targets are drawn from.
    """

    items: Attributes | None = None
    users: Attributes | None = None
    size: int = 48
    hidden: int = 96
    window: float = 28.0
    past_windows: int = 5
    epochs: int = 8
    batch: int = 512
    negatives: int = 2_000
    rate: float = 3e-3
    id_dropout: float = 0.1
    weighting: Weighting = field(default_factory=lambda: Weighting(half_life=60.0, repeats="log"))
    seed: int = 0

    def __post_init__(self) -> None:
        at_least_one(
            size=self.size,
            hidden=self.hidden,
            past_windows=self.past_windows,
            epochs=self.epochs,
            batch=self.batch,
            negatives=self.negatives,
        )
        if not 0 <= self.id_dropout < 1:
            raise UsageError(f"id_dropout is a share below 1; got {self.id_dropout}")

    def fit(self, interactions: Interactions, progress: Progress = silent) -> TwoTowerModel:
        """Train on the last windows."""
        items = interactions.items
        if self.items is not None:
            items, _ = items.with_new(self.items.items.values)
        known = interactions.aligned(items)
        features = table(self.items, items)
        samples = self._samples(known)
        popularity = popularity_of(known)
        weights = train(self, samples, features, popularity, progress)
        seen = np.zeros(len(items), bool)
        seen[np.unique(known.item)] = True
        vector = item_vectors(weights, features, seen)
        bias = np.where(seen, weights["bias"], np.quantile(weights["bias"][seen], 0.1) if seen.any() else 0.0)
        return TwoTowerModel(items, popularity, self, weights, vector, bias.astype(np.float32), features)

    def _samples(self, known: Interactions) -> Samples:
        """Return histories at the starts of past windows, and what came in them."""
        histories, attributes, owner, target = [], [], [], []
        step, rows = int(self.window * DAY), 0
        for number in range(1, self.past_windows + 1):
            begin = known.now - step * number
            if len(known) == 0 or begin <= int(known.time.min()):
                break
            at = np.datetime64(begin, "s")
            later = known.between(at, np.datetime64(begin + step, "s")).matrix(Weighting(repeats="once"))
            users = np.flatnonzero(np.diff(later.indptr))
            histories.append(known.before(at).only(users).matrix(self.weighting))
            attributes.append(table(self.users, Ids(known.users.values[users])))
            held = later[users]
            owner.append(rows + np.repeat(np.arange(users.size), np.diff(held.indptr)))
            target.append(held.indices)
            rows += users.size
        if not histories:
            raise CannotLearn(
                f"the events span less than a window of {self.window:g} days; two towers cannot be trained"
            )
        history = csr(sparse.vstack(histories))
        return Samples(means(history), csr(sparse.vstack(attributes)), np.concatenate(owner), np.concatenate(target))


def table(attributes: Attributes | None, ids: Ids) -> sparse.csr_matrix:
    """Return the features of ids; of no column where there are none."""
    return csr(sparse.csr_matrix((len(ids), 0), dtype=np.float32)) if attributes is None else attributes.aligned(ids)


def means(history: sparse.csr_matrix) -> sparse.csr_matrix:
    """Scale each row to sum to 1."""
    total = np.asarray(history.sum(axis=1)).ravel()
    scale = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
    return csr(sparse.diags(scale.astype(np.float32)) @ history)


def item_vectors(weights: dict[str, Floats], features: sparse.csr_matrix, seen: npt.NDArray[np.bool_]) -> Floats:
    """Return what the item's tower gives, `(items, size)`: no embedding of an id never seen."""
    return np.asarray(weights["item"] * seen[:, None] + features @ weights["item_attributes"], np.float32)


@dataclass(frozen=True)
class TwoTowerModel:
    """Plain arrays: TensorFlow is not needed to score. `vectors`: `(items, size)`; `bias`: `(items,)`."""

    items: Ids
    popularity: npt.NDArray[np.float32]
    parameters: TwoTower
    weights: dict[str, Floats]
    vectors: Floats
    bias: npt.NDArray[np.float32]
    features: sparse.csr_matrix

    def users(self, history: Interactions, users: Numbers) -> Floats:
        """Return what the user's tower gives, `(len(users), size)`."""
        w = self.weights
        chosen = history.only(users)
        mean = means(chosen.matrix(self.parameters.weighting))
        profile = mean @ w["history"] + (mean @ self.features) @ w["history_attributes"]
        own = table(self.parameters.users, chosen.users) @ w["user_attributes"]
        hidden = np.maximum(np.concatenate([profile, own], axis=1) @ w["dense"] + w["dense_bias"], 0.0)
        return np.asarray(hidden @ w["out"] + w["out_bias"] + profile, np.float32)

    def scores(self, history: Interactions, users: Numbers) -> Scores:
        """Return the softmax over all items, times their number: 1 is an item of average chance; none for nobody's."""
        score = self.users(history, users) @ self.vectors.T + self.bias
        score -= score.max(axis=1, keepdims=True)
        chance = np.exp(score)
        chance /= chance.sum(axis=1, keepdims=True)
        return np.asarray(chance * len(self.items), np.float32)

    def reasons(self, history: Interactions, user: int, item: int) -> Sequence[Reason]:
        """Return the whole score as the user's profile: a network's score has no summands."""
        score = float(self.scores(history, np.array([user]))[0, item])
        return [Reason("profile", history.users.values[user], score)]

    def similar(self, items: Numbers) -> Floats:
        """Return cosines between the towers' vectors of these and all items."""
        unit = self.vectors / np.maximum(np.linalg.norm(self.vectors, axis=1, keepdims=True), 1e-12)
        return unit[items] @ unit.T
