"""A user's offers and rules, from a plan folder or from a result in memory, in one form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from allocator.errors import DataError, UsageError
from allocator.explaining.choices import Candidate, Charge, after_prices
from allocator.explaining.inputs import Opened
from allocator.explaining.near import near_ids
from allocator.limit import Limit
from allocator.problem.intake import exclusive_groups
from allocator.result import Result, Status
from allocator.tables import lookup
from allocator.tables.user_columns import UserColumns

# What `score` writes beside the schema's columns; shown where it is there.
PREDICTIONS = ("redeem_probability", "purchase_without", "purchase_with", "relevance")


@dataclass(frozen=True)
class Proof:
    """How good the plan is as a whole.

    Attributes
    ----------
    gap
        How much better another plan could be, currency.
    price_gap
        What the plan earns less than its prices allow, currency: what all users together can miss at those prices.
    """

    optimal: bool
    gap: float
    price_gap: float


@dataclass(frozen=True)
class Case:
    """One user of one plan.

    Attributes
    ----------
    coupons
        All coupons of the campaign.
    candidates
        The user's offers.
    predictions
        For each candidate, what the offers tell of chances, by the column's name.
    most
        How many offers the user may get.
    group
        The exclusive group of each coupon that is in one.
    """

    plan: str
    campaign: str
    currency: str
    user: str
    attributes: Mapping[str, Any]
    coupons: Sequence[str]
    candidates: Sequence[Candidate]
    predictions: Sequence[Mapping[str, float]]
    most: int
    group: Mapping[str, int]
    proof: Proof
    notes: Sequence[str]


def case_of_folder(opened: Opened, user: str) -> Case:
    """Look a user of a plan folder up; raises as `explain_user`."""
    rows = opened.offers_of_user(user, PREDICTIONS)
    mine = _issued(opened.plan, user)
    if not rows.num_rows and not mine:
        _refuse_unknown(opened, user)
    attributes = _attributes(opened, user)
    groups = exclusive_groups(opened.rules.exclusive, opened.rules.coupons)
    facts = opened.facts
    return Case(
        plan=facts.path,
        campaign=facts.campaign,
        currency=facts.currency,
        user=user,
        attributes=attributes,
        coupons=opened.rules.coupons,
        candidates=_candidates(opened, user, rows, mine, attributes),
        predictions=_predictions(rows),
        most=_may_get(opened, attributes),
        group=_grouped(opened.rules.coupons, groups),
        proof=Proof(facts.status == "optimal", facts.gap, facts.price_gap),
        notes=opened.notes,
    )


def case_of_result(result: Result, user: int | str) -> Case:
    """Look a user of a result in memory up, by id, or by position where the problem has no ids."""
    if result.status not in (Status.OPTIMAL, Status.FEASIBLE):
        raise UsageError(f"the status is {str(result.status)!r}: no offer was issued, so there is nothing to explain")
    problem = result.plan.problem
    number = _position(result, user)
    if problem.offers.start is None:
        low, high = number * problem.n_coupons, (number + 1) * problem.n_coupons
    else:
        low, high = (int(problem.offers.start[place]) for place in (number, number + 1))
    offers = np.arange(low, high)
    offers = offers[~np.isnan(problem.offers.value[offers])]
    cap = problem.max_per_user
    price_gap = max(0.0, result.price_bound - result.objective)
    return Case(
        plan="",
        campaign="",
        currency="",
        user=str(user),
        attributes={},
        coupons=problem.coupon_ids,
        candidates=_candidates_of(result, number, offers),
        predictions=[{}] * offers.size,
        most=int(cap[number]) if isinstance(cap, np.ndarray) else int(cap),
        group=_grouped(problem.coupon_ids, problem.exclusive),
        proof=Proof(result.status is Status.OPTIMAL, result.gap, price_gap),
        notes=(),
    )


def _grouped(coupons: Sequence[str], groups: np.ndarray) -> dict[str, int]:
    return {coupon: group for coupon, group in zip(coupons, groups.tolist(), strict=True) if group >= 0}


def _position(result: Result, user: int | str) -> int:
    problem = result.plan.problem
    if problem.user_ids is None:
        if isinstance(user, int) and 0 <= user < problem.n_users:
            return user
        raise UsageError(f"there is no user {user!r}: users are numbered from 0 to {problem.n_users - 1:,}")
    ids = problem.user_ids.cast(pa.large_string())
    number = pc.index(ids, pa.scalar(str(user), pa.large_string())).as_py()
    if number < 0:
        close = near_ids(str(user), ids)
        raise UsageError(
            f"there is no user {user!r} in the offers" + (f" (did you mean {' or '.join(close)}?)" if close else "")
        )
    return int(number)


def _candidates_of(result: Result, user: int, offers: np.ndarray) -> list[Candidate]:
    problem = result.plan.problem
    coupon = problem.offers.coupons_of(offers)
    charges: list[list[Charge]] = [[] for _ in offers]
    group = 0 if problem.user_group is None else int(problem.user_group[user])
    for r, (name, price) in enumerate(result.prices.items()):
        if not price or not problem.limit_groups[r, group]:
            continue
        for place, amount in enumerate(problem.measure(r, offers).tolist()):
            if problem.limit_coupons[r, coupon[place]]:
                charges[place].append(Charge(name, price, amount, price * amount))
    marked = [np.isin(offers, where).tolist() for where in (result.plan.offer, problem.required, problem.forbidden)]
    return [
        Candidate(problem.coupon_ids[k], value, cost, tuple(taken), after_prices(value, taken), *flags)
        for k, value, cost, taken, *flags in zip(
            coupon.tolist(),
            problem.column("value", offers).tolist(),
            problem.column("cost", offers).tolist(),
            charges,
            *marked,
            strict=True,
        )
    ]


def _issued(plan: pa.Table, user: str) -> dict[str, tuple[float, float]]:
    """Return value and cost of each coupon that the plan issues to a user."""
    ids = plan["user_id"]
    if pa.types.is_integer(ids.type):
        # Comparing numbers is quicker than writing millions of them; 007 is not 7.
        number = int(user) if user.lstrip("-").isdecimal() and str(int(user)) == user else None
        try:
            mask = pc.equal(ids, pa.scalar(number, ids.type))
        except (OverflowError, pa.ArrowException):
            return {}
    else:
        mask = pc.equal(ids.cast(pa.large_string()), user)
    found = plan.select(["coupon", "value", "cost"]).filter(mask).to_pylist()
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
    opened: Opened, user: str, rows: pa.Table, mine: Mapping[str, tuple[float, float]], attributes: Mapping[str, Any]
) -> list[Candidate]:
    priced = [
        (use.price, limit)
        for use, limit in zip(opened.facts.limits, opened.rules.limits, strict=True)
        if use.price and _covers_user(limit, attributes)
    ]
    group = opened.held_out()
    held = group is not None and lookup.row_of_user(group, user).num_rows > 0
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
        made.append(Candidate(coupon, row["value"], row["cost"], charges, worth, coupon in mine, held_out=held))
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


def _predictions(rows: pa.Table) -> list[dict[str, float]]:
    names = [name for name in PREDICTIONS if name in rows.column_names]
    if not names:
        return [{} for _ in range(rows.num_rows)]
    listed = rows.select(names).to_pylist()
    return [{name: number for name, number in row.items() if number is not None} for row in listed]
