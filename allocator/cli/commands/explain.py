"""`allocate explain`: why a user gets what they get, or who gets a coupon."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from allocator.cli import exits
from allocator.cli.options import AsJson, Quiet, Verbose
from allocator.cli.screen import Screen
from allocator.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        short_help="Why a user gets what they get; who gets a coupon.",
        epilog="Example: allocate explain plan/ --user 1842",
    )(explain)


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
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="FOLDER", help="The model behind the offers: tells which features moved them."),
    ] = None,
    transactions: Annotated[
        str | None, typer.Option("--transactions", metavar="PATH", help="The past purchases that the model knew.")
    ] = None,
    products: Annotated[
        str | None, typer.Option("--products", metavar="PATH", help="The products of these purchases.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Say why a user gets what they get (--user), or who gets a coupon (--coupon).

    For a coupon: allocate explain plan/ --coupon 10off
    """
    moved = {"offers": offers, "users": users, "campaign": None if campaign is None else str(campaign)}
    learned = {"model": model, "transactions": transactions, "products": products}
    screen = Screen(quiet=quiet, verbose=verbose)

    def job() -> int:
        if (user is None) == (coupon is None):
            raise UsageError("give one of --user ID and --coupon ID: whom or what to explain")
        if user is not None:
            return _user(plan, user, moved | learned, as_json, screen)
        for name, given in learned.items():
            if given is not None:
                raise UsageError(f"--{name} tells of a user's predictions; give it with --user")
        assert coupon is not None
        return _coupon(plan, coupon, moved, as_json, screen)

    exits.leave(job, verbose=verbose)


def _user(plan: Path, user: str, named: dict[str, str | None], as_json: bool, screen: Screen) -> int:
    from allocator.explaining import explain_user
    from allocator.reporting import explained
    from allocator.reporting.summary import as_document, to_json
    from allocator.tables.plan_folder import read_plan_folder

    with screen.stage("explain"):
        folder = read_plan_folder(plan)
        if named["model"] is not None:
            exits.need_learning()
        elif folder.input("model") is not None:
            with suppress(UsageError):  # without the packages the rest is still told, and a note says what is missing
                exits.need_learning()
        found = explain_user(folder, user, **named)
    if as_json:
        sys.stdout.write(to_json(as_document(found)))
    else:
        explained.show_user(found)
    scored = any("purchase_with" in line.predictions for line in found.offers)
    if scored and named["model"] is None and folder.input("model") is None:
        screen.note("Which features moved the predictions: name the model that made the offers with --model.")
    return 0


def _coupon(plan: Path, coupon: str, named: dict[str, str | None], as_json: bool, screen: Screen) -> int:
    from allocator.explaining import explain_coupon
    from allocator.reporting import explained
    from allocator.reporting.summary import as_document, to_json

    with screen.stage("explain"):
        found = explain_coupon(plan, coupon, **named)
    if as_json:
        sys.stdout.write(to_json(as_document(found)))
    else:
        explained.show_coupon(found)
    return 0
