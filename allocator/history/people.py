"""Users and what is known of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from allocator.errors import DataError, counted
from allocator.tables.files import FROM_CSV
from allocator.tables.frames import decoded, is_text, one_chunk
from allocator.tables.named import USER_NAMES, Column, Holds, layout_of, read_layout
from allocator.tables.origin import MOST_EXAMPLES, Origin
from allocator.tables.user_ids import missing_ids, refuse_bad_ids

COLUMNS = (Column("user_id", Holds.ID, USER_NAMES, True, "who"),)


@dataclass(frozen=True, eq=False)
class Users:
    """A table of users.

    Attributes
    ----------
    path
        Where it was read.
    table
        `user_id` (int64 or string, distinct) and attributes.
    notes
        What was taken for what, and what was left out.
    """

    path: str
    table: pa.Table
    notes: tuple[str, ...] = ()

    @property
    def user_ids(self) -> pa.Array:
        """`(n,)` int64 or string."""
        return one_chunk(self.table["user_id"])

    @property
    def from_csv(self) -> bool:
        """Whether ids that are integers could be text as well."""
        return is_from_csv(self.table)

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the columns beside `user_id`."""
        return tuple(name for name in self.table.column_names if name != "user_id")


def read_users(path: str | Path) -> Users:
    """Read a table of users: `user_id` and attributes.

    Raises
    ------
    DataError
        Where it cannot be read, or a user is missing or there twice.
    """
    layout = layout_of(path, COLUMNS)
    table = read_layout(layout, COLUMNS)
    if table.num_rows == 0:
        raise DataError(f"{path}: no rows; write one row for each user")
    ids = one_chunk(decoded(table["user_id"]))
    ids = ids.cast(pa.string() if is_text(ids.type) else pa.int64())
    refuse_bad_ids(ids, str(path), Origin.of(table))
    return Users(str(path), table.set_column(table.column_names.index("user_id"), "user_id", ids), layout.notes)


def is_from_csv(table: pa.Table) -> bool:
    """Return whether a table's integers came from text, and can go back to it unchanged."""
    return (table.schema.metadata or {}).items() >= FROM_CSV.items()


def distinct_rows(table: pa.Table, key: str, source: str) -> tuple[pa.Table, list[str]]:
    """Return a table whose ids are plain, there, and distinct, and notes of what was dropped.

    Raises
    ------
    DataError
        Where ids are missing, or there more than once with different attributes.
    """
    ids = one_chunk(decoded(table[key]))
    ids = ids.cast(pa.string() if is_text(ids.type) else pa.int64())
    table = table.set_column(table.column_names.index(key), key, ids)
    missing = np.flatnonzero(missing_ids(ids))
    if missing.size:
        raise DataError(
            f"{source}: column {key!r} is empty in {counted(missing.size, 'row', 'rows')} "
            f"({Origin.of(table).rows(missing)}); fill them in or drop those rows"
        )
    codes = ids.dictionary_encode().indices.to_numpy(zero_copy_only=False)
    _, first = np.unique(codes, return_index=True)
    if first.size == codes.size:
        return table, []
    again = np.ones(codes.size, dtype=bool)
    again[first] = False
    repeats = np.flatnonzero(again)
    twins = np.sort(first)[codes[repeats]]  # codes count ids in order of appearance
    for name in table.column_names:
        column = one_chunk(decoded(table[name]))
        one, two = column.take(pa.array(repeats)), column.take(pa.array(twins))
        same = pc.or_(pc.fill_null(pc.equal(one, two), False), pc.and_(one.is_null(), two.is_null()))
        odd = np.flatnonzero(~np.asarray(same))
        if odd.size:
            rows = repeats[odd]
            raise DataError(
                f"{source}: {counted(odd.size, 'row repeats', 'rows repeat')} a {key} with another {name!r} "
                f"({Origin.of(table).rows(rows)}; the first is {key} {ids[int(rows[0])].as_py()!r}); keep one row each"
            )
    kept = table.filter(pa.array(~again)).replace_schema_metadata(table.schema.metadata)
    examples = ", ".join(str(ids[int(row)].as_py()) for row in repeats[:MOST_EXAMPLES])
    return kept, [
        f"{source}: {counted(repeats.size, 'row repeats another and is', 'rows repeat another and are')} left out ({key} {examples})"
    ]
