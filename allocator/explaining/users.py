"""Why a plan gives a user what it does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from allocator.errors import DataError, UsageError
from allocator.explaining import wording
from allocator.explaining.cases import Case, case_of_folder, case_of_result
from allocator.explaining.choices import TIE, Candidate, Verdict, Why, best, verdicts
from allocator.explaining.inputs import Given, open_plan
from allocator.explaining.lines import OfferLine
from allocator.explaining.predictions import reasons_of
from allocator.result import Result
from allocator.tables.plan_folder import PlanFolder

if TYPE_CHECKING:
    from allocator.learning.reasons import CouponReasons


@dataclass(frozen=True)
class UserExplanation:
    """Why a user gets what they get.

    Attributes
    ----------
    user
        The id as text.
    attributes
        What the users table says of the user, as far as limits refer to it.
    may_get
        How many offers the user may get.
    issued
        Coupons issued to the user.
    offers
        One line for each coupon of the campaign: those issued, then by worth after prices, then those not eligible.
    missed
        By how much the offers that the prices alone would choose are worth more than those issued, after prices,
        currency: 0 for nearly all users.
    reasons
        Which features moved the predictions, and what the user bought, by coupon; empty without a model.
    statement
        The outcome in a sentence or two.
    notes
        What else the reader should know.
    """

    plan: str
    campaign: str
    currency: str
    user: str
    attributes: Mapping[str, Any]
    may_get: int
    issued: tuple[str, ...]
    offers: tuple[OfferLine, ...]
    missed: float
    reasons: tuple[CouponReasons, ...]
    statement: str
    notes: tuple[str, ...]


def explain_user(
    plan: str | Path | PlanFolder | Result,
    user: int | str,
    *,
    offers: str | None = None,
    users: str | None = None,
    campaign: str | None = None,
    model: str | None = None,
    transactions: str | None = None,
    products: str | None = None,
) -> UserExplanation:
    """Say why a plan gives a user what it does, and what each other coupon would have earned after prices.

    Parameters
    ----------
    plan
        What `allocate -o` wrote, or what `solve` returned.
    user
        The user's id; an integer id may be given as text. Of a result whose users have no ids: the position.
    offers, users, campaign
        Where these lie now, where they are not where they were when the plan was made.
    model, transactions, products
        What the predictions were made from: with a model folder, `reasons` tells which features moved them, and with past
        purchases what the user bought. By default those that the plan was made with, if any.

    Raises
    ------
    UsageError
        Where the path is no plan folder or the user is not known.
    DataError
        Where a file is damaged, of another version, changed, or gone.
    """
    behind: tuple[CouponReasons, ...] = ()
    warnings: tuple[str, ...] = ()
    if isinstance(plan, Result):
        if any(part is not None for part in (offers, users, campaign, model, transactions, products)):
            raise UsageError("a result in memory knows its offers, users and campaign; give none of them")
        case = case_of_result(plan, user)
    else:
        opened = open_plan(plan, Given(offers, users, campaign, model, transactions, products))
        case = case_of_folder(opened, str(user))
        behind, warnings = reasons_of(opened, str(user)), opened.facts.warnings
    by_price = best(case.candidates, case.most, case.group)
    missed = _missed(case.candidates, by_price)
    _refuse_impossible(case, missed)
    lines = _lines(case, verdicts(case.candidates, case.most, case.group))
    return UserExplanation(
        plan=case.plan,
        campaign=case.campaign,
        currency=case.currency,
        user=case.user,
        attributes=case.attributes,
        may_get=case.most,
        issued=tuple(line.coupon for line in lines if line.issued),
        offers=lines,
        missed=missed,
        reasons=behind,
        statement=wording.statement(case.user, lines, case.most, case.currency),
        notes=(
            *warnings,
            *case.notes,
            *wording.notes(case.proof, missed, [item.coupon for item in by_price], case.currency),
        ),
    )


def _missed(candidates: Sequence[Candidate], by_price: Sequence[Candidate]) -> float:
    wanted = math.fsum(item.after_prices for item in by_price)
    return max(0.0, wanted - math.fsum(item.after_prices for item in candidates if item.issued))


def _refuse_impossible(case: Case, missed: float) -> None:
    """Raise `DataError` where a user alone misses more than all users together can (weak duality)."""
    size = 1.0 + sum(abs(item.value) + sum(abs(charge.takes) for charge in item.charges) for item in case.candidates)
    if missed > case.proof.price_gap + TIE * size and not case.notes:
        raise DataError(
            f"the offers are not those that the plan {case.plan or 'in memory'} was made from: by its prices another choice "
            "for this user would earn more than its bound allows; give the offers of then with --offers"
        )


def _lines(case: Case, judged: Sequence[Verdict]) -> tuple[OfferLine, ...]:
    found, others = {}, {item.coupon: item for item in case.candidates}
    for item, verdict, predicted in zip(case.candidates, judged, case.predictions, strict=True):
        found[item.coupon] = OfferLine(
            coupon=item.coupon,
            issued=item.issued,
            value=item.value,
            cost=item.cost,
            after_prices=item.after_prices,
            charges=item.charges,
            predictions=predicted,
            why=verdict.why,
            reason=wording.reason(item, verdict, others, case.currency),
            rival=verdict.rival,
            limit=verdict.limit,
        )
    absent = [_absent(coupon) for coupon in case.coupons if coupon not in found]
    there = sorted(found.values(), key=lambda line: (not line.issued, -(line.after_prices or 0.0)))
    return (*there, *absent)


def _absent(coupon: str) -> OfferLine:
    words = "not eligible: the offers have no row for this user and coupon"
    return OfferLine(coupon, False, None, None, None, (), {}, Why.NOT_ELIGIBLE, words, None, None)
