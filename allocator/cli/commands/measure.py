"""`allocate measure`: what a campaign did, against the control group that was held out of its plan."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from allocator.cli import exits
from allocator.cli.amounts import parse_share
from allocator.cli.names import name_pair
from allocator.cli.options import AsJson, Force, Quiet, Verbose
from allocator.cli.screen import Screen
from allocator.errors import UsageError


@dataclass(frozen=True)
class Asked:
    """The command's words."""

    plan: Path
    outcomes: str | None
    logged: str | None
    other: Path | None
    users: str | None
    by: tuple[str, ...]
    absent: str
    margin: float | None
    start: str | None
    clip: float | None
    confidence: float
    seed: int
    columns: dict[str, str]
    control: str | None
    output: Path | None
    force: bool
    as_json: bool


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        short_help="Did it work? Lift, revenue and return, with intervals.",
        epilog="Example: allocate measure plan/ --outcomes after.parquet -o measured.html",
    )(measure)


def measure(
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="The plan folder, written with --holdout.")],
    outcomes: Annotated[
        str | None,
        typer.Option(
            "--outcomes",
            metavar="PATH",
            help="user_id, spend; optional purchased, redeemed, discount, pre_spend, coupon, time. One row a user.",
        ),
    ] = None,
    logged: Annotated[
        str | None,
        typer.Option(
            "--logged",
            metavar="PATH",
            help="Instead of --outcomes: a trial with user_id, coupon, propensity and spend or purchased, on which the plan "
            "is valued.",
        ),
    ] = None,
    other: Annotated[
        Path | None, typer.Option("--other", metavar="PLAN", help="Another plan, to be valued on these outcomes.")
    ] = None,
    users: Annotated[
        str | None,
        typer.Option(
            "--users", metavar="PATH", help="Users' attributes; by default the file that the plan was made with."
        ),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option("--by", metavar="COLUMN", help="Show effects by this column of users; can be repeated."),
    ] = None,
    absent: Annotated[
        str,
        typer.Option(
            "--absent",
            metavar="MEANING",
            help="What a user without a row did: refuse (an error), zero (bought nothing), drop (not known).",
        ),
    ] = "refuse",
    margin: Annotated[
        float | None,
        typer.Option("--margin", parser=parse_share, metavar="SHARE", help="Earned share of the price, such as 30%."),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option("--start", metavar="DATE", help="First day of the campaign; by default the campaign's."),
    ] = None,
    clip: Annotated[
        float | None, typer.Option("--clip", min=1.0, metavar="WEIGHT", help="With --logged: also cap weights there.")
    ] = None,
    confidence: Annotated[
        float, typer.Option("--confidence", parser=parse_share, metavar="SHARE", help="Of every interval.")
    ] = 0.95,
    seed: Annotated[int, typer.Option("--seed", min=0, metavar="NUMBER", help="Seed of the reward model's folds.")] = 0,
    column: Annotated[
        list[str] | None,
        typer.Option("--column", metavar="NAME=COLUMN", help="Where the table has another name: spend=sales_28d."),
    ] = None,
    control: Annotated[
        str | None, typer.Option("--control", metavar="WORD", help="What stands in coupon for users who got none.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Also write a page, FILE.html, to pass on: no user ids in it."
        ),
    ] = None,
    as_json: AsJson = False,
    force: Force = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Measure what a campaign did, against the users that --holdout kept without a coupon."""

    def job() -> int:
        named = dict(name_pair(words) for words in column or ())
        asked = Asked(
            plan,
            outcomes,
            logged,
            other,
            users,
            tuple(by or ()),
            absent,
            margin,
            start,
            clip,
            confidence,
            seed,
            named,
            control,
            output,
            force,
            as_json,
        )
        return _run(asked, Screen(quiet=quiet, verbose=verbose))

    exits.leave(job, verbose=verbose)


def _run(asked: Asked, screen: Screen) -> int:
    from allocator.tables.output import PAGES, check_file

    if asked.output is not None:
        check_file(asked.output, PAGES, asked.force)
    if (asked.outcomes is None) == (asked.logged is None):
        raise UsageError("give --outcomes after.parquet (or --logged trial.parquet, one of the two)")
    return _outcomes(asked, screen) if asked.logged is None else _logged(asked, screen)


def _outcomes(asked: Asked, screen: Screen) -> int:
    if asked.clip is not None:
        raise UsageError("--clip goes with --logged")
    from allocator.reporting import measured, measurement
    from allocator.reporting.summary import to_json
    from allocator.simulation import measure as measured_by
    from allocator.tables.plan_folder import read_plan_folder

    with screen.stage("read"):
        folder = read_plan_folder(asked.plan)
    users = asked.users or folder.input("users")
    if asked.users is None and users is not None and not Path(users).exists():
        screen.note(f"{users}, which the plan was made with, is gone: no effects by segment (--users).")
        users = None
    with screen.stage("measure"):
        found = measured_by(
            folder,
            asked.outcomes,
            users=users,
            by=asked.by,
            other=asked.other,
            absent=asked.absent,
            margin=asked.margin,
            start=asked.start,
            confidence=asked.confidence,
            seed=asked.seed,
            columns=asked.columns,
            control=asked.control,
        )
    if asked.output is not None:
        _write(asked.output, measured.page(found), asked.force, screen)
    if asked.as_json:
        sys.stdout.write(to_json(measurement.measurement_document(found)))
    else:
        measurement.show_measurement(found)
    return 0


def _logged(asked: Asked, screen: Screen) -> int:
    given = {
        "--other": asked.other,
        "--users": asked.users,
        "--by": asked.by,
        "--margin": asked.margin,
        "--start": asked.start,
    }
    for option, value in given.items():
        if value:
            raise UsageError(f"{option} goes with --outcomes, not with --logged")
    from allocator.reporting import measured, measurement
    from allocator.reporting.summary import to_json
    from allocator.simulation.logged import value_on_log

    with screen.stage("measure"):
        found = value_on_log(
            asked.plan,
            asked.logged,
            clip=asked.clip,
            confidence=asked.confidence,
            seed=asked.seed,
            columns=asked.columns,
            control=asked.control,
        )
    if asked.output is not None:
        _write(asked.output, measured.logged_page(found, asked.plan.name), asked.force, screen)
    if asked.as_json:
        sys.stdout.write(to_json(measurement.logged_document(found)))
    else:
        measurement.show_logged(found, str(asked.plan))
    return 0


def _write(output: Path, page: str, force: bool, screen: Screen) -> None:
    from allocator.tables.output import write_file

    with screen.stage("write"):
        write_file(output, page, force=force)
    screen.note(f"Written to {output}")
