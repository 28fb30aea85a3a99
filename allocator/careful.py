"""The front door for effects that are not known for sure: `hedge` and `trade_off`."""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np

from allocator.hedging import robust
from allocator.hedging.robust import Care, Hedged, draws_of
from allocator.kernels.sums import exact_sum
from allocator.plan import Plan
from allocator.problem import Problem
from allocator.result import LimitUse, Prices, Proof, Result, Status
from allocator.solving import solve

CENT = 0.01  # currency; a gap below it counts as optimal


def hedge(
    problem: Problem,
    draws: np.ndarray,
    care: Care | str = "cvar:0.9",
    *,
    time_limit: float = 60.0,
    threads: int | None = None,
    seed: int = 0,
) -> Hedged | Result:
    """Find the plan that is best in the bad draws of the offers' values, with a proven bound.

    Parameters
    ----------
    draws
        `(n_draws, n_users, n_coupons)` for a grid, or `(n_draws, n_rows)` in the order of the offers table: currency.
        Take as many as the worst share needs: at least 10 / share.
    care
        What to maximise: `"mean"`, `"worst"`, `"cvar:0.9"` (the mean of the worst tenth of the draws), or a `Care`.

    Returns
    -------
    hedged
        `Hedged`; where no plan keeps the limits, the plain `Result` that says why.

    Raises
    ------
    UsageError, DataError
        Where the rule, or the draws, cannot be used.
    """
    rule = Care.parse(care) if isinstance(care, str) else care
    return robust.solve_hedged(problem, draws_of(problem, draws), rule, _solver(threads, seed), time_limit=time_limit)


def trade_off(
    problem: Problem,
    draws: np.ndarray,
    care: Care | str = "cvar:0.9",
    *,
    steps: int = 5,
    time_limit: float = 60.0,
    threads: int | None = None,
    seed: int = 0,
) -> list[Hedged] | Result:
    """Find the plans between the best mean and the best of the bad draws; as `hedge`, `time_limit` for each."""
    rule = Care.parse(care) if isinstance(care, str) else care
    order = draws_of(problem, draws)
    return robust.trade_off(problem, order, rule.share, _solver(threads, seed), steps=steps, time_limit=time_limit)


def as_result(problem: Problem, item: Hedged, seconds: float = 0.0) -> Result:
    """Return a careful plan as a `Result`, whose objective and bound are of what `item.care` maximises."""
    gap = item.bound - item.objective
    proven = gap < CENT or gap <= robust.NEAR * abs(item.objective)
    names = tuple(limit.name for limit in problem.limits)
    return Result(
        status=Status.OPTIMAL if proven else Status.FEASIBLE,
        objective=item.objective,
        bound=item.bound,
        price_bound=item.bound,
        prices=Prices(names, item.prices),
        proof=Proof.PRICES,
        plan=Plan.of(problem, item.plan.offer),
        passes=0.0,  # each of the plain solves counts its own
        seconds={"prices": seconds, "integer": 0.0, "total": seconds},
        limits=tuple(
            LimitUse(
                limit.name, limit.measure_name, exact_sum(numbers), limit.at_least, limit.at_most, float(item.prices[r])
            )
            for r, (limit, numbers) in enumerate(zip(problem.limits, problem.measures(item.plan.offer), strict=True))
        ),
        spend=exact_sum(problem.column("cost", item.plan.offer)),
    )


def weighted(problem: Problem, draws: np.ndarray, item: Hedged) -> tuple[Problem, Result]:
    """Return the plain problem whose bound is that of a careful plan, and the plan there: what `verify` can check.

    `draws` as `draws_of` returns them.
    """
    plain = robust.weighted_problem(problem, draws, robust.mixed_weights(item.care, item.weights))
    found = as_result(plain, item)
    objective = exact_sum(plain.column("value", item.plan.offer))
    return plain, dataclasses.replace(
        found, objective=objective, bound=max(item.bound, objective), price_bound=max(item.bound, objective)
    )


def _solver(threads: int | None, seed: int) -> robust.Plain:
    return partial(_solve, threads=threads, seed=seed)


def _solve(problem: Problem, seconds: float, gap: float, *, threads: int | None, seed: int) -> Result:
    return solve(problem, seconds, gap, threads, seed)
