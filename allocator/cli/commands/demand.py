"""`allocate demand`: what a plan sells, and whether the stock lasts."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from allocator.cli import exits
from allocator.cli.options import AsJson, Force, Quiet, Verbose
from allocator.cli.screen import Screen
from allocator.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(
        short_help="Does the stock last, with the plan and without it?",
        epilog="Example: allocate demand plan/ --stock stock.csv --transactions transactions.parquet --products products.parquet",
    )(demand)


def demand(
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="The folder that `allocate -o` wrote.")],
    stock: Annotated[
        Path,
        typer.Option(
            "--stock", metavar="FILE", help="item_id (or an attribute of the products), units, optionally lead_days."
        ),
    ],
    transactions: Annotated[str, typer.Option("--transactions", metavar="PATH", help="What sold before the campaign.")],
    products: Annotated[str, typer.Option("--products", metavar="PATH", help="item_id and what scopes refer to.")],
    start: Annotated[
        str | None,
        typer.Option("--start", metavar="DATE", help="First day of the campaign; by default the campaign file's."),
    ] = None,
    service: Annotated[
        float,
        typer.Option(
            "--service", min=0.5, max=0.999, metavar="SHARE", help="Order so that demand is met with this probability."
        ),
    ] = 0.95,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write all rows: a new .csv or .parquet file.")
    ] = None,
    as_json: AsJson = False,
    force: Force = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Forecast what is asked for with a plan and without it, how long the stock lasts, and what to order."""
    screen = Screen(quiet=quiet, verbose=verbose)

    def job() -> int:
        import pyarrow as pa

        from allocator.reporting import demanded
        from allocator.reporting.summary import to_json
        from allocator.tables.output import check_file, table_bytes, write_file

        if output is not None:
            check_file(output, (".csv", ".parquet"), force)
        found = _forecast(plan, stock, transactions, products, start, service, screen)
        if output is not None:
            write_file(output, table_bytes(pa.table(found.columns()), output.suffix), force=force)
            screen.note(f"Written to {output}")
        if as_json:
            rows = [
                dict(zip(found.columns(), row, strict=True))
                for row in zip(*map(list, found.columns().values()), strict=True)
            ]
            finite = [{name: None if item == float("inf") else item for name, item in row.items()} for row in rows]
            sys.stdout.write(
                to_json(
                    {
                        "schema_version": 1,
                        "days": found.days,
                        "service": found.service,
                        "rows": finite,
                        "assumptions": list(found.assumptions),
                    }
                )
            )
        else:
            sys.stdout.write(demanded.table(found))
        return 0

    exits.leave(job, verbose=verbose)


def _forecast(
    plan: Path, stock: Path, transactions: str, products: str, start: str | None, service: float, screen: Screen
) -> Any:
    from allocator.history import read_products, read_transactions
    from allocator.simulation.demand import baskets_of, forecast
    from allocator.simulation.issued import VALID_DAYS, campaign_of
    from allocator.simulation.selling import sales_before
    from allocator.simulation.stock import read_stock
    from allocator.tables.plan_folder import read_plan_folder

    with screen.stage("read"):
        folder = read_plan_folder(plan)
        campaign = campaign_of(folder)
        begin = _start(start, campaign.campaign.start)
        sold, items = read_transactions(transactions, now=begin), read_products(products)
        held = read_stock(stock, items)
        for note in (*items.notes, *sold.notes, *held.notes):
            screen.note(note)
        scopes = {c.id: items.in_scope(c.scope, f"scope of coupon {c.id!r}") for c in campaign.coupon if c.scope}
        sales = sales_before(sold, items, held, scopes, begin, progress=screen.progress)
        for note in sales.faults.told(sold.path):
            screen.note(f"warning: {note}")
    days = max((coupon.valid_days or VALID_DAYS for coupon in campaign.coupon), default=VALID_DAYS)
    shock = campaign.campaign.redemption_shock
    return forecast(
        held, sales, baskets_of(folder, campaign, sales), days=days, service=service, redemption_shock=shock
    )


def _start(given: str | None, planned: datetime.date | None) -> datetime.date:
    if given is None and planned is None:
        raise UsageError(
            "no start: give --start 2026-03-01, or write start = 2026-03-01 under [campaign] and make the plan again"
        )
    if given is None:
        assert planned is not None
        return planned
    try:
        return datetime.date.fromisoformat(given)
    except ValueError as error:
        raise UsageError(f"--start {given!r} is no date; write it as 2026-03-01") from error
