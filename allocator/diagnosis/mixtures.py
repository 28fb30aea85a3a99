"""What mixtures of plans can do: the linear relaxation of any subset of the limits, at any size.

A plan that is best at some prices keeps the local rules, and so, in the relaxation, does any mixture of such plans. A
small linear program over what each of them uses finds the best mixture; its duals are the prices that the next plan is
best at (Dantzig and Wolfe, *Decomposition principle for linear programs*, Operations Research 8(1), 1960,
doi:10.1287/opre.8.1.101). What a plan uses does not depend on the limits' numbers, nor on which of them count, so that
all questions about one problem share the plans: after the first few, most are answered without another pass.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp

from allocator.clock import working_time
from allocator.diagnosis.sides import Side
from allocator.solvers.piece import Piece
from allocator.solvers.programs import Ending, Program, solve_linear

ROUNDING = 1e-9  # relative: a violation below it may be one of rounding
CLOSE = 1e-9  # relative: where bound and mixture are that close, the bound is final
GOLDEN = 0.6180339887498949  # its multiples spread evenly over the unit interval


@dataclass(frozen=True, eq=False)
class Mixture:
    """The outcome of a search over mixtures.

    Attributes
    ----------
    ray
        `(n_limits,)` prices by which no plan keeps the sides (Farkas), or `None`.
    prices
        `(n_limits,)` prices of the sides; the goal's own is not among them.
    bound
        No plan goes beyond it: the goal's measure, times the goal's -sign.
    shares
        Weight of each of the pool's plans, `(n_plans,)`.
    """

    ray: np.ndarray | None
    prices: np.ndarray
    bound: float
    shares: np.ndarray


@dataclass(frozen=True, eq=False)
class Master:
    """The best mixture of the plans so far: shares, each side's dual, the optimum, what each side is missed by."""

    shares: np.ndarray
    dual: np.ndarray
    optimum: float
    missed: np.ndarray


@dataclass
class Pool:
    """Plans that are best at some prices, each known by its prices and by what it uses of every limit."""

    piece: Piece
    prices: list[np.ndarray] = field(default_factory=list)
    used: list[np.ndarray] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.add(np.zeros(self.piece.folding.n_limits))

    def add(self, prices: np.ndarray) -> float:
        """Take in the plan that is best at these prices where offers earn nothing; return its sum of gains."""
        choices = self.piece.executor.choose(self.piece.shard, self.piece.folding.tables(prices, of_value=0.0))
        self.prices.append(prices)
        self.used.append(self.piece.folding.usage(choices.used_wide, choices.used_narrow))
        return choices.total

    def ray(self, sides: Sequence[Side], deadline: float) -> np.ndarray | None:
        """Return prices by which no plan keeps these sides, or `None` where a mixture does (or time is up)."""
        return self.search(sides, None, deadline).ray

    def search(self, sides: Sequence[Side], goal: Side | None, deadline: float, close: float = 0.0) -> Mixture:
        """Find a mixture that keeps `sides`; with a goal, one that goes furthest to keep it, within `close`."""
        nothing = np.zeros(self.piece.folding.n_limits)
        missed: np.ndarray | None = None  # by the first mixture that keeps the sides, but for rounding
        best = Mixture(None, nothing, np.inf, np.ones(1))
        while True:
            master = self._master(sides, goal, missed, max(0.1, deadline - working_time()))
            if master is None:
                return dataclasses.replace(best, shares=self._padded(best.shares))
            best = dataclasses.replace(best, shares=master.shares)
            if missed is None and master.optimum >= -ROUNDING:
                if goal is None:
                    return dataclasses.replace(best, bound=0.0)
                missed = master.missed
                continue
            prices = nothing.copy()
            np.add.at(prices, [side.limit for side in sides], master.dual)
            left = sum(y * side.room(self.piece.folding) for y, side in zip(master.dual.tolist(), sides, strict=True))
            asked = prices.copy()
            if missed is not None and goal is not None:
                asked[goal.limit] += goal.sign
            total = self.add(asked)
            bound = left + total
            if missed is None and bound < -ROUNDING * (abs(left) + abs(total)):
                return dataclasses.replace(best, ray=prices, bound=-np.inf)
            if missed is not None and bound < best.bound:
                best = dataclasses.replace(best, prices=prices, bound=bound)
            done = missed is not None and best.bound - master.optimum <= max(close, CLOSE * abs(best.bound))
            known = any(np.array_equal(self.used[-1], used) for used in self.used[:-1])
            if known:  # then the mixture is the best there is, but for rounding
                self.prices.pop()
                self.used.pop()
            if done or known or working_time() > deadline:
                return dataclasses.replace(best, shares=self._padded(best.shares))

    def _padded(self, shares: np.ndarray) -> np.ndarray:
        return np.append(shares, np.zeros(len(self.used) - shares.size))

    def _master(
        self, sides: Sequence[Side], goal: Side | None, missed: np.ndarray | None, time_limit: float
    ) -> Master | None:
        """Solve for the best mixture; `None` where the solver gives up.

        At first the mixture misses the sides by as little as can be, each measured against its size; once one has
        `missed` them by next to nothing, it may miss them by that, and goes furthest towards `goal`.
        """
        used = np.array(self.used).T
        rows = np.array([side.limit for side in sides], np.int64)
        signs = np.array([side.sign for side in sides], np.float64)
        room = np.array([side.room(self.piece.folding) for side in sides])
        size = np.maximum(np.maximum(np.abs(room), np.abs(used[rows]).max(axis=1, initial=0.0)), 1e-12)
        n, k = used.shape[1], rows.size
        aim, factor = np.zeros(n), 1.0
        if missed is not None and goal is not None:
            aim = -goal.sign * used[goal.limit]
            factor = max(float(np.abs(aim).max(initial=0.0)), 1e-12)
        shared = sp.hstack([sp.csr_matrix((signs / size)[:, None] * used[rows]), -sp.identity(k)])
        whole = sp.csr_matrix(np.concatenate([np.ones(n), np.zeros(k)])[None, :])
        answer = solve_linear(
            Program(
                objective=np.concatenate([aim / factor, np.full(k, -1.0 if missed is None else 0.0)]),
                matrix=sp.csr_matrix(sp.vstack([shared, whole])),
                lower=np.append(np.full(k, -np.inf), 1.0),
                upper=np.append(signs * room / size, 1.0),
                ceiling=np.concatenate([np.full(n, np.inf), np.full(k, np.inf) if missed is None else missed / size]),
                integer=np.zeros(n + k, dtype=bool),
            ),
            time_limit,
        )
        if answer.ending is not Ending.OPTIMAL or answer.x is None:
            return None
        dual = np.maximum(answer.dual[:k], 0.0) * factor * signs / size
        return Master(np.maximum(answer.x[:n], 0.0), dual, answer.objective * factor, answer.x[n:] * size)

    def mixed(self, shares: np.ndarray) -> np.ndarray:
        """Return a plan that gives each user the choice of one of the pool's plans, in these shares: its offers."""
        n_users = self.piece.shard.n_users
        edges = np.cumsum(shares)
        dealt = np.searchsorted(edges / edges[-1], (np.arange(n_users) * GOLDEN) % 1.0, side="right")
        parts = []
        for j in np.flatnonzero(np.bincount(dealt, minlength=shares.size)).tolist():
            tables = self.piece.folding.tables(self.prices[j], of_value=0.0)
            picked = self.piece.executor.choose(self.piece.shard, tables).picked
            parts.append(picked[dealt[self.piece.shard.users_of(picked)] == j])
        return np.sort(np.concatenate(parts)) if parts else np.empty(0, np.int64)
