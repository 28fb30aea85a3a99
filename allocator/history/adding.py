"""Adds lines up by user, and makes features of the sums."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from allocator.history.faults import Faults
from allocator.history.numbering import Numbering
from allocator.history.products import Products
from allocator.history.schema import QUARTERS, WEEKDAYS, ProfileSchema
from allocator.history.transactions import DAY, Transactions
from allocator.kernels import hashing
from allocator.kernels import profiles as kernels
from allocator.progress import Progress
from allocator.tables.user_ids import missing_ids

NO_NUMBERS = np.empty(0)
NO_CODES = np.empty(0, np.int32)
NEVER = np.iinfo(np.int64).max
FIRST_SLOTS = 1 << 20


class OutOfOrder(Exception):
    """Lines of a user do not come in the order that was hoped for."""


@dataclass(eq=False)
class Sums:
    """What profiles are made of.

    Attributes
    ----------
    table
        `(users, sums)` float64; columns as in `kernels.profiles`.
    first, last
        `(users,)` int64, seconds since 1970.
    faults, unknown_items
        Of the lines.
    """

    table: np.ndarray
    first: np.ndarray
    last: np.ndarray
    faults: Faults
    unknown_items: int = 0


class InOrder:
    """Tells visits apart where each user's lines come in order of time: remembers the last few baskets of each."""

    def __init__(self, n_users: int, direction: int) -> None:
        self._direction = direction
        self._ring = np.zeros((n_users, kernels.RING), np.uint64)
        self._ring_time = np.full((n_users, kernels.RING), np.iinfo(np.int64).min)
        self._latest = np.full(n_users, np.iinfo(np.int64).min)

    def add(
        self, user: np.ndarray, time: np.ndarray, key: np.ndarray, limit: np.ndarray, near: int, table: np.ndarray
    ) -> None:
        """Count the visits of a batch; raises `OutOfOrder`."""
        broken = kernels.visits_in_order(
            user, time, key, limit, near, self._direction, table, self._ring, self._ring_time, self._latest
        )
        if broken >= 0:
            raise OutOfOrder


class InAnyOrder:
    """Tells visits apart by remembering every basket: 8 bytes each, in a table at most three quarters full."""

    def __init__(self) -> None:
        self._seen = np.zeros(FIRST_SLOTS, np.uint64)
        self._used = 0

    def add(
        self, user: np.ndarray, time: np.ndarray, key: np.ndarray, limit: np.ndarray, near: int, table: np.ndarray
    ) -> None:
        """Count the visits of a batch."""
        begin = 0
        while True:
            self._used, begin = kernels.visits_of_set(
                user, time, key, limit, near, table, self._seen, self._used, begin
            )
            if begin == user.size:
                return
            larger = np.zeros(2 * self._seen.size, np.uint64)
            hashing.refill(self._seen, larger)
            self._seen = larger


def add_up(
    transactions: Transactions,
    products: Products | None,
    schema: ProfileSchema,
    users: Numbering,
    limit: np.ndarray,
    progress: Progress,
) -> Sums:
    """Add up the lines of these users, each before its moment `limit` `(users,)`."""
    for direction in (1, -1):  # oldest first, newest first; a try ends at the first line that breaks the order
        with suppress(OutOfOrder):
            return _one_pass(transactions, products, schema, users, limit, InOrder(len(users), direction), progress)
    return _one_pass(transactions, products, schema, users, limit, InAnyOrder(), progress)


def _one_pass(
    transactions: Transactions,
    products: Products | None,
    schema: ProfileSchema,
    users: Numbering,
    limit: np.ndarray,
    teller: InOrder | InAnyOrder,
    progress: Progress,
) -> Sums:
    n, near, until = len(users), schema.near_days * DAY, int(limit.max(initial=0))
    sums = Sums(
        np.zeros((n, kernels.CATEGORY + len(schema.categories) + 1)), np.full(n, NEVER), np.full(n, -1), Faults()
    )
    items, categories = _categories(products, schema)
    done = 0
    for lines, left_out in transactions.batches(before=until):
        sums.faults += left_out
        done += left_out.rows
        progress("adding up transactions", transactions.share(done))
        user = users.find(lines.user)
        category = NO_CODES
        if items is not None:
            item = items.find(lines.item)
            sums.unknown_items += int((item < 0).sum())
            if categories.size:
                category = categories[item]  # the last entry, which -1 finds, is that of unknown items
        discount = NO_NUMBERS if lines.discount is None else lines.discount
        kernels.add_lines(
            user,
            lines.time,
            lines.quantity,
            lines.amount,
            discount,
            category,
            limit,
            near,
            sums.table,
            sums.first,
            sums.last,
        )
        key = np.empty(user.size, np.uint64)
        kernels.basket_keys(user, lines.time, id_numbers(lines.basket, lines.time), key)
        teller.add(user, lines.time, key, limit, near, sums.table)
    return sums


def _categories(products: Products | None, schema: ProfileSchema) -> tuple[Numbering | None, np.ndarray]:
    """Return the items' numbering, and the place of each item's category among the schema's; behind them: another."""
    if products is None:
        return None, NO_CODES
    if schema.category_column is None:
        return products.numbering(), NO_CODES
    codes, values = products.column(schema.category_column)
    place = {name: number for number, name in enumerate(schema.categories)}
    other = len(schema.categories)
    of_value = np.array([*(place.get(value, other) for value in values), other], np.int32)  # the last: no category
    return products.numbering(), np.append(of_value[codes], np.int32(other))


def id_numbers(ids: pa.Array | None, time: np.ndarray) -> np.ndarray:
    """Return a number for each basket, `(n,)` int64: the id itself, a hash of its text, or the time where it is missing.

    None for no ids.
    """
    if ids is None:
        return np.empty(0, np.int64)
    if pa.types.is_integer(ids.type):
        numbers = np.asarray(ids.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False))
    else:
        coded = ids if pa.types.is_dictionary(ids.type) else ids.dictionary_encode()
        hashes = np.append(hashing.of_texts(coded.dictionary), 0)
        numbers = hashes[coded.indices.fill_null(len(coded.dictionary)).to_numpy(zero_copy_only=False)]
    return np.where(missing_ids(ids), ~time, numbers)  # a negative number: ids of receipts are not


def features(sums: Sums, schema: ProfileSchema, limit: np.ndarray) -> np.ndarray:
    """Return `(features, users)` float32, in the order of the schema."""
    matrix = np.empty((len(schema.names), len(sums.table)), np.float32)
    for row, column in zip(matrix, _columns(sums, schema, limit), strict=True):
        row[:] = column
    return matrix


def _columns(sums: Sums, schema: ProfileSchema, limit: np.ndarray) -> Iterator[np.ndarray]:
    """Yield one feature after the other, so that only one is there in double precision."""
    column = sums.table.T
    known = column[kernels.LINES] > 0
    visits, money = column[kernels.VISITS], column[kernels.MONEY]
    yield (recency := np.where(known, (limit - sums.last) / DAY, np.nan))
    yield np.where(known, (limit - sums.first) / DAY, np.nan)
    yield visits
    yield column[kernels.VISITS_NEAR]
    yield money
    yield column[kernels.MONEY_NEAR]
    for total in (money, column[kernels.UNITS], column[kernels.LINES]):
        yield _ratio(total, visits)
    yield _ratio(money, column[kernels.UNITS])
    yield (gap := _ratio((sums.last - sums.first) / DAY, visits - 1))
    yield _ratio(recency, gap)
    yield _trend(column[kernels.MONEY_NEAR], column[kernels.MONEY_BEFORE])
    yield _trend(column[kernels.VISITS_NEAR], column[kernels.VISITS_BEFORE])
    if schema.has_discount:
        discount = column[kernels.DISCOUNT]
        yield _ratio(discount, discount + money)
        yield _ratio(column[kernels.DISCOUNTED], column[kernels.LINES])
    if schema.has_clock:
        for place in range(len(QUARTERS)):
            yield _ratio(column[kernels.CLOCK + place], visits)
    for place in range(len(WEEKDAYS)):
        yield _ratio(column[kernels.WEEK + place], visits)
    if schema.category_column is not None:
        for place in range(len(schema.categories) + 1):
            yield _ratio(column[kernels.CATEGORY + place], money)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Divide, NaN where there is nothing to divide by."""
    out = np.full(above.shape, np.nan)
    np.divide(above, below, out=out, where=below > 0)
    return out


def _trend(near: np.ndarray, before: np.ndarray) -> np.ndarray:
    return _ratio(near - before, near + before)
