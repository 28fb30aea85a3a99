"""The tables of a campaign file, checked key by key, and the limits that follow from them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, get_args

from pydantic import BaseModel, ConfigDict, PlainValidator

from allocator.campaign.values import (
    MOST,
    NEVER_NEGATIVE,
    Amount,
    Conditions,
    Coupons,
    Day,
    Kind,
    Number,
    Positive,
    Quantity,
    Share,
    Text,
    budget_of,
    budget_words,
    cap_of,
    confidence_of,
    cost_of,
    groups_of,
    kind_of,
    measure_of,
    one_of,
    plain_float,
    shock_of,
    whole,
)
from allocator.chance import DEFAULT_SHOCK
from allocator.errors import UsageError
from allocator.limit import Limit


class Strict(BaseModel):
    """A table whose keys are all known."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Coupon(Strict):
    """Terms of one coupon type; amounts in currency, or percent where `kind` says so.

    `users` says who may get it, as a limit's `users` does; it is applied where offers are made from a model.
    """

    id: Text
    kind: Annotated[Kind | None, PlainValidator(kind_of)] = None
    amount: Amount = None
    max_discount: Amount = None
    min_spend: Amount = None
    scope: Conditions = None
    users: Conditions = None
    quantity: Quantity = None
    min_quantity: Quantity = None
    valid_days: Annotated[int | None, PlainValidator(whole(1))] = None

    @property
    def face_value(self) -> float | None:
        """What the coupon costs if redeemed, where its terms alone tell. Currency."""
        return self.max_discount if self.kind == "percent" else self.amount

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield each key that does not fit the others, and why."""
        if self.kind in ("fixed", "percent") and self.amount is None:
            yield "amount", f"is missing; a {self.kind} coupon needs it"
        if self.kind is None and self.amount is not None:
            yield "kind", f"is missing; say what the amount is: one of {', '.join(get_args(Kind))}"
        if self.kind == "percent" and self.amount is not None and self.amount > 100:
            yield "amount", f"is {self.amount:g} percent; at most 100"
        if self.quantity is not None and self.min_quantity is not None and self.min_quantity > self.quantity:
            yield "min_quantity", f"is {self.min_quantity:,}, above the quantity {self.quantity:,}"


class LimitTerms(Strict):
    """One [[limit]]."""

    name: Text
    measure: Annotated[str | dict[str, float], PlainValidator(measure_of)] = "cost"
    users: Conditions = None
    coupons: Coupons = None
    at_least: Number = None
    at_most: Number = None

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield each key that does not fit the others, and why."""
        if self.at_least is None and self.at_most is None:
            yield "at_most", "is missing; give at_least or at_most"
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            yield "at_least", f"is {self.at_least:,}, above at_most {self.at_most:,}"
        if isinstance(self.measure, str) and self.measure in NEVER_NEGATIVE:
            for key in ("at_least", "at_most"):
                number = getattr(self, key)
                if number is not None and number < 0:
                    yield key, f"is {number:g}; a sum of {self.measure} cannot be negative"


class Header(Strict):
    """The [campaign] table.

    What offers are valued with when they are made from a model (`allocator.scoring` has the formula):

    margin
        Gross margin, as a share of the goods' full price.
    contact_cost
        Of issuing one offer, redeemed or not. Currency.
    basket
        Mean spend of a purchase without a coupon, currency; `None`: what the model learned of spend.
    basket_spread
        Standard deviation of the logarithm of the spend of a purchase around what is expected of it; `None`: as
        learned, else 0.6.
    redeem_share
        Where redemption was not learned: the share of purchases that could redeem a coupon and do.
    shipping_cost
        What a free_shipping coupon without an amount gives. Currency.
    spend_is
        Whether the model's spend is what was paid after a coupon's discount, or the goods' price before it.
    start
        First day of the campaign: profiles are of what was known before it. `None`: the day after the last purchase.
    """

    name: Text = "campaign"
    currency: Text = "EUR"
    budget: Annotated[float | None, PlainValidator(budget_of)] = None
    max_per_user: Annotated[int | str, PlainValidator(cap_of)] = 1
    exclusive: Annotated[tuple[tuple[str, ...], ...], PlainValidator(groups_of)] = ()
    margin: Share = 0.3
    contact_cost: Annotated[float, PlainValidator(cost_of)] = 0.0
    basket: Positive = None
    basket_spread: Positive = None
    redeem_share: Share = 1.0
    shipping_cost: Annotated[float, PlainValidator(cost_of)] = 5.0
    spend_is: Annotated[str, PlainValidator(one_of(("after_discount", "before_discount")))] = "after_discount"
    start: Day = None
    confidence: Annotated[float | None, PlainValidator(confidence_of)] = None
    redemption_shock: Annotated[float, PlainValidator(shock_of)] = DEFAULT_SHOCK


class Campaign(Strict):
    """A campaign file, understood. Its fields are named as its tables are."""

    campaign: Header = Header()
    coupon: tuple[Coupon, ...] = ()
    limit: tuple[LimitTerms, ...] = ()

    @property
    def name(self) -> str:
        """How reports call the campaign."""
        return self.campaign.name

    @property
    def currency(self) -> str:
        """The unit of all amounts."""
        return self.campaign.currency

    @property
    def budget(self) -> float | None:
        """At most this sum of cost, currency; `None`: not given here."""
        return self.campaign.budget

    @property
    def max_per_user(self) -> int | str:
        """How many offers a user may get: a number, or the name of a users column."""
        return self.campaign.max_per_user

    @property
    def exclusive(self) -> tuple[tuple[str, ...], ...]:
        """Groups of coupons of which a user gets at most one."""
        return self.campaign.exclusive

    @property
    def confidence(self) -> float | None:
        """With which probability the budget must hold; `None`: it holds for expected spend."""
        return self.campaign.confidence

    @property
    def redemption_shock(self) -> float:
        """Coefficient of variation of the factor common to all redemptions."""
        return self.campaign.redemption_shock

    @property
    def coupon_ids(self) -> list[str]:
        """Ids in the file's order; empty where the file lists no coupons (then those of the offers count)."""
        return [coupon.id for coupon in self.coupon]

    @property
    def face_values(self) -> dict[str, float]:
        """Face value by coupon, currency, where the terms tell one: the default liability of its offers."""
        return {coupon.id: coupon.face_value for coupon in self.coupon if coupon.face_value is not None}

    def limits(self, budget: float | None = None) -> list[Limit]:
        """Return the budget (`budget` overrides the file's), quantities, minimum quantities and further limits.

        Raises
        ------
        UsageError
            Where `budget` is not above 0 and at most 10^12.
        """
        if budget is not None and not 0.0 < plain_float(budget) <= MOST:
            raise UsageError(budget_words(budget))
        amount = self.budget if budget is None else float(budget)
        limits = [] if amount is None else [Limit("budget", "cost", at_most=amount)]
        limits += [
            Limit(f"quantity[{coupon.id}]", "count", at_most=float(coupon.quantity), coupons=[coupon.id])
            for coupon in self.coupon
            if coupon.quantity is not None
        ]
        limits += [
            Limit(f"min_quantity[{coupon.id}]", "count", at_least=float(coupon.min_quantity), coupons=[coupon.id])
            for coupon in self.coupon
            if coupon.min_quantity  # at least 0 is no limit
        ]
        for terms in self.limit:
            coupons = None if terms.coupons is None else list(terms.coupons)
            limits.append(Limit(terms.name, terms.measure, terms.at_least, terms.at_most, coupons, terms.users))
        return limits
