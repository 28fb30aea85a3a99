"""`allocate simulate`: what a plan may spend, earn and use up."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from allocator.cli import exits
from allocator.cli.options import AsJson, Force, Quiet, Verbose
from allocator.cli.screen import Screen

if TYPE_CHECKING:
    from allocator.simulation import Simulation
    from allocator.tables.output import Content

    Contents = dict[str, Content]


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(
        short_help="What could happen: spend, earnings and stock, many times.",
        epilog="Example: allocate simulate plan/ --runs 1000 --seed 7",
    )(simulate)


def simulate(
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="The folder that `allocate -o` wrote.")],
    runs: Annotated[int, typer.Option("--runs", min=1, metavar="NUMBER", help="How many campaigns to run.")] = 1000,
    shock: Annotated[
        float | None,
        typer.Option(
            "--redemption-shock",
            min=0.0,
            metavar="SHARE",
            help="Coefficient of variation of the factor that all redemptions share; overrides the campaign's.",
        ),
    ] = None,
    stock: Annotated[
        Path | None, typer.Option("--stock", metavar="FILE", help="Columns coupon and units: a redemption takes one.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FOLDER",
            help="Write simulation.json, runs.parquet and report.html into this new folder.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, metavar="NUMBER", help="Same seed, same runs.")] = 0,
    threads: Annotated[int | None, typer.Option("--threads", min=1, metavar="NUMBER", help="By default all.")] = None,
    as_json: AsJson = False,
    force: Force = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Run a plan many times: how much it spends and earns, what is redeemed, how likely the budget is overrun."""
    exits.leave(
        lambda: _run(
            plan, runs, shock, stock, output, seed, threads, as_json, force, Screen(quiet=quiet, verbose=verbose)
        ),
        verbose=verbose,
    )


def _run(
    plan: Path, runs: int, shock: float | None, stock: Path | None, output: Path | None, seed: int, threads: int | None,
    as_json: bool, force: bool, screen: Screen,
) -> int:  # fmt: skip
    from allocator.reporting import simulated
    from allocator.reporting.summary import to_json
    from allocator.simulation import issued_of
    from allocator.simulation import simulate as run
    from allocator.simulation.issued import campaign_of
    from allocator.simulation.stock import read_coupon_stock
    from allocator.tables.output import check_target, write_folder
    from allocator.tables.plan_folder import read_plan_folder

    if output is not None:
        check_target(output, force, "simulation")
    with screen.stage("read"):
        folder = read_plan_folder(plan)
        issued, campaign = issued_of(folder), campaign_of(folder)
        units, notes = ({}, ()) if stock is None else read_coupon_stock(stock)
    for note in notes:
        screen.note(note)
    assumed = campaign.campaign.redemption_shock if shock is None else shock
    with screen.stage("simulate"):
        found = run(
            issued, runs=runs, seed=seed, redemption_shock=assumed, budget=folder.summary.get("budget"), stock=units,
            threads=threads, progress=screen.progress,
        )  # fmt: skip
    name, currency = (
        str(folder.summary.get("campaign", campaign.name)),
        str(folder.summary.get("currency", campaign.currency)),
    )
    if output is not None:
        with screen.stage("write"):
            write_folder(output, _contents(found, simulated.page(found, name, currency), folder.manifest), force=force)
        screen.note(f"Written to {output}")
    if as_json:
        sys.stdout.write(to_json({"campaign": name, "currency": currency, **found.document()}))
    else:
        simulated.show(found, name, currency)
    return 0


def _contents(found: Simulation, page: str, made_from: dict[str, object]) -> Contents:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    from allocator.reporting.summary import to_json

    def write_runs(path: Path) -> None:
        columns = {"run": range(found.runs), "shock": found.shock, "spend": found.spend, "net": found.net}
        columns |= {f"redeemed[{name}]": found.redeemed[:, k] for k, name in enumerate(found.issued.coupon_ids)}
        parquet.write_table(pa.table(columns), path)

    manifest = {"kind": "simulation", "command": ["allocate", *sys.argv[1:]], "seed": found.seed, "plan": made_from}
    return {
        "manifest.json": to_json(manifest),
        "simulation.json": to_json(found.document()),
        "runs.parquet": write_runs,
        "report.html": page,
    }
