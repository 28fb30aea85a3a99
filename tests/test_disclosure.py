"""What the report hides cannot be worked out from what it shows: tried on campaigns whose segments nest and cross."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest

from allocator import Limit, Problem, solve
from allocator.reporting.disclosure import FEW, suppressed
from allocator.reporting.insight import partition

N, K = 300, 6
COUPONS = [f"k{j}" for j in range(K)]
ZONES = {"a": "z1", "b": "z2", "c": "z1", "d": "z2", "e": "z3", "f": "z3"}


def attributes(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Regions, zones that are unions of regions, and a rare kind of user."""
    region = rng.choice(list(ZONES), N, p=[0.02, 0.04, 0.1, 0.14, 0.3, 0.4])
    return {
        "region": region,
        "zone": np.array([ZONES[name] for name in region]),
        "new": rng.choice(["y", "n"], N, p=[0.05, 0.95]),
    }


def limits(rng: np.random.Generator, known: dict[str, np.ndarray]) -> list[Limit]:
    found = [Limit("budget", "cost", at_most=80.0)]
    for number in range(int(rng.integers(0, 6))):
        attribute = str(rng.choice(list(known)))
        values = np.unique(known[attribute])
        some = rng.permutation(values)[: rng.integers(1, values.size + 1)].tolist()
        coupons = None if rng.random() < 0.5 else rng.permutation(COUPONS)[: rng.integers(1, K)].tolist()
        found.append(Limit(f"l{number}", "cost", at_most=60.0, users={attribute: some}, coupons=coupons))
    return found


def spans(rows: list[np.ndarray], row: np.ndarray) -> bool:
    """Return whether a row is a combination of others."""
    matrix = np.array(rows, float)
    return bool(np.linalg.matrix_rank(np.vstack([matrix, row])) == np.linalg.matrix_rank(matrix))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_no_number_about_few_users_follows_from_the_numbers_shown(seed: int) -> None:
    rng = np.random.default_rng(seed)
    known = attributes(rng)
    user, coupon = np.nonzero(rng.random((N, K)) < 0.5)
    offers = pa.table(
        {
            "user_id": user + 5000,
            "coupon": np.array(COUPONS)[coupon],
            "value": rng.normal(1.0, 1.0, user.size) * (0.2 + 0.2 * coupon),
            "cost": rng.uniform(0.5, 1.0, user.size),
        }
    )
    users = pa.table({"user_id": np.arange(N) + 5000, **known})
    rules = limits(rng, known)
    problem = Problem.from_offers(offers, limits=rules, users=users, max_per_user=int(rng.integers(1, 3)))
    result = solve(problem, time_limit=3.0)
    hidden = suppressed(problem, result, partition(problem, result, users))
    plan = result.plan
    names = np.array(problem.coupon_ids)[plan.coupon]
    rows = {("segment", a, str(v)): known[a][plan.user] == v for a in known for v in np.unique(known[a])}
    people = {("segment", a, str(v)): known[a] == v for a in known for v in np.unique(known[a])}
    rows |= {("coupon", name): names == name for name in COUPONS}
    for limit in rules[1:]:
        ((attribute, values),) = limit.users.items()
        rows["limit", limit.name] = np.isin(known[attribute][plan.user], values) & np.isin(
            names, limit.coupons or COUPONS
        )
    out = {("segment", a, name) for a, those in hidden.segments.items() for name in those}
    out |= {("coupon", name) for name in hidden.coupons} | {("limit", name) for name in hidden.limits}
    shown = [np.ones(len(plan), bool), *(row for key, row in rows.items() if key not in out and row.any())]
    for key, row in rows.items():
        if 0 < np.unique(plan.user[row]).size < FEW:
            assert key in out
            assert not spans(shown, row)
    counted = [np.ones(N, bool), *(row for key, row in people.items() if key not in out)]
    for key, row in people.items():
        if 0 < row.sum() < FEW:
            assert key in out
            assert not spans(counted, row)
    for inner, outer in itertools.permutations(shown, 2):
        rest = outer & ~inner
        assert not ((inner <= outer).all() and 0 < np.unique(plan.user[rest]).size < FEW)
