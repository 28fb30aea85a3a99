"""What a table of transactions says, in one pass: who, when, how much, and what looks wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from allocator.errors import UsageError
from allocator.history.adding import id_numbers
from allocator.history.faults import Faults
from allocator.history.numbering import Numbering
from allocator.history.products import Products
from allocator.history.sampling import KeySample
from allocator.history.transactions import DAY, LATEST, Lines, Transactions
from allocator.kernels import hashing
from allocator.kernels import profiles as kernels
from allocator.progress import Progress, silent

LONG_SILENCE = 7  # days in a row without a line that are worth a word
MOST_SCOPES = 64  # bits of a mask


@dataclass(frozen=True)
class Gap:
    """Days without any line: from the day after `after` to the day before `until`, days since 1970."""

    after: int
    until: int

    @property
    def days(self) -> int:
        """How many."""
        return self.until - self.after - 1


@dataclass(frozen=True, eq=False)
class Inspection:
    """What was understood of transactions.

    Attributes
    ----------
    faults
        What was left out; everything else counts sound lines only.
    users
        Everybody with a line.
    items
        Everything that was bought.
    visits, duplicates
        Baskets; lines that repeat another in everything.
    visits_exact, duplicates_exact
        Whether these are counts; estimates otherwise.
    money, discount
        Sums, currency; `discount` is `None` where the files do not tell.
    first, last
        Seconds since 1970; -1 where there is no line.
    has_clock
        Whether some time is not midnight.
    gaps
        Stretches of at least a week without any line, the longest first.
    unknown_items, unknown_lines, unknown_money
        What the products lack: items, lines of them, and money of these; 0 without products.
    scopes
        For each named set of products the number of users who bought from it.
    """

    faults: Faults
    users: Numbering
    items: Numbering
    visits: int
    duplicates: int
    visits_exact: bool
    duplicates_exact: bool
    money: float
    discount: float | None
    first: int
    last: int
    has_clock: bool
    gaps: tuple[Gap, ...]
    unknown_items: int
    unknown_lines: int
    unknown_money: float
    scopes: Mapping[str, int]


def inspect(
    transactions: Transactions,
    products: Products | None = None,
    scopes: Mapping[str, np.ndarray] | None = None,
    progress: Progress = silent,
) -> Inspection:
    """Read all transactions through.

    Parameters
    ----------
    products
        To tell unknown items.
    scopes
        Sets of products by name, `(n_products,)` bool each, at most 64: who bought from each is counted.
    """
    named = dict(scopes or {})
    if len(named) > MOST_SCOPES:
        raise UsageError(f"{len(named)} scopes are too many to look at in one pass; give at most {MOST_SCOPES}")
    look = _Look(transactions, products, named)
    done = 0
    for lines, left_out in transactions.batches():
        look.faults += left_out
        done += left_out.rows
        progress("reading transactions", transactions.share(done))
        if len(lines):
            look.add(lines)
    return look.result()


class _Look:
    """Sums of one pass."""

    def __init__(self, transactions: Transactions, products: Products | None, scopes: Mapping[str, np.ndarray]) -> None:
        self.faults = Faults()
        self._users = Numbering("user_id" in transactions.text_ids)
        self._items = Numbering("item_id" in transactions.text_ids)
        self._catalogue = None if products is None else products.numbering()
        self._scopes = tuple(scopes)
        n_items = 0 if products is None else len(products.item_ids)
        self._masks = np.zeros(n_items + 1, np.uint64)
        for bit, name in enumerate(self._scopes):
            self._masks[:-1] |= scopes[name].astype(np.uint64) << np.uint64(bit)
        self._bought = np.zeros(0, np.uint64)
        self._lines, self._baskets = KeySample(), KeySample()
        self._money, self._discount = 0.0, 0.0 if transactions.has_discount else None
        self._first, self._last, self._has_clock = -1, -1, False
        self._days = np.zeros(LATEST // DAY + 1, np.int64)
        self._unknown_lines, self._unknown_money = 0, 0.0

    def add(self, lines: Lines) -> None:
        """Add a batch."""
        user, item = self._users.add(lines.user), self._items.add(lines.item)
        begin, end = int(lines.time.min()), int(lines.time.max())
        self._first, self._last = begin if self._first < 0 else min(self._first, begin), max(self._last, end)
        self._has_clock = self._has_clock or bool((lines.time % DAY != 0).any())
        counts = np.bincount(lines.time // DAY - begin // DAY)
        self._days[begin // DAY : begin // DAY + counts.size] += counts
        self._money += float(lines.amount.sum())
        if self._discount is not None and lines.discount is not None:
            self._discount += float(lines.discount.sum())
        self._sample(lines, user, item)
        if self._catalogue is not None:
            place = self._catalogue.find(lines.item)
            unknown = place < 0
            self._unknown_lines += int(unknown.sum())
            self._unknown_money += float(lines.amount[unknown].sum())
            if self._scopes:
                if len(self._users) > self._bought.size:
                    more = np.zeros(max(2 * self._bought.size, len(self._users)) - self._bought.size, np.uint64)
                    self._bought = np.concatenate([self._bought, more])
                kernels.mark(user, place, self._masks, self._bought)

    def _sample(self, lines: Lines, user: np.ndarray, item: np.ndarray) -> None:
        keys = np.empty(user.size, np.uint64)
        baskets = id_numbers(lines.basket, lines.time)
        kernels.basket_keys(user, lines.time, baskets, keys)
        self._baskets.add(keys)
        for column in (item.astype(np.int64), lines.time, lines.quantity.view(np.int64), lines.amount.view(np.int64)):
            hashing.chain(keys, column)
        self._lines.add(keys)

    def result(self) -> Inspection:
        """Return what was found."""
        unknown = 0
        if self._catalogue is not None:
            unknown = int((self._catalogue.find(self._items.ids) < 0).sum())
        bought = {
            name: int(((self._bought >> np.uint64(bit)) & np.uint64(1)).sum()) for bit, name in enumerate(self._scopes)
        }
        return Inspection(
            faults=self.faults,
            users=self._users,
            items=self._items,
            visits=self._baskets.distinct,
            duplicates=self._lines.repeated,
            visits_exact=self._baskets.is_exact,
            duplicates_exact=self._lines.is_exact,
            money=self._money,
            discount=self._discount,
            first=self._first,
            last=self._last,
            has_clock=self._has_clock,
            gaps=_gaps(self._days),
            unknown_items=unknown,
            unknown_lines=self._unknown_lines,
            unknown_money=self._unknown_money,
            scopes=bought,
        )


def _gaps(days: np.ndarray) -> tuple[Gap, ...]:
    there = np.flatnonzero(days)
    wide = np.flatnonzero(np.diff(there) > LONG_SILENCE)
    found = [Gap(int(there[place]), int(there[place + 1])) for place in wide]
    return tuple(sorted(found, key=lambda gap: -gap.days))


def day(seconds: int) -> Any:
    """Return the day of a moment as `2026-01-31`; `None` for a moment before 1970."""
    return None if seconds < 0 else str(np.datetime64(seconds, "s").astype("datetime64[D]"))
