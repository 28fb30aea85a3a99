"""Does a plan keep what it promises? Trained on one half of a trial, planned and held against the other half.

    python -m tests.benchmarks.promises hillstrom --splits 10
    python -m tests.benchmarks.promises worlds --splits 10
    python -m tests.benchmarks.promises shop --splits 10
    python -m tests.benchmarks.promises market --peers --splits 5
    python -m tests.benchmarks.promises market --quick --libraries --splits 6    # pip install causalml econml lightgbm

Each time the solver picks offers for the half that the model did not see, within a budget; the plan's predicted incremental
sales are compared with their doubly robust estimate on that half, calibrated and raw. In made-up worlds also with the truth;
`shop` takes the trials of made-up markets.
`market` plans markets with known truth from our estimates, by simple rules, and from peers' estimates: `tests.benchmarks.markets`.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from allocator import Limit, Problem, solve
from allocator.campaign import Campaign, parse_campaign
from allocator.learning import Model, TrialArrays, default_candidates, read_trial, train
from allocator.learning.calibrating import ONE, Calibration
from allocator.learning.offers import Scorer
from allocator.learning.training import purchase_trial
from allocator.simulation import Market
from allocator.simulation.estimates import mean, probability
from allocator.simulation.folder import campaign_text, trial_table
from tests.benchmarks import markets
from uplift import Effects, OutcomeKind, Trial, promise
from uplift.splitting import split_halves
from uplift.synthetic import World

FILE = Path(__file__).resolve().parents[3] / "shared" / "data" / "hillstrom.csv"
HILLSTROM = """[campaign]
name = "mail"
margin = 0.4
contact_cost = 0.05
[[coupon]]
id = "Mens E-Mail"
[[coupon]]
id = "Womens E-Mail"
"""
WORLD = "[campaign]\nname = 'world'\nmargin = 0.4\ncontact_cost = 0.05\n"


@dataclass(frozen=True)
class Outcome:
    """One split: incremental sales of a plan, predicted and found."""

    predicted: float
    observed: float
    error: float
    true: float
    offers: int

    @property
    def kept(self) -> bool:
        """Whether the prediction is inside the 95 % interval."""
        return abs(self.predicted - self.observed) <= 1.959963984540054 * self.error


def half(table: TrialArrays, rows: np.ndarray) -> TrialArrays:
    """Return these rows of a trial."""
    arrays = ("arm", "purchased", "spend", "redeemed", "discount", "visited", "weight")  # chances are the same for all
    cut = {n: getattr(table, n)[rows] for n in arrays if getattr(table, n) is not None}
    features = {name: column[rows] for name, column in table.features.items()}
    return dataclasses.replace(table, **cut, features=features, user_ids=None)


def outcome(
    model: Model, users: pd.DataFrame, held: TrialArrays, campaign: Campaign, truth: np.ndarray | None
) -> Outcome:
    """Plan the held half with a model, and hold the plan against the trial."""
    table = users.assign(user_id=np.arange(len(users)))
    offers = Scorer(model, campaign).score(table)
    cost = np.asarray(offers["cost"])
    budget = 0.3 * float(cost.sum()) / len(campaign.coupon)
    problem = Problem.from_offers(offers, limits=[Limit("budget", "cost", at_most=budget)])
    plan = solve(problem, time_limit=20.0).plan
    row = np.asarray(plan.row)
    predicted = float(np.asarray(offers["incremental_sales"])[row].astype(np.float64).sum())
    made = model.predict(table, campaign)
    chosen = np.zeros(len(users), dtype=np.int64)
    names = [model.coupons.index(coupon.id) for coupon in campaign.coupon]
    width = len(names)
    chosen[row // width] = np.array(names)[row % width] + 1
    trial = purchase_trial(held, None, False, 0)
    assert held.spend is not None
    money: Trial = trial.with_outcome(held.spend, OutcomeKind.MONEY)
    e = made.expected
    back = np.argsort(names)
    nuisance = Effects.create(e.purchase_without * e.basket_without, (e.purchase_with * e.basket_with)[:, back])
    seen = promise(money, nuisance, chosen, nuisance=nuisance).observed
    true = float("nan")
    if truth is not None:
        given = np.flatnonzero(chosen)
        true = float(truth[given, chosen[given] - 1].sum())
    return Outcome(predicted, seen.value, seen.standard_error, true, row.size)


def raw(model: Model) -> Model:
    """Return the model without its calibration."""
    known = model.calibration
    return dataclasses.replace(model, calibration=Calibration(known.averages, ONE, ONE, known.sales_ratios, ONE, ONE))


def hillstrom(split: int, file: Path = FILE) -> tuple[TrialArrays, pd.DataFrame, Campaign, None]:
    """Return the trial, its users, and a campaign."""
    table = read_trial(file, columns={"coupon": "segment"}, control="No E-Mail", ignore=["history_segment"])
    table = dataclasses.replace(table, propensity=np.full((1, 3), 1 / 3))
    return table, pd.DataFrame(table.features), parse_campaign(HILLSTROM), None


def world(split: int) -> tuple[TrialArrays, pd.DataFrame, Campaign, np.ndarray]:
    """Draw a trial of 60,000 users with spend."""
    made = World.draw(200 + split)
    trial, truth = made.trial(60_000, seed=1)
    rng = np.random.default_rng([split, 3])
    names = [f"{depth:g}off{'AB'[group]}" for depth, group in zip(made.terms.depth, made.terms.group, strict=True)]
    frame = pd.DataFrame(dict(zip(trial.features.names, trial.features.columns, strict=True)))
    features = frame.copy()
    frame["coupon"] = np.array(["control", *names])[trial.arm]
    frame["purchased"] = trial.outcome
    frame["spend"] = trial.outcome * truth.revenue * np.exp(0.4 * rng.normal(size=len(frame)) - 0.08)
    text = WORLD + "".join(
        f"[[coupon]]\nid = '{n}'\nkind = 'fixed'\namount = {d:g}\n"
        for n, d in zip(names, made.terms.depth, strict=True)
    )
    table = dataclasses.replace(read_trial(frame), propensity=np.full((1, 7), 1 / 7))
    by_name = np.argsort(np.array(names))  # the order in which a trial's coupons are numbered
    return table, features, parse_campaign(text), (truth.uplift * truth.revenue[:, None])[:, by_name]


def shop(split: int) -> tuple[TrialArrays, pd.DataFrame, Campaign, None]:
    """Return the trial of a made-up market of 50,000 users: 25,000 of them, with redemptions and discounts."""
    market = Market.draw(50_000, 300 + split)
    table = read_trial(trial_table(market))
    arms = len(table.coupons) + 1
    table = dataclasses.replace(table, propensity=np.full((1, arms), 1.0 / arms))
    return table, pd.DataFrame(table.features), parse_campaign(campaign_text(market)), None


def run(find: Any, splits: int, quick: bool) -> None:
    """Print each split and the counts."""
    found: dict[str, list[Outcome]] = {"calibrated": [], "raw": []}
    tried = default_candidates()[1 if quick else 0 :]
    for split in range(splits):
        table, users, campaign, truth = find(split)
        trial = purchase_trial(table, None, False, 0)
        mine, held = split_halves(trial, np.random.default_rng([split, 41]))
        start = time.process_time()
        model = train(half(table, mine), campaign=campaign if truth is not None else None, candidates=tried, seed=split)
        seconds = time.process_time() - start
        for name, used in (("calibrated", model), ("raw", raw(model))):
            made = outcome(used, users.iloc[held], half(table, held), campaign, None if truth is None else truth[held])
            found[name].append(made)
            print(
                f"split {split}, {model.card.chosen}, {name}: predicted {made.predicted:,.0f}, found {made.observed:,.0f} "
                f"+- {1.96 * made.error:,.0f}, true {made.true:,.0f}, {made.offers:,} offers, kept {made.kept}, "
                f"{seconds:.0f} CPU s",
                flush=True,
            )
    for name, rows in found.items():
        sums = {key: sum(getattr(row, key) for row in rows) for key in ("predicted", "observed", "true")}
        kept = probability(np.array([row.kept for row in rows]))
        ratio = sums["predicted"] / (sums["observed"] if np.isnan(sums["true"]) else sums["true"])
        # Halves of one trial are not independent of each other: there this interval is too narrow.
        more = mean(np.array([row.predicted - row.observed for row in rows]))
        print(
            f"{name}: kept in {kept.value:.0%} of {len(rows)} [{kept.low:.0%} to {kept.high:.0%}]; predicted over found (or true): {ratio:.3f}; predicted less found: "
            f"{more.value:,.0f} [{more.low:,.0f} to {more.high:,.0f}]"
        )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", choices=["hillstrom", "worlds", "shop", "market"])
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--quick", action="store_true", help="without the network, which takes most of the time")
    parser.add_argument("--file", type=Path, default=FILE, help="Hillstrom's table")
    parser.add_argument("--users", type=int, default=50_000, help="of each market")
    parser.add_argument("--first", type=int, default=0, help="seed of the first market")
    parser.add_argument("--peers", action="store_true", help="market: also plan from peers' estimates")
    parser.add_argument("--slow-peers", action="store_true", help="also those by boosting that take minutes a market")
    parser.add_argument("--libraries", action="store_true", help="market: also from CausalML's and EconML's estimates")
    parser.add_argument("--odd", type=float, default=0.0, help="market: above 0, users answer to what nothing shows")
    args = parser.parse_args()
    if args.job == "market":
        peers = markets.PEERS * (args.peers or args.slow_peers) + markets.SLOW * args.slow_peers
        ways = markets.estimates(peers, args.libraries)
        markets.run(args.users, range(args.first, args.first + args.splits), args.odd, args.quick, ways)
        return
    trials = {"hillstrom": partial(hillstrom, file=args.file), "worlds": world, "shop": shop}
    run(trials[args.job], args.splits, args.quick)


if __name__ == "__main__":
    main()
