"""Large neighbourhood search: a good plan made better where its limits are too entangled for branch and bound.

Free a few users, leave all others as they are, choose for those few exactly; again and again with others. (Shaw, *Using
Constraint Programming and Local Search Methods to Solve Vehicle Routing Problems*, CP 1998, doi:10.1007/3-540-49481-2_30;
with reduced costs to leave out hopeless choices: Chen & Hao, *A "reduce and solve" approach for the multiple-choice
multidimensional knapsack problem*, EJOR 239, 2014, doi:10.1016/j.ejor.2014.05.025.)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

import numpy as np
import scipy.sparse as sp

from allocator.clock import working_time
from allocator.kernels.halves import exchange_halves
from allocator.solvers.ejection import REACH, ROUND_WORK, STYLES, States, chain_round, stopped_at
from allocator.solvers.programs import Ending, Halt, Program, solve_integer

FIRST_USERS = 25  # freed in the first round
ROUND_NODES = 500
LONGEST_ROUND = 2.0  # seconds: bounds how late an end that was asked for comes
CLOSE = 200  # users that count as close
FAR = 20.0  # times the loss of the last of them: no choice worth opening near them loses more
CHAINS_EVERY = 4  # rounds
MOST_DENSE = 1_000_000  # numbers of states times limits, for exchanges of halves
HALVES_WORK = 2e8  # combinations and pairs of a round of these
HALVES_SIZE = 2_048  # combinations of half of the users
# Users of an exchange, and how much worse a plan may be at first in typical losses; one round after the other.
HALVES = ((30, 1.0), (36, 1.0), (24, 0.5), (36, 2.0))
LONGER, LONGEST_WALK = 1.2, 8.0  # rounds of chains grow to so many times their first work
WIDER, NARROWER = 1.1, 0.85  # neighbourhoods, after a round that was solved, or not


class News:
    """The best point that the searches of one program know of, which run at the same time."""

    def __init__(self, x: np.ndarray, value: float) -> None:
        self._lock = Lock()
        self._known = (x, value)

    @property
    def x(self) -> np.ndarray:
        """The point, `(n_columns,)` 0/1."""
        return self._known[0]

    def tell(self, x: np.ndarray, value: float) -> None:
        """Make a point known, if it is better than what is."""
        with self._lock:
            if value > self._known[1]:
                self._known = (x, value)

    def better(self, x: np.ndarray, value: float) -> tuple[np.ndarray, float]:
        """Return the known point and its value, or this one where that is not better."""
        known = self._known
        return known if known[1] > value else (x, value)


@dataclass(frozen=True, eq=False)
class Neighbourhoods:
    """A search from plan to better plan.

    Attributes
    ----------
    program
        All offers that may differ from the best choices.
    owner
        `(n_columns,)` user of each, from 0.
    loss
        `(n_columns,)` what its flip loses at the prices, currency.
    bound
        Of the program's objective, currency.
    tolerance
        The search ends at a plan that close to the bound.
    keeps
        Tells whether a point keeps every limit exactly.
    states
        The program as states for ejection chains, which then take every fourth round, and where states use few numbers for
        exchanges of halves, which take every second; `None` where it has none.
    news
        What other searches of the same program find: a better point of theirs is where this one goes on from.
    """

    program: Program
    owner: np.ndarray
    loss: np.ndarray
    bound: float
    tolerance: float
    keeps: Callable[[np.ndarray], bool]
    deadline: float
    seed: int
    states: States | None = None
    news: News | None = None

    def improve(self, x: np.ndarray, halt: Halt) -> np.ndarray:
        """Return the best point found from `x`, `(n_columns,)` 0/1, until the bound, the deadline or a halt."""
        rng = np.random.default_rng(self.seed)
        program = dataclasses.replace(self.program, matrix=sp.csc_matrix(self.program.matrix))
        value = float(program.objective @ x)
        closest = np.full(int(self.owner.max(initial=-1)) + 1, np.inf)
        np.minimum.at(closest, self.owner, self.loss)
        # Losses of the closest users: what is worth opening while the plan is still far from the bound.
        close = float(np.partition(closest, min(CLOSE, closest.size) - 1)[min(CLOSE, closest.size) - 1])
        widths = [float(FIRST_USERS), float(FIRST_USERS)]  # of close users, and of any
        rounds = 0
        while self.bound - value > self.tolerance and working_time() < self.deadline and not halt:
            if self.news is not None:
                self.news.tell(x, value)
                x, value = self.news.better(x, value)
            gap = self.bound - value
            rounds += 1
            if self.states is not None and rounds % CHAINS_EVERY == 0:
                x, value = self._chains(x, value, rounds // CHAINS_EVERY, halt)
                continue
            if self._has_halves and rounds % 2 == 1:
                x, value = self._halves(x, value, rounds // 2, halt)
                continue
            kind = rounds // (CHAINS_EVERY if self._has_halves else 1) % 2
            most = min(gap, FAR * close) if kind == 0 else gap
            freed = _users(rng, closest, min(gap, close), most, int(widths[kind]), near=kind == 0)
            opened = freed[self.owner] & ((self.loss <= most) | (x > 0.5))
            answer = solve_integer(
                restricted(program, x, opened),
                time_limit=min(LONGEST_ROUND, self.deadline - working_time()),
                absolute_gap=0.4 * self.tolerance,
                seed=self.seed,
                nodes=ROUND_NODES,
                hint=x[opened],
            )
            solved = answer.ending is Ending.OPTIMAL
            widths[kind] = min(widths[kind] * WIDER, closest.size) if solved else max(4.0, widths[kind] * NARROWER)
            if answer.x is None:
                continue
            other = x.copy()
            other[opened] = np.round(answer.x)
            reached = float(program.objective @ other)
            # A plan as good but different leads elsewhere.
            if reached >= value and self.keeps(other):
                x, value = other, reached
        return x

    @property
    def _has_halves(self) -> bool:
        """Whether what states use is few numbers."""
        return self.states is not None and np.prod(self.states.uses.shape) <= MOST_DENSE

    def _halves(self, x: np.ndarray, value: float, n: int, halt: Halt) -> tuple[np.ndarray, float]:
        """Walk the n-th round of exchanges of halves from a point; return it, or the better one found, with its value."""

        def walk(near: States, begin: np.ndarray, stop: np.ndarray) -> np.ndarray:
            if n % 2 == 1:  # from elsewhere: what is best near the best plan is found already
                reached, other = chain_round(near, begin, STYLES[n // 2 % len(STYLES)], ROUND_WORK, self.seed + n, stop)
                begin = other if np.isfinite(reached) else begin
            return halves_round(near, begin, *HALVES[n // 2 % len(HALVES)], self.seed + n, stop)

        other, reached = self._walked(x, value, halt, walk)
        return (other, reached) if reached >= value and self.keeps(other) else (x, value)

    def _chains(self, x: np.ndarray, value: float, n: int, halt: Halt) -> tuple[np.ndarray, float]:
        """Walk the n-th round of ejection chains from a point; return it, or the better one found, with its value."""
        work = ROUND_WORK * min(LONGEST_WALK, LONGER**n)

        def walk(near: States, begin: np.ndarray, stop: np.ndarray) -> np.ndarray:
            return chain_round(near, begin, STYLES[n % len(STYLES)], work, self.seed + n, stop)[1]

        other, reached = self._walked(x, value, halt, walk)
        return (other, reached) if reached > value and self.keeps(other) else (x, value)

    def _walked(
        self, x: np.ndarray, value: float, halt: Halt, walk: Callable[[States, np.ndarray, np.ndarray], np.ndarray]
    ) -> tuple[np.ndarray, float]:
        """Return the point, and its value, that a walk ends at; it is given the states near `x`, that of `x`, and a stop flag."""
        assert self.states is not None
        stop, near = np.zeros(1, np.uint8), self.states.near(REACH * (self.bound - value), self.states.at(x))
        with stopped_at(self.deadline, stop), halt.sets(stop):
            end = walk(near, near.at(x), stop)
        other = near.point(end, x.size)
        return other, float(self.program.objective @ other)


def halves_round(
    states: States, current: np.ndarray, some: int, worse: float, seed: int, stop: np.ndarray
) -> np.ndarray:
    """Exchange halves of `some` users from `current`, which keeps every limit; return the best states, `(n_users,)`.

    Plans may be `worse` at first, in typical losses. `stop` `(1,)` uint8 ends the round early when another thread sets it.
    """
    best = current.copy()
    exchange_halves(
        np.random.default_rng(seed),
        HALVES_WORK,
        some,
        HALVES_SIZE,
        worse * states.typical,
        states.start.astype(np.int64),
        states.loss,
        states.value + states.loss - states.worth[states.owner],
        states.uses.toarray(),
        states.room,
        states.lower,
        states.upper,
        current.copy(),
        best,
        stop,
    )
    return best


def _users(
    rng: np.random.Generator, closest: np.ndarray, close: float, most: float, n: int, *, near: bool
) -> np.ndarray:
    """Draw users to free, bool: by how little a flip of theirs loses, or evenly among those that may lose up to `most`."""
    weight = 1.0 / (np.maximum(closest, 0.0) + 0.1 * close + 1e-12) if near else np.ones(closest.size)
    weight = np.where(closest <= most, weight, 0.0)
    freed = np.zeros(closest.size, dtype=bool)
    # The n smallest of exponential clocks are a draw without replacement (Efraimidis & Spirakis, Inf. Proc. Letters 97, 2006).
    clock = np.where(weight > 0, rng.exponential(size=weight.size) / np.maximum(weight, 1e-300), np.inf)
    freed[np.argsort(clock, kind="stable")[:n]] = True
    return freed


def restricted(program: Program, x: np.ndarray, opened: np.ndarray) -> Program:
    """Return the program over some columns, the others fixed at `x`; rows that they do not touch are left out."""
    fixed = np.flatnonzero(~opened & (x > 0.5))
    used = np.asarray(program.matrix[:, fixed].sum(axis=1)).reshape(-1)
    left = sp.csr_matrix(program.matrix[:, np.flatnonzero(opened)])
    rows = np.flatnonzero(np.diff(left.indptr))
    return Program(
        objective=program.objective[opened],
        matrix=left[rows],
        lower=(program.lower - used)[rows],
        upper=(program.upper - used)[rows],
        ceiling=program.ceiling[opened],
        integer=program.integer[opened],
    )
