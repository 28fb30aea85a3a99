"""The built-in campaign: what `allocate --budget 50000` plans where no offers are given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from allocator.demo.market import REGIONS, SEGMENTS, market
from allocator.limit import Limit

USERS = 120_000
CURRENCY = "EUR"


@dataclass(frozen=True, eq=False)
class Demo:
    """Offers, users and limits (the budget not among them) of the built-in campaign."""

    offers: pa.Table
    users: pa.Table
    limits: list[Limit]
    face_values: dict[str, float]


def campaign() -> Demo:
    """Make the built-in campaign; the same bytes each time."""
    made = market(USERS, 8, seed=7)
    names = [f"{face:g}off" for face in made.face_value]
    width = len(names)
    offers = pa.table(
        {
            "user_id": np.repeat(np.arange(1, USERS + 1), width),
            "coupon": pa.DictionaryArray.from_arrays(np.tile(np.arange(width, dtype=np.int32), USERS), names),
            "value": made.value.reshape(-1),
            "cost": made.cost.reshape(-1),
            "redeem_probability": made.redeem_probability.reshape(-1),
        }
    )
    users = pa.table(
        {
            "user_id": np.arange(1, USERS + 1),
            "segment": pa.DictionaryArray.from_arrays(made.segment, list(SEGMENTS)),
            "region": pa.DictionaryArray.from_arrays(made.region, list(REGIONS)),
        }
    )
    limits = [
        Limit(f"quantity[{name}]", "count", at_most=number, coupons=[name])
        for name, number in zip(names, made.quantities, strict=True)
        if number is not None
    ]
    limits.append(Limit("new users", "count", at_least=16000.0, users={"segment": "new"}))
    limits.append(Limit("budget north", "cost", at_most=16000.0, users={"region": "north"}))
    return Demo(offers, users, limits, dict(zip(names, made.face_value.tolist(), strict=True)))
