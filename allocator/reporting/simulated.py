"""What a simulation found: in a terminal, and as one self-contained page with a fan chart."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from allocator.errors import DataError
from allocator.reporting.charts import round_ticks, short
from allocator.reporting.markup import section
from allocator.reporting.shell import shell
from allocator.reporting.words import money
from allocator.shares import percent
from allocator.simulation.estimates import Estimate, mean, quantile
from allocator.simulation.simulating import QUANTILES, Simulation

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 720, 300, 76, 34, 12  # of the chart, in its own units
TICKS = 4
KEPT = "simulated.json"  # in a plan folder: what `allocate simulate --keep` found
AGAIN = "run `allocate simulate PLAN --keep` again"
FAN = """
svg.fan { height: auto; max-width: 46rem; }
svg.fan text { fill: var(--soft); font-size: 13px; }
@media (max-width: 34rem) { svg.fan text { font-size: 24px; } } /* it shrinks with the chart */
svg.fan .outer { fill: var(--bar); opacity: .18; } svg.fan .inner { fill: var(--bar); opacity: .32; }
svg.fan .middle { fill: none; stroke: var(--bar); stroke-width: 2; }
svg.fan .grid { stroke: var(--line); } svg.fan .budget { stroke: var(--warn); stroke-width: 1.5; stroke-dasharray: 5 4; }
"""


def show(found: Simulation, name: str, currency: str) -> None:
    """Print a simulation on stdout."""
    for line in sentences(found, currency):
        sys.stdout.write(line + "\n")
    head, rows = _spread(found)
    sys.stdout.write(
        f"\nOver {found.runs:,} runs ({currency}); in brackets the 95 % interval that so many runs leave\n"
    )
    sys.stdout.write(in_columns(head, rows))
    head, rows = _coupons(found)
    sys.stdout.write(f"\nRedemptions by coupon ({currency})\n" + in_columns(head, rows))
    if found.stock:
        head, rows = _stock(found)
        sys.stdout.write("\nStock\n" + in_columns(head, rows))
    for note in found.issued.assumptions:
        sys.stdout.write(f"\nTaken for granted: {note}.\n")


def page(found: Simulation, name: str, currency: str) -> str:
    """Return the report as one HTML page: no script, no network, no user ids."""
    parts = [("Spend so far, day by day", fan_chart(found.paths, found.budget, currency))]
    parts += [(f"Over {found.runs:,} runs ({currency})", _table(*_spread(found)))]
    parts += [(f"Redemptions by coupon ({currency})", _table(*_coupons(found)))]
    if found.stock:
        parts += [("Stock", _table(*_stock(found)))]
    sections = "".join(f"<section><h2>{escape(title)}</h2>{body}</section>\n" for title, body in parts)
    notes = "".join(f"<p>Taken for granted: {escape(note)}.</p>" for note in found.issued.assumptions)
    body = f"""<h1>What could happen: {escape(name)}</h1>
{"".join(f"<p>{escape(line)}</p>" for line in sentences(found, currency))}
{sections}{notes}<footer><p>Amounts are in {escape(currency)}. Every number of this page is in simulation.json, beside it; each run is
a row of runs.parquet.</p></footer>
"""
    return shell(f"What could happen: {name}", body, style=FAN)


def sentences(found: Simulation, currency: str) -> list[str]:
    """Say in words what may happen."""
    spend, net = found.spend, found.net
    lines = [
        f"Of {len(found.issued):,} issued offers {found.redeemed.sum(axis=1).mean():,.0f} are redeemed on average: the plan "
        f"spends {money(float(spend.mean()), currency)}, and in 19 of 20 campaigns at most "
        f"{money(float(quantile(spend, 0.95).value), currency)}. If everything were redeemed it would be "
        f"{money(found.issued.worst_spend, currency)}.",
        f"It earns {money(float(net.mean()), currency)} on average, and in 19 of 20 campaigns at least "
        f"{money(float(quantile(net, 0.05).value), currency)}.",
    ]
    if found.overrun is not None and found.budget is not None:
        lines.append(
            f"The budget of {money(found.budget, currency)} is overrun with probability {_percent(found.overrun)}."
        )
    if found.redemption_shock == 0:
        lines.append(
            "No common shock is assumed: where all users may redeem more or less at once, spend varies far more. Give "
            "redemption_shock under [campaign], or --redemption-shock 0.2."
        )
    return lines


def section_of(document: Mapping[str, Any], currency: str, source: str) -> str:
    """Return the part of a plan's report that a kept simulation adds; raises `DataError` where the document is damaged."""
    try:
        paths = np.array(document["fan"]["spend"], dtype=np.float64)
        runs, budget, overrun = int(document["runs"]), document["budget"], document["overrun_probability"]
        quantiles = {item["share"]: float(item["value"]) for item in document["net"]["quantiles"]}
        spend, net = float(document["spend"]["mean"]["value"]), float(document["net"]["mean"]["value"])
        sure = paths.shape[1] == len(QUANTILES) and np.isfinite(paths).all() and (budget is None or float(budget) > 0)
        chance = None if overrun is None else Estimate(*(float(overrun[key]) for key in ("value", "low", "high")))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(f"{source} is damaged ({error}); {AGAIN}") from error
    if not sure:
        raise DataError(f"{source} is damaged; {AGAIN}")
    lines = [
        f"In {runs:,} runs of the campaign the plan spends {money(spend, currency)} on average and earns {money(net, currency)}, "
        f"in 19 of 20 of them at least {money(quantiles[QUANTILES[0]], currency)}."
    ]
    if budget is not None and chance is not None:
        lines.append(f"The budget of {money(float(budget), currency)} is overrun with probability {_percent(chance)}.")
    return section("simulated", "What could happen?", escape(" ".join(lines)), fan_chart(paths, budget, currency))


def fan_chart(paths: np.ndarray, budget: float | None, currency: str) -> str:
    """Return the fan of the spend so far as SVG: the middle run, half of the runs, nine tenths of them.

    `paths` `(days + 1, 5)`: `QUANTILES` of the spend up to each day, currency.
    """
    days = len(paths) - 1
    marked = round_ticks(0.0, max(float(paths.max()), budget or 0.0, 1e-9), TICKS)
    top = marked[-1]

    def x(day: float) -> float:
        return LEFT + (WIDTH - LEFT - 8) * day / max(days, 1)

    def y(amount: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - amount / top)

    def line(column: int) -> list[str]:
        return [f"{x(day):.1f},{y(amount):.1f}" for day, amount in enumerate(paths[:, column].tolist())]

    def band(low: int, high: int, kind: str) -> str:
        return f'<polygon class="{kind}" points="{" ".join([*line(low), *reversed(line(high))])}"/>'

    marks = [
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - 8}" y1="{y(amount):.1f}" y2="{y(amount):.1f}"/>'
        f'<text x="{LEFT - 6}" y="{y(amount) + 4:.1f}" text-anchor="end">{short(amount)}</text>'
        for amount in marked
    ]
    marks += [
        f'<text x="{x(day):.1f}" y="{HEIGHT - 14}" text-anchor="middle">{day}</text>'
        for day in sorted({round(days * tick / TICKS) for tick in range(TICKS + 1)})
    ]
    if budget is not None:
        at = y(budget)
        marks.append(f'<line class="budget" x1="{LEFT}" x2="{WIDTH - 8}" y1="{at:.1f}" y2="{at:.1f}"/>')
        marks.append(f'<text x="{LEFT + 6}" y="{at - 5:.1f}">budget</text>')
    ends = ", ".join(
        f"{percent(q, 0)} of runs below {amount:,.0f}" for q, amount in zip(QUANTILES, paths[-1].tolist(), strict=True)
    )
    return (
        f'<p class="caption">By day of the campaign, {escape(currency)}: the middle run, half of the runs (dark) and nine '
        "tenths of them (light). Redemptions come over the days as in Complete Journey's campaigns.</p>"
        f'<svg class="fan" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Spend at the end: {escape(ends)}">'
        f'{"".join(marks)}{band(0, 4, "outer")}{band(1, 3, "inner")}<polyline class="middle" points="{" ".join(line(2))}"/>'
        "</svg>"
    )


def _percent(estimate: Estimate) -> str:
    return f"{percent(estimate.value)} [{percent(estimate.low)} to {percent(estimate.high)}]"


def _number(estimate: Estimate, digits: int = 2) -> str:
    low, high = (f"{end:,.{digits}f}" if np.isfinite(end) else "no bound" for end in (estimate.low, estimate.high))
    return f"{estimate.value:,.{digits}f} [{low} to {high}]"


def _spread(found: Simulation) -> tuple[Sequence[str], list[list[str]]]:
    rows = []
    for name, sample in (("spends", found.spend), ("earns", found.net)):
        rows.append([name, _number(mean(sample)), *(_number(quantile(sample, q)) for q in (0.05, 0.5, 0.95))])
    return ["", "mean", "5 % below", "middle", "95 % below"], rows


def _coupons(found: Simulation) -> tuple[Sequence[str], list[list[str]]]:
    rows = []
    for k, name in enumerate(found.issued.coupon_ids):
        of_coupon, redeemed = found.issued.coupon == k, found.redeemed[:, k]
        ends = [quantile(redeemed, q).value for q in (0.05, 0.95)]
        spend = found.spent[:, k].mean() + found.issued.contact[of_coupon].sum()
        rows.append(
            [
                name,
                f"{of_coupon.sum():,}",
                f"{redeemed.mean():,.1f}",
                f"{ends[0]:,.0f}",
                f"{ends[1]:,.0f}",
                f"{spend:,.2f}",
            ]
        )
    return ["coupon", "issued", "redeemed", "5 % below", "95 % below", "spends"], rows


def _stock(found: Simulation) -> tuple[Sequence[str], list[list[str]]]:
    rows = []
    for name, units in found.stock.items():
        chance, unserved = found.stock_out(name)
        rows.append([name, f"{units:,.0f}", _percent(chance), _number(unserved)])
    return ["coupon", "on hand", "runs out", "redemptions not served"], rows


def in_columns(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Set a table in columns: the first to the left, the rest to the right."""
    cells = [list(head), *map(list, rows)]
    widths = [max(len(row[place]) for row in cells) for place in range(len(head))]
    return "".join(
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        + "\n"
        for row in cells
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    top = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in row[1:])}</tr>'
        for row in rows
    )
    return f'<div class="wide" tabindex="0"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
