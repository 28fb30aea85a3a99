"""`allocate simulate`: what a plan may spend, earn and use up."""

from __future__ import annotations

import sys
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Asked:
    """The command's words."""

    plan: Path
    runs: int
    shock: float | None
    stock: Path | None
    output: Path | None
    keep: bool
    seed: int
    threads: int | None
    as_json: bool
    force: bool


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
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep what was found in the plan folder, and show the fan in its report.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, metavar="NUMBER", help="Same seed, same runs.")] = 0,
    threads: Annotated[int | None, typer.Option("--threads", min=1, metavar="NUMBER", help="By default all.")] = None,
    as_json: AsJson = False,
    force: Force = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Run a plan many times: how much it spends and earns, what is redeemed, how likely the budget is overrun."""
    asked = Asked(plan, runs, shock, stock, output, keep, seed, threads, as_json, force)
    exits.leave(lambda: _run(asked, Screen(quiet=quiet, verbose=verbose)), verbose=verbose)


def _run(asked: Asked, screen: Screen) -> int:
    from allocator.reporting import simulated
    from allocator.reporting.remaking import report_of
    from allocator.reporting.summary import to_json
    from allocator.simulation import issued_of
    from allocator.simulation import simulate as run
    from allocator.simulation.issued import campaign_of
    from allocator.simulation.stock import read_coupon_stock
    from allocator.tables.output import check_target, write_files, write_folder
    from allocator.tables.plan_folder import read_plan_folder

    if asked.output is not None:
        check_target(asked.output, asked.force, "simulation")
    with screen.stage("read"):
        folder = read_plan_folder(asked.plan)
        issued, campaign = issued_of(folder), campaign_of(folder)
        units, notes = ({}, ()) if asked.stock is None else read_coupon_stock(asked.stock)
    for note in notes:
        screen.note(note)
    assumed = campaign.campaign.redemption_shock if asked.shock is None else asked.shock
    with screen.stage("simulate"):
        found = run(
            issued,
            runs=asked.runs,
            seed=asked.seed,
            redemption_shock=assumed,
            budget=folder.summary.get("budget"),
            stock=units,
            threads=asked.threads,
            progress=screen.progress,
        )
    name = str(folder.summary.get("campaign", campaign.name))
    currency = str(folder.summary.get("currency", campaign.currency))
    document = {"campaign": name, "currency": currency, **found.document()}
    with screen.stage("write"):
        if asked.output is not None:
            page = simulated.page(found, name, currency)
            write_folder(asked.output, _contents(found, page, folder.manifest), force=asked.force)
            screen.note(f"Written to {asked.output}")
        if asked.keep:
            report = report_of(folder, document)
            write_files(folder.path, {simulated.KEPT: to_json(document), "report.html": report})
            screen.note(f"Kept in {folder.path}; its report.html shows it")
    if asked.as_json:
        sys.stdout.write(to_json(document))
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
