"""What other budgets would earn: the chart of the report, and the page that `allocate frontier` writes."""

from __future__ import annotations

from collections.abc import Sequence

from allocator.reporting import words
from allocator.reporting.charts import Chart, Line, Panel
from allocator.reporting.markup import Column, count, name, number, table, text
from allocator.reporting.shell import shell
from allocator.reporting.summary import Terms
from allocator.tracing import FrontierRow

LONGEST_UNIT = 12  # characters of a currency beside an axis


def page(rows: Sequence[FrontierRow], terms: Terms, marked: float | None = None) -> str:
    """Return a frontier as one self-contained HTML page.

    Parameters
    ----------
    rows
        One for each budget, from the smallest; at least one of them with a plan.
    terms
        The campaign's name and currency.
    marked
        The campaign's own budget, marked where it lies between the rows'.
    """
    planned = [row for row in rows if row.objective == row.objective]
    unit, low, high = terms.currency, planned[0], planned[-1]
    if marked is not None and not low.budget <= marked <= high.budget:
        marked = None
    lines = [
        f"The best plan for a budget of {words.money(low.budget, unit)} earns {words.money(low.objective, unit)}; for "
        f"{words.money(high.budget, unit)} it earns {words.money(high.objective, unit)}.",
        f"One more {unit} earns {low.price:,.2f} at the small end and {high.price:,.2f} at the large end.",
    ]
    full = next((row for row in planned if not row.price > 0), None)
    if full is not None:
        lines.append(f"From {words.money(full.budget, unit)} on, more budget earns nothing.")
    if len(planned) < len(rows):
        missing = rows[len(rows) - len(planned) - 1] if rows[0] not in planned else rows[-1]
        lines.append(
            f"{len(rows) - len(planned)} of {len(rows)} budgets have no plan that keeps all limits, up to "
            f"{words.money(missing.budget, unit)}."
        )
    widest = max(row.bound - row.objective for row in planned)
    lines.append(
        f"No other plan for any of these budgets can earn more than {widest:,.4f} {unit} beyond what is shown."
    )
    body = (
        f'<header><p class="kind">Budgets</p><h1>{name(terms.campaign)}</h1></header>\n'
        + "".join(f"<p>{text(line)}</p>" for line in lines)
        + (chart(planned, unit, None, marked, "the campaign") if len(planned) > 1 else numbers(planned, unit))
        + f"<footer><p>Amounts are in {text(unit)}.</p></footer>\n"
    )
    return shell(f"Budgets: {terms.campaign}", body, script=True)


def chart(rows: Sequence[FrontierRow], unit: str, own: FrontierRow | None, here: float | None, here_name: str) -> str:
    """Return what each budget earns and what one more unit of it would, drawn over the budget.

    A line marks the budget `here`; where `own` is one of the rows, the others are told apart from it.
    """
    at = [row.budget for row in rows]
    low, high = rows[0], rows[-1]
    marked = "" if here is None else f" The budget of {here_name} is {here:,.0f}."
    drawn = Chart(
        anchor="budget",
        panels=[
            Panel(
                [Line("earns", at, [row.objective for row in rows], "main", dots=True)],
                f"plan earns, {brief(unit)}",
                False,
            ),
            Panel(
                [Line("price", at, [row.price for row in rows], "accent", dots=True)],
                f"one more {brief(unit)} earns",
                True,
                2,
            ),
        ],
        x_title=f"budget, {brief(unit)}",
        says=(
            f"Line chart of what the best plan of each of {len(rows)} budgets earns, from {low.objective:,.0f} {unit} with "
            f"{low.budget:,.0f} to {high.objective:,.0f} with {high.budget:,.0f}; and of what one more {unit} of budget "
            f"earns there, from {low.price:,.2f} down to {high.price:,.2f}.{marked}"
        ),
        here=here,
        here_name=here_name,
        slider="Try a budget",
        steps=[_step(row, own, unit) for row in rows],
        at=0 if here is None else min(range(len(rows)), key=lambda k: abs(at[k] - here)),
    )
    return drawn.html(numbers(rows, unit))


def numbers(rows: Sequence[FrontierRow], unit: str) -> str:
    """Return a frontier as a table."""
    return table(
        "Other budgets",
        [Column(title) for title in ("budget", "earns", "at most", "spends", "offers", f"one more {unit} earns")],
        [
            [
                number(row.budget),
                number(row.objective),
                number(row.bound),
                number(row.spend),
                count(row.issued),
                number(row.price, 4),
            ]
            for row in rows
        ],
    )


def brief(unit: str) -> str:
    """Return a currency as it fits beside an axis of a phone."""
    return unit if len(unit) <= LONGEST_UNIT else unit[: LONGEST_UNIT - 1] + "…"


def _step(row: FrontierRow, own: FrontierRow | None, unit: str) -> str:
    earns = f"A budget of {row.budget:,.0f} {unit} earns {row.objective:,.0f} {unit} with {row.issued:,} offers"
    if own is None:
        return f"{earns}. From there, one more {unit} earns {row.price:,.2f}."
    if row is own:
        return f"{earns}: this plan. One more {unit} earns {row.price:,.2f}."
    gain, cost = row.objective - own.objective, row.spend - own.spend
    return f"{earns}: {gain:+,.0f} {unit} for {cost:+,.0f} {unit} of spend. From there, one more {unit} earns {row.price:,.2f}."
