"""What the commands do: read, solve, verify, compare, write, print."""

from __future__ import annotations

import dataclasses
import math
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from allocator.cli import exits, holding
from allocator.cli.inputs import Input, Source, read, scored
from allocator.cli.screen import Screen
from allocator.errors import UsageError
from allocator.result import Proof, Result, Status

if TYPE_CHECKING:
    from allocator.reporting.findings import Findings
    from allocator.reporting.summary import Summary
    from allocator.risk import SpendRisk
    from allocator.tables.output import Content

OFFERS = "offers.parquet"  # in a plan folder, where a model made them


@dataclass(frozen=True)
class Effort:
    """How hard to try, and with what."""

    time_limit: float = 60.0
    gap: float = 1e-9
    threads: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise `UsageError` where a number makes no sense, by its option's name; NaN makes none."""
        if not self.time_limit > 0:
            raise UsageError(f"--time-limit is {self.time_limit:g}; it must be above 0 seconds")
        if not 0 <= self.gap < math.inf:
            raise UsageError(f"--gap is {self.gap:g}; it must be 0 or more, such as 1e-6")


@dataclass(frozen=True)
class Output:
    """Where the result goes, and in which form."""

    path: Path | None
    force: bool
    as_json: bool
    dry_run: bool

    def __post_init__(self) -> None:
        """Raise `UsageError` for an empty name, as an unset variable of a shell script leaves it."""
        if self.path is not None and str(self.path) == ".":
            raise UsageError("-o, --output names the folder that you work in, or nothing; give the name of a new one")


def plan(source: Source, effort: Effort, output: Output, screen: Screen, holdout: float | None = None) -> int:
    """Do the main job, with a share of the users held out where asked; return the exit code."""
    from allocator.tables.output import check_target

    if holdout is not None:
        holding.check(holdout)
    if output.path is not None:
        check_target(output.path, output.force)
    if source.model is None:
        return _plan(source, effort, output, screen, holdout)
    with tempfile.TemporaryDirectory(prefix="allocate-") as folder:
        return _plan(scored(source, Path(folder), screen), effort, output, screen, holdout)


def _plan(source: Source, effort: Effort, output: Output, screen: Screen, holdout: float | None) -> int:
    from allocator.reporting import summary as summaries
    from allocator.reporting import terminal

    with screen.stage("read"):
        data = read(source)
    if output.dry_run:
        return understood(data, output)
    held = None if holdout is None else _hold_out(data, holdout, effort, screen)
    if held is not None:
        data = held.input
        left = held.time_left(effort.time_limit, screen.seconds["holdout"])
        effort = dataclasses.replace(effort, time_limit=left)
    result, certificate, strategies = _solve(data, effort, screen)
    if held is not None and result.status is Status.INFEASIBLE:
        screen.note("Without the holdout there is a plan: hold out fewer users, or loosen what the message names.")
    has_plan = result.status in (Status.OPTIMAL, Status.FEASIBLE)
    findings = _findings(data, result, effort, output, screen)
    summary = summaries.summarise(
        data.problem,
        result,
        data.terms,
        certificate=certificate,
        strategies=strategies,
        seconds=seconds_of(screen, result),
        findings=findings,
        holdout=held.line(result) if held is not None and has_plan else None,
        risk=risk_of(data, result),
    )
    if output.path is not None and summary.has_plan:
        further = {} if held is None else held.files(result)
        summary = write_plan_folder(output, data, result, summary, source, effort, screen, further)
    if output.as_json:
        sys.stdout.write(summaries.to_json(summary.document()))
    else:
        terminal.show(summary)
    if output.path is not None:
        screen.note(f"Written to {output.path}" if summary.has_plan else "Nothing was written: there is no plan.")
    return exits.OF_STATUS[result.status]


def _hold_out(data: Input, share: float, effort: Effort, screen: Screen) -> holding.Held | None:
    return holding.hold_out(
        data,
        share,
        time_limit=effort.time_limit,
        gap=effort.gap,
        threads=effort.threads,
        seed=effort.seed,
        screen=screen,
    )


def _solve(data: Input, effort: Effort, screen: Screen) -> tuple[Result, Any, Sequence[Any]]:
    """Return the result, the certificate of its check and what simpler strategies earn."""
    from allocator.hedging.chance import comparable
    from allocator.solvers.strategies import compare
    from allocator.solving import solve
    from allocator.verification import verify

    with screen.stage("solve"):
        result = solve(
            data.problem, effort.time_limit, effort.gap, effort.threads, effort.seed, progress=screen.progress
        )
    if result.proof is Proof.NONE:
        return result, None, ()
    with screen.stage("verify"):
        certificate = verify(data.problem, result, gap=effort.gap)
    if result.status is Status.INFEASIBLE:
        return result, certificate, ()
    with screen.stage("strategies"):
        compared = data.problem if result.chance is None else comparable(data.problem, result)
        strategies = compare(compared, threads=effort.threads)
    return result, certificate, strategies


def _findings(data: Input, result: Result, effort: Effort, output: Output, screen: Screen) -> Findings:
    """Return what the report shows; without a report only what comes at once."""
    from allocator.reporting import insight

    background = insight.Background(data.table, data.users, data.campaign, data.model)
    if output.path is None or not len(result.plan):
        return insight.quick_findings(data.problem, result, background)
    with screen.stage("report"):
        return insight.full_findings(data.problem, result, background, data.terms.budget, effort.threads, effort.seed)


def risk_of(data: Input, result: Result) -> SpendRisk | None:
    """Return what the plan may spend; `None` without a plan, or where the offers do not tell."""
    from allocator.chance import DEFAULT_CONFIDENCE
    from allocator.risk import spend_parts, spend_risk
    from allocator.risk.parts import is_known

    if not len(result.plan) or not is_known(data.problem):
        return None
    terms = data.terms
    parts = spend_parts(data.problem, result.plan.offer)
    return spend_risk(parts, terms.shock, terms.confidence or DEFAULT_CONFIDENCE, terms.budget)


def seconds_of(screen: Screen, result: Result) -> dict[str, float]:
    """Return the time of each part of a job, as the summary tells it."""
    times = screen.seconds
    named = {
        "compile": screen.compiling,
        "read": times["read"],
        **({"holdout": times["holdout"]} if "holdout" in times else {}),
        "prices": result.seconds["prices"],
        "integer": result.seconds["integer"],
        # Making the plan and its exact sums, and whatever else `solve` does beside its two searches.
        "plan": max(0.0, times["solve"] - result.seconds["prices"] - result.seconds["integer"]),
        "verify": times.get("verify", 0.0),
        "strategies": times.get("strategies", 0.0),
        "report": times.get("report", 0.0),
        "write": times.get("write", 0.0),
        "total": screen.total,
    }
    return {name: round(number, 4) for name, number in named.items()}


def write_plan_folder(
    output: Output,
    data: Input,
    result: Result,
    summary: Summary,
    source: Source,
    effort: Effort,
    screen: Screen,
    further: Mapping[str, Content],
) -> Summary:
    """Write the plan folder, with `further` files; return the summary with the time that took."""
    from allocator.reporting.manifest import manifest
    from allocator.reporting.report import page
    from allocator.reporting.summary import to_json
    from allocator.tables.files import hash_inputs
    from allocator.tables.output import plan_table, write_folder

    assert output.path is not None
    begin, final = screen.total, summary

    def write_plan(path: Path) -> None:
        import pyarrow.parquet as parquet

        nonlocal final
        parquet.write_table(plan_table(result.plan.row, data.table), path)
        # The plan and the hashes are what takes time; the files that follow tell it.
        times = {"write": round(screen.total - begin, 4), "total": round(screen.total, 4)}
        final = dataclasses.replace(summary, seconds={**summary.seconds, **times})

    def write_summary(path: Path) -> None:
        path.write_text(to_json(final.document()), encoding="utf-8")

    def write_report(path: Path) -> None:
        path.write_text(page(final), encoding="utf-8")

    with screen.stage("write"):
        offers = source.offers
        if source.model is not None and offers is not None:
            made, offers = Path(offers), str(output.path / OFFERS)
        parts = {"offers": offers, "campaign": source.campaign, "users": source.users, "model": source.model}
        parts |= {"transactions": source.transactions, "products": source.products}
        named = {part: None if name is None else str(name) for part, name in parts.items()}
        text = None if source.campaign is None else source.campaign.read_text(encoding="utf-8-sig")
        made_from = manifest(source.files, effort.seed, sys.argv[1:], {"budget": data.terms.budget, **named}, text)
        if source.model is not None and offers is not None:
            made_from["inputs"][offers] = next(iter(hash_inputs([made]).values()))
        contents: dict[str, Content] = {
            "manifest.json": to_json(made_from),
            "plan.parquet": write_plan,
            "summary.json": write_summary,
            "report.html": write_report,
            **further,
        }
        if source.model is not None and offers is not None:
            contents[OFFERS] = lambda path: _copy(made, path)
        write_folder(output.path, contents, force=output.force)
    return final


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)


def understood(data: Input, output: Output) -> int:
    """Say what was read, without solving; return the exit code."""
    from allocator.reporting import summary, terminal

    if output.as_json:
        sys.stdout.write(summary.to_json(summary.understood(data.problem, data.terms)))
    else:
        terminal.show_understood(data.problem, data.terms)
    return 0
