"""What stderr shows while a command works, and how long each stage takes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console
from rich.status import Status as Spinner

from allocator.clock import stood_still, working_time
from allocator.shares import percent

STAGES = {
    "read": "reading the input",
    "score": "predicting",
    "train": "training",
    "holdout": "planning for everyone, to draw the control group",
    "solve": "solving (the first run compiles, once)",
    "verify": "checking the plan independently",
    "strategies": "comparing with simpler strategies",
    "market": "making the market",
    "simulate": "running campaigns",
    "contest": "comparing strategies on made-up markets",
    "report": "working out other budgets and segments for the report",
    "write": "writing",
    "explain": "looking the plan's inputs up",
    "compare": "comparing the plans",
    "check": "checking every file",
    "measure": "measuring",
    "waves": "running campaigns wave by wave",
    "scenario": "running the scenario",
}


class Screen:
    """Tells the stages of a command and times them.

    A spinner on a terminal's stderr; a line for each stage with `verbose`; nothing with `quiet` or in a pipe.

    Attributes
    ----------
    seconds
        Time of each stage that has ended, without what it spent on compiling.
    """

    def __init__(self, *, quiet: bool, verbose: bool) -> None:
        self.seconds: dict[str, float] = {}
        self._begin, self._stood = monotonic(), stood_still()
        self._quiet, self._verbose = quiet, verbose
        self._spinner: Spinner | None = None
        self._stage = ""

    @property
    def total(self) -> float:
        """Wall time since the command began, seconds."""
        return monotonic() - self._begin

    @property
    def compiling(self) -> float:
        """How much of that went into compiling or loading kernels, seconds."""
        return stood_still() - self._stood

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage and show it while it runs."""
        begin = working_time()
        console = Console(stderr=True, highlight=False)
        if console.is_terminal and not self._quiet and not self._verbose:
            self._spinner = console.status(f"{STAGES[name]} ...")
            self._spinner.start()
            self._stage = STAGES[name]
        try:
            yield
        finally:
            if self._spinner is not None:
                self._spinner.stop()
                self._spinner = None
            self.seconds[name] = working_time() - begin
        if self._verbose and not self._quiet:
            sys.stderr.write(f"{STAGES[name]}: {self.seconds[name]:.2f} s\n")

    def progress(self, stage: str, share: float) -> None:
        """Show how far a stage is; the callback of long work."""
        if self._spinner is not None:
            self._spinner.update(f"{self._stage}: {stage}" + (f" {percent(share, 0)}" if 0 < share <= 1 else ""))

    def note(self, text: str) -> None:
        """Say something that is not the result."""
        if not self._quiet:
            sys.stderr.write(f"{text}\n")
