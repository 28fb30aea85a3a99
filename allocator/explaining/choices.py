"""Why one user gets this offer and not that: reduced values under the rules for a single user.

At the limits' prices users are independent. An offer is worth its value less what it uses of each limit at that limit's
price (the reduced value of the Lagrangian, Fisher 1981, 10.1287/mnsc.27.1.1), and each user takes the best offers that
the rules allow. A plan may differ from that for a few users, since prices alone do not fill every limit to the last
unit; the differences of all users add up to at most the prices' bound less the plan's value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

TIE = 1e-9  # relative to the size of the terms: less is rounding


class Why(StrEnum):
    """Why an offer is issued or not."""

    ISSUED = "issued"
    LOSES = "loses"  # its value is not above 0, with or without limits
    PRICED_OUT = "priced_out"  # the limits that it uses earn more elsewhere
    MAX_PER_USER = "max_per_user"  # better offers fill what the user may get
    EXCLUSIVE = "exclusive"  # a better offer of its exclusive group is issued
    CLOSE_CALL = "close_call"  # by the prices as good or better; decided where limits are filled to the last unit
    NOT_ELIGIBLE = "not_eligible"  # no row in the offers
    REQUIRED = "required"  # issued since it must be
    FORBIDDEN = "forbidden"  # not issued since it must not be
    HELD_OUT = "held_out"  # the user is in the control group, which gets nothing


@dataclass(frozen=True)
class Charge:
    """What one limit takes from an offer: `price` (currency per unit) x `amount` (units of the limit's measure).

    `takes` is in currency; negative where an at-least limit adds to the offer's worth.
    """

    limit: str
    price: float
    amount: float
    takes: float


@dataclass(frozen=True)
class Candidate:
    """An offer of a user.

    Attributes
    ----------
    value, cost
        Currency.
    after_prices
        The reduced value: `value` less what all `charges` take, currency.
    """

    coupon: str
    value: float
    cost: float
    charges: tuple[Charge, ...]
    after_prices: float
    issued: bool
    required: bool = False
    forbidden: bool = False
    held_out: bool = False


@dataclass(frozen=True)
class Verdict:
    """Why an offer is issued or not.

    Attributes
    ----------
    rival
        The coupon that took its place, where one did.
    limit
        The limit that takes most of its value, where its price decided.
    """

    why: Why
    rival: str | None = None
    limit: str | None = None


def after_prices(value: float, charges: Sequence[Charge]) -> float:
    """Return an offer's reduced value, exactly rounded. Currency."""
    return math.fsum([value, *(-charge.takes for charge in charges)])


def best(candidates: Sequence[Candidate], most: int, group: Mapping[str, int]) -> tuple[Candidate, ...]:
    """Return what a user would take at the prices alone: greedy, which the rules' nested shape makes exact."""
    taken: list[Candidate] = []
    shut: set[int] = set()
    order = sorted(candidates, key=lambda item: (not item.required, -item.after_prices))
    for item in order:
        if item.forbidden or item.held_out or len(taken) >= most:
            continue
        if (item.required or item.after_prices > 0) and group.get(item.coupon, -1) not in shut:
            taken.append(item)
            shut |= {group[item.coupon]} if group.get(item.coupon, -1) >= 0 else set()
    return tuple(taken)


def verdicts(candidates: Sequence[Candidate], most: int, group: Mapping[str, int]) -> tuple[Verdict, ...]:
    """Judge each offer of a user against what the plan issues to them.

    Parameters
    ----------
    most
        How many offers the user may get.
    group
        The exclusive group of each coupon that is in one.
    """
    issued = [item for item in candidates if item.issued]
    return tuple(_verdict(item, issued, most, group) for item in candidates)


def _verdict(item: Candidate, issued: Sequence[Candidate], most: int, group: Mapping[str, int]) -> Verdict:
    if item.issued:
        return Verdict(Why.REQUIRED if item.required else Why.ISSUED)
    if item.held_out:
        return Verdict(Why.HELD_OUT)
    if item.forbidden:
        return Verdict(Why.FORBIDDEN)
    size = abs(item.value) + math.fsum(abs(charge.takes) for charge in item.charges)
    if item.after_prices <= TIE * size:
        dearest = max(item.charges, key=lambda charge: charge.takes, default=None)
        if item.value <= 0 or dearest is None or dearest.takes <= 0:
            return Verdict(Why.LOSES)
        why = Why.PRICED_OUT if item.after_prices < -TIE * size else Why.CLOSE_CALL
        return Verdict(why, limit=dearest.limit)
    kin = [other for other in issued if group.get(other.coupon, -1) == group.get(item.coupon, -2)]
    if kin:
        return _beaten(item, kin[0], Why.EXCLUSIVE, size)
    if len(issued) >= most:
        if not issued:  # the user may get nothing
            return Verdict(Why.MAX_PER_USER)
        return _beaten(item, min(issued, key=lambda other: other.after_prices), Why.MAX_PER_USER, size)
    return Verdict(Why.CLOSE_CALL)


def _beaten(item: Candidate, rival: Candidate, why: Why, size: float) -> Verdict:
    close = item.after_prices >= rival.after_prices - TIE * size and not rival.required
    return Verdict(Why.CLOSE_CALL if close else why, rival=rival.coupon)
