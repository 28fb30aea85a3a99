"""`--holdout`: plans for everyone, draws the control group, and hands on the problem of the others."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from allocator.cli.inputs import Input
from allocator.cli.screen import Screen
from allocator.problem import Problem
from allocator.reporting.summary import HoldoutLine
from allocator.result import Result

if TYPE_CHECKING:
    from allocator.simulation.holdout import Holdout
    from allocator.tables.output import Content
    from allocator.tables.user_columns import Attribute

SEGMENT = "segment"  # a users' column of this name divides the strata even where no limit refers to it
SOLVES = 3  # for everyone, for the strata, for those who are left: each gets its part of the time


@dataclass(frozen=True, eq=False)
class Held:
    """A drawn control group.

    Attributes
    ----------
    input
        What is left to solve: nobody who is held out can get an offer.
    without
        The plan with nobody held out, to tell what the control group costs.
    """

    input: Input
    holdout: Holdout
    without: Result

    def time_left(self, time_limit: float, used: float) -> float:
        """Return the seconds for the last solve: what the others left, and at least its own part."""
        return max(time_limit / SOLVES, time_limit - used)

    def line(self, result: Result) -> HoldoutLine:
        """Return what the summary says."""
        drawn = self.holdout
        return HoldoutLine(
            share=drawn.share,
            users=int(drawn.held.sum()),
            controls=drawn.controls,
            strata=len(drawn.strata),
            moved=drawn.moved(result.plan),
            seed=drawn.seed,
            objective_without=self.without.objective,
            costs=self.without.objective - result.objective,
            # A plan with nobody held out earns at least as much as one with fewer users.
            costs_at_least=max(0.0, self.without.objective - result.bound),
            costs_at_most=max(0.0, self.without.bound - result.objective),
        )

    def files(self, result: Result) -> dict[str, Content]:
        """Return the two tables of the plan folder."""
        problem, drawn = self.input.problem, self.holdout
        return {
            "holdout.parquet": lambda path: _write(drawn.control_table(problem), path),
            "propensities.parquet": lambda path: _write(drawn.propensity_table(problem, result.plan), path),
        }


def _write(table: Any, path: Path) -> None:
    import pyarrow.parquet as parquet

    parquet.write_table(table, path)


def check(share: float) -> None:
    """Refuse a share that makes no sense before any long work."""
    from allocator.simulation.holdout import check_share

    check_share(share)


def hold_out(
    data: Input, share: float, *, time_limit: float, gap: float, threads: int | None, seed: int, screen: Screen
) -> Held | None:
    """Draw the control group; `None` where no plan exists with nobody held out either."""
    from allocator.result import Status
    from allocator.simulation import holdout
    from allocator.solving import solve

    problem, limit = data.problem, time_limit / SOLVES
    with screen.stage("holdout"):
        without = solve(problem, limit, gap, threads, seed, progress=screen.progress)
        if without.status not in (Status.OPTIMAL, Status.FEASIBLE):
            return None
        drawn = holdout.hold_out(
            problem,
            share,
            seed=seed,
            attributes=_attributes(problem, data.users),
            time_limit=limit,
            gap=gap,
            threads=threads,
            progress=screen.progress,
        )
    if drawn is None:
        return None
    return Held(dataclasses.replace(data, problem=holdout.without_held(problem, drawn)), drawn, without)


def _attributes(problem: Problem, users: Any) -> dict[str, Attribute]:
    """Return the users' columns that limits refer to, and their segment."""
    from collections.abc import Mapping

    from allocator.tables.user_columns import user_columns

    if users is None:
        return {}
    columns, _ = user_columns(users, problem.user_ids)
    named = [name for limit in problem.limits if isinstance(limit.users, Mapping) for name in limit.users]
    named += [SEGMENT] if SEGMENT in columns else []
    return {name: columns[name] for name in dict.fromkeys(named)}
