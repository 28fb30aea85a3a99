"""Thornton's randomised cash incentive (2008): the effect along the amount, with intervals, beside raw binned means.

Which amounts were drawn how often differed between villages, and so did how many people came anyway. Raw differences have
both in them; differences within villages do not.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from uplift import Terms, Trial, UpliftNetwork, depth_curve

FILE = Path(__file__).resolve().parents[3] / "shared" / "data" / "thornton_hiv.dta"
_EDGES = np.array([0.0, 0.3, 0.6, 1.0, 1.6, 2.0, 4.0])  # dollars; bins of the amounts that were drawn


def read() -> tuple[Trial, np.ndarray]:
    """Return the trial with amounts in bins, and each bin's average amount; `FileNotFoundError` where it is absent."""
    table = pd.read_stata(FILE).dropna(subset=["tinc", "got"])
    amount = table["tinc"].to_numpy(float)
    arm = np.searchsorted(_EDGES, amount, side="left")  # 0 for no amount
    depth = np.array([amount[arm == k].mean() for k in range(1, _EDGES.size)])
    features = {name: table[name].to_numpy(float) for name in ("age", "distvct", "villnum")}
    return Trial.create(features, arm, table["got"].to_numpy(float), terms=Terms.create(depth)), depth


def within(trial: Trial, arm: int) -> tuple[float, float]:
    """Return how an arm differs from no amount within villages, and its standard error.

    Villages are weighted by what they say of the difference; the variance is taken as the same in all of them.
    """
    village = trial.features.columns[trial.features.names.index("villnum")]
    total, size, variance = 0.0, 0.0, 0.0
    for where in np.unique(village[~np.isnan(village)]):
        mine, none = (trial.outcome[(village == where) & (trial.arm == k)] for k in (arm, 0))
        if mine.size and none.size:
            weight = mine.size * none.size / (mine.size + none.size)
            total, size = total + weight * (mine.mean() - none.mean()), size + weight
    for k in (arm, 0):
        variance += 0.5 * float(trial.outcome[trial.arm == k].var())
    return total / size, (variance / size) ** 0.5


def run(seed: int = 0) -> None:
    """Print the curve."""
    trial, depth = read()
    model = UpliftNetwork().fit(trial, seed=seed)
    print(model.describe())
    curve = depth_curve(model, trial.features, depth)
    control = trial.outcome[trial.arm == 0]
    for k, amount in enumerate(depth):
        mine = trial.outcome[trial.arm == k + 1]
        raw = mine.mean() - control.mean()
        error = (mine.var() / mine.size + control.var() / control.size) ** 0.5
        value, own = within(trial, k + 1)
        low, high = curve.uplift[k] - 1.645 * curve.standard_error[k], curve.uplift[k] + 1.645 * curve.standard_error[k]
        print(
            f"${amount:.2f}: curve {curve.uplift[k]:+.3f} ({low:+.3f} to {high:+.3f}); "
            f"raw {raw:+.3f} ({raw - 1.645 * error:+.3f} to {raw + 1.645 * error:+.3f}), "
            f"within villages {value:+.3f} ({value - 1.645 * own:+.3f} to {value + 1.645 * own:+.3f}), {mine.size} people"
        )
