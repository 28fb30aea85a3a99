"""All that may still differ in a better plan, as far as prices tell, of limits and, where limits are knapsacks, of users."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from allocator.clock import working_time
from allocator.problem import Problem
from allocator.solvers.assigning import Assigning
from allocator.solvers.candidates import CorePlan, Effort, reach_of, required_value
from allocator.solvers.ejection import States, states_of
from allocator.solvers.knapsacks import MOST_USERS, Knapsacks
from allocator.solvers.part import Opened, Part, part_of
from allocator.solvers.piece import Piece

MOST_CORE = 120_000  # offers that may differ; of more, those of the users nearest to a tie
GAIN = 0.4  # of the tolerance: a plan better by less is not looked for
LONGEST = 0.15  # of the time that is left, for the prices of users


@dataclass(frozen=True, eq=False)
class Proven:
    """What prices of users prove of plans better than the one in hand.

    Attributes
    ----------
    bound
        Of every plan, currency.
    offer
        `(n,)` the problem's offers, ascending.
    loss
        `(n,)` currency: no plan with the offer is worth more than `bound - loss`.
    lost, chosen
        `(n,)` as in `Opened`, told by `loss`.
    idle
        `(n,)` what the offer's user loses with nothing, infinite where that is not allowed.
    """

    bound: float
    offer: np.ndarray
    loss: np.ndarray
    lost: np.ndarray
    chosen: np.ndarray
    idle: np.ndarray

    @classmethod
    def of(cls, part: Part, states: States, loss: np.ndarray, bound: float) -> Proven:
        """Return it in terms of offers; `loss` `(n_states,)`, `bound` of the problem."""
        owner = states.owner
        order = np.lexsort((loss, owner))
        least = order[states.start[:-1]]
        several = np.diff(states.start) > 1
        second = np.full(several.size, np.inf)
        second[several] = loss[order[states.start[:-1][several] + 1]]
        lost = loss.copy()
        lost[least] = second
        best = np.zeros(loss.size, dtype=bool)
        best[least] = True
        idle = np.full(several.size, np.inf)
        empty = states.column < 0
        idle[owner[empty]] = loss[empty]
        held = np.flatnonzero(~empty)
        offer = part.piece.shard.originals(part.free[states.column[held]])
        held = held[np.argsort(offer, kind="stable")]
        return cls(bound, np.sort(offer), loss[held], lost[held], best[held], idle[owner[held]])

    def at(self, offers: np.ndarray) -> np.ndarray:
        """Return the places of some of the offers."""
        return np.searchsorted(self.offer, offers)


@dataclass(frozen=True, eq=False)
class Ground:
    """Where limits are knapsacks: all that may differ, its states, and the search made for that."""

    part: Part
    states: States
    search: Assigning


@dataclass(frozen=True, eq=False)
class Field:
    """A problem with the prices of its limits, the bound that they prove, and what prices of users prove beyond it."""

    problem: Problem
    whole: Piece
    prices: np.ndarray
    price_bound: float
    proven: Proven | None = None
    ground: Ground | None = None

    @property
    def bound(self) -> float:
        """Of every plan better than the one that it was found with, currency."""
        return self.price_bound if self.proven is None else min(self.price_bound, self.proven.bound)

    def tightened(self, best: CorePlan, effort: Effort) -> Field:
        """Return the field with prices of users, where limits are knapsacks."""
        if self.problem.offers.n_users > MOST_USERS:
            return self
        opened = self.open(best)
        if best.offers is None or not opened.complete:
            return self
        states = states_of(opened.part.program, opened.part.owner, self.prices)
        knapsacks = None if states is None else Knapsacks.of(states)
        if states is None or knapsacks is None:
            return self
        outside = opened.part.fixed + required_value(self.problem)
        now = working_time()
        until = now + LONGEST * (effort.deadline - now)
        found = knapsacks.tightened(states.worth, best.objective - outside, until)
        whole = self.problem.whole_values
        search = Assigning(knapsacks, found, 1.0 if whole else GAIN * effort.tolerance, whole, effort.seed)
        proven = Proven.of(opened.part, states, found.loss[knapsacks.item], found.bound + outside)
        return dataclasses.replace(self, proven=proven, ground=Ground(opened.part, states, search))

    def open(self, best: CorePlan) -> Opened:
        """Return all that may differ in a better plan, or most of it: the users nearest to a tie, others as in the plan."""
        whole, tables = self.whole, self.whole.folding.tables(self.prices)
        offer, lost, chosen = whole.executor.losses(whole.shard, tables, reach_of(best, self.price_bound))
        base = whole.executor.choose(whole.shard, tables).picked
        kept = base[~np.isin(base, offer[chosen])]
        complete = best.offers is None or offer.size <= MOST_CORE
        if best.offers is not None and not complete:
            owner = whole.shard.users_of(offer)
            closest = np.full(whole.shard.n_users, np.inf)
            np.minimum.at(closest, owner, lost)
            ranked = np.argsort(closest, kind="stable")
            room = np.cumsum(np.bincount(owner, minlength=whole.shard.n_users)[ranked])
            free = np.zeros(whole.shard.n_users, dtype=bool)
            free[ranked[room <= MOST_CORE]] = True
            plan = np.setdiff1d(best.offers, self.problem.required)
            kept = np.concatenate([kept[free[whole.shard.users_of(kept)]], plan[~free[whole.shard.users_of(plan)]]])
            inside = free[owner]
            offer, lost, chosen = offer[inside], lost[inside], chosen[inside]
        if self.proven is None:
            return Opened(part_of(whole, kept, offer), lost, chosen, base, complete)
        at = self.proven.at(whole.shard.originals(offer))
        # Of whole values a better plan earns one more; what the plan in hand has stays, as searches begin with it.
        reach = reach_of(best, self.bound - (1.0 if self.problem.whole_values else 0.0))
        stays = self.proven.loss[at] <= reach
        if best.offers is not None:
            stays |= np.isin(whole.shard.originals(offer), best.offers)
        open_users = np.unique(whole.shard.users_of(offer))
        base = base[~np.isin(whole.shard.users_of(base), open_users)]
        offer, at = offer[stays], at[stays]
        chosen = self.proven.chosen[at]
        base = np.unique(np.concatenate([kept, base, offer[chosen]]))
        return Opened(part_of(whole, kept, offer), self.proven.lost[at], chosen, base, complete)

    def states(self, part: Part) -> States | None:
        """Return the states of a part of this field for ejection chains, or `None` where it has none."""
        states = states_of(part.program, part.owner, self.prices)
        if states is None or self.proven is None:
            return states
        at = self.proven.at(part.piece.shard.originals(part.free))
        idle = np.full(states.start.size - 1, np.inf)
        idle[part.owner] = self.proven.idle[at]
        held = states.column >= 0
        loss = idle[states.owner]
        loss[held] = self.proven.loss[at][states.column[held]]
        return dataclasses.replace(states, loss=loss)
