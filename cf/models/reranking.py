"""Trees that rank a hybrid's best candidates again, by the parts' scores beside habits, recency and popularity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cf.boosting import Boosting, Trees
from cf.interactions import Interactions
from cf.models.blending import POWERS, Contest
from cf.models.repeat import ITEM, PAIR, USER, pairs
from cf.recommending.ranking import ranked

Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]
CONTENDERS = 150  # of each user, the blend's best
FOLDS = 2
TREES = Boosting(rounds=200, leaves=31, rate=0.05, least_rows=200, share_of_columns=0.4)


def contenders(blend: Floats) -> tuple[Numbers, Numbers]:
    """Return the blend's best positive scores of each row as (rows, columns), row by row."""
    nothing = np.zeros(0, bool)
    skip = np.zeros(len(blend) + 1, np.int64), np.zeros(0, np.int32)
    items, values = ranked(blend, min(CONTENDERS, blend.shape[1]), skip, nothing, np.zeros(0, np.int64))
    row, place = np.nonzero(values > 0)
    return row, items[row, place].astype(np.int64)


def described(history: Interactions, about: Floats, row: Numbers, column: Numbers, relative: Floats) -> Floats:
    """Return what trees are told of (user of the history, item) pairs, `(pairs, parts + PAIR + USER + ITEM)`.

    Of an item that the user has not had, habits are NaN; `about` is of every item, and `relative` the parts' scores.
    """
    indptr, indices, table = pairs(history, about)
    out = np.full((row.size, PAIR + USER + ITEM), np.nan, np.float32)
    if len(table):
        owner = np.repeat(np.arange(history.n_users), np.diff(indptr))
        key, wanted = owner * len(about) + indices, row * len(about) + column
        order = np.argsort(key)
        place = order[np.minimum(np.searchsorted(key, wanted, sorter=order), key.size - 1)]
        had = key[place] == wanted
        out[had] = table[place[had]]
        some = np.diff(indptr) > 0
        at_large = np.full((history.n_users, USER), np.nan, np.float32)
        at_large[some] = table[indptr[:-1][some], PAIR : PAIR + USER]
        out[:, PAIR : PAIR + USER] = at_large[row]
    out[:, PAIR + USER :] = about[column]
    return np.concatenate([relative, out], axis=1)


@dataclass(frozen=True)
class Reranker:
    """Fitted trees and what everyone does with each item, `(items, ITEM)`; `used`: the numbers of the parts they are told of."""

    used: Numbers
    about: Floats
    trees: Trees

    def apply(self, blend: Floats, relative: Floats, history: Interactions, row: Numbers, column: Numbers) -> Floats:
        """Return scores with the contenders' made P(had in the window), and all others of the user below them.

        `relative`: `(pairs, used parts)` of the contenders (row, column).
        """
        out = np.zeros_like(blend)
        if not row.size:
            return out
        chance = self.trees.predict(described(history, self.about, row, column, relative)).astype(np.float32)
        begin = np.flatnonzero(np.diff(row, prepend=-1))
        lowest, least = np.minimum.reduceat(chance, begin), np.minimum.reduceat(blend[row, column], begin)
        scale = 0.5 * lowest / least  # whatever is no contender scores at most half the lowest contender
        out[row[begin]] = blend[row[begin]] * scale[:, None]
        out[row, column] = chance
        return out


def learned(
    contest: Contest, weights: npt.NDArray[np.float64], history: Interactions, about: Floats, seed: int
) -> tuple[Trees | None, Numbers, float]:
    """Return trees, the parts that they are told of, and the NDCG@10 of trees on users that they did not learn from.

    `history`: of the contest's users. None where what was held out is too little to learn from.
    """
    used = np.flatnonzero(weights.any(axis=1))
    blend = contest.features @ weights.ravel().astype(np.float32)
    owner = np.repeat(np.arange(contest.targets.size), np.diff(contest.start))
    order = np.lexsort((-blend, owner))
    chosen = np.sort(order[(np.arange(order.size) - contest.start[owner]) < CONTENDERS])
    chosen = chosen[blend[chosen] > 0]
    user, hit = owner[chosen], contest.hit[chosen]
    relative = contest.features[:, :: len(POWERS)][chosen][:, used]
    table = described(history, about, user, contest.item[chosen], relative)
    fold = np.random.default_rng(seed).permutation(contest.targets.size)[user] % FOLDS
    score = np.zeros(blend.size, np.float32)
    for held in range(FOLDS):
        known = hit[fold != held]
        if not known.any() or known.all() or not (fold == held).any():
            return None, used, 0.0
        trees = TREES.fit(table[fold != held], known, "binary", seed)
        score[chosen[fold == held]] = trees.predict(table[fold == held])
    return TREES.fit(table, hit, "binary", seed), used, contest.ndcg(score)
