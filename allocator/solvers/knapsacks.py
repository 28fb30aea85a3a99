"""A tighter bound where every offer uses one limit at most: users are priced, and each limit is a knapsack.

Prices of limits leave each user free and convexify what fits into a limit; prices of users leave each limit free and fill it
exactly, so that their bound is never worse, and much better where few offers fill a limit (Fisher, Jaikumar & Van Wassenhove,
*A multiplier adjustment method for the generalized assignment problem*, Management Science 32, 1986,
doi:10.1287/mnsc.32.9.1095). What a limit loses with an offer in or out bounds all plans that have it, which rules out most of
them (Posta, Ferland & Michelon, *An exact method with variable fixing for solving the generalized assignment problem*,
Comput. Optim. Appl. 52, 2012, doi:10.1007/s10589-011-9432-0).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from allocator.clock import working_time
from allocator.kernels import knapsacks as kernels
from allocator.solvers.ejection import EXACT, States

MOST_WORK = 2e8  # items times capacities: more takes seconds for each look at the bound
LARGEST = 5e6  # the same of one knapsack: its tables are held in memory
MOST_USERS = 4_000  # the tree search keeps everyone's prices for each level
STEPS = 2_000
AIMED_AT = 0.1  # of the gap, that the first steps aim to close
FINEST = 1e-5  # of the gap: steps that aim at less are over
PATIENCE = 40  # steps without half of what is aimed at
KEPT = 0.9  # of the last direction
ROUNDING = 1e-9  # of the sums' size: added to the bound, far above what rounding can do to it


@dataclass(frozen=True, eq=False)
class Tightened:
    """What prices of users prove: no plan is worth more than `bound`, nor one with an item more than `bound - loss` of it.

    Attributes
    ----------
    bound
        Of the program's objective, currency.
    prices
        `(n_users,)` currency.
    loss
        `(n_items,)` currency, at least 0, infinite for items that no plan has.
    """

    bound: float
    prices: np.ndarray
    loss: np.ndarray


@dataclass(frozen=True, eq=False)
class Knapsacks:
    """States sorted by the limit that they use; in the last knapsack, without room, each user's best state that uses none.

    Attributes
    ----------
    n_users
        Everyone has one state.
    start
        `(n_knapsacks + 1,)` where each knapsack's items begin.
    state, user, use, value
        `(n_items,)` of each item; `use` in whole numbers.
    cell
        `(n_items,)` a number for each knapsack and user.
    capacity
        `(n_knapsacks,)` whole numbers.
    item
        `(n_states,)` each state's item; of a state that uses no limit, that of its user's best one.
    """

    n_users: int
    start: np.ndarray
    state: np.ndarray
    user: np.ndarray
    use: np.ndarray
    value: np.ndarray
    cell: np.ndarray
    capacity: np.ndarray
    item: np.ndarray

    @classmethod
    def of(cls, states: States) -> Knapsacks | None:
        """Return the states as items of knapsacks, or `None` where they are not, or where filling these takes too long."""
        uses, n_limits, n_users = states.uses, states.upper.size, states.start.size - 1
        held = np.diff(uses.indptr)
        if not n_limits or held.max(initial=0) > 1 or (states.lower > 0).any():
            return None
        amounts, tops = uses.data, np.floor(states.upper)
        if (amounts != np.round(amounts)).any() or (amounts < 0).any() or (tops >= EXACT).any() or (tops < 0).any():
            return None
        entries = (tops + 1.0) * np.bincount(uses.indices, minlength=n_limits)
        if entries.sum() > MOST_WORK or entries.max() > LARGEST:
            return None
        owner = states.owner
        limit, use = np.full(owner.size, n_limits), np.zeros(owner.size, np.int64)
        limit[held > 0], use[held > 0] = uses.indices, amounts.astype(np.int64)
        idle = np.flatnonzero(held == 0)
        ranked = idle[np.lexsort((-states.value[idle], owner[idle]))]
        users, first = np.unique(owner[ranked], return_index=True)
        best = np.full(n_users, -1)
        best[users] = ranked[first]
        state = np.concatenate([np.flatnonzero(held), best[users]])
        state = state[np.argsort(limit[state], kind="stable")]
        item = np.full(owner.size, -1)
        item[state] = np.arange(state.size)
        item[idle] = item[best[owner[idle]]]
        cell = np.unique(limit[state] * n_users + owner[state], return_inverse=True)[1].reshape(-1)
        return cls(
            n_users,
            np.searchsorted(limit[state], np.arange(n_limits + 2)).astype(np.int64),
            state,
            owner[state],
            use[state],
            states.value[state],
            cell,
            np.append(tops, 0.0).astype(np.int64),
            item,
        )

    @cached_property
    def limit(self) -> np.ndarray:
        """`(n_items,)` each item's knapsack."""
        return np.repeat(np.arange(self.capacity.size), np.diff(self.start))

    def filled(self, prices: np.ndarray) -> tuple[float, np.ndarray]:
        """Return what fills the knapsacks best at these prices of users, `(n_users,)`: its worth after prices, and the items."""
        taken = np.zeros(self.state.size, np.uint8)
        worth = kernels.relaxed(prices, self.start, self.user, self.use, self.value, self.capacity, taken)
        return worth, np.flatnonzero(taken)

    def bound(self, prices: np.ndarray) -> tuple[float, np.ndarray]:
        """Return what no plan exceeds at these prices of users, `(n_users,)`, and how many states each has too few."""
        worth, taken = self.filled(prices)
        return float(prices.sum()) + worth, 1.0 - np.bincount(self.user[taken], minlength=self.n_users)

    def tightened(self, prices: np.ndarray, least: float, deadline: float) -> Tightened:
        """Lower the bound from these prices of users, and return it with what items lose; a plan is worth `least`."""
        bound, prices = self._lowered(prices, least, deadline)
        within, without = np.empty(self.state.size), np.empty(self.state.size)
        kernels.forced(prices, self.start, self.user, self.use, self.value, self.capacity, within, without)
        # With one item in, all others of its user are out; what that does to the same knapsack is not counted twice.
        out = np.bincount(self.user, without, self.n_users)
        loss = within + out[self.user] - np.bincount(self.cell, without)[self.cell]
        room = ROUNDING * (float(np.abs(prices).sum()) + abs(bound))
        return Tightened(bound + room, prices, np.maximum(loss, 0.0))

    def _lowered(self, prices: np.ndarray, least: float, deadline: float) -> tuple[float, np.ndarray]:
        """Lower the bound by steps along subgradients, each aimed at a level a little below the best.

        The level comes nearer where it is not reached (Goffin & Kiwiel, *Convergence of a simple subgradient level method*,
        Math. Programming 85, 1999, doi:10.1007/s101070050053).
        """
        best, kept = math.inf, prices
        aim, direction, record, waited = math.nan, np.zeros(self.n_users), math.inf, 0
        for step in range(STEPS):
            reached, lacking = self.bound(prices)
            if not step:
                aim = finest = AIMED_AT * (reached - least)
                finest *= FINEST / AIMED_AT
            if reached < best:
                best, kept = reached, prices
            waited += 1
            if best <= record - 0.5 * aim:
                record, waited = best, 0
            elif waited > PATIENCE:
                aim, record, waited = 0.5 * aim, best, 0
                prices, direction = kept, np.zeros(self.n_users)
                continue
            if not lacking.any() or aim <= finest or working_time() > deadline:
                break
            direction = lacking + KEPT * direction
            length = float(direction @ direction)
            if length == 0.0:
                direction, length = lacking, float(lacking @ lacking)
            prices = prices - (reached - best + aim) / length * direction
        return best, kept
