"""What the commands do: read, solve, verify, compare, write, print."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import typer

from allocator.errors import UsageError
from allocator.limit import Limit
from allocator.problem import Problem
from allocator.problem.intake import positive_budget
from allocator.result import Status

EXITS = {Status.OPTIMAL: 0, Status.FEASIBLE: 0, Status.INFEASIBLE: 4, Status.NO_PLAN: 5}


@dataclass(frozen=True)
class Source:
    """Where the problem comes from."""

    budget: float | None
    offers: str | None
    campaign: Path | None
    users: str | None


@dataclass(frozen=True)
class How:
    """How to solve and how much to say."""

    time_limit: float
    gap: float
    threads: int | None
    seed: int
    quiet: bool
    verbose: bool


@dataclass(frozen=True, eq=False)
class Input:
    """A problem read, with what the output needs of its source."""

    problem: Problem
    table: Any
    budget: float
    currency: str
    name: str
    files: tuple[str, ...]


def read(source: Source) -> Input:
    """Read the problem; raises the errors of tables, campaign and problem."""
    if source.budget is not None:
        positive_budget(source.budget)
    if source.offers is None:
        return _demo(source)
    from allocator.campaign import Campaign, load_campaign
    from allocator.tables.files import read_offers, read_users, same_ids

    campaign = Campaign() if source.campaign is None else load_campaign(source.campaign)
    budget = campaign.campaign.budget if source.budget is None else source.budget
    if budget is None:
        raise UsageError("no budget: give --budget, or budget under [campaign] in the campaign file")
    table = read_offers(source.offers)
    users = None if source.users is None else read_users(source.users)
    if users is not None:
        table, users = same_ids(table, users)
    problem = Problem.from_offers(
        table,
        limits=campaign.limits(budget),
        users=users,
        max_per_user=campaign.campaign.max_per_user,
        exclusive=campaign.campaign.exclusive,
        coupons=campaign.coupon_ids or None,
        face_value=campaign.face_values or None,
        source=source.offers,
    )
    files = tuple(str(item) for item in (source.offers, source.campaign, source.users) if item is not None)
    return Input(problem, table, budget, campaign.campaign.currency, campaign.campaign.name, files)


def _demo(source: Source) -> Input:
    from allocator.cli import demo

    if source.campaign is not None or source.users is not None:
        raise UsageError("--campaign and --users need --offers")
    if source.budget is None:
        raise UsageError("no budget: try `allocate --budget 50000` for the built-in demo campaign")
    made = demo.campaign()
    limits = [Limit("budget", "cost", at_most=source.budget), *made.limits]
    problem = Problem.from_offers(
        made.offers, limits=limits, users=made.users, face_value=made.face_values, source="demo"
    )
    return Input(problem, made.offers, source.budget, demo.CURRENCY, "demo", ())


def plan(source: Source, how: How, *, output: Path | None, as_json: bool, force: bool, dry_run: bool) -> int:
    """Do the main job; return the exit code."""
    from allocator.reporting import report, summary, terminal
    from allocator.solving import solve
    from allocator.tables import output as tables
    from allocator.verification import verify

    if output is not None:
        tables.check_target(output, force)
    begin = monotonic()
    say = _teller(how)
    say("reading offers")
    data = read(source)
    seconds = {"read": monotonic() - begin}
    if dry_run:
        typer.echo(terminal.understood(data.problem, data.currency))
        return 0
    say("solving (the first run also compiles, once)")
    result = solve(data.problem, how.time_limit, how.gap, how.threads, how.seed)
    seconds |= {"prices": result.seconds["prices"], "integer": result.seconds["integer"]}
    strategies: list[Any] = []
    statement = ""
    if result.status in (Status.OPTIMAL, Status.FEASIBLE):
        say("checking the plan independently")
        statement = verify(data.problem, result, gap=how.gap).statement
        say("comparing with simpler strategies")
        from allocator.solvers.strategies import compare

        strategies = compare(data.problem)
    document = summary.summary(data.problem, result, strategies, data.budget, data.currency, data.name)
    document["statement"] = statement
    written = monotonic()
    document["seconds"] = {**seconds, "write": 0.0, "total": monotonic() - begin}
    if output is not None and result.status in (Status.OPTIMAL, Status.FEASIBLE):
        say("writing")
        chosen = tables.plan_table(result.plan.row, data.table)
        contents: dict[str, Any] = {
            "plan.parquet": lambda path: _write_parquet(chosen, path),
            "report.html": report.page(document),
            "manifest.json": summary.text(summary.manifest(data.files, how.seed, sys.argv[1:])),
        }
        document["seconds"] |= {"write": monotonic() - written, "total": monotonic() - begin}
        contents["summary.json"] = summary.text(document)
        tables.write_folder(output, contents, force=force)
    if as_json:
        typer.echo(summary.text(document))
    else:
        terminal.show(document)
        if output is not None and result.status in (Status.OPTIMAL, Status.FEASIBLE):
            typer.echo(f"\nWritten to {output}")
    return EXITS[result.status]


def frontier(
    source: Source, how: How, low: float, high: float, steps: int, *, output: Path | None, as_json: bool
) -> int:
    """Solve for evenly spaced budgets; print or write the table."""
    import numpy as np

    from allocator.reporting import terminal
    from allocator.solving import frontier as trace
    from allocator.tables import output as tables

    positive_budget(low)
    if high <= low:
        raise UsageError(f"--to {high:g} must be above --from {low:g}")
    if output is not None and output.suffix != ".csv":
        raise UsageError(f"{output}: name it .csv")
    say = _teller(how)
    say("reading offers")
    data = read(source)
    say(f"solving {steps} budgets")
    table = trace(data.problem, np.linspace(low, high, steps).tolist(), threads=how.threads, seed=how.seed).to_pandas()
    if output is not None:
        tables.write_file(output, table.to_csv(index=False))
    if as_json:
        typer.echo(json.dumps(json.loads(table.to_json(orient="records")), indent=2))
    else:
        terminal.show_frontier(table, data.currency)
    return 0


def _teller(how: How) -> Callable[[str], None]:
    """Return a function that tells the stage on a terminal's stderr, and is silent elsewhere."""
    if how.quiet or not (sys.stderr.isatty() or how.verbose):
        return lambda stage: None
    return lambda stage: typer.echo(f"{stage} ...", err=True)


def _write_parquet(table: Any, path: Path) -> None:
    import pyarrow.parquet as parquet

    parquet.write_table(table, path)
