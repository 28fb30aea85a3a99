"""Makes up what users did after a campaign, so that `allocate measure` can be tried; the truth is printed.

    allocate --budget 50000 --holdout 5% -o plan
    python examples/aftermath.py plan after.parquet
    allocate measure plan --outcomes after.parquet --margin 32%

Coupons bring 80 % of what the plan promises, so that the measurement has something to find.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

MARGIN, KEPT = 0.32, 0.8  # margin of the demo campaign; share of the promised effect that comes true


def outcomes(users: pd.DataFrame, seed: int = 0) -> tuple[pd.DataFrame, float]:
    """Return outcomes of a plan's users (its propensities.parquet), and the true further spend per treated user."""
    rng = np.random.default_rng(seed)
    treated = ((users["planned"] != "") & ~users["held_out"]).to_numpy()
    taste = rng.gamma(1.0, 30.0, len(users))
    before, base = (taste * rng.gamma(2.0, 0.5, len(users)) for _ in range(2))
    redeemed = treated & (rng.random(len(users)) < 0.2)
    discount = np.where(redeemed, users["planned_cost"] * 5, 0.0)
    promised = (users["planned_value"] + users["planned_cost"]) / MARGIN
    change = np.where(treated, KEPT * promised * rng.gamma(2.0, 0.5, len(users)), 0.0) - discount
    table = pd.DataFrame(
        {
            "user_id": users["user_id"],
            "spend": (base + change).round(2),
            "redeemed": redeemed.astype(int),
            "discount": discount.round(2),
            "pre_spend": before.round(2),
        }
    )
    return table, float(change[treated].mean())


def main() -> None:
    """Read the plan, write outcomes, print the truth."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan", type=Path, help="a plan folder made with --holdout")
    parser.add_argument("outcomes", type=Path, help="the Parquet file to write")
    asked = parser.parse_args()
    table, truth = outcomes(pd.read_parquet(asked.plan / "propensities.parquet"))
    table.to_parquet(asked.outcomes, index=False)
    print(f"True further spend per user with a coupon: {truth:.2f} EUR")


if __name__ == "__main__":
    main()
