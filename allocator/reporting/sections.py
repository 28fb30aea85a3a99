"""The tables of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from allocator.errors import counted
from allocator.reporting import words
from allocator.reporting.disclosure import FEW, MOST_ROWS
from allocator.reporting.findings import Segment, Segments, worth
from allocator.reporting.markup import (
    Cell,
    Column,
    Row,
    bar,
    count,
    label,
    name,
    noted,
    number,
    plain,
    section,
    short,
    table,
    text,
)
from allocator.reporting.summary import CouponUse, Summary
from allocator.result import Conflict, LimitUse
from allocator.shares import percent

MOST_NAMES = 8  # of what stands together in a row
HIDDEN = Cell('<abbr title="about fewer than 10 users, or would give such a number away">few users</abbr>', None, "few")


def conflicts(summary: Summary) -> str:
    """Return the limits that cannot hold together, and what repairs each."""
    if summary.diagnosis is None:
        return ""
    found = [summary.diagnosis, *summary.diagnosis.further]
    rows = [_conflict(place, item) for place, one in enumerate(found, start=1) for item in one.conflicts]
    if not rows:
        return ""
    columns = [Column("limit"), Column("conflict"), Column("side", "text"), Column("measure", "text"), Column("now")]
    return section(
        "conflicts",
        "Limits that conflict",
        "The nearest number of each with which its conflict is over, and with which every limit holds.",
        table("Limits that conflict", [*columns, Column("over at"), Column("every limit holds at")], rows),
    )


def _conflict(place: int, item: Conflict) -> Row:
    sides = [_quantity(amount, item.measure) for amount in (item.number, item.needed, item.repair)]
    return [label(item.name), count(place), plain(item.side.replace("_", " ")), label(item.measure), *sides]


def strategies(summary: Summary) -> str:
    """Return what simpler ways to hand out the same coupons would earn."""
    if not summary.strategies:
        return ""
    ordered = words.by_rank(summary.strategies)
    broken = words.breaking(ordered)
    top = max([summary.objective, *(row.objective for row in ordered if row.meets_limits)])
    rows: list[Row] = [_strategy("this plan", summary.objective, summary.spend, summary.issued, None, "", top)]
    for row in ordered:
        more = summary.objective / row.objective - 1.0 if row.objective > 0 and row.meets_limits else None
        rows.append(_strategy(row.name, row.objective, row.spend, row.issued, more, words.some(row.unmet), top))
    if not broken:
        rows = [row[:-1] for row in rows]
    best = ordered[0]
    lead = "No simpler strategy keeps every limit."
    if best.meets_limits:
        ahead = summary.objective - best.objective
        lead = f"The best simpler one, {best.name}, earns {words.money(best.objective, summary.currency)}"
        lead += f": this plan earns {words.money(abs(ahead), summary.currency)} {'more' if ahead >= 0 else 'less'}."
    titles = ["strategy", "earns", "", "this plan earns", "spends", "offers", "breaks"]
    kinds = {"breaks": "text"}
    columns = [Column(title, kinds.get(title, "")) for title in (titles if broken else titles[:-1])]
    lead = f"{lead} {broken[:1].upper()}{broken[1:]}".rstrip()
    return section("strategies", "Against simpler strategies", text(lead), table("Simpler strategies", columns, rows))


def _strategy(
    title: str, objective: float, spend: float, issued: int, more: float | None, unmet: str, top: float
) -> Row:
    return [
        plain(title),
        number(objective),
        bar(objective, top, main=title == "this plan"),
        Cell("" if more is None else percent(more, sign=True), more),
        number(spend),
        count(issued),
        label(unmet) if unmet else plain(""),
    ]


def coupons(summary: Summary) -> str:
    """Return what the plan does with each coupon; those of few users, and those beyond the most rows, stand together."""
    issued = sorted((coupon for coupon in summary.coupons if coupon.issued), key=lambda coupon: -coupon.value)
    if not issued:
        return ""
    few = set(summary.findings.suppressed.coupons)
    shown = [coupon for coupon in issued if coupon.name not in few and coupon.issued >= FEW][:MOST_ROWS]
    names = {coupon.name for coupon in shown}
    others = [coupon for coupon in issued if coupon.name not in names]
    top = max((coupon.value for coupon in shown), default=0.0)
    unused = len(summary.coupons) - len(issued)
    lead = f"{len(issued):,} of {len(summary.coupons):,} coupons are issued" if unused else "Every coupon is issued"
    lead = text(lead) + (f"; {name(shown[0].name)} earns most." if shown else ".")
    foot: list[Row] = []
    if others:
        title = counted(len(others), "other coupon", "other coupons")
        foot.append(_coupon(_together(others), 0.0, noted(plain(title), _some([coupon.name for coupon in others]))))
    columns = [Column(title) for title in ("coupon", "offers", "earns", "", "per offer", "spends")]
    return section(
        "coupons",
        "Offers by coupon",
        f"{lead} Amounts in {text(summary.currency)}.",
        table("Offers by coupon", columns, [_coupon(coupon, top) for coupon in shown], foot),
        _together_note(others),
    )


def _together_note(others: Sequence[CouponUse]) -> str:
    if not others:
        return ""
    if any(coupon.issued < FEW for coupon in others):
        why = f"Coupons that fewer than {FEW} users get stand together, with others, so that no number tells of few."
    else:
        why = f"The {MOST_ROWS} coupons that earn most have a row of their own."
    return f'<p class="note">{text(why)}</p>'


def _together(items: Sequence[CouponUse]) -> CouponUse:
    return CouponUse(
        "", sum(item.issued for item in items), sum(item.value for item in items), sum(item.cost for item in items)
    )


def _some(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(map(short, names[:MOST_NAMES])) + (f" and {more:,} more" if more > 0 else "")


def _coupon(coupon: CouponUse, top: float, together: Cell | None = None) -> Row:
    first = label(coupon.name) if together is None else together
    if coupon.issued < FEW:
        return [first, HIDDEN, HIDDEN, bar(0.0, top, main=True), HIDDEN, HIDDEN]
    each = coupon.value / coupon.issued
    return [
        first,
        count(coupon.issued),
        number(coupon.value),
        bar(coupon.value, top, main=True),
        number(each),
        number(coupon.cost),
    ]


def segments(summary: Summary) -> str:
    """Return what the plan does for each segment of each attribute that is shown."""
    found = summary.findings.segments
    if not found:
        return ""
    parts = [_segments(one, set(summary.findings.suppressed.segments.get(one.attribute, ()))) for one in found]
    if not any(parts):
        return ""
    few = any(summary.findings.suppressed.segments.values())
    note = (
        f'<p class="note">Segments of fewer than {FEW} users stand together with the next smallest.</p>' if few else ""
    )
    return section(
        "segments",
        "Who gets offers",
        f"By what the users table says of them. Amounts in {text(summary.currency)}.",
        *parts,
        note,
    )


def _segments(one: Segments, few: set[str]) -> str:
    hidden = [row for row in one.rows if row.name in few or 0 < row.users < FEW or 0 < row.reached < FEW]
    shown = [row for row in one.rows if row not in hidden]
    if not shown:
        return ""
    top = max(row.value for row in shown)
    foot = [_segment(_merged(hidden), 0.0)] if hidden else []  # without their names: one could be a person's
    titles = [one.attribute, "users", "get offers", "share", "earns", "", "per user", "spends"]
    columns = [Column(title) for title in titles]
    title = f"Offers by {one.attribute}"
    return f"<h3>By {name(one.attribute)}</h3>" + table(title, columns, [_segment(row, top) for row in shown], foot)


def _merged(rows: Sequence[Segment]) -> Segment:
    title = counted(len(rows), "other segment", "other segments")
    users, reached, issued = (sum(getattr(row, key) for row in rows) for key in ("users", "reached", "issued"))
    return Segment(title, users, reached, issued, sum(row.cost for row in rows), sum(row.value for row in rows))


def _segment(row: Segment, top: float) -> Row:
    first = label(row.name)
    if 0 < row.users < FEW or 0 < row.reached < FEW:
        return [first, *[HIDDEN] * 4, bar(0.0, top, main=True), HIDDEN, HIDDEN]
    share = row.reached / row.users if row.users else 0.0
    return [
        first,
        count(row.users),
        count(row.reached),
        Cell(percent(share), share),
        number(row.value),
        bar(row.value, top, main=True),
        number(row.value / row.users if row.users else 0.0),
        number(row.cost),
    ]


def limits(summary: Summary) -> str:
    """Return the use of each limit and its price."""
    shown, few = list(summary.limits), set(summary.findings.suppressed.limits)
    if not shown:
        return ""
    note = "What one more unit of each would earn is its price; 0 where the limit does not hold the plan back."
    if len(shown) > MOST_ROWS:
        shown = sorted(shown, key=worth, reverse=True)[:MOST_ROWS]
        note += f" The {MOST_ROWS:,} of {len(summary.limits):,} limits that matter most."
    columns = [
        Column("limit"),
        Column("measure", "text"),
        Column("used"),
        Column("at least"),
        Column("at most"),
        Column(""),
    ]
    rows = [_limit(use, use.name in few) for use in shown]
    return section(
        "limits",
        "Limits",
        f"<strong>{_marked(words.loosen(summary))}</strong> {text(note)}",
        table("Limits", [*columns, Column(f"one more earns ({summary.currency})")], rows),
    )


def _limit(use: LimitUse, few: bool) -> Row:
    sides = [_quantity(side, use.measure) for side in (use.used, use.at_least, use.at_most)]
    used = use.used
    if few or (use.measure == "count" and 0 < use.used < FEW):
        sides[0], used = HIDDEN, 0.0
    price = Cell(f"{use.price:,.4f}" if use.price else "0", use.price)
    return [label(use.name), label(use.measure), *sides, bar(used, use.at_most or 0.0, main=use.price > 0), price]


def _quantity(amount: float | None, measure: str) -> Cell:
    return Cell(words.quantity(amount, measure), amount)


def _marked(sentence: str) -> str:
    """Mark the names that a sentence puts in backticks, as a terminal shows them."""
    first, *rest = sentence.split("`", 1)
    if not rest or "`" not in rest[0]:
        return text(sentence)
    inner, after = rest[0].rsplit("`", 1)
    return f"{text(first)}<q>{name(inner)}</q>{text(after)}"


def advice(summary: Summary) -> str:
    """Return what to do first."""
    return f'<p class="advice">{_marked(words.loosen(summary))}</p>'


def model(summary: Summary) -> str:
    """Return what the model behind the offers says of itself."""
    found = summary.findings.model
    if not found:
        return ""
    parts = []
    if found.get("observational"):
        parts.append(
            '<p class="warning"><strong>Observational.</strong> The effects were learned from history in which nobody was '
            "chosen at random. Who got a coupon may have differed from who did not in ways that no column tells; a trial with "
            "a control group would show.</p>"
        )
    metrics = [_metric(item) for item in _records(found.get("metrics"))]
    if metrics:
        columns = [Column("measure"), Column("value"), Column("95 % interval")]
        parts.append(table("Measures of the model", columns, metrics))
    calibration = [row for row in _records(found.get("calibration")) if not 0 < float(row.get("users", FEW)) < FEW]
    if calibration:
        rows = [
            [number(float(row["predicted"]), 4), number(float(row["observed"]), 4), count(int(row["users"]))]
            for row in calibration
            if {"predicted", "observed", "users"} <= set(row)
        ]
        parts.append("<h3>Predicted against what came</h3>")
        parts.append(table("Calibration", [Column("predicted"), Column("observed"), Column("users")], rows))
    notes = [f"<li>{text(str(note))}</li>" for note in found.get("notes") or ()]
    if notes:
        parts.append(f"<ul>{''.join(notes)}</ul>")
    kind = str(found.get("kind", ""))
    lead = f"The offers come from a model: {text(kind)}." if kind else "The offers come from a model."
    return section("model", "The model behind the offers", lead, *parts)


def _records(items: Any) -> list[Mapping[str, Any]]:
    return [item for item in items or () if isinstance(item, Mapping)]


def _metric(item: Mapping[str, Any]) -> Row:
    value, low, high = (item.get(key) for key in ("value", "low", "high"))
    shown = f"{value:,.4g}" if isinstance(value, (int, float)) else str(value)
    span = (
        f"{low:,.4g} to {high:,.4g}"
        if isinstance(low, (int, float)) and isinstance(high, (int, float))
        else "not known"
    )
    return [noted(label(str(item.get("name", ""))), str(item.get("meaning", ""))), Cell(text(shown)), Cell(text(span))]


def assumptions(summary: Summary) -> str:
    """Return what the plan takes for granted."""
    rows = [
        [
            noted(plain(item.name), item.meaning),
            label(item.value or "none"),
            plain("given" if item.given else "default"),
        ]
        for item in summary.findings.assumptions
    ]
    fixed = (
        "<ul><li>Value and cost of an offer are expectations; the plan is best for them, not for each single outcome.</li>"
        "<li>What one user gets does not change what another does.</li></ul>"
    )
    columns = [Column("assumption"), Column("is", "text"), Column("", "text")]
    return section("assumptions", "What is assumed", "", table("Assumptions", columns, rows) if rows else "", fixed)
