"""`allocate compare`: what changed from one plan to another."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from allocator.cli import exits
from allocator.cli.options import AsJson, Quiet, Verbose
from allocator.cli.screen import Screen


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        short_help="What changed from one plan to another.", epilog="Example: allocate compare plan-a/ plan-b/"
    )(compare)


def compare(
    before: Annotated[Path, typer.Argument(metavar="BEFORE", help="A folder that `allocate -o` wrote.")],
    after: Annotated[Path, typer.Argument(metavar="AFTER", help="Another one.")],
    by: Annotated[
        list[str] | None,
        typer.Option("--by", metavar="COLUMN", help="A column of users to tell segments by; can be given again."),
    ] = None,
    users: Annotated[
        str | None,
        typer.Option("--users", metavar="PATH", help="A users table for the segments; by default the plans'."),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Show what changed from one plan to another: for how many users, and what it earns."""
    exits.leave(
        lambda: _compare(before, after, users, by or [], as_json, Screen(quiet=quiet, verbose=verbose)), verbose=verbose
    )


def _compare(before: Path, after: Path, users: str | None, by: list[str], as_json: bool, screen: Screen) -> int:
    from allocator.explaining import compare_plans
    from allocator.reporting import compared
    from allocator.reporting.summary import as_document, to_json

    with screen.stage("compare"):
        found = compare_plans(before, after, users=users, by=by)
    if as_json:
        sys.stdout.write(to_json(as_document(found)))
    else:
        compared.show_comparison(found)
    return 0
