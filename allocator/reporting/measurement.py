"""What a campaign did, and how large a control group must be: as a document and in a terminal."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from allocator.reporting.consoles import console_on_stdout as console
from allocator.reporting.consoles import line, set_off
from allocator.reporting.consoles import table_of as table
from allocator.reporting.summary import plain
from allocator.shares import percent
from allocator.simulation.design import Design
from allocator.simulation.effects import LEAST_SHOWN, Cell, Effects
from allocator.simulation.lift import Estimate
from allocator.simulation.logged import LoggedValue
from allocator.simulation.measuring import Measurement

SCHEMA_VERSION = 1  # of these documents
MOST_CELLS = 20
NAMES = {"ips": "IPS", "clipped_ips": "IPS, clipped", "snips": "SNIPS", "dr": "doubly robust", "switch_dr": "switch-DR"}


def measurement_document(measured: Measurement) -> dict[str, Any]:
    """Return a measurement as plain values; null where a number is not known or not bounded."""
    content: dict[str, Any] = plain({"schema_version": SCHEMA_VERSION, **_fields(measured)})
    return content


def design_document(found: Design, terms: dict[str, Any]) -> dict[str, Any]:
    """Return a design as plain values, with what it was asked for."""
    content: dict[str, Any] = plain({"schema_version": SCHEMA_VERSION, **terms, **_fields(found)})
    return content


def logged_document(found: LoggedValue) -> dict[str, Any]:
    """Return a plan's value on a log as plain values."""
    content: dict[str, Any] = plain({"schema_version": SCHEMA_VERSION, **_fields(found)})
    return content


def _fields(item: Any) -> Any:
    """Return dataclasses as mappings, arrays as lists."""
    if dataclasses.is_dataclass(item):
        return {field.name: _fields(getattr(item, field.name)) for field in dataclasses.fields(item)}
    if isinstance(item, (list, tuple)):
        return [_fields(part) for part in item]
    return item.tolist() if hasattr(item, "tolist") else item


def show_measurement(measured: Measurement) -> None:
    """Print what a campaign did, on stdout."""
    screen, whole, currency = console(), measured.overall, measured.currency
    line(screen, headline(measured), style="bold")
    line(screen, verdict(measured))
    _effects(screen, measured)
    _cells(screen, f"By coupon ({currency})", measured.coupons)
    for kind in dict.fromkeys(cell.kind for cell in measured.segments):
        _cells(screen, f"By {kind} ({currency})", [cell for cell in measured.segments if cell.kind == kind])
    if multiple(measured):
        line(screen, multiple(measured))
    _targeting(screen, measured)
    _other(screen, measured)
    if whole.variance_kept < 1:
        line(screen, f"Adjusting by the spend before took {percent(1 - whole.variance_kept)} off the lift's variance.")
    for note in (*checks(measured), *measured.notes):
        line(screen, note)


def headline(measured: Measurement, *, named: bool = True) -> str:
    """Say what the campaign did to each user, with its name before it."""
    whole, currency = measured.overall, measured.currency
    lift, word = whole.lift, "more"
    if lift.value < 0:
        lift, word = dataclasses.replace(lift, value=-lift.value, low=-lift.high, high=-lift.low), "less"
    return (f"{measured.campaign}: " if named else "") + (
        f"{whole.treated:,} users with a coupon spent {interval(lift)} {currency} each {word} than the "
        f"{whole.control:,} held out of the same strata{as_share(whole)}."
    )


def as_share(whole: Effects) -> str:
    """Return ` (+12.3 %)`, the lift as a share of what the held-out users spent; empty where they spent nothing."""
    return f" ({percent(whole.share.value, sign=True)})" if math.isfinite(whole.share.value) else ""


def verdict(measured: Measurement) -> str:
    """Say whether it earned more than it cost."""
    net, iroi = measured.overall.net, measured.overall.iroi
    if net.low > 0:
        word = "It earned more than it cost"
    elif net.high < 0:
        word = "It cost more than it earned"
    else:
        word = "Whether it earned more than it cost cannot be told from these users"
    return (
        f"{word}: net {interval(net, 0)} {measured.currency}, {interval(iroi)} for each {measured.currency} of cost "
        f"({percent(measured.confidence, None)} intervals; margin {percent(measured.money.margin, None)})."
    )


def _effects(screen: Console, measured: Measurement) -> None:
    whole = measured.overall
    rows = table(f"Planned against measured ({measured.currency})", screen, "")
    for name in ("planned", "measured", f"{percent(measured.confidence, None)} interval"):
        rows.add_column(name, justify="right", no_wrap=True)
    rows.add_row(
        "incremental revenue", f"{whole.planned_revenue:,.2f}", f"{whole.revenue.value:,.2f}", ends(whole.revenue, 0)
    )
    if whole.purchases is not None:
        rows.add_row("further buyers", "", f"{whole.purchases.value:,.0f}", ends(whole.purchases, 0))
    if not math.isnan(whole.redemptions):
        planned = f"{measured.planned_redemptions:,.0f}" if math.isfinite(measured.planned_redemptions) else ""
        rows.add_row("redemptions", planned, f"{whole.redemptions:,.0f}", "")
    observed = f"{whole.cost:,.2f}" if measured.money.observed else "not observed"
    rows.add_row("cost", f"{whole.planned_cost:,.2f}", observed, "")
    rows.add_row("net gain", f"{whole.planned_net:,.2f}", f"{whole.net.value:,.2f}", ends(whole.net, 0))
    ratio = whole.planned_net / whole.planned_cost if whole.planned_cost > 0 else math.nan
    rows.add_row("net gain per cost (iROI)", _number(ratio), _number(whole.iroi.value), ends(whole.iroi))
    set_off(screen, rows)


def _cells(screen: Console, title: str, found: Sequence[Cell]) -> None:
    if not found:
        return
    rows = table(title, screen, found[0].kind)
    for name in ("users", "held out", "lift each", "interval", "adjusted p", "net gain", "interval", "planned net"):
        rows.add_column(name, justify="right", no_wrap=True)
    shown = sorted(found, key=lambda cell: -(cell.effects.treated if cell.effects else 0))[:MOST_CELLS]
    for cell in shown:
        rows.add_row(*_row(cell))
    set_off(screen, rows)
    if any(cell.effects is None for cell in shown):
        line(
            screen, f"Groups with fewer than {LEAST_SHOWN} users in an arm are not shown: they would point at persons."
        )
    if len(found) > len(shown):
        line(screen, f"and {len(found) - len(shown):,} more (--json lists all)")


def _row(cell: Cell) -> list[Text | str]:
    name = Text(cell.name or "(unknown)")
    found: Effects | None = cell.effects
    if found is None:
        return [name, f"under {LEAST_SHOWN}", f"under {LEAST_SHOWN}", *[""] * 6]
    return [
        name,
        f"{found.treated:,}",
        f"{found.control:,}",
        f"{found.lift.value:,.2f}",
        ends(found.lift),
        f"{cell.adjusted_p:.2g}",
        f"{found.net.value:,.0f}",
        ends(found.net, 0),
        f"{found.planned_net:,.0f}",
    ]


def multiple(measured: Measurement) -> str:
    """Say what the number of groups means for their intervals; empty for one group."""
    shown = sum(cell.effects is not None for cell in (*measured.coupons, *measured.segments))
    if shown < 2:
        return ""
    chance = 1 - measured.confidence
    return (
        f"{shown} groups are shown. Each interval holds for itself: about {shown * chance:.1f} of them miss the truth by "
        "chance. Adjusted p-values (Holm) allow for the number of groups of their table."
    )


def ranking(measured: Measurement) -> str:
    """Say how well the plan's values rank users; empty where that is not known."""
    if measured.qini is None:
        return ""
    found = measured.qini.coefficient
    if found.low > 0:
        word = "The plan's values rank users by what they gained better than chance"
    elif found.high < 0:
        word = "The plan's values rank users WORSE than chance"
    else:
        word = "Whether the plan's values rank users better than chance cannot be told from these users"
    return f"{word}: Qini coefficient {interval(found, 4)} {measured.currency} per user."


def _targeting(screen: Console, measured: Measurement) -> None:
    if measured.qini is None:
        return
    line(screen, ranking(measured))
    rows = table(f"By planned value, each a fifth of the users ({measured.currency} per user)", screen)
    for name in ("planned net", "measured net", "interval", "users", "held out"):
        rows.add_column(name, justify="right", no_wrap=True)
    for item in measured.fifths:
        rows.add_row(
            f"{item.promised:,.2f}",
            f"{item.measured.value:,.2f}",
            ends(item.measured),
            f"{item.treated:,}",
            f"{item.control:,}",
        )
    set_off(screen, rows)


def _other(screen: Console, measured: Measurement) -> None:
    found = measured.other
    if found is None:
        return
    rows = table(
        f"Net gain per user under the other plan ({measured.currency}; {found.users:,} users)", screen, "estimator"
    )
    for name in ("net", "interval", "worth users"):
        rows.add_column(name, justify="right", no_wrap=True)
    for value in (*found.net, dataclasses.replace(found.own, name="this plan, doubly robust")):
        rows.add_row(
            NAMES.get(value.name, value.name), _number(value.mean.value), ends(value.mean), f"{value.effective:,.0f}"
        )
    set_off(screen, rows)
    line(screen, f"The other plan less this one: {interval(found.difference)} {measured.currency} per user.")
    if found.different or found.new:
        line(
            screen,
            f"The other plan gives {found.different:,} users another coupon than this one planned, and {found.new:,} one where this "
            "one planned none: nobody like them got it here, so that no estimate speaks of them.",
        )


def checks(measured: Measurement) -> list[str]:
    """Say what speaks for and against the draw having been kept to."""
    lines = []
    if measured.balance is not None:
        found = measured.balance
        odd = found.p_value < 0.001
        lines.append(
            f"Spend before the campaign differs by {interval(found)} {measured.currency} between the arms (p = "
            f"{found.p_value:.2g}): "
            + ("the draw was not kept to, or rows are missing." if odd else "as a random draw does.")
        )
    if measured.corrected is not None:
        lines.append(
            f"Per user who got a coupon because of the campaign: {interval(measured.corrected)} {measured.currency} "
            "(assumes that being drawn works only through getting it)."
        )
    return lines


def show_logged(found: LoggedValue, plan: str) -> None:
    """Print a plan's value on a log, on stdout."""
    screen = console()
    line(
        screen,
        f"{plan} on a trial of {found.users:,} users, of whom {found.matched:,} happened to get what the plan gives.",
        style="bold",
    )
    rows = table(f"Mean {found.outcome} per user", screen, "estimator")
    for name in ("value", "interval", "worth users", "weights cut"):
        rows.add_column(name, justify="right", no_wrap=True)
    for value in found.values:
        rows.add_row(
            NAMES.get(value.name, value.name),
            f"{value.mean.value:,.4f}",
            ends(value.mean, 4),
            f"{value.effective:,.0f}",
            f"{value.capped:,}",
        )
    rows.add_row("the trial as it was", f"{found.logged.value:,.4f}", ends(found.logged, 4), f"{found.users:,}", "")
    set_off(screen, rows)
    for note in found.notes:
        line(screen, note)


def _number(number: float) -> str:
    return f"{number:,.2f}" if math.isfinite(number) else "not known"


def interval(found: Estimate, digits: int = 2) -> str:
    """Return `1.20 (0.90 to 1.50)`."""
    return f"{found.value:,.{digits}f} ({ends(found, digits)})" if math.isfinite(found.value) else "not known"


def ends(found: Estimate, digits: int = 2) -> str:
    """Return `0.90 to 1.50`."""
    low, high = (f"{end:,.{digits}f}" if math.isfinite(end) else "no bound" for end in (found.low, found.high))
    return f"{low} to {high}"
