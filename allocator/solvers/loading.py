"""Loads OR-Tools' compiled library so that it gets along with what else the process has loaded."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def model_builder() -> Any:
    """Return OR-Tools' `model_builder_helper`, imported where it is first used.

    TensorFlow shows its copies of Abseil and Protocol Buffers to every library that is loaded after it. OR-Tools, which
    has other versions of both, would call those and crash; bound deeply, it calls its own.
    """
    with _deep_binding("ortools.linear_solver.python.model_builder_helper"):
        from ortools.linear_solver.python import model_builder_helper

    return model_builder_helper


def flow_builder() -> Any:
    """Return OR-Tools' `min_cost_flow`, in the same way."""
    with _deep_binding("ortools.graph.python.min_cost_flow"):
        from ortools.graph.python import min_cost_flow

    return min_cost_flow


@contextmanager
def _deep_binding(module: str) -> Iterator[None]:
    """Have a module that is loaded inside prefer its own symbols; where the system knows no such mode (not Linux), nothing."""
    mode = getattr(os, "RTLD_DEEPBIND", None)
    if mode is None or module in sys.modules:
        yield
        return
    before = sys.getdlopenflags()
    sys.setdlopenflags(before | mode)
    try:
        yield
    finally:
        sys.setdlopenflags(before)
