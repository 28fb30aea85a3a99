"""What the report shows beside the plan itself: the data, as summary.json stores it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from allocator.result import LimitUse
from allocator.tracing import FrontierRow


@dataclass(frozen=True)
class Interval:
    """A 95 % interval of the plan's value, currency.

    Attributes
    ----------
    low, high
        From the offers' draws; or from their standard errors, as if the errors of two offers had nothing in common.
    shared_low, shared_high
        The same as if all errors were one and the same: the widest that the standard errors allow. `None` with
        draws, which tell how errors go together.
    source
        `value_draw` or `value_error`: the columns that it comes from.
    draws
        How many draws; 0 with standard errors.
    """

    low: float
    high: float
    shared_low: float | None
    shared_high: float | None
    source: str
    draws: int


@dataclass(frozen=True)
class Segment:
    """What a plan does for the users that share one value of an attribute.

    Attributes
    ----------
    users
        With or without offers of this plan.
    reached
        Users who get at least one offer.
    cost, value
        Currency, over the issued offers.
    """

    name: str
    users: int
    reached: int
    issued: int
    cost: float
    value: float


@dataclass(frozen=True)
class Segments:
    """The segments of one attribute of the users table, those with most users first."""

    attribute: str
    rows: tuple[Segment, ...]


@dataclass(frozen=True)
class UpliftCurve:
    """What targeting more and more users would earn without any limit, best value per cost first.

    Each user counts with the offer of greatest value. Each of `users`, `value` and `cost` is a running sum and
    begins with 0; steps are of at least ten users. At random the same offers earn a straight line to the last point.
    """

    users: tuple[int, ...]
    value: tuple[float, ...]
    cost: tuple[float, ...]


@dataclass(frozen=True)
class Suppressed:
    """What the report does not show by itself, because it is about few users or would give such a number away.

    Attributes
    ----------
    coupons, limits
        Names.
    segments
        Names by attribute.
    """

    coupons: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    segments: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Assumption:
    """Something that the plan takes for granted; `given`: the campaign file says so, it is no default."""

    name: str
    value: str
    meaning: str
    given: bool


@dataclass(frozen=True)
class Findings:
    """Everything that is worked out for the report from the problem and its offers; `None` and empty: not known.

    Attributes
    ----------
    reached
        Users who get at least one offer.
    interval_note
        Why there is no interval; empty where there is one.
    frontier
        What other budgets would earn, the budget's own among them, ascending.
    frontier_note
        Why there is no frontier, or what it leaves out; empty where there is nothing to say.
    model
        What the model that made the offers says of itself: `kind`, `observational` (bool), `metrics` (a list of `name`,
        `value`, `low`, `high`, `meaning`), `calibration` (a list of `predicted`, `observed`, `users`), `notes` (a list of
        sentences); every one optional.
    """

    reached: int | None = None
    objective_interval: Interval | None = None
    interval_note: str = "the offers carry no standard error"
    frontier: tuple[FrontierRow, ...] = ()
    frontier_note: str = ""
    segments: tuple[Segments, ...] = ()
    uplift_curve: UpliftCurve | None = None
    suppressed: Suppressed = Suppressed()
    model: Mapping[str, Any] | None = None
    assumptions: tuple[Assumption, ...] = ()


def worth(use: LimitUse) -> float:
    """Return what one per cent of a limit's number earns, currency: the order in which limits matter."""
    number = use.at_most if use.price > 0 else use.at_least
    return abs(use.price * (number or 0.0)) * 0.01
