"""`allocate strategies`: strategies on made-up markets whose truth is known."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from allocator.cli import exits
from allocator.cli.amounts import parse_amount, whole_users
from allocator.cli.options import AsJson, Force, Quiet, Verbose
from allocator.cli.screen import Screen


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(
        short_help="Compare strategies on markets whose truth is known.",
        epilog="Example: allocate strategies --users 20k --markets 5 --quick",
    )(strategies)


def strategies(
    users: Annotated[
        float,
        typer.Option("--users", parser=parse_amount, metavar="NUMBER", help="Users of each market; 20k by default."),
    ] = 20_000.0,
    markets: Annotated[int, typer.Option("--markets", min=2, metavar="NUMBER", help="How many markets.")] = 5,
    runs: Annotated[int, typer.Option("--runs", min=1, metavar="NUMBER", help="Runs of each plan on a market.")] = 40,
    budget: Annotated[
        float | None,
        typer.Option(
            "--budget",
            parser=parse_amount,
            metavar="AMOUNT",
            help="By default half of what everyone's best offer would cost.",
        ),
    ] = None,
    misspecified: Annotated[
        bool, typer.Option("--misspecified", help="Users answer to things that no feature and no history shows.")
    ] = False,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Learn with logistic models alone, without the network: seconds, not minutes."),
    ] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, metavar="NUMBER", help="Of the first market.")] = 0,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Write the comparison into this new .json file."),
    ] = None,
    as_json: AsJson = False,
    force: Force = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Compare strategies on markets with known truth: none, blanket, targeted, tiered, greedy, and ours, learned or told."""
    screen = Screen(quiet=quiet, verbose=verbose)

    def job() -> int:
        from allocator.reporting import contest
        from allocator.reporting.summary import to_json
        from allocator.simulation import Contest, Settings
        from allocator.simulation import compare as run
        from allocator.simulation.estimating import Learned, check_users, logistic
        from allocator.tables.output import check_file, write_file

        n_users = check_users(whole_users(users))
        if output is not None:
            check_file(output, (".json",), force)
        exits.need_learning()
        settings = Settings(odd=0.8) if misspecified else Settings()
        with screen.stage("contest"):
            found = run(
                Contest(n_users, settings, budget=budget),
                logistic() if quick else Learned(),
                markets=markets,
                runs=runs,
                seed=seed,
                progress=screen.progress,
            )
        text = to_json(found.document())
        if output is not None:
            write_file(output, text, force=force)
            screen.note(f"Written to {output}")
        sys.stdout.write(text if as_json else contest.table(found, n_users))
        return 0

    exits.leave(job, verbose=verbose)
