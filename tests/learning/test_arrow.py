"""A system solved block by block is the same system."""

from __future__ import annotations

import numpy as np

from allocator.learning.arrow import Arrow


def test_blocks_give_what_the_whole_matrix_gives() -> None:
    rng = np.random.default_rng(0)
    shared, blocks, width = 5, 4, 3
    size = shared + blocks * width
    whole = rng.normal(size=(size, size))
    whole = whole @ whole.T + size * np.eye(size)
    own = [slice(shared + k * width, shared + (k + 1) * width) for k in range(blocks)]
    for one in range(blocks):
        for two in range(blocks):
            if one != two:
                whole[own[one], own[two]] = 0.0
    arrow = Arrow(
        whole[:shared, :shared],
        np.stack([whole[place, :shared] for place in own]),
        np.stack([whole[place, place] for place in own]),
    )
    right = rng.normal(size=size)
    np.testing.assert_allclose(arrow.solve(right), np.linalg.solve(whole, right), atol=1e-10)
    np.testing.assert_allclose(arrow.inverse_diagonal(), np.diag(np.linalg.inv(whole)), atol=1e-10)
