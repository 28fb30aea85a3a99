"""The charts of the report: the budget's frontier, the curve of uplift, and what the plan may spend."""

from __future__ import annotations

from bisect import bisect_left

from allocator.reporting import budgets, words
from allocator.reporting.charts import Chart, Line, Panel
from allocator.reporting.findings import UpliftCurve
from allocator.reporting.markup import Cell, Column, bar, count, noted, number, plain, section, table, text
from allocator.reporting.summary import Summary
from allocator.shares import percent


def frontier(summary: Summary) -> str:
    """Return what other budgets would earn, with the plan's own marked."""
    rows, note = summary.findings.frontier, summary.findings.frontier_note
    aside = f"<p>{text(note)}</p>" if note else ""
    own = next((row for row in rows if row.budget == summary.budget), None)
    if own is None:
        return section("budget", "Other budgets", "", aside) if note else ""
    unit = summary.currency
    lead = text(
        f"One more {unit} of budget would earn about {own.price:,.2f} {unit} net of its cost."
        if own.price > 0
        else f"More budget would earn nothing: {words.money(own.budget - own.spend, unit)} of it stay unspent."
    )
    if len(rows) < 2:
        return section("budget", "Other budgets", lead, aside)
    drawn = budgets.chart(rows, unit, own, own.budget, "this plan")
    return section("budget", "What would another budget earn?", lead, drawn, aside)


def uplift(summary: Summary) -> str:
    """Return what targeting more and more users would earn, best value per cost first, and at random."""
    curve = summary.findings.uplift_curve
    if curve is None:
        return ""
    unit, users, value = summary.currency, curve.users, curve.value
    top = max(range(len(users)), key=lambda k: value[k])
    random = [value[-1] * n / users[-1] for n in users]
    fifth = bisect_left(users, users[-1] / 5)
    here = min(summary.findings.reached or summary.issued, users[-1])
    lead = (
        f"The best {percent(users[fifth] / users[-1], 0)} of users would bring {words.money(value[fifth], unit)}; as many picked at random "
        f"{words.money(random[fifth], unit)}. Beyond {users[top]:,} users a coupon loses money on average."
        if top < len(users) - 1
        else f"The best {percent(users[fifth] / users[-1], 0)} of users would bring {words.money(value[fifth], unit)}; as many picked at "
        f"random {words.money(random[fifth], unit)}."
    )
    numbers = table(
        "Users targeted",
        [Column(title) for title in ("users", "best first", "at random", "costs")],
        [
            [count(n), number(one), number(two), number(cost)]
            for n, one, two, cost in zip(users, value, random, curve.cost, strict=True)
        ],
    )
    chart = Chart(
        anchor="uplift",
        panels=[
            Panel(
                [Line("best first", users, value, "main"), Line("at random", users, random, "other")],
                f"expected incremental value, {budgets.brief(unit)}",
                True,
            )
        ],
        x_title="users targeted, best value per cost first",
        says=(
            f"Line chart of the expected incremental value of targeting more and more users, without any limit. Best first it "
            f"rises to {value[top]:,.0f} {unit} at {users[top]:,} users; at random in a straight line to {value[-1]:,.0f} "
            f"at all {users[-1]:,}. This plan reaches {here:,}."
        ),
        here=here,
        here_name="this plan",
        slider="Number of users",
        steps=[_uplift_step(curve, random[k], k, unit) for k in range(len(users))],
        at=min(range(len(users)), key=lambda k: abs(users[k] - here)),
    )
    note = (
        "<p class='note'>Each user counts with the one offer that would earn most, whatever it costs; budget and limits are "
        "left aside. So this is what there is to win, not what the plan wins. "
        '<span class="key main">best first</span> <span class="key other">at random</span></p>'
    )
    return section("uplift", "How much does choosing the right users matter?", text(lead), note, chart.html(numbers))


def _uplift_step(curve: UpliftCurve, random: float, k: int, unit: str) -> str:
    users, value = curve.users, curve.value
    return f"{users[k]:,} users ({percent(users[k] / users[-1], 0)}): {value[k]:,.0f} {unit} best first, {random:,.0f} {unit} at random."


def spending(summary: Summary) -> str:
    """Return what the plan is expected to spend, what it stays within with a probability, and the worst."""
    risk, unit = summary.risk, summary.currency
    if risk is None:
        return section("spend", "What may it spend?", text(words.spend(summary)))
    sure = percent(risk.confidence, None)
    lines = [
        ("expected", risk.expected, "on average"),
        (f"at most, in {sure} of campaigns", risk.percentile, "the others spend more"),
        ("worst case", risk.worst, "every coupon that is issued is redeemed"),
    ]
    top = max(risk.worst, risk.percentile, risk.expected, summary.budget)
    rows = [
        [
            noted(plain(name), meaning),
            number(amount),
            bar(amount, top, main=position == 0, mark=summary.budget),
            Cell(_against(amount, summary.budget), amount - summary.budget),
        ]
        for position, (name, amount, meaning) in enumerate(lines)
    ]
    moves = (
        f"All redemptions of a campaign move together by about {percent(risk.shock, None)} (redemption_shock)."
        if risk.shock > 0
        else "Redemptions are taken as independent of each other; what moves all users at once widens this (redemption_shock)."
    )
    return section(
        "spend",
        "What may it spend?",
        text(words.spend(summary)),
        table(
            "What the plan may spend",
            [Column("spend"), Column(unit), Column(""), Column("of the budget")],
            rows,
        ),
        f'<p class="note"><span class="key mark">budget</span> {text(words.money(summary.budget, unit))}. {text(moves)}</p>',
    )


def _against(amount: float, budget: float) -> str:
    return percent(amount / budget)
