"""`allocate init`: begins a campaign folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from allocator.cli import exits
from allocator.cli.options import Quiet, Verbose
from allocator.cli.screen import Screen
from allocator.cli.steps import command

if TYPE_CHECKING:
    from allocator.campaign.explained import Proposals
    from allocator.tables.output import Content

CAMPAIGN, README = "campaign.toml", "README.md"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "init",
        short_help="Begin: a campaign.toml with every key explained.",
        epilog="Example: allocate init spring/ --from transactions.parquet --products products.parquet",
    )(init)


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder of the campaign; made where it is missing.")
    ],
    history: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="PATH", help="Propose coupons and a budget from these transactions (Parquet or CSV)."
        ),
    ] = None,
    products: Annotated[
        str | None,
        typer.Option("--products", metavar="PATH", help="With --from: propose coupons for categories of these."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace campaign.toml and README.md where they exist.")
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write a campaign.toml in which every key is explained, and a README of the files to supply."""
    exits.leave(lambda: _run(folder, history, products, force, Screen(quiet=quiet, verbose=verbose)), verbose=verbose)


def _run(folder: Path, history: str | None, products: str | None, force: bool, screen: Screen) -> int:
    from allocator.campaign import parse_campaign
    from allocator.campaign.explained import FIRST, campaign_text
    from allocator.errors import UsageError
    from allocator.history import guide
    from allocator.tables.output import write_files

    if products is not None and history is None:
        raise UsageError("--products needs --from: coupons are proposed from transactions")
    names = (CAMPAIGN, README)
    there = [name for name in names if (folder / name).exists()]
    if there and not force:
        raise UsageError(
            f"{folder} has {' and '.join(there)} already; choose another folder, or add --force to replace them"
        )
    found = FIRST if history is None else _proposed(history, products, screen)
    text = campaign_text(str(folder), found)
    parse_campaign(text, str(folder / CAMPAIGN))  # what we write ourselves must be sound
    known = {"transactions": history, "products": products}
    contents: dict[str, Content] = {CAMPAIGN: text, README: guide.page(str(folder), history, products)}
    write_files(folder, contents)
    typer.echo(f"Written: {', '.join(str(folder / name) for name in names)}")
    typer.echo(f"Next: put your tables beside it, as its README says, and {command('check', str(folder), **known)}")
    return 0


def _proposed(history: str, products: str | None, screen: Screen) -> Proposals:
    from allocator.history import read_products, read_transactions
    from allocator.history.proposing import propose

    with screen.stage("read"):
        transactions = read_transactions(history)
        known = None if products is None else read_products(products)
        for note in (*transactions.notes, *(() if known is None else known.notes)):
            screen.note(f"note: {note}")
        proposals = propose(transactions, known, screen.progress)
    for note in proposals.notes:
        screen.note(f"warning: {note}")
    return proposals
