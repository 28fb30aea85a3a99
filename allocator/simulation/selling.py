"""What sold in the weeks before a campaign, by row of a stock list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from allocator.errors import DataError
from allocator.history import Faults, Products, Transactions, moment
from allocator.history.faults import FUTURE
from allocator.kernels.draws import GOLDEN
from allocator.progress import Progress, silent
from allocator.simulation.stock import Stock

WEEK = 7 * 86_400  # seconds
WEEKS = 12


@dataclass(frozen=True, eq=False)
class Sales:
    """Units sold and baskets, of the whole weeks before a moment.

    Attributes
    ----------
    weekly
        `(n_rows, weeks)` units of each row of the stock, the oldest week first.
    baskets
        How many baskets there were.
    scope_baskets
        By coupon: how many of them held something of its scope.
    scoped
        By coupon: `(n_rows,)` units of each row that are of its scope.
    faults
        Rows that say something impossible, such as returns with a negative amount: not counted as sold. Rows from the
        start on are none.
    """

    weekly: np.ndarray
    baskets: int
    scope_baskets: Mapping[str, int]
    scoped: Mapping[str, np.ndarray]
    faults: Faults = field(default_factory=Faults)


def sales_before(
    transactions: Transactions,
    products: Products,
    stock: Stock,
    scopes: Mapping[str, np.ndarray],
    start: object,
    *,
    weeks: int = WEEKS,
    progress: Progress = silent,
) -> Sales:
    """Add up what sold in the `weeks` before `start`; memory grows with the lines of these weeks, 16 bytes each.

    Parameters
    ----------
    scopes
        By coupon `(n_items,)` bool, the products that it is good for; in the order of `products`.

    Raises
    ------
    DataError
        Where nothing sold in those weeks.
    """
    end = moment(start)
    begin = end - weeks * WEEK
    number = products.numbering()
    weekly = np.zeros(len(stock) * weeks)
    scoped = {name: np.zeros(len(stock)) for name in scopes}
    baskets: list[np.ndarray] = []
    items: list[np.ndarray] = []
    wanted = ("user_id", "item_id", "quantity", "amount", "basket_id")
    faults, done = Faults(), 0
    for lines, left_out in transactions.batches(wanted, before=end):
        faults += left_out
        done += left_out.rows
        progress("transactions", transactions.share(done))
        recent = lines.time >= begin
        if not recent.any():
            continue
        item = number.find(lines.item)[recent]
        week = (lines.time[recent] - begin) // WEEK
        units, known = lines.quantity[recent], item >= 0
        row = np.where(known, stock.row_of_item[np.maximum(item, 0)], -1)
        held = row >= 0
        weekly += np.bincount(row[held] * weeks + week[held], units[held], minlength=weekly.size)
        for name, scope in scopes.items():
            inside = held & scope[np.maximum(item, 0)]
            scoped[name] += np.bincount(row[inside], units[inside], minlength=len(stock))
        mask = pa.array(recent)
        baskets.append(_basket_keys(lines.basket, lines.user, lines.time, mask)[known])
        items.append(item[known].astype(np.int32))
    if not baskets:
        raise DataError(
            f"{transactions.path}: nothing sold in the {weeks} weeks before the campaign; give newer transactions, or --start"
        )
    basket, item = np.concatenate(baskets), np.concatenate(items)
    held_by = {name: int(np.unique(basket[scope[item]]).size) for name, scope in scopes.items()}
    return Sales(
        weekly.reshape(len(stock), weeks), int(np.unique(basket).size), held_by, scoped, faults.without(FUTURE)
    )


def _basket_keys(basket: pa.Array | None, user: pa.Array, time: np.ndarray, mask: pa.Array) -> np.ndarray:
    """Return a number for each line's basket, `(n,)` uint64; without baskets, a user's lines of one time are one."""
    import pandas as pd

    if basket is not None:
        return pd.util.hash_array(basket.filter(mask).to_pandas().to_numpy())
    owner = pd.util.hash_array(user.filter(mask).to_pandas().to_numpy())
    with np.errstate(over="ignore"):
        return owner ^ (time[np.asarray(mask)].astype(np.uint64) * GOLDEN)
