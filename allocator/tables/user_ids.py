"""Ids of users: there, and distinct. One check, whoever reads the table."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from allocator.errors import DataError, counted
from allocator.tables.frames import is_text
from allocator.tables.origin import MOST_EXAMPLES, Origin


def missing_ids(column: pa.Array) -> np.ndarray:
    """Return where an id is null or blank, `(n,)` bool."""
    missing = np.array(column.is_null())
    if pa.types.is_dictionary(column.type):
        blank = missing_ids(column.dictionary)
        if blank.any():
            missing |= np.append(blank, False)[column.indices.fill_null(len(blank)).to_numpy(zero_copy_only=False)]
    elif not pa.types.is_integer(column.type) and not pa.types.is_null(column.type):
        missing |= np.asarray(pc.fill_null(pc.equal(pc.utf8_trim_whitespace(column), ""), True))
    return missing


def refuse_bad_ids(ids: pa.Array, source: str, origin: Origin) -> None:
    """Raise `DataError` where a users table has an id that is missing, or the same twice: it has one row a user."""
    if not is_text(ids.type) and not pa.types.is_integer(ids.type):
        raise DataError(f"{source}: column 'user_id' must hold integers or strings, not {ids.type}")
    missing = np.flatnonzero(missing_ids(ids))
    if missing.size:
        raise DataError(
            f"{source}: column 'user_id' is empty in {counted(missing.size, 'row', 'rows')} ({origin.rows(missing)}); "
            "fill them in or drop those rows"
        )
    if pc.count_distinct(ids).as_py() == len(ids):
        return
    codes = ids.dictionary_encode().indices.to_numpy(zero_copy_only=False)
    again = np.ones(codes.size, dtype=bool)
    again[np.unique(codes, return_index=True)[1]] = False
    rows = np.flatnonzero(again)
    examples = ", ".join(str(ids[int(row)].as_py()) for row in rows[:MOST_EXAMPLES])
    raise DataError(
        f"{source}: {counted(rows.size, 'row repeats', 'rows repeat')} a user_id ({origin.rows(rows)}: {examples}); "
        "keep one row a user"
    )
