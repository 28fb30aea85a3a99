"""Local search by ejection chains on a program in which every user takes one offer or none.

The kernel walks from state to state (`kernels.ejection`); here a program is turned into states, the penalties and
temperatures are taken from the prices, and the work of one round is set, so that a round ends after the same number of
chains on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from threading import TIMEOUT_MAX, Event, Thread

import numpy as np
import scipy.sparse as sp

from allocator.clock import working_time
from allocator.kernels import ejection
from allocator.solvers.programs import Program

ROUND_WORK = 1.2e8  # state entries looked at in one round, about a second
REACH = 0.5  # of the gap: a state that alone loses more is in few good plans
MOST_STATES = 6_000
EXACT = 2.0**40  # whole numbers below it stay exact in sums
ROOM = 1e-9  # share of a limit left unused where numbers are not whole, for rounding


@dataclass(frozen=True)
class Style:
    """How a round walks: further changes a chain, temperatures in typical losses, penalties in prices."""

    depth: int
    hot: float
    cold: float
    softest: float
    hardest: float


# No one of them is best on every family.
STYLES = (
    Style(2, 0.5, 0.05, 1.5, 10.0),
    Style(3, 0.5, 0.1, 1.05, 3.0),
    Style(3, 0.3, 0.05, 1.5, 5.0),
    Style(4, 0.5, 0.1, 1.1, 1.6),
)


@dataclass(frozen=True, eq=False)
class States:
    """What each user may choose: columns of a program, and nothing where that is allowed.

    Attributes
    ----------
    start
        `(n_users + 1,)` where each user's states begin.
    column
        `(n_states,)` the program's column, -1 for nothing.
    loss
        `(n_states,)` what the state loses against the user's best at the prices, currency.
    uses
        `(n_states, n_limits)` CSR, limits that cannot be broken left out.
    lower, upper
        `(n_limits,)`.
    penalty
        `(n_limits,)` price, or a guess where it is 0, currency per unit.
    worth
        `(n_users,)` what the user's best state earns after prices, currency.
    room
        What all limits together may be used for at the prices, currency.
    """

    start: np.ndarray
    column: np.ndarray
    value: np.ndarray
    loss: np.ndarray
    uses: sp.csr_matrix
    lower: np.ndarray
    upper: np.ndarray
    penalty: np.ndarray
    worth: np.ndarray
    room: float

    @cached_property
    def owner(self) -> np.ndarray:
        """`(n_states,)` whose each state is."""
        return np.repeat(np.arange(self.start.size - 1), np.diff(self.start))

    @property
    def typical(self) -> float:
        """Median over users of what their second best state loses, currency."""
        order = np.lexsort((self.loss, self.owner))
        second = self.start[:-1][np.diff(self.start) > 1] + 1
        losses = self.loss[order][second]
        return float(np.median(losses[losses > 0])) if (losses > 0).any() else 1.0

    def best(self) -> np.ndarray:
        """Return each user's state `(n_users,)` of the least loss, the first of equals."""
        return np.lexsort((self.loss, self.owner))[self.start[:-1]]

    def near(self, most: float, kept: np.ndarray) -> States:
        """Return the states that lose at most `most`, fewer where there are too many, and the `kept` ones."""
        if self.loss.size > MOST_STATES:
            most = min(most, float(np.partition(self.loss, MOST_STATES)[MOST_STATES]))
        stays = self.loss <= most
        stays[kept] = True  # so that every user keeps a state
        begin = np.concatenate([[0], np.cumsum(stays)])[self.start]
        stay = np.flatnonzero(stays)
        return States(
            begin,
            self.column[stay],
            self.value[stay],
            self.loss[stay],
            self.uses[stay],
            self.lower,
            self.upper,
            self.penalty,
            self.worth,
            self.room,
        )

    def at(self, x: np.ndarray) -> np.ndarray:
        """Return each user's state `(n_users,)` at a point of the program."""
        taken = np.append(x > 0.5, False)[self.column]
        empty = self.column < 0
        current = np.full(self.start.size - 1, -1)
        current[self.owner[empty]] = np.flatnonzero(empty)
        current[self.owner[taken]] = np.flatnonzero(taken)
        return current

    def point(self, current: np.ndarray, n_columns: int) -> np.ndarray:
        """Return the program's point `(n_columns,)` that these states stand for."""
        x = np.zeros(n_columns)
        columns = self.column[current]
        x[columns[columns >= 0]] = 1.0
        return x


def states_of(program: Program, owner: np.ndarray, prices: np.ndarray) -> States | None:
    """Return a program's states, or `None` where a user may take several offers.

    The first `prices.size` rows of the program are the limits, the next one a user its cap.
    """
    n_limits, n_users = prices.size, int(owner.max(initial=-1)) + 1
    tops = program.upper[n_limits : n_limits + n_users]
    if n_users == 0 or (tops > 1.5).any():
        return None
    idle = np.flatnonzero(program.lower[n_limits : n_limits + n_users] < 0.5)
    columns = np.flatnonzero(tops[owner] > 0.5)
    order = np.lexsort((np.concatenate([columns, np.full(idle.size, -1)]), np.concatenate([owner[columns], idle])))
    column = np.concatenate([columns, np.full(idle.size, -1)])[order]
    user = np.concatenate([owner[columns], idle])[order]
    start = np.searchsorted(user, np.arange(n_users + 1))
    if (np.diff(start) == 0).any():
        return None
    limits = sp.csr_matrix(program.matrix[:n_limits])
    reduced = np.append(program.objective - prices @ limits, 0.0)[column]
    worth = np.maximum.reduceat(reduced, start[:-1])
    loss = np.repeat(worth, np.diff(start)) - reduced
    uses = sp.csr_matrix(sp.vstack([limits.T, sp.csr_matrix((1, n_limits))]))[column]
    lower, upper = program.lower[:n_limits], program.upper[:n_limits]
    least, most = _reach(uses, start)
    open_ = np.flatnonzero((least < lower) | (most > upper))
    kept = sp.csr_matrix(uses[:, open_])
    room = 0.0 if _whole(kept.data) else ROOM
    low, high = lower[open_], upper[open_]
    return States(
        start,
        column,
        np.append(program.objective, 0.0)[column],
        loss,
        kept,
        low + room * (1 + np.where(np.isinf(low), 0.0, np.abs(low))),
        high - room * (1 + np.where(np.isinf(high), 0.0, np.abs(high))),
        _penalties(kept, prices[open_], program.objective),
        worth,
        float(prices[prices > 0] @ upper[prices > 0] + prices[prices < 0] @ lower[prices < 0]),
    )


def _reach(uses: sp.csr_matrix, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the most that all users together can use of each limit, `(n_limits,)`."""
    # By user, the least and the most of each column that one of its states uses; states without an entry use nothing.
    turned = sp.coo_matrix(uses)
    user = np.repeat(np.arange(start.size - 1), np.diff(start))[turned.row].astype(np.int64)
    cell, place = np.unique(turned.col.astype(np.int64) * (start.size - 1) + user, return_inverse=True)
    low, high = np.full(cell.size, np.inf), np.full(cell.size, -np.inf)
    np.minimum.at(low, place, turned.data)
    np.maximum.at(high, place, turned.data)
    everywhere = np.bincount(place, minlength=cell.size) == np.diff(start)[cell % (start.size - 1)]
    low, high = np.where(everywhere, low, np.minimum(low, 0.0)), np.where(everywhere, high, np.maximum(high, 0.0))
    column = cell // (start.size - 1)
    return np.bincount(column, low, uses.shape[1]), np.bincount(column, high, uses.shape[1])


def _whole(numbers: np.ndarray) -> bool:
    return bool((np.abs(numbers) < EXACT).all() and (numbers == np.round(numbers)).all())


def _penalties(uses: sp.csr_matrix, prices: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Return prices, and for limits without one a tenth of what the dearest limit would ask for a typical use."""
    typical = np.asarray(abs(uses).sum(axis=0)).reshape(-1) / np.maximum(np.diff(sp.csc_matrix(uses).indptr), 1)
    typical = np.where(typical > 0, typical, 1.0)
    worth = float((np.abs(prices) * typical).max(initial=0.0)) or float(np.abs(value).mean()) or 1.0
    return np.maximum(np.abs(prices), 0.1 * worth / typical)


def chain_round(
    states: States, current: np.ndarray, style: Style, work: float, seed: int, stop: np.ndarray
) -> tuple[float, np.ndarray]:
    """Walk one round from `current`; return the best states that keep every limit, and their value (-inf: none).

    `stop` `(1,)` uint8 ends the round early when another thread sets it.
    """
    entries = states.uses.nnz + states.loss.size
    n_chains = max(100, int(work / entries))
    typical = states.typical
    best = current.copy()
    value = ejection.chains(
        np.random.default_rng(seed),
        n_chains,
        style.depth,
        style.hot * typical,
        style.cold * typical,
        states.start.astype(np.int64),
        states.value,
        states.uses.indptr.astype(np.int64),
        states.uses.indices.astype(np.int64),
        states.uses.data,
        states.lower,
        states.upper,
        style.softest * states.penalty,
        style.hardest * states.penalty,
        current.copy(),
        best,
        stop,
    )
    return value, best


def first_rounds(
    states: States, current: np.ndarray, *, work: float, seed: int, deadline: float
) -> tuple[float, np.ndarray]:
    """Walk from `current` once in every style, on two threads; return the best, the first of equals.

    What comes out depends on the seed alone, unless the deadline (`working_time`) cuts it short.
    """
    stop = np.zeros(1, np.uint8)
    with stopped_at(deadline, stop), ThreadPoolExecutor(2) as pool:
        tasks = [
            pool.submit(chain_round, states, current, style, work, seed + 1 + place, stop)
            for place, style in enumerate(STYLES)
        ]
        found = [task.result() for task in tasks]
    return max(found, key=lambda one: one[0])


@contextmanager
def stopped_at(deadline: float, stop: np.ndarray) -> Iterator[None]:
    """Set the flag at the deadline (`working_time`): a kernel has no clock of its own."""
    over = Event()

    def watch() -> None:
        # The clock may have stood still meanwhile: then there is time left, and the wait goes on.
        while (left := deadline - working_time()) > 0:
            if over.wait(min(left, TIMEOUT_MAX)):
                return
        stop.fill(1)

    Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        over.set()
