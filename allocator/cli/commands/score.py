"""`allocate score`: users and coupons to a file of offers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from allocator.cli import exits, steps
from allocator.cli.options import AsJson, Force, Quiet, Verbose
from allocator.cli.predicting import predict, ready
from allocator.cli.screen import Screen
from allocator.shares import percent

if TYPE_CHECKING:
    from allocator.learning.streaming import Scored


def register(app: typer.Typer) -> None:
    """Add `allocate score`."""
    app.command(
        short_help="Predict what each offer would earn.",
        epilog="Example: allocate score --model model/ --users users.parquet --campaign campaign.toml -o offers.parquet",
    )(score)


def score(
    model: Annotated[Path, typer.Option("--model", metavar="FOLDER", help="What `allocate train` wrote.")],
    users: Annotated[
        str, typer.Option("--users", metavar="PATH", help="user_id and the model's features, one row a user.")
    ],
    campaign: Annotated[
        Path,
        typer.Option("--campaign", metavar="FILE", help="campaign.toml: coupons, and what offers are valued with."),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="Write the offers into this .parquet file.")
    ],
    transactions: Annotated[
        str | None,
        typer.Option(
            "--transactions",
            metavar="PATH",
            help="Past purchases: user_id, item_id, time, amount. Without it, those that the model was trained with.",
        ),
    ] = None,
    products: Annotated[
        str | None,
        typer.Option(
            "--products",
            metavar="PATH",
            help="item_id and what kind of thing it is; what scopes refer to. Without it, those of the training.",
        ),
    ] = None,
    draws: Annotated[
        int,
        typer.Option(
            "--draws",
            min=0,
            max=1000,
            metavar="NUMBER",
            help="Add so many columns value_draw_0, ...: what if the model errs?",
        ),
    ] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was cut off.")] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, metavar="NUMBER", help="Seed of the draws.")] = 0,
    as_json: AsJson = False,
    force: Force = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Predict for every eligible user and coupon what the offer earns and costs."""
    screen = Screen(quiet=quiet, verbose=verbose)

    def job() -> int:
        from allocator.campaign import load_campaign

        terms = load_campaign(campaign)
        from allocator.tables.output import check_file

        check_file(output, (".parquet",), force)
        inputs = ready(model, users, terms, transactions, products)
        try:
            scored = predict(inputs, output, screen, draws=draws, seed=seed, resume=resume, force=force)
        except KeyboardInterrupt:
            from allocator.tables.placing import UNFINISHED

            if (output.parent / UNFINISHED.format(output.name)).is_dir():
                return exits.interrupted(f"{output} was not written; add --resume to go on where this run stopped")
            raise
        document = {"offers_file": str(output), "effects": scored.effects, **scored.document()}
        sys.stdout.write(
            json.dumps(document, indent=2, allow_nan=False) + "\n" if as_json else _text(scored, scored.effects)
        )
        screen.note(f"Written to {output}")
        budget = "50000" if terms.budget is None else None
        screen.note(f"Next: {steps.command(budget=budget, offers=output, campaign=campaign, users=users, o='plan')}")
        return 0

    exits.leave(job, verbose=verbose)


def _text(scored: Scored, effects: str) -> str:
    document = scored.document()
    lines = [f"{scored.offers:,} offers for {scored.users:,} users; effects are {effects}.", ""]
    wide = max(22, *(len(row["coupon"]) + 1 for row in document["coupons"]))
    lines.append(
        f"{'coupon':<{wide}}{'offers':>12}{'buys without':>14}{'buys with':>12}{'value':>10}{'cost':>10}{'worth it':>10}"
    )
    lines += [
        f"{row['coupon']:<{wide}}{row['offers']:>12,}{percent(row['purchase_without'], 2):>14}{percent(row['purchase_with'], 2):>12}"
        f"{row['value']:>10.4f}{row['cost']:>10.4f}{percent(row['positive']):>10}"
        for row in document["coupons"]
    ]
    return "\n".join(lines) + "\n"
