"""What campaigns of a million users cost to make up and to run, and how often a budget kept with confidence is overrun.

`python -m tests.benchmarks.campaigns market`, `... runs`, `... overrun`, `... shops`; processor seconds, so that a busy machine
counts for little; peak memory is the whole process'.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

from allocator import Problem, solve, verify
from allocator.campaign import parse_campaign
from allocator.chance import Chance
from allocator.demo.market import CONTACT_COST, market
from allocator.shares import percent
from allocator.simulation import Issued, Market, simulate
from allocator.simulation.folder import campaign_text
from allocator.simulation.market import NOTHING
from tests.benchmarks.measurement import binomial


def made_up(users: int, seed: int) -> None:
    """Draw a market: users, 32 weeks of purchases, a trial and what is true of every offer."""
    Market.draw(1_000, seed).truth  # noqa: B018 (compiles, once)
    begun, wall = time.process_time(), time.perf_counter()
    drawn = Market.draw(users, seed)
    assert drawn.truth.value.shape == (users, len(drawn.coupons))
    print(
        f"market: {users:,} users, {int(drawn.n_lines.sum()):,} lines: {time.process_time() - begun:.1f} CPU s, "
        f"{time.perf_counter() - wall:.1f} s, {_peak()}"
    )


def issued(users: int, seed: int) -> Issued:
    """Return a plan in which each of so many users gets one of eight coupons."""
    rng = np.random.default_rng(seed)
    made = market(users, 8, seed=seed)
    coupon = rng.integers(0, 8, users).astype(np.int32)
    rows = np.arange(users)
    chance = made.redeem_probability[rows, coupon]
    redeems = chance > 0
    paid, gain = (
        np.divide(total, chance, out=np.zeros(users), where=redeems)
        for total in (made.cost[rows, coupon] - CONTACT_COST, (made.value + made.cost)[rows, coupon])
    )
    names = tuple(f"{face:g}off" for face in made.face_value)
    luck = rng.integers(0, 2**63, users).astype(np.uint64)
    return Issued(luck, coupon, chance, paid, np.full(users, CONTACT_COST), chance, gain, names, np.full(8, 28))


def played(users: int, runs: int, seed: int) -> None:
    """Run a plan of so many users a thousand times."""
    plan = issued(users, seed)
    simulate(issued(1_000, seed), runs=2)  # compiles, once
    begun, wall = time.process_time(), time.perf_counter()
    found = simulate(plan, runs=runs, seed=seed, budget=1.05 * plan.expected_spend)
    assert found.overrun is not None
    print(
        f"runs: {runs:,} of a plan for {users:,} users: {time.process_time() - begun:.1f} CPU s, "
        f"{time.perf_counter() - wall:.1f} s, {_peak()}; a budget 5 % above what is expected is overrun in "
        f"{percent(found.overrun.value)}"
    )


def overrun(users: int, campaigns: int, confidence: float, shock: float) -> None:
    """Plan each campaign of its own seed with confidence, let it happen once, and count those beyond the budget."""
    over, begun, slack = 0, time.process_time(), []
    for seed in range(campaigns):
        made = market(users, 6, seed=seed)
        columns = {
            "redeem_probability": made.redeem_probability,
            "liability": np.broadcast_to(made.face_value, made.cost.shape),
        }
        problem = Problem.from_arrays(made.value, made.cost, budget=made.budget, columns=columns).with_chance(
            Chance(confidence, shock)
        )
        result = solve(problem, time_limit=20.0)
        verify(problem, result)
        user, coupon = result.plan.user, result.plan.coupon
        # What happens is drawn here, in no way that the solver shares: a redeemed offer costs its face value, or the whole
        # cost is spent with chance cost / face value where that is less; what is left of the cost is spent for sure.
        cost, face = made.cost[user, coupon], made.face_value[coupon]
        chance = np.minimum(made.redeem_probability[user, coupon], cost / face)
        rng = np.random.default_rng([seed, 99])
        spread = np.sqrt(np.log1p(shock**2))
        common = np.exp(spread * rng.normal() - spread**2 / 2)
        spent = (cost - chance * face).sum() + face[rng.random(cost.size) < np.minimum(1.0, chance * common)].sum()
        over += bool(spent > made.budget)
        slack.append(1.0 - cost.sum() / made.budget)
    low, high = binomial(over, campaigns)
    print(
        f"overrun: {over} of {campaigns} campaigns of {users:,} users spent more than their budget: {percent(over / campaigns)} "
        f"(95 % {percent(low)} to {percent(high)}) where {percent(1 - confidence)} may; {percent(float(np.mean(slack)))} of the budget "
        f"was left in expectation; {time.process_time() - begun:.0f} CPU s"
    )


def shops(users: int, campaigns: int, confidence: float) -> None:
    """As `overrun`, on made-up markets whose own law draws what happens: discounts vary, and all share the market's shock."""
    over, begun = 0, time.process_time()
    for seed in range(campaigns):
        drawn = Market.draw(users, seed)
        truth, terms = drawn.truth, parse_campaign(campaign_text(drawn))
        columns = {"redeem_probability": truth.redeem_probability, "liability": truth.liability}
        problem = Problem.from_arrays(
            truth.value, truth.cost, limits=terms.limits(None), coupons=drawn.coupon_ids, columns=columns
        ).with_chance(Chance(confidence, drawn.settings.shock))
        plan = solve(problem, time_limit=20.0).plan
        arm = np.full(users, NOTHING)
        arm[plan.user] = plan.coupon
        spent = drawn.outcomes(arm).discount.sum() + drawn.settings.contact_cost * len(plan)
        assert terms.budget is not None
        over += bool(spent > terms.budget)
    low, high = binomial(over, campaigns)
    print(
        f"shops: {over} of {campaigns} made-up markets of {users:,} users spent more than their budget: {percent(over / campaigns)} "
        f"(95 % {percent(low)} to {percent(high)}) where {percent(1 - confidence)} may; {time.process_time() - begun:.0f} CPU s"
    )


def _peak() -> str:
    return f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB"


def main() -> None:
    """Run the parts that are named; all by default."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=["market", "runs", "overrun", "shops", []], default=[])
    parser.add_argument("--users", type=int, default=1_000_000, help="of market and runs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=1_000)
    parser.add_argument("--campaigns", type=int, default=200)
    parser.add_argument("--campaign-users", type=int, default=2_000, help="of each campaign of overrun and shops")
    parser.add_argument("--confidence", type=float, default=0.95)
    parser.add_argument("--shock", type=float, default=0.1)
    asked = parser.parse_args()
    if "shops" in asked.parts:
        shops(asked.campaign_users, asked.campaigns, asked.confidence)
    parts = asked.parts or ["market", "runs", "overrun"]
    if "market" in parts:
        made_up(asked.users, asked.seed)
    if "runs" in parts:
        played(asked.users, asked.runs, asked.seed)
    if "overrun" in parts:
        overrun(asked.campaign_users, asked.campaigns, asked.confidence, asked.shock)


if __name__ == "__main__":
    main()
