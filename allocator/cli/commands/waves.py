"""`allocate waves`: campaigns of several waves on made-up markets whose truth is known."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from allocator.cli import exits
from allocator.cli.amounts import parse_amount, parse_share, whole_users
from allocator.cli.options import AsJson, Force, Quiet, Verbose
from allocator.cli.screen import Screen
from allocator.errors import UsageError

if TYPE_CHECKING:
    from allocator.simulation.paces import Paced
    from allocator.tables.output import Content


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(
        short_help="Pace one budget over many waves.",
        epilog="Example: allocate waves --users 5k --waves 6 --markets 3 --explore 5% -o waves/",
    )(waves)


def waves(
    users: Annotated[
        float,
        typer.Option("--users", parser=parse_amount, metavar="NUMBER", help="Users of each market; 20k by default."),
    ] = 20_000.0,
    number: Annotated[int, typer.Option("--waves", min=1, metavar="NUMBER", help="How many waves.")] = 8,
    days: Annotated[int, typer.Option("--days", min=1, max=366, metavar="NUMBER", help="Days of each wave.")] = 28,
    budget: Annotated[
        float | None,
        typer.Option(
            "--budget",
            parser=parse_amount,
            metavar="AMOUNT",
            help="For all waves; by default a quarter of what all arrivals' best offers cost.",
        ),
    ] = None,
    cap: Annotated[int, typer.Option("--cap", min=1, metavar="NUMBER", help="Coupons a user may get in a window.")] = 1,
    window: Annotated[
        int | None,
        typer.Option("--window", min=1, metavar="NUMBER", help="Waves of the window; all of them by default."),
    ] = None,
    explore: Annotated[
        float,
        typer.Option("--explore", parser=parse_share, metavar="SHARE", help="Share of users for whom lots are drawn."),
    ] = 0.0,
    most: Annotated[
        int | None, typer.Option("--most-a-wave", min=1, metavar="NUMBER", help="Coupons that a wave may issue.")
    ] = None,
    expected: Annotated[
        bool, typer.Option("--expected-spend", help="Count what offers should cost, not what was really spent.")
    ] = False,
    learn: Annotated[
        bool, typer.Option("--learn", help="Learn effects from the trial, and again in each wave from its lots.")
    ] = False,
    markets: Annotated[int, typer.Option("--markets", min=2, metavar="NUMBER", help="How many markets.")] = 5,
    seed: Annotated[int, typer.Option("--seed", min=0, metavar="NUMBER", help="Of the first market.")] = 0,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FOLDER", help="Write waves.json and each wave's log to this new folder."
        ),
    ] = None,
    as_json: AsJson = False,
    force: Force = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Pace a budget over waves of arrivals, on markets with known truth: equal parts, greedy, by prices, in hindsight."""
    screen = Screen(quiet=quiet, verbose=verbose)

    def job() -> int:
        from allocator.reporting import paced
        from allocator.reporting.summary import to_json
        from allocator.simulation.beliefs import Told, refitted_logistic
        from allocator.simulation.paces import compare_paces
        from allocator.simulation.settings import PERIOD_DAYS
        from allocator.simulation.waves import Campaign
        from allocator.tables.output import check_target, write_folder

        n_users = whole_users(users)
        if output is not None:
            check_target(output, force)
        if learn and days != PERIOD_DAYS:
            raise UsageError(f"--learn learns from a trial of {PERIOD_DAYS} days; with it leave out --days {days}")
        if learn:
            exits.need_learning()
        campaign = Campaign(n_users, number, budget, cap, window, explore, most, observe=not expected, days=days)
        with screen.stage("waves"):
            found = compare_paces(
                campaign, refitted_logistic() if learn else Told(), markets=markets, seed=seed, progress=screen.progress
            )
        text = to_json(found.document())
        if output is not None:
            write_folder(output, _files(found, text, seed), force=force)
            screen.note(f"Written to {output}")
        sys.stdout.write(text if as_json else paced.table(found, n_users))
        return 0

    exits.leave(job, verbose=verbose)


def _files(found: Paced, text: str, seed: int) -> dict[str, Content]:
    """Return the folder's files: the comparison, and the logs of the first market under pacing by prices."""
    import json
    from functools import partial

    import pyarrow.parquet as parquet

    from allocator.simulation.pacing import ByPrices

    logs = found.first[found.names.index(ByPrices.name)].logs
    files: dict[str, Content] = {
        "manifest.json": json.dumps({"kind": "waves", "seed": seed}, indent=2) + "\n",
        "waves.json": text,
    }
    for place, log in enumerate(logs, 1):
        files[f"wave-{place:02}.parquet"] = partial(parquet.write_table, log)
    return files
