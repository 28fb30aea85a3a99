"""Products: what the items are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from allocator.errors import CampaignError, DataError, UsageError, counted, nearest
from allocator.history.numbering import Numbering
from allocator.history.people import distinct_rows
from allocator.history.transactions import ITEM_NAMES
from allocator.tables.frames import decoded, is_text, one_chunk
from allocator.tables.named import Column, Holds, layout_of, read_layout

COLUMNS = (
    Column("item_id", Holds.ID, ITEM_NAMES, True, "which item"),
    Column("price", Holds.NUMBER, ("unit_price", "list_price"), False, "currency a unit"),
)
CATEGORY_NAMES = ("category", "product_category", "department", "commodity", "section", "group")
MOST_SHOWN = 12
MOST_VALUES = 1000  # a column with more is a name, not a category


@dataclass(frozen=True, eq=False)
class Products:
    """A table of products.

    Attributes
    ----------
    path
        Where it was read.
    table
        `item_id` (int64 or string, distinct), optional `price`, and attributes.
    notes
        What was taken for what, and what was left out.
    """

    path: str
    table: pa.Table
    notes: tuple[str, ...] = ()

    @property
    def item_ids(self) -> pa.Array:
        """`(n,)` int64 or string."""
        return one_chunk(self.table["item_id"])

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the columns beside `item_id` and `price`."""
        return tuple(name for name in self.table.column_names if name not in ("item_id", "price"))

    def numbering(self) -> Numbering:
        """Number the items in the table's order."""
        numbering = Numbering(not pa.types.is_integer(self.item_ids.type))
        numbering.add(self.item_ids)
        return numbering

    def column(self, name: str) -> tuple[np.ndarray, list[str]]:
        """Return an attribute as `(n,)` int32 codes (-1: empty) into its distinct values as text."""
        if name not in self.attributes:
            raise UsageError(
                f"{self.path}: there is no attribute {name!r}{nearest(name, self.attributes)}; found: "
                f"{', '.join(self.attributes) or '(none)'}"
            )
        texts = decoded(self.table[name]).cast(pa.string())
        coded = one_chunk(texts.dictionary_encode())
        return np.asarray(
            coded.indices.fill_null(-1).to_numpy(zero_copy_only=False), np.int32
        ), coded.dictionary.to_pylist()

    def in_scope(self, scope: Mapping[str, Any] | None, what: str = "scope") -> np.ndarray:
        """Return which products a coupon's scope covers, `(n,)` bool: every attribute is one of the values wanted.

        `None` covers all.

        Raises
        ------
        CampaignError
            Where an attribute or a value does not occur; names the nearest one, and calls the scope `what`.
        """
        covered = np.ones(self.table.num_rows, dtype=bool)
        for name, wanted in (scope or {}).items():
            if name not in (*self.attributes, "item_id"):
                raise CampaignError(
                    f"{what}: the products have no attribute {name!r}{nearest(name, self.attributes)}; found: "
                    f"{', '.join(self.attributes) or '(none)'}"
                )
            column = one_chunk(decoded(self.table[name]))
            hit = np.zeros(self.table.num_rows, dtype=bool)
            for value in wanted if isinstance(wanted, list) else [wanted]:
                found = _equal(column, value)
                if not found.any():
                    known = pc.unique(column).drop_null()[:5000].to_pylist()
                    examples = ", ".join(str(item) for item in sorted(known, key=str)[:MOST_SHOWN])
                    raise CampaignError(
                        f"{what}: no product has {name} = {value!r}{nearest(value, known)}; values found: {examples}"
                    )
                hit |= found
            covered &= hit
        return covered

    def category_column(self) -> str | None:
        """Return the attribute that best says what kind of thing an item is, or `None`.

        One that is named so; else the one with fewest values of those with 2 to 1,000.
        """
        plain = {name.strip().lower(): name for name in self.attributes}
        for name in CATEGORY_NAMES:
            if name in plain:
                return plain[name]
        counts = {
            name: pc.count_distinct(self.table[name]).as_py() for name in self.attributes if self._is_nominal(name)
        }
        sound = [name for name, number in counts.items() if 2 <= number <= MOST_VALUES]
        return min(sound, key=lambda name: (counts[name], name)) if sound else None

    def _is_nominal(self, name: str) -> bool:
        kind = self.table.schema.field(name).type
        return bool(pa.types.is_dictionary(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind))


def read_products(path: str | Path) -> Products:
    """Read a table of products: `item_id`, attributes, optional `price`.

    Rows that repeat another wholly are dropped, with a note.

    Raises
    ------
    DataError
        Where it cannot be read, or an item is there twice with different attributes.
    """
    layout = layout_of(path, COLUMNS)
    table = read_layout(layout, COLUMNS)
    table, notes = distinct_rows(table, "item_id", str(path))
    if table.num_rows == 0:
        raise DataError(f"{path}: no rows; write one row for each product")
    if "price" in table.column_names:
        prices = table["price"].cast(pa.float64(), safe=False)
        bad = pc.sum(pc.fill_null(pc.less(prices, 0), False)).as_py()
        if bad:
            raise DataError(
                f"{path}: column 'price' is negative in {counted(bad, 'row', 'rows')}; give prices of at least 0"
            )
    return Products(str(path), table, (*layout.notes, *notes))


def _equal(column: pa.Array, value: Any) -> np.ndarray:
    """Return where a column equals a value of a campaign file; 7 is not "7", as in TOML."""
    kind = column.type
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    fits = (
        pa.types.is_boolean(kind)
        if isinstance(value, bool)
        else number
        if isinstance(value, int | float)
        else is_text(kind)
    )
    if not fits:
        return np.zeros(len(column), dtype=bool)
    return np.asarray(pc.fill_null(pc.equal(column.cast(pa.float64(), safe=False) if number else column, value), False))
