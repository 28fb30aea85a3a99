"""numba's `njit`, whose compiled code is kept for the next run where it can be, and done without where it cannot."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from numba import njit as numba_njit
from numba.core import event
from numba.core.caching import FunctionCache

from allocator.clock import standing_still


class _Listener(event.Listener):  # type: ignore[misc]  # numba has no types
    """Has limits of time wait for the compiler, which one thread at a time may use."""

    def __init__(self) -> None:
        self._open: list[AbstractContextManager[None]] = []

    def on_start(self, event: Any) -> None:
        """Stop the clock."""
        self._open.append(standing_still())
        self._open[-1].__enter__()

    def on_end(self, event: Any) -> None:
        """Let it go on."""
        self._open.pop().__exit__(None, None, None)


event.register("numba:compile", _Listener())


class _Cache(FunctionCache):  # type: ignore[misc]  # numba has no types
    """Numba's own cache; a disk that is full costs the next run a compilation, never this run its result."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        with standing_still():
            return super().load_overload(sig, target_context)

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            with standing_still():
                super().save_overload(sig, data)
        except OSError:
            self.disable()


def njit(*, cache: bool = False, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """As `numba.njit`, for functions of a module.

    Parameters
    ----------
    cache
        Whether compiled code is kept on disk. Where no folder can be written to (a read-only installation without a
        home folder) or the disk is full, the function is compiled in each process instead; numba would raise.
    options
        As numba's.
    """

    def compiled(function: Callable[..., Any]) -> Any:
        made = numba_njit(**options)(function)
        if cache:
            try:
                made._cache = _Cache(function)  # what `Dispatcher.enable_caching` does with numba's own class
            except RuntimeError:  # numba found no folder that it may write to
                return made
        return made

    return compiled
