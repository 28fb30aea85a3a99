"""Transactions: who bought what, when, for how much; as a stream of sound lines."""

from __future__ import annotations

import dataclasses
import time as clock
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from allocator.errors import DataError, UsageError
from allocator.history import faults as kinds
from allocator.history.faults import Faults, Sieve
from allocator.tables import streams
from allocator.tables.named import USER_NAMES, Column, Holds, Layout, layout_of
from allocator.tables.streams import Batch
from allocator.tables.user_ids import missing_ids

ITEM_NAMES = ("product_id", "sku", "article_id", "upc", "item", "product", "stock_code")
COLUMNS = (
    Column("user_id", Holds.ID, USER_NAMES, True, "who bought"),
    Column("item_id", Holds.ID, ITEM_NAMES, True, "what was bought"),
    Column(
        "time",
        Holds.TIME,
        (
            "timestamp",
            "transaction_timestamp",
            "datetime",
            "date",
            "transaction_date",
            "order_date",
            "invoice_date",
            "day",
        ),
        True,
        "when, on the clock of the place: 2026-01-31 or 2026-01-31 18:05:00",
    ),
    Column("quantity", Holds.NUMBER, ("qty", "units"), False, "how many; 1 where left out"),
    Column(
        "amount",
        Holds.NUMBER,
        ("sales_value", "revenue", "sales", "net_amount", "spend", "line_total"),
        True,
        "currency paid for the row, after discounts",
    ),
    Column(
        "discount",
        Holds.NUMBER,
        ("discount_amount", "total_discount", "coupon_disc"),
        False,
        "currency given off the row, at least 0",
    ),
    Column(
        "basket_id",
        Holds.ID,
        ("order_id", "transaction_id", "receipt_id", "invoice_id", "invoice", "basket"),
        False,
        "which rows were one visit; where left out, those of a user at the same time",
    ),
)
DAY = 86_400  # seconds
LATEST = 2**32 - 1  # seconds since 1970: 2106-02-07
AMOUNT_LIMIT = 1e12


@dataclass(frozen=True, eq=False)
class Lines:
    """Sound lines of purchases, one an entry of each column.

    Attributes
    ----------
    user, item
        `(n,)` ids: Arrow int64, or text (plain or with codes).
    time
        `(n,)` int64: seconds since 1970 on the clock of the place.
    quantity, amount, discount
        `(n,)` float64: units (> 0); currency paid (>= 0); currency given (>= 0). Quantity is 1 and discount `None`
        where the files have none.
    basket
        `(n,)` ids, or `None`: lines of a user at the same time are then one visit.
    """

    user: pa.Array
    item: pa.Array
    time: np.ndarray
    quantity: np.ndarray
    amount: np.ndarray
    discount: np.ndarray | None
    basket: pa.Array | None

    def __len__(self) -> int:
        return int(self.time.size)

    @property
    def users(self) -> np.ndarray:
        """`(n,)` int64 or object (text)."""
        return as_numpy(self.user)

    @property
    def items(self) -> np.ndarray:
        """`(n,)` int64 or object (text)."""
        return as_numpy(self.item)

    @property
    def moments(self) -> np.ndarray:
        """`(n,)` datetime64[s]."""
        return self.time.astype("datetime64[s]")


@dataclass(frozen=True, eq=False)
class Transactions:
    """A table of transactions, found and understood, but not read: `lines` streams it as often as asked.

    Attributes
    ----------
    layout
        Its files and columns.
    text_ids
        The columns of ids that hold text.
    now
        Seconds since 1970; lines from then on are in the future.
    batch_rows
        How many rows of a Parquet file are looked at together.
    """

    layout: Layout
    text_ids: frozenset[str]
    now: int
    batch_rows: int = streams.ROWS

    @property
    def path(self) -> str:
        """As it was given."""
        return self.layout.path

    @property
    def notes(self) -> tuple[str, ...]:
        """Which columns were taken for what."""
        return self.layout.notes

    @property
    def has_discount(self) -> bool:
        """Whether the files say what was given off each line."""
        return "discount" in self.layout.names

    @property
    def has_baskets(self) -> bool:
        """Whether the files say which lines were one basket."""
        return "basket_id" in self.layout.names

    @property
    def rows(self) -> int | None:
        """Rows of all files; `None` for CSV, which tells only when it is read."""
        return streams.count_rows(self.layout)

    def share(self, done: int) -> float:
        """Return which part of the rows so many are; NaN where that is not known."""
        return float("nan") if self.rows is None else done / max(self.rows, 1)

    def batches(
        self, wanted: Collection[str] | None = None, before: int | None = None
    ) -> Iterator[tuple[Lines, Faults]]:
        """Yield sound lines, and what was left out of the rows they come from.

        Parameters
        ----------
        wanted
            Columns that the caller needs: the checks of the others are skipped, and their arrays hold nothing of use
            (zeros, ones, or an empty array of ids). All by default.
        before
            Seconds since 1970; only lines before. Not a fault: they are left out, and not counted.
        """
        names = {column.name for column in COLUMNS} if wanted is None else {"time", *wanted}
        for batch in streams.batches(self.layout, COLUMNS, names, self.text_ids, self.batch_rows):
            if len(batch):
                yield self._sound(batch, before)

    def lines(self, before: Any = None) -> Iterator[Lines]:
        """Yield sound lines, a batch at a time; `before`: a moment (see `moment`), only what happened before it."""
        limit = None if before is None else moment(before)
        for lines, _ in self.batches(before=limit):
            yield lines

    def faults(self) -> Faults:
        """Read everything through, and return what `lines` leaves out."""
        total = Faults()
        for _, faults in self.batches():
            total += faults
        return total

    def with_text_users(self) -> Transactions:
        """Return the same with `user_id` as text; only CSV files, whose integers are text too, can be read so."""
        if not self.layout.is_csv:
            raise UsageError(f"{self.path}: user_id are integers in a Parquet file; they cannot be read as text")
        return dataclasses.replace(self, text_ids=self.text_ids | {"user_id"})

    def with_text_items(self) -> Transactions:
        """Return the same with `item_id` as text; only for CSV files."""
        if not self.layout.is_csv:
            raise UsageError(f"{self.path}: item_id are integers in a Parquet file; they cannot be read as text")
        return dataclasses.replace(self, text_ids=self.text_ids | {"item_id"})

    def _sound(self, batch: Batch, before: int | None) -> tuple[Lines, Faults]:
        time, _ = streams.times_of(batch["time"])
        sieve = Sieve(len(batch), lambda row: self._row(batch, row))
        for name in ("user_id", "item_id"):
            if name in batch:
                sieve.refuse(kinds.NO_ID, missing_ids(batch[name]))
        sieve.refuse(kinds.NO_TIME, time == streams.MISSING_TIME)
        sieve.refuse(kinds.OUT_OF_RANGE, (time < 0) | (time > LATEST))
        sieve.refuse(kinds.FUTURE, time >= self.now)
        quantity, amount = np.ones(len(batch)), np.zeros(len(batch))
        discount = None
        if "quantity" in batch:
            quantity = numbers(batch["quantity"])
            sieve.refuse(kinds.BAD_QUANTITY, ~((quantity > 0) & (quantity <= AMOUNT_LIMIT)))
        if "amount" in batch:
            amount = numbers(batch["amount"])
            sieve.refuse(kinds.BAD_AMOUNT, ~((amount >= 0) & (amount <= AMOUNT_LIMIT)))
        if "discount" in batch:
            discount = numbers(batch["discount"])
            discount[np.asarray(batch["discount"].is_null())] = 0.0  # an empty cell: nothing was given
            sieve.refuse(kinds.BAD_DISCOUNT, ~((discount >= 0) & (discount <= AMOUNT_LIMIT)))
        good = sieve.good if before is None else sieve.good & (time < before)
        ids = {name: batch[name] if name in batch else pa.array([], pa.int64()) for name in ("user_id", "item_id")}
        basket = batch.get("basket_id")
        if not good.all():
            mask = pa.array(good)
            ids = {name: column.filter(mask) if len(column) else column for name, column in ids.items()}
            basket = None if basket is None else basket.filter(mask)
            time, quantity, amount = time[good], quantity[good], amount[good]
            discount = None if discount is None else discount[good]
        return Lines(ids["user_id"], ids["item_id"], time, quantity, amount, discount, basket), sieve.faults

    def _row(self, batch: Batch, row: int) -> str:
        words = f"row {batch.first + row + 1:,}"
        return words if len(self.layout.files) == 1 else f"{words} of {batch.file}"


def read_transactions(path: str | Path, *, now: Any = None) -> Transactions:
    """Find a table of transactions: Parquet or CSV; a file, a folder or a glob.

    `user_id`, `item_id`, `time` and `amount` (currency paid for the line after discounts) are required; `quantity`
    (default 1), `discount` and `basket_id` are optional.

    Parameters
    ----------
    now
        A moment (see `moment`); later lines are faults. The clock's time by default.

    Raises
    ------
    DataError
        Where the files cannot be read, a column is missing or has a type that it cannot have.
    """
    layout = layout_of(path, COLUMNS)
    # A day ahead: clocks of the place run ahead of the machine's by up to 14 hours.
    limit = int(clock.time()) + DAY if now is None else moment(now)
    return Transactions(layout, streams.text_ids_of(layout, COLUMNS), limit)


def moment(time: Any) -> int:
    """Return a moment as whole seconds since 1970.

    Takes a date or datetime (Python's, NumPy's, pandas'), a text such as `2026-01-31` or `2026-01-31 18:00`, or a
    number of seconds.

    Raises
    ------
    UsageError
        Where it is none of these, or is out of range.
    """
    if isinstance(time, int | float | np.integer | np.floating) and not isinstance(time, bool):
        seconds = float(time)
    else:
        try:
            stamp = pd.Timestamp(time)
        except (ValueError, TypeError) as error:
            raise UsageError(f"{time!r} is no moment; write it as 2026-01-31 or 2026-01-31 18:00") from error
        seconds = float("nan") if pd.isna(stamp) else stamp.tz_localize(None).timestamp()
    if not 0 <= seconds <= LATEST:
        raise UsageError(f"{time!r} is no moment between 1970 and 2105; write it as 2026-01-31")
    return int(seconds)


def numbers(column: pa.Array) -> np.ndarray:
    """Return a column of numbers as float64 that can be written to, NaN where missing."""
    return np.array(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))


def as_numpy(ids: pa.Array) -> np.ndarray:
    """Return ids as int64, or as objects (text)."""
    if pa.types.is_dictionary(ids.type):
        return np.asarray(ids.dictionary.to_numpy(zero_copy_only=False), dtype=object)[ids.indices.to_numpy()]
    array = ids.to_numpy(zero_copy_only=False)
    return np.asarray(array, dtype=object if array.dtype == object else np.int64)


def refuse_empty(transactions: Transactions, faults: Faults) -> None:
    """Raise `DataError` where no line is left."""
    if faults.rows == 0:
        raise DataError(f"{transactions.path}: no rows; write one row for each line of a purchase")
    if faults.sound == 0:
        raise DataError(f"{transactions.path}: no row is sound. {faults}")
