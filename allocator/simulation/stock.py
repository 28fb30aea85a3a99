"""Reads what is on hand."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from allocator.errors import DataError, counted
from allocator.history import Products
from allocator.tables.frames import decoded
from allocator.tables.named import Column, Holds, layout_of, read_layout

UNITS = Column("units", Holds.NUMBER, ("stock", "on_hand", "quantity", "available", "inventory"), True)
BY_ITEM = (
    Column("item_id", Holds.ID, ("product_id", "sku")),
    UNITS,
    Column("lead_days", Holds.NUMBER, ("lead_time", "delivery_days")),
)
BY_COUPON = (Column("coupon", Holds.TEXT, ("coupon_id",), True), UNITS)


def read_coupon_stock(path: str | Path) -> tuple[dict[str, float], tuple[str, ...]]:
    """Read `coupon` and `units`, what can be handed out by redeeming it; return them and what was taken for what.

    Raises
    ------
    DataError
        Where the file cannot be read, a coupon is there twice, or units are missing or negative.
    """
    layout = layout_of(path, BY_COUPON)
    table = read_layout(layout, BY_COUPON, others=False)
    names = decoded(table["coupon"]).cast(pa.string()).to_pylist()
    units = table["units"].cast(pa.float64()).to_numpy(zero_copy_only=False)
    refuse_units(str(path), [str(name) for name in names], units)
    if len(set(names)) < len(names) or None in names:
        twice = sorted({str(name) for name in names if names.count(name) > 1})[:3]
        raise DataError(f"{path}: column 'coupon' must name each coupon once; twice or empty: {', '.join(twice)}")
    return dict(zip(names, units.tolist(), strict=True)), layout.notes


def refuse_units(path: str, names: list[str], units: np.ndarray) -> None:
    """Raise `DataError` where units are not finite or negative."""
    wrong = np.flatnonzero(~(np.isfinite(units) & (units >= 0)))
    if wrong.size:
        shown = "; ".join(f"{names[row]}: {units[row]:g}" for row in wrong[:3].tolist())
        raise DataError(
            f"{path}: column 'units' must be 0 or more, but is not in {counted(int(wrong.size), 'row', 'rows')} ({shown}); write what is on hand"
        )


def _refuse_lead_days(path: str, names: list[str], lead: np.ndarray) -> None:
    """Raise `DataError` where the days until an order arrives are negative or infinite; NaN: not said."""
    wrong = np.flatnonzero((lead < 0) | np.isinf(lead))
    if wrong.size:
        shown = "; ".join(f"{names[row]}: {lead[row]:g}" for row in wrong[:3].tolist())
        raise DataError(
            f"{path}: column 'lead_days' must be 0 or more, but is not in {counted(int(wrong.size), 'row', 'rows')} ({shown}); "
            "write the days until an order arrives, or leave it empty"
        )


@dataclass(frozen=True, eq=False)
class Stock:
    """What is on hand, a row for an item or for all items of one kind.

    Attributes
    ----------
    what
        The column that names the rows: `item_id`, or an attribute of the products.
    names
        One for each row.
    units
        `(n_rows,)` float64.
    lead_days
        `(n_rows,)` float64: days until an order arrives; NaN where the file does not say.
    row_of_item
        `(n_items,)` int32: the row of each product, -1: none.
    notes
        What was taken for what, and what was set aside.
    """

    what: str
    names: tuple[str, ...]
    units: np.ndarray
    lead_days: np.ndarray
    row_of_item: np.ndarray
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.names)


def read_stock(path: str | Path, products: Products) -> Stock:
    """Read a stock list: `item_id` or an attribute of the products, `units`, optionally `lead_days`.

    Raises
    ------
    DataError
        Where the file cannot be read, names no or several kinds of rows, a row twice, or units or lead days that cannot be.
    """
    layout = layout_of(path, BY_ITEM)
    table = read_layout(layout, BY_ITEM)
    if not table.num_rows:
        raise DataError(f"{path}: no rows; write one row for each item or attribute of the products")
    units = _numbers(table, "units")
    lead = _numbers(table, "lead_days") if "lead_days" in table.column_names else np.full(len(units), np.nan)
    what = _what(str(path), table, products)
    names = [str(name) for name in decoded(table[what]).cast(pa.string()).to_pylist()]
    twice = sorted({name for name, often in Counter(names).items() if often > 1})
    if twice:
        raise DataError(
            f"{path}: column {what!r} must name each row once; {counted(len(twice), 'is', 'are')} there more often ({', '.join(twice[:3])}); add their units up"
        )
    refuse_units(str(path), names, units)
    _refuse_lead_days(str(path), names, lead)
    if what == "item_id":
        of_item = [str(item) for item in products.item_ids.to_pylist()]
    else:
        codes, words = products.column(what)
        of_item = [words[code] if code >= 0 else "" for code in codes.tolist()]
    place = {name: row for row, name in enumerate(names)}
    row_of_item = np.array([place.get(name, -1) for name in of_item], np.int32)
    unknown = sorted(set(names) - set(of_item))
    notes = list(layout.notes)
    if unknown:
        notes.append(
            f"{path}: {counted(len(unknown), 'row names', 'rows name')} nothing of the products ({', '.join(unknown[:3])}): no sales are known of them"
        )
    return Stock(what, tuple(names), units, lead, row_of_item, tuple(notes))


def _what(path: str, table: pa.Table, products: Products) -> str:
    """Return the column that names the rows."""
    if "item_id" in table.column_names:
        return "item_id"
    found = [name for name in table.column_names if name in products.attributes]
    if len(found) != 1:
        raise DataError(
            f"{path}: needs item_id, or exactly one attribute of the products beside units; found "
            f"{', '.join(found) or ', '.join(table.column_names)}; the products have: {', '.join(products.attributes) or '(none)'}"
        )
    return found[0]


def _numbers(table: pa.Table, name: str) -> np.ndarray:
    return np.asarray(table[name].cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
