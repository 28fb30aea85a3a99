"""How often intervals hold the truth on the made-up market itself: planned with a holdout, run, measured.

The market shares nothing with the generator of `coverage`. A user has the same luck in the same run with a coupon and
without, so that what a campaign did to these very users is known exactly.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from allocator import Problem, solve
from allocator.simulation import Market, Outcomes, hold_out, measure
from allocator.simulation.holdout import Holdout, without_held
from allocator.simulation.lift import Estimate
from allocator.simulation.measuring import Measurement
from allocator.tables.plan_folder import PlanFolder
from tests.simulation.coverage import Coverage, counted_up

SHARE, BUDGET_SHARE, ERROR, GAP = 0.15, 0.25, 1.0, 1e-4
ENOUGH = 100  # held out of one coupon, from which its interval is said to hold


def believed(market: Market, rng: np.random.Generator) -> Problem:
    """Return a market's campaign as a planner may see it: values with errors as large as they are."""
    truth = market.truth
    noise = rng.normal(0.0, ERROR * truth.value.std(), truth.value.shape)
    cost = truth.cost
    best = cost[np.arange(len(cost)), truth.value.argmax(axis=1)]
    return Problem.from_arrays(
        truth.value + noise,
        cost,
        budget=BUDGET_SHARE * float(best.sum()),
        max_per_user=1,
        coupons=list(market.coupon_ids),
    )


def estimates(market: Market, run: int, adjusted: bool = True) -> Iterator[tuple[str, Estimate, float]]:
    """Yield each estimate of one campaign and what is true of these users in this run."""
    problem = believed(market, np.random.default_rng([market.seed, 41]))
    drawn = hold_out(problem, SHARE, seed=run, gap=GAP)
    assert drawn is not None
    rest = without_held(problem, drawn)
    plan = solve(rest, gap=GAP).plan
    arm = np.full(market.n_users, -1)
    arm[plan.user] = plan.coupon
    meant = np.array([-1 if not name else market.coupon_ids.index(name) for name in drawn.coupons])[drawn.planned]
    would = np.where(drawn.held, meant, arm)
    done, without, with_ = (
        market.outcomes(arm, run),
        market.outcomes(np.full(market.n_users, -1), run),
        market.outcomes(would, run),
    )
    table = {
        "user_id": np.arange(market.n_users),
        "spend": done.spend - done.discount,
        "discount": done.discount,
        "purchased": done.purchased.astype(float),
        **({"pre_spend": market.seen_now[:, 1]} if adjusted else {}),
    }
    with tempfile.TemporaryDirectory() as name:
        parquet.write_table(drawn.propensity_table(rest, plan), Path(name) / "propensities.parquet")
        terms = f"[campaign]\nmargin = {market.settings.margin}\ncontact_cost = {market.settings.contact_cost}\n"
        folder = PlanFolder(Path(name), pa.table({}), {"campaign": "market", "currency": "USD"}, {"campaign": terms})
        found = measure(folder, pa.table(table))
    yield from _compared(found, market, drawn, without, with_)


def _compared(
    found: Measurement, market: Market, drawn: Holdout, without: Outcomes, with_: Outcomes
) -> Iterator[tuple[str, Estimate, float]]:
    planned, kept = drawn.planned > 0, (drawn.planned > 0) & ~drawn.held
    lift = (with_.spend - with_.discount) - without.spend
    gain = market.settings.margin * (with_.spend - without.spend)
    cost = with_.discount + market.settings.contact_cost
    whole, label = found.overall, "" if found.overall.variance_kept == 1 else ", CUPED"
    yield f"lift{label}", whole.lift, float(lift[kept].mean())
    yield f"net gain{label}", whole.net, float((gain - cost)[kept].sum())
    yield f"iROI{label} (Fieller)", whole.iroi, float(gain[kept].sum() / cost[kept].sum()) - 1.0
    assert whole.purchases is not None
    more = with_.purchased.astype(float) - without.purchased
    yield f"further buyers{label}", whole.purchases, float(more[kept].sum())
    for cell in found.coupons:
        if cell.effects is not None:
            mine = kept & (drawn.planned == drawn.coupons.index(cell.name))
            size = "100 or more" if cell.effects.control >= ENOUGH else "10 to 99"
            yield f"lift of a coupon, {size} held out{label}", cell.effects.lift, float(lift[mine].mean())
    if found.qini is not None:
        rows = np.flatnonzero(planned)
        rank = np.empty(rows.size)
        rank[np.argsort(-drawn.value[rows], kind="stable")] = np.arange(rows.size)
        area = float(((gain - cost)[rows] * (0.5 - (rank + 0.5) / rows.size)).mean())
        yield f"Qini coefficient{label}", found.qini.coefficient, area


def market_coverages(campaigns: int, users: int = 5_000, seed: int = 0, runs: int = 10) -> list[Coverage]:
    """Simulate campaigns, `runs` on each market, half of them with CUPED, and count."""
    found: dict[str, list[tuple[bool, float]]] = {}
    for number in range(campaigns):
        if number % runs == 0:
            market = Market.draw(users, 1_000 * seed + number // runs)
        for name, estimate, truth in estimates(market, number, adjusted=number % 2 == 0):
            inside = estimate.low <= truth <= estimate.high
            found.setdefault(name, []).append((inside, (estimate.value - truth) / estimate.standard_error))
    return counted_up(found)
