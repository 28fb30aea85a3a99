"""The library in one page: arrays in, a proven plan out, and what another budget would earn."""

import numpy as np

from allocator import Limit, Problem, frontier, solve, verify

rng = np.random.default_rng(0)
users, coupons = 5_000, 6
face = np.array([2.0, 4.0, 6.0, 8.0, 10.0, 15.0])
redeem = rng.beta(1.0, 8.0, (users, coupons))
cost = redeem * face + 0.05
value = redeem * rng.gamma(2.0, 6.0, (users, 1)) - cost
value[rng.random((users, coupons)) < 0.3] = np.nan  # not eligible

problem = Problem.from_arrays(
    value,
    cost,
    budget=900.0,
    quantities=[None, None, 300, 250, None, 60],
    limits=[
        # An ROI floor is one limit: value >= 0.8 x cost over the plan.
        Limit("roi", measure={"value": 1.0, "cost": -0.8}, at_least=0.0),
        Limit("new users", measure="count", at_least=400.0, users=np.arange(users) < 1_000),
    ],
)
result = solve(problem)
print(f"{result.status}: {result.objective:,.2f}, at most {result.gap:.4f} below any other plan ({result.proof})")
for limit in result.limits:
    print(f"  {limit.name:12} used {limit.used:9,.2f}  one more unit earns {limit.price:7.4f}")
print(verify(problem, result).statement)
print(frontier(problem, [600.0, 750.0, 900.0]).to_pandas().round(3).to_string(index=False))
