"""`allocate`: the main job without a subcommand, and the commands of `allocator.cli.commands`."""

from __future__ import annotations

import os
import sys
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path
from typing import Annotated

import typer

from allocator.cli import exits, jobs
from allocator.cli.commands import (
    Command,
    check,
    compare,
    demand,
    design,
    explain,
    frontier,
    hedge,
    init,
    market,
    measure,
    report,
    scenario,
    score,
    simulate,
    strategies,
    train,
    waves,
)
from allocator.cli.inputs import Source
from allocator.cli.options import (
    AsJson,
    Budget,
    CampaignFile,
    Confidence,
    DryRun,
    Force,
    Gap,
    Holdout,
    ModelFolder,
    Offers,
    PlanFolder,
    ProductsPath,
    Quiet,
    Seed,
    Threads,
    TimeLimit,
    TransactionsPath,
    Users,
    Verbose,
)
from allocator.cli.screen import Screen

# In the order in which a campaign needs them, which is the order of the help.
COMMANDS: tuple[Command, ...] = (
    init,
    check,
    train,
    score,
    explain,
    compare,
    report,
    frontier,
    hedge,
    simulate,
    demand,
    waves,
    design,
    measure,
    market,
    strategies,
    scenario,
)

app = typer.Typer(
    name="allocate",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=False,
    context_settings={"max_content_width": 110},
)


def _version(wanted: bool) -> None:
    if not wanted:
        return
    try:
        typer.echo(f"coupon-allocator {installed('coupon-allocator')}")
    except PackageNotFoundError:
        typer.echo("coupon-allocator, run from a checkout that is not installed")
    raise typer.Exit


@app.callback(invoke_without_command=True, epilog="Example: allocate --budget 50000")
def allocate(
    context: typer.Context,
    budget: Budget = None,
    offers: Offers = None,
    campaign: CampaignFile = None,
    users: Users = None,
    model: ModelFolder = None,
    transactions: TransactionsPath = None,
    products: ProductsPath = None,
    output: PlanFolder = None,
    confidence: Confidence = None,
    holdout: Holdout = None,
    time_limit: TimeLimit = 60.0,
    gap: Gap = 1e-9,
    threads: Threads = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    force: Force = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    dry_run: DryRun = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Decide who gets which coupon within a budget, and prove how good the plan is.

    With your own data: allocate --budget 50000 --offers offers.parquet --campaign campaign.toml --users users.parquet
    -o plan/
    """
    if context.invoked_subcommand is not None:
        _refuse_lost_options(context)
        return
    exits.leave(
        lambda: jobs.plan(
            Source(budget, offers, campaign, users, model, transactions, products, confidence),
            jobs.Effort(time_limit, gap, threads, seed),
            jobs.Output(output, force, as_json, dry_run),
            Screen(quiet=quiet, verbose=verbose),
            holdout,
        ),
        verbose=verbose,
    )


for module in COMMANDS:
    module.register(app)


def _refuse_lost_options(context: typer.Context) -> None:
    """Raise a usage error for options before a subcommand: they belong to the main job and would be lost."""
    for name in context.params:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            option = {"as_json": "json"}.get(name, name).replace("_", "-")
            word = context.invoked_subcommand
            raise typer.BadParameter(
                f"--{option} stands before {word!r} and would be lost; options of {word} come after it"
            )


def main() -> None:
    """Run the command line; every way out is an exit code of the contract."""
    exits.catch_termination()
    # Where a caller closed a stream (`>&-`), Python has none: what would go there goes nowhere.
    sys.stdout = sys.stdout or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the end
    sys.stderr = sys.stderr or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A name or a bar that the terminal's encoding lacks is no reason to lose the result.
            stream.reconfigure(errors="replace")
    try:
        app(prog_name="allocate")
    except KeyboardInterrupt:
        raise SystemExit(exits.interrupted()) from None
