"""What each part of a campaign says, as plain numbers and texts, and what is odd about it."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import numpy as np

from allocator.campaign import Campaign
from allocator.errors import DataError, counted, nearest
from allocator.history import CONTROL, Products, Transactions, TrialTable, Users
from allocator.history.balance import ArmBalance, balance, telltales, wrong_shares
from allocator.history.inspecting import Inspection, day
from allocator.history.transactions import DAY
from allocator.learning.preparing import Prepared
from allocator.learning.trials import TrialArrays
from allocator.problem import Problem
from allocator.problem.scopes import user_groups
from allocator.shares import percent
from allocator.tables.files import read_offers, same_ids
from allocator.tables.user_columns import UserColumns

FEW = 100  # users of an arm below which little can be learned
SHORT = 90  # days of history below which trends mean little
STALE = 14  # days without history before a campaign
UNKNOWN_SHARE = 0.02  # of the money, at items that the products lack
DUPLICATE_SHARE = 0.001
LEFT_OUT_SHARE = 0.01


def share(part: float, whole: float) -> str:
    """Return `12.3 %`."""
    return percent(part / whole if whole else 0.0)


def of_campaign(campaign: Campaign) -> dict[str, Any]:
    """Return name, currency, budget, coupons and limits."""
    return {
        "name": campaign.name,
        "currency": campaign.currency,
        "budget": campaign.budget,
        "max_per_user": campaign.max_per_user,
        "coupons": campaign.coupon_ids,
        "limits": [limit.name for limit in campaign.limits()],
    }


def of_products(products: Products, scopes: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the number of products, their attributes and what each coupon's scope covers."""
    return {
        "rows": products.table.num_rows,
        "attributes": list(products.attributes),
        "category": products.category_column(),
        "scopes": {name: int(mask.sum()) for name, mask in scopes.items()},
    }


def of_transactions(transactions: Transactions, found: Inspection, has_products: bool) -> dict[str, Any]:
    """Return rows, users, items, visits, dates, money and what was left out."""
    document: dict[str, Any] = {
        "rows": found.faults.rows,
        "sound": found.faults.sound,
        "left_out": {kind: fault.rows for kind, fault in found.faults.kinds.items()},
        "users": len(found.users),
        "items": len(found.items),
        "visits": found.visits,
        "duplicates": found.duplicates,
        "visits_exact": found.visits_exact,
        "duplicates_exact": found.duplicates_exact,
        "first": day(found.first),
        "last": day(found.last),
        "has_clock": found.has_clock,
        "has_baskets": transactions.has_baskets,
        "money": round(found.money, 2),
        "discount": None if found.discount is None else round(found.discount, 2),
    }
    if has_products:
        document["unknown_items"] = {
            "items": found.unknown_items,
            "rows": found.unknown_lines,
            "money": round(found.unknown_money, 2),
        }
        document["bought_from_scope"] = dict(found.scopes)
    return document


def odd_transactions(transactions: Transactions, found: Inspection, products: Products | None) -> list[str]:
    """Say what is odd about transactions."""
    path, rows = transactions.path, found.faults.rows
    said = found.faults.told(path)
    if found.faults.total > LEFT_OUT_SHARE * rows:
        said.append(
            f"{path}: {share(found.faults.total, rows)} of the rows are left out; correct them before you train"
        )
    if found.duplicates > DUPLICATE_SHARE * found.faults.sound:
        about = "" if found.duplicates_exact else "about "
        said.append(
            f"{path}: {about}{counted(found.duplicates, 'row repeats', 'rows repeat')} another in everything "
            f"({share(found.duplicates, found.faults.sound)}); all of them count. If an export was delivered twice, take one out"
        )
    for gap in found.gaps[:3]:
        first, last = (str(np.datetime64(at, "D")) for at in (gap.after + 1, gap.until - 1))
        said.append(f"{path}: no row from {first} to {last} ({gap.days} days); is a file missing?")
    days = (found.last - found.first) // DAY + 1
    if days < SHORT:
        said.append(
            f"{path}: {counted(days, 'day', 'days')} of history; profiles say more with a year, {SHORT} days at least"
        )
    if products is not None and found.unknown_money > UNKNOWN_SHARE * found.money:
        said.append(
            f"{path}: {counted(found.unknown_items, 'item', 'items')} with {share(found.unknown_money, found.money)} of the money "
            f"are not in {products.path}; they count as no category and lie in no coupon's scope; add them"
        )
    for name, number in found.scopes.items():
        if number == 0:
            said.append(f"coupon {name!r}: nobody bought from its scope before; its relevance rests on terms alone")
    return said


def of_users(users: Users, limits: Mapping[str, int], may_get: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the number of users, their attributes, how many each limit covers, and who may get which coupon."""
    return {
        "rows": users.table.num_rows,
        "attributes": list(users.attributes),
        "limits": dict(limits),
        "coupons": {name: int(mask.sum()) for name, mask in may_get.items()},
    }


def covered(users: Users, campaign: Campaign | None) -> dict[str, int]:
    """Return how many users each limit with a condition on users covers; raises `CampaignError` as solving would."""
    limits = [] if campaign is None else [limit for limit in campaign.limits() if limit.users is not None]
    attributes = UserColumns(users.table.drop_columns(["user_id"]), None)
    cap = 1 if campaign is None else campaign.max_per_user
    if isinstance(cap, str) and cap not in users.attributes:
        raise DataError(
            f"{users.path}: max_per_user names the column {cap!r}, which is not there{nearest(cap, users.attributes)}"
        )
    if not limits:
        return {}
    group, covers = user_groups(limits, users.table.num_rows, attributes)
    sizes = np.array([users.table.num_rows]) if group is None else np.bincount(group, minlength=covers.shape[1])
    return {limit.name: int(number) for limit, number in zip(limits, (covers * sizes).sum(axis=1), strict=True)}


def odd_start(campaign: Campaign, found: Inspection) -> list[str]:
    """Say what is odd about the campaign's start beside the history."""
    start = campaign.campaign.start
    if start is None or found.last < 0:
        return []
    last = datetime.date.fromisoformat(str(day(found.last)))
    if last >= start:
        return [
            f"the transactions go on to {last}, beyond the campaign's start {start}; from then on they are not looked at"
        ]
    if (start - last).days > STALE:
        return [
            f"the transactions end {(start - last).days} days before the campaign's start {start}; what users did since is not known, "
            "and everybody seems to have stayed away"
        ]
    return []


def habits_before(trial: TrialTable, prepared: Prepared) -> dict[str, np.ndarray]:
    """Return profiles of the trial's users as of its beginning, where it has a time: more to compare the arms by."""
    if trial.time is None or trial.user_ids is None or len(trial.user_ids.unique()) < len(trial):
        return {}  # a user of several campaigns has several profiles
    made = () if prepared.profile is None else prepared.profile.names
    return {name: prepared.table.features[name] for name in made}


def of_sent(table: TrialArrays) -> dict[str, Any]:
    """Return how many users were sent each coupon, and how many others stand beside them."""
    sizes = np.bincount(table.arm, minlength=table.n_arms)
    return {
        "rows": int(sizes[1:].sum()),
        "others": int(sizes[0]),
        "coupons": dict(zip(table.coupons, sizes[1:].tolist(), strict=True)),
    }


def of_trial(trial: TrialTable, habits: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return each arm's size and outcomes, and the comparison of the arms before the trial."""
    arms = []
    for number, name in enumerate(trial.arms):
        rows = trial.arm == number
        size = int(rows.sum())
        known = {"spend": trial.spend, "redeemed": trial.redeemed, "visited": trial.visited}
        arms.append(
            {
                "arm": name,
                "users": size,
                "share": size / len(trial),
                "purchased": _mean(trial.purchased, rows),
                **{label: _mean(values, rows) for label, values in known.items() if values is not None},
            }
        )
    return {
        "rows": len(trial),
        "arms": arms,
        "features": list(trial.features.column_names),
        "propensity": "each arm" if trial.propensities is not None else "one" if trial.propensity is not None else None,
        "first": None if trial.time is None else day(int(trial.time.min())),
        "last": None if trial.time is None else day(int(trial.time.max())),
        "balance": [
            {
                "coupon": item.coupon,
                "chance": item.chance,
                "largest": {difference.feature: round(difference.size, 4) for difference in item.largest},
                "suspect": item.is_suspect,
            }
            for item in balance(trial, habits)
        ],
    }


def _mean(values: np.ndarray, rows: np.ndarray) -> float | None:
    return float(values[rows].mean()) if rows.any() else None


def odd_trial(trial: TrialTable, habits: Mapping[str, np.ndarray], campaign: Campaign | None) -> list[str]:
    """Say what is odd about a trial."""
    said: list[str] = []
    path, counts = trial.path, trial.counts
    for name, number in zip(trial.arms, counts.tolist(), strict=True):
        if 0 < number < FEW:
            said.append(f"{path}: arm {name!r} has {number} users; below {FEW} little can be learned of it")
    for name, number, expected in wrong_shares(trial):
        said.append(
            f"{path}: arm {name!r} has {number:,} users where its chances lead one to expect {expected:,.0f}; users were lost, or "
            "the chances are not those of the design"
        )
    said += [_unbalanced(path, item) for item in balance(trial, habits) if item.is_suspect]
    for item in telltales(trial):
        said.append(
            f"{path}: feature {item.feature!r} goes with the outcome (correlation {item.size:.2f}); was it known before the "
            "trial? if not, take it out"
        )
    if campaign is not None and campaign.coupon_ids:
        fresh = [name for name in campaign.coupon_ids if name not in trial.coupons]
        if fresh:
            said.append(
                f"{path}: {counted(len(fresh), 'coupon', 'coupons')} of the campaign were never tried ({', '.join(fresh[:3])}); their effects are predicted from their terms"
            )
    return said


def _unbalanced(path: str, item: ArmBalance) -> str:
    differences = ", ".join(f"{one.feature} {one.size:+.2f}" for one in item.largest)
    how = "" if item.chance is None else f": chance makes arms differ so in {item.chance:.1g} of trials"
    return (
        f"{path}: users of {item.coupon!r} differ from {CONTROL} before the trial{how} (in standard deviations: {differences}); "
        "if coupons were not given by lot, add a propensity column"
    )


def problem(path: str, users: Users | None, campaign: Campaign, users_failed: bool) -> Problem:
    """Read offers with the campaign's limits, as `allocate` does; without those on users where these have failed."""
    table = read_offers(path)
    described = None if users is None else users.table
    if described is not None:
        table, described = same_ids(table, described)
    return Problem.from_offers(
        table,
        limits=[limit for limit in campaign.limits() if limit.users is None or not users_failed],
        users=described,
        max_per_user=1 if users_failed else campaign.max_per_user,
        exclusive=campaign.exclusive,
        coupons=campaign.coupon_ids or None,
        face_value=campaign.face_values or None,
        source=path,
    )


def of_offers(problem: Problem) -> dict[str, Any]:
    """Return the number of offers and users, and each coupon's offers, value and cost."""
    offers = problem.offers
    every = np.arange(offers.n_offers)
    there = ~np.isnan(offers.value)
    coupon, value, cost = offers.coupons_of(every)[there], offers.value[there], offers.cost[there]
    n = problem.n_coupons
    number = np.bincount(coupon, minlength=n)
    worth = np.bincount(coupon, weights=value > 0, minlength=n)
    sums = [np.bincount(coupon, weights=column, minlength=n) for column in (value, cost)]
    return {
        "rows": offers.present,
        "users": problem.n_users,
        "coupons": [
            {
                "coupon": name,
                "offers": int(number[k]),
                "above_zero": int(worth[k]),
                "mean_value": float(sums[0][k] / number[k]) if number[k] else None,
                "mean_cost": float(sums[1][k] / number[k]) if number[k] else None,
            }
            for k, name in enumerate(problem.coupon_ids)
        ],
    }


def odd_offers(problem: Problem) -> list[str]:
    """Say what is odd about offers."""
    said = []
    offers = problem.offers
    with np.errstate(invalid="ignore"):  # NaN: no offer
        hopeless = int((offers.value <= 0).sum())
    if hopeless > 0.5 * offers.present:
        said.append(
            f"{share(hopeless, offers.present)} of the offers are worth nothing or less; only a minimum would have them issued"
        )
    there = ~np.isnan(offers.value)
    number = np.bincount(offers.coupons_of(np.arange(offers.n_offers))[there], minlength=problem.n_coupons)
    said += [f"coupon {problem.coupon_ids[k]!r} has no offer; it cannot be issued" for k in np.flatnonzero(number == 0)]
    sizes = np.array([problem.n_users])
    if problem.user_group is not None:
        sizes = np.bincount(problem.user_group, minlength=problem.limit_groups.shape[1])
    cap = int(np.max(problem.max_per_user))
    for limit, users in zip(problem.limits, (problem.limit_groups * sizes).sum(axis=1), strict=True):
        if limit.measure == "count" and limit.at_least is not None and limit.at_least > users * cap:
            said.append(
                f"limit {limit.name!r} wants at least {limit.at_least:,.0f} offers, but covers {users:,} users with at most "
                f"{cap} each; it cannot be kept"
            )
    return said
