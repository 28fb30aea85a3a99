"""From a trial to a model: try candidates on users they did not see, keep one, calibrate it, write down how good it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from allocator.campaign import Campaign, Coupon
from allocator.errors import DataError, UsageError
from allocator.history import ProfileSchema, read_users
from allocator.learning.calibrating import calibrate, calibrate_sales
from allocator.learning.candidates import Candidate, cross_fitted, default_candidates, try_candidates
from allocator.learning.carding import draw_card
from allocator.learning.joining import joined
from allocator.learning.logistic import Logistic
from allocator.learning.model import Model
from allocator.learning.observed import read_sent
from allocator.learning.parts import Baskets
from allocator.learning.past import WINDOW, Past
from allocator.learning.pooled import PooledLearner
from allocator.learning.redeeming import Discounts
from allocator.learning.spending import fit_spending
from allocator.learning.threads import few
from allocator.learning.trials import TrialArrays, read_trial
from allocator.learning.wanting import Learned, learn
from allocator.learning.writing import manifest_of
from allocator.progress import Progress as Told
from allocator.progress import silent
from allocator.tables.model_folder import PRODUCTS, TRANSACTIONS
from uplift import (
    Effects,
    Features,
    OutcomeKind,
    Progress,
    Terms,
    Trial,
    UpliftError,
    estimate_propensity,
)
from uplift.amounts import amount_of_buyers

FOLDS = 5  # of the baskets
NOTHING = (
    "nothing says who was given a coupon: give --trial (users who drew lots), or --sent (who was sent which coupon when, with "
    "--transactions): purchases alone cannot tell what a coupon changes"
)


def train(
    trial: Any = None,
    *,
    sent: str | Path | None = None,
    window: int = WINDOW,
    campaign: Campaign | None = None,
    columns: Mapping[str, str] | None = None,
    control: str | None = None,
    ignore: Sequence[str] = (),
    transactions: str | Path | None = None,
    products: str | Path | None = None,
    users: str | Path | None = None,
    observational: bool = False,
    candidates: Sequence[Candidate] | None = None,
    seed: int = 0,
    told: Told = silent,
    on_epoch: Callable[[Progress], None] | None = None,
) -> Model:
    """Train a model on a trial.

    Parameters
    ----------
    trial
        A path or a table: `coupon` (empty, `control` or `none`: nobody's), `purchased` (0/1) and/or `spend` (currency),
        optionally `visited`, `redeemed` (0/1), `propensity`, `weight`; every other column is a feature, known before.
    sent, window
        Without a trial: who was sent which coupon when (see `allocator.learning.observed`), and the days after it in
        which purchases count. Needs transactions; the effects are observational.
    campaign
        Terms of the trial's coupons: with them the model can speak of coupons that were not in the trial.
    columns, control, ignore
        As `read_trial`.
    transactions, products
        Past purchases (see `allocator.history`): profiles as of the trial's `time`, or the campaign's `start`, are joined.
    users
        Attributes of users, joined by `user_id`.
    observational
        Nobody drew lots: chances of the arms are estimated from the features, and all output says so.
    candidates
        Models to try; by default the network, two logistic ones, and the arms' averages.
    told
        Called with what is being done and its share done.
    on_epoch
        Called after each epoch of the network that is kept.

    Raises
    ------
    DataError
        Where the trial cannot be learned from; says why and what to do.
    """
    past = None if transactions is None else Past.read(transactions, products)
    if (trial is None) == (sent is None):
        raise UsageError(NOTHING if trial is None else "a trial and a list of who was sent what: give one of the two")
    if sent is not None:
        if past is None:
            raise UsageError("who was sent what tells nothing without what they bought: give --transactions too")
        table, observational = read_sent(sent, past, window, seed, told), True
    elif isinstance(trial, TrialArrays):
        table = trial
    else:
        table = read_trial(trial, columns=columns, control=control, ignore=ignore)
    sources = [path for path in (trial, sent, transactions, products, users) if isinstance(path, str | Path)]
    if past is None and products is not None:
        raise UsageError("--products tells what kinds of things users buy; that needs --transactions too")
    start = None if campaign is None else campaign.campaign.start
    table, profile = joined(table, None if users is None else read_users(users), past, start, tuple(ignore), told)
    relevance = Learned(None, None)
    if past is not None:
        relevance = learn(past, () if campaign is None else campaign.coupon, start, seed, told)
        table = dataclasses.replace(table, notes=(*table.notes, *relevance.notes))
    try:
        with few(table.arm.size):
            return _Training(table, campaign, profile, relevance, observational, seed, told).run(
                default_candidates() if candidates is None else candidates,
                on_epoch,
                manifest_of(sources, {TRANSACTIONS: transactions, PRODUCTS: products}, seed),
            )
    except UpliftError as error:
        raise DataError(f"{table.source}: {error}") from error


@dataclass
class _Training:
    """The steps of `train`, with what they share."""

    table: TrialArrays
    campaign: Campaign | None
    profile: ProfileSchema | None
    relevance: Learned
    observational: bool
    seed: int
    told: Told

    def run(
        self,
        candidates: Sequence[Candidate],
        on_epoch: Callable[[Progress], None] | None,
        manifest: Mapping[str, Any],
    ) -> Model:
        """Train."""
        terms = terms_of(self.table, self.campaign)
        trial = purchase_trial(self.table, terms, self.observational, self.seed)
        tried = try_candidates(trial, candidates, self.seed, self.told)
        chosen = next(c for c in candidates if c.name == tried.comparison.chosen)
        purchase = chosen.fit(trial, self.seed, self.told, on_epoch)
        self.told("calibrating", 0.0)
        effects = tried.effects[chosen.name]
        calibration, baskets = calibrate(trial, effects), self._baskets(trial)
        everyone = np.arange(len(trial))
        redemption, discounts = self._redemption(trial, everyone), self._discounts(trial, everyone)
        spending, unseen = None, None
        if self.table.spend is not None:
            money = trial.with_outcome(self.table.spend, OutcomeKind.MONEY)
            spending = fit_spending(money, redemption, None if discounts is None else discounts.mean, seed=self.seed)
            discounts = self._discounts(trial, everyone, spending.predict(trial.features).control)
            unseen = self._unseen_spend(money, tried.fold)
            calibration = calibrate_sales(calibration, money, unseen)
        card = draw_card(
            self.table, trial, tried, chosen.name, calibration, unseen, self.observational, self.relevance.card
        )
        return Model(
            coupons=self.table.coupons,
            terms=terms,
            purchase=purchase,
            calibration=calibration,
            baskets=baskets,
            spending=spending,
            redemption=redemption,
            discounts=discounts,
            profile=self.profile,
            observational=self.observational,
            card=card,
            manifest=manifest,
            relevance=self.relevance.kept,
        )

    def _baskets(self, trial: Trial) -> Baskets | None:
        spend = self.table.spend
        if spend is None:
            return None
        buyers = np.flatnonzero(spend > 0)
        mean = float(np.average(spend[buyers], weights=trial.weight[buyers]))
        bought = trial.take(buyers).with_outcome(spend[buyers], OutcomeKind.MONEY)
        amount, expected = None, np.full(buyers.size, mean)
        if np.bincount(bought.arm, minlength=bought.n_arms).min() >= FOLDS:
            amount, unseen = amount_of_buyers(bought, FOLDS, self.seed)
            expected = np.column_stack([unseen.control, unseen.treated])[np.arange(buyers.size), bought.arm]
        return Baskets(amount, mean, float(np.log(spend[buyers] / np.maximum(expected, 1e-9)).std()))

    def _unseen_spend(self, money: Trial, fold: np.ndarray) -> Effects:
        """Spend of every user without and with each coupon, each by models of the other parts."""

        def fit(rest: np.ndarray, held: np.ndarray) -> Effects:
            redemption, known = self._redemption(money, rest), self._discounts(money, rest)
            part = money.take(rest)
            return fit_spending(
                part, redemption, None if known is None else known.mean, seed=self.seed, groups=0
            ).predict(money.features.take(held))

        self.told("spend", 0.0)
        return cross_fitted(len(money), money.n_coupons, fold, fit)

    def _redemption(self, trial: Trial, among: np.ndarray) -> Logistic | None:
        """Learn P(redeemed if issued) of those `among` the users who were given a coupon."""
        redeemed = self.table.redeemed
        rows = among[trial.arm[among] > 0]
        if redeemed is None or not redeemed[rows].any() or redeemed[rows].all():
            return None
        chances = trial.propensities()[rows, 1:]
        given = (
            Trial.create(
                trial.features.take(rows),
                trial.arm[rows] - 1,
                redeemed[rows],
                kind=OutcomeKind.BINARY,
                propensity=chances / chances.sum(axis=1, keepdims=True),
                weight=trial.weight[rows],
            )
            if trial.n_coupons > 1
            else _twice(trial.take(rows), redeemed[rows])
        )
        return PooledLearner("redemption", with_control=False).fit(given, seed=self.seed, groups=0)

    def _discounts(self, trial: Trial, among: np.ndarray, spend: np.ndarray | None = None) -> Discounts | None:
        """Learn what a redemption of those `among` the users took off; `spend`: theirs without a coupon."""
        table = self.table
        if table.discount is None or table.redeemed is None:
            return None
        return Discounts.fit(trial.arm[among], table.redeemed[among], table.discount[among], trial.weight[among], spend)


def bare_trial(table: TrialArrays, terms: tuple[Coupon, ...] | None) -> Trial:
    """Return the trial of the purchase, with the chances that the table gives; raises `DataError` and `UpliftError`."""
    if not table.features:
        raise DataError(f"{table.source}: no features; add columns of what was known of the users before the trial")
    trial = Trial.create(
        Features.create(table.features),
        table.arm,
        table.purchased,
        kind=OutcomeKind.BINARY,
        propensity=table.propensity,
        weight=table.weight,
        terms=_depths(terms),
        steps=() if table.visited is None else (table.visited,),
    )
    return trial


def purchase_trial(table: TrialArrays, terms: tuple[Coupon, ...] | None, observational: bool, seed: int) -> Trial:
    """Return the trial of the purchase; where nobody drew lots, with estimated chances."""
    trial = bare_trial(table, terms)
    if not observational or table.propensity is not None:
        return trial
    chances = estimate_propensity(trial, seed=seed)
    return Trial(trial.features, trial.arm, trial.outcome, trial.kind, chances, trial.weight, trial.terms, trial.steps)


def _twice(part: Trial, redeemed: np.ndarray) -> Trial:
    """A single coupon has no other beside it: both arms are this coupon."""
    n = len(part)
    rows = np.tile(np.arange(n), 2)
    return Trial(
        part.features.take(rows),
        np.repeat([0, 1], n),
        redeemed[rows],
        OutcomeKind.BINARY,
        np.array([[0.5, 0.5]]),
        part.weight[rows],
        None,
    )


def terms_of(table: TrialArrays, campaign: Campaign | None) -> tuple[Coupon, ...] | None:
    """Return the terms of the trial's coupons, in their order."""
    if campaign is None:
        return None
    known = {coupon.id: coupon for coupon in campaign.coupon}
    absent = [name for name in table.coupons if name not in known]
    if absent:
        raise DataError(
            f"{table.source}: coupon {absent[0]!r} of the trial is not in the campaign file, which lists "
            f"{', '.join(known) or 'none'}; give the file of the campaign that the trial was of "
            "(`allocate check` looks for trial.toml), or leave it out"
        )
    return tuple(known[name] for name in table.coupons)


def _depths(terms: tuple[Coupon, ...] | None) -> Terms | None:
    """Return depth and group of coupons as `uplift` wants them; `None` where a coupon has no depth."""
    if terms is None or any(not coupon.amount for coupon in terms):
        return None
    groups = [f"{coupon.kind} {sorted((coupon.scope or {}).items())}" for coupon in terms]
    return Terms.create([coupon.amount for coupon in terms], groups)
