"""Copies the offers of some users out of a column."""

from __future__ import annotations

import numpy as np

from allocator.kernels.blocks import map_blocks
from allocator.kernels.compiling import njit


@njit(nogil=True, cache=True)
def _take_rows(first, last, users, width, column, taken):  # type: ignore[no-untyped-def]
    for i in range(first, last):
        low = users[i] * width
        for k in range(width):
            taken[i * width + k] = column[low + k]


@njit(nogil=True, cache=True)
def _take_lists(first, last, users, start, begin, column, taken):  # type: ignore[no-untyped-def]
    for i in range(first, last):
        low = start[users[i]]
        for e in range(begin[i], begin[i + 1]):
            taken[e] = column[low + e - begin[i]]


def taken_rows(column: np.ndarray, users: np.ndarray, width: int, threads: int | None) -> np.ndarray:
    """Return the numbers of these users' offers, `width` a user, user by user."""
    taken = np.empty(users.size * width, column.dtype)
    map_blocks(lambda low, high: _take_rows(low, high, users, width, column, taken), users.size, threads)
    return taken


def taken_lists(
    column: np.ndarray, users: np.ndarray, start: np.ndarray, begin: np.ndarray, threads: int | None
) -> np.ndarray:
    """Return the numbers of these users' offers: user i's stand at `start[i]`, and `begin` says where each one's go."""
    taken = np.empty(int(begin[-1]), column.dtype)
    map_blocks(lambda low, high: _take_lists(low, high, users, start, begin, column, taken), users.size, threads)
    return taken
