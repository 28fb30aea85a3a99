"""The net revenue model: discounts in expectation, redemption, cannibalisation, scopes."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from allocator.campaign import Coupon, Header
from allocator.scoring import Assumptions, Discount, Expected, value_offers

FIXED = Coupon(id="10off", kind="fixed", amount=10.0)


def expected(p0: float, pk: float, basket: float = 50.0, **changes: float) -> Expected:
    one = np.array([[np.nan]])
    made = Expected(np.array([p0]), np.array([[pk]]), np.array([basket]), np.array([[basket]]), one, one, one, one[0])
    return dataclasses.replace(made, **{name: np.array([[value]]) for name, value in changes.items()})


def assumptions(**changes: object) -> Assumptions:
    return dataclasses.replace(Assumptions.of(Header(), None), spread=1e-9, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "discount",
    [
        Discount(1.0, 10.0, 30.0),
        Discount(0.15, 8.0, 20.0),
        Discount(0.2, math.inf, 0.0),
        Discount(0.0, 5.0, 60.0),
        Discount(1.0, 40.0, 0.0),
        Discount(0.1, 2.0, 45.0),
    ],
)
def test_expected_discounts_are_those_of_simulated_baskets(discount: Discount) -> None:
    rng = np.random.default_rng(0)
    baskets = 50.0 * np.exp(0.6 * rng.normal(size=400_000) - 0.18)
    taken = (
        np.minimum(discount.rate * baskets, discount.most) if discount.rate else np.full(baskets.size, discount.most)
    )
    taken = np.where(baskets >= discount.min_spend, taken, 0.0)
    reaches, given = discount.expected(np.array([50.0]), 0.6)
    assert reaches[0] == pytest.approx((baskets >= discount.min_spend).mean(), abs=0.005)
    assert given[0] == pytest.approx(taken.mean(), rel=0.01)


def test_who_would_have_bought_anyway_costs_the_discount_and_earns_nothing() -> None:
    made = value_offers(expected(0.5, 0.5), [FIXED], assumptions(after_discount=False))
    assert made.cost[0, 0] == pytest.approx(5.0)
    assert made.value[0, 0] == pytest.approx(-5.0)
    assert made.sales[0, 0] == 0.0


def test_value_is_margin_on_sales_less_discount_and_contact() -> None:
    made = value_offers(expected(0.2, 0.3), [FIXED], assumptions(margin=0.4, contact_cost=0.1))
    sales, discount = 0.1 * 50.0, 0.3 * 10.0
    assert made.value[0, 0] == pytest.approx(0.4 * (sales + discount) - discount - 0.1)
    assert made.cost[0, 0] == pytest.approx(discount + 0.1)
    assert made.liability[0, 0] == 10.0


def test_learned_redemption_is_used_where_there_is_one() -> None:
    made = value_offers(expected(0.2, 0.3, redeem=0.05), [FIXED], assumptions())
    assert made.redeem[0, 0] == 0.05
    assert made.cost[0, 0] == pytest.approx(0.5)


def test_a_scope_costs_those_who_buy_from_it_anyway_and_those_it_wins() -> None:
    made = value_offers(expected(0.5, 0.6, relevance=0.1, scope_basket=8.0), [FIXED], assumptions())
    assert made.redeem[0, 0] == pytest.approx(0.2)  # 0.1 anyway, 0.1 because of it
    assert made.cost[0, 0] == pytest.approx(0.2 * 8.0)  # no more than the basket that it counts on


def test_a_basket_below_the_minimum_redeems_nothing() -> None:
    strict = Coupon(id="x", kind="fixed", amount=10.0, min_spend=80.0)
    made = value_offers(expected(0.5, 0.6), [strict], assumptions())
    assert made.redeem[0, 0] == pytest.approx(0.0, abs=1e-12)


def test_a_message_without_a_discount_costs_its_contact() -> None:
    made = value_offers(expected(0.2, 0.3), [Coupon(id="mail")], assumptions(contact_cost=0.05))
    assert (made.cost[0, 0], made.redeem[0, 0], made.liability[0, 0]) == (0.05, 0.0, 0.0)


def test_the_slope_is_what_an_error_of_the_uplift_costs() -> None:
    for coupon in (FIXED, Coupon(id="p", kind="percent", amount=20.0, max_discount=6.0)):
        low, high = (value_offers(expected(0.2, p), [coupon], assumptions()) for p in (0.30, 0.31))
        assert (high.value - low.value)[0, 0] / 0.01 == pytest.approx(low.per_purchase[0, 0], rel=1e-6)
