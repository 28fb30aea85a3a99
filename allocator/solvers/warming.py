"""Small problems that make the kernels compile, so that no solve pays for it out of its time limit."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from allocator.limit import Limit
from allocator.problem import Problem


def small_problems() -> Iterator[Problem]:
    """Yield a complete grid with one offer a user, and a sparse table with several, at-least limits and segments."""
    rng = np.random.default_rng(0)
    cost = rng.random((40, 3)) + 0.5
    value = cost * rng.normal(1.5, 0.5, cost.shape)
    yield Problem.from_arrays(value, cost, budget=15.0, quantities=[5, None, None])
    yield Problem.from_offers(
        pa.table(
            {
                "user_id": np.repeat(np.arange(40), 3)[1:],
                "coupon": np.tile(np.array(["a", "b", "c"]), 40)[1:],
                "value": value.reshape(-1)[1:],
                "cost": cost.reshape(-1)[1:],
                "units": np.ones(119),
            }
        ),
        limits=[
            Limit("budget", at_most=15.0),
            Limit("units", measure="units", at_least=2.0, users={"region": 1}),
        ],
        users=pa.table({"user_id": np.arange(40), "region": np.arange(40) % 2}),
        max_per_user=2,
        exclusive=[["a", "b"]],
    )
