"""`allocate explain`: why a user gets what they get, or who gets a coupon."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from allocator.cli import exits
from allocator.cli.screen import Screen
from allocator.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: allocate explain plan/ --user 1842")(explain)


def explain(
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="The folder that `allocate -o` wrote.")],
    user: Annotated[
        str | None, typer.Option("--user", metavar="ID", help="Say why this user gets what they get.")
    ] = None,
    coupon: Annotated[str | None, typer.Option("--coupon", metavar="ID", help="Say who gets this coupon.")] = None,
    offers: Annotated[
        str | None,
        typer.Option("--offers", metavar="PATH", help="Where the plan's offers lie now; by default where they lay."),
    ] = None,
    campaign: Annotated[
        Path | None,
        typer.Option("--campaign", metavar="FILE", help="The plan's campaign.toml; by default its own copy."),
    ] = None,
    users: Annotated[
        str | None, typer.Option("--users", metavar="PATH", help="Where the plan's users table lies now.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document on stdout instead of tables.")
    ] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Nothing on stderr but errors.")] = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Time of each stage on stderr; tracebacks of errors.")
    ] = False,
) -> None:
    """Say why a user gets what they get (--user), or who gets a coupon (--coupon).

    For a coupon: allocate explain plan/ --coupon 10off
    """
    moved = {
        "offers": offers,
        "users": users,
        "campaign": None if campaign is None else str(campaign),
    }
    exits.leave(
        lambda: _explain(plan, user, coupon, moved, as_json, Screen(quiet=quiet, verbose=verbose)), verbose=verbose
    )


def _explain(
    plan: Path, user: str | None, coupon: str | None, moved: dict[str, str | None], as_json: bool, screen: Screen
) -> int:
    from allocator.explaining import explain_coupon, explain_user
    from allocator.reporting import explained
    from allocator.reporting.summary import as_document, to_json

    if (user is None) == (coupon is None):
        raise UsageError("give one of --user ID and --coupon ID: whom or what to explain")
    if user is not None:
        with screen.stage("explain"):
            why = explain_user(plan, user, **moved)
        if as_json:
            sys.stdout.write(to_json(as_document(why)))
        else:
            explained.show_user(why)
        return 0
    assert coupon is not None
    with screen.stage("explain"):
        who = explain_coupon(plan, coupon, **moved)
    if as_json:
        sys.stdout.write(to_json(as_document(who)))
    else:
        explained.show_coupon(who)
    return 0
