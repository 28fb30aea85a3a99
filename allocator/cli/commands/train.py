"""`allocate train`: learn from a trial what each coupon changes."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from allocator.cli import exits, steps
from allocator.cli.names import name_pair
from allocator.cli.options import Force, Quiet, Verbose
from allocator.cli.screen import Screen
from allocator.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from uplift import Progress


NOTHING = (
    "nothing says who was given a coupon: give --trial (users who drew lots), or --sent (who was sent which coupon when, with "
    "--transactions): purchases alone cannot tell what a coupon changes"
)


def register(app: typer.Typer) -> None:
    """Add `allocate train`."""
    app.command(
        short_help="Learn from a trial what each coupon changes.",
        epilog="Example: allocate train --trial trial.parquet --campaign campaign.toml -o model/",
    )(train)


def train(
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FOLDER", help="Write the model into this new folder.")
    ],
    trial: Annotated[
        str | None,
        typer.Option(
            "--trial",
            metavar="PATH",
            help="One row a user: coupon (empty, control or none: given nothing), purchased (0/1), optional spend, visited, "
            "redeemed, discount, propensity, weight; every other column is a feature known before.",
        ),
    ] = None,
    sent: Annotated[
        str | None,
        typer.Option(
            "--sent",
            metavar="PATH",
            help="Without a trial: user_id, coupon, time of who was sent what. Needs --transactions.",
        ),
    ] = None,
    window: Annotated[
        int,
        typer.Option("--window", min=1, max=366, metavar="DAYS", help="With --sent: days in which purchases count."),
    ] = 28,
    campaign: Annotated[
        Path | None,
        typer.Option("--campaign", metavar="FILE", help="campaign.toml of the trial: the terms of its coupons."),
    ] = None,
    transactions: Annotated[
        str | None,
        typer.Option("--transactions", metavar="PATH", help="Past purchases: user_id, item_id, time, amount."),
    ] = None,
    products: Annotated[
        str | None,
        typer.Option("--products", metavar="PATH", help="item_id and what kind of thing it is; what scopes refer to."),
    ] = None,
    users: Annotated[
        str | None, typer.Option("--users", metavar="PATH", help="user_id and attributes, joined as features.")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option("--column", metavar="NAME=COLUMN", help="Where the trial has another name: coupon=segment."),
    ] = None,
    control: Annotated[
        str | None, typer.Option("--control", metavar="WORD", help="What stands in coupon for those given nothing.")
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option("--ignore", metavar="COLUMN", help="A column of the trial that is no feature.")
    ] = None,
    observational: Annotated[
        bool,
        typer.Option("--observational", help="Nobody drew lots: estimate who was likely to get which coupon."),
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Without the TensorFlow network, which takes most of the time.")
    ] = False,
    tensorboard: Annotated[
        Path | None, typer.Option("--tensorboard", metavar="FOLDER", help="Write the losses there for TensorBoard.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, metavar="NUMBER", help="Same seed, same model.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the model card as one JSON document.")] = False,
    force: Force = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train a model on a trial, and print a card of how good it is on users that it did not see."""
    screen = Screen(quiet=quiet, verbose=verbose)

    def job() -> int:
        from allocator.tables.output import check_target

        check_target(output, force, "model")
        columns = dict(name_pair(text) for text in column or [])
        options: dict[str, Any] = {
            "columns": columns,
            "control": control,
            "ignore": ignore or [],
            "observational": observational,
        }
        options |= {"transactions": transactions, "products": products, "users": users}
        options |= {"sent": sent, "window": window}
        if quick and tensorboard is not None:
            raise UsageError(
                "--tensorboard shows the losses of the network, which --quick leaves out: give one of the two"
            )
        if quick:
            exits.check_learning()
            from allocator.learning import quick_candidates

            options["candidates"] = quick_candidates()
        return _train(trial, campaign, options, tensorboard, seed, output, force, as_json, screen)

    exits.leave(job, verbose=verbose)


def _check(trial: str | None, options: dict[str, Any]) -> None:
    """Refuse what needs no heavy package to be refused; raises `UsageError` and `DataError`."""
    from allocator.cli.predicting import ALONE
    from allocator.tables.files import files_of

    exits.check_learning()
    if options["products"] is not None and options["transactions"] is None:
        raise UsageError(ALONE)
    if trial is None and options["sent"] is None:
        raise UsageError(NOTHING)
    if options["sent"] is not None and options["transactions"] is None:
        raise UsageError("who was sent what tells nothing without what they bought: give --transactions too")
    for path in (trial, *(options[name] for name in ("sent", "transactions", "products", "users"))):
        if path is not None:
            files_of(path)


def _train(
    trial: str | None,
    campaign: Path | None,
    options: dict[str, Any],
    tensorboard: Path | None,
    seed: int,
    output: Path,
    force: bool,
    as_json: bool,
    screen: Screen,
) -> int:
    from allocator.campaign import load_campaign

    _check(trial, options)
    terms = None if campaign is None else load_campaign(campaign)
    exits.need_learning()
    from allocator.learning import train as learn

    with ExitStack() as stack:
        on_epoch = None if tensorboard is None else stack.enter_context(_board(tensorboard))
        with screen.stage("train"):
            model = learn(trial, campaign=terms, **options, seed=seed, told=screen.progress, on_epoch=on_epoch)
    with screen.stage("write"):
        model.save(output, force=force)
    for note in model.card.notes:
        screen.note(note)
    document = {"model": str(output), **model.card.document()}
    sys.stdout.write(json.dumps(document, indent=2, allow_nan=False) + "\n" if as_json else model.card.text() + "\n")
    screen.note(f"Written to {output}")
    users, file = options["users"] or "users.parquet", campaign or "campaign.toml"
    screen.note(
        f"Next: {steps.command(budget='50000' if terms is None or terms.budget is None else None, model=output, users=users, campaign=file, o='plan')}"
    )
    return 0


class _board:
    """Writes the loss of each epoch where TensorBoard reads it."""

    def __init__(self, folder: Path) -> None:
        import tensorflow as tf

        self._writer = tf.summary.create_file_writer(str(folder))

    def __enter__(self) -> Callable[[Progress], None]:
        import tensorflow as tf

        def told(progress: Progress) -> None:
            # Written raw: `tf.summary.scalar` asks for the TensorBoard package, which only its reader needs.
            value = tf.compat.v1.Summary.Value(tag=f"loss/{progress.stage}", simple_value=progress.loss)
            page = tf.compat.v1.Summary(value=[value]).SerializeToString()
            with self._writer.as_default():
                tf.summary.experimental.write_raw_pb(page, step=progress.epoch)

        return told

    def __exit__(self, *_: object) -> None:
        self._writer.close()
