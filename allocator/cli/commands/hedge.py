"""`allocate hedge`: plans for uncertain effects, and what care costs."""

from __future__ import annotations

import dataclasses
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from allocator.cli import exits
from allocator.cli.amounts import parse_amount
from allocator.cli.inputs import Input, Source, read
from allocator.cli.options import AsJson, Force, Quiet, Verbose
from allocator.cli.screen import Screen
from allocator.errors import DataError, UsageError
from allocator.result import Result

if TYPE_CHECKING:
    from allocator.hedging.robust import Hedged, TradeOff

DRAW = "value_draw_"


def register(app: typer.Typer) -> None:
    """Add `allocate hedge`."""
    app.command(
        short_help="Plan for the bad draws of uncertain effects.",
        epilog="Example: allocate hedge --offers offers.parquet --budget 50k --rule cvar:0.9 -o careful/",
    )(hedge)


def hedge(
    offers: Annotated[
        str,
        typer.Option("--offers", metavar="PATH", help=f"Offers with columns {DRAW}0, {DRAW}1, ... beside the usual."),
    ],
    budget: Annotated[
        float | None, typer.Option("--budget", parser=parse_amount, metavar="AMOUNT", help="Overrides the campaign's.")
    ] = None,
    campaign: Annotated[Path | None, typer.Option("--campaign", metavar="FILE", help="campaign.toml.")] = None,
    users: Annotated[str | None, typer.Option("--users", metavar="PATH", help="Attributes of the users.")] = None,
    rule: Annotated[
        str,
        typer.Option(
            "--rule", metavar="RULE", help="mean, worst, or cvar:0.9: the mean of the worst tenth of the draws."
        ),
    ] = "cvar:0.9",
    steps: Annotated[
        int,
        typer.Option("--steps", min=2, max=50, metavar="NUMBER", help="Plans from the best mean to the rule alone."),
    ] = 3,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FOLDER", help="Write plan.parquet (the rule's) and tradeoff.json into it."
        ),
    ] = None,
    time_limit: Annotated[float, typer.Option("--time-limit", metavar="SECONDS", help="For each plan.")] = 60.0,
    threads: Annotated[int | None, typer.Option("--threads", min=1, metavar="NUMBER", help="By default all.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, metavar="NUMBER", help="Same seed, same plans.")] = 0,
    as_json: AsJson = False,
    force: Force = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Plan for the bad draws of uncertain effects, and show what that costs on average."""
    source = Source(budget, offers, campaign, users)
    screen = Screen(quiet=quiet, verbose=verbose)
    exits.leave(
        lambda: _job(source, rule, steps, output, time_limit, threads, seed, as_json, force, screen), verbose=verbose
    )


def _job(
    source: Source, rule: str, steps: int, output: Path | None, time_limit: float, threads: int | None, seed: int,
    as_json: bool, force: bool, screen: Screen,
) -> int:  # fmt: skip
    from allocator.careful import trade_off
    from allocator.hedging.robust import Care, rows_of
    from allocator.tables.output import check_target

    care = Care.parse(rule)
    if not time_limit > 0:
        raise UsageError(f"--time-limit is {time_limit:g}; it must be above 0 seconds")
    if output is not None:
        check_target(output, force)
    with screen.stage("read"):
        data = read(source)
        draws = draws_in(data)
    with screen.stage("solve"):
        found = trade_off(data.problem, draws, care, steps=steps, time_limit=time_limit, threads=threads, seed=seed)
    if isinstance(found, Result):
        return _no_plan(data, found)
    with screen.stage("verify"):
        _verify(data, draws, found)
    rows = rows_of(found)
    document = _document(data, care.share, draws.shape[0], rows)
    if output is not None:
        _write(output, source, seed, data, found[-1], document, force)
        screen.note(f"Written to {output}")
    _show(data, rows, care.share, draws.shape[0], document, as_json)
    return 0


def draws_in(data: Input) -> np.ndarray:
    """Return the columns value_draw_0, value_draw_1, ... of the offers, `(n_draws, n_rows)` float64."""
    names = [name for name in data.table.column_names if name.startswith(DRAW)]
    wanted = [f"{DRAW}{j}" for j in range(len(names))]
    missing = [name for name in wanted if name not in names]
    if len(names) < 2 or missing:
        found = f"found: {', '.join(names[:5])}" if names else f"no column begins with {DRAW}"
        raise DataError(
            f"the offers need two or more draws of the value, in columns {DRAW}0, {DRAW}1, ...; {found}. "
            "`allocate score --draws 50` writes them"
        )
    columns = []
    for name in wanted:
        column = data.table[name].to_numpy()
        if column.dtype.kind not in "fiu":
            raise DataError(f"the offers' column {name!r} must hold numbers, not {data.table[name].type}")
        columns.append(column.astype(np.float64, copy=False))
    return np.array(columns)


def _verify(data: Input, draws: np.ndarray, found: list[Hedged]) -> None:
    from allocator.hedging.robust import draws_of
    from allocator.verification.hedging import verify_hedged

    order = draws_of(data.problem, draws)
    for item in found:
        verify_hedged(
            data.problem, order, share=item.care.share, weight=item.care.weight, offers=item.plan.offer,
            objective=item.objective, bound=item.bound, weights=item.weights, prices=item.prices,
        )  # fmt: skip


def _document(data: Input, share: float, n_draws: int, rows: list[TradeOff]) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "campaign": data.terms.campaign,
        "currency": data.terms.currency,
        "budget": data.terms.budget,
        "share": share,
        "draws": n_draws,
        "rows": [dataclasses.asdict(row) for row in rows],
    }


def _write(
    output: Path, source: Source, seed: int, data: Input, item: Hedged, document: dict[str, Any], force: bool
) -> None:
    import pyarrow.parquet as parquet

    from allocator.reporting.manifest import manifest
    from allocator.reporting.summary import to_json
    from allocator.tables.output import plan_table, write_folder

    def write_plan(path: Path) -> None:
        parquet.write_table(plan_table(item.plan.row, data.table), path)

    def write_curve(path: Path) -> None:
        path.write_text(to_json(document), encoding="utf-8")

    parts = {"offers": source.offers, "campaign": source.campaign, "users": source.users}
    named = {part: None if name is None else str(name) for part, name in parts.items()}
    text = None if source.campaign is None else source.campaign.read_text(encoding="utf-8-sig")
    made = to_json(manifest(source.files, seed, sys.argv[1:], {"budget": data.terms.budget, **named}, text))
    write_folder(output, {"manifest.json": made, "plan.parquet": write_plan, "tradeoff.json": write_curve}, force=force)


def _show(
    data: Input, rows: list[TradeOff], share: float, n_draws: int, document: dict[str, Any], as_json: bool
) -> None:
    from allocator.reporting.summary import to_json

    if as_json:
        sys.stdout.write(to_json(document))
        return
    currency, first, last = data.terms.currency, rows[0], rows[-1]
    word = (
        "the worst draw"
        if share * n_draws <= 1
        else f"the worst {max(1, math.floor(share * n_draws))} of {n_draws} draws"
    )
    sys.stdout.write(f"care   {'mean':>14} {'bad draws':>14} {'worst':>14} {'bound':>14}  offers  ({currency})\n")
    for row in rows:
        numbers = " ".join(f"{number:>14,.2f}" for number in (row.mean, row.tail, row.worst, row.bound))
        sys.stdout.write(f"{row.weight:4.2f}   {numbers}  {row.issued:,}\n")
    sys.stdout.write(
        f"Care for {word} earns {last.tail - first.tail:,.2f} {currency} more there and {first.mean - last.mean:,.2f} "
        f"{currency} less on average.\n"
    )


def _no_plan(data: Input, result: Result) -> int:
    from allocator.reporting import summary, terminal

    terminal.show(summary.summarise(
        data.problem, result, data.terms, certificate=None, strategies=(), seconds={"total": 0.0}
    ))  # fmt: skip
    return exits.OF_STATUS[result.status]
