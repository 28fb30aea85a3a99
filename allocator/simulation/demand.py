"""What will be asked for with a plan and without it, how long the stock lasts, and what to order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from allocator.campaign import Campaign
from allocator.chance import DEFAULT_SHOCK
from allocator.errors import DataError
from allocator.simulation.issued import VALID_DAYS, PlanColumns
from allocator.simulation.selling import Sales
from allocator.simulation.stock import Stock
from allocator.tables.plan_folder import PlanFolder

LEVEL = 0.95  # of the intervals
LEAD_DAYS = 7.0  # where the stock list does not say


@dataclass(frozen=True)
class Baskets:
    """What a plan changes, by coupon, in expectation.

    Attributes
    ----------
    more
        Purchases that would not have happened: the sum of purchase_with - purchase_without.
    scope_more
        Baskets with something of the coupon's scope that would not have held any: redemptions by users who would not
        have bought from the scope anyway.
    """

    more: float
    scope_more: float


@dataclass(frozen=True, eq=False)
class Demand:
    """Units asked for in the campaign's days; arrays of `(n_rows,)`, in the order of the stock.

    Attributes
    ----------
    stock, days, service
        As given.
    without, with_
        Expected units without the plan and with it.
    low, high
        The 95 % prediction interval of the units with the plan.
    lasts, lasts_low
        Days until the stock is used up with the plan: expected, and where demand is at the interval's upper end.
        Infinite where nothing sells.
    runs_out
        P(the demand of the campaign's days exceeds the stock).
    order
        Units to order now so that, until an order placed at the campaign's end arrives, demand is met with
        probability `service`; whole units.
    assumptions
        What the forecast rests on, in sentences.
    """

    stock: Stock
    days: int
    service: float
    without: np.ndarray
    with_: np.ndarray
    low: np.ndarray
    high: np.ndarray
    lasts: np.ndarray
    lasts_low: np.ndarray
    runs_out: np.ndarray
    order: np.ndarray
    assumptions: tuple[str, ...]

    def columns(self) -> dict[str, Any]:
        """Return the table's columns."""
        return {
            self.stock.what: list(self.stock.names),
            "units": self.stock.units,
            "without_plan": self.without,
            "with_plan": self.with_,
            "low": self.low,
            "high": self.high,
            "days_left": self.lasts,
            "days_left_at_high_demand": self.lasts_low,
            "runs_out": self.runs_out,
            "order": self.order,
        }


def baskets_of(folder: PlanFolder, campaign: Campaign, sales: Sales) -> dict[str, Baskets]:
    """Return what the plan changes, by coupon.

    Raises
    ------
    DataError
        Where the plan has no `purchase_without` and `purchase_with`, or no `redeem_probability` for a coupon with a scope.
    """
    columns = PlanColumns(folder.plan, str(folder.path / "plan.parquet"))
    if not columns.has("purchase_without", "purchase_with"):
        raise DataError(
            f"{columns.place} has no purchase_without and purchase_with, so that nothing says what the plan sells; score the offers with `allocate score`, or add these columns, and make the plan again"
        )
    without, with_ = (columns.number(name, least=0.0, most=1.0) for name in ("purchase_without", "purchase_with"))
    coupon = columns.text("coupon")
    found = {}
    for name in np.unique(coupon).tolist():
        of = coupon == name
        scope_more = 0.0
        if name in sales.scope_baskets:
            if not columns.has("redeem_probability"):
                raise DataError(
                    f"{columns.place} has no redeem_probability, which coupon {name!r} needs for its scope; add it and make the plan again"
                )
            redeemed = columns.number("redeem_probability", least=0.0, most=1.0)[of]
            anyway = (
                columns.number("relevance", least=0.0, most=1.0)[of]
                if columns.has("relevance")
                else without[of] * sales.scope_baskets[name] / max(sales.baskets, 1)
            )
            scope_more = float((redeemed * (1.0 - anyway)).sum())
        found[name] = Baskets(float((with_ - without)[of].sum()), scope_more)
    return found


def forecast(
    stock: Stock,
    sales: Sales,
    changes: Mapping[str, Baskets],
    *,
    days: int = VALID_DAYS,
    service: float = 0.95,
    redemption_shock: float = DEFAULT_SHOCK,
) -> Demand:
    """Forecast the demand of the campaign's days.

    Without the plan a row sells as in the weeks before, on average; its variance is that of its weeks, shrunk to that
    of all rows (Poisson's at least), plus that of their average, and the forecast is negative binomial with these moments. The plan adds
    baskets of the usual content; those that its coupons with a scope bring hold the scope's usual units.
    """
    weekly, horizon = sales.weekly, days / 7.0
    weeks = weekly.shape[1]
    rate, variance = weekly.mean(axis=1), weekly.var(axis=1, ddof=1)
    dispersion = _dispersion(rate, variance)
    variance = dispersion * rate
    extra = np.zeros(len(stock))
    shaken = np.zeros(len(stock))  # the part that hangs on the common shock
    total = weekly.sum(axis=1)
    for name, change in changes.items():
        inside = sales.scoped.get(name, np.zeros(len(stock)))
        extra += change.more * (total - inside) / max(sales.baskets, 1)
        if name in sales.scoped:
            of_scope = change.scope_more * inside / max(sales.scope_baskets[name], 1)
            extra += of_scope
            shaken += of_scope

    def moments(span: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and variance of the units in the campaign and so many weeks after it."""
        time = horizon + span
        mean = np.maximum(rate * time + extra, 0.0)
        spread = time * variance + time**2 * variance / weeks
        return mean, spread + dispersion * np.abs(extra) + (redemption_shock * shaken) ** 2

    with_, spread = moments(0.0)
    low, high = (quantile(with_, spread, share) for share in ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    lead = np.where(np.isnan(stock.lead_days), LEAD_DAYS, stock.lead_days)
    needed = quantile(*moments(lead / 7.0), service)
    return Demand(
        stock,
        days,
        service,
        rate * horizon,
        with_,
        low,
        high,
        _lasts(stock.units, with_, rate, days),
        _lasts(stock.units, high, rate, days),
        exceeds(with_, spread, stock.units),
        np.ceil(np.maximum(needed - stock.units, 0.0)),
        (
            f"sales stay what they were in the {weeks} weeks before: no season, no trend",
            "baskets that the plan brings hold what baskets usually hold",
        ),
    )


def _dispersion(rate: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Return each row's variance of a week's units, as a multiple of their mean; 1 at least.

    A dozen weeks tell a row's own badly: half of the rows would get too narrow an interval. It is shrunk to that of all
    rows, which counts as many weeks as the row's own.
    """
    sells = rate > 0
    if not sells.any():
        return np.ones_like(rate)
    own = np.divide(variance, rate, out=np.ones_like(rate), where=sells)
    common = own[sells].mean()
    return np.maximum(np.where(sells, (own + common) / 2.0, 1.0), 1.0)


def quantile(mean: np.ndarray, variance: np.ndarray, share: float) -> np.ndarray:
    """Return a quantile of the counts with these moments: negative binomial, or Poisson where that is no wider."""
    size, chance = _negative_binomial(mean, variance)
    wide = variance > mean * (1 + 1e-9)
    return np.where(
        mean > 0, np.where(wide, stats.nbinom.ppf(share, size, chance), stats.poisson.ppf(share, mean)), 0.0
    )


def exceeds(mean: np.ndarray, variance: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Return P(count > units) under the law of `quantile`."""
    size, chance = _negative_binomial(mean, variance)
    wide = variance > mean * (1 + 1e-9)
    tail = np.where(wide, stats.nbinom.sf(units, size, chance), stats.poisson.sf(units, mean))
    return np.where(mean > 0, tail, 0.0)


def _negative_binomial(mean: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    above = np.maximum(variance - mean, 1e-9 * np.maximum(mean, 1e-9))
    return np.maximum(mean, 1e-9) ** 2 / above, np.clip(mean / np.maximum(variance, 1e-12), 1e-9, 1.0)


def _lasts(units: np.ndarray, demand: np.ndarray, rate: np.ndarray, days: int) -> np.ndarray:
    """Return the days until `units` are used up: at the campaign's pace, then at that of the weeks before it."""
    daily = demand / days
    within = np.divide(units, daily, out=np.full_like(units, np.inf), where=daily > 0)
    after = np.divide(np.maximum(units - demand, 0.0), rate / 7.0, out=np.full_like(units, np.inf), where=rate > 0)
    return np.where(within <= days, within, days + after)
