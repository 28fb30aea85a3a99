"""What care for the bad draws of uncertain effects earns there, and costs on average, where the truth is known.

`python -m tests.benchmarks.care --markets 12 --users 2000` plans made-up markets whose users are known, but not how strongly
coupons move and annoy them: 30 draws of these assumptions are what is planned from, and 100 more, which no plan has seen, are
what comes. `--learned` plans from effects learned of each market's trial instead, by the logistic models, and each market's
own truth comes: there the bad cases are the worst fifth of the markets.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import numpy as np

from allocator import Hedged, Problem
from allocator.campaign import parse_campaign
from allocator.careful import trade_off
from allocator.simulation import Market, Settings
from allocator.simulation.estimates import mean
from allocator.simulation.folder import campaign_text, trial_table, users_table

DRAWS, TRUTHS, LEARNED_DRAWS = 30, 100, 50
BUDGET_SHARE = 0.5  # of what everyone's best offer would cost
PLANS = ("best mean", "half way", "careful")


def assumptions(rng: np.random.Generator) -> Settings:
    """Draw how strongly coupons move and annoy users, how keen they are to redeem, and how odd their tastes are."""
    strength, annoyance = np.exp(0.5 * rng.standard_normal(2) - 0.125)
    return Settings(
        attract=2.5 * float(strength),
        annoy=0.5 * float(annoyance),
        annoyed=float(rng.uniform(0.02, 0.6)),
        redeeming=float(rng.uniform(0.4, 0.85)),
        odd=float(rng.uniform(0.0, 0.8)),
    )


def unseen(users: int, seed: int, rule: str, draws: int = DRAWS, truths: int = TRUTHS) -> list[np.ndarray]:
    """Return what each plan earns under truths that it was not made from, `(truths,)` each, currency."""
    rng = np.random.default_rng([seed, 5])
    drawn = [Market.draw(users, seed, settings=assumptions(rng)).truth for _ in range(draws + truths)]
    value, cost = np.array([truth.value for truth in drawn]), np.mean([truth.cost for truth in drawn[:draws]], axis=0)
    expected, rows = value[:draws].mean(axis=0), np.arange(users)
    best = cost[rows, expected.argmax(axis=1)]
    budget = BUDGET_SHARE * float(best[expected.max(axis=1) > 0].sum())
    found = trade_off(Problem.from_arrays(expected, cost, budget=budget), value[:draws], rule, steps=len(PLANS))
    assert isinstance(found, list)
    return [value[draws:, item.plan.user, item.plan.coupon].sum(axis=1) for item in found]


def learned(users: int, seed: int, rule: str) -> tuple[Market, list[Hedged]]:
    """Return a market and its plans, from draws of the effects that its trial taught."""
    from allocator.learning import quick_candidates, score, train

    market = Market.draw(users, seed)
    terms = parse_campaign(campaign_text(market))
    model = train(trial_table(market), campaign=terms, candidates=quick_candidates(), seed=seed)
    offers = score(model, users_table(market), terms, draws=LEARNED_DRAWS, seed=seed)
    shape = (users, len(market.coupons))
    value, cost = (offers[name].to_numpy().reshape(shape) for name in ("value", "cost"))
    values = np.array([offers[f"value_draw_{j}"].to_numpy().reshape(shape) for j in range(LEARNED_DRAWS)])
    problem = Problem.from_arrays(value, cost, limits=terms.limits(None), coupons=market.coupon_ids)
    found = trade_off(problem, values, rule, steps=len(PLANS), time_limit=30.0)
    assert isinstance(found, list)
    return market, found


def worst_fifth(earned: np.ndarray) -> np.ndarray:
    """Return the mean of the worst fifth along the first axis."""
    return np.sort(earned, axis=0)[: max(1, len(earned) // 5)].mean(axis=0)


def show(rows: Iterator[tuple[str, np.ndarray, np.ndarray]], bad_case: str) -> None:
    """Print a table: `(markets,)` earned on average and in the bad cases by each plan, beside the boldest in pairs."""
    print(f"| plan | earns on average | less than the boldest | {bad_case} | more than the boldest |")
    print("| --- | --- | --- | --- | --- |")
    first: tuple[np.ndarray, np.ndarray] | None = None
    for name, average, bad in rows:
        first = (average, bad) if first is None else first
        less, more = mean(first[0] - average), mean(bad - first[1])
        paired = f"{more.value:,.0f} ({more.low:,.0f} to {more.high:,.0f})" if bad.size > 1 else f"{more.value:,.0f}"
        print(
            f"| {name} | {average.mean():,.0f} | {less.value:,.0f} ({less.low:,.0f} to {less.high:,.0f}) | {bad.mean():,.0f} | {paired} |"
        )


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--markets", type=int, default=12)
    parser.add_argument("--users", type=int, default=2_000)
    parser.add_argument("--first", type=int, default=0, help="seed of the first market")
    parser.add_argument("--rule", default="cvar:0.8")
    parser.add_argument("--learned", action="store_true", help="from effects learned of each market's trial")
    asked = parser.parse_args()
    begun, seeds = time.process_time(), range(asked.first, asked.first + asked.markets)
    if asked.learned:
        plans = [learned(asked.users, seed, asked.rule) for seed in seeds]
        earned = np.array(
            [[market.truth.value[i.plan.user, i.plan.coupon].sum() for i in found] for market, found in plans]
        )
        bad = worst_fifth(earned)
        show(((name, earned[:, k], bad[k : k + 1]) for k, name in enumerate(PLANS)), "worst fifth of the markets")
    else:
        met = np.array([unseen(asked.users, seed, asked.rule) for seed in seeds])  # markets, plans, truths
        tails = worst_fifth(met.transpose(2, 0, 1))
        show(((name, met[:, k].mean(axis=1), tails[:, k]) for k, name in enumerate(PLANS)), "worst fifth of the truths")
    print(
        f"\n{asked.markets} markets of {asked.users:,} users, {asked.rule}; {time.process_time() - begun:.0f} CPU s; 95 % intervals over markets"
    )


if __name__ == "__main__":
    main()
