"""From the command line's words to a problem."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from allocator.chance import Chance, check_confidence
from allocator.cli.predicting import ALONE, predict, ready
from allocator.cli.screen import Screen
from allocator.errors import UsageError
from allocator.limit import Limit
from allocator.problem import Problem
from allocator.problem.intake import positive_budget
from allocator.reporting.summary import Terms

if TYPE_CHECKING:
    import pyarrow as pa

    from allocator.campaign import Campaign

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
    model: str | None = None
    transactions: str | None = None
    products: str | None = None
    confidence: float | None = None

    def __post_init__(self) -> None:
        """Raise `UsageError` for what only a model can use."""
        for option, given in (("--transactions", self.transactions), ("--products", self.products)):
            if given is not None and self.model is None:
                raise UsageError(f"{option} needs --model: it is what a model's features are made of")
        if self.products is not None and self.transactions is None:
            raise UsageError(ALONE)

    @property
    def files(self) -> tuple[str, ...]:
        """The input files as they were named; none for the built-in demo campaign."""
        offers = None if self.model is not None else self.offers  # what the model makes is no input
        return tuple(
            str(item)
            for item in (offers, self.campaign, self.users, *self.history, *self.model_files)
            if item is not None
        )

    @property
    def history(self) -> tuple[str, ...]:
        """Past purchases and products, where given."""
        return tuple(item for item in (self.transactions, self.products) if item is not None)

    @property
    def model_files(self) -> tuple[str, ...]:
        """The model's manifest, which has the hashes of its other files."""
        return () if self.model is None else (str(Path(self.model) / "manifest.json"),)


@dataclass(frozen=True, eq=False)
class Input:
    """A problem, and what the output needs of its source; `model`: what the one that made the offers says of itself."""

    problem: Problem
    table: pa.Table
    terms: Terms
    users: pa.Table | None
    campaign: Campaign | None
    model: Mapping[str, Any] | None = None


def scored(source: Source, folder: Path, screen: Screen) -> Source:
    """Score the users into a file of offers in `folder`; return the source with it; raises as `read`."""
    if source.offers is not None:
        raise UsageError("--model makes the offers that --offers brings; give one of the two")
    if source.users is None or source.campaign is None:
        missing = "--users" if source.users is None else "--campaign"
        raise UsageError(f"--model needs {missing}: it makes the offers from the users and the campaign's coupons")
    assert source.model is not None
    from allocator.campaign import load_campaign

    campaign = load_campaign(source.campaign)
    if source.budget is None and campaign.budget is None:
        raise UsageError(BUDGET_MISSING)
    inputs = ready(source.model, source.users, campaign, source.transactions, source.products)
    target = folder / "offers.parquet"
    predict(inputs, target, screen)
    history = inputs.history  # the plan tells which purchases it was made from, also where nobody named them
    return dataclasses.replace(source, offers=str(target), transactions=history.transactions, products=history.products)


def read(source: Source) -> Input:
    """Read offers, campaign and users, or make the demo campaign; raises `UsageError` and `DataError`."""
    if source.budget is not None:
        positive_budget(source.budget)
    if source.confidence is not None:
        check_confidence(source.confidence)
    if source.offers is None:
        return _demo(source)
    from allocator.campaign import Campaign, load_campaign
    from allocator.tables.behind import model_behind
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
    given = None if source.campaign is None else campaign
    confidence = campaign.confidence if source.confidence is None else source.confidence
    terms = Terms(campaign.name, campaign.currency, budget, confidence, campaign.redemption_shock)
    return Input(_with_chance(problem, terms), table, terms, users, given, model_behind(source.offers))


def _with_chance(problem: Problem, terms: Terms) -> Problem:
    if terms.confidence is None:
        return problem
    return problem.with_chance(Chance(terms.confidence, terms.shock))


def _demo(source: Source) -> Input:
    from allocator.demo import builtin as demo

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
    return Input(_with_chance(problem, terms), made.offers, terms, made.users, None)
