"""Small problems that make the kernels compile, so that no solve pays for it out of its time limit."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import scipy.sparse as sp

from allocator.limit import Limit
from allocator.problem import Problem
from allocator.solvers.assigning import Assigning
from allocator.solvers.ejection import STYLES, chain_round, states_of
from allocator.solvers.exchange import aimed
from allocator.solvers.filling import filled
from allocator.solvers.fitting import fitted
from allocator.solvers.knapsacks import Knapsacks
from allocator.solvers.part import part_of
from allocator.solvers.piece import Piece
from allocator.solvers.pool import pool_of
from allocator.solvers.programs import Program
from allocator.solvers.table import table_of
from allocator.solvers.tally import Tally


def small_problems() -> Iterator[Problem]:
    """Yield a complete grid with one offer a user, a sparse table with several, at-least limits and segments, and overlaps."""
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
    some = Limit("some", at_most=6.0, users=np.arange(40) % 3 == 0)
    yield Problem.from_arrays(value, cost, budget=15.0, quantities=[5, None, None], limits=[some])


def warm(problem: Problem, piece: Piece) -> None:
    """Run what small problems do not come to: smoothing, a plan filled in one sweep, chains, exchanges that aim and that fit, curves."""
    prices = np.where(np.isfinite(piece.folding.at_most), 0.1, -0.1)
    piece.soft(prices, 0.1)
    nowhere = np.zeros(prices.size)
    piece.between((prices, nowhere), (2.0 * prices, nowhere))
    Tally.of(problem, np.arange(1))
    if piece.gets_one:
        piece.bend(prices, np.full(prices.size, 0.1), 1.0)
    filled(piece, prices)
    _, used, choices = piece.exact(prices)
    pool = pool_of(piece, prices, choices.picked, np.inf, None)
    assert pool is not None
    part = part_of(piece, np.empty(0, np.int64), np.flatnonzero(~np.isnan(piece.shard.value)))
    states = states_of(part.program, part.owner, prices)
    if states is not None:
        chain_round(states, states.best(), STYLES[0], 1.0, 0, np.zeros(1, np.uint8))
    table = table_of(piece, prices, used, pool, np.ones(prices.size, dtype=bool), -np.inf, 0)
    aimed(table, pool.start(), np.inf, 1)
    fitted(table, pool.start(), 1.0, 1e-5)


def warm_knapsacks() -> None:
    """Assign two users to two knapsacks."""
    program = Program(
        objective=np.array([3.0, 2.0, 4.0, 1.0]),
        matrix=sp.csr_matrix(np.array([[1.0, 0, 1, 0], [0, 1, 0, 1], [1, 1, 0, 0], [0, 0, 1, 1]])),
        lower=np.array([-np.inf, -np.inf, 1.0, 1.0]),
        upper=np.ones(4),
        ceiling=np.ones(4),
        integer=np.ones(4, dtype=bool),
    )
    states = states_of(program, np.array([0, 0, 1, 1]), np.zeros(2))
    assert states is not None
    knapsacks = Knapsacks.of(states)
    assert knapsacks is not None
    proven = knapsacks.tightened(states.worth, 0.0, np.inf)
    Assigning(knapsacks, proven, 1.0, True, 0).best(knapsacks.item[[0, 3]], np.zeros(1, np.uint8), [])
