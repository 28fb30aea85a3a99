"""The front door for effects that are not known for sure: `hedge` and `trade_off`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from allocator.hedging import robust
from allocator.hedging.robust import Care, Hedged, draws_of
from allocator.problem import Problem
from allocator.result import Result
from allocator.solving import solve

NEAR = 1e-7  # relative gap of each plain solve; the last digits come from the weights


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


def _solver(threads: int | None, seed: int) -> Callable[[Problem, float], Result]:
    return partial(_solve, threads=threads, seed=seed)


def _solve(problem: Problem, seconds: float, *, threads: int | None, seed: int) -> Result:
    return solve(problem, seconds, NEAR, threads, seed)
