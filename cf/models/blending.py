"""How a hybrid blends: shapes of scores, candidates that compete, and the weights under which the right ones win."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit, prange
from scipy import optimize, sparse

from cf.interactions import Interactions
from cf.model import Model, Numbers, Scores, present
from cf.recommending.ranking import owned, ranked

POWERS = (1.0, 0.5)  # shapes of a part's score: a weight for each lets the blend bend it
BLOCK = 256  # users
PLACES = 10  # of the NDCG that the blend is held against


def scores_of(model: Model, history: Interactions, users: Numbers, fresh: bool) -> Scores:
    """Return a model's scores; 0 for what the user has had where `fresh`."""
    scores = model.scores(history, users)
    if not fresh:
        return scores
    start, items = owned(history, users)
    masked = scores.copy()  # a model may give a view of what it keeps
    masked[np.repeat(np.arange(users.size), np.diff(start)), items] = 0.0
    return masked


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


def candidate_blocks(models: list[Model], targets: sparse.csr_matrix, history: Interactions, users: Numbers, most: int, fresh: bool) -> Iterator[Candidates]:  # fmt: skip
    """Give the candidates of blocks of users: the best of each model; none that the user has had where `fresh`."""
    nothing = np.zeros(0, bool)
    for begin in range(0, users.size, BLOCK):
        block = users[begin : begin + BLOCK]
        skip = np.zeros(block.size + 1, np.int64), np.zeros(0, np.int32)
        scores = [scores_of(model, history, block, fresh) for model in models]
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


def ndcg(score: npt.NDArray[np.floating], hit: npt.NDArray[np.bool_], start: npt.NDArray[np.int64]) -> float:
    """Return the mean NDCG@10 over the users with a right candidate; what scores 0 is not ranked."""
    owner = np.repeat(np.arange(start.size - 1), np.diff(start))
    order = np.lexsort((np.arange(score.size), -score, owner))
    place = np.arange(score.size) - start[owner]
    gain = np.where((place < PLACES) & (score[order] > 0), 1.0 / np.log2(place + 2.0), 0.0)
    number = np.bincount(owner, weights=hit, minlength=start.size - 1).astype(int)
    counted = number > 0
    ideal = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(np.arange(2, PLACES + 2)))])[np.minimum(number, PLACES)]
    found = np.bincount(owner, weights=gain * hit[order], minlength=start.size - 1)
    return float((found[counted] / ideal[counted]).mean()) if counted.any() else 0.0
