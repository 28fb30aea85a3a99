"""Relevance: the calibrated probability that a user buys from a scope in a window anyway, and what is spent in it then."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import optimize, sparse
from scipy.special import expit

from cf.boosting import Boosting, Trees
from cf.errors import UsageError
from cf.events.columns import DAY
from cf.ids import Ids
from cf.interactions import Interactions
from cf.progress import Progress, silent
from cf.relevance.chance import Chance
from cf.relevance.crowd import Crowd, crowd_of
from cf.relevance.features import NAMES, features
from cf.relevance.foretelling import Past
from cf.relevance.gathering import outcomes, sums
from cf.relevance.network import Network, Perceptron
from cf.relevance.rows import PAIRS, Rows, drawn
from cf.relevance.scopes import Scopes
from cf.relevance.together import Together, together_of

Floats = npt.NDArray[np.float32]
STARTS = 2  # of past windows to a window's length: they overlap by a half
WORKERS = 2  # boosters and networks fitted at a time
LEVEL_USERS = 2_000  # whose mean probability is brought to the level of the last windows
MOST_SHIFT = 1.0  # in log-odds
FEW = 3  # visits
VISITS = NAMES.index("visits")
FEW_LOG = np.log1p(FEW) + 1e-3
FEW_IN_MAIN = 0.2  # share of the rows of users with few visits that the main booster sees too
HABITS_SHARE, VISIT_SHARE = 0.2, 0.5  # of the joint networks, in the log-odds of users of many visits, and of one
MOST_VISITS = 10  # of a history that is cut short for training


@dataclass(frozen=True)
class Relevance:
    """Gradient boosting and a network on recency, frequency and filtering scores, trained on windows of the past.

    At the start of each of the last `past_windows` windows, and at their middles, features are taken from what was known
    then, and the target is what was bought in the window that begins there. A share of the users enter with their history cut to one or a few visits too, so that
    the model knows what little evidence is worth. Of a user without history the answer is the scope's rate.

    Attributes
    ----------
    window
        Days.
    past_windows
        Windows to learn from; the earliest should leave a few windows of history before it.
    cut
        Share of the users that enter cut short too.
    most_users
        Users to learn from, drawn with `seed`; the others are only predicted.
    most_rows
        (user, scope, window) rows to learn from, with the full history.
    most_short_rows
        The same with the history cut short.
    most_tree_rows
        Of these, how many the trees learn from, which take longer than the network.
    boosting, short, spending
        Trees of the probability; of that of users with `FEW` visits or fewer, who have trees and a network of their own;
        and of the spend.
    network, short_network
        Networks of the probability, for both sorts of users; the log-odds are the mean of theirs and the trees'.
    """

    window: float = 28.0
    past_windows: int = 5
    cut: float = 0.8
    most_users: int = 20_000
    most_rows: int = 1_000_000
    most_short_rows: int = 450_000
    most_tree_rows: int = 500_000
    boosting: Boosting = field(default_factory=lambda: Boosting(rounds=100, rate=0.1))
    short: Boosting = field(default_factory=lambda: Boosting(rounds=100, leaves=15, rate=0.09, least_rows=300))
    network: Network = field(default_factory=Network)
    short_network: Network = field(default_factory=lambda: Network(epochs=6))
    spending: Boosting = field(default_factory=lambda: Boosting(rounds=80, leaves=15, rate=0.1, least_rows=200))
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.window < np.inf:
            raise UsageError(f"window must be above 0 days; got {self.window}")
        for name in ("past_windows", "most_users", "most_rows", "most_tree_rows"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1; got {getattr(self, name)}")
        if not 0 <= self.cut <= 1:
            raise UsageError(f"cut is a share; got {self.cut}")

    def fit(self, interactions: Interactions, scopes: Scopes, progress: Progress = silent) -> RelevanceModel:
        """Learn from interactions, whose `now` is where the window to foretell begins."""
        covers = scopes.aligned(interactions.items)
        sample = self._sample(interactions)
        rows = self._rows(sample, covers, progress)
        if not rows.bought.any() or rows.bought.all():
            raise UsageError(
                f"the past windows have {int(rows.bought.sum()):,} purchases from the scopes among {rows.bought.size:,} "
                "pairs of user and scope; relevance needs some of both sorts: give a longer history or other scopes"
            )
        return self._learned(rows, interactions.money is not None, progress)._of(sample, covers)

    def _learned(self, rows: Rows, money: bool, progress: Progress) -> Boosters:
        """Return what tells the probability, that of users with few visits, and spend; two are fitted at a time."""
        rng = np.random.default_rng(self.seed)
        few = rows.features[:, VISITS] <= FEW_LOG
        plenty = np.flatnonzero(~few | (rng.random(few.size) < FEW_IN_MAIN))
        plenty = plenty if plenty.size else np.arange(few.size)
        scarce = np.flatnonzero(few)
        paid = np.flatnonzero(rows.bought & (rows.spent > 0))
        some = np.sort(rng.permutation(plenty)[: self.most_tree_rows])

        def trees(rule: Boosting, chosen: npt.NDArray[Any], target: npt.NDArray[Any], objective: str) -> Trees:
            return rule.fit(rows.features[chosen], target[chosen], objective, self.seed)

        with ThreadPoolExecutor(WORKERS) as pool:  # both let go of the interpreter while they work

            def chance(
                by_trees: Boosting, seen: npt.NDArray[Any], by_network: Network, all_rows: npt.NDArray[Any]
            ) -> Any:
                first = pool.submit(by_network.fit, rows.features, rows.bought, all_rows, self.seed)
                return pool.submit(trees, by_trees, seen, rows.bought, "binary"), first

            jobs: list[tuple[Future[Trees], Future[Perceptron]]] = [chance(self.boosting, some, self.network, plenty)]
            if rows.bought[few].any() and not rows.bought[few].all():
                jobs.append(chance(self.short, scarce, self.short_network, scarce))
            spend = pool.submit(trees, self.spending, paid, rows.spent, "gamma") if money and paid.size else None
            made = []
            for number, (grown, trained) in enumerate(jobs):
                progress("boosting", number, len(jobs))
                made.append(Chance(grown.result(), trained.result()))
        progress("boosting", len(jobs), len(jobs))
        return Boosters(self, made[0], made[1] if len(made) > 1 else None, None if spend is None else spend.result())

    def _sample(self, interactions: Interactions) -> Interactions:
        """Return the interactions of the users to learn from: those with any, at most `most_users`."""
        users = np.flatnonzero(np.diff(interactions.start))
        if not users.size:
            raise UsageError("no user has any event; relevance has nothing to learn from")
        if users.size > self.most_users:
            rng = np.random.default_rng(self.seed)
            users = np.sort(rng.choice(users, self.most_users, replace=False))
        return interactions.only(users)

    def _rows(self, sample: Interactions, scopes: Scopes, progress: Progress) -> Rows:
        """Return the training rows of all windows."""
        rng = np.random.default_rng(self.seed)
        step = int(self.window * DAY)
        first = int(sample.time.min())
        begins = [sample.now - step - step * n // STARTS for n in range(STARTS * (self.past_windows - 1) + 1)]
        begins = [begin for begin in begins if begin - step >= first]
        if not begins:
            raise UsageError(
                f"the events span less than two windows of {self.window:g} days; give a longer history or a shorter window"
            )
        share = self.most_rows / (len(begins) * sample.n_users * len(scopes))
        cut_share = self.most_short_rows / (len(begins) * self.cut * sample.n_users * len(scopes)) if self.cut else 0.0
        past = Past(sample, scopes, self.window, self.seed)
        parts: list[Rows] = []
        for number, begin in enumerate(begins):
            progress("past windows", number, len(begins))
            at = np.datetime64(begin, "s")
            known = sample.before(at)
            later = sample.between(at, np.datetime64(begin + step, "s"))
            crowd = crowd_of(known, scopes, self.window, self.seed, past)
            parts.extend(drawn(known, later, scopes, crowd, self.window, min(share, 1.0), rng))
            chosen = np.flatnonzero(rng.random(known.n_users) < self.cut)
            kept = rng.random(chosen.size)  # a half keeps one visit, a quarter two or three, a quarter up to ten
            more = np.where(
                kept < 0.75, rng.integers(2, FEW + 1, chosen.size), rng.integers(FEW + 1, MOST_VISITS + 1, chosen.size)
            )
            visits = np.where(kept < 0.5, 1, more)
            short = known.only(chosen).last_visits(visits)
            parts.extend(drawn(short, later.only(chosen), scopes, crowd, self.window, min(cut_share, 1.0), rng))
        progress("past windows", len(begins), len(begins))
        return Rows(
            *(np.concatenate([getattr(part, name) for part in parts]) for name in ("features", "bought", "spent"))
        )


@dataclass(frozen=True)
class Foretold:
    """What users will do in the window.

    Attributes
    ----------
    users
        `(n,)` ids.
    probability
        `(n, scopes)` float32: P(buys at least one item of the scope in the window).
    spend
        `(n, scopes)` float32, currency: expected spend on the scope in the window, not given that any is bought; None
        where the events had no money.
    """

    users: npt.NDArray[Any]
    probability: Floats
    spend: Floats | None


@dataclass(frozen=True)
class Boosters:
    """What `Relevance` learned, apart from whom it learned it of: it serves later moments and other scopes.

    Attributes
    ----------
    chance, short, spend
        What tells the probability, that of users with `FEW` visits or fewer, and the spend of who buys.
    """

    parameters: Relevance
    chance: Chance
    short: Chance | None
    spend: Trees | None

    def at(self, interactions: Interactions, scopes: Scopes) -> RelevanceModel:
        """Return the model of the window that begins at the interactions' `now`; nothing is boosted anew."""
        return self._of(self.parameters._sample(interactions), scopes.aligned(interactions.items))

    def _of(self, sample: Interactions, covers: Scopes) -> RelevanceModel:
        rule = self.parameters
        past = Past(sample, covers, rule.window, rule.seed)
        crowd = crowd_of(sample, covers, rule.window, rule.seed, past)
        joint = together_of(past, covers, crowd, rule.seed)
        model = RelevanceModel(rule, sample, covers, crowd, joint, self.chance, self.short, self.spend)
        cut = sample.last_visits(1) if self.short is not None else None
        model = model if cut is None else replace(model, short_shift=model.shift_of(cut))
        return replace(model, shift=model.shift_of(sample))


@dataclass(frozen=True)
class RelevanceModel:
    """A fitted relevance; `reference` holds the users that it learned from, who speak for any set of scopes."""

    parameters: Relevance
    reference: Interactions
    scopes: Scopes
    crowd: Crowd
    joint: Together
    chance: Chance
    short: Chance | None
    spend: Trees | None
    shift: float = 0.0
    short_shift: float = 0.0

    @property
    def boosters(self) -> Boosters:
        """What is worth keeping for another moment."""
        return Boosters(self.parameters, self.chance, self.short, self.spend)

    def apart_from(self, user: Any) -> RelevanceModel:
        """Return the model for made-up histories of one user: they are nobody's by name, and the user is no neighbour of theirs."""
        place = int(self.crowd.names.find(np.array([user]))[0])
        kept = np.ones(len(self.crowd.names), np.float32)
        kept[place] = 0.0 if place >= 0 else kept[place]
        profiles = sparse.csr_matrix(self.crowd.profiles @ sparse.diags(kept), dtype=self.crowd.profiles.dtype)
        profiles.eliminate_zeros()
        return replace(self, crowd=replace(self.crowd, profiles=profiles, names=Ids()))

    def predict(
        self,
        history: Interactions,
        users: npt.ArrayLike | None = None,
        scopes: Scopes | None = None,
        progress: Progress = silent,
    ) -> Foretold:
        """Foretell the window that begins at the model's `now`.

        Parameters
        ----------
        history
            Interactions of any users; events from the model's `now` on are not looked at.
        users
            Ids; all users of the history where left out. An id that the history lacks is a user without history.
        scopes
            By default those fitted on; others need no new fit: the reference users say how each relates to the others.
        """
        if scopes is not None:
            return self.boosters.at(self.reference, scopes).predict(history, users, progress=progress)
        known = history.aligned(self.reference.items)
        typical = self._typical()
        names = known.users.values if users is None else np.asarray(users)
        number = np.arange(known.n_users) if users is None else known.users.find(names)
        probability = np.empty((names.size, len(self.scopes)), np.float32)
        spend = None if self.spend is None else np.empty_like(probability)
        size = max(1, PAIRS // len(self.scopes))
        for begin in range(0, names.size, size):
            place = number[begin : begin + size]
            chance, money = self._block(known, place, typical)
            probability[begin : begin + size] = chance
            if spend is not None and money is not None:
                spend[begin : begin + size] = money
            progress("relevance", min(begin + size, names.size), names.size)
        return Foretold(names, probability, spend)

    def _block(
        self, known: Interactions, place: npt.NDArray[np.int64], typical: Floats
    ) -> tuple[Floats, Floats | None]:
        """Return the probability and spend of a block of users; -1 is a user that the history lacks."""
        chance = np.tile(self.crowd.recent, (place.size, 1))
        money = None if self.spend is None else chance * typical
        present = np.flatnonzero(place >= 0)
        now = np.datetime64(self.crowd.now, "s")
        cut = known.only(place[present]).before(now)  # cut by block: the log is never copied
        active = np.flatnonzero(np.diff(cut.start))
        if active.size:
            odds, few, table = self._odds(cut.only(active))
            odds += np.where(few, self.short_shift, self.shift)[:, None]
            chance[present[active]] = expit(odds)
            if money is not None and self.spend is not None:
                spent = self.spend.predict(table.reshape(-1, table.shape[-1])).reshape(odds.shape)
                money[present[active]] = chance[present[active]] * spent
        return chance, money

    def _odds(self, history: Interactions) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_], Floats]:
        """Return log-odds before shifts, `(users, scopes)`, whether users have few visits, and the features they are told from."""
        found = sums(history, self.scopes)
        table = features(history, self.scopes, self.crowd, self.parameters.window, found)
        visits = found.user[:, 0]
        few = visits <= FEW if self.short is not None else np.zeros(len(visits), bool)
        out = np.empty(table.shape[:2])
        for who, rule in ((~few, self.chance), (few, self.short)):
            if rule is not None and who.any():
                out[who] = rule.odds(table[who].reshape(-1, table.shape[-1])).reshape(-1, table.shape[1])
        habits = self.joint.of_habits(found)
        if habits is not None:
            out[~few] += HABITS_SHARE * (habits[~few] - out[~few])
        once = np.flatnonzero(few & (visits == 1.0))
        alone = self.joint.of_visit(history.only(once), self.scopes, self.crowd) if once.size else None
        if alone is not None:
            out[once] += VISIT_SHARE * (alone - out[once])
        return out, few, table

    def shift_of(self, history: Interactions) -> float:
        """Return what to add to users' log-odds so that their mean probability is the level of the last windows, smoothed.

        A model has seen a handful of windows, too few to foretell how the level moves from one to the next; left alone it
        carries the latest movement on.
        """
        users = np.random.default_rng(self.parameters.seed).permutation(history.n_users)[:LEVEL_USERS]
        size = max(1, PAIRS // len(self.scopes))
        parts = []
        for begin in range(0, users.size, size):
            odds, few, _ = self._odds(history.only(users[begin : begin + size]))
            parts.append(odds + np.where(few, self.short_shift, 0.0)[:, None])
        whole = np.concatenate(parts)

        def excess(shift: float) -> float:
            return float(expit(whole + shift).mean() - self.crowd.level)

        if excess(-MOST_SHIFT) > 0 or excess(MOST_SHIFT) < 0:  # no level moves so far: the model knows better
            return 0.0
        return float(optimize.brentq(excess, -MOST_SHIFT, MOST_SHIFT))

    def _typical(self) -> Floats:
        """Return the mean spend of the buyers of each scope in the last window, `(scopes,)`; everyone's where none bought."""
        begin = np.datetime64(self.crowd.now - int(self.parameters.window * DAY), "s")
        bought, spent = outcomes(self.reference.between(begin, None), self.scopes)
        buyers = bought.sum(axis=0)
        everyone = spent.sum() / max(buyers.sum(), 1)
        return np.where(buyers > 0, spent.sum(axis=0) / np.maximum(buyers, 1), everyone).astype(np.float32)
