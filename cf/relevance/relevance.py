"""Relevance: the calibrated probability that a user buys from a scope in a window anyway, and what is spent in it then."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
from cf.relevance.crowd import Crowd, crowd_of
from cf.relevance.features import NAMES, features
from cf.relevance.foretelling import Past
from cf.relevance.gathering import outcomes
from cf.relevance.scopes import Scopes

Floats = npt.NDArray[np.float32]
PAIRS = 200_000  # (user, scope) pairs at a time: 26 MB of features, as much again of sums
STARTS = 2  # of past windows to a window's length: they overlap by a half
LEAST_SHARE = 200_000  # rows of a booster, where there are several
WORKERS = 2  # boosters fitted at a time
LEVEL_USERS = 2_000  # whose mean probability is brought to the level of the last windows
MOST_SHIFT = 1.0  # in log-odds
FEW = 3  # visits
VISITS = NAMES.index("visits")
FEW_LOG = np.log1p(FEW) + 1e-3
FEW_IN_MAIN = 0.2  # share of the rows of users with few visits that the main booster sees too
SPARE = 3.0  # pairs whose features are made for one that is drawn: more users, fewer pairs of each, tell more
MOST_VISITS = 10  # of a history that is cut short for training


@dataclass(frozen=True)
class Relevance:
    """Gradient boosting on recency, frequency and filtering scores, trained on windows of the past.

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
    boosting, short, spending
        Of the probability; of that of users with `FEW` visits or fewer, who have a booster of their own; and of the spend.
    models
        Boosters of the probability, each fitted to its share of the rows; their log-odds are averaged.
    """

    window: float = 28.0
    past_windows: int = 5
    cut: float = 0.8
    most_users: int = 20_000
    most_rows: int = 1_000_000
    most_short_rows: int = 450_000
    models: int = 2
    boosting: Boosting = field(default_factory=lambda: Boosting(rounds=200, rate=0.06))
    short: Boosting = field(default_factory=lambda: Boosting(rounds=100, leaves=15, rate=0.09, least_rows=300))
    spending: Boosting = field(default_factory=lambda: Boosting(rounds=80, leaves=15, rate=0.1, least_rows=200))
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.window < np.inf:
            raise UsageError(f"window must be above 0 days; got {self.window}")
        for name in ("past_windows", "most_users", "most_rows", "models"):
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
        chance, short, spend = self._boosted(rows, interactions.money is not None, progress)
        return Boosters(self, tuple(chance), short, spend)._of(sample, covers)

    def _boosted(self, rows: Rows, money: bool, progress: Progress) -> tuple[list[Trees], Trees | None, Trees | None]:
        """Return the boosters of the probability, of that of users with few visits, and of spend; two are fitted at a time."""
        rng = np.random.default_rng(self.seed)
        few = rows.features[:, VISITS] <= FEW_LOG
        plenty = np.flatnonzero(~few | (rng.random(few.size) < FEW_IN_MAIN))
        plenty = plenty if plenty.size else np.arange(few.size)
        paid = rows.bought & (rows.spent > 0)
        shared = np.array_split(rng.permutation(plenty), min(self.models, 1 + plenty.size // LEAST_SHARE))

        def fit(rule: Boosting, chosen: npt.NDArray[Any], target: npt.NDArray[Any], objective: str, seed: int) -> Trees:
            return rule.fit(rows.features[chosen], target[chosen], objective, seed)

        with ThreadPoolExecutor(WORKERS) as pool:  # LightGBM lets go of the interpreter while it works
            main = [
                pool.submit(fit, self.boosting, np.sort(part), rows.bought, "binary", self.seed + number)
                for number, part in enumerate(shared)
            ]
            mixed = rows.bought[few].any() and not rows.bought[few].all()
            short = (
                pool.submit(fit, self.short, np.flatnonzero(few), rows.bought, "binary", self.seed) if mixed else None
            )
            spend = (
                pool.submit(fit, self.spending, np.flatnonzero(paid), rows.spent, "gamma", self.seed)
                if money and paid.any()
                else None
            )
            chance = []
            for number, job in enumerate(main):
                progress("boosting", number, self.models)
                chance.append(job.result())
        progress("boosting", self.models, self.models)
        return chance, None if short is None else short.result(), None if spend is None else spend.result()

    def _shift(self, sample: Interactions, scopes: Scopes, crowd: Crowd, chance: list[Trees]) -> float:
        """Return what to add to the log-odds so that the mean probability is the level of the last windows, smoothed.

        Trees have seen a handful of windows, too few to foretell how the level moves from one to the next; left alone they
        carry the latest movement on.
        """
        users = np.random.default_rng(self.seed).permutation(sample.n_users)[:LEVEL_USERS]
        odds = []
        size = max(1, PAIRS // len(scopes))
        for begin in range(0, users.size, size):
            table = features(sample.only(users[begin : begin + size]), scopes, crowd, self.window)
            rows = table.reshape(-1, table.shape[-1])
            odds.append(np.mean([logit(trees.predict(rows)) for trees in chance], axis=0))
        whole = np.concatenate(odds)

        def excess(shift: float) -> float:
            return float(expit(whole + shift).mean() - crowd.level)

        if excess(-MOST_SHIFT) > 0 or excess(MOST_SHIFT) < 0:  # no level moves so far: the trees know better
            return 0.0
        return float(optimize.brentq(excess, -MOST_SHIFT, MOST_SHIFT))

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
class Rows:
    """Training rows: `(rows, columns)` features, whether bought, and for how much (currency)."""

    features: Floats
    bought: npt.NDArray[np.bool_]
    spent: Floats


def drawn(
    known: Interactions,
    later: Interactions,
    scopes: Scopes,
    crowd: Crowd,
    window: float,
    share: float,
    rng: np.random.Generator,
) -> Iterator[Rows]:
    """Give a random share of the pairs of users with some history, in blocks; where few, of a share of the users."""
    users = np.flatnonzero(np.diff(known.start))
    asked = min(1.0, SPARE * share)  # features are made of all pairs of a user
    users = users[rng.random(users.size) < asked] if asked < 1.0 else users
    share = share / asked if share else 0.0
    size = max(1, PAIRS // len(scopes))
    for begin in range(0, users.size, size):
        block = users[begin : begin + size]
        made = features(known.only(block), scopes, crowd, window)
        bought, spent = outcomes(later.only(block), scopes)
        kept = rng.random(bought.shape) < share
        yield Rows(made[kept], bought[kept], spent[kept])


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
        As `RelevanceModel` has them.
    """

    parameters: Relevance
    chance: tuple[Trees, ...]
    short: Trees | None
    spend: Trees | None

    def at(self, interactions: Interactions, scopes: Scopes) -> RelevanceModel:
        """Return the model of the window that begins at the interactions' `now`; nothing is boosted anew."""
        return self._of(self.parameters._sample(interactions), scopes.aligned(interactions.items))

    def _of(self, sample: Interactions, covers: Scopes) -> RelevanceModel:
        rule = self.parameters
        crowd = crowd_of(sample, covers, rule.window, rule.seed)
        shift = rule._shift(sample, covers, crowd, list(self.chance))
        return RelevanceModel(rule, sample, covers, crowd, self.chance, self.short, self.spend, shift)


@dataclass(frozen=True)
class RelevanceModel:
    """A fitted relevance; `reference` holds the users that it learned from, who speak for any set of scopes."""

    parameters: Relevance
    reference: Interactions
    scopes: Scopes
    crowd: Crowd
    chance: tuple[Trees, ...]
    short: Trees | None
    spend: Trees | None
    shift: float

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
        covers, crowd = self.scopes, self.crowd
        if scopes is not None:
            covers = scopes.aligned(self.reference.items)
            crowd = crowd_of(self.reference, covers, self.parameters.window, self.parameters.seed)
        known = history.aligned(self.reference.items)
        typical = self._typical(covers, crowd)
        names = known.users.values if users is None else np.asarray(users)
        number = np.arange(known.n_users) if users is None else known.users.find(names)
        probability = np.empty((names.size, len(covers)), np.float32)
        spend = None if self.spend is None else np.empty_like(probability)
        size = max(1, PAIRS // len(covers))
        for begin in range(0, names.size, size):
            place = number[begin : begin + size]
            chance, money = self._block(known, place, covers, crowd, typical)
            probability[begin : begin + size] = chance
            if spend is not None and money is not None:
                spend[begin : begin + size] = money
            progress("relevance", min(begin + size, names.size), names.size)
        return Foretold(names, probability, spend)

    def _block(
        self, known: Interactions, place: npt.NDArray[np.int64], scopes: Scopes, crowd: Crowd, typical: Floats
    ) -> tuple[Floats, Floats | None]:
        """Return the probability and spend of a block of users; -1 is a user that the history lacks."""
        chance = np.tile(crowd.recent, (place.size, 1))
        money = None if self.spend is None else chance * typical
        present = np.flatnonzero(place >= 0)
        cut = known.only(place[present]).before(np.datetime64(crowd.now, "s"))  # cut by block: the log is never copied
        active = np.flatnonzero(np.diff(cut.start))
        if active.size:
            table = features(cut.only(active), scopes, crowd, self.parameters.window)
            rows, shape = table.reshape(-1, table.shape[-1]), table.shape[:2]
            chance[present[active]] = self._chance(rows).reshape(shape)
            if money is not None and self.spend is not None:
                money[present[active]] = chance[present[active]] * self.spend.predict(rows).reshape(shape)
        return chance, money

    def _chance(self, rows: Floats) -> npt.NDArray[np.float64]:
        """Return the probability of each row of features."""
        few = rows[:, VISITS] <= FEW_LOG if self.short is not None else np.zeros(len(rows), bool)
        out = np.empty(len(rows))
        if (~few).any():
            odds = np.mean([logit(trees.predict(rows[~few])) for trees in self.chance], axis=0)
            out[~few] = expit(odds + self.shift)
        if self.short is not None and few.any():
            out[few] = self.short.predict(rows[few])
        return out

    def _typical(self, scopes: Scopes, crowd: Crowd) -> Floats:
        """Return the mean spend of the buyers of each scope in the last window, `(scopes,)`; everyone's where none bought."""
        begin = np.datetime64(crowd.now - int(self.parameters.window * DAY), "s")
        bought, spent = outcomes(self.reference.between(begin, None), scopes)
        buyers = bought.sum(axis=0)
        everyone = spent.sum() / max(buyers.sum(), 1)
        return np.where(buyers > 0, spent.sum(axis=0) / np.maximum(buyers, 1), everyone).astype(np.float32)


def logit(probability: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return log(p / (1 - p))."""
    sure = np.clip(probability, 1e-7, 1 - 1e-7)
    return np.log(sure) - np.log1p(-sure)
