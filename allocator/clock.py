"""A clock that stands still while kernels are compiled or loaded, for limits of time.

On a fresh machine compiling takes far longer than most problems; a plan must not be worse for it, nor must all be compiled
before the first user is looked at only to keep it out of the limit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import NamedTuple


class _State(NamedTuple):
    """What the clock has stood still in all, in seconds, and since when it does, while it does."""

    stood: float
    since: float | None


class _Clock:
    """The process' clock; its state is one value, so that any thread reads it whole."""

    state = _State(0.0, None)


def working_time() -> float:
    """Return seconds, from an arbitrary moment, without those spent under `standing_still`."""
    stood, since = _Clock.state
    return (monotonic() if since is None else since) - stood


def stood_still() -> float:
    """Return for how many seconds of this process the clock has stood still."""
    stood, since = _Clock.state
    return stood if since is None else stood + monotonic() - since


@contextmanager
def standing_still() -> Iterator[None]:
    """Stop the clock; for one thread at a time, which may come in again while it is inside."""
    stood, since = _Clock.state
    if since is not None:
        yield
        return
    begin = monotonic()
    _Clock.state = _State(stood, begin)
    try:
        yield
    finally:
        _Clock.state = _State(stood + monotonic() - begin, None)
