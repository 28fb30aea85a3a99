"""What a reference population says at one time: rates of the scopes, and models that tell one scope from the others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from cf.events.columns import DAY
from cf.ids import Ids
from cf.interactions import Interactions
from cf.models.ease import solved
from cf.neighbours import Cosine, best_of_product
from cf.neighbours.nearest import csr
from cf.neighbours.similarity import Terms, rarity
from cf.relevance import kernels
from cf.relevance.foretelling import ONCE, RARE, Past, basket_inputs, foretelling, full_inputs
from cf.relevance.gathering import GROUP_PRIOR, Floats, Sums, odds_within, outcomes, profile_of, sums
from cf.relevance.linear import affine, decomposed
from cf.relevance.scopes import Scopes

PRIOR = 2.0  # users' worth of the rate that a scope of average items would have
NEIGHBOURS = 200
SMOOTHING = (0.5, 0.25, 0.25)  # of the level of the last windows
NEIGHBOUR_USERS = 3_000
BIN_PENALTY = 300.0
LOG_PENALTY = 2.0
FACTOR_PENALTY = 0.5


def held_log(pair: Floats) -> Floats:
    """Return log(1 + 3 decayed visits) of each scope, of length 1: what EASE on amounts reads."""
    weights = np.log1p(3.0 * pair[..., 3])
    return weights / np.maximum(np.linalg.norm(weights, axis=1, keepdims=True), 1e-9)


def linear_model(held: Floats, penalty: float) -> Floats:
    """Return EASE's weights between scopes (Steck 2019, doi:10.1145/3308558.3313710), `(scopes, scopes)`."""
    gram = held.T @ held
    gram[np.diag_indices_from(gram)] += penalty
    return solved(gram)


@dataclass(frozen=True)
class Crowd:
    """The reference users' knowledge at one time.

    Attributes
    ----------
    now, days
        Seconds since 1970, and how many days of events are known.
    recent, usual
        `(scopes,)` shares of the users who bought from the scope in the last window, and in the last three on average.
    level
        Mean over scopes of the share of buyers in a window, smoothed over the last three: a half, a quarter, a quarter.
    pace
        `(scopes,)` mean visits with the scope in a window, from decayed counts.
    loyalty
        `(scopes, 5)`: log-odds of buying in the last window among those who bought in the one before, who bought earlier
        only, and who never had; the logs of the visits with the scope a buyer, and of the days between two.
    basket_odds
        `(scopes, 2)`: log-odds of buying in the last window after a single visit with the scope, and after one without.
    links, log_links
        `(scopes, scopes)` weights of EASE on whether, and on how much, a user holds each scope.
    profiles, terms
        `(items, users)` TF-IDF profiles of the neighbours to choose from, of length 1, and their terms.
    names
        Their ids: nobody is a neighbour of oneself.
    habits, lately
        `(neighbours, scopes)`: their decayed visits, and whether they bought in the last window.
    rarity
        `(items,)` weights of TF-IDF; 0 leaves an item out.
    factors, to_scope
        `(items, factors)` and `(factors, scopes)`: a singular value decomposition of the profiles, and a ridge regression
        from it to habits.
    full, basket
        `(inputs + 1, scopes)` logistic regressions of what was bought in a window on habits with all scopes before it, and
        on the last visit before it.
    telling, lifts
        `(kept,)` items and `(kept, scopes)`: the log of how much likelier a scope is bought in a window after a visit with
        the item than after any visit.
    """

    now: int
    days: float
    recent: Floats
    usual: Floats
    level: float
    pace: Floats
    loyalty: Floats
    basket_odds: Floats
    links: Floats
    log_links: Floats
    profiles: sparse.csr_matrix
    terms: Terms
    names: Ids
    habits: Floats
    lately: Floats
    rarity: npt.NDArray[np.float64]
    factors: Floats
    to_scope: Floats
    full: Floats
    basket: Floats
    telling: npt.NDArray[np.int64]
    lifts: Floats

    def profile(self, history: Interactions) -> sparse.csr_matrix:
        """Return users' TF-IDF profiles of length 1, `(users, items)`."""
        return profile_of(history, self.rarity)

    def signals(self, history: Interactions, scopes: Scopes, found: Sums) -> Floats:
        """Return what others say of each user and scope, `(users, scopes, 9)`."""
        pair = found.pair
        profile = self.profile(history)
        factored = np.asarray(profile @ self.factors, np.float32)
        last = history.last_visits(1)
        visit = np.asarray(self.profile(last) @ self.factors, np.float32)
        own = self.names.find(history.users.values)
        near = best_of_product(profile, self.profiles, NEIGHBOURS, right_terms=self.terms, own=own)
        total = np.maximum(np.asarray(near.sum(axis=1)), 1e-9)
        return np.stack(
            [
                (pair[..., 0] > 0).astype(np.float32) @ self.links,
                held_log(pair) @ self.log_links,
                (near @ self.habits) / total,
                (near @ self.lately) / total,
                factored @ self.to_scope,
                affine(full_inputs(found), self.full),
                affine(np.concatenate([basket_inputs(sums(last, scopes)), visit], axis=1), self.basket),
                self._lift(last.matrix(ONCE)),
                self._lift(profile),
            ],
            axis=-1,
        ).astype(np.float32)

    def _lift(self, held: sparse.csr_matrix) -> Floats:
        """Return the mean of the lifts of the items that users hold, by weight; `(users, scopes)`."""
        some = held[:, self.telling]
        total = np.maximum(np.asarray(some.sum(axis=1)), 1e-9)
        return np.asarray((some @ self.lifts) / total, np.float32)


def shrunk(bought: npt.NDArray[np.bool_], scopes: Scopes, later: Interactions) -> Floats:
    """Return each scope's share of buyers, drawn a little towards that of as many average items; `(scopes,)`."""
    users = max(later.n_users, 1)
    singles = sparse.csr_matrix((np.ones(len(later)), later.item, later.start), shape=(users, later.n_items))
    singles.sum_duplicates()
    each = min(singles.nnz / users / max(later.n_items, 1), 0.5)  # P(a user buys a given item), of an average item
    sizes = np.diff(scopes.covers.tocsc().indptr)
    average = np.maximum(1.0 - (1.0 - each) ** sizes, 1e-6)
    return ((bought.sum(axis=0) + PRIOR * np.minimum(average, 0.5)) / (users + PRIOR)).astype(np.float32)


def crowd_of(reference: Interactions, scopes: Scopes, window: float, seed: int, past: Past | None = None) -> Crowd:
    """Learn from what the reference users had before `reference.now`; `window` is in days.

    `past`: of the same users (perhaps beyond `now`), where crowds of several moments are made.
    """
    now, step = reference.now, int(window * DAY)
    spans = [
        reference.between(np.datetime64(now - step * (n + 1), "s"), np.datetime64(now - step * n, "s"))
        for n in range(3)
    ]
    rates = []
    bought_lately = np.zeros((reference.n_users, len(scopes)), bool)
    first = int(reference.time.min()) if len(reference) else now
    for number, span in enumerate(spans):
        bought, _ = outcomes(span, scopes)
        if number == 0:
            bought_lately = bought
        if number == 0 or now - step * (number + 1) >= first - DAY:
            rates.append(shrunk(bought, scopes, span))
    found = sums(reference, scopes)
    pair = found.pair
    days = (now - first) / DAY
    recall = max(1.0 - 0.5 ** (days / kernels.LIVES[2]), 1e-3) * kernels.LIVES[2] / np.log(2.0)
    visits = reference.matrix()
    rare = rarity(visits)
    holders = np.bincount(visits.indices, minlength=reference.n_items)
    rare = np.where(holders >= RARE, rare, 0.0)
    profile = profile_of(reference, rare)
    profile.eliminate_zeros()
    factors = decomposed(profile, seed)
    scores = np.asarray(profile @ factors, np.float32)
    habits = np.minimum(pair[..., 3], 3.0)
    gram = scores.T @ scores
    gram[np.diag_indices_from(gram)] += FACTOR_PENALTY
    some = np.random.default_rng(seed).permutation(reference.n_users)[:NEIGHBOUR_USERS]
    some.sort()
    told = foretelling(past or Past(reference, scopes, window, seed), now, scopes, rare, factors)
    return Crowd(
        now=now,
        days=days,
        recent=rates[0],
        usual=np.mean(rates, axis=0).astype(np.float32),
        level=float(np.average([rate.mean() for rate in rates], weights=SMOOTHING[: len(rates)])),
        pace=pair[..., 3].mean(axis=0) / recall * window,
        loyalty=loyalty_of(reference, scopes, bought_lately, step, pair),
        basket_odds=told.basket_odds,
        links=linear_model((pair[..., 0] > 0).astype(np.float32), BIN_PENALTY),
        log_links=linear_model(held_log(pair), LOG_PENALTY),
        profiles=csr(profile[some].T),
        terms=Cosine().terms(profile[some]),
        names=Ids(reference.users.values[some]),
        habits=habits[some],
        lately=bought_lately[some].astype(np.float32),
        rarity=rare,
        factors=factors,
        to_scope=np.linalg.solve(gram, scores.T @ habits).astype(np.float32),
        full=told.full,
        basket=told.basket,
        telling=told.telling,
        lifts=told.lifts,
    )


def loyalty_of(
    reference: Interactions, scopes: Scopes, bought: npt.NDArray[np.bool_], step: int, pair: Floats
) -> Floats:
    """Return how those who bought before, earlier or never bought in the last window, and paces, `(scopes, 5)`; see `Crowd`."""
    before = reference.before(np.datetime64(reference.now - step, "s"))
    held = sums(before, scopes).pair
    known = np.diff(before.start) > 0
    ever = held[..., 0] > 0
    lately = ever & (held[..., 5] * DAY <= step)
    out = [odds_within(group & known[:, None], bought) for group in (lately, ever & ~lately, ~ever)]
    holders = (pair[..., 0] > 0).sum(axis=0)
    out.append(np.log1p(pair[..., 0].sum(axis=0) / np.maximum(holders, 1)))
    again = np.maximum(pair[..., 0] - 1.0, 0.0)
    spread = np.where(again > 0, pair[..., 7], 0.0).sum(axis=0)
    everyone = (spread.sum() + 1.0) / (again.sum() + 0.1)
    out.append(np.log1p((spread + GROUP_PRIOR * everyone) / (again.sum(axis=0) + GROUP_PRIOR)))
    return np.stack(out, axis=-1).astype(np.float32)
