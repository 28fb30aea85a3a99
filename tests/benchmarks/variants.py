"""Variants of the market: at-least limits, several offers a user, many overlapping segments, many coupons."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from allocator import Limit, Problem, solve
from allocator.demo import Market, market

MANY = 40.0  # pieces of a coupon whose quantity the market leaves open


def variants(size: int) -> Iterator[tuple[str, Problem]]:
    """Yield a name and a problem each; `size` users."""
    made = market(size, 8, seed=0)
    yield "three offers a user", of(made, max_per_user=3)
    plain = solve(of(made)).plan
    new, north = made.segment == 0, made.region == 0
    floor = Limit("new", measure="count", at_least=float(int(1.15 * new[plain.user].sum())), users=new)
    yield (
        "at least",
        of(
            made,
            limits=[
                floor,
                Limit("return", measure={"value": 1.0, "cost": -1.5}, at_least=0.0),
                Limit("north", at_most=0.35 * made.budget, users=north),
            ],
        ),
    )
    for count in (20, 50, 200):
        yield f"{count} overlapping segments", of(made, limits=segments(made, plain.user, plain.cost, count))
    many = market(size, 1_000, eligible=20, seed=0)
    yield "1,000 coupons, 20 eligible each", sparse(many, 19)
    many = market(size // 2, 5_000, eligible=20, seed=0)
    yield f"5,000 coupons with a quantity each, {size // 2:,} users", sparse(many, 5_000)


def of(made: Market, **rules: object) -> Problem:
    """Return a market's problem, with further rules."""
    return Problem.from_arrays(made.value, made.cost, budget=made.budget, quantities=made.quantities, **rules)  # type: ignore[arg-type]


def segments(made: Market, user: np.ndarray, cost: np.ndarray, count: int) -> list[Limit]:
    """Return spend limits on random unions of the 16 (region, segment) cells, near what a plan without them spends."""
    rng = np.random.default_rng(1)
    cell = made.region * 4 + made.segment
    limits = []
    for j in range(count):
        among = np.isin(cell, rng.choice(16, rng.integers(3, 9), replace=False))
        spent = float(cost[among[user]].sum())
        limits.append(Limit(f"segment {j}", at_most=round(spent * rng.uniform(0.93, 1.05), 2), users=among))
    return limits


def sparse(made: Market, scarce: int) -> Problem:
    """Return a market whose users are eligible for a few of many coupons, of which the `scarce` ones have a quantity."""
    import pyarrow as pa

    assert made.coupon is not None
    n_users, width = made.value.shape
    names = np.array([f"c{k:04}" for k in range(len(made.quantities))])
    offers = pa.table(
        {
            "user_id": np.repeat(np.arange(n_users), width),
            "coupon": pa.DictionaryArray.from_arrays(made.coupon.reshape(-1), names),
            "value": made.value.reshape(-1),
            "cost": made.cost.reshape(-1),
        }
    )
    limits = [Limit("budget", at_most=made.budget)]
    known = sorted((MANY if q is None else q, k) for k, q in enumerate(made.quantities))[:scarce]
    limits += [Limit(f"quantity[{names[k]}]", "count", at_most=q, coupons=[str(names[k])]) for q, k in known]
    return Problem.from_offers(offers, limits=limits, coupons=names.tolist())
