"""Linear and integer programs, solved by OR-Tools; its objects stop here."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from threading import Event
from typing import Any

import numpy as np
import scipy.sparse as sp

from allocator.solvers.loading import model_builder


class Ending(StrEnum):
    """How a program's solve ended."""

    OPTIMAL = "optimal"
    FEASIBLE = "feasible"
    INFEASIBLE = "infeasible"
    UNKNOWN = "unknown"


@dataclass(frozen=True, eq=False)
class Program:
    """Maximise objective . x subject to lower <= matrix x <= upper and 0 <= x <= ceiling.

    Attributes
    ----------
    objective, ceiling
        `(n_columns,)` float64.
    matrix
        `(n_rows, n_columns)` CSR.
    lower, upper
        `(n_rows,)` float64, may be infinite.
    integer
        `(n_columns,)` bool.
    """

    objective: np.ndarray
    matrix: sp.csr_matrix
    lower: np.ndarray
    upper: np.ndarray
    ceiling: np.ndarray
    integer: np.ndarray


@dataclass(frozen=True, eq=False)
class Answer:
    """What a solver found: `x` where it has a point, `dual` `(n_rows,)` for linear programs, and a valid bound."""

    ending: Ending
    x: np.ndarray | None = None
    objective: float = -np.inf
    bound: float = np.inf
    dual: np.ndarray = field(default_factory=lambda: np.empty(0))


class Halt:
    """Ends searches from another thread: the one that runs, and those that would begin later at their first breath."""

    def __init__(self) -> None:
        self._event = Event()
        self._solver: Any = None
        self._flag: np.ndarray | None = None

    def watch(self, solver: Any) -> None:
        """Make `now` reach this solver."""
        self._solver = solver
        if self._event.is_set():
            solver.interrupt_solve()

    def now(self) -> None:
        """End the search that runs."""
        self._event.set()
        if self._flag is not None:
            self._flag.fill(1)
        if self._solver is not None:
            self._solver.interrupt_solve()

    @contextmanager
    def sets(self, flag: np.ndarray) -> Iterator[None]:
        """Make `now` set this flag, `(1,)` uint8, which a kernel looks at."""
        self._flag = flag
        if self._event.is_set():
            flag.fill(1)
        try:
            yield
        finally:
            self._flag = None

    def __bool__(self) -> bool:
        """Whether the end was asked for."""
        return self._event.is_set()


def tightened(program: Program, n_limits: int, share: float) -> Program:
    """Return the program with less room in its first `n_limits` rows, by a share of their own size."""
    size = np.where(np.isinf(program.upper), np.abs(program.lower), np.abs(program.upper))
    room = np.where(np.arange(size.size) < n_limits, share * (1.0 + np.where(np.isinf(size), 0.0, size)), 0.0)
    return dataclasses.replace(program, lower=program.lower + room, upper=program.upper - room)


def without(program: Program, x: np.ndarray) -> Program:
    """Return the program with one 0/1 point ruled out: at least one of its entries differs."""
    taken = x > 0.5
    cut = sp.csr_matrix(np.where(taken, 1.0, -1.0)[None, :])
    return dataclasses.replace(
        program,
        matrix=sp.csr_matrix(sp.vstack([program.matrix, cut])),
        lower=np.append(program.lower, -np.inf),
        upper=np.append(program.upper, taken.sum() - 1.0),
    )


def solve_linear(program: Program, time_limit: float = 60.0) -> Answer:
    """Solve the relaxation with GLOP, to tight tolerances: the duals become prices."""
    builder = model_builder()

    model = _model(program)
    solver = builder.ModelSolverHelper("glop")
    solver.set_solver_specific_parameters(
        "use_dual_simplex: true primal_feasibility_tolerance: 1e-9 dual_feasibility_tolerance: 1e-9"
    )
    solver.set_time_limit_in_seconds(max(0.01, time_limit))
    solver.solve(model)
    ending = _ending(solver)
    if ending is not Ending.OPTIMAL:
        return Answer(ending)
    return Answer(
        ending,
        np.asarray(solver.variable_values()),
        float(solver.objective_value()),
        float(solver.objective_value()),
        np.asarray(solver.dual_values()),
    )


def solve_integer(
    program: Program,
    *,
    time_limit: float,
    absolute_gap: float,
    seed: int = 0,
    nodes: int | None = None,
    hint: np.ndarray | None = None,
    halt: Halt | None = None,
) -> Answer:
    """Solve by branch and bound with SCIP, until `absolute_gap` between plan and bound, `nodes` or `time_limit`.

    `hint` `(n_columns,)` is a point to start from; `halt` lets another thread end the search.
    """
    builder = model_builder()

    model = _model(program)
    for column in np.flatnonzero(program.integer).tolist():
        model.set_var_integrality(column, True)
    if hint is not None:
        for column, number in enumerate(hint.tolist()):
            model.add_hint(column, float(round(number)))
    solver = builder.ModelSolverHelper("scip")
    if halt is not None:
        halt.watch(solver)
    solver.set_solver_specific_parameters(
        f"limits/gap = 0\nlimits/absgap = {absolute_gap:.12g}\nrandomization/randomseedshift = {seed}\n"
        "numerics/feastol = 1e-09\n" + ("" if nodes is None else f"limits/nodes = {nodes}\n")
    )
    solver.set_time_limit_in_seconds(max(0.01, time_limit))
    solver.solve(model)
    ending = _ending(solver)
    if ending not in (Ending.OPTIMAL, Ending.FEASIBLE):
        return Answer(ending)
    return Answer(
        ending,
        np.asarray(solver.variable_values()),
        float(solver.objective_value()),
        float(solver.best_objective_bound()),
    )


def _model(program: Program) -> Any:
    builder = model_builder()

    model: Any = builder.ModelBuilderHelper()
    model.fill_model_from_sparse_data(
        np.zeros(program.objective.size),
        program.ceiling,
        program.objective,
        program.lower,
        program.upper,
        program.matrix,
    )
    model.set_maximize(True)
    return model


def _ending(solver: Any) -> Ending:
    builder = model_builder()

    return {
        builder.OPTIMAL: Ending.OPTIMAL,
        builder.FEASIBLE: Ending.FEASIBLE,
        builder.INFEASIBLE: Ending.INFEASIBLE,
    }.get(solver.status(), Ending.UNKNOWN)
