"""A result in a terminal, or in a pipe without colour."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from allocator.problem import Problem

if TYPE_CHECKING:
    import pandas as pd

BAR = 24  # characters


def understood(problem: Problem, currency: str) -> str:
    """Say what was read."""
    lines = [f"{problem.n_users:,} users, {problem.n_coupons:,} coupons, {problem.offers.present:,} offers"]
    for limit in problem.limits:
        sides = [f"at least {limit.at_least:,}"] if limit.at_least is not None else []
        sides += [f"at most {limit.at_most:,}"] if limit.at_most is not None else []
        lines.append(f"limit {limit.name}: {limit.measure_name} {' and '.join(sides)}")
    return "\n".join([*lines, f"currency {currency}; nothing was solved (--dry-run)"])


def show(document: dict[str, Any]) -> None:
    """Print a summary."""
    console = _console()
    currency = document["currency"]
    if document["objective"] is None:
        reason = document["diagnosis"]["message"] if document["diagnosis"] else "the time limit came before a plan"
        console.print(f"No plan ({document['status']}): {reason}", markup=False)
        return
    console.print(
        f"{document['issued']:,} offers to {document['users']:,} users, "
        f"{document['spend']:,.2f} of {document['budget']:,.2f} {currency} spent, "
        f"expected to earn {document['objective']:,.2f} {currency}",
        markup=False,
    )
    console.print(f"{document['status']}: no plan can earn more than {document['bound']:,.4f}, "
                  f"{document['gap']:.4f} {currency} above this one. {document['statement']}\n", markup=False)  # fmt: skip
    _limits(console, document)
    loosen = document["loosen_first"]
    if loosen:
        console.print(
            f"\nLoosen `{loosen['name']}` first: {loosen['change']:,.2f} of {loosen['measure']} (1 %) "
            f"would earn about {loosen['earns']:,.2f} {currency}.\n",
            markup=False,
        )
    _strategies(console, document)


def _console() -> Console:
    """Return a console; in a pipe it is wide, plain and never asks the terminal."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 120)


def _limits(console: Console, document: dict[str, Any]) -> None:
    table = Table(title="Limits", title_justify="left")
    for name in ("limit", "measure"):
        table.add_column(name)
    for name in ("used", "at least", "at most", "one more earns"):
        table.add_column(name, justify="right")
    for limit in document["limits"]:
        sides = ["" if limit[side] is None else f"{limit[side]:,.2f}" for side in ("at_least", "at_most")]
        table.add_row(limit["name"], limit["measure"], f"{limit['used']:,.2f}", *sides, f"{limit['price']:,.4f}")
    console.print(table)


def _strategies(console: Console, document: dict[str, Any]) -> None:
    table = Table(title="Compared with simpler strategies", title_justify="left")
    table.add_column("strategy")
    for name in ("earns", "spends"):
        table.add_column(name, justify="right")
    table.add_column("")
    table.add_column("this plan earns", justify="right")
    ours = document["objective"]
    rows = [{"name": "this plan", "objective": ours, "spend": document["spend"], "unmet": []}, *document["strategies"]]
    for row in rows:
        bar = "█" * max(0, round(BAR * row["objective"] / ours)) if ours > 0 else ""
        more = f"{ours / row['objective'] - 1:+.1%}" if row["objective"] > 0 and row is not rows[0] else ""
        broken = f" (breaks {', '.join(row['unmet'])})" if row["unmet"] else ""
        table.add_row(row["name"] + broken, f"{row['objective']:,.2f}", f"{row['spend']:,.2f}", bar, more)
    console.print(table)


def show_frontier(table: pd.DataFrame, currency: str) -> None:
    """Print a frontier with a bar for each budget."""
    console = _console()
    shown = Table(title=f"What each budget earns ({currency})", title_justify="left")
    for name in ("budget", "earns", "bound", "spends", "issued", "one more earns"):
        shown.add_column(name, justify="right")
    shown.add_column("")
    top = max(float(table["objective"].max()), 1e-9)
    for row in table.itertuples():
        shown.add_row(
            f"{row.budget:,.0f}", f"{row.objective:,.2f}", f"{row.bound:,.2f}", f"{row.spend:,.2f}",
            f"{row.issued:,}", f"{row.price:,.4f}", "█" * max(0, round(BAR * float(str(row.objective)) / top)),
        )  # fmt: skip
    console.print(shown)
