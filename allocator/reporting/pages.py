"""A page of parts with links to them, and pieces that the report of a plan does not need."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from allocator.reporting.markup import Cell, name, text
from allocator.reporting.shell import shell
from allocator.simulation.lift import Estimate

SPAN = """
svg.span { display: block; width: 100%; height: 1rem; overflow: visible; }
svg.span line { stroke: var(--bar); stroke-width: 2.5; vector-effect: non-scaling-stroke; }
svg.span line.value { stroke-width: 7; }
svg.span line.zero { stroke: var(--soft); stroke-width: 1; }
td small { display: block; color: var(--soft); font-size: .82rem; line-height: 1.35; }
svg.span line.mark { stroke: var(--accent); stroke-width: 2; }
"""


@dataclass(frozen=True)
class Page:
    """A page; `body` and the values of `parts` (by what the page's links call them) are HTML, all else are words.

    Parts that are empty are left out.
    """

    kind: str
    title: str
    lead: str
    body: str
    parts: Mapping[str, str]
    foot: str
    style: str = ""

    def html(self) -> str:
        """Return the page."""
        shown = {title: part for title, part in self.parts.items() if part}
        links = "".join(f'<li><a href="#{_anchor(part)}">{text(title)}</a></li>' for title, part in shown.items())
        body = (
            f'<header><p class="kind">{text(self.kind)}</p><h1>{name(self.title)}</h1><p>{text(self.lead)}</p></header>\n'
            f'{self.body}<nav aria-label="Parts of this report"><ul>{links}</ul></nav>\n'
            f"{''.join(shown.values())}<footer><p>{text(self.foot)}</p></footer>\n"
        )
        return shell(f"{self.kind}: {self.title}", body, script=True, style=SPAN + self.style)


def cards(items: Sequence[tuple[str, str, str, str, str]]) -> str:
    """Return numbers at a glance: each a title, the number, its unit, a note, and its kind (`lead` or empty)."""
    parts = [
        f'<div class="{kind}"><dt>{text(title)}</dt><dd>{text(shown)} <span>{text(unit)}</span><small>{text(note)}</small></dd></div>'
        for title, shown, unit, note, kind in items
    ]
    return f'<dl class="cards">{"".join(parts)}</dl>\n'


def span(found: Estimate, low: float, high: float, *, mark: float | None = None) -> Cell:
    """Return a cell with an interval drawn on a scale from `low` to `high`, zero and a `mark` on it."""

    def at(amount: float) -> float:
        inside = min(max(amount, low), high)
        return 100.0 * (inside - low) / (high - low) if high > low else 50.0

    def tick(amount: float, kind: str, top: float, bottom: float) -> str:
        return f'<line class="{kind}" x1="{at(amount):.2f}" x2="{at(amount):.2f}" y1="{top:g}" y2="{bottom:g}"/>'

    parts = [tick(0.0, "zero", 0, 10)]
    if math.isfinite(found.value):
        parts.append(f'<line x1="{at(found.low):.2f}" x2="{at(found.high):.2f}" y1="5" y2="5"/>')
        parts.append(tick(found.value, "value", 3, 7))
    if mark is not None and low <= mark <= high:
        parts.append(tick(mark, "mark", 0, 10))
    return Cell(
        f'<svg class="span" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">{"".join(parts)}</svg>',
        None,
        "chart",
    )


def _anchor(part: str) -> str:
    """Return the id of a section."""
    return part.split('id="', 1)[1].split('"', 1)[0]
