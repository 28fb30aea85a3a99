"""Tables of offers and users, from pandas, polars or pyarrow, as plain arrays.

Column names are those of the file schema: `user_id`, `coupon`, `value`, `cost`, and any further measures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from allocator.errors import DataError

REQUIRED = ("user_id", "coupon", "value", "cost")
MOST_EXAMPLES = 3


@dataclass(frozen=True)
class OfferColumns:
    """A table of offers as arrays, one entry a row; ids are replaced by codes in order of first appearance."""

    user: np.ndarray  # (n_rows,) int64 code
    user_ids: pa.Array  # (n_users,) integers or strings
    coupon: np.ndarray  # (n_rows,) int32 code
    coupon_ids: list[str]
    measures: dict[str, np.ndarray]  # (n_rows,) float64 each; value and cost among them
    flags: dict[str, np.ndarray]  # (n_rows,) bool columns


def to_arrow(table: Any, source: str) -> pa.Table:
    """Return a pandas, polars or pyarrow table as a pyarrow table, without copying where possible."""
    if isinstance(table, pa.Table):
        return table
    if isinstance(table, pa.RecordBatch):
        return pa.Table.from_batches([table])
    if hasattr(table, "collect") and not hasattr(table, "to_arrow"):  # a polars LazyFrame
        table = table.collect()
    if hasattr(table, "to_arrow"):
        return table.to_arrow()
    if hasattr(table, "columns") and hasattr(table, "to_numpy"):
        try:
            return pa.Table.from_pandas(table, preserve_index=False)
        except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError) as error:
            raise DataError(f"{source}: a column mixes types ({error}); give each column a single type") from error
    raise DataError(f"{source}: expected a pandas, polars or pyarrow table, not {type(table).__name__}")


def offer_columns(table: Any, source: str = "offers") -> OfferColumns:
    """Check the columns of an offers table and return them as arrays.

    Raises
    ------
    DataError
        Where a required column is missing, has the wrong type, or holds nulls; or where there are no rows.
    """
    arrow = to_arrow(table, source)
    names = arrow.column_names
    for name in REQUIRED:
        if name not in names:
            raise DataError(
                f"{source}: column {name!r} is missing; the columns found are {', '.join(names) or '(none)'}. "
                f"Needed: {', '.join(REQUIRED)}"
            )
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"{source}: column {name!r} occurs {names.count(name)} times; keep one")
    if arrow.num_rows == 0:
        raise DataError(f"{source}: no rows; an offers table has one row for each eligible (user, coupon) pair")
    user, user_ids = id_codes(arrow["user_id"], "user_id", source)
    coupon, coupon_ids = _coupon_codes(arrow["coupon"], source)
    measures, flags = {}, {}
    for name in names:
        if name in ("user_id", "coupon"):
            continue
        kind = arrow.schema.field(name).type
        if pa.types.is_boolean(kind):
            flags[name] = _bools(arrow[name], name, source)
        elif _is_number(kind):
            measures[name] = _floats(arrow[name], name, source)
        elif name in ("value", "cost", "liability"):
            raise DataError(f"{source}: column {name!r} must hold numbers, not {kind}{_first_text(arrow[name])}")
    return OfferColumns(user, user_ids, coupon.astype(np.int32, copy=False), coupon_ids, measures, flags)


def id_codes(column: pa.ChunkedArray, name: str, source: str) -> tuple[np.ndarray, pa.Array]:
    """Code ids in order of first appearance: return `(n_rows,)` int64 codes and the distinct ids.

    Integers and strings are accepted. A float column, such as pandas makes of integers with gaps, is not.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        # Decoded first: a null may stand in the dictionary, where no count of the column's nulls sees it.
        column, kind = _plain_dictionary(column)
    _refuse_nulls(column, name, source)
    values_kind = values_type(kind)
    if not (pa.types.is_integer(values_kind) or is_text(values_kind)):
        raise DataError(f"{source}: column {name!r} must hold integers or strings, not {values_kind}")
    if pa.types.is_integer(kind):
        numbers = column.to_numpy()
        step = np.diff(numbers)
        if numbers.size and (step >= 0).all() and not pa.types.is_unsigned_integer(kind):
            # Grouped already, as most exports are: number the runs without hashing.
            fresh = np.concatenate([[True], step > 0])
            return np.cumsum(fresh) - 1, pa.array(numbers[fresh])
    encoded = _one_chunk(column if pa.types.is_dictionary(kind) else column.dictionary_encode())
    return _first_appearance(encoded)


def user_columns(table: Any, user_ids: pa.Array, source: str = "users") -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Align a users table with the users of the offers.

    Returns
    -------
    attributes
        For each column, its values in the order of `user_ids`, `(n_users,)` each.
    row
        `(n_users,)` int64: the row of the users table that describes each user.

    Raises
    ------
    DataError
        Where `user_id` is missing, of another type than in the offers, doubled, or where a user is not described.
    """
    arrow = to_arrow(table, source)
    if "user_id" not in arrow.column_names:
        raise DataError(f"{source}: column 'user_id' is missing; found {', '.join(arrow.column_names) or '(none)'}")
    ids = _decoded(arrow["user_id"])
    _refuse_nulls(ids, "user_id", source)
    if is_text(ids.type) != is_text(user_ids.type):
        raise DataError(
            f"{source}: user_id is {ids.type} here but {user_ids.type} in the offers; write both the same way"
        )
    if not is_text(ids.type) and not pa.types.is_integer(ids.type):
        raise DataError(f"{source}: column 'user_id' must hold integers or strings, not {ids.type}")
    kind = pa.large_string() if is_text(ids.type) else pa.int64()
    values = _one_chunk(ids.cast(kind))
    distinct = pc.count_distinct(values).as_py()
    if distinct != len(values):
        counts = pc.value_counts(values)
        double = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
        raise DataError(
            f"{source}: {len(values) - distinct:,} user_id are there more than once "
            f"(e.g. {_examples(double)}); keep one row a user"
        )
    found = pc.index_in(user_ids.cast(kind), value_set=values)
    if found.null_count:
        missing = user_ids.filter(pc.is_null(found))
        raise DataError(
            f"{source}: {found.null_count:,} users of the offers have no row here (e.g. {_examples(missing)}); add them"
        )
    row = found.to_numpy(zero_copy_only=False).astype(np.int64)
    attributes = {}
    for name in arrow.column_names:
        if name != "user_id":
            attributes[name] = _decoded(arrow[name]).to_numpy()[row]
    return attributes, row


def _coupon_codes(column: pa.ChunkedArray, source: str) -> tuple[np.ndarray, list[str]]:
    if pa.types.is_dictionary(column.type):
        column, _ = _plain_dictionary(column)
    _refuse_nulls(column, "coupon", source)
    if not pa.types.is_dictionary(column.type):
        if not is_text(column.type):
            raise DataError(f"{source}: column 'coupon' must hold strings, not {column.type}; use the coupon's id")
        column = column.dictionary_encode()
    codes, names = _first_appearance(_one_chunk(column))
    return codes, [str(name) for name in names.to_pylist()]


def _first_appearance(encoded: pa.DictionaryArray) -> tuple[np.ndarray, pa.Array]:
    """Renumber dictionary codes by first appearance and drop entries that do not occur."""
    codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64, copy=False)
    first = np.full(len(encoded.dictionary), codes.size, np.int64)
    # Assigned backwards, the earliest position of each code is written last and stays.
    first[codes[::-1]] = np.arange(codes.size - 1, -1, -1)
    used = np.flatnonzero(first < codes.size)
    order = used[np.argsort(first[used], kind="stable")]
    dictionary = encoded.dictionary.take(pa.array(order))
    if np.array_equal(order, np.arange(first.size)):
        return codes, dictionary
    renumber = np.zeros(first.size, np.int64)
    renumber[order] = np.arange(order.size)
    return renumber[codes], dictionary


def _plain_dictionary(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, pa.DataType]:
    """Decode dictionaries whose entries may repeat or be null, keep the others."""
    unified = column.unify_dictionaries()
    dictionary = unified.chunk(0).dictionary if unified.num_chunks else None
    if dictionary is None or dictionary.null_count or pc.count_distinct(dictionary).as_py() != len(dictionary):
        plain = unified.cast(column.type.value_type)
        return plain, plain.type
    return unified, unified.type


def _one_chunk(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def values_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of a column's entries, coded or not."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def is_text(kind: pa.DataType) -> bool:
    """Return whether a type is one of Arrow's texts."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _floats(column: pa.ChunkedArray, name: str, source: str) -> np.ndarray:
    _refuse_nulls(column, name, source)
    numbers = column if column.type == pa.float64() else column.cast(pa.float64(), safe=False)
    return np.asarray(numbers.to_numpy(), dtype=np.float64)


def _bools(column: pa.ChunkedArray, name: str, source: str) -> np.ndarray:
    _refuse_nulls(column, name, source)
    return np.asarray(column.to_numpy(), dtype=bool)


def _refuse_nulls(column: Any, name: str, source: str) -> None:
    if column.null_count:
        rows = np.flatnonzero(np.asarray(pc.is_null(column)))
        raise DataError(
            f"{source}: column {name!r} is empty or NaN in {rows.size:,} rows (first at {row_words(rows)}); "
            "fill them in or drop those rows"
        )


def row_words(rows: Sequence[int] | np.ndarray) -> str:
    """Name up to three rows, counted from 1 after the header, as a planner sees them."""
    shown = [f"{int(row) + 1:,}" for row in rows[:MOST_EXAMPLES]]
    return ("row " if len(shown) == 1 else "rows ") + ", ".join(shown)


def _examples(values: pa.Array) -> str:
    return ", ".join(str(value) for value in values[:MOST_EXAMPLES].to_pylist())


def _first_text(column: pa.ChunkedArray) -> str:
    for row, value in enumerate(_decoded(column).slice(0, 100_000).to_pylist()):
        try:
            float(value)
        except (TypeError, ValueError):
            return f": row {row + 1:,} is {value!r}"
    return ""
