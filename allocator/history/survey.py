"""A first look at all lines: who is there, until when, and what most money goes to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from allocator.history.faults import Faults
from allocator.history.numbering import Numbering, numbering_of
from allocator.history.products import Products
from allocator.history.schema import MOST_CATEGORIES, ProfileSchema
from allocator.history.transactions import DAY, Transactions
from allocator.kernels import profiles as kernels
from allocator.progress import Progress


@dataclass(frozen=True, eq=False)
class Survey:
    """What all lines before a moment tell.

    Attributes
    ----------
    users
        Everybody with a line, sorted by id.
    first, last
        Seconds since 1970, of the first and the last line; equal to -1 where there is none.
    has_clock
        Whether some time is not midnight.
    item_money
        `(n_products,)` float64, currency; `None` without products.
    faults
        What was left out.
    """

    users: Numbering
    first: int
    last: int
    has_clock: bool
    item_money: np.ndarray | None
    faults: Faults


def survey(transactions: Transactions, products: Products | None, before: int | None, progress: Progress) -> Survey:
    """Look at all sound lines before a moment (seconds since 1970; `None`: at all)."""
    users = Numbering("user_id" in transactions.text_ids)
    items = None if products is None else products.numbering()
    money = None if products is None else np.zeros(len(products.item_ids))
    faults, first, last, has_clock, done = Faults(), -1, -1, False, 0
    for lines, left_out in transactions.batches(before=before):
        faults += left_out
        done += left_out.rows
        progress("looking at transactions", transactions.share(done))
        if not len(lines):
            continue
        users.add(lines.user)
        begin, end = int(lines.time.min()), int(lines.time.max())
        first, last = begin if first < 0 else min(first, begin), max(last, end)
        has_clock = has_clock or bool((lines.time % DAY != 0).any())
        if items is not None and money is not None:
            kernels.add_totals(items.find(lines.item), lines.amount, money)
    ids = users.ids
    return Survey(numbering_of(ids.take(pc.sort_indices(ids)), "users"), first, last, has_clock, money, faults)


def choose_schema(
    found: Survey, transactions: Transactions, products: Products | None, category: str | None
) -> ProfileSchema:
    """Choose features that the data can fill: the categories that most money goes to, hours, discounts."""
    column = None if products is None else (category or products.category_column())
    names: tuple[str, ...] = ()
    if products is not None and column is not None and found.item_money is not None:
        codes, values = products.column(column)
        totals = np.zeros(len(values))
        kernels.add_totals(codes, found.item_money, totals)
        ordered = sorted(range(len(values)), key=lambda place: (-totals[place], values[place]))
        names = tuple(values[place] for place in ordered[:MOST_CATEGORIES] if totals[place] > 0)
    return ProfileSchema(names, column, found.has_clock, transactions.has_discount)
