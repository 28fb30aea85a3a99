"""How likely users buy from each coupon's scope in the campaign's window without it: learned in training, told at scoring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

import cf
from allocator.campaign import Coupon
from allocator.errors import DataError
from allocator.history.transactions import DAY, as_numpy
from allocator.learning.card import Z95, Bin, Relevant
from allocator.learning.past import Past, window_of
from allocator.progress import Progress, silent
from cf.evaluation.metrics import calibration, log_loss
from cf.relevance.gathering import outcomes

CATEGORIES = 12  # that relevance is learned on beside the coupons' scopes: a later campaign has others
JUDGED = 5_000  # users whose last window is foretold for the card
LEAST_JUDGED = 3  # windows, so that the last can be foretold from two
# To be judged, a model is fitted without the last window: smaller, since the card needs no last digit.
JUDGE = {"most_users": 10_000, "most_rows": 300_000, "most_short_rows": 100_000}
BINS = 5
EVERYTHING = "everything"


@dataclass(frozen=True, eq=False)
class Wants:
    """What users want of each coupon's scope, `(n, coupons)` float32 each.

    Attributes
    ----------
    relevance
        P(buys from the scope in the window); NaN for coupons without a scope.
    spend
        What such a purchase spends on it, currency.
    reach
        Of coupons whose effect is borrowed: how much likelier the user buys from their scope than from that of the
        coupons it is borrowed from; 1 for the others.
    """

    relevance: np.ndarray
    spend: np.ndarray
    reach: np.ndarray

    def block(self, first: int, rows: int) -> Wants:
        """Return those of some users that follow one another."""
        parts = (part[first : first + rows].astype(np.float64) for part in (self.relevance, self.spend, self.reach))
        return Wants(*parts)


@dataclass(frozen=True, eq=False)
class Kept:
    """What a model keeps of relevance: what was boosted, and the scopes that it was boosted on (as `scope_name` has them)."""

    boosters: cf.Boosters
    scopes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Learned:
    """Relevance as `train` keeps it, and how good it was; and why there is none, where there is none."""

    kept: Kept | None
    card: Relevant | None
    notes: tuple[str, ...] = ()


def rule(days: float, seed: int) -> cf.Relevance:
    """Return how relevance is fitted."""
    return cf.Relevance(window=days, seed=seed)


def learn(past: Past, coupons: Sequence[Coupon], as_of: Any, seed: int, progress: Progress = silent) -> Learned:
    """Fit relevance to the coupons' scopes and the largest categories, and judge it on the last window.

    Too short a past is no reason not to train: that there is no relevance is noted.
    """
    scopes = _to_learn(past, coupons)
    if not scopes:
        return Learned(None, None)
    known, days = past.interactions(as_of), window_of(coupons)
    span = int(known.now - known.time.min()) / DAY if known.time.size else 0.0
    if span < 2 * days:
        words = (
            f"relevance to scopes is not learned: it takes two windows of {days:g} days, and there are {span:.0f} days"
        )
        return Learned(None, None, (f"{past.transactions.path}: {words} of purchases",))
    try:
        with_last = rule(days, seed).fit(known, cf.Scopes.of(known.items, scopes), _heard(progress))
        card = _judged(known, scopes, days, seed, progress) if span >= LEAST_JUDGED * days else None
    except cf.CfError as error:
        return Learned(None, None, (f"{past.transactions.path}: relevance to scopes is not learned: {error}",))
    names = [scope_name(coupon.scope) for coupon in coupons if coupon.scope]
    column = None if past.products is None else past.products.category_column()
    if column is not None:
        lead = f"{column} = "
        names += [scope_name({column: name.removeprefix(lead)}) for name in scopes if name.startswith(lead)]
    return Learned(Kept(with_last.boosters, tuple(dict.fromkeys(names))), card)


def model_of(
    past: Past,
    coupons: Sequence[Coupon],
    more: Mapping[str, np.ndarray],
    as_of: Any,
    learned: Kept | None,
    seed: int,
    progress: Progress = silent,
) -> tuple[cf.RelevanceModel, cf.Interactions]:
    """Return a model of the window that begins at a moment, for the coupons' scopes and `more`, and what was known then.

    What was boosted in training is used for the scopes and the window that it was boosted on. It serves others, but not as well:
    of eight new scopes of Complete Journey the log-loss was 0.4137, and 0.4118 boosted anew. So it is boosted anew then.

    Raises
    ------
    DataError
        Where scopes need products that are not there, a scope covers no product, or the past is too short.
    """
    sets = {coupon.id: past.items(coupon) for coupon in coupons if coupon.scope} | dict(more)
    known, days = past.interactions(as_of), window_of(coupons)
    past.refuse_short(int(known.now - known.time.min()) if known.time.size else 0, days)
    scopes = cf.Scopes.of(known.items, sets)
    try:
        if learned is not None and why_anew(coupons, learned) is None:
            return learned.boosters.at(known, scopes), known
        return rule(days, seed).fit(known, scopes, _heard(progress)), known
    except cf.CfError as error:
        raise DataError(f"{past.transactions.path}: relevance to the coupons' scopes: {error}") from error


def why_anew(coupons: Sequence[Coupon], learned: Kept | None) -> str | None:
    """Say that relevance cannot be used as learned, where that is so."""
    scoped = [coupon for coupon in coupons if coupon.scope]
    if learned is None or not scoped:
        return None
    days = learned.boosters.parameters.window
    if days != window_of(coupons):
        return f"relevance is learned anew: in training it was of {days:g} days, the campaign's coupons are valid for {window_of(coupons):g}"
    fresh = [coupon.id for coupon in scoped if scope_name(coupon.scope or {}) not in learned.scopes]
    if fresh:
        names = ", ".join(fresh[:3]) + (f" and {len(fresh) - 3} more" if len(fresh) > 3 else "")
        return f"relevance is learned anew: the scopes of {names} were not among those of the training"
    return None


def wants(
    past: Past,
    coupons: Sequence[Coupon],
    kin: Sequence[Sequence[tuple[float, Coupon]]],
    ids: pa.Array,
    as_of: Any,
    *,
    learned: Kept | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Wants:
    """Foretell purchases from each coupon's scope in the campaign's window, from what was known as of its begin.

    Parameters
    ----------
    kin
        By coupon, the coupons that its effect is borrowed from, with weights; empty where it is its own.

    Raises
    ------
    DataError, CampaignError
        As `model_of`.
    """
    shape = (len(ids), len(coupons))
    relevance = np.full(shape, np.nan, dtype=np.float32)
    spend, reach = relevance.copy(), np.ones(shape, dtype=np.float32)
    scoped = [k for k, coupon in enumerate(coupons) if coupon.scope]
    if not scoped:
        return Wants(relevance, spend, reach)
    fitting = past.fitting(ids, "users")
    model, known = model_of(fitting, coupons, near_scopes(fitting, kin), as_of, learned, seed, progress)
    foretold = model.predict(known, as_numpy(ids), progress=_heard(progress))
    place = {name: j for j, name in enumerate(model.scopes.names)}
    own = [place[coupons[k].id] for k in scoped]
    relevance[:, scoped] = foretold.probability[:, own]
    if foretold.spend is not None:
        spend[:, scoped] = foretold.spend[:, own] / np.maximum(foretold.probability[:, own], 1e-9)
    for k in scoped:
        reach[:, k] = reach_of(model, foretold, coupons[k], kin[k])
    return Wants(relevance, spend, reach)


def near_scopes(past: Past, kin: Sequence[Sequence[tuple[float, Coupon]]]) -> dict[str, np.ndarray]:
    """Return the items of the scopes that effects are borrowed from."""
    return {_name(near): past.items(near) if near.scope else past.everything() for of in kin for _, near in of}


def reach_of(
    model: cf.RelevanceModel, foretold: cf.Foretold, coupon: Coupon, kin: Sequence[tuple[float, Coupon]]
) -> np.ndarray:
    """Return how much of a borrowed effect is left for a coupon's scope, `(n,)` in 0 to 1."""
    if not kin:
        return np.ones(foretold.users.size)
    place = {name: j for j, name in enumerate(model.scopes.names)}
    near = sum(weight * foretold.probability[:, place[_name(other)]] for weight, other in kin)
    own = foretold.probability[:, place[coupon.id]]
    return np.asarray(np.clip(own / np.maximum(near, 1e-6), 0.0, 1.0))


def scope_name(scope: Mapping[str, Any]) -> str:
    """Return a name that is the same for the same scope: a value alone and a list of it cover the same."""
    parts = sorted(
        (name, sorted(map(str, value)) if isinstance(value, list) else [str(value)]) for name, value in scope.items()
    )
    return f"scope {parts}"


def _name(coupon: Coupon) -> str:
    return scope_name(coupon.scope) if coupon.scope else EVERYTHING


def _to_learn(past: Past, coupons: Sequence[Coupon]) -> dict[str, np.ndarray]:
    """Return the items of the coupons' scopes, and of the categories that most products are of."""
    if past.products is None:
        return {}
    sets = {coupon.id: past.items(coupon) for coupon in coupons if coupon.scope}
    column = past.products.category_column()
    if column is not None:
        codes, values = past.products.column(column)
        sizes = np.bincount(codes[codes >= 0], minlength=len(values))
        ids = as_numpy(past.products.item_ids)
        for code in np.argsort(-sizes, kind="stable")[:CATEGORIES]:
            sets[f"{column} = {values[code]}"] = ids[codes == code]
    return sets


def _judged(
    known: cf.Interactions, scopes: Mapping[str, np.ndarray], days: float, seed: int, progress: Progress
) -> Relevant:
    """Foretell the last window from what was before, and hold it against what came."""
    begin = np.datetime64(int(known.now - days * DAY), "s")
    before, later = known.before(begin), known.between(begin, None)
    covers = cf.Scopes.of(known.items, scopes)
    model = replace(rule(days, seed), **JUDGE).fit(before, covers, _heard(progress))  # type: ignore[arg-type]
    there = np.flatnonzero(np.diff(before.start))
    rng = np.random.default_rng([seed, 19])
    drawn = np.sort(rng.choice(there, min(JUDGED, there.size), replace=False))
    foretold = model.predict(before, before.users.values[drawn])
    bought = outcomes(later, covers.aligned(later.items))[0]
    place = later.users.find(foretold.users)
    came = bought[np.maximum(place, 0)] & (place >= 0)[:, None]
    rate = np.broadcast_to(model.crowd.recent, came.shape)
    rows = calibration(came, foretold.probability, BINS)
    bins = tuple(Bin(row.pairs, row.foretold, row.happened, (row.high - row.low) / (2 * Z95)) for row in rows)
    losses = log_loss(came, foretold.probability), log_loss(came, rate)
    return Relevant(tuple(scopes), days, int(came.size), *losses, bins)


def _heard(progress: Progress) -> Any:
    def told(task: str, done: int, total: int) -> None:
        progress(task, done / total if total else float("nan"))

    return told
