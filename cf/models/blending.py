"""How a hybrid blends: shapes of scores, candidates that compete, and the weights under which the right ones win."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import prange
from scipy import optimize, sparse

from cf.compiling import njit
from cf.interactions import Interactions
from cf.model import Model, Numbers, Scores, present
from cf.recommending.ranking import owned, ranked

POWERS = (1.0, 0.5)  # shapes of a part's score: a weight for each lets the blend bend it
BLOCK = 256  # users
HELD = 60_000_000  # scores of all parts at a time: 240 MB
PLACES = 10  # of the NDCG that the blend is held against
SWEEPS = 4  # over all weights, in coordinate ascent
STRETCHES = np.array([0.5, 0.8, 1.25, 2.0])  # of a weight
SHARES = np.array([0.02, 0.05, 0.15, 0.4])  # of the sum of weights
LEAST_GAIN = 2e-5  # of NDCG


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


def candidate_blocks(
    models: list[Model], targets: sparse.csr_matrix, history: Interactions, users: Numbers, most: int, fresh: bool
) -> Iterator[Candidates]:
    """Give the candidates of blocks of users: the best of each model; none that the user has had where `fresh`."""
    nothing = np.zeros(0, bool)
    size = min(BLOCK, max(1, HELD // max(len(models[0].items) * len(models), 1)))
    for begin in range(0, users.size, size):
        block = users[begin : begin + size]
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


def listwise(
    features: npt.NDArray[np.float32], hit: npt.NDArray[np.bool_], start: npt.NDArray[np.int64], penalty: float
) -> npt.NDArray[np.float64]:
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


@njit(nogil=True, cache=True, parallel=True)
def gains(score, hit, start, ideal, out):  # type: ignore[no-untyped-def]
    """Fill each user's NDCG@10 among its candidates, `(users,)`; what scores 0 is not ranked, ties go to the earlier one."""
    for u in prange(start.size - 1):
        out[u] = 0.0
        best = np.full(PLACES, -1, np.int64)
        size = 0
        for p in range(start[u], start[u + 1]):
            value = score[p]
            if value <= 0.0 or (size == PLACES and score[best[size - 1]] >= value):
                continue
            at = min(size, PLACES - 1)
            while at > 0 and score[best[at - 1]] < value:
                best[at] = best[at - 1]
                at -= 1
            best[at] = p
            size = min(size + 1, PLACES)
        for place in range(size):
            if hit[best[place]]:
                out[u] += 1.0 / np.log2(place + 2.0)
        if ideal[u] > 0.0:
            out[u] /= ideal[u]


@dataclass(frozen=True)
class Contest:
    """All users' candidates: `features` `(candidates, parts x powers)` and `hit`, user u's from `start[u]`; `targets` a user."""

    features: npt.NDArray[np.float32]
    hit: npt.NDArray[np.bool_]
    start: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]

    @classmethod
    def of(cls, blocks: Sequence[Candidates], targets: npt.NDArray[np.int64]) -> Contest:
        """Join blocks of users; `targets`: how many items each user had in what is held out."""
        start = np.concatenate([[0], np.cumsum(np.concatenate([block.number for block in blocks]))]).astype(np.int64)
        features = np.concatenate([block.features for block in blocks])
        return cls(features, np.concatenate([block.hit for block in blocks]), start, targets)

    def ndcg(self, score: npt.NDArray[np.float32]) -> float:
        """Return the mean NDCG@10 of scores of the candidates."""
        ideal = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(np.arange(2, PLACES + 2)))])
        out = np.empty(self.targets.size)
        gains(score, self.hit, self.start, ideal[np.minimum(self.targets, PLACES)], out)
        return float(out.mean())

    def climbed(self, weights: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], float]:
        """Change one weight at a time while the NDCG rises; return the weights and their NDCG.

        Coordinate ascent: Metzler & Croft, *Linear feature-based models for information retrieval*, Information Retrieval
        2007, doi:10.1007/s10791-006-9019-z.
        """
        score = self.features @ weights.astype(np.float32)
        best, found = self.ndcg(score), weights.copy()
        for _ in range(SWEEPS):
            before = best
            for place in range(found.size):
                scale = max(float(found.sum()), 1e-9)
                for value in [0.0, *(found[place] * STRETCHES), *(scale * SHARES)]:
                    if value == found[place]:
                        continue
                    moved = score + np.float32(value - found[place]) * self.features[:, place]
                    reached = self.ndcg(moved)
                    if reached > best + LEAST_GAIN:
                        best, score, found[place] = reached, moved, value
            if best - before < LEAST_GAIN * 10:
                break
        return found, best
