"""`allocate hedge`: plans for uncertain effects, and what care costs."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from allocator.cli import exits
from allocator.cli.amounts import parse_amount
from allocator.cli.inputs import Input, Source, read
from allocator.cli.jobs import Effort, Output, risk_of, seconds_of, write_plan_folder
from allocator.cli.options import AsJson, Force, PlanFolder, Quiet, Seed, Threads, Verbose
from allocator.cli.screen import Screen
from allocator.errors import DataError, UsageError
from allocator.result import Result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from allocator.hedging.robust import Hedged
    from allocator.reporting.findings import Findings
    from allocator.reporting.summary import HedgeLine
    from allocator.solvers.strategies import StrategyResult
    from allocator.verification import Certificate

DRAW = "value_draw_"
BOTH = (
    "a plan can be careful about its budget or about its effects, not yet both: leave out confidence in the campaign file, or "
    "plan without `hedge`"
)


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
    output: PlanFolder = None,
    time_limit: Annotated[float, typer.Option("--time-limit", metavar="SECONDS", help="For each plan.")] = 60.0,
    threads: Threads = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    force: Force = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Plan for the bad draws of uncertain effects, and show what that costs on average."""

    def job() -> int:
        effort = Effort(time_limit, threads=threads, seed=seed)
        target = Output(output, force, as_json, dry_run=False)
        return _job(
            Source(budget, offers, campaign, users), rule, steps, effort, target, Screen(quiet=quiet, verbose=verbose)
        )

    exits.leave(job, verbose=verbose)


def _job(source: Source, rule: str, steps: int, effort: Effort, output: Output, screen: Screen) -> int:
    from allocator.careful import as_result, trade_off
    from allocator.hedging.robust import Care, draws_of
    from allocator.reporting import summary as summaries
    from allocator.reporting import terminal
    from allocator.tables.output import check_target

    care = Care.parse(rule)
    if output.path is not None:
        check_target(output.path, output.force)
    with screen.stage("read"):
        data = read(source)
        if data.terms.confidence is not None:
            raise UsageError(BOTH)
        rows = draws_in(data)
        draws = draws_of(data.problem, rows)
    with screen.stage("solve"):
        found = trade_off(
            data.problem,
            rows,
            care,
            steps=steps,
            time_limit=effort.time_limit,
            threads=effort.threads,
            seed=effort.seed,
        )
    if isinstance(found, Result):
        return _no_plan(data, found, output, screen)
    certificate, strategies = _checked(data, draws, found, effort, screen)
    result = as_result(data.problem, found[-1], screen.seconds["solve"])
    summary = summaries.summarise(
        data.problem,
        result,
        data.terms,
        certificate=certificate,
        strategies=strategies,
        seconds=seconds_of(screen, result),
        findings=_findings(data, result, output, screen),
        risk=risk_of(data, result),
        hedge=_line(rule, draws, found, result),
    )
    if output.path is not None:
        curve = {
            "schema_version": 1,
            "budget": data.terms.budget,
            "currency": data.terms.currency,
            **_curve(summary.hedge),
        }
        further = {"tradeoff.json": summaries.to_json(summaries.plain(curve))}
        summary = write_plan_folder(output, data, result, summary, source, effort, screen, further)
        screen.note(f"Written to {output.path}")
    if output.as_json:
        sys.stdout.write(summaries.to_json(summary.document()))
    else:
        terminal.show(summary)
    return exits.OF_STATUS[result.status]


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


def _checked(
    data: Input, draws: np.ndarray, found: list[Hedged], effort: Effort, screen: Screen
) -> tuple[Certificate, Sequence[StrategyResult]]:
    """Check every plan and its bound; return the last one's certificate, and what simple strategies reach by its rule."""
    from allocator.careful import weighted
    from allocator.hedging.robust import weighted_problem
    from allocator.solvers.strategies import compare
    from allocator.verification import verify
    from allocator.verification.hedging import verify_hedged

    with screen.stage("verify"):
        for item in found:
            verify_hedged(
                data.problem,
                draws,
                share=item.care.share,
                weight=item.care.weight,
                offers=item.plan.offer,
                objective=item.objective,
                bound=item.bound,
                weights=item.weights,
                prices=item.prices,
            )
            certificate = verify(*weighted(data.problem, draws, item))
    with screen.stage("strategies"):
        mean = weighted_problem(data.problem, draws, np.full(draws.shape[0], 1.0 / draws.shape[0]))
        simple = compare(mean, threads=effort.threads)
        rule = found[-1].care
        strategies = [dataclasses.replace(item, objective=rule.of(draws[:, item.offer].sum(axis=1))) for item in simple]
    return certificate, strategies


def _findings(data: Input, result: Result, output: Output, screen: Screen) -> Findings:
    """Return what the report shows beside the care: the draws tell more than one interval, and other budgets are not solved."""
    from allocator.reporting import insight

    background = insight.Background(data.table, data.users, data.campaign, data.model)
    if output.path is None or not len(result.plan):
        found = insight.quick_findings(data.problem, result, background)
    else:
        with screen.stage("report"):
            found = insight.findings_without_budgets(data.problem, result, background)
    return dataclasses.replace(found, objective_interval=None, interval_note="see what each draw brings")


def _line(rule: str, draws: np.ndarray, found: list[Hedged], result: Result) -> HedgeLine:
    """Return what the summary says of the care."""
    from allocator.hedging.robust import mixed_weights, rows_of
    from allocator.kernels.sums import exact_sum
    from allocator.reporting.summary import HedgeLine

    item = found[-1]
    return HedgeLine(
        rule=rule,
        share=item.care.share,
        draws=draws.shape[0],
        mean=float(item.values.mean()),
        tail=item.care.tail(item.values),
        worst=float(item.values.min()),
        value=exact_sum(result.plan.value),
        values=tuple(item.values.tolist()),
        weights=tuple(mixed_weights(item.care, item.weights).tolist()),
        steps=tuple(rows_of(found)),
    )


def _curve(hedge: HedgeLine | None) -> dict[str, Any]:
    assert hedge is not None
    return {"share": hedge.share, "draws": hedge.draws, "rows": [dataclasses.asdict(step) for step in hedge.steps]}


def _no_plan(data: Input, result: Result, output: Output, screen: Screen) -> int:
    from allocator.reporting import summary as summaries
    from allocator.reporting import terminal

    summary = summaries.summarise(
        data.problem, result, data.terms, certificate=None, strategies=(), seconds=seconds_of(screen, result)
    )
    if output.as_json:
        sys.stdout.write(summaries.to_json(summary.document()))
    else:
        terminal.show(summary)
    if output.path is not None:
        screen.note("Nothing was written: there is no plan.")
    return exits.OF_STATUS[result.status]
