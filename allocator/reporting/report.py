"""report.html: one self-contained file, charts as inline SVG, no network."""

from __future__ import annotations

from html import escape
from typing import Any

STYLE = """
:root { color-scheme: light dark; --bar: #2a6fb0; }
@media (prefers-color-scheme: dark) { :root { --bar: #6fb1ea; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; display: block; overflow-x: auto; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid #8886; text-align: right; } th:first-child, td:first-child { text-align: left; }
.big { font-size: 1.6rem; font-weight: 600; } svg text { fill: currentColor; font-size: 13px; } svg rect { fill: var(--bar); }
"""


def page(document: dict[str, Any]) -> str:
    """Return the report of a summary as one HTML page."""
    currency = escape(document["currency"])
    loosen = document["loosen_first"]
    advice = (
        f"<p>Loosen <b>{escape(loosen['name'])}</b> first: 1 % of it ({loosen['change']:,.2f} of "
        f"{escape(loosen['measure'])}) would earn about {loosen['earns']:,.2f} {currency}.</p>"
        if loosen
        else "<p>No limit holds the plan back.</p>"
    )
    rows = "".join(
        f"<tr><td>{escape(limit['name'])}</td><td>{escape(limit['measure'])}</td><td>{limit['used']:,.2f}</td>"
        f"<td>{_side(limit['at_least'])}</td><td>{_side(limit['at_most'])}</td><td>{limit['price']:,.4f}</td></tr>"
        for limit in document["limits"]
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Plan: {escape(document["campaign"])}</title><style>{STYLE}</style></head><body><main>
<h1>{escape(document["campaign"])}</h1>
<p class="big">{document["objective"]:,.2f} {currency} expected from {document["issued"]:,} offers,
{document["spend"]:,.2f} of {document["budget"]:,.2f} {currency} spent</p>
<p>{escape(document["statement"])}</p>{advice}
<h2>Compared with simpler strategies</h2>{_chart(document)}
<h2>Limits</h2><table><thead><tr><th>limit</th><th>measure</th><th>used</th><th>at least</th><th>at most</th>
<th>one more earns ({currency})</th></tr></thead><tbody>{rows}</tbody></table>
</main></body></html>
"""


def _side(number: float | None) -> str:
    return "" if number is None else f"{number:,.2f}"


def _chart(document: dict[str, Any]) -> str:
    bars = [("this plan", document["objective"])] + [(row["name"], row["objective"]) for row in document["strategies"]]
    top = max(max(value for _, value in bars), 1e-9)
    parts = []
    for place, (name, value) in enumerate(bars):
        y = 8 + 30 * place
        parts.append(
            f'<text x="0" y="{y + 15}">{escape(name)}</text>'
            f'<rect x="110" y="{y}" width="{max(0.0, 440 * value / top):.1f}" height="20"/>'
            f'<text x="{116 + max(0.0, 440 * value / top):.1f}" y="{y + 15}">{value:,.0f}</text>'
        )
    words = "; ".join(f"{name} {value:,.0f}" for name, value in bars)
    height = 16 + 30 * len(bars)
    return f'<svg role="img" aria-label="Earned: {escape(words)}" viewBox="0 0 680 {height}">{"".join(parts)}</svg>'
