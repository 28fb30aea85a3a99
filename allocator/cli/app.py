"""`allocate`: the main job without a subcommand, `allocate frontier`, and the commands of `allocator.cli.commands`."""

from __future__ import annotations

import os
import sys
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path
from typing import Annotated

import typer

from allocator.cli import exits, jobs
from allocator.cli.amounts import parse_amount, parse_share
from allocator.cli.commands import (
    Command,
    check,
    compare,
    demand,
    design,
    explain,
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
from allocator.cli.options import AsJson, Force, Quiet, Verbose
from allocator.cli.screen import Screen

COMMANDS: tuple[Command, ...] = (
    check,
    init,
    train,
    scenario,
    score,
    explain,
    compare,
    report,
    simulate,
    market,
    demand,
    design,
    measure,
    hedge,
    strategies,
    waves,
)

app = typer.Typer(
    name="allocate", add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=False
)


def _version(wanted: bool) -> None:
    if not wanted:
        return
    try:
        typer.echo(f"coupon-allocator {installed('coupon-allocator')}")
    except PackageNotFoundError:
        typer.echo("coupon-allocator, run from a checkout that is not installed")
    raise typer.Exit


Budget = Annotated[
    float | None,
    typer.Option(
        "--budget",
        parser=parse_amount,
        metavar="AMOUNT",
        help="What the plan may cost at most; overrides the campaign's. 50_000, 50,000, 50k and 1.5m are read too.",
    ),
]
Offers = Annotated[
    str | None,
    typer.Option(
        "--offers",
        metavar="PATH",
        help="One row for each candidate (user, coupon): Parquet or CSV; a file, a folder or a glob. "
        "Without it, a built-in demo campaign.",
    ),
]
CampaignFile = Annotated[
    Path | None, typer.Option("--campaign", metavar="FILE", help="campaign.toml: budget, coupon terms, limits.")
]
Users = Annotated[
    str | None, typer.Option("--users", metavar="PATH", help="Attributes of the users that limits refer to.")
]
ModelFolder = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="FOLDER",
        help="What `allocate train` wrote: offers are made from it, --users and --campaign, and kept beside the plan.",
    ),
]
TransactionsPath = Annotated[
    str | None,
    typer.Option(
        "--transactions", metavar="PATH", help="With --model: past purchases: user_id, item_id, time, amount."
    ),
]
ProductsPath = Annotated[
    str | None,
    typer.Option("--products", metavar="PATH", help="With --model: item_id and what kind of thing it is."),
]
PlanFolder = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FOLDER",
        help="Write plan.parquet, summary.json, report.html and manifest.json into this new folder.",
    ),
]
Confidence = Annotated[
    float | None,
    typer.Option(
        "--confidence",
        metavar="SHARE",
        help="Keep the budget with this probability, such as 0.95, instead of for expected spend alone; overrides the campaign's.",
    ),
]
TimeLimit = Annotated[
    float, typer.Option("--time-limit", metavar="SECONDS", help="Stop then, with the best plan so far and its gap.")
]
Gap = Annotated[
    float, typer.Option("--gap", metavar="SHARE", help="Gap, as a share of the plan's value, that counts as optimal.")
]
Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, metavar="NUMBER", help="Threads; by default all. The plan does not depend on it."),
]
Seed = Annotated[
    int, typer.Option("--seed", min=0, metavar="NUMBER", help="Seed of the samples that the prices start from.")
]
Holdout = Annotated[
    float | None,
    typer.Option(
        "--holdout",
        parser=parse_share,
        metavar="SHARE",
        help="Keep this share of the users, drawn at random within strata, without any coupon: a control group "
        "for `allocate measure`. 5% or 0.05.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check the input, say what was understood, do not solve.")]


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
    time_limit: TimeLimit = 60.0,
    gap: Gap = 1e-9,
    threads: Threads = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    force: Force = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    dry_run: DryRun = False,
    holdout: Holdout = None,
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


@app.command(epilog="Example: allocate frontier --from 10k --to 100k --steps 50")
def frontier(
    low: Annotated[float, typer.Option("--from", parser=parse_amount, metavar="AMOUNT", help="The smallest budget.")],
    high: Annotated[float, typer.Option("--to", parser=parse_amount, metavar="AMOUNT", help="The largest budget.")],
    steps: Annotated[
        int, typer.Option("--steps", min=2, max=10_000, metavar="NUMBER", help="How many budgets, both ends counted.")
    ] = 20,
    offers: Offers = None,
    campaign: CampaignFile = None,
    users: Users = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Write the table: a .csv, .parquet or .json file."),
    ] = None,
    confidence: Confidence = None,
    threads: Threads = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    force: Force = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    dry_run: DryRun = False,
) -> None:
    """Show what each of many budgets would earn, and what one more unit of it would."""
    exits.leave(
        lambda: jobs.frontier(
            Source(None, offers, campaign, users, confidence=confidence),
            low,
            high,
            steps,
            jobs.Effort(threads=threads, seed=seed),
            jobs.Output(output, force, as_json, dry_run),
            Screen(quiet=quiet, verbose=verbose),
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
