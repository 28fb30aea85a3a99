"""How a command ends: exit codes, and a plain message instead of a traceback."""

from __future__ import annotations

import errno
import importlib.util
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from allocator.errors import AllocatorError, UsageError
from allocator.result import Status
from allocator.tables import placing

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
INTERNAL, INTERRUPTED, TERMINATED = 1, 130, 143
OF_STATUS = {Status.OPTIMAL: 0, Status.FEASIBLE: 0, Status.INFEASIBLE: 4, Status.NO_PLAN: 5}


def leave(job: Callable[[], int], *, verbose: bool) -> NoReturn:
    """Run a command's job and exit with its code, or with the code of what went wrong."""
    placing.forget()
    try:
        code = _code(job, verbose)
    finally:
        placing.sweep()
    raise SystemExit(code)


def catch_termination() -> None:
    """Let a polite kill unwind the stack, so that half-written files are removed as they are on Ctrl-C."""
    signal.signal(signal.SIGTERM, _terminate)


def interrupted(then: str = "nothing was written") -> int:
    """Say that the command was interrupted, and what is there now; return the exit code.

    What was whole before the strike is named instead of `then`.
    """
    whole = placing.placed()
    if whole:
        then = f"{', '.join(map(_near, whole))} {'was' if len(whole) == 1 else 'were'} written before, and whole"
    _say(f"interrupted; {then}")
    return INTERRUPTED


def _near(path: Path) -> str:
    """Return a path as it would be typed here."""
    with suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


def check_learning() -> None:
    """Raise `UsageError` where the packages that models need are not installed; loads none of them."""
    missing = [name for name in ("tensorflow", "lightgbm", "sklearn") if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"models need {', '.join(missing)}, not installed here: pip install 'coupon-allocator[learn]'")


def need_learning() -> None:
    """Load TensorFlow; raise `UsageError` where the packages that models need are not installed."""
    check_learning()
    load_tensorflow()


def load_tensorflow() -> None:
    """Load TensorFlow without what it says of itself."""
    # TensorFlow's own notes on the machine's instructions are no concern of a planner.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _stderr_aside():
        import tensorflow  # noqa: F401


@contextmanager
def _stderr_aside() -> Iterator[None]:
    """Send what C++ writes to stderr nowhere; what Python raises is raised."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


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
        _drop_stdout()
        return 0
    except MemoryError:
        _say("out of memory; plan fewer offers at a time, or on a larger machine")
        return INTERNAL
    except OSError as error:
        if error.errno not in FULL:
            return _internal(error, verbose)
        # Files are written whole or not at all, with errors of their own; this was stdout, as in `allocate > file`.
        _say(f"the result could not be printed: {error.strerror}; free some space, or choose another place")
        _drop_stdout()
        return INTERNAL
    except Exception as error:
        return interrupted() if _of_interrupt(error) else _internal(error, verbose)
    return code


def _of_interrupt(error: BaseException) -> bool:
    """Tell whether Ctrl-C is behind an error.

    Compiled code that it ends passes it on under errors of its own, and a lock that it tore from a waiting thread cannot be
    released any more.
    """
    behind: BaseException | None = error
    while behind is not None and not isinstance(behind, KeyboardInterrupt):
        behind = behind.__cause__ or behind.__context__
    return behind is not None


def _internal(error: Exception, verbose: bool) -> int:
    if verbose:
        traceback.print_exc()
    hint = "" if verbose else "; run again with -v for the traceback"
    _say(f"internal error: {type(error).__name__}: {error}{hint}")
    return INTERNAL


def _drop_stdout() -> None:
    """Send what is still to be flushed nowhere, so that Python's own flush at exit does not fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(text: str) -> None:
    with suppress(OSError):  # stderr may be full or gone too; the exit code still tells
        sys.stderr.write(f"allocate: {text}\n")
        sys.stderr.flush()


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(TERMINATED)
