"""`allocate frontier`: what each of many budgets would earn."""

from __future__ import annotations

import dataclasses
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from allocator.cli import exits
from allocator.cli.amounts import parse_amount
from allocator.cli.inputs import Input, Source, read, scored
from allocator.cli.jobs import Effort, Output, understood
from allocator.cli.options import (
    AsJson,
    CampaignFile,
    Confidence,
    DryRun,
    Force,
    ModelFolder,
    Offers,
    ProductsPath,
    Quiet,
    Seed,
    Threads,
    TransactionsPath,
    Users,
    Verbose,
)
from allocator.cli.screen import Screen
from allocator.errors import UsageError
from allocator.problem.intake import positive_budget
from allocator.result import Status

if TYPE_CHECKING:
    from allocator.tracing import FrontierRow

FORMATS = (".html", ".csv", ".parquet", ".json")


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(
        short_help="What each of many budgets would earn, with a chart.",
        epilog="Example: allocate frontier --from 10k --to 100k --steps 50 -o frontier.html",
    )(frontier)


def frontier(
    low: Annotated[float, typer.Option("--from", parser=parse_amount, metavar="AMOUNT", help="The smallest budget.")],
    high: Annotated[float, typer.Option("--to", parser=parse_amount, metavar="AMOUNT", help="The largest budget.")],
    steps: Annotated[
        int, typer.Option("--steps", min=2, max=10_000, metavar="NUMBER", help="How many budgets, both ends counted.")
    ] = 20,
    offers: Offers = None,
    campaign: CampaignFile = None,
    users: Users = None,
    model: ModelFolder = None,
    transactions: TransactionsPath = None,
    products: ProductsPath = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Write a chart (.html), or the table (.csv, .parquet or .json)."
        ),
    ] = None,
    confidence: Confidence = None,
    time_limit: Annotated[
        float, typer.Option("--time-limit", metavar="SECONDS", help="For each budget, beside its prices.")
    ] = 60.0,
    threads: Threads = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    force: Force = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    dry_run: DryRun = False,
) -> None:
    """Show what each of many budgets would earn, and what one more unit of it would."""

    def job() -> int:
        from allocator.tables.output import check_file

        effort, target = Effort(time_limit, threads=threads, seed=seed), Output(output, force, as_json, dry_run)
        screen = Screen(quiet=quiet, verbose=verbose)
        budgets = _budgets(low, high, steps)
        if output is not None:
            check_file(output, FORMATS, force)
        # Limits are read with the largest budget; each row then has its own.
        source = Source(high, offers, campaign, users, model, transactions, products, confidence)
        with tempfile.TemporaryDirectory(prefix="allocate-") as folder:
            if model is not None:
                source = scored(source, Path(folder), screen)
            with screen.stage("read"):
                data = read(source)
            return understood(data, target) if dry_run else _trace(data, budgets, effort, target, screen)

    exits.leave(job, verbose=verbose)


def _trace(data: Input, budgets: list[float], effort: Effort, output: Output, screen: Screen) -> int:
    from allocator.reporting import summary, terminal
    from allocator.reporting.budgets import page
    from allocator.tables.output import write_file
    from allocator.tracing import frontier as trace

    own = None if data.campaign is None else data.campaign.budget
    with screen.stage("solve"):
        rows = trace(data.problem, budgets, time_limit=effort.time_limit, threads=effort.threads, seed=effort.seed).rows
    document = summary.frontier_document(rows, data.terms, screen.seconds)
    found = any(math.isfinite(row.objective) for row in rows)
    if output.path is not None and output.path.suffix == ".html":
        if found:
            write_file(output.path, page(rows, data.terms, own).encode(), force=output.force)
        screen.note(f"Written to {output.path}" if found else "Nothing was written: no budget has a plan.")
    elif output.path is not None:
        content = _table_bytes(rows, output.path.suffix, summary.to_json(document))
        write_file(output.path, content, force=output.force)
        screen.note(f"Written to {output.path}")
    if output.as_json:
        sys.stdout.write(summary.to_json(document))
    else:
        terminal.show_frontier(rows, data.terms.currency)
    return 0 if found else exits.OF_STATUS[Status.INFEASIBLE]


def _budgets(low: float, high: float, steps: int) -> list[float]:
    """Return evenly spaced budgets, to the cent."""
    positive_budget(low)
    positive_budget(high)
    if high <= low:
        raise UsageError(f"--to {high:,.2f} must be above --from {low:,.2f}")
    budgets = [round(low + (high - low) * step / (steps - 1), 2) for step in range(steps)]
    if len(set(budgets)) < steps:
        raise UsageError(f"--steps {steps} is more than there are cents between --from and --to; ask for fewer")
    return budgets


def _table_bytes(rows: Sequence[FrontierRow], suffix: str, json_text: str) -> bytes:
    if suffix == ".json":
        return json_text.encode()
    import pyarrow as pa

    from allocator.tables.output import table_bytes

    return table_bytes(pa.Table.from_pylist([dataclasses.asdict(row) for row in rows]), suffix)
