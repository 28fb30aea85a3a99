"""What a made-up market is like: numbers from Complete Journey, and named assumptions where no data tell."""

from __future__ import annotations

import datetime
import json
import math
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from allocator.errors import UsageError

CALIBRATION = Path(__file__).parent / "complete_journey.json"
PERIOD_DAYS = 28
MOST_PERIODS = 52


@cache
def calibration() -> dict[str, Any]:
    """Return the parameters that `examples/calibrate_market.py` derives from Complete Journey."""
    document: dict[str, Any] = json.loads(CALIBRATION.read_text(encoding="utf-8"))
    return document


@dataclass(frozen=True)
class Settings:
    """Assumptions about a market; a coupon's effects cannot be read from data whose coupons were targeted.

    Attributes
    ----------
    start
        First day of the campaign.
    periods
        Periods of 28 days of history before it, 3 at least.
    visits
        Mean visits of a user in a period (Complete Journey: 4.4 in a grocer's best households).
    lines
        Mean lines of a basket (Complete Journey: 10).
    redeeming
        Mean P(a user who reads a coupon and buys means to redeem it).
    attract
        How strongly a coupon raises the log of the visit rate, before depth, scope and minimum spend take their part.
    idle
        How much a coupon moves a user who never redeems, as a share of how it moves one who always does.
    annoyed, annoy
        Share of users whom contacts annoy, and by how much they lower the log rate. They are the sleeping dogs.
    stretch
        A basket from this share of the minimum spend on is filled up to reach it.
    habit
        What a purchase adds to the log rate of the next period: repeat purchase.
    forward
        Share of the next period's visits that a redemption takes away: forward buying.
    fatigue
        What each coupon received lately takes off the log of a coupon's appeal.
    shock
        Coefficient of variation of the factor on redemption that all users share in a campaign.
    drift
        What a period takes off the log of a coupon's appeal.
    lapsed, joined
        Share of users who have lapsed, or joined, during the history.
    lapsed_rate
        Visits of a lapsed user, as a share of those before.
    odd
        0 for a market whose effects follow what users' features and histories show. Above 0 it is mis-specified: tastes
        for and against coupons that nothing shows, and deep discounts that put some users off.
    margin
        Share of the basket's price, before the coupon, that is margin.
    contact_cost
        Currency for each coupon issued.
    trial_share
        Share of users in the randomised trial of the period before the last.
    """

    start: datetime.date = datetime.date(2024, 3, 4)
    periods: int = 8
    visits: float = 1.2
    lines: float = 4.0
    redeeming: float = 0.65
    attract: float = 2.5
    idle: float = 0.1
    annoyed: float = 0.2
    annoy: float = 0.5
    stretch: float = 0.8
    habit: float = 0.15
    forward: float = 0.25
    fatigue: float = 0.15
    shock: float = 0.25
    drift: float = 0.03
    lapsed: float = 0.15
    joined: float = 0.15
    lapsed_rate: float = 0.2
    odd: float = 0.0
    margin: float = 0.20
    contact_cost: float = 0.10
    trial_share: float = 0.5

    def __post_init__(self) -> None:
        """Raise `UsageError` for a number that makes no market."""
        if not 3 <= self.periods <= MOST_PERIODS:
            raise UsageError(f"periods is {self.periods}; it must be 3 to {MOST_PERIODS}")
        shares = (
            "redeeming",
            "idle",
            "annoyed",
            "stretch",
            "forward",
            "lapsed",
            "joined",
            "lapsed_rate",
            "margin",
            "trial_share",
        )
        for field in fields(self):
            number = getattr(self, field.name)
            if not isinstance(number, float):
                continue
            most = 1.0 if field.name in shares else 100.0
            if not (math.isfinite(number) and 0.0 <= number <= most):
                raise UsageError(f"{field.name} is {number:g}; it must be 0 to {most:g}")
        if min(self.visits, self.stretch, self.redeeming) <= 0 or self.lines < 1:
            raise UsageError("visits, stretch and redeeming must be above 0, and lines 1 at least")
        if self.redeeming >= 1.0 or self.lapsed + self.joined > 1.0:
            raise UsageError("redeeming must be below 1, and lapsed + joined at most 1")
