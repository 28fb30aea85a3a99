"""What changed from one plan to another: for how many users, and what it earns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from allocator.errors import DataError, UsageError, nearest
from allocator.explaining.facts import Facts
from allocator.explaining.holdings import Holdings, held
from allocator.explaining.inputs import Given, Opened, open_plan
from allocator.explaining.tree import FEWEST
from allocator.result import LimitUse
from allocator.tables.frames import decoded, is_text
from allocator.tables.plan_folder import PlanFolder
from allocator.tables.user_columns import Attribute, UserColumns

MOST_LEVELS = 12  # of an attribute, to be shown by segment without being asked for
PARTS = ("offers", "users", "campaign")


@dataclass(frozen=True)
class Counts:
    """Users by what became of them from the first plan to the second.

    Attributes
    ----------
    kept
        The same coupons in both.
    switched
        Coupons in both, but not the same.
    gained, lost
        Coupons in the second only; in the first only.
    """

    kept: int
    switched: int
    gained: int
    lost: int

    @property
    def changed(self) -> int:
        """Users for whom something changed."""
        return self.switched + self.gained + self.lost


@dataclass(frozen=True)
class Transition:
    """Users who no longer have some coupons and have others instead; `()`: none.

    Attributes
    ----------
    dropped, added
        Coupons that each such user had only in the first plan, and only in the second.
    value, cost
        Change in the sum over all offers of these users, currency.
    """

    dropped: tuple[str, ...]
    added: tuple[str, ...]
    users: int
    value: float
    cost: float


@dataclass(frozen=True)
class LimitChange:
    """One limit in both plans; `None` where a plan does not have it."""

    name: str
    measure: str
    before: LimitUse | None
    after: LimitUse | None

    @property
    def differs(self) -> bool:
        """Whether its numbers, not only its use, differ."""
        if self.before is None or self.after is None:
            return True
        one, two = self.before, self.after
        return (one.measure, one.at_least, one.at_most) != (two.measure, two.at_least, two.at_most)


@dataclass(frozen=True)
class CouponChange:
    """One coupon in both plans; sums over its issued offers, currency."""

    name: str
    issued: tuple[int, int]
    value: tuple[float, float]
    cost: tuple[float, float]


@dataclass(frozen=True)
class SegmentChange:
    """Users with one value of an attribute; sums over their issued offers, currency.

    Attributes
    ----------
    level
        The value; segments of fewer than ten users are put together.
    users
        Those who have a coupon in one of the plans.
    """

    attribute: str
    level: str
    users: int
    counts: Counts
    value: tuple[float, float]
    cost: tuple[float, float]


@dataclass(frozen=True)
class InputChange:
    """Whether both plans were made from the same; `same` is `None` where a manifest does not tell."""

    part: str
    before: str | None
    after: str | None
    same: bool | None


@dataclass(frozen=True)
class Comparison:
    """What changed from one plan to another.

    Attributes
    ----------
    before, after
        The plans' headlines.
    value, cost
        What the second plan earns and spends more, currency.
    counts
        Users by what became of them.
    neither
        Users with no coupon in either; `None` where the plans are not of the same users.
    transitions
        All changes of what users have, the most frequent first.
    revalued
        Part of the change in value and in cost that comes from offers that both plans issue and that are worth, or
        cost, something else now, currency; the rest comes from what is issued.
    segments
        By the attributes that limits refer to, or those asked for.
    """

    before: Facts
    after: Facts
    value: float
    cost: float
    inputs: tuple[InputChange, ...]
    counts: Counts
    neither: int | None
    transitions: tuple[Transition, ...]
    limits: tuple[LimitChange, ...]
    coupons: tuple[CouponChange, ...]
    segments: tuple[SegmentChange, ...]
    revalued: tuple[float, float]
    notes: tuple[str, ...]


def compare_plans(
    before: str | Path | PlanFolder,
    after: str | Path | PlanFolder,
    *,
    users: str | None = None,
    by: Sequence[str] = (),
) -> Comparison:
    """Say what changed from one plan to another.

    Parameters
    ----------
    before, after
        What `allocate -o` wrote.
    users
        A users table for the segments; by default that of the second plan, or of the first.
    by
        The attributes to tell segments by; by default those that limits refer to, else those of few values.

    Raises
    ------
    UsageError
        Where a path is no plan folder, or `by` names no attribute.
    DataError
        Where a file is damaged, of another version, or does not fit the others.
    """
    one, two = (open_plan(plan, Given(users=users)) for plan in (before, after))
    holdings = held(one.folder.plan, two.folder.plan)
    counts = _counts(holdings, slice(None))
    inputs = tuple(_input(one, two, part) for part in PARTS)
    notes: list[str] = []
    if one.facts.currency != two.facts.currency:
        raise UsageError(
            f"the first plan is in {one.facts.currency}, the second in {two.facts.currency}: their amounts cannot be compared"
        )
    segments = _segments(one, two, holdings, by, notes)
    same_users = inputs[0].same and one.facts.users == two.facts.users
    return Comparison(
        before=one.facts,
        after=two.facts,
        value=two.facts.objective - one.facts.objective,
        cost=two.facts.spend - one.facts.spend,
        inputs=inputs,
        counts=counts,
        neither=one.facts.users - holdings.n_users if same_users else None,
        transitions=_transitions(holdings),
        limits=_limits(one.facts, two.facts),
        coupons=_coupons(one, two),
        segments=segments,
        revalued=holdings.revalued,
        notes=tuple(dict.fromkeys([*one.facts.warnings, *two.facts.warnings, *notes, *one.notes, *two.notes])),
    )


def _counts(holdings: Holdings, users: np.ndarray | slice) -> Counts:
    before, after = holdings.before[users], holdings.after[users]
    had, has = before > 0, after > 0
    same = before == after
    return Counts(
        kept=int((had & has & same).sum()),
        switched=int((had & has & ~same).sum()),
        gained=int((~had & has).sum()),
        lost=int((had & ~has).sum()),
    )


def _transitions(holdings: Holdings) -> tuple[Transition, ...]:
    n = len(holdings.sets)
    moved = holdings.before != holdings.after
    key = holdings.before[moved].astype(np.int64) * n + holdings.after[moved]
    pairs, place = np.unique(key, return_inverse=True)
    number = np.bincount(place, minlength=pairs.size)
    value, cost = (
        np.bincount(place, weights=(sums[1] - sums[0])[moved], minlength=pairs.size)
        for sums in (holdings.value, holdings.cost)
    )
    found: dict[tuple[tuple[str, ...], tuple[str, ...]], list[float]] = {}
    for p, pair in enumerate(pairs.tolist()):
        before, after = holdings.sets[pair // n], holdings.sets[pair % n]
        change = (
            tuple(sorted(name for name in before if name not in after)),
            tuple(sorted(name for name in after if name not in before)),
        )
        sums = found.setdefault(change, [0.0, 0.0, 0.0])
        for kind, column in enumerate((number, value, cost)):
            sums[kind] += float(column[p])
    made = [Transition(*change, int(sums[0]), sums[1], sums[2]) for change, sums in found.items()]
    return tuple(sorted(made, key=lambda item: (-item.users, item.dropped, item.added)))


def _limits(one: Facts, two: Facts) -> tuple[LimitChange, ...]:
    before, after = ({use.name: use for use in side.limits} for side in (one, two))
    return tuple(
        LimitChange(name, (after.get(name) or before[name]).measure, before.get(name), after.get(name))
        for name in dict.fromkeys([*before, *after])
    )


def _coupons(one: Opened, two: Opened) -> tuple[CouponChange, ...]:
    sums = [_sums(opened.folder.plan) for opened in (one, two)]
    names = dict.fromkeys([*one.facts.coupons, *two.facts.coupons])
    nothing = (0, 0.0, 0.0)
    changes = []
    for name in names:
        (n_one, value_one, cost_one), (n_two, value_two, cost_two) = (side.get(name, nothing) for side in sums)
        changes.append(CouponChange(name, (n_one, n_two), (value_one, value_two), (cost_one, cost_two)))
    return tuple(changes)


def _sums(plan: pa.Table) -> dict[str, tuple[int, float, float]]:
    """Return offers, value and cost of each coupon of a plan."""
    grouped = plan.select(["coupon", "value", "cost"]).set_column(0, "coupon", decoded(plan["coupon"]))
    rows = grouped.group_by("coupon").aggregate([("value", "count"), ("value", "sum"), ("cost", "sum")]).to_pylist()
    return {str(row["coupon"]): (row["value_count"], row["value_sum"], row["cost_sum"]) for row in rows}


def _input(one: Opened, two: Opened, part: str) -> InputChange:
    names = [opened.folder.input(part) for opened in (one, two)]
    if any("source" not in opened.folder.manifest for opened in (one, two)):
        return InputChange(part, names[0], names[1], None)
    if part == "campaign":
        return InputChange(part, names[0], names[1], one.folder.campaign_text == two.folder.campaign_text)
    if None in names:
        return InputChange(part, names[0], names[1], names[0] == names[1])
    digests = [opened.digests(part) for opened in (one, two)]
    return InputChange(part, names[0], names[1], digests[0] == digests[1] if all(digests) else None)


def _segments(
    one: Opened, two: Opened, holdings: Holdings, by: Sequence[str], notes: list[str]
) -> tuple[SegmentChange, ...]:
    source = next((opened for opened in (two, one) if opened.has_users), None)
    if source is None:
        if by:
            raise UsageError("--by needs a users table, and none belongs to the plans; give one with --users")
        notes.append("No users table belongs to the plans, so that nothing is told by segment; name one with --users.")
        return ()
    try:
        table = source.users()
    except DataError as error:
        if by or source.given.users is not None:
            raise
        notes.append(f"Nothing is told by segment: {error}.")
        return ()
    columns, known = _aligned(table, holdings.ids)
    if not known.any():
        notes.append("The users table has none of the plans' users; nothing is told by segment.")
        return ()
    names = _attributes(one, two, columns, by)
    return tuple(change for name in names for change in _levels(name, columns[name], known, holdings))


def _aligned(table: pa.Table, ids: pa.Array) -> tuple[UserColumns, np.ndarray]:
    """Return the attributes of these users, and which of them the table knows, `(n,)` bool."""
    there = decoded(table["user_id"]).combine_chunks()
    if is_text(there.type) != is_text(ids.type) or pa.uint64() in (there.type, ids.type):
        there, ids = there.cast(pa.large_string()), ids.cast(pa.large_string())
    elif there.type != ids.type:
        kind = pa.large_string() if is_text(ids.type) else pa.int64()
        there, ids = there.cast(kind), ids.cast(kind)
    row = pc.index_in(ids, value_set=there)
    known = ~row.is_null().to_numpy(zero_copy_only=False)
    return UserColumns(table.drop_columns(["user_id"]), row.fill_null(0).to_numpy()), known


def _attributes(one: Opened, two: Opened, columns: Mapping[str, Attribute], by: Sequence[str]) -> list[str]:
    for name in by:
        if name not in columns:
            raise UsageError(
                f"--by: the users table has no column {name!r}{nearest(name, columns)}; it has {', '.join(columns)}"
            )
    if by:
        return list(by)
    # Folders of earlier versions do not hold the campaign; without it no limit is known to refer to an attribute.
    limits = [limit for side in (one, two) if "source" in side.folder.manifest for limit in side.rules.limits]
    named = dict.fromkeys(name for limit in limits if isinstance(limit.users, Mapping) for name in limit.users)
    if named:
        return [name for name in named if name in columns]
    return [name for name in columns if 2 <= columns[name].values.size <= MOST_LEVELS][:3]


def _levels(name: str, attribute: Attribute, known: np.ndarray, holdings: Holdings) -> list[SegmentChange]:
    """Return one line for each value of an attribute; those of fewer than ten users together."""
    code = np.where(known, attribute.code, attribute.values.size)
    sizes = np.bincount(code, minlength=attribute.values.size + 1)
    words = [*("unknown" if value is None else str(value) for value in attribute.values.tolist()), "not in users"]
    large = np.flatnonzero(sizes >= FEWEST)
    shown = large[np.argsort(-sizes[large], kind="stable")][:MOST_LEVELS].tolist()
    parts = [(words[c], np.flatnonzero(code == c)) for c in shown]
    rest = np.flatnonzero(~np.isin(code, shown))
    if rest.size >= FEWEST:
        parts.append(("(all others)", rest))
    return [_segment(name, level, rows, holdings) for level, rows in parts]


def _segment(attribute: str, level: str, rows: np.ndarray, holdings: Holdings) -> SegmentChange:
    value, cost = (
        (math.fsum(sums[0][rows].tolist()), math.fsum(sums[1][rows].tolist()))
        for sums in (holdings.value, holdings.cost)
    )
    return SegmentChange(attribute, level, int(rows.size), _counts(holdings, rows), value, cost)
