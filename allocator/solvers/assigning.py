"""The search where every offer uses one limit at most: branch and bound by prices of users, of all and of a few at a time.

The tree search (`kernels.assigning`) is quick on a few dozen users, and on all where prices leave little open. It begins by
looking for plans near the bound, where nearly everything is ruled out, and lowers its sights until it finds one; then
neighbourhoods of the plan are searched, and the whole again, each time with more work.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from allocator.kernels.assigning import tree
from allocator.solvers.ejection import stopped_at
from allocator.solvers.knapsacks import Knapsacks, Tightened

FIRST_WORK = 3e8  # table entries, about a third of a second, of the first search of all
MORE_WORK = 3.0  # times as much for each next one
NEAREST = 0.01  # of the gap: how far below the bound the first search looks
FURTHER = 2.0
MENDED_WITH = (0.0, 0.05, 0.1, 0.2, 0.4)  # of the users, placed anew with those that are in no knapsack or in several
AIMS = (0.125, 0.5, 1.0)  # of the gap: how far below the bound plans are looked for
REACH = 0.15  # of the gap, that an item may lose for that
ROUND_WORK = 1e8  # of a neighbourhood
FIRST_USERS, MOST_USERS = 30.0, 400.0  # in one
LEAST_WORK = 3e5  # what it takes to begin one
REACHES = (0.02, 0.1, 0.3, 1.0)  # of the gap: what items in a neighbourhood may lose, in turn
FEWEST_GAINS = 3.0
KINDS = 3
WIDER, NARROWER = 1.05, 0.9
ROUNDING = 1e-6  # of the least gain
SPECK = 0.2  # of the least gain: all specks of a plan together, which lead from a plan to another as good


@dataclass(frozen=True, eq=False)
class Assigning:
    """A search for the choice of one item a user.

    Attributes
    ----------
    proven
        Prices of users, and what items lose.
    gain
        How much more a better plan is worth at least, currency.
    whole
        Whether values are whole numbers.
    """

    knapsacks: Knapsacks
    proven: Tightened
    gain: float
    whole: bool
    seed: int

    def value(self, items: np.ndarray) -> float:
        """Return what a plan is worth, `(n_users,)` items."""
        return float(self.knapsacks.value[items].sum())

    def best(self, items: np.ndarray, stop: np.ndarray, told: list[np.ndarray]) -> tuple[np.ndarray, float]:
        """Return the best plan found from one in hand, `(n_users,)` items, and a bound, until the stop.

        It depends on the clock only where the bound says that it is not the best. What is found meanwhile is `told`.
        """
        rng = np.random.default_rng(self.seed)
        bound = float(np.floor(self.proven.bound)) if self.whole else self.proven.bound
        items = self._mended(items, bound, rng, stop)
        items, bound = self._near_bound(items, bound, stop)
        work = FIRST_WORK
        told.append(items)
        while bound - self.value(items) >= self.gain and not stop[0]:
            items = self.walk(items, work, rng, stop)
            items, done = self._search(items, self.value(items), work, stop)
            if done:
                return items, self.value(items)
            told.append(items)
            work *= MORE_WORK
        return items, bound

    def wander(self, items: np.ndarray, stop: np.ndarray, told: list[np.ndarray]) -> np.ndarray:
        """Return the best plan found among neighbourhoods until the stop, of what another search has `told` too."""
        rng = np.random.default_rng(self.seed)
        return self.walk(self._mended(items, self.proven.bound, rng, stop), np.inf, rng, stop, told)

    def _mended(self, items: np.ndarray, bound: float, rng: np.random.Generator, stop: np.ndarray) -> np.ndarray:
        """Return the better of a plan and the best found from what fills the knapsacks at the prices.

        Most users are in one of them; the others are placed anew, together with ever more at random.
        """
        sacks = self.knapsacks
        _, taken = sacks.filled(self.proven.prices)
        single = np.bincount(sacks.user[taken], minlength=sacks.n_users) == 1
        taken = taken[single[sacks.user[taken]]]
        placed = items.copy()
        placed[sacks.user[taken]] = taken
        ranked = rng.permutation(np.flatnonzero(single))
        for share in MENDED_WITH:
            free = ~single
            free[ranked[: int(share * sacks.n_users)]] = True
            for nearer in AIMS:
                gap = bound - self.value(items)
                within = self.proven.loss <= min(gap, max(REACH * gap, FEWEST_GAINS * self.gain))
                found, _, _ = self._tree(free, within, placed, bound - nearer * gap, self.gain, FIRST_WORK, stop)
                if stop[0] or gap < self.gain:
                    return items
                if found is not None and self.value(found) > self.value(items):
                    items = found
                    break
        return items

    def _near_bound(self, items: np.ndarray, bound: float, stop: np.ndarray) -> tuple[np.ndarray, float]:
        """Look for plans ever further below the bound until there is one; return the best plan and bound."""
        off = max(self.gain, NEAREST * (bound - self.value(items)))
        while self.value(items) < bound - off and not stop[0]:
            least = bound - off
            other, done = self._search(items, least, FIRST_WORK, stop)
            if self.value(other) > self.value(items):
                items = other
                break
            if not done:
                break
            bound = least + (0.0 if self.whole else self.gain)
            off *= FURTHER
        return items, bound

    def _search(self, items: np.ndarray, least: float, work: float, stop: np.ndarray) -> tuple[np.ndarray, bool]:
        """Search all plans worth more than `least`; return the best found, or `items`, and whether no better one is left."""
        everyone = np.ones(self.knapsacks.n_users, dtype=bool)
        within = self.proven.bound - self.proven.loss >= least + (1.0 - ROUNDING) * self.gain
        found, done, _ = self._tree(everyone, within, items, least, self.gain, work, stop)
        return (items if found is None else found), done

    def walk(
        self,
        items: np.ndarray,
        work: float,
        rng: np.random.Generator,
        stop: np.ndarray,
        told: Sequence[np.ndarray] = (),
    ) -> np.ndarray:
        """Return the best plan found among neighbourhoods, one after the other from `items`, for so much work."""
        sacks, widths, size = self.knapsacks, [FIRST_USERS] * KINDS, self.knapsacks.n_users
        # Whole values leave room for specks that lead from a plan to another as good.
        speck = SPECK * self.gain / size if self.whole else 0.0
        rounds = 0
        while work > 0.0 and not stop[0]:
            kind = rounds % KINDS
            rounds += 1
            if told and self.value(told[-1]) > self.value(items):
                items = told[-1]
            now = self.value(items)
            free = self._freed(rng, items, sacks.limit[items], int(widths[kind]), kind)
            gap = self.proven.bound - now
            reach = max(FEWEST_GAINS * self.gain, gap * REACHES[rounds // KINDS % len(REACHES)])
            within = self.proven.loss <= min(gap, reach)
            within[items] = True
            specks = rng.random(sacks.state.size) * speck
            least, gain = now + float(specks[items].sum()), 1e-3 * speck if self.whole else self.gain
            found, done, used = self._tree(free, within, items, least, gain, ROUND_WORK, stop, specks)
            work -= used
            widths[kind] = min(widths[kind] * WIDER, MOST_USERS, size) if done else max(4.0, widths[kind] * NARROWER)
            items = items if found is None else found
        return items

    def _freed(self, rng: np.random.Generator, items: np.ndarray, held: np.ndarray, n: int, kind: int) -> np.ndarray:
        """Draw `n` users to free, bool: those of a few knapsacks, any, or rather those whose items lose much."""
        order = rng.permutation(held.size)
        if kind == 0:
            rank = rng.permutation(self.knapsacks.capacity.size)[held]
            order = order[np.argsort(rank[order], kind="stable")]
        elif kind == 1:
            loss = self.proven.loss[items]
            order = np.argsort(rng.exponential(size=held.size) / (loss + loss.mean() + ROUNDING), kind="stable")
        free = np.zeros(held.size, dtype=bool)
        free[order[:n]] = True
        return free

    def _tree(
        self,
        free: np.ndarray,
        within: np.ndarray,
        items: np.ndarray,
        least: float,
        gain: float,
        work: float,
        stop: np.ndarray,
        specks: np.ndarray | None = None,
    ) -> tuple[np.ndarray | None, bool, float]:
        """Search the plans in which users who are not `free` keep their items, others have items `within`.

        Returns the best one found, whether no better one is left, and the work done.
        """
        sacks = self.knapsacks
        kept = items[~free]
        limit = sacks.limit
        room = sacks.capacity - np.bincount(limit[kept], sacks.use[kept], sacks.capacity.size).astype(np.int64)
        open_ = np.flatnonzero(within & free[sacks.user] & (sacks.use <= room[limit]))
        users = np.flatnonzero(free)
        number = np.cumsum(free) - 1
        user, value = number[sacks.user[open_]], sacks.value if specks is None else sacks.value + specks
        order = np.argsort(user, kind="stable")
        best, solution = np.array([least - float(value[kept].sum())]), np.full(users.size, -1)
        done, left = tree(
            np.searchsorted(limit[open_], np.arange(sacks.capacity.size + 1)),
            user,
            sacks.use[open_],
            value[open_],
            limit[open_],
            np.searchsorted(user[order], np.arange(users.size + 1)),
            order,
            room,
            self.proven.prices[users],
            best,
            gain,
            solution,
            work,
            stop,
        )
        if not users.size or solution[0] < 0:
            return None, done, work - left + LEAST_WORK
        found = items.copy()
        found[users] = open_[solution]
        return found, done, work - left + LEAST_WORK


def assigned(search: Assigning, items: np.ndarray, deadline: float) -> tuple[np.ndarray, float]:
    """Search on two threads until the deadline (`working_time`); return the best plan, `(n_users,)` items, and a bound.

    Where the first search shows that its plan is the best, what the other came to meanwhile does not matter.
    """
    stop, other = np.zeros(1, np.uint8), dataclasses.replace(search, seed=search.seed + 1)
    with stopped_at(deadline, stop), ThreadPoolExecutor(2) as pool:
        try:
            told: list[np.ndarray] = []
            task = pool.submit(search.best, items, stop, told)
            beside = pool.submit(other.wander, items, stop, told)
            found, bound = task.result()
        finally:
            stop.fill(1)
        further = beside.result()
    best = found
    if bound - search.value(found) >= search.gain and search.value(further) > search.value(found):
        best = further
    return best, bound
