"""A limit: one global rule of a campaign."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from allocator.errors import CampaignError

Measure = str | Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Limit:
    """A measure summed over the chosen offers of some coupons and some users, at most or at least a number.

    Parameters
    ----------
    name
        How results, prices and messages call it. Unique in a problem.
    measure
        `"cost"`, `"value"`, `"liability"`, `"count"`, any numeric column of the offers, or a weighted sum of these
        such as `{"value": 1.0, "cost": -0.5}` (an offer's number is then the sum, left to right, in float64).
    at_least, at_most
        In the measure's unit; at least one of the two is given.
    coupons
        The coupons it covers, by name (or by index where the problem has no names); `None`: all.
    users
        The users it covers: a mapping from attribute to a value or to a list of values, of which all must match
        (`{"region": "north", "segment": ["new", "lapsed"]}`), or a `(n_users,)` bool array; `None`: all.
    """

    name: str
    measure: Measure = "cost"
    at_least: float | None = None
    at_most: float | None = None
    coupons: Sequence[str | int] | None = None
    users: Mapping[str, Any] | np.ndarray | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise CampaignError("a limit needs a name")
        if self.at_least is None and self.at_most is None:
            raise CampaignError(f"limit {self.name!r} has neither at_least nor at_most; give one of them")
        for side in ("at_least", "at_most"):
            number = getattr(self, side)
            if number is not None and not math.isfinite(number):
                raise CampaignError(f"limit {self.name!r}: {side} is {number}; leave it out where there is no limit")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise CampaignError(f"limit {self.name!r}: at_least {self.at_least:,} exceeds at_most {self.at_most:,}")
        if isinstance(self.measure, Mapping):
            if not self.measure:
                raise CampaignError(f"limit {self.name!r}: the weighted measure names no column")
            for column, weight in self.measure.items():
                if not math.isfinite(weight):
                    raise CampaignError(f"limit {self.name!r}: the weight of {column!r} is {weight}")

    @property
    def weights(self) -> dict[str, float]:
        """The measure as a weight for each column."""
        return {self.measure: 1.0} if isinstance(self.measure, str) else dict(self.measure)

    @property
    def measure_name(self) -> str:
        """The measure in words: `cost`, or `value - 0.5 cost`."""
        if isinstance(self.measure, str):
            return self.measure
        words = ""
        for column, weight in self.measure.items():
            sign = ("- " if weight < 0 else "+ ") if words else ("-" if weight < 0 else "")
            scale = "" if abs(weight) == 1 else f"{abs(weight):g} "
            words += (" " if words else "") + f"{sign}{scale}{column}"
        return words
