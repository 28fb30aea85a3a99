"""What tests of several packages share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from allocator.cli import exits, main


class Run(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Allocate = Callable[..., Run]


@pytest.fixture
def allocate(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Allocate:
    """Run the command in this process: quick, and parts of it can be replaced."""
    monkeypatch.setattr(exits, "catch_termination", lambda: None)

    def run(*words: object) -> Run:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["allocate", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        sys.stdout.flush()
        code = end.value.code
        return Run(code if isinstance(code, int) else 0, *capfd.readouterr())

    return run
