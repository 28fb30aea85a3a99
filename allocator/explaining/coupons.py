"""Who gets a coupon, as a small tree of segments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from allocator.errors import DataError, UsageError, nearest
from allocator.explaining.choices import TIE
from allocator.explaining.facts import Facts
from allocator.explaining.features import features
from allocator.explaining.inputs import Given, Opened, open_plan
from allocator.explaining.tree import FEWEST, Node, grow
from allocator.result import LimitUse
from allocator.tables import lookup
from allocator.tables.files import same_ids
from allocator.tables.frames import decoded
from allocator.tables.plan_folder import PlanFolder
from allocator.tables.user_columns import UserColumns, user_columns


@dataclass(frozen=True)
class Segment:
    """Eligible users that a rule puts together.

    Attributes
    ----------
    rule
        What sets them apart from the other part of the segment above; empty for all.
    users, holders
        How many are eligible, and how many of them get the coupon.
    share
        `holders / users`.
    value, cost
        Average over those who get it, currency; `None` where nobody does.
    parts
        The two segments that it falls into, the one with the larger share first; none at the tree's end.
    """

    rule: str
    users: int
    holders: int
    share: float
    value: float | None
    cost: float | None
    parts: tuple[Segment, ...]


@dataclass(frozen=True)
class SegmentTree:
    """Who gets a coupon, by some columns.

    Attributes
    ----------
    columns
        The columns that were looked at.
    passed_over
        Those that no rule can be written in.
    accounted
        Share, 0 to 1, of the difference between who gets it and who does not that the tree's segments account for.
    """

    columns: tuple[str, ...]
    passed_over: tuple[str, ...]
    accounted: float
    root: Segment


@dataclass(frozen=True)
class CouponExplanation:
    """Who gets a coupon.

    Attributes
    ----------
    eligible, holders
        Users with an offer of it, and users who get it. `None` for fewer than ten, here and in the other counts.
    value, cost
        Of all its offers issued, currency.
    loses, priced_out, outdone
        Eligible users who do not get it: its value is not above 0; what it uses of the limits earns more elsewhere; other
        coupons are worth more to the user under the user's own rules (or as much: a close call).
    limits
        The limits that cover the coupon and have a price.
    by_users
        The tree by what the users table says; `None` without one, or with fewer than ten users on a side.
    by_offers
        The tree by the offers' own numbers; `None` likewise.
    """

    plan: str
    campaign: str
    currency: str
    coupon: str
    eligible: int | None
    holders: int | None
    value: float | None
    cost: float | None
    loses: int | None
    priced_out: int | None
    outdone: int | None
    limits: tuple[LimitUse, ...]
    by_users: SegmentTree | None
    by_offers: SegmentTree | None
    notes: tuple[str, ...]


def explain_coupon(
    plan: str | Path | PlanFolder,
    coupon: str,
    *,
    offers: str | None = None,
    users: str | None = None,
    campaign: str | None = None,
) -> CouponExplanation:
    """Say who gets a coupon: how many, what that earns, and in which segments of the eligible users.

    Parameters
    ----------
    plan
        What `allocate -o` wrote.
    offers, users, campaign
        Where these lie now, where they are not where they were when the plan was made. `users` adds a users table to a
        plan that was made without one.

    Raises
    ------
    UsageError
        Where the path is no plan folder or the coupon is not known.
    DataError
        Where a file is damaged, of another version, changed, or gone.
    """
    opened = open_plan(plan, Given(offers, users, campaign))
    facts = opened.facts
    if coupon not in facts.coupons:
        known = ", ".join(facts.coupons[:12]) + (" ..." if len(facts.coupons) > 12 else "")
        raise UsageError(f"the plan has no coupon {coupon!r}{nearest(coupon, facts.coupons)}; it has {known}")
    rows = _without_control(opened, opened.offers_of_coupon(coupon))
    has = _holders(opened, rows, coupon)
    value, cost = (rows[name].cast(pa.float64()).to_numpy() for name in ("value", "cost"))
    people = _people(opened, rows) if opened.has_users else None
    takes = _takes(opened, rows, coupon, people)
    worth = value - takes
    worth[np.abs(worth) <= TIE * (np.abs(value) + np.abs(takes))] = 0.0  # a close call, but for rounding
    enough = min(int(has.sum()), int((~has).sum())) >= FEWEST
    tables = (people, rows.drop_columns(["user_id"])) if enough else (None, None)
    trees = [None if table is None else _tree(table, has, value, cost) for table in tables]
    return CouponExplanation(
        plan=facts.path,
        campaign=facts.campaign,
        currency=facts.currency,
        coupon=coupon,
        eligible=_count(np.ones(has.size, dtype=bool)),
        holders=_count(has),
        value=_sum(value, has),
        cost=_sum(cost, has),
        loses=_count(~has & (worth <= 0) & (value <= 0)),
        priced_out=_count(~has & (worth < 0) & (value > 0)),
        outdone=_count(~has & ((worth > 0) | ((worth == 0) & (value > 0)))),
        limits=_limits(facts, opened, coupon),
        by_users=trees[0],
        by_offers=trees[1],
        notes=(*opened.facts.warnings, *opened.notes, *_notes(opened, rows, has, enough)),
    )


def _without_control(opened: Opened, rows: pa.Table) -> pa.Table:
    """Leave out the offers of users who were held out: nothing was decided about them."""
    path = opened.held_out()
    if path is None:
        return rows
    held = pc.is_in(
        decoded(rows["user_id"]).cast(pa.large_string()), value_set=lookup.distinct_ids(path).cast(pa.large_string())
    )
    opened.notes.append(
        f"{pc.sum(held).as_py() or 0:,} eligible users in the control group (--holdout) are not counted."
    )
    return rows.filter(pc.invert(held))


def _holders(opened: Opened, rows: pa.Table, coupon: str) -> np.ndarray:
    """Return which of a coupon's offers are issued, `(n,)` bool."""
    plan = opened.folder.plan
    mine = plan.filter(pc.equal(decoded(plan["coupon"]), coupon))
    kinds = [table["user_id"].type for table in (rows, mine)]
    numbers = all(pa.types.is_integer(kind) for kind in kinds) and pa.uint64() not in kinds
    kind = pa.int64() if numbers else pa.large_string()
    ids, issued = (decoded(table["user_id"]).cast(kind) for table in (rows, mine))
    has: np.ndarray = pc.is_in(ids, value_set=issued).to_numpy()
    if int(has.sum()) != len(issued):
        raise DataError(
            f"the offers are not those that the plan in {opened.folder.path} was made from: it issues {len(issued):,} of "
            f"coupon {coupon!r}, and {int(has.sum()):,} of these have a row there; give those of then with --offers"
        )
    return has


def _people(opened: Opened, rows: pa.Table) -> pa.Table:
    """Return what is known of the offers' users, one row for each offer."""
    offers, users = same_ids(rows, opened.users())
    _, row = user_columns(users, decoded(offers["user_id"]).combine_chunks())
    return users.drop_columns(["user_id"]).take(pa.array(row))


def _takes(opened: Opened, rows: pa.Table, coupon: str, people: pa.Table | None) -> np.ndarray:
    """Return what the limits' prices take from each of a coupon's offers, `(n,)` currency."""
    total = np.zeros(rows.num_rows)
    attributes = {} if people is None else UserColumns(people, None)
    for use, limit in zip(opened.facts.limits, opened.rules.limits, strict=True):
        if not use.price or not (limit.coupons is None or coupon in limit.coupons):
            continue
        covered = np.ones(rows.num_rows, dtype=bool)
        for name, wanted in (limit.users if isinstance(limit.users, Mapping) else {}).items():
            if name not in attributes:
                raise DataError(f"limit {use.name!r} covers users by {name!r}; give a users table with it: --users")
            attribute = attributes[name]
            hits = [np.asarray(attribute.values == item) for item in (wanted if isinstance(wanted, list) else [wanted])]
            covered &= np.logical_or.reduce(hits)[attribute.code]
        amount = sum(weight * _measure(opened, rows, coupon, name) for name, weight in limit.weights.items())
        total += np.where(covered, use.price * amount, 0.0)
    return total


def _measure(opened: Opened, rows: pa.Table, coupon: str, name: str) -> np.ndarray:
    if name == "count":
        return np.ones(rows.num_rows)
    if name == "liability" and name not in rows.column_names:
        face = opened.rules.face_values.get(coupon)
        return _measure(opened, rows, coupon, "cost") if face is None else np.full(rows.num_rows, face)
    if name not in rows.column_names:
        raise DataError(f"the offers have no column {name!r}, which a limit measures; give those of then with --offers")
    return np.asarray(rows[name].cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)


def _tree(table: pa.Table, has: np.ndarray, value: np.ndarray, cost: np.ndarray) -> SegmentTree:
    usable, left = features(table)
    root, accounted = grow(usable, has)
    return SegmentTree(
        tuple(feature.name for feature in usable), tuple(left), accounted, _segment(root, has, value, cost)
    )


def _segment(node: Node, has: np.ndarray, value: np.ndarray, cost: np.ndarray) -> Segment:
    holding = node.rows[has[node.rows]]
    return Segment(
        rule=node.rule,
        users=int(node.rows.size),
        holders=int(holding.size),
        share=holding.size / node.rows.size,
        value=float(value[holding].mean()) if holding.size else None,
        cost=float(cost[holding].mean()) if holding.size else None,
        parts=tuple(_segment(child, has, value, cost) for child in node.children),
    )


def _limits(facts: Facts, opened: Opened, coupon: str) -> tuple[LimitUse, ...]:
    pairs = zip(facts.limits, opened.rules.limits, strict=True)
    return tuple(use for use, limit in pairs if use.price and (limit.coupons is None or coupon in limit.coupons))


def _count(mask: np.ndarray) -> int | None:
    number = int(mask.sum())
    return number if number == 0 or number >= FEWEST else None


def _sum(numbers: np.ndarray, mask: np.ndarray) -> float | None:
    return None if _count(mask) is None else float(numbers[mask].sum())


def _notes(opened: Opened, rows: pa.Table, has: np.ndarray, enough: bool) -> Sequence[str]:
    notes = []
    if not enough:
        side = "get it" if has.sum() < FEWEST else "do not get it"
        notes.append(f"Fewer than {FEWEST} eligible users {side}: no segments are shown.")
    if not opened.has_users:
        notes.append("No users table belongs to the plan: name one with --users to see who they are.")
    if rows.num_rows and not has.any():
        notes.append("Nobody gets this coupon.")
    return notes
