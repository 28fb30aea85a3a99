"""A tiny trial with known truth."""

from __future__ import annotations

import numpy as np
import pandas as pd

COUPONS = ("2off", "8off")
FACES = (2.0, 8.0)
BASE, MEAN_BASKET = 0.2, 30.0


def users(n: int, seed: int) -> pd.DataFrame:
    """Draw users: a number that moves the base, one that moves the effect, a text, and noise with gaps."""
    rng = np.random.default_rng([seed, 1])
    return pd.DataFrame(
        {
            "user_id": np.arange(n) + 1000,
            "loyal": rng.normal(0, 1, n),
            "thrifty": rng.normal(0, 1, n),
            "region": rng.choice(["north", "south"], n),
            "noise": np.where(rng.random(n) < 0.1, np.nan, rng.random(n)),
        }
    )


def truth(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """P(purchase) without `(n,)` and with each coupon `(n, 2)`."""
    odds = np.log(BASE / (1 - BASE)) + 0.5 * table["loyal"].to_numpy()
    effect = (0.5 + 0.4 * table["thrifty"].to_numpy())[:, None] * np.array([0.5, 1.2])

    def chance(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-x))

    return chance(odds), chance(odds[:, None] + effect)


def trial(n: int = 6000, seed: int = 0, *, control: bool = True) -> pd.DataFrame:
    """Draw a trial with equal arms."""
    table = users(n, seed)
    rng = np.random.default_rng([seed, 2])
    arm = rng.integers(0 if control else 1, 3, n)
    without, with_each = truth(table)
    bought = rng.random(n) < np.column_stack([without, with_each])[np.arange(n), arm]
    table["coupon"] = np.array(["control", *COUPONS])[arm]
    table["purchased"] = bought.astype(int)
    table["spend"] = np.where(bought, MEAN_BASKET * np.exp(0.4 * rng.normal(size=n) - 0.08), 0.0)
    table["redeemed"] = (bought & (arm > 0) & (rng.random(n) < 0.7)).astype(int)
    return table


CAMPAIGN = """[campaign]
name = "tiny"
budget = 200
margin = 0.5
contact_cost = 0.05

[[coupon]]
id = "2off"
kind = "fixed"
amount = 2

[[coupon]]
id = "8off"
kind = "fixed"
amount = 8
"""
