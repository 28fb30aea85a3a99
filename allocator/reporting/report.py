"""report.html: one self-contained page with inline SVG bars; no script, no network, no user ids."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from importlib.resources import files

from allocator.reporting import words
from allocator.reporting.summary import CouponUse, Summary
from allocator.result import Conflict, LimitUse

MOST_ROWS = 200  # of coupons or limits; a page stays readable, and small
WORDS = ("measure", "fails", "side")  # columns of words; the rest are numbers, aligned right


def page(summary: Summary) -> str:
    """Return the report of a plan, or of why there is none, as one HTML page."""
    style = files("allocator.reporting").joinpath("style.css").read_text(encoding="utf-8")
    title = escape(summary.campaign)
    if summary.has_plan:
        lines = [words.headline(summary), words.proof(summary), words.spend(summary)]
        sections = [_cards(summary), _advice(summary), _strategies(summary), _coupons(summary), _limits(summary)]
    else:
        lines, sections = words.no_plan(summary), [_conflicts(summary)]
        lines[0] = lines[0].removeprefix("Infeasible: ")
    status = summary.status.replace("_", " ").capitalize()
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Coupon plan: {title}</title>
<style>
{style}</style>
</head>
<body>
<main>
<h1>Coupon plan: {title}</h1>
<p><span class="status {summary.status}">{status}.</span> {escape(lines[0])}</p>
{"".join(f"<p>{escape(line)}</p>" for line in lines[1:])}
{"".join(sections)}
<footer><p>{escape(_times(summary))} Amounts are in {escape(summary.currency)}. Every number of this page is in
summary.json, beside it; what the plan was made from is in manifest.json.</p></footer>
</main>
</body>
</html>
"""


def _conflicts(summary: Summary) -> str:
    if summary.diagnosis is None:
        return ""
    found = [summary.diagnosis, *summary.diagnosis.further]
    rows = [_conflict(number, item) for number, one in enumerate(found, start=1) for item in one.conflicts]
    if not rows:
        return ""
    return _section(
        "Limits that conflict",
        "The nearest number of each with which its conflict is over, and with which every limit holds.",
        ["limit", "conflict", "side", "measure", "now", "over at", "every limit holds at"],
        rows,
    )


def _conflict(number: int, item: Conflict) -> str:
    numbers = "".join(
        f"<td>{words.quantity(amount, item.measure)}</td>" for amount in (item.number, item.needed, item.repair)
    )
    side = item.side.replace("_", " ")
    return (
        f'<tr><th scope="row">{escape(item.name)}</th><td>{number}</td><td class="text">{side}</td>'
        f'<td class="text">{escape(item.measure)}</td>{numbers}</tr>'
    )


def _cards(summary: Summary) -> str:
    currency = summary.currency
    of_budget = words.share(summary.spend / summary.budget)
    cards = [
        ("Expected to earn", words.money(summary.objective, currency), "expected incremental net revenue"),
        ("No plan earns more than", words.money(summary.bound, currency), f"{summary.gap:,.4f} above this one"),
        ("Expected spend", words.money(summary.spend, currency), f"{of_budget} of the budget"),
        ("Offers", f"{summary.issued:,}", f"of {summary.offers:,} candidates for {summary.users:,} users"),
    ]
    parts = [
        f"<div><dt>{escape(name)}</dt><dd>{escape(number)}<small>{escape(note)}</small></dd></div>"
        for name, number, note in cards
    ]
    return f'<dl class="cards">{"".join(parts)}</dl>'


def _advice(summary: Summary) -> str:
    # The sentence marks names as a terminal does, in backticks.
    sentence = re.sub("`(.+?)`", r"<strong>\1</strong>", escape(words.loosen(summary)))
    return f'<p class="advice">{sentence}</p>'


def _strategies(summary: Summary) -> str:
    if not summary.strategies:
        return ""
    top = max([summary.objective, *(row.objective for row in summary.strategies)])
    fails = any(row.unmet for row in summary.strategies)
    rows = [_strategy("this plan", summary.objective, summary.spend, summary.issued, "", "", top, main=True)]
    for row in sorted(summary.strategies, key=lambda row: -row.objective):
        more = words.share(summary.objective / row.objective - 1.0, sign=True) if row.objective > 0 else ""
        unmet = ", ".join(row.unmet)
        rows.append(_strategy(row.name, row.objective, row.spend, row.issued, more, unmet, top, main=False))
    return _section(
        "Compared with simpler strategies",
        f"What each earns under the same limits, {summary.currency}.",
        ["strategy", "earns", "", "spends", "offers", "this plan earns", *(["fails"] if fails else [])],
        rows if fails else [row.replace('<td class="text"></td></tr>', "</tr>") for row in rows],
    )


def _strategy(
    name: str, objective: float, spend: float, issued: int, more: str, unmet: str, top: float, *, main: bool
) -> str:
    return (
        f'<tr><th scope="row">{escape(name)}</th><td>{objective:,.2f}</td>{_bar(objective, top, main=main)}'
        f'<td>{spend:,.2f}</td><td>{issued:,}</td><td>{more}</td><td class="text">{escape(unmet)}</td></tr>'
    )


def _coupons(summary: Summary) -> str:
    issued = sorted((coupon for coupon in summary.coupons if coupon.issued), key=lambda coupon: -coupon.value)
    shown = issued[:MOST_ROWS]
    top = max((coupon.value for coupon in shown), default=0.0)
    note = f"The {len(issued):,} coupons that are issued, of {len(summary.coupons):,}"
    note += "" if len(shown) == len(issued) else f"; the {len(shown):,} that earn most"
    return _section(
        "Offers by coupon",
        f"{note}. Amounts in {summary.currency}.",
        ["coupon", "offers", "spends", "earns", ""],
        [_coupon(coupon, top) for coupon in shown],
    )


def _coupon(coupon: CouponUse, top: float) -> str:
    return (
        f'<tr><th scope="row">{escape(coupon.name)}</th><td>{coupon.issued:,}</td><td>{coupon.cost:,.2f}</td>'
        f"<td>{coupon.value:,.2f}</td>{_bar(coupon.value, top, main=True)}</tr>"
    )


def _limits(summary: Summary) -> str:
    shown = list(summary.limits)
    note = "What one more unit of each limit would earn is its price; 0 where the limit does not bind"
    if len(shown) > MOST_ROWS:
        shown = sorted(shown, key=words.worth, reverse=True)[:MOST_ROWS]
        note += f". The {MOST_ROWS:,} of {len(summary.limits):,} limits that matter most"
    return _section(
        "Limits",
        f"{note}.",
        ["limit", "measure", "used", "at least", "at most", "", f"one more earns ({summary.currency})"],
        [_limit(use) for use in shown],
    )


def _limit(use: LimitUse) -> str:
    numbers = "".join(
        f"<td>{words.quantity(number, use.measure)}</td>" for number in (use.used, use.at_least, use.at_most)
    )
    price = f"{use.price:,.4f}" if use.price else "0"
    return (
        f'<tr><th scope="row">{escape(use.name)}</th><td class="text">{escape(use.measure)}</td>{numbers}'
        f"{_bar(use.used, use.at_most or 0.0, main=use.price > 0)}<td>{price}</td></tr>"
    )


def _section(title: str, caption: str, columns: Sequence[str], rows: Sequence[str]) -> str:
    # A column of bars repeats a number beside it, so that it needs no header of its own.
    head = "".join(_head(name) for name in columns)
    return (
        # The caption stands outside: inside a table that scrolls sideways it would be cut off on a phone.
        f'<section><h2>{escape(title)}</h2><p class="caption">{escape(caption)}</p>'
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(title)}">'
        f'<table aria-label="{escape(title)}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div></section>\n"
    )


def _head(name: str) -> str:
    kind = ' class="text"' if name in WORDS else ""
    return f'<th scope="col"{kind}>{escape(name)}</th>' if name else '<td class="chart"></td>'


def _bar(number: float, top: float, *, main: bool) -> str:
    width = max(0.0, min(100.0, 100.0 * number / top)) if top > 0 else 0.0
    kind = ' class="main"' if main else ""
    return (
        '<td class="chart"><svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect{kind} width="{width:.2f}" height="8" rx="1"/></svg></td>'
    )


def _times(summary: Summary) -> str:
    return (
        f"Planned in {summary.seconds['total']:.2f} seconds with {summary.passes:,.1f} passes over "
        f"{summary.offers:,} candidate offers."
    )
