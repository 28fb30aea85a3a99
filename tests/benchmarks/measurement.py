"""How often intervals cover the truth, and how long measuring takes.

`python -m tests.benchmarks.measurement --campaigns 1000 --markets 400 --users 1000000`; 0 leaves a part out.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from allocator.shares import percent
from allocator.simulation import measure
from tests.simulation import worlds
from tests.simulation.coverage import Coverage, coverages
from tests.simulation.market_coverage import market_coverages


def write_campaign(folder: Path, n_users: int, share: float = 0.05, seed: int = 0) -> tuple[Path, Path, worlds.World]:
    """Write a plan folder with a holdout, and its outcomes."""
    world = worlds.campaign(n_users, share, np.random.default_rng(seed))
    plan, table = folder / "plan", world.assignment
    plan.mkdir()
    names, ids = np.array(worlds.COUPONS), table.user_ids
    parquet.write_table(
        pa.table(
            {
                "user_id": ids,
                "stratum": np.array(table.strata)[table.stratum],
                "planned": names[table.planned],
                "planned_value": table.value,
                "planned_cost": table.cost,
                "issued": names[table.issued],
                "held_out": table.held,
                "propensity": np.where(table.held, share, 1 - share),
            }
        ),
        plan / "propensities.parquet",
    )
    issued = np.flatnonzero(~table.held)
    parquet.write_table(
        pa.table(
            {
                "user_id": ids.take(pa.array(issued)),
                "coupon": names[table.planned[issued]],
                "value": table.value[issued],
                "cost": table.cost[issued],
            }
        ),
        plan / "plan.parquet",
    )
    summary = {
        "schema_version": 1,
        "campaign": "made up",
        "currency": "EUR",
        "objective": float(table.value[issued].sum()),
        "issued": int(issued.size),
    }
    (plan / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    terms = f"[campaign]\nmargin = {worlds.MARGIN}\ncontact_cost = {worlds.CONTACT}\n"
    (plan / "manifest.json").write_text(json.dumps({"campaign": terms, "source": {}}), encoding="utf-8")
    outcomes = folder / "after.parquet"
    parquet.write_table(pa.table({"user_id": ids, **world.columns}), outcomes)
    return plan, outcomes, world


def show_speed(n_users: int) -> None:
    """Measure a campaign from its files, and say how long that took."""
    with tempfile.TemporaryDirectory() as name:
        plan, outcomes, world = write_campaign(Path(name), n_users)
        begin, processor = time.perf_counter(), time.process_time()
        found = measure(plan, outcomes)
        wall, processor = time.perf_counter() - begin, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    truth = float((world.spend[:, 1] - world.spend[:, 0])[world.treated].mean())
    lift = found.overall.lift
    print(
        f"{n_users:,} users: {wall:.1f} s ({processor:.1f} s of processor), peak {peak:.2f} GiB; lift {lift.value:.3f} "
        f"({lift.low:.3f} to {lift.high:.3f}), truth {truth:.3f}"
    )


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--campaigns", type=int, default=1_000)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--markets", type=int, default=400, help="campaigns on the made-up market")
    parser.add_argument("--market-users", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if asked.users:
        show_speed(asked.users)
    if asked.campaigns:
        show_coverage("a generator of skewed spend", coverages(asked.campaigns, asked.seed))
    if asked.markets:
        show_coverage("the made-up market", market_coverages(asked.markets, asked.market_users, asked.seed))


def show_coverage(world: str, found: Sequence[Coverage]) -> None:
    """Print a table of how often intervals held the truth, with the 95 % interval of that share."""
    print(
        f"\n| on {world} | intervals | cover | of 95 % intervals, that is | bias, standard errors | spread, standard errors |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for item in found:
        low, high = binomial(item.covered, item.campaigns)
        print(
            f"| {item.name} | {item.campaigns:,} | {percent(item.share)} | {percent(low)} to {percent(high)} | {item.bias:+.2f} | {item.spread:.2f} |"
        )


def binomial(hits: int, trials: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share."""
    z, share = 1.96, hits / trials
    middle, reach = share + z * z / (2 * trials), z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials**2))
    return (middle - reach) / (1 + z * z / trials), (middle + reach) / (1 + z * z / trials)


if __name__ == "__main__":
    main()
