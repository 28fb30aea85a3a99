"""Draws up the model card from what cross-fitting showed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from allocator.learning.calibrating import ONE, Calibration, calibrate, calibrate_sales
from allocator.learning.candidates import Tried
from allocator.learning.card import LEAST, MOST, Arm, Bin, Card, Kept, Mark, Overlap, Relevant
from allocator.learning.trials import TrialArrays
from allocator.shares import percent
from uplift import Effects, OutcomeKind, Trial, promise, reliability
from uplift.metrics import bootstrap, qini, recommended

RESAMPLES = 100
BINS = 5
FEW_ALIKE = 0.05  # share of the users without their like on the other side, from which on the card warns


def draw_card(
    table: TrialArrays,
    trial: Trial,
    tried: Tried,
    chosen: str,
    calibration: Calibration,
    spend: Effects | None,
    observational: bool,
    relevance: Relevant | None = None,
) -> Card:
    """Return the card; `spend` is of models of the other parts, not calibrated."""
    overlap = tuple(_overlap(table, trial)) if observational else ()
    effects = tried.effects[chosen]
    unseen = _calibrated(trial, effects, tried.fold)
    factors = {"level": calibration.level, "spread": calibration.spread}
    if spend is not None:
        factors |= {"sales": calibration.sales, "sales, spread": calibration.sales_spread}
    return Card(
        chosen=chosen,
        reason=_reason(tried, chosen),
        observational=observational,
        users=len(table),
        features=tuple(table.features),
        arms=tuple(_arms(table)),
        marks=tuple(_marks(trial, tried, chosen)),
        bins=tuple(
            Bin(b.users, b.predicted, b.observed, b.standard_error)
            for b in reliability(trial, unseen, bins=BINS, nuisance=effects)
        ),
        factors={name: (f.raw, f.standard_error, f.used) for name, f in factors.items()},
        kept=tuple(_kept(table, trial, effects, unseen, spend, tried.fold)),
        limits=tuple(_limits(table, observational, overlap)),
        notes=table.notes,
        overlap=overlap,
        relevance=relevance,
    )


def _overlap(table: TrialArrays, trial: Trial) -> Iterator[Overlap]:
    """Say for each coupon which users were nearly sure to get it, or not to."""
    chances = trial.propensities()
    share = trial.weight / trial.weight.sum()
    for k, coupon in enumerate(table.coupons, start=1):
        chance = chances[:, k] / (chances[:, 0] + chances[:, k])
        yield Overlap(coupon, float(share @ (chance < LEAST)), float(share @ (chance > MOST)))


def _calibrated(trial: Trial, effects: Effects, fold: np.ndarray) -> Effects:
    """Effects of each user, calibrated on the other parts: a factor is not marked on the users it was fitted on."""
    control, treated = effects.control.copy(), effects.treated.copy()
    for f in range(int(fold.max()) + 1):
        rest, held = np.flatnonzero(fold != f), np.flatnonzero(fold == f)
        treated[held] = calibrate(trial.take(rest), effects.take(rest)).effects(effects.take(held)).treated
    return Effects.create(control, treated)


def _calibrated_sales(money: Trial, spend: Effects, fold: np.ndarray) -> Effects:
    """Spend of each user, calibrated on the other parts."""
    treated = spend.treated.copy()
    for f in range(int(fold.max()) + 1):
        rest, held = np.flatnonzero(fold != f), np.flatnonzero(fold == f)
        nothing = Calibration((), ONE, ONE)
        fitted = calibrate_sales(nothing, money.take(rest), spend.take(rest))
        treated[held] = fitted.sales_effects(spend.take(held)).treated
    return Effects.create(spend.control, treated)


def _reason(tried: Tried, chosen: str) -> str:
    scores = tried.comparison.scores
    if scores[0].name == chosen:
        return "it earned most over all shares of users that could be given a coupon"
    mine = next(s for s in scores if s.name == chosen)
    return (
        f"within one standard error ({1e3 * mine.behind_error:.2f}) of {scores[0].name}, which earned "
        f"{1e3 * mine.behind:.2f} per 1,000 more, and preferred to it"
    )


def _marks(trial: Trial, tried: Tried, chosen: str) -> Iterator[Mark]:
    for s in tried.comparison.scores:
        error = _qini_error(trial, tried.effects[s.name]) if s.name == chosen else None
        yield Mark(
            s.name, s.value, s.value_error, s.area, s.area_error, s.behind, s.behind_error, _known(s.qini), error
        )


def _known(number: float) -> float | None:
    """Return a number, or `None` for NaN, which JSON cannot hold."""
    return number if np.isfinite(number) else None


def _qini_error(trial: Trial, effects: Effects) -> float | None:
    rows, score, got, weight = recommended(trial, effects)
    outcome = trial.outcome[rows]

    def statistic(drawn: np.ndarray) -> float:
        return qini(outcome[drawn], score[drawn], got[drawn], weight[drawn])

    if not got.any() or got.all():
        return None
    return _known(bootstrap(statistic, rows.size, repeats=RESAMPLES)[0])


def _arms(table: TrialArrays) -> Iterator[Arm]:
    weight = np.ones(len(table)) if table.weight is None else table.weight
    for k, name in enumerate(("control", *table.coupons)):
        mine = table.arm == k
        spend = None if table.spend is None else float(np.average(table.spend[mine], weights=weight[mine]))
        yield Arm(name, int(mine.sum()), float(np.average(table.purchased[mine], weights=weight[mine])), spend)


def _kept(
    table: TrialArrays, trial: Trial, effects: Effects, unseen: Effects, spend: Effects | None, fold: np.ndarray
) -> Iterator[Kept]:
    yield _held("purchases", trial, effects, unseen)
    if spend is not None:
        money = trial.with_outcome(table.spend, OutcomeKind.MONEY)
        yield _held("sales", money, spend, _calibrated_sales(money, spend, fold))


def _held(unit: str, trial: Trial, raw: Effects, unseen: Effects) -> Kept:
    """Hold the best coupon of the half of the users whose best is largest against the trial."""
    best = unseen.uplift.max(axis=1)
    choice = np.where(best >= np.median(best), unseen.uplift.argmax(axis=1) + 1, 0)
    before, made = (promise(trial, effects, choice, nuisance=raw) for effects in (raw, unseen))
    seen = made.observed
    return Kept(unit, int((choice > 0).sum()), before.predicted, made.predicted, seen.value, seen.standard_error)


def _limits(table: TrialArrays, observational: bool, overlap: Sequence[Overlap]) -> Iterator[str]:
    if observational:
        yield (
            "Effects are observational: users were compared with others alike in the features, not drawn by lot. What "
            "the targeting knew and the features do not is counted as the coupon's effect."
        )
    for item in overlap:
        if item.outside > FEW_ALIKE:
            side = "hardly ever got it" if item.below > item.above else "nearly always got it"
            yield (
                f"{item.coupon}: {percent(item.outside, 0)} of the users have nobody alike on the other side (most of them "
                f"{side}); what it would change for them is a guess from others. Give it to some at random next time."
            )
    source = "the history" if observational else "the trial"
    yield "What happens after the outcome was counted: purchases brought forward, habits formed, returns."
    yield f"Users unlike those of {source}, another season, other prices: `allocate score` counts what it has not seen."
    if table.spend is None:
        yield f"What a purchase spends: {source} has no `spend`, so `basket` of campaign.toml is taken."
    if table.redeemed is None:
        yield f"Who redeems: {source} has no `redeemed`, so redemption follows from the purchase (see `redeem_share`)."
    if len(table.coupons) == 1:
        yield f"How effects grow with a coupon's depth: {source} had one coupon."
