"""Small histories for the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

NOW = "2026-06-01"


def write(table: pd.DataFrame, path: Path) -> str:
    """Write a table as its name says."""
    if path.suffix == ".csv":
        table.to_csv(path, index=False)
    else:
        table.to_parquet(path, index=False)
    return str(path)


def three_visits() -> pd.DataFrame:
    """Ann comes twice, Bob once; Ann's first visit has two lines."""
    return pd.DataFrame(
        {
            "user_id": ["ann", "ann", "bob", "ann"],
            "item_id": ["milk", "soap", "milk", "milk"],
            "time": pd.to_datetime(["2026-01-05 09:30", "2026-01-05 09:30", "2026-01-10 20:00", "2026-01-15 13:00"]),
            "quantity": [2, 1, 1, 4],
            "amount": [4.0, 6.0, 3.0, 8.0],
            "discount": [0.0, 2.0, 0.0, 0.0],
        }
    )


def products() -> pd.DataFrame:
    return pd.DataFrame({"item_id": ["milk", "soap"], "department": ["GROCERY", "DRUG"]})


def many(n_lines: int = 20_000, n_users: int = 500, seed: int = 0) -> pd.DataFrame:
    """Lines of many users in random order; baskets of about three lines; times to the minute."""
    rng = np.random.default_rng(seed)
    n_baskets = n_lines // 3
    basket = rng.integers(0, n_baskets, n_lines)
    user = rng.integers(1, n_users + 1, n_baskets)
    minute = rng.integers(0, 365 * 24 * 60, n_baskets)
    return pd.DataFrame(
        {
            "user_id": user[basket],
            "item_id": rng.integers(1, 60, n_lines),
            "time": pd.Timestamp("2025-01-01") + pd.to_timedelta(minute[basket], unit="min"),
            "quantity": rng.integers(1, 4, n_lines),
            "amount": np.round(rng.gamma(2.0, 3.0, n_lines), 2),
            "discount": np.where(rng.random(n_lines) < 0.2, 1.0, 0.0),
            "basket_id": basket + 1000,
        }
    )


def departments(n_items: int = 55) -> pd.DataFrame:
    names = ["GROCERY", "MEAT", "DRUG GM", "PRODUCE"]
    return pd.DataFrame({"item_id": np.arange(1, n_items), "department": [names[i % 4] for i in range(1, n_items)]})


def trial(n: int = 900, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    arm = rng.integers(0, 3, n)
    bought = rng.random(n) < 0.3
    return pd.DataFrame(
        {
            "user_id": np.arange(1, n + 1),
            "coupon": np.array(["control", "10off", "15off"])[arm],
            "purchased": bought.astype(int),
            "spend": np.where(bought, np.round(rng.gamma(2.0, 20.0, n), 2), 0.0),
            "redeemed": (bought & (arm > 0) & (rng.random(n) < 0.5)).astype(int),
            "age": rng.integers(18, 80, n),
            "city": rng.choice(["north", "south"], n),
        }
    )


def of(table: pd.DataFrame, **columns: Any) -> pd.DataFrame:
    """Return a table with columns exchanged."""
    return table.assign(**columns)
