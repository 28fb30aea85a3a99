"""What a plan promises and how much users differ: what the size of its control group follows from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from allocator.errors import DataError, UsageError
from allocator.shares import percent
from allocator.simulation.design import Design, design
from allocator.simulation.effects import Money
from allocator.simulation.measuring import campaign_terms
from allocator.simulation.outcomes import Absent, read_outcomes
from allocator.tables.frames import one_chunk
from allocator.tables.plan_folder import read_plan_folder

FEW = 4  # planned users of a coupon, below which it has no design of its own


@dataclass(frozen=True)
class Noise:
    """How much users differ: standard deviation of the outcome, and its correlation with the window before."""

    sd: float
    correlation: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Promise:
    """What a plan promises.

    Attributes
    ----------
    users, user_ids
        Users with a coupon.
    effect
        Further spend per user, after discounts, that its values rest on: (value + cost) / margin - cost, currency.
    coupons
        Users and effect per user by coupon.
    value
        Of the whole plan, currency.
    """

    user_ids: pa.Array
    effect: float
    coupons: tuple[tuple[str, int, float], ...]
    value: float
    currency: str
    notes: tuple[str, ...]

    @property
    def users(self) -> int:
        """Number of users with a coupon."""
        return len(self.user_ids)

    def by_coupon(self, whole: Design, sd: float) -> list[tuple[str, Design, float]]:
        """Return each coupon's own design at the same holdout, the effect it is held against, and its promise."""
        rows = []
        for name, users, effect in self.coupons:
            if users >= FEW and effect != 0:
                item = design(
                    users=users,
                    effect=effect,
                    sd=sd,
                    power=whole.wanted_power,
                    confidence=whole.confidence,
                    correlation=whole.correlation,
                    holdout=min(whole.holdout, 0.5),
                )
                rows.append((name, item, effect))
        return rows

    def price(self, share: float) -> str:
        """Say about what a holdout costs; the plan made with it says so exactly."""
        return (
            f"Holding out {percent(share, 2)} forgoes at most about {self.value * share:,.2f} {self.currency} of the plan's value (the "
            "budget it frees goes to others; `allocate --holdout` says the exact figure)."
        )


def read_promise(plan: str | Path, margin: float | None = None) -> Promise:
    """Read what a plan folder promises; raises `UsageError` where its margin makes no sense or it issues nothing."""
    folder = read_plan_folder(plan)
    table = folder.plan
    if table.num_rows == 0:
        raise UsageError(f"{plan}: the plan issues nothing; there is nothing to test")
    money = Money.of(campaign_terms(folder), margin, True)
    ids = pc.unique(one_chunk(table["user_id"]))
    further = money.spend_of(table["value"].to_numpy(), table["cost"].to_numpy())
    coded = one_chunk(table["coupon"].dictionary_encode())
    code = coded.indices.to_numpy()
    counts, sums = np.bincount(code), np.bincount(code, weights=further)
    coupons = tuple(
        (str(name), int(counts[k]), float(sums[k] / counts[k])) for k, name in enumerate(coded.dictionary.to_pylist())
    )
    return Promise(
        ids,
        float(further.sum()) / len(ids),
        coupons,
        float(folder.summary.get("objective") or 0.0),
        str(folder.summary.get("currency", "")),
        money.notes,
    )


def noise_of(table: Any, promise: Promise | None) -> Noise:
    """Measure how much users differ from a past window's spend: the plan's users, or all of the table.

    Users of the plan without a row count as having bought nothing. Raises `DataError` as `read_outcomes` does, and where
    all spend the same.
    """
    from allocator.tables.files import read_plain

    notes = []
    if promise is None:
        read = read_plain(table)
        if "user_id" not in read.column_names:
            raise DataError(f"{table}: column 'user_id' is missing; found {', '.join(read.column_names)}")
        ids = one_chunk(read["user_id"])
    else:
        ids = promise.user_ids
    found = read_outcomes(table, ids, absent=Absent.ZERO)
    notes += [note for note in found.notes if "does not know" not in note and "do not know" not in note]
    spend = found.columns["spend"]
    sd = float(spend.std(ddof=1)) if spend.size > 1 else math.nan
    if not sd > 0:
        raise DataError(f"{table}: all {spend.size:,} users spend the same; nothing tells how much users differ")
    correlation = 0.0
    if "pre_spend" in found.columns:
        before = found.columns["pre_spend"]
        if before.std() > 0:
            correlation = float(np.clip(np.corrcoef(spend, before)[0, 1], -0.9999, 0.9999))
    notes.append(
        f"{table}: {spend.size:,} users spent {spend.mean():,.2f} each, standard deviation {sd:,.2f}, correlation with the "
        f"window before {correlation:.2f}."
    )
    return Noise(sd, correlation, tuple(notes))


def noise_of_rate(rate: float, correlation: float) -> Noise:
    """Return the standard deviation of a purchase, yes or no; raises `UsageError` where all or none buy."""
    if not 0.0 < rate < 1.0:
        raise UsageError(f"the rate is {rate:g}; it must lie between 0 and 1, such as 5%")
    return Noise(math.sqrt(rate * (1 - rate)), correlation)
