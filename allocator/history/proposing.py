"""Coupons, scopes and a budget that fit what users buy: a first campaign to change, not advice."""

from __future__ import annotations

import datetime
import math
from typing import Any

import numpy as np
import pyarrow.compute as pc

from allocator.campaign.explained import Proposal, Proposals
from allocator.history.products import Products
from allocator.history.profiles import Profiles, profiles
from allocator.history.schema import NEAR_DAYS
from allocator.history.transactions import DAY, Transactions
from allocator.progress import Progress, silent

CATEGORIES = 3
BUDGET_SHARE = 0.01  # of the last 90 days' sales
DEPTH = 10  # percent
SCOPED_DEPTH = 15
WEEKS = (1, 8)  # how long a coupon may be valid


def propose(transactions: Transactions, products: Products | None = None, progress: Progress = silent) -> Proposals:
    """Propose a campaign from what users spend a visit, how often they come, and what they buy most."""
    found = profiles(transactions, products, progress=progress)
    visits = found["visits"].astype(np.float64)
    basket = found["basket_money"].astype(np.float64)
    middle, upper, top = _quantiles(basket, visits, (0.5, 0.75, 0.95))
    weeks = _weeks(found)
    coupons = [
        _fixed(middle, upper, weeks),
        Proposal(
            {
                "id": f"{DEPTH}percent",
                "kind": "percent",
                "amount": DEPTH,
                "max_discount": _round(top * DEPTH / 100),
                "valid_days": 7 * weeks,
            },
            f"{DEPTH} percent on everything, capped where users of the largest visits ({top:,.2f}) would get more.",
        ),
    ]
    if products is not None:
        coupons += _scoped(found, products, weeks, {proposal.terms["id"] for proposal in coupons})
    return Proposals(_values(found), coupons, found.faults.told(transactions.path))


def _values(found: Profiles) -> dict[str, tuple[Any, str]]:
    sales = float(found[f"money_{NEAR_DAYS}"].sum(dtype=np.float64))
    assert isinstance(found.as_of, int)
    start = datetime.date(1970, 1, 1) + datetime.timedelta(days=-(-found.as_of // DAY))
    values: dict[str, tuple[Any, str]] = {
        "name": ("first campaign", ""),
        "currency": ("EUR", "Change it where the tables are in another."),
        "max_per_user": (1, ""),
        "start": (start, "Here: the day after the last purchase in the data."),
    }
    if sales > 0:
        share = f"{100 * BUDGET_SHARE:g} percent of the last {NEAR_DAYS} days' sales ({sales:,.2f})"
        values["budget"] = (
            max(_round(BUDGET_SHARE * sales), 1.0),
            f"Here: {share}, a place to begin; `allocate frontier` shows what others would earn.",
        )
    return values


def _fixed(middle: float, upper: float, weeks: int) -> Proposal:
    least = _round(upper)
    amount = _round(least * DEPTH / 100)
    terms = {
        "id": f"{amount:g}off{least:g}",
        "kind": "fixed",
        "amount": amount,
        "min_spend": least,
        "valid_days": 7 * weeks,
    }
    return Proposal(
        terms,
        f"Half of the visits are of users who spend above {middle:,.2f} a visit, a quarter above {upper:,.2f}: the minimum asks "
        "most for a little more than usual.",
    )


def _scoped(found: Profiles, products: Products, weeks: int, taken: set[str]) -> list[Proposal]:
    """Propose a coupon for each of the categories that most money goes to."""
    column = found.schema.category_column
    if column is None:
        return []
    native = _native(products, column)
    money = found["money"].astype(np.float64)
    coupons = []
    for name in found.schema.categories[:CATEGORIES]:
        share = np.nan_to_num(found[f"category[{name}]"].astype(np.float64))
        if name not in native or not name.strip():
            continue
        label = f"{SCOPED_DEPTH}percent {name.strip().lower()}"
        while label in taken:
            label += " scope"
        taken.add(label)
        spent, total = float((share * money).sum()), float(money.sum())
        coupons.append(
            Proposal(
                {
                    "id": label,
                    "kind": "percent",
                    "amount": SCOPED_DEPTH,
                    "scope": {column: native[name]},
                    "valid_days": 7 * weeks,
                },
                f"{100 * spent / total:.0f} percent of all money goes there; {int((share > 0).sum()):,} of {len(found):,} users bought "
                "from it, and relevance tells who else might.",
            )
        )
    return coupons


def _native(products: Products, column: str) -> dict[str, str | int | float | bool]:
    """Return the values of a column as a campaign file writes them, by their text."""
    values = pc.unique(products.table[column]).drop_null()
    texts = pc.cast(values, "string").to_pylist()
    return {
        str(text): value
        for text, value in zip(texts, values.to_pylist(), strict=True)
        if isinstance(value, str | bool | int | float)
    }


def _quantiles(values: np.ndarray, weight: np.ndarray, at: tuple[float, ...]) -> list[float]:
    """Return weighted quantiles; NaN counts for nothing."""
    known = ~np.isnan(values)
    order = np.argsort(values[known], kind="stable")
    sorted_values, total = values[known][order], np.cumsum(weight[known][order])
    return [float(sorted_values[np.searchsorted(total, share * total[-1])]) for share in at]


def _weeks(found: Profiles) -> int:
    """Return how many weeks give most users two visits."""
    gap = found["gap"]
    typical = float(np.median(gap[~np.isnan(gap)])) if (~np.isnan(gap)).any() else 7.0
    return int(min(max(math.ceil(2 * typical / 7), WEEKS[0]), WEEKS[1]))


def _round(number: float) -> float:
    """Round to an amount that a coupon would print: 0.7, 3.5, 12, 45, 250."""
    if number <= 0:
        return 0.1
    if number < 1:
        return max(round(number, 1), 0.1)
    if number < 10:
        return round(2 * number) / 2
    if number < 100:
        return float(round(number))
    scale = 10.0 ** (math.floor(math.log10(number)) - 1)
    return float(round(number / scale) * scale)
