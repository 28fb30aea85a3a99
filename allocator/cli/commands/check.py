"""`allocate check`: reads every file of a campaign and says what was understood."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from allocator.cli import exits, steps
from allocator.cli.options import AsJson, Quiet, Verbose
from allocator.cli.screen import Screen


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "check", short_help="Check every file of a campaign before you plan.", epilog="Example: allocate check spring/"
    )(check)


def check(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIR",
            help="A folder with campaign.toml (and trial.toml) and tables named transactions, products, users, trial, sent, offers.",
        ),
    ] = None,
    transactions: Annotated[
        str | None, typer.Option("--transactions", metavar="PATH", help="What users bought: Parquet or CSV.")
    ] = None,
    products: Annotated[
        str | None, typer.Option("--products", metavar="PATH", help="What the items are: attributes for scopes.")
    ] = None,
    trial: Annotated[
        str | None,
        typer.Option("--trial", metavar="PATH", help="A past campaign with a control arm, and its outcomes."),
    ] = None,
    sent: Annotated[
        str | None,
        typer.Option("--sent", metavar="PATH", help="Without a trial: who was sent which coupon when."),
    ] = None,
    users: Annotated[str | None, typer.Option("--users", metavar="PATH", help="Attributes of the users.")] = None,
    offers: Annotated[
        str | None, typer.Option("--offers", metavar="PATH", help="Candidate (user, coupon) pairs.")
    ] = None,
    campaign: Annotated[str | None, typer.Option("--campaign", metavar="FILE", help="campaign.toml.")] = None,
    trial_campaign: Annotated[
        str | None,
        typer.Option(
            "--trial-campaign", metavar="FILE", help="campaign.toml of the trial, where its coupons were others."
        ),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Check every file of a campaign, and print what was understood: rows, users, dates, arms, who can get a coupon.

    Looks into DIR, or at the files that options name; an option wins over the folder. Exit code 0: sound (there may be
    warnings); 2: the campaign file is wrong; 3: data are.
    """
    from allocator.checking import Inputs

    given = Inputs(campaign, transactions, products, users, trial, trial_campaign, sent, offers)
    exits.leave(lambda: _run(folder, given, as_json, Screen(quiet=quiet, verbose=verbose)), verbose=verbose)


def _run(folder: Path | None, given: object, as_json: bool, screen: Screen) -> int:
    from allocator.checking import Inputs, check, find_inputs
    from allocator.errors import UsageError
    from allocator.reporting import checked
    from allocator.reporting.summary import to_json

    assert isinstance(given, Inputs)
    inputs = given if folder is None else given.or_else(find_inputs(folder))
    if not inputs.given:
        raise UsageError(
            "nothing to check: give a folder, as in `allocate check spring/`, or files, such as --transactions"
        )
    with screen.stage("check"):
        report = check(inputs, screen.progress)
    for note in report.notes:
        screen.note(f"note: {note}")
    for error in report.errors.values():
        sys.stderr.write(f"allocate: {error}\n")
    if as_json:
        sys.stdout.write(to_json(report.document()))
    else:
        checked.show(report)
        if not report.errors:
            budget = report.parts.get("campaign", {}).get("budget")
            typer.echo(steps.after_check(inputs.given, budget is not None))
    return report.exit_code
