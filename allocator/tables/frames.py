"""Tables of offers and users, from pandas, polars or pyarrow, as plain arrays.

Column names are those of the file schema: `user_id`, `coupon`, `value`, `cost`, and any further measures.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from allocator.errors import DataError, counted
from allocator.kernels import intake as kernels
from allocator.tables.origin import Origin

REQUIRED = ("user_id", "coupon", "value", "cost")
OPTIONAL = ("liability", "redeem_probability")  # columns of the schema that a table may lack
NO_CODES = np.empty(0, np.int32)


@dataclass(frozen=True)
class Codes:
    """Ids as numbers in order of first appearance.

    Attributes
    ----------
    ids
        `(n_ids,)` integers or strings.
    code
        `(n_rows,)` int32 index into `ids`; empty where `start` says the same.
    start
        Where the rows of each id follow one another: `(n_ids + 1,)` int64, id i has rows `start[i]..start[i + 1] - 1`.
    """

    ids: pa.Array
    code: np.ndarray
    start: np.ndarray | None

    def of_row(self, row: int) -> Any:
        """Return the id of a row."""
        code = int(self.code[row]) if self.start is None else int(np.searchsorted(self.start, row, side="right")) - 1
        return self.ids[code].as_py()


@dataclass(frozen=True)
class OfferColumns:
    """A table of offers as arrays, one entry a row."""

    n_rows: int
    user: Codes
    coupon: np.ndarray  # (n_rows,) int32 code, in order of first appearance
    coupon_ids: list[str]
    measures: dict[str, np.ndarray]  # (n_rows,) float64 each; value and cost among them
    numbers: list[str]  # names of all columns that could be measures
    flags: dict[str, np.ndarray]  # (n_rows,) bool columns
    origin: Origin


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
        return _of_pandas(table, source)
    raise DataError(f"{source}: expected a pandas, polars or pyarrow table, not {type(table).__name__}")


def _of_pandas(table: Any, source: str) -> pa.Table:
    """Convert column by column, so that the message can name the one that cannot be."""
    columns = []
    for place, name in enumerate(table.columns):
        try:
            columns.append(pa.array(table.iloc[:, place], from_pandas=True))
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            words = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataError(
                f"{source}: column {str(name)!r} mixes types or holds what no table can ({words}); give it a single type"
            ) from error
    return pa.Table.from_arrays(columns, names=[str(name) for name in table.columns])


def offer_columns(table: Any, source: str = "offers", wanted: Collection[str] = ()) -> OfferColumns:
    """Check the columns of an offers table and return them as arrays.

    Parameters
    ----------
    wanted
        Columns beside those of the schema that are needed: measures of limits, true/false columns. Others are not
        looked at: what stands in them is the caller's.

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
    needed = {*REQUIRED, *OPTIONAL, *wanted}
    for name in needed:
        if names.count(name) > 1:
            raise DataError(f"{source}: column {name!r} occurs {names.count(name)} times; keep one")
    if arrow.num_rows == 0:
        raise DataError(f"{source}: no rows; an offers table has one row for each eligible (user, coupon) pair")
    origin = Origin.of(arrow)
    user = _user_codes(arrow["user_id"], source, origin)
    coupon, coupon_ids = _coupon_codes(arrow["coupon"], source, origin)
    measures, numbers, flags = {}, [], {}
    for name, kind in zip(names, arrow.schema.types, strict=True):
        if name in ("user_id", "coupon"):
            continue
        if _is_number(kind):
            numbers.append(name)
            if name in needed:
                measures[name] = _floats(arrow[name], name, source, origin)
        elif name in ("value", "cost", *OPTIONAL):
            raise DataError(
                f"{source}: column {name!r} must hold numbers, not {kind}{_first_text(arrow[name], origin)}"
            )
        elif name in needed and pa.types.is_boolean(kind):
            flags[name] = _bools(arrow[name], name, source, origin)
    return OfferColumns(arrow.num_rows, user, coupon, coupon_ids, measures, numbers, flags, origin)


def _user_codes(column: pa.ChunkedArray, source: str, origin: Origin) -> Codes:
    """Code the users' ids.

    Integers and strings are accepted. A float column, such as pandas makes of integers with gaps, is not.
    """
    if pa.types.is_dictionary(column.type):
        # Decoded first where needed: a null may stand in the dictionary, where no count of the column's nulls sees it.
        column, _ = _plain_dictionary(column)
    refuse_nulls(column, "user_id", source, origin)
    kind = column.type
    values_kind = values_type(kind)
    if not (pa.types.is_integer(values_kind) or is_text(values_kind)):
        raise DataError(f"{source}: column 'user_id' must hold integers or strings, not {values_kind}")
    if pa.types.is_integer(kind) and kind != pa.uint64():
        # Grouped already, as most exports are: number the runs without hashing.
        numbers = column.to_numpy()
        start = kernels.run_starts(numbers)
        if start.size:
            return Codes(pa.array(numbers[start[:-1]]), NO_CODES, start)
    encoded = one_chunk(column if pa.types.is_dictionary(kind) else column.dictionary_encode())
    code, ids, rise = _first_appearance(encoded)
    _refuse_blank(code, ids, "user_id", source, origin)
    if rise:
        return Codes(ids, NO_CODES, kernels.run_starts(code))
    return Codes(ids, code, None)


def _coupon_codes(column: pa.ChunkedArray, source: str, origin: Origin) -> tuple[np.ndarray, list[str]]:
    if pa.types.is_dictionary(column.type):
        column, _ = _plain_dictionary(column)
    refuse_nulls(column, "coupon", source, origin)
    kind = values_type(column.type)
    if not is_text(kind):
        raise DataError(f"{source}: column 'coupon' must hold strings, not {kind}; use the coupon's id")
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    codes, names, _ = _first_appearance(one_chunk(column))
    _refuse_blank(codes, names, "coupon", source, origin)
    return codes, [str(name) for name in names.to_pylist()]


def _first_appearance(encoded: pa.DictionaryArray) -> tuple[np.ndarray, pa.Array, bool]:
    """Renumber dictionary codes by first appearance and drop entries that do not occur; also say whether they rise."""
    codes = encoded.indices.cast(pa.int32()).to_numpy()
    fresh, old, rise = kernels.renumber(codes, len(encoded.dictionary))
    if np.array_equal(old, np.arange(len(encoded.dictionary))):
        return codes, encoded.dictionary, rise  # the caller's own array: `fresh` can go
    return fresh, encoded.dictionary.take(pa.array(old)), rise


def _refuse_blank(codes: np.ndarray, ids: pa.Array, name: str, source: str, origin: Origin) -> None:
    if not is_text(ids.type):
        return
    plain = ids.cast(pa.large_string()) if pa.types.is_string_view(ids.type) else ids
    blank = pc.indices_nonzero(pc.or_(pc.equal(plain, ""), pc.utf8_is_space(plain))).to_numpy()
    if blank.size:
        rows = np.flatnonzero(np.isin(codes, blank))
        raise DataError(
            f"{source}: column {name!r} is empty in {counted(rows.size, 'row', 'rows')} (first at {origin.rows(rows)}); "
            "fill them in or drop those rows"
        )


def _plain_dictionary(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, pa.DataType]:
    """Decode dictionaries whose entries may repeat or be null, keep the others."""
    unified = column.unify_dictionaries()
    dictionary = unified.chunk(0).dictionary if unified.num_chunks else None
    if dictionary is None or dictionary.null_count or pc.count_distinct(dictionary).as_py() != len(dictionary):
        plain = unified.cast(column.type.value_type)
        return plain, plain.type
    return unified, unified.type


def one_chunk(column: Any) -> Any:
    """Return a column in one piece."""
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column without codes."""
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def values_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of a column's entries, coded or not."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def is_text(kind: pa.DataType) -> bool:
    """Return whether a type is one of Arrow's texts."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _floats(column: pa.ChunkedArray, name: str, source: str, origin: Origin) -> np.ndarray:
    refuse_nulls(column, name, source, origin)
    numbers = column if column.type == pa.float64() else column.cast(pa.float64(), safe=False)
    return np.asarray(numbers.to_numpy(), dtype=np.float64)


def _bools(column: pa.ChunkedArray, name: str, source: str, origin: Origin) -> np.ndarray:
    refuse_nulls(column, name, source, origin)
    return np.asarray(column.to_numpy(), dtype=bool)


def refuse_nulls(column: Any, name: str, source: str, origin: Origin) -> None:
    """Raise `DataError` where entries are missing."""
    if column.null_count:
        rows = np.flatnonzero(np.asarray(pc.is_null(column)))
        raise DataError(
            f"{source}: column {name!r} is empty or NaN in {counted(rows.size, 'row', 'rows')} (first at {origin.rows(rows)}); "
            "fill them in or drop those rows"
        )


def _first_text(column: pa.ChunkedArray, origin: Origin) -> str:
    for row, value in enumerate(decoded(column).slice(0, 100_000).to_pylist()):
        try:
            float(value)
        except (TypeError, ValueError):
            return f": {origin.row(row)} is {value!r}"
    return ""
