"""Compiled code that cannot be kept costs time, never a result."""

from __future__ import annotations

import errno
from typing import Any

import pytest
from numba.core import caching

from allocator.kernels.compiling import njit


def doubled(number: int) -> int:
    """Return twice the number."""
    return 2 * number


def test_a_full_disk_costs_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(caching.IndexDataCacheFile, "save", full)
    assert njit(cache=True)(doubled)(21) == 42


def test_nowhere_to_write_to_costs_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read-only installation without a home folder: numba itself would raise on import."""
    monkeypatch.setattr(caching.CompileResultCacheImpl, "_locator_classes", [])
    assert njit(cache=True)(doubled)(21) == 42
