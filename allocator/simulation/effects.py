"""The effects of a campaign on a group of users: lift, money, and what was promised."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from allocator.campaign.terms import Header
from allocator.errors import UsageError
from allocator.shares import percent
from allocator.simulation.assignment import Assignment
from allocator.simulation.lift import Difference, Estimate, difference, fieller, holm, merged, slope, student

LEAST_SHOWN = 10  # users of either arm, below which a cell's numbers would point at persons


@dataclass(frozen=True)
class Money:
    """How outcomes become money.

    Attributes
    ----------
    margin
        Earned share of the price before discounts.
    contact_cost
        Currency per user who was sent an offer; counted only where discounts are observed, since the plan's expected
        cost holds it already.
    observed
        Whether discounts are observed; otherwise the cost is the plan's expected one.
    """

    margin: float
    contact_cost: float
    observed: bool
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, terms: Header, margin: float | None, observed: bool) -> Money:
        """Take the numbers from a campaign file's [campaign] table; `margin` overrides its own."""
        number = float(terms.margin if margin is None else margin)
        notes = []
        if margin is None and "margin" not in terms.model_fields_set:
            notes.append(
                f"No margin is given (--margin, or margin in the campaign file): it is taken as {percent(number, None)}."
            )
        if not observed:
            notes.append("Outcomes have no column 'discount': the campaign's cost is taken as the plan expected it.")
        if not 0.0 < number <= 1.0:
            raise UsageError(
                f"the margin is {number:g}; it is a share of the price, above 0 and at most 1, such as 0.3"
            )
        return cls(number, float(terms.contact_cost), observed, tuple(notes))

    def spend_of(self, value: Any, cost: Any) -> Any:
        """Return the further spend, after discounts, that value and cost of a plan rest on: numbers or arrays, currency."""
        return (value + cost) / self.margin - cost


@dataclass(frozen=True)
class Effects:
    """What a campaign did to a group of users, against the users held out of the same strata.

    Attributes
    ----------
    treated, control
        Numbers of users.
    lift
        Spend per treated user, currency; `share` of it over the spend of the control group (adjusted).
    control_spend
        Mean spend of the held-out users, weighted as the treated, currency.
    revenue
        Incremental spend of all treated users, currency.
    purchases
        Further buyers among the treated; `None` where outcomes do not tell.
    redemptions
        Coupons redeemed by the treated; NaN where outcomes do not tell.
    cost
        Currency; what coupons took off and contacts cost, or the plan's expectation.
    net
        Margin of what the coupons brought, less their cost, currency.
    iroi
        Net per currency unit of cost, with Fieller's interval.
    planned_net, planned_cost, planned_revenue
        What the plan promised for the same users, currency; its revenue follows from value, cost and margin.
    variance_kept
        Variance of the lift after adjusting by the pre-period, as a share of that before.
    """

    treated: int
    control: int
    lift: Estimate
    share: Estimate
    control_spend: float
    revenue: Estimate
    purchases: Estimate | None
    redemptions: float
    cost: float
    net: Estimate
    iroi: Estimate
    planned_net: float
    planned_cost: float
    planned_revenue: float
    variance_kept: float


@dataclass(frozen=True)
class Cell:
    """The effects on one coupon's or one segment's users.

    Attributes
    ----------
    effects
        `None` where an arm has fewer than 10 users.
    adjusted_p
        P-value of the lift, adjusted for the number of cells of the same kind (Holm).
    """

    kind: str
    name: str
    effects: Effects | None
    adjusted_p: float


@dataclass(frozen=True, eq=False)
class Sample:
    """Users of both arms with their outcomes, `(n,)` each; slopes are those of all of them, so that parts add up."""

    columns: Mapping[str, np.ndarray]
    treated: np.ndarray
    stratum: np.ndarray
    before: np.ndarray | None
    theta: Mapping[str, float]
    value: np.ndarray
    cost: np.ndarray
    money: Money

    @classmethod
    def of(cls, outcomes: Mapping[str, np.ndarray], rows: np.ndarray, assigned: Assignment, money: Money) -> Sample:
        """Take these rows of outcomes and of the plan's users."""
        columns = {name: column[rows] for name, column in outcomes.items()}
        before = columns.pop("pre_spend", None)
        treated = ~assigned.held[rows]
        columns["gain"] = money.margin * (columns["spend"] + columns.get("discount", np.zeros(rows.size)))
        if money.observed:
            columns["paid"] = columns["discount"] + money.contact_cost * treated
        stratum = assigned.stratum[rows].astype(np.int64)
        theta = {}
        if before is not None:
            before = before - before.mean()
            codes = merged(stratum, treated)
            theta = {name: slope(column, before, treated, codes) for name, column in columns.items()}
        return cls(columns, treated, stratum, before, theta, assigned.value[rows], assigned.cost[rows], money)

    def of_rows(self, rows: np.ndarray) -> Sample:
        """Return a part of the sample, with the slopes of the whole; levels are those of the part's own users."""
        before = None if self.before is None else self.before[rows] - self.before[rows].mean()
        return dataclasses.replace(
            self,
            columns={name: column[rows] for name, column in self.columns.items()},
            treated=self.treated[rows],
            stratum=self.stratum[rows],
            before=before,
            value=self.value[rows],
            cost=self.cost[rows],
        )

    def arms(self) -> tuple[int, int]:
        """Return the numbers of treated and of held-out users."""
        treated = int(self.treated.sum())
        return treated, self.treated.size - treated

    def adjusted(self, name: str) -> np.ndarray:
        """Return an outcome less the part that the pre-period tells."""
        column = self.columns[name]
        return column if self.before is None else column - self.theta[name] * self.before

    def net(self) -> np.ndarray:
        """Return each user's margin less cost, as it came; the expected cost where discounts are not observed."""
        return self.columns["gain"] - self._costs(self.columns.get("paid"))

    def adjusted_net(self) -> np.ndarray:
        """Return the same less the part that the pre-period tells."""
        return self.adjusted("gain") - self._costs(self.adjusted("paid") if self.money.observed else None)

    def _costs(self, paid: np.ndarray | None) -> np.ndarray:
        return np.where(self.treated, self.cost, 0.0) if paid is None else paid

    def balance(self, confidence: float) -> Estimate | None:
        """Return the difference of pre-period spend between the arms."""
        if self.before is None:
            return None
        return difference(self.before, self.treated, self.stratum).estimate(0, confidence)

    def effects(self, confidence: float) -> Effects:
        """Return the effects on these users."""
        names = [name for name in ("spend", "gain", "paid", "purchased") if name in self.columns]
        outcomes = np.column_stack([self.columns[name] for name in names])
        theta = None if self.before is None else np.array([self.theta[name] for name in names])
        found = difference(outcomes, self.treated, self.stratum, before=self.before, theta=theta)
        at, treated = {name: place for place, name in enumerate(names)}, self.treated
        lift = found.estimate(at["spend"], confidence)
        control = float(self.adjusted("spend")[treated].mean()) - lift.value
        cost, net, iroi = self._money(found, at, confidence)
        redeemed = self.columns.get("redeemed")
        return Effects(
            treated=found.treated,
            control=found.control,
            lift=lift,
            share=self._share(lift, float(found.degrees[at["spend"]]), confidence),
            control_spend=control,
            revenue=lift.scaled(found.treated),
            purchases=found.estimate(at["purchased"], confidence).scaled(found.treated) if "purchased" in at else None,
            redemptions=math.nan if redeemed is None else float(redeemed[treated].sum()),
            cost=cost,
            net=net,
            iroi=iroi,
            planned_net=float(self.value[treated].sum()),
            planned_cost=float(self.cost[treated].sum()),
            planned_revenue=self.money.spend_of(float(self.value[treated].sum()), float(self.cost[treated].sum())),
            variance_kept=float(found.variance_kept[at["spend"]]),
        )

    def _share(self, lift: Estimate, degrees: float, confidence: float) -> Estimate:
        """Return the lift as a share of the control's spend, with Fieller's interval."""
        means = _control_mean(self.adjusted("spend"), self.treated, self.stratum)
        # lift = treated mean - control mean, so that its covariance with the control mean is minus the latter's variance.
        return fieller(lift.value, means[0], lift.standard_error**2, means[1], -means[1], degrees, confidence)

    def _money(self, found: Difference, at: Mapping[str, int], confidence: float) -> tuple[float, Estimate, Estimate]:
        """Return the cost in all, the net gain in all, and net per cost."""
        gain, cov = at["gain"], found.covariance
        if self.money.observed:
            paid = at["paid"]
            net = float(found.value[gain] - found.value[paid])
            variance = float(cov[gain, gain] - 2 * cov[gain, paid] + cov[paid, paid])
            ratio = found.ratio(gain, paid, confidence)
            cost = float(self.columns["paid"][self.treated].sum())
        else:
            each = float(self.cost[self.treated].mean())
            net, variance, cost = float(found.value[gain]) - each, float(cov[gain, gain]), each * found.treated
            ratio = fieller(float(found.value[gain]), each, variance, 0.0, 0.0, float(found.degrees[gain]), confidence)
        estimate = student(net, math.sqrt(max(variance, 0.0)), float(found.degrees[gain]), confidence)
        iroi = dataclasses.replace(ratio, value=ratio.value - 1, low=ratio.low - 1, high=ratio.high - 1)
        return cost, estimate.scaled(found.treated), iroi


def _control_mean(outcome: np.ndarray, treated: np.ndarray, stratum: np.ndarray) -> tuple[float, float]:
    """Return the control's mean, weighted by the treated of each stratum, and its variance."""
    codes = merged(stratum, treated)
    size = int(codes.max()) + 1
    weight = np.bincount(codes[treated], minlength=size) / treated.sum()
    held = codes[~treated]
    counts = np.bincount(held, minlength=size).astype(np.float64)
    means = np.bincount(held, weights=outcome[~treated], minlength=size) / counts
    squares = np.bincount(held, weights=(outcome[~treated] - means[held]) ** 2, minlength=size)
    return float(weight @ means), float((weight**2 * squares / np.maximum(counts * (counts - 1), 1)).sum())


def cells(sample: Sample, kind: str, code: np.ndarray, names: Sequence[str], confidence: float) -> Iterator[Cell]:
    """Yield the effects by the values of a code, `(n,)` index into `names`; small cells without numbers."""
    order = np.argsort(code, kind="stable")
    ends = np.cumsum(np.bincount(code, minlength=len(names)))
    found: list[tuple[str, Effects | None]] = []
    for place, name in enumerate(names):
        rows = order[(ends[place - 1] if place else 0) : ends[place]]
        if not rows.size:
            continue
        part = sample.of_rows(np.sort(rows))
        shown = min(part.arms()) >= LEAST_SHOWN
        found.append((name, part.effects(confidence) if shown else None))
    adjusted = iter(holm([effects.lift.p_value for _, effects in found if effects is not None]))
    for name, effects in found:
        yield Cell(kind, name, effects, math.nan if effects is None else next(adjusted))
