"""OR-Tools' solvers and SciPy's on the whole model, each in a process of its own with a hard end."""

from __future__ import annotations

import multiprocessing
import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.models import Model

GRACE = 15.0  # seconds beyond its time limit before a peer is killed
EXACT = ("highs", "scip", "sat")
PARAMETERS = {
    "highs": "",
    "scip": "limits/gap = 0",
    "sat": "num_workers: 2",
    "glop": "",
    "pdlp": "",
}


@dataclass(frozen=True)
class PeerRun:
    """What a peer reached: objective (NaN: no plan), seconds in all with building, peak memory in bytes."""

    name: str
    objective: float
    seconds: float
    peak: int
    ended: str


def run_peer(name: str, model: Model, seconds: float) -> PeerRun:
    """Run one peer on the whole model for at most `seconds`; a relaxation for GLOP and PDLP."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_work, args=(there, name, model, seconds))
    begin = time.monotonic()
    process.start()
    answer = here.recv() if here.poll(seconds + GRACE) else None
    took = time.monotonic() - begin
    process.kill()
    process.join()
    if answer is None:
        return PeerRun(name, np.nan, took, 0, "killed: it kept to no time limit")
    return PeerRun(name, answer[0], took, answer[1], answer[2])


def _work(pipe: Any, name: str, model: Model, seconds: float) -> None:
    with Path(os.devnull).open("w") as nothing:  # some print whatever they are told
        os.dup2(nothing.fileno(), 1)
    objective, ended = (_scipy if name == "scipy.milp" else _ortools)(name, model, seconds)
    pipe.send((objective, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, ended))


def _ortools(name: str, model: Model, seconds: float) -> tuple[float, str]:
    from ortools.linear_solver.python import model_builder_helper as builder

    helper: Any = builder.ModelBuilderHelper()
    size = model.value.size
    helper.fill_model_from_sparse_data(
        np.zeros(size), np.ones(size), model.value, model.lower, model.upper, model.matrix
    )
    helper.set_maximize(True)
    if name in EXACT:
        for column in range(size):
            helper.set_var_integrality(column, True)
    solver = builder.ModelSolverHelper(name)
    solver.set_solver_specific_parameters(PARAMETERS[name])
    solver.set_time_limit_in_seconds(seconds)
    solver.solve(helper)
    status = str(solver.status()).rpartition(".")[2].lower()
    return (float(solver.objective_value()) if solver.has_solution() else np.nan), status


def _scipy(name: str, model: Model, seconds: float) -> tuple[float, str]:
    from scipy.optimize import Bounds, LinearConstraint, milp

    answer = milp(
        -model.value,
        constraints=LinearConstraint(model.matrix, model.lower, model.upper),
        integrality=np.ones(model.value.size),
        bounds=Bounds(0.0, 1.0),
        options={"time_limit": seconds, "mip_rel_gap": 0.0},
    )
    return (np.nan if answer.x is None else -float(answer.fun)), "optimal" if answer.status == 0 else "stopped"
