"""A plan that is careful about uncertain effects: its values, and the bound that weights and prices prove."""

from __future__ import annotations

import dataclasses

import numpy as np

from allocator.errors import VerificationError
from allocator.problem import Problem
from allocator.verification.bounding import rounded_dual
from allocator.verification.exact import exact_sum

NEAR = 1e-9  # relative


def verify_hedged(
    problem: Problem,
    draws: np.ndarray,
    *,
    share: float,
    weight: float,
    offers: np.ndarray,
    objective: float,
    bound: float,
    weights: np.ndarray,
    prices: np.ndarray,
) -> float:
    """Check what a plan is claimed to reach under the draws and the bound on every other; return the bound recomputed.

    `draws` `(n_draws, n_offers)`; `weights` `(n_draws,)` within the worst `share`; `prices` `(n_limits,)`. The plan's rules
    and limits are checked by `verify` on the plain result.

    Raises
    ------
    VerificationError
        Lists everything that is wrong.
    """
    n = draws.shape[0]
    cap = max(1.0 / n, min(1.0, 1.0 / (share * n) if share > 0 else 1.0))
    faults = []
    if (
        weights.shape != (n,)
        or (weights < 0).any()
        or (weights > cap * (1 + NEAR)).any()
        or abs(weights.sum() - 1) > NEAR
    ):
        faults.append("the weights of the draws are not those of a worst share")
    values = np.array([exact_sum(draws[j, offers]) for j in range(n)])
    ordered, taken = np.sort(values), np.minimum(cap, np.maximum(0.0, 1.0 - cap * np.arange(n)))
    reached = (1.0 - weight) * float(values.mean()) + weight * float(ordered @ taken)
    size = max(1.0, float(np.abs(values).max()))
    if not abs(reached - objective) <= NEAR * size:
        faults.append(f"the plan is said to reach {objective!r}; it reaches {reached!r}")
    value = np.where(np.isnan(problem.offers.value), np.nan, ((1.0 - weight) / n + weight * weights) @ draws)
    weighted = dataclasses.replace(problem, offers=dataclasses.replace(problem.offers, value=value))
    proven, rounding = rounded_dual(weighted, prices, of_value=1.0)
    if not bound >= proven - NEAR * size - 2.0 * rounding or not objective <= bound:
        faults.append(f"the bound is given as {bound!r}; weights and prices prove {proven!r}")
    for y, limit in zip(prices.tolist(), problem.limits, strict=True):
        used = exact_sum(problem.measure(problem.limit_index(limit.name), offers))
        if (limit.at_most is not None and used > limit.at_most) or (
            limit.at_least is not None and used < limit.at_least
        ):
            faults.append(f"limit {limit.name!r} is not kept: {used!r} is used")
        if (y > 0 and limit.at_most is None) or (y < 0 and limit.at_least is None):
            faults.append(f"limit {limit.name!r}: the price {y} has no number to act on")
    if faults:
        raise VerificationError("the result does not hold:\n- " + "\n- ".join(faults))
    return proven
