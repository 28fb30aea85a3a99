"""How many threads linear algebra runs on."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from threadpoolctl import threadpool_limits

MANY = 200_000  # users from which on products of matrices are large enough to be shared


def few(users: int) -> AbstractContextManager[Any]:
    """Return a context in which the products of so many users' features run on one thread, unless they are large.

    Threads that share small ones wait for each other, and on a busy machine they wait far longer than they compute: with 2,500
    users and 144 columns on two cores with a load of 11, fits took forty times the processor time that they take on one thread.
    """
    return nullcontext() if users >= MANY else threadpool_limits(1, user_api="blas")
