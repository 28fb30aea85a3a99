"""One coupon of a campaign, as an explanation tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from allocator.explaining.choices import Charge, Why


@dataclass(frozen=True)
class OfferLine:
    """One coupon of the campaign, for one user.

    Attributes
    ----------
    value, cost, after_prices
        Currency; `None` where the user was not eligible. `after_prices`: the value less what the limits' prices take.
    charges
        What each limit takes that covers this offer and has a price.
    predictions
        What the offers tell of chances, by the column's name.
    why, reason
        Why it is issued or not, as a code and in words.
    rival, limit
        The coupon that took its place; the limit that takes most of its value, where that decided.
    """

    coupon: str
    issued: bool
    value: float | None
    cost: float | None
    after_prices: float | None
    charges: tuple[Charge, ...]
    predictions: Mapping[str, float]
    why: Why
    reason: str
    rival: str | None
    limit: str | None
