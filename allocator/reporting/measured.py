"""What a campaign did, as one self-contained page: no network, no user ids, nothing about few users."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from allocator.errors import counted
from allocator.reporting.charts import Chart, Line, Panel
from allocator.reporting.markup import Cell, Column, Row, count, label, noted, number, plain, section, table, text
from allocator.reporting.measurement import NAMES, as_share, checks, ends, headline, interval, ranking, verdict
from allocator.reporting.pages import Page, cards, span
from allocator.shares import percent
from allocator.simulation.effects import LEAST_SHOWN, Effects
from allocator.simulation.effects import Cell as Group
from allocator.simulation.lift import Estimate
from allocator.simulation.logged import LoggedValue
from allocator.simulation.measuring import Measurement
from allocator.simulation.naming import few, public
from allocator.simulation.offpolicy import PolicyValue

MOST_ROWS = 200  # of coupons or segments
BEYOND = 1.5  # of the largest value: intervals are drawn no further, so that one wide one does not squeeze the others
HIDDEN = Cell(
    f'<abbr title="fewer than {LEAST_SHOWN} users in an arm, or would give them away">few users</abbr>', None, "few"
)
KEYS = '<span class="key">measured, with its interval</span> <span class="key mark">planned</span>'


def page(measured: Measurement) -> str:
    """Return a measurement as one HTML page."""
    parts = {
        "Planned and measured": _against_plan(measured),
        "Coupons": _groups(measured, "coupons", "By coupon", measured.coupons),
        **{
            f"By {kind}": _groups(
                measured, f"by-{place}", f"By {kind}", [cell for cell in measured.segments if cell.kind == kind]
            )
            for place, kind in enumerate(dict.fromkeys(cell.kind for cell in measured.segments))
        },
        "Targeting": _targeting(measured),
        "Other plan": _other(measured),
        "Checks": _checks(measured),
    }
    return Page(
        kind="Coupon campaign, measured",
        title=measured.campaign,
        lead=headline(measured, named=False),
        body=f"{_cards(measured)}<p>{text(verdict(measured))}</p>",
        parts=parts,
        foot=f"Amounts are in {measured.currency}. Intervals hold with {percent(measured.confidence, None)}. Users are compared by what was drawn "
        "and planned before the campaign, so that nothing that happened later can bias a number.",
    ).html()


def logged_page(found: LoggedValue, plan: str) -> str:
    """Return a plan's value on a trial as one HTML page."""
    shown = [*found.values, PolicyValue("the trial as it was", found.logged, float(found.users), 0)]
    scale = _scale([value.mean for value in shown])
    rows = [
        [
            plain(NAMES.get(value.name, value.name)),
            number(value.mean.value, 4),
            plain(ends(value.mean, 4)),
            span(value.mean, *scale),
            number(value.effective, 0),
            count(value.capped),
        ]
        for value in shown
    ]
    columns = [
        Column("estimator"),
        Column("value"),
        Column("interval", "text"),
        Column(""),
        Column("worth users"),
        Column("weights cut"),
    ]
    lead = f"On a trial of {found.users:,} users, of whom {found.matched:,} happened to get what the plan gives."
    notes = "".join(f"<li>{text(public(note))}</li>" for note in found.notes)
    return Page(
        kind="Coupon plan, valued on a trial",
        title=plan,
        lead=lead,
        body="",
        parts={
            "Value": section(
                "value",
                f"Mean {found.outcome} per user",
                "What the plan's coupons would have brought in the trial.",
                table("Value", columns, rows),
            ),
            "Checks": section("checks", "What to keep in mind", "", f"<ul>{notes}</ul>") if notes else "",
        },
        foot="IPS weighs each user by the inverse chance of what they got; SNIPS divides by the weights' sum; the doubly robust one adds a "
        "model of the outcome, and is right where either the chances or the model are.",
    ).html()


def _cards(measured: Measurement) -> str:
    whole, unit = measured.overall, measured.currency
    return cards(
        [
            (
                "Lift, each",
                f"{whole.lift.value:,.2f}",
                unit,
                f"{ends(whole.lift)}{as_share(whole)}",
                "lead",
            ),
            (
                "Net gain",
                f"{whole.net.value:,.0f}",
                unit,
                f"{ends(whole.net, 0)}; planned {whole.planned_net:,.0f}",
                "",
            ),
            ("Net gain per cost (iROI)", _plain(whole.iroi.value), "", ends(whole.iroi), ""),
            ("Users with a coupon", f"{whole.treated:,}", "", f"{whole.control:,} held out of the same strata", ""),
        ]
    )


def _against_plan(measured: Measurement) -> str:
    whole = measured.overall
    planned_ratio = whole.planned_net / whole.planned_cost if whole.planned_cost > 0 else math.nan
    lines: list[tuple[str, float, Estimate | None, float, int]] = [
        ("incremental revenue", whole.planned_revenue, whole.revenue, whole.revenue.value, 0),
        ("cost", whole.planned_cost, None, whole.cost if measured.money.observed else math.nan, 0),
        ("net gain", whole.planned_net, whole.net, whole.net.value, 0),
        ("net gain per cost (iROI)", planned_ratio, whole.iroi, whole.iroi.value, 2),
    ]
    if whole.purchases is not None:
        lines.insert(1, ("further buyers", math.nan, whole.purchases, whole.purchases.value, 0))
    if not math.isnan(whole.redemptions):
        lines.insert(2, ("redemptions", measured.planned_redemptions, None, whole.redemptions, 0))
    rows = [_against(*line) for line in lines]
    columns = [
        Column("of the whole campaign"),
        Column("planned"),
        Column("measured"),
        Column("interval", "text"),
        Column(""),
    ]
    inside = whole.net.low <= whole.planned_net <= whole.net.high
    lead = (
        "The plan's promise lies inside the interval of what was measured."
        if inside
        else f"The plan promised {'more' if whole.planned_net > whole.net.high else 'less'} than the interval of what was measured allows."
    )
    lead += (
        "" if measured.money.observed else " The cost is the plan's expectation: the outcomes do not tell discounts."
    )
    note = f'<p class="note">{KEYS}</p>'
    return section("plan", "Planned and measured", text(lead), table("Planned and measured", columns, rows), note)


def _against(title: str, planned: float, found: Estimate | None, measured: float, digits: int) -> Row:
    known = [number(amount, digits) if math.isfinite(amount) else plain("") for amount in (planned, measured)]
    if found is None or not math.isfinite(found.value):
        return [plain(title), *known, plain(""), Cell("", None, "chart")]
    marks = [amount for amount in (planned,) if math.isfinite(amount)]
    low, high = _scale([found], marks)
    return [plain(title), *known, plain(ends(found, digits)), span(found, low, high, mark=marks[0] if marks else None)]


def _groups(measured: Measurement, anchor: str, title: str, found: Sequence[Group]) -> str:
    """Return the effects by coupon, or by a users' column; groups of few users stand together without numbers."""
    if not found:
        return ""
    hidden = _hidden(measured.overall, found)
    shown = [cell for cell in found if cell.name not in hidden and cell.effects is not None]
    shown = sorted(shown, key=lambda cell: -cell.effects.treated if cell.effects else 0)
    rest = len(shown) - MOST_ROWS
    shown = shown[:MOST_ROWS]
    scale = _scale(
        [cell.effects.net for cell in shown if cell.effects],
        [cell.effects.planned_net for cell in shown if cell.effects],
    )
    rows = [_group(cell.name or "(unknown)", cell.effects, cell.adjusted_p, scale) for cell in shown if cell.effects]
    foot: list[Row] = []
    if hidden:
        kind = found[0].kind if found[0].kind == "coupon" else "segment"
        first = plain(counted(len(hidden), f"other {kind}", f"other {kind}s"))
        foot.append([first, *[HIDDEN] * 3, plain(""), HIDDEN, Cell("", None, "chart"), HIDDEN])
    titles = (found[0].kind, "users", "held out", "lift each", "adjusted p", "net gain", "", "planned net")
    columns = [Column(title) for title in titles]
    notes = (
        ["Adjusted p-values (Holm) allow for the number of groups; each interval holds for itself."]
        if len(shown) > 1
        else []
    )
    if hidden:
        notes.append(
            f"Groups with fewer than {LEAST_SHOWN} users in an arm, and what would give them away, stand together without numbers."
        )
    if rest > 0:
        notes.append(f"{rest:,} further groups, the smallest, are in the output of --json alone.")
    small = "".join(f'<p class="note">{text(note)}</p>' for note in notes)
    lead = f"Amounts in {text(measured.currency)}. <span class='note'>{KEYS}</span>"
    return section(anchor, title, lead, table(title, columns, rows, foot), small)


def _group(title: str, found: Effects, adjusted: float, scale: tuple[float, float]) -> Row:
    return [
        label(title),
        count(found.treated),
        count(found.control),
        noted(number(found.lift.value), ends(found.lift)),
        Cell(f"{adjusted:.2g}", adjusted),
        noted(number(found.net.value, 0), ends(found.net, 0)),
        span(found.net, *scale, mark=found.planned_net),
        number(found.planned_net, 0),
    ]


def _hidden(whole: Effects, found: Sequence[Group]) -> set[str]:
    """Return the groups not to be shown: those of few users, and the next smallest where the rest of the total would tell."""
    hidden = {cell.name for cell in found if cell.effects is None}
    shown = sorted(
        (cell for cell in found if cell.effects is not None),
        key=lambda cell: cell.effects.control if cell.effects else 0,
    )
    for cell in shown:
        rest = [other.effects for other in shown if other.name not in hidden and other.effects is not None]
        treated = whole.treated - sum(effects.treated for effects in rest)
        control = whole.control - sum(effects.control for effects in rest)
        if not hidden or (len(hidden) > 1 and min(treated, control) >= LEAST_SHOWN):
            break
        hidden.add(cell.name)
    return hidden


def _targeting(measured: Measurement) -> str:
    if measured.qini is None:
        return ""
    unit, found = measured.currency, measured.qini
    users = measured.overall.treated + measured.overall.control
    step = max(1, math.ceil(2 * LEAST_SHOWN * (found.share.size - 1) / users))  # users between two points
    at = sorted({*range(0, found.share.size, step), found.share.size - 1})
    shares, gains = [float(found.share[k]) for k in at], [float(found.gain[k]) for k in at]
    line = [gains[-1] * part for part in shares]
    top = max(range(len(gains)), key=lambda k: gains[k])
    steps = [
        f"The best {percent(part, 0)} of the users by planned value: {gain:,.2f} {unit} per user of all; {other:,.2f} at random."
        for part, gain, other in zip(shares, gains, line, strict=True)
    ]
    numbers = table(
        "Qini curve",
        [Column("share of users"), Column("best first"), Column("at random")],
        [
            [Cell(percent(part), part), number(gain), number(other)]
            for part, gain, other in zip(shares, gains, line, strict=True)
        ],
    )
    chart = Chart(
        anchor="qini",
        panels=[
            Panel(
                [Line("best first", shares, gains, "main"), Line("at random", shares, line, "other")],
                f"net gain per user, {unit}",
                True,
            )
        ],
        x_title="share of the planned users, highest planned value first",
        says=f"Line chart of the measured net gain per user if only the best share of the users by planned value had got their coupon: "
        f"it rises to {gains[top]:,.2f} {unit} at {percent(shares[top], 0)}; with all {gains[-1]:,.2f}. A straight line is what a random order gives.",
        here=shares[top],
        here_name="most",
        slider="Share of the users",
        steps=steps,
        at=top,
    )
    key = '<p class="note"><span class="key">best first</span> <span class="key other">at random</span></p>'
    return section(
        "targeting",
        "Did the plan pick the right users?",
        text(ranking(measured)),
        key,
        chart.html(numbers),
        _fifths(measured),
    )


def _fifths(measured: Measurement) -> str:
    if not measured.fifths:
        return ""
    scale = _scale([item.measured for item in measured.fifths], [item.promised for item in measured.fifths])
    rows = [
        [
            plain(f"{place}"),
            number(item.promised),
            number(item.measured.value),
            plain(ends(item.measured)),
            span(item.measured, *scale, mark=item.promised),
            count(item.treated),
            count(item.control),
        ]
        for place, item in enumerate(measured.fifths, 1)
    ]
    columns = [
        Column("fifth, best first"),
        Column("planned net"),
        Column("measured net"),
        Column("interval", "text"),
        Column(""),
        Column("users"),
        Column("held out"),
    ]
    title = f"By planned value, each a fifth of the users ({measured.currency} per user)"
    return f'<h3>{text(title)}</h3><p class="note">{KEYS}</p>' + table(title, columns, rows)


def _other(measured: Measurement) -> str:
    found = measured.other
    if found is None:
        return ""
    shown = [*found.net, replace(found.own, name="this plan, doubly robust")]
    scale = _scale([value.mean for value in shown])
    rows = [
        [
            plain(NAMES.get(value.name, value.name)),
            number(value.mean.value),
            plain(ends(value.mean)),
            span(value.mean, *scale),
            number(value.effective, 0),
        ]
        for value in shown
    ]
    columns = [
        Column("estimator"),
        Column("net per user"),
        Column("interval", "text"),
        Column(""),
        Column("worth users"),
    ]
    lead = f"The other plan less this one: {interval(found.difference)} {measured.currency} per user, on {found.users:,} users."
    different, new = (few(users, "user", "users") for users in (found.different, found.new))
    note = f"It gives {different} another coupon than this plan, and {new} one where this plan gives none: no estimate speaks of them."
    return section(
        "other",
        "Another plan on the same outcomes",
        text(lead),
        table("Other plan", columns, rows),
        f'<p class="note">{text(note)}</p>',
    )


def _checks(measured: Measurement) -> str:
    lines = [*checks(measured), *(public(note) for note in measured.notes)]
    if measured.overall.variance_kept < 1:
        lines.insert(
            0,
            f"Adjusting by the spend before took {percent(1 - measured.overall.variance_kept)} off the lift's variance.",
        )
    return (
        section(
            "checks",
            "Checks, and what is taken for granted",
            "",
            f"<ul>{''.join(f'<li>{text(line)}</li>' for line in lines)}</ul>",
        )
        if lines
        else ""
    )


def _scale(found: Sequence[Estimate], marks: Sequence[float] = ()) -> tuple[float, float]:
    """Return the ends of an axis that all intervals share; one that is far wider than the others is cut there."""
    values = [item.value for item in found if math.isfinite(item.value)] + list(marks) + [0.0]
    reach = BEYOND * max(map(abs, values))
    lows = [item.low for item in found if math.isfinite(item.low)]
    highs = [item.high for item in found if math.isfinite(item.high)]
    low, high = min([*values, *lows]), max([*values, *highs])
    middle = sorted(item.high - item.low for item in found if math.isfinite(item.high - item.low))
    reach = max(reach, 2 * middle[len(middle) // 2]) if middle else reach
    return max(low, -reach), min(high, reach)


def _plain(amount: float) -> str:
    return f"{amount:,.2f}" if math.isfinite(amount) else "not known"
