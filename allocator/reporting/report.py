"""report.html: one self-contained page, without network and without user ids, made from the summary alone."""

from __future__ import annotations

from collections.abc import Sequence

from allocator.reporting import figures, hedged, sections, words
from allocator.reporting.disclosure import FEW
from allocator.reporting.markup import name, text
from allocator.reporting.shell import shell
from allocator.reporting.simulated import FAN
from allocator.reporting.summary import Summary
from allocator.shares import percent

TITLES = {
    "care": "Care",
    "budget": "Budget",
    "spend": "Spend",
    "simulated": "Simulation",
    "strategies": "Strategies",
    "uplift": "Targeting",
    "coupons": "Coupons",
    "segments": "Segments",
    "limits": "Limits",
    "model": "Model",
    "assumptions": "Assumptions",
}


def page(summary: Summary, simulated: str = "") -> str:
    """Return the report of a plan, or of why there is none, as one HTML page; `simulated`: the part that a simulation adds."""
    body = _plan(summary, simulated) if summary.has_plan else _no_plan(summary)
    footer = f"""<footer><p>{text(_times(summary))} Amounts are in {text(summary.currency)}. Every number of this page is in
summary.json, beside it; what the plan was made from is in manifest.json.</p></footer>
"""
    return shell(f"Coupon plan: {summary.campaign}", body + footer, script=True, style=FAN if simulated else "")


def _plan(summary: Summary, simulated: str) -> str:
    parts = {
        "care": hedged.section_of(summary),
        "budget": figures.frontier(summary),
        "spend": figures.spending(summary),
        "simulated": simulated,
        "strategies": sections.strategies(summary),
        "uplift": figures.uplift(summary),
        "coupons": sections.coupons(summary),
        "segments": sections.segments(summary),
        "limits": sections.limits(summary),
        "model": sections.model(summary),
        "assumptions": sections.assumptions(summary),
    }
    links = "".join(f'<li><a href="#{anchor}">{TITLES[anchor]}</a></li>' for anchor, part in parts.items() if part)
    return "".join(
        [
            _head(summary, words.headline(summary)),
            _cards(summary),
            f"<p>{text(words.proof(summary))}</p>",
            "" if summary.holdout is None else f"<p>{text(words.holdout(summary))}</p>",
            sections.advice(summary),
            *_warnings(summary),
            f'<nav aria-label="Parts of this report"><ul>{links}</ul></nav>\n',
            *parts.values(),
        ]
    )


def _no_plan(summary: Summary) -> str:
    first, *rest = words.no_plan(summary)
    lines = "".join(f"<p>{text(line)}</p>" for line in rest)
    return _head(summary, first.removeprefix("Infeasible: ")) + lines + sections.conflicts(summary)


def _head(summary: Summary, sentence: str) -> str:
    status = summary.status.replace("_", " ").capitalize()
    return (
        f'<header><p class="kind">Coupon plan <span class="status {text(summary.status)}">{text(status)}</span></p>'
        f"<h1>{name(summary.campaign)}</h1><p>{text(sentence)}</p></header>\n"
    )


def _cards(summary: Summary) -> str:
    currency, risk = summary.currency, summary.risk
    of_budget = percent(summary.spend / summary.budget)
    spend = f"{of_budget} of the budget"
    if risk is not None:
        spend += (
            f"; above {words.money(risk.percentile, currency)} in {percent(1.0 - risk.confidence, None)} of campaigns"
        )
    cards = [
        *(hedged.cards(summary) or [("Expected to earn", summary.objective, words.interval(summary), "lead")]),
        ("Expected to spend", summary.spend, spend, ""),
        ("No plan earns more than", summary.bound, words.above(summary), ""),
    ]
    parts = [
        f'<div class="{kind}"><dt>{title}</dt><dd>{amount:,.2f} <span>{text(currency)}</span>'
        f"<small>{text(note)}</small></dd></div>"
        for title, amount, note, kind in cards
    ]
    reached = summary.findings.reached
    note = f"of {summary.offers:,} candidates; " if reached is not None else f"of {summary.offers:,} candidates for "
    note += f"{reached:,} of {summary.users:,} users get one" if reached is not None else f"{summary.users:,} users"
    parts.append(f"<div><dt>Offers</dt><dd>{summary.issued:,}<small>{note}</small></dd></div>")
    return f'<dl class="cards">{"".join(parts)}</dl>\n'


def _warnings(summary: Summary) -> Sequence[str]:
    found = [*words.warnings(summary), *(str(note) for note in summary.notes)]
    if 0 < summary.issued < FEW:
        found.append(f"This plan issues fewer than {FEW} offers, so its totals are about few users: do not pass it on.")
    return [f'<p class="warning">{text(sentence)}</p>' for sentence in found]


def _times(summary: Summary) -> str:
    return (
        f"Planned in {summary.seconds['total']:.2f} seconds with {summary.passes:,.1f} passes over "
        f"{summary.offers:,} candidate offers."
    )
