"""From the command line's words to a problem."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from allocator.chance import Chance, check_confidence
from allocator.errors import UsageError
from allocator.limit import Limit
from allocator.problem import Problem
from allocator.problem.intake import positive_budget
from allocator.reporting.summary import Terms

if TYPE_CHECKING:
    import pyarrow as pa

BUDGET_MISSING = (
    "no budget: give --budget 50000, or budget = 50000 under [campaign] in a file that --campaign names. "
    "`allocate --budget 50000` alone plans the built-in demo campaign"
)


@dataclass(frozen=True)
class Source:
    """Where a problem comes from, as the command line names it."""

    budget: float | None
    offers: str | None
    campaign: Path | None
    users: str | None
    confidence: float | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """The input files as they were named; none for the built-in demo campaign."""
        return tuple(str(item) for item in (self.offers, self.campaign, self.users) if item is not None)


@dataclass(frozen=True, eq=False)
class Input:
    """A problem, and what the output needs of its source."""

    problem: Problem
    table: pa.Table
    terms: Terms


def read(source: Source) -> Input:
    """Read offers, campaign and users, or make the demo campaign; raises `UsageError` and `DataError`."""
    if source.budget is not None:
        positive_budget(source.budget)
    if source.confidence is not None:
        check_confidence(source.confidence)
    if source.offers is None:
        return _demo(source)
    from allocator.campaign import Campaign, load_campaign
    from allocator.tables.files import read_offers, read_users, same_ids

    campaign = Campaign() if source.campaign is None else load_campaign(source.campaign)
    budget = campaign.budget if source.budget is None else source.budget
    if budget is None:
        raise UsageError(BUDGET_MISSING)
    table = read_offers(source.offers)
    users = None if source.users is None else read_users(source.users)
    if users is not None:
        table, users = same_ids(table, users)
    problem = Problem.from_offers(
        table,
        limits=campaign.limits(budget),
        users=users,
        max_per_user=campaign.max_per_user,
        exclusive=campaign.exclusive,
        coupons=campaign.coupon_ids or None,
        face_value=campaign.face_values or None,
        source=source.offers,
    )
    confidence = campaign.confidence if source.confidence is None else source.confidence
    terms = Terms(campaign.name, campaign.currency, budget, confidence, campaign.redemption_shock)
    return Input(_with_chance(problem, terms), table, terms)


def _with_chance(problem: Problem, terms: Terms) -> Problem:
    if terms.confidence is None:
        return problem
    return problem.with_chance(Chance(terms.confidence, terms.shock))


def _demo(source: Source) -> Input:
    from allocator.cli import demo

    if source.campaign is not None or source.users is not None:
        given = "--users" if source.campaign is None else "--campaign"
        raise UsageError(f"{given} needs --offers: the demo campaign brings its own")
    if source.budget is None:
        raise UsageError(BUDGET_MISSING)
    made = demo.campaign()
    problem = Problem.from_offers(
        made.offers,
        limits=[Limit("budget", "cost", at_most=source.budget), *made.limits],
        users=made.users,
        face_value=made.face_values,
        source="the demo campaign",
    )
    terms = Terms("demo", demo.CURRENCY, source.budget, source.confidence)
    return Input(_with_chance(problem, terms), made.offers, terms)
