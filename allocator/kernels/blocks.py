"""Run a kernel over blocks of users on threads.

Blocks depend on the data's size alone, never on the number of threads, and their partial results are combined
in block order: so sums come out the same to the last bit whatever the number of threads.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

MIN_BLOCK = 8192  # users; below this a thread costs more than it saves
MAX_BLOCKS = 64  # bounds the memory of partial sums


def available_threads() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def block_edges(n: int) -> list[tuple[int, int]]:
    """Cut `range(n)` into at most `MAX_BLOCKS` ranges of nearly equal length, `MIN_BLOCK` at least."""
    size = max(MIN_BLOCK, -(-n // MAX_BLOCKS))
    return [(low, min(low + size, n)) for low in range(0, n, size)]


def map_blocks(kernel: Callable[[int, int], T], n: int, threads: int | None = None) -> list[T]:
    """Call `kernel(low, high)` for each block of `range(n)`; return the results in block order.

    The kernel must release the GIL to gain from more than one thread.
    """
    edges = block_edges(n)
    workers = min(threads or available_threads(), len(edges))
    if workers <= 1:
        return [kernel(low, high) for low, high in edges]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(lambda edge: kernel(*edge), edges))
