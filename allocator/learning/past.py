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
from allocator.errors import DataError, UsageError, nearest
from allocator.history import (
    Products,
    Profiles,
    ProfileSchema,
    Transactions,
    moment,
    profiles,
    read_products,
    read_transactions,
)
from allocator.progress import Progress, silent
from allocator.tables.frames import is_text

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
        return cls(read_transactions(transactions), found)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was taken for what."""
        return (*self.transactions.notes, *(() if self.products is None else self.products.notes))

    def profiles(
        self, ids: pa.Array, as_of: Any, schema: ProfileSchema | None, progress: Progress = silent
    ) -> Profiles:
        """Return the profiles of these (distinct) users."""
        return profiles(self.transactions, self.products, ids, as_of, schema=schema, progress=progress)

    def wants(
        self, coupons: Sequence[Coupon], ids: pa.Array, as_of: Any, *, seed: int = 0, progress: Progress = silent
    ) -> tuple[np.ndarray, np.ndarray]:
        """Foretell purchases from each coupon's scope in the campaign's window.

        Learned anew from what was known as of then: the windows before it are what it is trained on.

        Returns
        -------
        relevance, spend
            `(n, coupons)` float32: P(buys from the scope), and what such a purchase spends on it (currency). NaN for
            coupons without a scope.

        Raises
        ------
        DataError
            Where scopes need products that are not there, or a scope covers no product.
        """
        scoped = [k for k, coupon in enumerate(coupons) if coupon.scope]
        relevance = np.full((len(ids), len(coupons)), np.nan, dtype=np.float32)
        spend = relevance.copy()
        if not scoped:
            return relevance, spend
        known = self._interactions(ids, as_of)
        sets = {coupons[k].id: self._items(coupons[k]) for k in scoped}
        days = float(max((coupons[k].valid_days or 0 for k in scoped), default=0) or WINDOW)

        def told(task: str, done: int, total: int) -> None:
            progress(task, done / total if total else float("nan"))

        try:
            model = cf.Relevance(window=days, seed=seed).fit(known, cf.Scopes.of(known.items, sets), told)
            foretold = model.predict(known, _plain(ids), progress=told)
        except cf.CfError as error:
            raise DataError(f"{self.transactions.path}: relevance to the coupons' scopes: {error}") from error
        relevance[:, scoped] = foretold.probability
        if foretold.spend is not None:
            spend[:, scoped] = foretold.spend / np.maximum(foretold.probability, 1e-9)
        return relevance, spend

    def _interactions(self, ids: pa.Array, as_of: Any) -> cf.Interactions:
        transactions = self.transactions
        if is_text(ids.type) and "user_id" not in transactions.text_ids and transactions.layout.is_csv:
            transactions = transactions.with_text_users()
        limit = None if as_of is None else np.datetime64(moment(as_of), "s")
        return cf.Interactions.of(_Events(transactions), now=limit)

    def _items(self, coupon: Coupon) -> np.ndarray:
        """Ids of the products in a coupon's scope."""
        if self.products is None:
            raise DataError(
                f"coupon {coupon.id!r} has a scope, so products are needed to tell what it covers; give --products"
            )
        inside = np.ones(len(self.products.item_ids), dtype=bool)
        for name, wanted in (coupon.scope or {}).items():
            if name not in self.products.attributes:
                raise DataError(
                    f"{self.products.path}: coupon {coupon.id!r} has a scope by {name!r}, but there is no such column"
                    f"{nearest(name, self.products.attributes)}; found: {', '.join(self.products.attributes)}"
                )
            codes, values = self.products.column(name)
            asked = [str(value) for value in (wanted if isinstance(wanted, list) else [wanted])]
            unknown = [value for value in asked if value not in values]
            if unknown:
                raise DataError(
                    f"{self.products.path}: coupon {coupon.id!r}: no product has {name} = {unknown[0]!r}"
                    f"{nearest(unknown[0], values)}"
                )
            inside &= np.isin(codes, [values.index(value) for value in asked])
        if not inside.any():
            raise DataError(
                f"{self.products.path}: coupon {coupon.id!r}: no product is in its whole scope {coupon.scope}"
            )
        return _plain(self.products.item_ids.filter(pa.array(inside)))


@dataclass(frozen=True, eq=False)
class _Events:
    """The lines of transactions as cf's events, as often as asked."""

    transactions: Transactions

    def __iter__(self) -> Iterator[cf.Events]:
        for lines in self.transactions.lines():
            yield cf.Events(lines.users, lines.items, lines.moments, lines.quantity, lines.amount)


def _plain(ids: pa.Array) -> np.ndarray:
    return np.asarray(ids.to_numpy(zero_copy_only=False))


def as_moment(day: Any, what: str) -> int:
    """Return a moment in seconds; raises `UsageError` where there is none."""
    if day is None:
        raise UsageError(
            f"{what}: profiles are of what was known before a day; give the trial a column 'time', or start = 2026-01-31 "
            "under [campaign] of the file that --campaign names"
        )
    return moment(day)
