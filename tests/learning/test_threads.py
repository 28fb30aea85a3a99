"""Small products run on one thread, large ones on as many as there were."""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from allocator.learning.threads import MANY, few


def _threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_threads_are_kept_for_what_is_large_and_given_back() -> None:
    assert np.ones((2, 2)).sum() == 4.0  # numpy's own library is loaded
    with threadpool_limits(2, user_api="blas"):
        before = _threads()
        with few(MANY):
            assert _threads() == before
        with few(MANY - 1):
            assert _threads() == {1}
        assert _threads() == before
