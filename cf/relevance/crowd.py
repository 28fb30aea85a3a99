"""What a reference population says at one time: rates of the scopes, and models that tell one scope from the others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from cf.events.columns import DAY
from cf.ids import Ids
from cf.interactions import Interactions, Weighting
from cf.models.ease import solved
from cf.neighbours import Cosine, best_of_product
from cf.neighbours.nearest import csr
from cf.neighbours.similarity import Terms, rarity
from cf.relevance import kernels
from cf.relevance.linear import decomposed, ridge
from cf.relevance.scopes import Scopes

Floats = npt.NDArray[np.float32]
GROUP_PRIOR = 10.0  # users' worth of the rate of all scopes that a group of a scope's users is drawn to
PRIOR = 2.0  # users' worth of the rate that a scope of average items would have
NEIGHBOURS = 200
SMOOTHING = (0.5, 0.25, 0.25)  # of the level of the last windows
PROFILE = Weighting(half_life=180.0)
ONCE = Weighting(repeats="once")
NEIGHBOUR_USERS = 3_000
RARE = 3  # items of fewer users do not enter profiles
BIN_PENALTY = 300.0
LOG_PENALTY = 2.0
FACTOR_PENALTY = 0.5
FULL_PENALTY = 60.0
BASKET_PENALTY = 60.0
VISITS = 6  # of each user that stand for first baskets
LIFT_ITEMS = 20_000  # the most popular ones, whose purchase foretells scopes one by one
LIFT_PRIOR = 30.0  # visits' worth of the scope's rate that an item's is drawn to


@dataclass(frozen=True)
class Sums:
    """Sums over events, as `cf.relevance.kernels.gather` fills them: `(users, scopes, PAIR)` and `(users, USER)`."""

    pair: Floats
    user: Floats


def sums(history: Interactions, scopes: Scopes) -> Sums:
    """Gather the sums of every user of a history, as of its `now`."""
    pair = np.zeros((history.n_users, len(scopes), kernels.PAIR), np.float32)
    user = np.zeros((history.n_users, kernels.USER), np.float32)
    money = history.money if history.money is not None else np.zeros(0, np.float32)
    covers = scopes.covers
    kernels.gather(
        history.start[:-1], history.start[1:], history.item, history.time, money, covers.indptr.astype(np.int64),
        covers.indices.astype(np.int32), len(scopes), history.now, pair, user,
    )  # fmt: skip
    return Sums(pair, user)


def outcomes(later: Interactions, scopes: Scopes) -> tuple[npt.NDArray[np.bool_], Floats]:
    """Return whether and for how much each user buys from each scope in these interactions, `(users, scopes)`."""
    bought = np.zeros((later.n_users, len(scopes)), bool)
    spent = np.zeros((later.n_users, len(scopes)), np.float32)
    money = later.money if later.money is not None else np.zeros(0, np.float32)
    covers = scopes.covers
    kernels.outcomes(
        later.start[:-1], later.start[1:], later.item, money, covers.indptr.astype(np.int64),
        covers.indices.astype(np.int32), bought, spent,
    )  # fmt: skip
    return bought, spent


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
        `(inputs, scopes)` ridge regressions of what was bought in the last window on everything known before it, and on a
        single visit before it.
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
                linear(full_inputs(found, factored), self.full),
                linear(basket_inputs(sums(last, scopes), visit), self.basket),
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


def linear(inputs: Floats, weights: Floats) -> Floats:
    """Return inputs times weights; zeros where there was too little to learn weights from."""
    return inputs @ weights if len(weights) else np.zeros((len(inputs), weights.shape[1]), np.float32)


def unit_rows(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return rows of length 1."""
    length = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    scale = np.divide(1.0, length, out=np.zeros_like(length), where=length > 0)
    return csr(sparse.diags(scale.astype(np.float32)) @ matrix)


def shrunk(bought: npt.NDArray[np.bool_], scopes: Scopes, later: Interactions) -> Floats:
    """Return each scope's share of buyers, drawn a little towards that of as many average items; `(scopes,)`."""
    users = max(later.n_users, 1)
    singles = sparse.csr_matrix((np.ones(len(later)), later.item, later.start), shape=(users, later.n_items))
    singles.sum_duplicates()
    each = min(singles.nnz / users / max(later.n_items, 1), 0.5)  # P(a user buys a given item), of an average item
    sizes = np.diff(scopes.covers.tocsc().indptr)
    average = np.maximum(1.0 - (1.0 - each) ** sizes, 1e-6)
    return ((bought.sum(axis=0) + PRIOR * np.minimum(average, 0.5)) / (users + PRIOR)).astype(np.float32)


def crowd_of(reference: Interactions, scopes: Scopes, window: float, seed: int) -> Crowd:
    """Learn from what the reference users had before `reference.now`; `window` is in days."""
    now, step = reference.now, int(window * DAY)
    spans = [reference.between(np.datetime64(now - step * (n + 1), "s"), np.datetime64(now - step * n, "s")) for n in range(3)]  # fmt: skip
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
    rare = rarity(reference.matrix())
    holders = np.bincount(reference.matrix().indices, minlength=reference.n_items)
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
    told = foretelling(reference.before(np.datetime64(now - step, "s")), scopes, bought_lately, rare, factors)
    return Crowd(
        now=now, days=days, recent=rates[0], usual=np.mean(rates, axis=0).astype(np.float32),
        level=float(np.average([rate.mean() for rate in rates], weights=SMOOTHING[: len(rates)])),
        pace=pair[..., 3].mean(axis=0) / recall * window,
        loyalty=loyalty_of(reference, scopes, bought_lately, step, pair), basket_odds=told.basket_odds,
        links=linear_model((pair[..., 0] > 0).astype(np.float32), BIN_PENALTY),
        log_links=linear_model(held_log(pair), LOG_PENALTY), profiles=csr(profile[some].T),
        terms=Cosine().terms(profile[some]), names=Ids(reference.users.values[some]), habits=habits[some],
        lately=bought_lately[some].astype(np.float32), rarity=rare, factors=factors,
        to_scope=np.linalg.solve(gram, scores.T @ habits).astype(np.float32), full=told.full, basket=told.basket,
        telling=told.telling, lifts=told.lifts,
    )  # fmt: skip


def loyalty_of(reference: Interactions, scopes: Scopes, bought: npt.NDArray[np.bool_], step: int, pair: Floats) -> Floats:  # fmt: skip
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


def odds_within(group: npt.NDArray[np.bool_], bought: npt.NDArray[np.bool_]) -> Floats:
    """Return the log-odds of buying among a group of each scope's users, drawn to that of all scopes; `(scopes,)`."""
    size, buyers = group.sum(axis=0), (bought & group).sum(axis=0)
    everyone = (buyers.sum() + 0.5) / (size.sum() + 1.0)
    share = (buyers + GROUP_PRIOR * everyone) / (size + GROUP_PRIOR)
    return np.asarray(np.log(share / (1.0 - share)), np.float32)


@dataclass(frozen=True)
class Foretelling:
    """Linear models of the last window from what was known before it; see `Crowd`."""

    full: Floats
    basket: Floats
    basket_odds: Floats
    telling: npt.NDArray[np.int64]
    lifts: Floats


def foretelling(earlier: Interactions, scopes: Scopes, bought: npt.NDArray[np.bool_], rare: npt.NDArray[np.float64], factors: Floats) -> Foretelling:  # fmt: skip
    """Learn the last window from all that was known before it, and from single visits before it."""
    active = np.flatnonzero(np.diff(earlier.start))
    if not active.size:
        empty = np.zeros((0, len(scopes)), np.float32)
        return Foretelling(empty, empty, np.zeros((len(scopes), 2), np.float32), np.zeros(0, np.int64), empty)
    known, target = earlier.only(active), bought[active]
    factored = np.asarray(profile_of(known, rare) @ factors, np.float32)
    full = ridge(full_inputs(sums(known, scopes), factored), target.astype(np.float32), FULL_PENALTY)
    inputs, targets, seen, baskets = [], [], [], []
    held = known
    for _ in range(VISITS):  # the last visit, the one before, ...: each as if it were all that is known
        last = held.last_visits(1)
        some = np.flatnonzero(np.diff(last.start))
        visit = last.only(some)
        found = sums(visit, scopes)
        inputs.append(basket_inputs(found, np.asarray(profile_of(visit, rare) @ factors, np.float32)))
        targets.append(target[some])
        baskets.append(visit.matrix(ONCE))
        seen.append(found.pair[..., 0] > 0)
        held = held.without_last_visits(1)
    came, had = np.concatenate(targets), np.concatenate(seen)
    basket = ridge(np.concatenate(inputs), came.astype(np.float32), BASKET_PENALTY)
    telling, lifts = lifts_of(sparse.vstack(baskets, format="csr"), came)
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


def profile_of(history: Interactions, rare: npt.NDArray[np.float64]) -> sparse.csr_matrix:
    """Return users' TF-IDF profiles of length 1, `(users, items)`."""
    matrix = history.matrix(PROFILE)
    weights = np.log1p(3.0 * matrix.data) * rare[matrix.indices]
    return unit_rows(sparse.csr_matrix((weights.astype(np.float32), matrix.indices, matrix.indptr), shape=matrix.shape))


def full_inputs(found: Sums, factored: Floats) -> Floats:
    """Return what the next window is told from linearly: habits at three paces, activity, factors; `(users, inputs)`."""
    pair, user = found.pair, found.user
    paces = [np.log1p(3.0 * pair[..., place]) for place in (2, 3, 4)]
    active = np.log(user[:, 1:5] + 0.05)
    idle = np.log1p(np.maximum(user[:, 5:6], 0.0))
    one = np.ones((len(user), 1), np.float32)
    return np.concatenate([*paces, active, idle, np.log1p(user[:, 8:9]), 5.0 * factored, one], axis=1).astype(
        np.float32
    )


def basket_inputs(found: Sums, factored: Floats) -> Floats:
    """Return what the next window is told from where only the last visit is looked at; `(users, inputs)`."""
    held = (found.pair[..., 0] > 0).astype(np.float32)
    one = np.ones((len(held), 1), np.float32)
    size = np.log1p(found.user[:, 7:8])
    return np.concatenate([held, size, np.log1p(found.user[:, 8:9]), np.log1p(found.user[:, 9:10]), 2.0 * factored, one], axis=1)  # fmt: skip
