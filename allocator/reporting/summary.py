"""What a run found, in the words of summary.json; the terminal and the report are drawn from it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from allocator.chance import DEFAULT_SHOCK
from allocator.hedging.robust import TradeOff
from allocator.problem import Problem
from allocator.reporting.disclosure import suppressed
from allocator.reporting.findings import Findings
from allocator.result import Diagnosis, LimitUse, Result
from allocator.risk import SpendRisk
from allocator.solvers.strategies import StrategyResult
from allocator.tracing import FrontierRow
from allocator.verification import Certificate

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Terms:
    """What the campaign is called, its budget and its currency.

    `confidence`: with which probability the budget must hold (`None`: for expected spend alone); `shock`: the coefficient
    of variation of the factor common to all redemptions.
    """

    campaign: str
    currency: str
    budget: float
    confidence: float | None = None
    shock: float = DEFAULT_SHOCK


@dataclass(frozen=True)
class CouponUse:
    """What the plan does with one coupon; value and cost in currency."""

    name: str
    issued: int
    value: float
    cost: float


@dataclass(frozen=True)
class StrategyLine:
    """What a simpler strategy earns under the same limits; `unmet` names the limits that it fails."""

    name: str
    objective: float
    spend: float
    issued: int
    meets_limits: bool
    unmet: tuple[str, ...]


@dataclass(frozen=True)
class Loosening:
    """The limit of which a step of one per cent earns most.

    Attributes
    ----------
    side
        `at_most` (raise it) or `at_least` (lower it).
    step
        One per cent of the limit's number, in its measure's unit; of a count at least one offer.
    earns
        About what the step earns, by the limit's price, currency.
    """

    name: str
    measure: str
    side: str
    number: float
    step: float
    earns: float


@dataclass(frozen=True)
class HoldoutLine:
    """The random control group of a plan.

    Attributes
    ----------
    share
        Chance of being held out.
    users, controls
        Users held out, and those of them who were planned to get a coupon: they are compared with.
    strata
        Groups within which they were drawn.
    moved
        Users whose coupon in the plan is another than planned before the draw.
    seed
        Of the draw.
    objective_without
        Value of the plan with nobody held out, currency, and `costs`: how much that is above this plan's.
    costs_at_least, costs_at_most
        What the best plans of both kinds can differ by, currency: within 0.02 of `costs` where both are proven optimal.
    """

    share: float
    users: int
    controls: int
    strata: int
    moved: int
    seed: int
    objective_without: float
    costs: float
    costs_at_least: float
    costs_at_most: float


@dataclass(frozen=True)
class HedgeLine:
    """A plan that is careful about draws of its offers' values: then `objective` and `bound` are of what `rule` maximises.

    Attributes
    ----------
    rule, share
        What was maximised: the mean of the worst `share` of the draws (0: the worst one; 1: the mean).
    draws
        How many.
    mean, tail, worst
        The plan's value on average over the draws, in the worst share of them, and in the worst one, currency.
    value
        Sum of the offers' column `value`, currency.
    values, weights
        `(draws,)`: the plan's value under each draw, and the draw's weight in the proof of the bound.
    steps
        The plans from the best mean (weight 0) to the rule alone (weight 1), this one the last.
    """

    rule: str
    share: float
    draws: int
    mean: float
    tail: float
    worst: float
    value: float
    values: tuple[float, ...]
    weights: tuple[float, ...]
    steps: tuple[TradeOff, ...]


@dataclass(frozen=True)
class Summary:
    """The content of summary.json, in its order. Amounts in currency; NaN where there is no plan (null in JSON).

    In the file the fields of `findings` follow those of the summary itself.
    """

    schema_version: int
    status: str
    objective: float
    bound: float
    gap: float
    relative_gap: float
    spend: float
    budget: float
    users: int
    offers: int
    issued: int
    limits: tuple[LimitUse, ...]
    passes: float
    seconds: Mapping[str, float]
    strategies: tuple[StrategyLine, ...]
    campaign: str
    currency: str
    proof: str
    price_bound: float
    verified: bool
    loosen_first: Loosening | None
    coupons: tuple[CouponUse, ...]
    diagnosis: Diagnosis | None
    notes: tuple[str, ...]
    findings: Findings = field(default_factory=Findings)
    holdout: HoldoutLine | None = None
    risk: SpendRisk | None = None
    hedge: HedgeLine | None = None

    @property
    def has_plan(self) -> bool:
        """Whether there is a plan to write."""
        return self.status in ("optimal", "feasible")

    def document(self) -> dict[str, Any]:
        """Return plain dictionaries, lists, strings and finite numbers."""
        content: dict[str, Any] = plain(asdict(self))
        return content | content.pop("findings")


def summarise(
    problem: Problem,
    result: Result,
    terms: Terms,
    *,
    certificate: Certificate | None,
    strategies: Sequence[StrategyResult],
    seconds: Mapping[str, float],
    findings: Findings | None = None,
    holdout: HoldoutLine | None = None,
    risk: SpendRisk | None = None,
    hedge: HedgeLine | None = None,
) -> Summary:
    """Bring together what a run found.

    Parameters
    ----------
    certificate
        What the independent check returned; `None` where there was no plan to check.
    seconds
        Wall time by stage; `read`, `prices`, `integer`, `write` and `total` among them.
    findings
        What the report shows beside the plan itself.
    risk
        What the plan may spend; `None` where the offers do not tell.
    hedge
        Care for uncertain effects; the result's objective and bound are then of its rule.
    """
    return Summary(
        schema_version=SCHEMA_VERSION,
        status=str(result.status),
        objective=result.objective,
        bound=result.bound,
        gap=result.gap if math.isfinite(result.objective) else math.nan,
        relative_gap=result.relative_gap if math.isfinite(result.objective) else math.nan,
        spend=result.spend,
        budget=terms.budget,
        users=problem.n_users,
        offers=problem.offers.present,
        issued=len(result.plan),
        limits=result.limits or _unused(problem),
        passes=round(float(result.passes), 3),
        seconds=seconds,
        strategies=tuple(
            StrategyLine(item.name, item.objective, item.spend, item.issued, item.meets_limits, tuple(item.unmet))
            for item in strategies
        ),
        campaign=terms.campaign,
        currency=terms.currency,
        proof=str(result.proof),
        price_bound=result.price_bound,
        verified=certificate is not None,
        loosen_first=loosen_first(result.limits),
        coupons=_coupons(problem, result),
        diagnosis=result.diagnosis,
        notes=tuple(result.notes),
        findings=Findings(suppressed=suppressed(problem, result, ())) if findings is None else findings,
        holdout=holdout,
        risk=risk,
        hedge=hedge,
    )


def loosen_first(limits: Sequence[LimitUse]) -> Loosening | None:
    """Return the limit of which a step of one per cent earns most; `None` where no limit holds the plan back."""
    steps = [step for use in limits if (step := _step(use)) is not None]
    return max(steps, key=lambda step: step.earns, default=None)


def understood(problem: Problem, terms: Terms) -> dict[str, Any]:
    """Return what was read, for `--dry-run --json`; nothing is solved."""
    limits = [
        {
            "name": limit.name,
            "measure": limit.measure_name,
            "at_least": limit.at_least,
            "at_most": limit.at_most,
            "users": users,
            "coupons": coupons,
        }
        for limit, users, coupons in zip(problem.limits, *covered(problem), strict=True)
    ]
    return {
        "schema_version": SCHEMA_VERSION,
        **asdict(terms),
        "users": problem.n_users,
        "coupons": problem.n_coupons,
        "offers": problem.offers.present,
        "limits": limits,
    }


def covered(problem: Problem) -> tuple[list[int], list[int]]:
    """Return how many users and how many coupons each limit covers."""
    if problem.user_group is None:
        sizes = np.array([problem.n_users])
    else:
        sizes = np.bincount(problem.user_group, minlength=problem.limit_groups.shape[1])
    return (problem.limit_groups * sizes).sum(axis=1).tolist(), problem.limit_coupons.sum(axis=1).tolist()


def frontier_document(rows: Sequence[FrontierRow], terms: Terms, seconds: Mapping[str, float]) -> dict[str, Any]:
    """Return a frontier as one document; null where a budget has no plan."""
    document: dict[str, Any] = plain(
        {
            "schema_version": SCHEMA_VERSION,
            "campaign": terms.campaign,
            "currency": terms.currency,
            "seconds": {name: round(number, 4) for name, number in seconds.items()},
            "rows": [asdict(row) for row in rows],
        }
    )
    return document


def as_document(found: Any) -> dict[str, Any]:
    """Return a dataclass as plain dictionaries, lists, strings and finite numbers, with the schema's version."""
    return {"schema_version": SCHEMA_VERSION, **plain(asdict(found))}


def to_json(document: Mapping[str, Any]) -> str:
    """Return strict JSON (no NaN), with a newline at its end."""
    return json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _step(use: LimitUse) -> Loosening | None:
    side = "at_most" if use.price > 0 else "at_least"
    number = use.at_most if side == "at_most" else use.at_least
    if not use.price or not number:
        return None
    step = abs(number) * 0.01
    if use.measure == "count":
        step = float(max(1, round(step)))
    return Loosening(use.name, use.measure, side, number, step, abs(use.price) * step)


def _coupons(problem: Problem, result: Result) -> tuple[CouponUse, ...]:
    plan, n = result.plan, problem.n_coupons
    issued = np.bincount(plan.coupon, minlength=n)
    value = np.bincount(plan.coupon, weights=plan.value, minlength=n)
    cost = np.bincount(plan.coupon, weights=plan.cost, minlength=n)
    return tuple(
        CouponUse(name, int(issued[k]), float(value[k]), float(cost[k])) for k, name in enumerate(problem.coupon_ids)
    )


def _unused(problem: Problem) -> tuple[LimitUse, ...]:
    return tuple(
        LimitUse(limit.name, limit.measure_name, 0.0, limit.at_least, limit.at_most, 0.0) for limit in problem.limits
    )


def plain(item: Any) -> Any:
    """Return mappings, lists and finite numbers; `None` for other numbers."""
    if isinstance(item, Mapping):
        return {str(key): plain(value) for key, value in item.items()}
    if isinstance(item, (list, tuple)):
        return [plain(value) for value in item]
    if isinstance(item, (float, np.floating)):
        return float(item) if math.isfinite(item) else None
    return int(item) if isinstance(item, np.integer) else item
