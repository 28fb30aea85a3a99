"""Compiled code that cannot be kept costs time, never a result."""

from __future__ import annotations

import errno
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from numba.core import caching

from allocator.kernels.compiling import njit
from cf.compiling import njit as njit_of_cf
from uplift.compiling import njit as njit_of_uplift

ROOT = Path(__file__).parent.parent
each_package = pytest.mark.parametrize("njit", [njit, njit_of_cf, njit_of_uplift], ids=["allocator", "cf", "uplift"])


def doubled(number: int) -> int:
    """Return twice the number."""
    return 2 * number


@each_package
def test_a_full_disk_costs_no_result(njit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(caching.IndexDataCacheFile, "save", full)
    assert njit(cache=True)(doubled)(21) == 42


@each_package
def test_nowhere_to_write_to_costs_no_result(njit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read-only installation without a home folder: numba itself would raise on import."""
    monkeypatch.setattr(caching.CompileResultCacheImpl, "_locator_classes", [])
    assert njit(cache=True)(doubled)(21) == 42


def test_no_kernel_asks_numba_itself_to_keep_it() -> None:
    """One that does breaks the import of its package on a read-only installation without a home folder."""
    named = re.compile(r"^from numba import .*\bnjit\b|numba\.njit\(", re.MULTILINE)
    files = [file for package in ("allocator", "cf", "uplift") for file in (ROOT / package).rglob("*.py")]
    found = [
        str(file) for file in files if file.name != "compiling.py" and named.search(file.read_text(encoding="utf-8"))
    ]
    assert found == []


ALL_KINDS = """
import importlib, json, pkgutil
import numpy as np
import allocator.kernels
from allocator import Limit, Problem, solve
from allocator.solving import compile_kernels
from tests.test_hard import knapsacks

rng = np.random.default_rng(0)
cost = rng.random((400, 5)) + 0.5
value = cost * rng.normal(1.5, 0.6, cost.shape)
few = np.where(rng.random(value.shape) < 0.4, value, np.nan)
offers, limits = knapsacks(30, 4, 3, 0)
problems = [
    Problem.from_arrays(value, cost, budget=120.0, quantities=[20, None, None, 30, None]),
    Problem.from_arrays(few, cost, budget=60.0, max_per_user=3, limits=[Limit("some", measure="count", at_least=30)]),
    Problem.from_arrays(value, cost, budget=90.0, limits=[Limit("return", measure={"value": 1.0, "cost": -0.9}, at_least=0.0)]),
    Problem.from_offers(offers, limits=limits),
]
compile_kernels(400)
modules = [importlib.import_module(f"allocator.kernels.{m.name}") for m in pkgutil.iter_modules(allocator.kernels.__path__)]
kernels = {name: f for module in modules for name, f in vars(module).items() if hasattr(f, "signatures")}
before = {name: len(f.signatures) for name, f in kernels.items()}
for problem in problems:
    solve(problem, time_limit=5.0)
print(json.dumps({name: [before[name], len(f.signatures)] for name, f in kernels.items() if len(f.signatures) != before[name]}))
"""


@pytest.mark.slow
def test_no_solve_compiles_out_of_its_time_limit() -> None:
    run = subprocess.run([sys.executable, "-c", ALL_KINDS], capture_output=True, text=True, check=True)
    assert json.loads(run.stdout) == {}
