"""A summary in a terminal: tables and bars; in a pipe plain columns, without colour or bars."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from allocator.problem import Problem
from allocator.reporting import hedged, words
from allocator.reporting.consoles import console_on_stdout as _console
from allocator.reporting.consoles import line as _line
from allocator.reporting.consoles import set_off as _print
from allocator.reporting.consoles import table_of as _table
from allocator.reporting.findings import worth
from allocator.reporting.summary import StrategyLine, Summary, Terms, covered
from allocator.result import LimitUse
from allocator.shares import percent
from allocator.tracing import FrontierRow

BAR = 24  # characters
MOST_LIMITS, MOST_COUPONS = 15, 12
SPARKS = "▁▂▃▄▅▆▇█"


def show(summary: Summary) -> None:
    """Print a summary on stdout."""
    console = _console()
    if not summary.has_plan:
        _lines(console, words.no_plan(summary))
        return
    _line(console, words.headline(summary), style="bold")
    _line(console, words.proof(summary), style="green" if summary.status == "optimal" else "yellow")
    _line(console, f"verified: {'true' if summary.verified else 'false'}")
    for warning in words.warnings(summary):
        _line(console, warning, style="yellow")
    _line(console, words.spend(summary))
    hedged.show(console, summary)
    if summary.holdout is not None:
        _line(console, words.holdout(summary))
    _coupons(console, summary)
    _limits(console, summary)
    _line(console, words.loosen(summary), style="bold")
    _strategies(console, summary)
    _line(console, _times(summary), style="dim")
    for note in summary.notes:
        _line(console, note)


def show_frontier(rows: Sequence[FrontierRow], currency: str) -> None:
    """Print what each budget earns, on stdout."""
    console = _console()
    top = max((row.objective for row in rows if row.objective > 0), default=0.0)
    table = _table(f"What each budget earns ({currency})", console)
    for name in ("budget", "earns", "at most", "spends", "offers", "one more earns"):
        table.add_column(name, justify="right", no_wrap=True)
    if console.is_terminal:
        table.add_column("", no_wrap=True)
    for row in rows:
        numbers = [row.budget, row.objective, row.bound, row.spend]
        cells = ["no plan" if number != number else f"{number:,.2f}" for number in numbers]
        cells += [f"{row.issued:,}", f"{row.price:,.4f}"]
        table.add_row(*cells, *([_bar(row.objective, top)] if console.is_terminal else []))
    console.print(table)
    planned = [row for row in rows if row.objective == row.objective]
    if len(planned) > 1:
        first, last = planned[0], planned[-1]
        if console.is_terminal:
            _line(console, f"earns {_sparks([row.objective for row in planned])}")
        _line(
            console,
            f"One more {currency} of budget earns {first.price:,.2f} {currency} at {first.budget:,.0f} "
            f"and {last.price:,.2f} {currency} at {last.budget:,.0f}.",
        )


def show_understood(problem: Problem, terms: Terms) -> None:
    """Print what was read, on stdout, without solving."""
    console = _console()
    _line(
        console,
        f"{terms.campaign}: {problem.n_users:,} users, {problem.n_coupons:,} coupons, {problem.offers.present:,} offers, "
        f"{len(problem.limits):,} limits; amounts in {terms.currency}.",
        style="bold",
    )
    table = _table("Limits", console, "limit", "measure")
    for name in ("at least", "at most", "users", "coupons"):
        table.add_column(name, justify="right", no_wrap=True)
    for limit, users, coupons in zip(problem.limits, *covered(problem), strict=True):
        sides = [words.quantity(side, limit.measure_name) for side in (limit.at_least, limit.at_most)]
        table.add_row(Text(limit.name), Text(limit.measure_name), *sides, f"{users:,}", f"{coupons:,}")
    console.print(table)
    _line(console, "The input is sound. Nothing was solved (--dry-run).")


def _lines(console: Console, lines: Sequence[str]) -> None:
    for line in lines:
        _line(console, line)


def _coupons(console: Console, summary: Summary) -> None:
    used = sorted((coupon for coupon in summary.coupons if coupon.issued), key=lambda coupon: -coupon.value)
    table = _table(f"Offers by coupon ({summary.currency})", console, "coupon")
    for name in ("offers", "spends", "earns"):
        table.add_column(name, justify="right", no_wrap=True)
    for coupon in used[:MOST_COUPONS]:
        table.add_row(Text(coupon.name), f"{coupon.issued:,}", f"{coupon.cost:,.2f}", f"{coupon.value:,.2f}")
    _print(console, table)
    if len(used) > MOST_COUPONS:
        _line(console, f"and {len(used) - MOST_COUPONS:,} more coupons (--json lists all)")


def _limits(console: Console, summary: Summary) -> None:
    shown = list(summary.limits)
    if len(shown) > MOST_LIMITS:
        shown = sorted(shown, key=worth, reverse=True)[:MOST_LIMITS]
    table = _table(f"Limits, and what one more unit of each would earn ({summary.currency})", console)
    table.add_column("limit")
    table.add_column("measure")
    for name in ("used", "at least", "at most"):
        table.add_column(name, justify="right", no_wrap=True)
    if console.is_terminal:
        table.add_column("", no_wrap=True)
    table.add_column("one more earns", justify="right", no_wrap=True)
    for use in shown:
        numbers = [words.quantity(number, use.measure) for number in (use.used, use.at_least, use.at_most)]
        bar = [_bar(use.used, use.at_most or 0.0, 10)] if console.is_terminal else []
        table.add_row(Text(use.name), Text(use.measure), *numbers, *bar, _price(use))
    _print(console, table)
    if len(shown) < len(summary.limits):
        _line(console, f"and {len(summary.limits) - len(shown):,} limits that matter less (--json lists all)")


def _price(use: LimitUse) -> str:
    return f"{use.price:,.4f}" if use.price else "0"


def _strategies(console: Console, summary: Summary) -> None:
    if not summary.strategies:
        return
    table = _table(f"Compared with simpler strategies under the same limits ({summary.currency})", console)
    table.add_column("strategy", no_wrap=True)
    for name in ("earns", "spends", "offers", "this plan earns"):
        table.add_column(name, justify="right", no_wrap=True)
    if console.is_terminal:
        table.add_column("", no_wrap=True)
    broken = words.breaking(summary.strategies)
    if broken:
        table.add_column("breaks")
    top = max([summary.objective, *(row.objective for row in summary.strategies if row.meets_limits)])
    lines = [("this plan", summary.objective, summary.spend, summary.issued, "", "", True)]
    lines += [
        (
            row.name,
            row.objective,
            row.spend,
            row.issued,
            _more(summary.objective, row),
            words.some(row.unmet),
            row.meets_limits,
        )
        for row in words.by_rank(summary.strategies)
    ]
    for name, objective, spend, issued, more, unmet, sound in lines:
        bar = [_bar(objective, top) if sound else ""] if console.is_terminal else []
        last = [Text(unmet)] if broken else []
        table.add_row(
            name, f"{objective:,.2f}", f"{spend:,.2f}", f"{issued:,}", more, *bar, *last, style="" if sound else "dim"
        )
    _print(console, table)
    if broken:
        _line(console, broken)


def _more(ours: float, row: StrategyLine) -> str:
    """Return by how much this plan earns more; nothing beside a strategy that breaks a limit."""
    return percent(ours / row.objective - 1.0, sign=True) if row.objective > 0 and row.meets_limits else ""


def _times(summary: Summary) -> str:
    seconds = summary.seconds
    parts = [f"{name} {seconds[name]:.2f} s" for name in seconds if name != "total"]
    return f"{', '.join(parts)}; {seconds['total']:.2f} s in all, {summary.passes:,.1f} passes over the offers."


def _bar(number: float, top: float, width: int = BAR) -> str:
    return "█" * max(0, min(width, round(width * number / top))) if top > 0 and number == number else ""


def _sparks(numbers: Sequence[float]) -> str:
    low, high = min(numbers), max(numbers)
    scale = (len(SPARKS) - 1) / (high - low) if high > low else 0.0
    return "".join(SPARKS[round((number - low) * scale)] for number in numbers)
