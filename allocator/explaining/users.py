"""Why a plan gives a user what it does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from allocator.errors import DataError, UsageError
from allocator.explaining import wording
from allocator.explaining.choices import Candidate, Charge, Verdict, Why, after_prices, best, verdicts
from allocator.explaining.facts import Facts
from allocator.explaining.inputs import Opened, open_plan
from allocator.explaining.near import near_ids
from allocator.limit import Limit
from allocator.problem.intake import exclusive_groups
from allocator.tables.plan_folder import PlanFolder
from allocator.tables.user_columns import UserColumns

# What `score` writes beside the schema's columns; shown where it is there.
PREDICTIONS = ("redeem_probability", "purchase_without", "purchase_with", "relevance")


@dataclass(frozen=True)
class OfferLine:
    """One coupon of the campaign, for one user.

    Attributes
    ----------
    value, cost, after_prices
        Currency; `None` where the user was not eligible. `after_prices`: the value less what the limits' prices take.
    charges
        What each limit takes that covers this offer and has a price.
    predictions
        What the offers tell of chances, by the column's name.
    why, reason
        Why it is issued or not, as a code and in words.
    rival, limit
        The coupon that took its place; the limit that takes most of its value, where that decided.
    """

    coupon: str
    issued: bool
    value: float | None
    cost: float | None
    after_prices: float | None
    charges: tuple[Charge, ...]
    predictions: Mapping[str, float]
    why: Why
    reason: str
    rival: str | None
    limit: str | None


@dataclass(frozen=True)
class UserExplanation:
    """Why a user gets what they get.

    Attributes
    ----------
    user
        The id as text.
    attributes
        What the users table says of the user, as far as limits refer to it.
    may_get
        How many offers the user may get.
    issued
        Coupons issued to the user.
    offers
        One line for each coupon of the campaign: those issued, then by worth after prices, then those not eligible.
    missed
        By how much the offers that the prices alone would choose are worth more than those issued, after prices,
        currency: 0 for nearly all users.
    statement
        The outcome in a sentence or two.
    notes
        What else the reader should know.
    """

    plan: str
    campaign: str
    currency: str
    user: str
    attributes: Mapping[str, Any]
    may_get: int
    issued: tuple[str, ...]
    offers: tuple[OfferLine, ...]
    missed: float
    statement: str
    notes: tuple[str, ...]


def explain_user(
    plan: str | Path | PlanFolder,
    user: int | str,
    *,
    offers: str | None = None,
    users: str | None = None,
    campaign: str | None = None,
) -> UserExplanation:
    """Say why a plan gives a user what it does, and what each other coupon would have earned after prices.

    Parameters
    ----------
    plan
        What `allocate -o` wrote.
    user
        The user's id; an integer id may be given as text.
    offers, users, campaign
        Where these lie now, where they are not where they were when the plan was made.

    Raises
    ------
    UsageError
        Where the path is no plan folder or the user is not known.
    DataError
        Where a file is damaged, of another version, changed, or gone.
    """
    opened = open_plan(plan, offers=offers, users=users, campaign=campaign)
    name = str(user)
    rows = opened.offers_of_user(name, PREDICTIONS)
    mine = _issued(opened.folder, name)
    if not rows.num_rows and not mine:
        _refuse_unknown(opened, name)
    attributes = _attributes(opened, name)
    most = _may_get(opened, attributes)
    candidates = _candidates(opened, rows, mine, attributes)
    groups = exclusive_groups(opened.rules.exclusive, opened.rules.coupons)
    group = {coupon: int(g) for coupon, g in zip(opened.rules.coupons, groups, strict=True) if g >= 0}
    by_price = best(candidates, most, group)
    missed = _missed(candidates, by_price)
    _refuse_impossible(opened, missed)
    lines = _lines(opened, rows, candidates, verdicts(candidates, most, group))
    return UserExplanation(
        plan=opened.facts.path,
        campaign=opened.facts.campaign,
        currency=opened.facts.currency,
        user=name,
        attributes=attributes,
        may_get=most,
        issued=tuple(line.coupon for line in lines if line.issued),
        offers=lines,
        missed=missed,
        statement=wording.statement(name, lines, most, opened.facts.currency),
        notes=(*opened.notes, *wording.notes(opened.facts, missed, tuple(item.coupon for item in by_price))),
    )


def _issued(folder: PlanFolder, user: str) -> dict[str, tuple[float, float]]:
    """Return value and cost of each coupon that the plan issues to a user."""
    ids = folder.plan["user_id"]
    if pa.types.is_integer(ids.type):
        # Comparing numbers is quicker than writing millions of them; 007 is not 7.
        number = int(user) if user.lstrip("-").isdecimal() and str(int(user)) == user else None
        try:
            mask = pc.equal(ids, pa.scalar(number, ids.type))
        except (OverflowError, pa.ArrowException):
            return {}
    else:
        mask = pc.equal(ids.cast(pa.large_string()), user)
    found = folder.plan.select(["coupon", "value", "cost"]).filter(mask).to_pylist()
    return {str(row["coupon"]): (float(row["value"]), float(row["cost"])) for row in found}


def _refuse_unknown(opened: Opened, user: str) -> None:
    """Raise `UsageError` for a user that neither the offers nor the users table know."""
    if opened.has_users and opened.row_of_user(user).num_rows:
        return
    ids = opened.user_ids()
    where = "users" if opened.has_users else "offers"
    close = near_ids(user, ids)
    hint = f" (did you mean {' or '.join(close)}?)" if close else f"; an id there is {ids[0].as_py()!r}" if ids else ""
    raise UsageError(f"there is no user {user!r} in the plan's {where}{hint}")


def _attributes(opened: Opened, user: str) -> dict[str, Any]:
    """Return what the users table says of a user, as far as the rules refer to it."""
    rules = opened.rules
    names = {name for limit in rules.limits if isinstance(limit.users, Mapping) for name in limit.users}
    names |= {rules.max_per_user} if isinstance(rules.max_per_user, str) else set()
    if not names:
        return {}
    row = opened.row_of_user(user)
    if row.num_rows != 1:
        found = "no row" if not row.num_rows else f"{row.num_rows} rows"
        raise DataError(
            f"the users table has {found} for user {user!r}; the plan was made with one: give it with --users"
        )
    missing = sorted(names - set(row.column_names))
    if missing:
        raise DataError(
            f"the users table has no column {missing[0]!r}, which the campaign refers to; give it with --users"
        )
    columns = UserColumns(row.drop_columns(["user_id"]), None)
    return {name: columns[name].array().tolist()[0] for name in sorted(names)}


def _may_get(opened: Opened, attributes: Mapping[str, Any]) -> int:
    cap = opened.rules.max_per_user
    number = attributes[cap] if isinstance(cap, str) else cap
    if not isinstance(number, (int, float)) or number != int(number) or number < 0:
        raise DataError(f"max_per_user: column {cap!r} holds {number!r} for this user; it must hold whole numbers")
    return int(number)


def _candidates(
    opened: Opened, rows: pa.Table, mine: Mapping[str, tuple[float, float]], attributes: Mapping[str, Any]
) -> list[Candidate]:
    priced = [
        (use.price, limit)
        for use, limit in zip(opened.facts.limits, opened.rules.limits, strict=True)
        if use.price and _covers_user(limit, attributes)
    ]
    made = []
    for row in rows.to_pylist():
        coupon = str(row["coupon"])
        if coupon in mine and mine[coupon] != (row["value"], row["cost"]):
            raise DataError(
                _differs(opened, f"coupon {coupon!r} is worth {row['value']!r} there, {mine[coupon][0]!r} in the plan")
            )
        charges = tuple(
            _charge(limit, price, row, opened.rules.face_values)
            for price, limit in priced
            if limit.coupons is None or coupon in limit.coupons
        )
        worth = after_prices(row["value"], charges)
        made.append(Candidate(coupon, row["value"], row["cost"], charges, worth, coupon in mine))
    lost = sorted(set(mine) - {item.coupon for item in made})
    if lost:
        raise DataError(_differs(opened, f"coupon {lost[0]!r} is issued to this user but has no row there"))
    strange = sorted({item.coupon for item in made} - set(opened.rules.coupons))
    if strange:
        raise DataError(_differs(opened, f"coupon {strange[0]!r} has a row there but is not in the plan's summary"))
    return made


def _differs(opened: Opened, what: str) -> str:
    whose = "the demo campaign of this version" if opened.is_demo else "the offers"
    return (
        f"{whose} are not those that the plan in {opened.folder.path} was made from: {what}; give those with --offers"
    )


def _covers_user(limit: Limit, attributes: Mapping[str, Any]) -> bool:
    if not isinstance(limit.users, Mapping):
        return True
    return all(
        attributes[name] in (wanted if isinstance(wanted, list) else [wanted]) for name, wanted in limit.users.items()
    )


def _charge(limit: Limit, price: float, row: Mapping[str, Any], face_values: Mapping[str, float]) -> Charge:
    amount = 0.0
    for position, (name, weight) in enumerate(limit.weights.items()):
        if name == "count":
            number = 1.0
        elif name == "liability" and row.get(name) is None:
            number = face_values.get(str(row["coupon"]), row["cost"])
        else:
            number = row[name]
        term = number if weight == 1.0 else weight * number
        amount = term if position == 0 else amount + term
    return Charge(limit.name, price, amount, price * amount)


def _missed(candidates: Sequence[Candidate], by_price: Sequence[Candidate]) -> float:
    wanted = math.fsum(item.after_prices for item in by_price)
    return max(0.0, wanted - math.fsum(item.after_prices for item in candidates if item.issued))


def _refuse_impossible(opened: Opened, missed: float) -> None:
    """Raise `DataError` where a user alone misses more than all users together can (weak duality)."""
    facts: Facts = opened.facts
    if missed > facts.price_gap + 1e-9 * max(1.0, abs(facts.price_bound)) and not opened.notes:
        raise DataError(_differs(opened, "by the plan's prices another choice would earn more than its bound allows"))


def _lines(
    opened: Opened, rows: pa.Table, candidates: Sequence[Candidate], judged: Sequence[Verdict]
) -> tuple[OfferLine, ...]:
    predicted = rows.select([name for name in PREDICTIONS if name in rows.column_names]).to_pylist()
    found = {}
    for item, verdict, row in zip(candidates, judged, predicted or [{}] * len(candidates), strict=True):
        found[item.coupon] = OfferLine(
            coupon=item.coupon,
            issued=item.issued,
            value=item.value,
            cost=item.cost,
            after_prices=item.after_prices,
            charges=item.charges,
            predictions={name: number for name, number in row.items() if number is not None},
            why=verdict.why,
            reason=wording.reason(item, verdict, {other.coupon: other for other in candidates}, opened.facts.currency),
            rival=verdict.rival,
            limit=verdict.limit,
        )
    absent = [_absent(coupon) for coupon in opened.rules.coupons if coupon not in found]
    there = sorted(found.values(), key=lambda line: (not line.issued, -(line.after_prices or 0.0)))
    return (*there, *absent)


def _absent(coupon: str) -> OfferLine:
    words = "not eligible: the offers have no row for this user and coupon"
    return OfferLine(coupon, False, None, None, None, (), {}, Why.NOT_ELIGIBLE, words, None, None)
