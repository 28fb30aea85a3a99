"""Branch and bound with HiGHS on its own: it starts from a plan and ends when asked to, which OR-Tools' HiGHS does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from allocator.solvers.programs import Answer, Ending, Halt, Program

EXACT = 1e-6  # a bound on whole numbers is rounded down beyond it


@dataclass(frozen=True)
class Interruptible:
    """HiGHS as `Halt` knows solvers."""

    highs: Any

    def interrupt_solve(self) -> None:
        """End the search at its next look."""
        self.highs.cancelSolve()


def branch(
    program: Program,
    *,
    time_limit: float,
    absolute_gap: float,
    seed: int = 0,
    nodes: int | None = None,
    hint: np.ndarray | None = None,
    halt: Halt | None = None,
    found: Callable[[np.ndarray], None] | None = None,
) -> Answer:
    """Solve an integer program on one thread, until `absolute_gap` between plan and bound, `nodes` or `time_limit`.

    The arguments are those of `programs.solve_integer`; `found` is called with every better point `(n_columns,)`.
    """
    import highspy

    highs: Any = highspy.Highs()
    highs.silent()
    for name, number in {
        "threads": 1,
        "parallel": "off",
        "time_limit": max(0.01, time_limit),
        "mip_rel_gap": 0.0,
        "mip_abs_gap": absolute_gap,
        "random_seed": seed % 2**31,
        "mip_feasibility_tolerance": 1e-7,
        "primal_feasibility_tolerance": 1e-9,
        **({} if nodes is None else {"mip_max_nodes": nodes}),
    }.items():
        highs.setOptionValue(name, number)
    highs.passModel(_model(program))
    if hint is not None:
        start = highspy.HighsSolution()
        start.col_value = np.round(hint)
        highs.setSolution(start)
    if halt is not None:
        highs.HandleUserInterrupt = True
        halt.watch(Interruptible(highs))
    if found is not None:
        highs.cbMipImprovingSolution += lambda event: found(np.round(event.data_out.mip_solution))
    if halt:  # asked for before the search began
        return Answer(Ending.UNKNOWN)
    highs.solve()
    return _answer(highs, program)


def _model(program: Program) -> Any:
    import highspy

    model = highspy.HighsLp()
    matrix = sp.csc_matrix(program.matrix)
    model.num_col_, model.num_row_ = program.objective.size, program.lower.size
    model.sense_ = highspy.ObjSense.kMaximize
    model.col_cost_ = program.objective
    model.col_lower_, model.col_upper_ = np.zeros(program.objective.size), program.ceiling
    model.row_lower_, model.row_upper_ = program.lower, program.upper
    model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    model.a_matrix_.start_, model.a_matrix_.index_ = matrix.indptr, matrix.indices
    model.a_matrix_.value_ = matrix.data
    kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
    model.integrality_ = [kinds[int(whole)] for whole in program.integer]
    return model


def _answer(highs: Any, program: Program) -> Answer:
    import highspy

    status, info = highs.getModelStatus(), highs.getInfo()
    if status == highspy.HighsModelStatus.kInfeasible:
        return Answer(Ending.INFEASIBLE)
    bound = float(info.mip_dual_bound)
    if np.isfinite(bound) and (program.objective == np.round(program.objective)).all():
        bound = float(np.floor(bound + EXACT))
    if info.primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
        return Answer(Ending.UNKNOWN, bound=bound if info.mip_node_count > 0 else np.inf)
    ending = Ending.OPTIMAL if status == highspy.HighsModelStatus.kOptimal else Ending.FEASIBLE
    return Answer(ending, np.asarray(highs.getSolution().col_value), float(info.objective_function_value), bound)
