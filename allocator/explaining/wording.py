"""The sentences of an explanation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from allocator.explaining.choices import Candidate, Verdict, Why

if TYPE_CHECKING:
    from allocator.explaining.cases import Proof
    from allocator.explaining.lines import OfferLine


def money(number: float, currency: str) -> str:
    """Return `1,234.50 EUR`; small amounts with as many digits as tell them from 0."""
    text = f"{number:.2g}" if 0 < abs(number) < 0.01 else f"{number:,.2f}"
    return f"{text} {currency}".rstrip()  # a result in memory knows no currency


def reason(item: Candidate, verdict: Verdict, others: Mapping[str, Candidate], currency: str) -> str:
    """Say why an offer is issued or not."""
    if verdict.why is Why.ISSUED:
        return "issued"
    if verdict.why is Why.REQUIRED:
        return "issued since it is required"
    if verdict.why is Why.FORBIDDEN:
        return "not issued since it is forbidden"
    if verdict.why is Why.HELD_OUT:
        return "held out: the control group gets nothing"
    if verdict.why is Why.LOSES:
        return "it would lose money, whatever the limits"
    if verdict.why is Why.PRICED_OUT:
        takes = max(charge.takes for charge in item.charges)
        total = item.value - item.after_prices
        return (
            f"what it uses of the limits earns {money(total, currency)} elsewhere "
            f"(`{verdict.limit}`: {money(takes, currency)})"
        )
    if verdict.why is Why.CLOSE_CALL:
        return _close(item, verdict, others, currency)
    if verdict.rival is None:
        return "this user may not get any offer (max_per_user)"
    better = money(others[verdict.rival].after_prices - item.after_prices, currency)
    rule = "exclusive with" if verdict.why is Why.EXCLUSIVE else "max_per_user:"
    return f"{rule} {verdict.rival}, worth {better} more"


def _close(item: Candidate, verdict: Verdict, others: Mapping[str, Candidate], currency: str) -> str:
    if verdict.rival is not None:
        more = item.after_prices - others[verdict.rival].after_prices
        size = "as much as" if abs(more) < 1e-9 else f"{money(more, currency)} more than"
        return f"a close call: by the prices worth {size} {verdict.rival}, which fills the limits better"
    return f"a close call: worth {money(item.after_prices, currency)} after prices, and left out to keep the limits"


def statement(user: str, lines: Sequence[OfferLine], most: int, currency: str) -> str:
    """Say what a user gets, or why nothing."""
    issued = [line for line in lines if line.issued]
    if issued:
        parts = [
            f"{line.coupon} (expected to earn {money(line.value or 0.0, currency)} and to cost {money(line.cost or 0.0, currency)}; "
            f"worth {money(line.after_prices or 0.0, currency)} after prices)"
            for line in issued
        ]
        return f"User {user} gets {' and '.join(parts)}."
    return f"User {user} gets nothing: {_nothing(lines, most, currency)}."


def _nothing(lines: Sequence[OfferLine], most: int, currency: str) -> str:
    here = [line for line in lines if line.value is not None]
    if not here:
        return "the offers have no row for this user, so the user was not eligible for any coupon"
    if here[0].why is Why.HELD_OUT:
        return "the user was drawn into the control group (--holdout), by which the campaign's effect is measured"
    if most == 0:
        return "max_per_user is 0 for this user"
    if all(line.why is Why.LOSES for line in here):
        return "every coupon would lose money on this user, whatever the limits"
    top = max(here, key=lambda line: line.after_prices or 0.0)
    if top.why is Why.CLOSE_CALL:
        return f"{top.coupon} was {top.reason}"
    elsewhere = (top.value or 0.0) - (top.after_prices or 0.0)
    return (
        f"no coupon is worth its share of the limits. The nearest is {top.coupon}: it would earn "
        f"{money(top.value or 0.0, currency)}, but what it uses of the limits earns {money(elsewhere, currency)} elsewhere"
    )


def notes(proof: Proof, missed: float, by_price: Sequence[str], currency: str) -> tuple[str, ...]:
    """Say where a plan's choice for a user is not the one that the prices alone would make, and how much that may be."""
    found = []
    if not proof.optimal:
        found.append(
            "The plan is not proven optimal: the prices are the best known ones, and another plan could earn up to "
            f"{money(proof.gap, currency)} more in all."
        )
    if missed > 1e-9:
        found.append(_exchanged(proof, missed, by_price, currency))
    return tuple(found)


def _exchanged(proof: Proof, missed: float, by_price: Sequence[str], currency: str) -> str:
    wanted = " and ".join(by_price) or "nothing"
    return (
        f"By the prices alone this user would get {wanted}, worth {money(missed, currency)} more after prices. Prices "
        "alone do not fill every limit to the last unit; the plan does, by such exchanges. Over all users they add up to "
        f"at most {money(proof.price_gap, currency)}."
    )
