"""What plans from estimates truly earn on markets whose truth is known: ours, simple rules, and peers' estimates.

Peers estimate incremental spend as the libraries of the field do (see `uplift.baselines`), each with its usual regression,
from the same trial; their costs are ours, calibrated, so that only the effects differ. So do CausalML and EconML themselves,
where they are installed (`tests.benchmarks.libraries`). Every plan is proven best for its own
estimates by the same solver under the same limits. What it earns is the market's own expectation, so no luck of the campaign
is in it; intervals are Student's over markets.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from allocator import Problem, solve
from allocator.campaign import parse_campaign
from allocator.learning import default_candidates, quick_candidates, read_trial, score, train
from allocator.simulation import Market
from allocator.simulation.estimates import mean
from allocator.simulation.folder import campaign_text, trial_table, users_table
from allocator.simulation.settings import Settings
from allocator.solvers.strategies import compare
from tests.benchmarks.libraries import Learner, learners
from uplift import (
    AverageEffect,
    Boosting,
    DRLearner,
    Features,
    Linear,
    OutcomeKind,
    ResponseModel,
    Schema,
    SLearner,
    TLearner,
    Trial,
    XLearner,
)

OURS, TRUTH = "ours", "true effects"
PEERS = (
    AverageEffect(),
    ResponseModel(),
    SLearner(name="S-learner, boosting"),
    SLearner(Linear(), name="S-learner, ridge"),
    TLearner(Linear(), name="T-learner, ridge"),
    XLearner(Linear(), name="X-learner, ridge"),
    DRLearner(Linear(), name="DR-learner, ridge"),
)
SLOW = (
    TLearner(name="T-learner, boosting"),
    XLearner(Boosting(), name="X-learner, boosting"),
    DRLearner(name="DR-learner, boosting"),
)
Row = tuple[float, float, float, float, float, float, float]


Estimate = Callable[[Trial, Features, int], np.ndarray]  # trial, users, seed -> uplift of each coupon


def _of_peer(peer: Any) -> Estimate:
    return lambda trial, users, seed: np.asarray(peer.fit(trial, seed=seed).predict(users).uplift)


def _of_library(learner: Learner) -> Estimate:
    def estimate(trial: Trial, users: Features, seed: int) -> np.ndarray:
        schema = Schema.fit(trial.features)
        return learner(schema.encode(trial.features), trial.arm, trial.outcome, schema.encode(users), seed)

    return estimate


def estimates(peers: Sequence[Any], libraries: bool) -> list[tuple[str, Estimate]]:
    """Return names and ways to estimate: ours of the methods, and the libraries that are installed."""
    found = [(peer.name, _of_peer(peer)) for peer in peers]
    return found + ([(name, _of_library(learner)) for name, learner in learners()] if libraries else [])


def plans(market: Market, quick: bool, peers: Sequence[tuple[str, Estimate]], seed: int) -> Iterator[tuple[str, Row]]:
    """Yield each way to plan, and what it believed and what is true."""
    campaign, truth, rows = parse_campaign(campaign_text(market)), market.truth, np.arange(market.n_users)
    limits = campaign.limits(None)
    true_sales = truth.spend_with - truth.spend_without[:, None]

    def problem(value: np.ndarray, cost: np.ndarray) -> Problem:
        face = [np.nan if coupon.face_value is None else coupon.face_value for coupon in market.coupons]
        return Problem.from_arrays(value, cost, limits=limits, coupons=market.coupon_ids, face_value=face)

    def row(plan: Any, value: np.ndarray, cost: np.ndarray, sales: np.ndarray) -> Row:
        user, coupon = np.asarray(plan.user), np.asarray(plan.coupon)
        sums = [float(each[rows[user], coupon].sum()) for each in (truth.value, value, truth.cost, cost)]
        return (*sums, float(user.size), float(sales[user, coupon].sum()), float(true_sales[user, coupon].sum()))  # type: ignore[return-value]

    def best(value: np.ndarray, cost: np.ndarray, sales: np.ndarray) -> Row:
        return row(solve(problem(value, cost), time_limit=20.0, gap=1e-4).plan, value, cost, sales)

    table, users = trial_table(market), users_table(market)
    start = time.process_time()
    candidates = quick_candidates() if quick else default_candidates()
    model = train(table, campaign=campaign, candidates=candidates, seed=seed)
    trained = time.process_time() - start
    offers = score(model, users, campaign)
    shape = truth.value.shape
    value, cost, sales = (
        offers[name].to_numpy().reshape(shape).astype(np.float64) for name in ("value", "cost", "incremental_sales")
    )
    print(f"market {seed}: trained in {trained:.0f} CPU s, kept {model.card.chosen}; {model.card.factors}", flush=True)
    yield OURS, best(value, cost, sales)
    for result in compare(problem(value, cost)):
        yield result.name, row(result.plan, value, cost, sales)
    yield TRUTH, best(truth.value, truth.cost, true_sales)
    if not peers:
        return
    arrays = read_trial(table)
    trial = Trial.create(
        Features.create(arrays.features),
        arrays.arm,
        arrays.spend,
        kind=OutcomeKind.MONEY,
        propensity=np.full(len(arrays.coupons) + 1, 1.0 / (len(arrays.coupons) + 1)),
    )
    order = [arrays.coupons.index(name) for name in market.coupon_ids]
    features = model.features_of(users)
    for name, estimate in peers:
        uplift = estimate(trial, features, seed)[:, order]
        yield name, best(campaign.campaign.margin * uplift - cost, cost, uplift)


def run(users: int, seeds: Sequence[int], odd: float, quick: bool, peers: Sequence[tuple[str, Estimate]]) -> None:
    """Print what each way to plan earns on each market, then the means with intervals over markets."""
    found: dict[str, list[Row]] = {}
    for seed in seeds:
        market = Market.draw(users, seed, settings=Settings(odd=odd))
        for name, row in plans(market, quick, peers, seed):
            found.setdefault(name, []).append(row)
            print(f"  {name:<22}{row[0]:>9,.0f} promised {row[1]:>9,.0f}, spends {row[2]:,.0f}", flush=True)
    print(f"\n{len(seeds)} markets of {users:,} users, odd {odd:g}; means, 95 % intervals over markets")
    print(
        "plans from              earns  ours earns more by            promised / true  sales  spent / believed  offers"
    )
    ours = np.array(found[OURS])
    for name, rows in found.items():
        made = np.array(rows)
        ahead = mean(ours[:, 0] - made[:, 0])
        apart = "" if name == OURS else f"{ahead.value:,.0f} [{ahead.low:,.0f} to {ahead.high:,.0f}]"
        total = made.sum(axis=0)
        print(
            f"{name:<22}{made[:, 0].mean():>8,.0f}  {apart:<30}{total[1] / total[0]:>8.2f}{total[5] / total[6]:>14.2f}"
            f"{total[2] / max(total[3], 1e-9):>10.3f}{made[:, 4].mean():>14,.0f}"
        )
