"""Small forests on a busy machine wait for each other's threads longer than they compute: one thread is enough."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    import sklearn.ensemble  # noqa: F401 (loads the OpenMP library that is to be limited)

    with threadpool_limits(1, user_api="openmp"):
        yield
