"""What past purchases say of users: profiles as of a moment, and how likely they buy from each coupon's scope anyway."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import cf
from allocator.campaign import Coupon
from allocator.errors import DataError, UsageError
from allocator.history import (
    Faults,
    Products,
    Profiles,
    ProfileSchema,
    Transactions,
    moment,
    profiles,
    read_products,
    read_transactions,
)
from allocator.history.profiles import same_kind
from allocator.history.transactions import DAY, as_numpy
from allocator.progress import Progress, silent
from allocator.tables.frames import is_text
from allocator.tables.streams import MISSING_TIME

WINDOW = 28  # days, where no coupon says how long it is valid


@dataclass(frozen=True, eq=False)
class Past:
    """Transactions, and the products that they are of."""

    transactions: Transactions
    products: Products | None

    @classmethod
    def read(cls, transactions: str | Path, products: str | Path | None) -> Past:
        """Find both; raises `DataError`."""
        found = None if products is None else read_products(products)
        return cls.of(read_transactions(transactions), found)

    @classmethod
    def of(cls, transactions: Transactions, products: Products | None) -> Past:
        """Put both together; raises `DataError` where their ids are of different kinds."""
        if products is not None:
            transactions = same_kind(transactions, "item_id", is_text(products.item_ids.type), products.path)
        return cls(transactions, products)

    @property
    def faults(self) -> Faults:
        """What is left out of the transactions; reads them through."""
        return self.transactions.faults()

    @property
    def notes(self) -> tuple[str, ...]:
        """What was taken for what."""
        return (*self.transactions.notes, *(() if self.products is None else self.products.notes))

    def profiles(
        self, ids: pa.Array, as_of: Any, schema: ProfileSchema | None, progress: Progress = silent
    ) -> Profiles:
        """Return the profiles of these (distinct) users."""
        return profiles(self.transactions, self.products, ids, as_of, schema=schema, progress=progress)

    def own(self, ids: pa.Array, from_csv: bool) -> pa.Array:
        """Return ids as the transactions have them: integers that CSV alone made so become text where theirs are."""
        return ids.cast(pa.string()) if from_csv and "user_id" in self.transactions.text_ids else ids

    def fitting(self, ids: pa.Array, source: str) -> Past:
        """Return the same with ids of users of the kind of these; raises `DataError` where they cannot be."""
        return Past(same_kind(self.transactions, "user_id", is_text(ids.type), source), self.products)

    def refuse_unforetellable(self, coupons: Sequence[Coupon], as_of: Any) -> None:
        """Raise where `wants` would: a scope covers nothing, or the past before a moment is too short to learn from.

        Raises
        ------
        DataError, CampaignError
        """
        scoped = [coupon for coupon in coupons if coupon.scope]
        for coupon in scoped:
            self.items(coupon)
        if scoped:
            limit = None if as_of is None else moment(as_of)
            first, last, bought = MISSING_TIME, 0, 0
            for lines, _ in self.transactions.batches({"user_id", "item_id"}, before=limit):
                if len(lines):
                    first = int(lines.time.min()) if first == MISSING_TIME else min(first, int(lines.time.min()))
                    last, bought = max(last, int(lines.time.max())), bought + len(lines)
            now = last + 1 if limit is None else limit
            self.refuse_short(now - first if bought else 0, window_of(coupons))

    def refuse_short(self, seconds: int, days: float) -> None:
        """Raise `DataError` where relevance to scopes cannot be learned from so long a past."""
        if seconds < 2 * days * DAY:
            raise DataError(
                f"{self.transactions.path}: relevance to the coupons' scopes is learned from two windows of {days:g} days "
                f"(`valid_days`) at least before the campaign, and there are {seconds / DAY:.0f} days of purchases; give a "
                "longer history, or fewer valid_days"
            )

    def interactions(self, as_of: Any) -> cf.Interactions:
        """Return all purchases before a moment (`None`: all)."""
        limit = None if as_of is None else np.datetime64(moment(as_of), "s")
        return cf.Interactions.of(_Events(self.transactions), now=limit)

    def everything(self) -> np.ndarray:
        """Return the ids of all products."""
        assert self.products is not None
        return as_numpy(self.products.item_ids)

    def items(self, coupon: Coupon) -> np.ndarray:
        """Return the ids of the products in a coupon's scope; raises `DataError` and `CampaignError`."""
        if self.products is None:
            raise DataError(
                f"coupon {coupon.id!r} has a scope, so products are needed to tell what it covers; give --products"
            )
        inside = self.products.in_scope(coupon.scope, f"{self.products.path}: scope of coupon {coupon.id!r}")
        if not inside.any():
            raise DataError(
                f"{self.products.path}: coupon {coupon.id!r}: no product is in its whole scope {coupon.scope}"
            )
        return as_numpy(self.products.item_ids.filter(pa.array(inside)))


def window_of(coupons: Sequence[Coupon]) -> float:
    """Return the days in which purchases from the coupons' scopes count: the longest validity of those with one."""
    return float(max((coupon.valid_days or 0 for coupon in coupons if coupon.scope), default=0) or WINDOW)


@dataclass(frozen=True, eq=False)
class _Events:
    """The lines of transactions as cf's events, as often as asked."""

    transactions: Transactions

    def __iter__(self) -> Iterator[cf.Events]:
        for lines in self.transactions.lines():
            yield cf.Events(lines.users, lines.items, lines.moments, lines.quantity, lines.amount)


def as_moment(day: Any, what: str) -> int:
    """Return a moment in seconds; raises `UsageError` where there is none."""
    if day is None:
        raise UsageError(
            f"{what}: profiles are of what was known before a day; give the trial a column 'time', or start = 2026-01-31 "
            "under [campaign] of the file that --campaign names"
        )
    return moment(day)
