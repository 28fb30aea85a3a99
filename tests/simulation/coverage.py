"""How often each estimator's interval covers the truth, over many simulated campaigns."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from allocator.simulation import offpolicy
from allocator.simulation.effects import Sample
from allocator.simulation.lift import Estimate, difference
from allocator.simulation.offpolicy import Log
from allocator.simulation.other import other_plan
from allocator.simulation.outcomes import Outcomes
from allocator.simulation.targeting import by_score, qini
from allocator.tables.plan_folder import PlanFolder
from tests.simulation import worlds

USERS, SHARE, ROWS = 4_000, 0.1, 2_000
BAR = 1.5  # planned value above which the other plan gives what this one does: about half of the users


@dataclass(frozen=True)
class Coverage:
    """Of how many intervals how many held the truth; bias and spread in standard errors."""

    name: str
    campaigns: int
    covered: int
    bias: float
    spread: float

    @property
    def share(self) -> float:
        return self.covered / self.campaigns


def lifts(rng: np.random.Generator) -> Iterator[tuple[str, Estimate, float]]:
    """Yield each estimate of one campaign and its truth: what the campaign did to these very users."""
    world = worlds.campaign(USERS, SHARE, rng)
    plan, arm = world.assignment, world.treated
    rows = np.arange(USERS)
    spend = world.spend[:, 1] - world.spend[:, 0]
    true_lift, gain, cost = float(spend[arm].mean()), world.gain(), world.cost()
    plain = {name: column for name, column in world.columns.items() if name != "pre_spend"}
    simple = rng.random(USERS) >= SHARE
    outcome = np.where(simple, world.spend[:, 1], world.spend[:, 0])
    yield "difference, draw without strata", difference(outcome, simple).estimate(0), float(spend[simple].mean())
    sample = Sample.of(plain, rows, plan, world.money)
    yield "lift, strata", sample.effects(0.95).lift, true_lift
    sample = Sample.of(world.columns, rows, plan, world.money)
    found = sample.effects(0.95)
    yield "lift, strata and CUPED", found.lift, true_lift
    without = float(world.spend[arm, 0].mean())
    yield "lift as a share (Fieller)", found.share, true_lift / without
    yield "net gain", found.net, float((gain - cost)[arm].sum())
    yield "iROI, costs observed (Fieller)", found.iroi, float(gain[arm].sum() / cost[arm].sum()) - 1
    assert found.purchases is not None
    more = (world.spend[:, 1] > 0).astype(float) - (world.spend[:, 0] > 0)
    yield "further buyers", found.purchases, float(more[arm].sum())
    for code in (1, 3):
        some = np.flatnonzero(plan.planned == code)
        part = sample.of_rows(some).effects(0.95).lift
        yield f"lift of coupon {plan.planned_names[code]}", part, float(spend[some][arm[some]].mean())
    expected = dict(world.columns)
    del expected["discount"]
    money = worlds.Money(worlds.MARGIN, 0.0, False)
    margin = worlds.MARGIN * float(spend[arm].mean())
    yield "iROI, costs expected", Sample.of(expected, rows, plan, money).effects(0.95).iroi, margin / 2.0 - 1
    rank = np.empty(USERS)
    rank[np.argsort(-plan.value)] = rows
    truth = float(((gain - cost) * (0.5 - (rank + 0.5) / USERS)).mean())
    yield "Qini coefficient", qini(sample.adjusted_net(), plan.value, arm).coefficient, truth


def contaminated(rng: np.random.Generator) -> Iterator[tuple[str, Estimate, float]]:
    """Yield Wald's ratio where a tenth of the held-out users get the coupon anyway."""
    world = worlds.campaign(USERS, SHARE, rng)
    arm = world.treated
    got = arm | (rng.random(USERS) < 0.1)
    columns = {"spend": np.where(got, world.spend[:, 1], world.spend[:, 0]), "pre_spend": world.columns["pre_spend"]}
    sample = Sample.of(columns, np.arange(USERS), world.assignment, worlds.Money(worlds.MARGIN, 0.0, False))
    both = difference(np.column_stack([sample.adjusted("spend"), got.astype(float)]), arm, sample.stratum)
    truth = float((world.spend[:, 1] - world.spend[:, 0])[arm].mean())
    yield "lift per user reached (Fieller)", both.ratio(0, 1), truth


def policies(rng: np.random.Generator) -> Iterator[tuple[str, Estimate, float]]:
    """Yield each off-policy estimate; the truth is that of the population of contexts."""
    log = worlds.logs(ROWS, rng)
    index = np.arange(ROWS)
    predicted = offpolicy.fit_rewards(log.features, log.arm, log.reward, 3, seed=int(rng.integers(1 << 30)))
    match = (log.arm == log.want).astype(float)
    made = Log.of(log.reward, log.propensity, match, predicted[index, log.arm], predicted[index, log.want])
    for estimator in offpolicy.ESTIMATORS:
        value = estimator(made)
        yield value.name, value.mean, worlds.truth()


def fifths(rng: np.random.Generator) -> Iterator[tuple[str, Estimate, float]]:
    """Yield the gain measured in the best and in the last fifth by planned value."""
    world = worlds.campaign(USERS, SHARE, rng)
    plan = world.assignment
    sample = Sample.of(world.columns, np.arange(USERS), plan, world.money)
    found = by_score(sample.adjusted_net(), plan.value, sample.treated)
    effect, parts = world.gain() - world.cost(), np.array_split(np.argsort(-plan.value, kind="stable"), len(found))
    for name, place in (("best", 0), ("last", -1)):
        some = parts[place][sample.treated[parts[place]]]
        yield f"net gain of the {name} fifth", found[place].measured, float(effect[some].mean())


def others(rng: np.random.Generator) -> Iterator[tuple[str, Estimate, float]]:
    """Yield the value of another plan on a campaign's outcomes; the truth is that of the population of users."""
    world = worlds.campaign(USERS, SHARE, rng)
    plan, names = world.assignment, np.array(worlds.COUPONS)
    gives = np.flatnonzero(plan.value > BAR)
    table = pa.table({"user_id": gives, "coupon": names[plan.planned[gives]]})
    outcomes = Outcomes(np.ones(USERS, bool), world.columns, None, 0, ())
    folder = PlanFolder(Path("other"), table, {}, {})
    found = other_plan(folder, plan, outcomes, world.money, 0.95, int(rng.integers(1 << 30)))
    value, own = population_values()
    for estimate in found.net:
        yield f"other plan, {estimate.name}", estimate.mean, value
    yield "this plan, dr", found.own.mean, own
    yield "other plan less this one, dr", found.difference, value - own


@functools.cache
def population_values() -> tuple[float, float]:
    """Return the true net per user of the plan that gives coupons above `BAR`, and of the one that gives all: of 3 M users."""
    world = worlds.campaign(3_000_000, SHARE, np.random.default_rng(0))
    without, effect = worlds.MARGIN * world.spend[:, 0], world.gain() - world.cost()
    gives = world.assignment.value > BAR
    return float((without + effect * gives).mean()), float((without + effect).mean())


FAMILIES: tuple[Callable[[np.random.Generator], Iterator[tuple[str, Estimate, float]]], ...] = (
    lifts,
    contaminated,
    policies,
    fifths,
    others,
)


def coverages(campaigns: int, seed: int = 0) -> list[Coverage]:
    """Simulate campaigns and count."""
    found: dict[str, list[tuple[bool, float]]] = {}
    for number in range(campaigns):
        rng = np.random.default_rng([seed, number])
        for family in FAMILIES:
            for name, estimate, truth in family(rng):
                inside = estimate.low <= truth <= estimate.high
                found.setdefault(name, []).append((inside, (estimate.value - truth) / estimate.standard_error))
    return counted_up(found)


def counted_up(found: dict[str, list[tuple[bool, float]]]) -> list[Coverage]:
    """Count how many intervals held the truth; each item: whether, and by how many standard errors the estimate was off."""
    return [
        Coverage(
            name,
            len(items),
            sum(inside for inside, _ in items),
            float(np.mean([z for _, z in items])),
            float(np.std([z for _, z in items])),
        )
        for name, items in found.items()
    ]
