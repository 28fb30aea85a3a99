"""`allocate`: the main job without a subcommand, and `allocate frontier`."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer

from allocator.cli import jobs
from allocator.errors import AllocatorError

EXIT_INTERNAL, EXIT_INTERRUPTED = 1, 130
# Typer brings its own copy of click in newer versions; its base error is found through the one that it exports.
USAGE_ERROR: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

app = typer.Typer(add_completion=False, no_args_is_help=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def amount(text: str | float) -> float:
    """Read `50000`, `50_000`, `50,000`, `50k` or `1.5m` as a number."""
    if isinstance(text, (int, float)):
        return float(text)
    plain = text.strip().lower().replace("_", "").replace(",", "")
    factor = {"k": 1e3, "m": 1e6}.get(plain[-1:], 1.0)
    try:
        return float(plain[:-1] if factor != 1.0 else plain) * factor
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a number; write 50000, 50_000, 50,000 or 50k") from None


Amount = Annotated[float | None, typer.Option("--budget", parser=amount, metavar="AMOUNT", help="Overrides the campaign's budget; 50_000, 50,000 and 50k are read too.")]  # fmt: skip
Offers = Annotated[str | None, typer.Option("--offers", help="Parquet or CSV: a file, a folder or a glob. Without it, a built-in demo campaign.")]  # fmt: skip
CampaignFile = Annotated[Path | None, typer.Option("--campaign", help="campaign.toml: coupon terms and limits.")]
Users = Annotated[str | None, typer.Option("--users", help="Users' attributes that limits refer to.")]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="Folder for plan.parquet, summary.json, report.html, manifest.json.")]  # fmt: skip
TimeLimit = Annotated[float, typer.Option("--time-limit", metavar="SECONDS", help="Stop with the best plan so far.")]
Gap = Annotated[float, typer.Option("--gap", help="Relative gap that counts as optimal.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Threads for passes over the offers.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the random samples.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing output folder.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print no progress.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Print more; show tracebacks.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check the input and say what was understood; do not solve.")]


@app.callback(invoke_without_command=True)
def allocate(
    context: typer.Context,
    budget: Amount = None,
    offers: Offers = None,
    campaign: CampaignFile = None,
    users: Users = None,
    output: Output = None,
    time_limit: TimeLimit = 60.0,
    gap: Gap = 1e-9,
    threads: Threads = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    force: Force = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    dry_run: DryRun = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Decide who gets which coupon, within a budget, and prove how good the plan is.

    Example: allocate --budget 50000 --offers offers.parquet --campaign campaign.toml -o plan/
    """
    if context.invoked_subcommand is not None:
        return
    if version:
        from importlib.metadata import version as installed

        typer.echo(installed("coupon-allocator"))
        return
    source = jobs.Source(budget, offers, campaign, users)
    how = jobs.How(time_limit, gap, threads, seed, quiet, verbose)
    raise typer.Exit(jobs.plan(source, how, output=output, as_json=as_json, force=force, dry_run=dry_run))


@app.command()
def frontier(
    low: Annotated[float, typer.Option("--from", parser=amount, metavar="AMOUNT", help="Smallest budget.")],
    high: Annotated[float, typer.Option("--to", parser=amount, metavar="AMOUNT", help="Largest budget.")],
    steps: Annotated[int, typer.Option("--steps", min=2, max=1000, help="How many budgets.")] = 20,
    offers: Offers = None,
    campaign: CampaignFile = None,
    users: Users = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="A .csv file for the table.")] = None,
    threads: Threads = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Show what each budget would earn.

    Example: allocate frontier --from 10k --to 100k --steps 50
    """
    source = jobs.Source(high, offers, campaign, users)
    how = jobs.How(60.0, 1e-9, threads, seed, quiet, False)
    raise typer.Exit(jobs.frontier(source, how, low, high, steps, output=output, as_json=as_json))


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with the contract's codes."""
    words = sys.argv[1:] if arguments is None else arguments
    verbose = "-v" in words or "--verbose" in words
    try:
        code = app(args=words, standalone_mode=False)
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)
    except typer.Exit as stop:
        sys.exit(stop.exit_code)
    except USAGE_ERROR as error:
        error.show()
        sys.exit(error.exit_code)
    except AllocatorError as error:
        typer.echo(f"allocate: {error}", err=True)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("allocate: interrupted; nothing was written", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if verbose:
            traceback.print_exc()
        typer.echo(f"allocate: internal error: {type(error).__name__}: {error} (-v shows where)", err=True)
        sys.exit(EXIT_INTERNAL)
