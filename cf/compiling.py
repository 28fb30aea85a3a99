"""numba's `njit`, whose compiled code is kept where it can be and done without where it cannot (as in `allocator.kernels`).

The packages do not import one another, so each has this.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit as numba_njit
from numba.core.caching import FunctionCache


class _Cache(FunctionCache):  # type: ignore[misc]  # numba has no types
    """Numba's own cache; a disk that is full costs the next run a compilation, never this run its result."""

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
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
