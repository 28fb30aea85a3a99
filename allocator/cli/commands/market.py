"""`allocate market`: a made-up market with known truth, as files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from allocator.cli import exits
from allocator.cli.amounts import parse_amount, whole_users
from allocator.cli.options import AsJson, Force, Quiet, Verbose
from allocator.cli.screen import Screen
from allocator.cli.steps import command
from allocator.errors import UsageError, counted

MISSPECIFIED = 0.8  # how odd users are then, see `allocator.simulation.Settings`


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(
        short_help="Make up a market whose truth is known, to try things on.",
        epilog="Example: allocate market shop/ --users 100k --seed 1",
    )(market)


def market(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The new folder to write to.")],
    users: Annotated[
        float, typer.Option("--users", parser=parse_amount, metavar="NUMBER", help="How many users; 20k by default.")
    ] = 20_000.0,
    campaign: Annotated[
        Path | None,
        typer.Option(
            "--campaign", metavar="FILE", help="Take the coupons of this campaign.toml instead of seven usual ones."
        ),
    ] = None,
    misspecified: Annotated[
        bool, typer.Option("--misspecified", help="Users answer to things that no feature and no history shows.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, metavar="NUMBER", help="Same seed, same market.")] = 0,
    as_json: AsJson = False,
    force: Force = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Make up a market whose truth is known: transactions, products, users, a randomised trial, truth, campaign.toml.

    Every other command can be tried on it, and its answers compared with truth.parquet.
    """
    exits.leave(
        lambda: _make(
            folder, users, campaign, misspecified, seed, as_json, force, Screen(quiet=quiet, verbose=verbose)
        ),
        verbose=verbose,
    )


def _make(
    folder: Path,
    users: float,
    campaign: Path | None,
    misspecified: bool,
    seed: int,
    as_json: bool,
    force: bool,
    screen: Screen,
) -> int:
    from allocator.campaign import load_campaign
    from allocator.simulation import Market, Settings
    from allocator.simulation.terms import DEFAULT_COUPONS
    from allocator.tables.output import check_target

    n_users = whole_users(users)
    check_target(folder, force, "market")
    coupons = DEFAULT_COUPONS
    if campaign is not None:
        coupons = load_campaign(campaign).coupon
        if not coupons:
            raise UsageError(f"{campaign} lists no [[coupon]]; add some, or leave --campaign out")
    with screen.stage("market"):
        settings = Settings(odd=MISSPECIFIED) if misspecified else Settings()
        made = Market.draw(n_users, seed, settings=settings, coupons=coupons)
    with screen.stage("write"):
        made.write(folder, force=force)
    facts: dict[str, Any] = {
        "users": made.n_users,
        "coupons": len(made.coupons),
        "trial": int(made.trial.user.size),
        "transactions": int(made.n_lines.sum()),
        "seed": seed,
        "folder": str(folder),
    }
    if as_json:
        sys.stdout.write(json.dumps(facts, indent=2) + "\n")
    else:
        sys.stdout.write(
            f"{counted(facts['users'], 'user', 'users')}, {facts['coupons']} coupons, {facts['transactions']:,} lines of history "
            f"and a trial of {counted(facts['trial'], 'user', 'users')} are in {folder}\n"
            f"What is true of every offer: {folder / 'truth.parquet'}. The best plan that could be made:\n"
            f"  {command(offers=folder / 'truth.parquet', users=folder / 'users.parquet', campaign=folder / 'campaign.toml')}\n"
            f"What a planner knows: all the other tables. Begin with: {command('check', str(folder))}\n"
        )
    return 0
