"""Compiled code that cannot be kept costs time, never a result."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np
import pytest
from numba.core import caching

from allocator.clock import standing_still, stood_still, working_time
from allocator.kernels.compiling import njit
from allocator.solvers.ejection import stopped_at
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


def slow_to_compile(number: int) -> int:
    """Return a number of the same size."""
    total = 0
    for i in range(number):
        total += i % 3
    return total


@each_package
def test_limits_of_time_wait_for_the_compiler(njit: Any) -> None:
    work = njit()(slow_to_compile)
    begin, worked, stood = monotonic(), working_time(), stood_still()
    work(1)
    took, stood = monotonic() - begin, stood_still() - stood
    assert 0.0 < stood <= took
    assert working_time() - worked == pytest.approx(took - stood, abs=0.05)


def test_the_clock_goes_on_after_an_error() -> None:
    with pytest.raises(KeyError), standing_still(), standing_still():
        before = working_time()
        sleep(0.02)
        assert working_time() == before
        raise KeyError
    sleep(0.02)
    assert working_time() >= before + 0.01
    assert stood_still() >= 0.02


def test_a_stop_waits_for_the_compiler() -> None:
    stop = np.zeros(1, np.uint8)
    with stopped_at(working_time() + 0.05, stop):
        with standing_still():
            sleep(0.15)
            assert not stop[0]
        end = monotonic() + 10.0
        while not stop[0] and monotonic() < end:
            sleep(0.01)
    assert stop[0]


FRESH = """
import numpy as np
from allocator import Problem, solve
from allocator.clock import stood_still

rng = np.random.default_rng(0)
cost = rng.random((400, 5)) + 0.5
value = cost * rng.normal(1.5, 0.6, cost.shape)
result = solve(Problem.from_arrays(value, cost, budget=120.0, quantities=[20, None, None, 30, None]), time_limit=5.0)
assert stood_still() > 5.0, stood_still()
print(result.status.value)
"""


@pytest.mark.slow
def test_compiling_costs_nothing_of_a_time_limit(tmp_path: Path) -> None:
    """A fresh machine takes longer to compile than the limit, and still ends with a proven plan."""
    fresh = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", FRESH], capture_output=True, text=True, check=True, env=fresh)
    assert run.stdout == "optimal\n"
