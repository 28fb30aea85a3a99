"""How a command ends: exit codes, and a plain message instead of a traceback."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from allocator.errors import AllocatorError
from allocator.result import Status

INTERNAL, INTERRUPTED, TERMINATED = 1, 130, 143
OF_STATUS = {Status.OPTIMAL: 0, Status.FEASIBLE: 0, Status.INFEASIBLE: 4, Status.NO_PLAN: 5}


def leave(job: Callable[[], int], *, verbose: bool) -> NoReturn:
    """Run a command's job and exit with its code, or with the code of what went wrong."""
    raise SystemExit(_code(job, verbose))


def catch_termination() -> None:
    """Let a polite kill unwind the stack, so that half-written files are removed as they are on Ctrl-C."""
    signal.signal(signal.SIGTERM, _terminate)


def interrupted() -> int:
    """Say that the command was interrupted; return the exit code."""
    _say("interrupted; nothing was written")
    return INTERRUPTED


def _code(job: Callable[[], int], verbose: bool) -> int:
    try:
        code = job()
        sys.stdout.flush()
    except AllocatorError as error:
        if verbose:
            traceback.print_exc()
        _say(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return interrupted()
    except BrokenPipeError:
        # Whoever read stdout has had enough, as in `allocate ... | head`. Nothing is left to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError:
        _say("out of memory; plan fewer offers at a time, or on a larger machine")
        return INTERNAL
    except Exception as error:
        if verbose:
            traceback.print_exc()
        hint = "" if verbose else "; run again with -v for the traceback"
        _say(f"internal error: {type(error).__name__}: {error}{hint}")
        return INTERNAL
    return code


def _say(text: str) -> None:
    sys.stderr.write(f"allocate: {text}\n")


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(TERMINATED)
