"""How much of a campaign's budget may go today, while later waves are known as a forecast only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from allocator.errors import UsageError

HALVINGS = 60  # of the price's range: to the last bit


@dataclass(frozen=True, eq=False)
class Outlook:
    """What is known when a wave is planned; money in currency.

    Attributes
    ----------
    budget, rest
        Of the whole campaign, and what is left of it after what was really spent so far.
    waves, left
        Waves of the campaign, and those that are left, today's included.
    value, cost
        `(n_users, n_coupons)` float64: what every offer is believed to earn and to cost.
    today, later
        `(n_users,)` float64: 1 for those who can get an offer today; how many offers a user can be expected to be
        there for, and be allowed, in later waves.
    """

    budget: float
    rest: float
    waves: int
    left: int
    value: np.ndarray
    cost: np.ndarray
    today: np.ndarray
    later: np.ndarray


@dataclass(frozen=True)
class Allowance:
    """What a wave may spend in expectation, currency, and the price that it follows from (NaN: from none)."""

    amount: float
    price: float = float("nan")


class Pacing(Protocol):
    """Decides what a wave may spend; who gets what for it is the solver's to find."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    def allow(self, outlook: Outlook) -> Allowance:
        """Return what today's wave may spend."""
        ...


@dataclass(frozen=True)
class EqualSplit:
    """The same part of the budget in each wave; what a wave leaves is not passed on."""

    name: str = "equal split"

    def allow(self, outlook: Outlook) -> Allowance:
        """Return a wave's part."""
        return Allowance(min(outlook.rest, outlook.budget / outlook.waves))


@dataclass(frozen=True)
class GreedyFirst:
    """Each wave takes what it can use of all that is left."""

    name: str = "greedy first"

    def allow(self, outlook: Outlook) -> Allowance:
        """Return the rest of the budget."""
        return Allowance(outlook.rest)


@dataclass(frozen=True)
class ByPrices:
    """Bid prices: today takes every offer that is worth more than its cost at the price of what is left.

    The price is the dual price of the rest of the budget in the expected whole, today's arrivals and the expected later
    ones (Talluri & van Ryzin 1998, doi:10.1287/mnsc.44.11.1577: certainty-equivalent bid prices), found anew in each
    wave from what was spent and who came, so that it moves as in adaptive pacing (Balseiro & Gur 2019,
    doi:10.1287/mnsc.2018.3174), but by solving again instead of by a step along the gradient.
    """

    name: str = "paced by prices"

    def allow(self, outlook: Outlook) -> Allowance:
        """Return what today's arrivals cost at that price; in the last wave, what is left."""
        price = dual_price(outlook.value, outlook.cost, outlook.today + outlook.later, outlook.rest)
        if outlook.left == 1:
            return Allowance(outlook.rest, price)
        wanted = float(outlook.today @ spend_at(outlook.value, outlook.cost, price))
        return Allowance(min(wanted, outlook.rest), price)


def spend_at(value: np.ndarray, cost: np.ndarray, price: float) -> np.ndarray:
    """Return `(n_users,)` the cost of each user's best offer at a price of the budget, 0 where none is worth it."""
    reduced = value - price * cost
    best = reduced.argmax(axis=1)
    rows = np.arange(len(best))
    return np.where(reduced[rows, best] > 0.0, cost[rows, best], 0.0)


def dual_price(value: np.ndarray, cost: np.ndarray, weight: np.ndarray, budget: float) -> float:
    """Return the least price at which weighted users, each taking the best offer, cost no more than the budget.

    It minimises the dual `price * budget + sum_i weight_i * max(0, max_k value_ik - price * cost_ik)`, whose slope is
    what is left of the budget; that slope never falls with the price, so halving its range finds where it turns.

    Parameters
    ----------
    value, cost
        `(n_users, n_coupons)` float64, currency; every cost of a positive value is above 0.
    weight
        `(n_users,)` float64, how often a user counts.
    budget
        Currency, 0 or more.

    Raises
    ------
    UsageError
        Where the budget is negative, or offers that earn cost nothing.
    """
    if not budget >= 0.0:
        raise UsageError(f"budget is {budget:g}; it must be 0 or more")
    useful = (value > 0).any(axis=1) & (weight > 0)
    value, cost, weight = value[useful], cost[useful], weight[useful]
    if not weight.size or weight @ spend_at(value, cost, 0.0) <= budget:
        return 0.0
    earns = value > 0
    free = int((cost[earns] <= 0).sum())
    if free:
        raise UsageError(f"{free:,} offers earn but cost nothing; a price of the budget cannot choose among them")
    low, high = 0.0, float((value[earns] / cost[earns]).max())
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        if weight @ spend_at(value, cost, middle) > budget:
            low = middle
        else:
            high = middle
    return high
