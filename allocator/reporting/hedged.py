"""Care for uncertain effects: what it earns in the bad draws and costs on average, in a terminal and in the report."""

from __future__ import annotations

from rich.console import Console

from allocator.reporting import words
from allocator.reporting.budgets import brief
from allocator.reporting.charts import Chart, Line, Panel
from allocator.reporting.consoles import line, set_off, table_of
from allocator.reporting.markup import Cell, Column, count, number, section, table, text
from allocator.reporting.summary import HedgeLine, Summary
from allocator.shares import percent


def cards(summary: Summary) -> list[tuple[str, float, str, str]]:
    """Return the numbers at a glance of a careful plan; none for others."""
    hedge = summary.hedge
    if hedge is None:
        return []
    return [
        ("Earns in the bad draws", hedge.tail, f"{words.bad_draws(hedge)}; {hedge.worst:,.0f} in the worst", "lead"),
        ("Earns on average", hedge.mean, f"over {hedge.draws} draws of the offers' values", ""),
    ]


def section_of(summary: Summary) -> str:
    """Return what care earns in the bad draws and costs on average, and the plan under each draw."""
    hedge, unit = summary.hedge, summary.currency
    if hedge is None:
        return ""
    lead = text(in_words(hedge, unit))
    parts = [_chart(hedge, unit)] if len({step.tail for step in hedge.steps}) > 1 else [_numbers(hedge, unit)]
    draws = [
        [Cell(f"{place}", place), number(value), Cell(percent(weight), weight)]
        for place, value, weight in sorted(
            zip(range(hedge.draws), hedge.values, hedge.weights, strict=True), key=lambda row: row[1]
        )
    ]
    columns = [Column("draw"), Column(f"earns ({unit})"), Column("weight in the proof")]
    every = f"<details><summary>This plan under each draw, the worst first</summary>{table('Draws', columns, draws)}</details>"
    return section("care", "What does care cost?", lead, *parts, every)


def _chart(hedge: HedgeLine, unit: str) -> str:
    """Return the plans between the best mean and the best bad draws: the one over the other."""
    ordered = sorted(hedge.steps, key=lambda step: step.tail)
    tails, means = [step.tail for step in ordered], [step.mean for step in ordered]
    first, last = hedge.steps[0], hedge.steps[-1]
    chart = Chart(
        anchor="care",
        panels=[Panel([Line("mean", tails, means, "main", dots=True)], f"earns on average, {brief(unit)}", False)],
        x_title=f"earns in {words.bad_draws(hedge)}, {brief(unit)}",
        says=f"Line chart of {len(ordered)} plans: what each earns on average over what it earns in {words.bad_draws(hedge)}, from "
        f"{first.mean:,.0f} and {first.tail:,.0f} {unit} without care to {last.mean:,.0f} and {last.tail:,.0f} with care alone.",
        here=last.tail,
        here_name="this plan",
        slider="How much care",
        steps=[
            f"Care {percent(step.weight, 0)}: {step.mean:,.0f} {unit} on average, {step.tail:,.0f} in the bad draws ({step.tail - first.tail:+,.0f} "
            f"for {step.mean - first.mean:+,.0f} on average)."
            for step in ordered
        ],
        at=ordered.index(last),
    )
    return chart.html(_numbers(hedge, unit))


def _numbers(hedge: HedgeLine, unit: str) -> str:
    titles = ("care", "on average", "in the bad draws", "in the worst draw", "offers", "what is maximised", "at most")
    rows = [
        [
            Cell(percent(step.weight, 0), step.weight),
            number(step.mean),
            number(step.tail),
            number(step.worst),
            count(step.issued),
            number(step.objective),
            number(step.bound),
        ]
        for step in hedge.steps
    ]
    return table(f"Plans from the best mean to care alone ({unit})", [Column(title) for title in titles], rows)


def in_words(hedge: HedgeLine, unit: str) -> str:
    """Say what care earns and costs beside the plan that is best on average."""
    first, last = hedge.steps[0], hedge.steps[-1]
    return (
        f"Care for {words.bad_draws(hedge)} earns {words.money(last.tail - first.tail, unit)} more there than the plan that is best "
        f"on average, and {words.money(first.mean - last.mean, unit)} less on average."
    )


def show(console: Console, summary: Summary) -> None:
    """Print the trade-off; nothing for other plans."""
    hedge, unit = summary.hedge, summary.currency
    if hedge is None:
        return
    rows = table_of(f"From the best mean to care alone ({unit})", console, "care")
    for name in ("on average", "in the bad draws", "in the worst draw", "at most", "offers"):
        rows.add_column(name, justify="right", no_wrap=True)
    for step in hedge.steps:
        numbers = [f"{amount:,.2f}" for amount in (step.mean, step.tail, step.worst, step.bound)]
        rows.add_row(percent(step.weight, 0), *numbers, f"{step.issued:,}")
    set_off(console, rows)
    line(console, in_words(hedge, unit))
