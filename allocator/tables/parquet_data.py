"""Parquet files as one table: types from the files' footers, columns checked before any data is read."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from allocator.errors import DataError
from allocator.tables.faults import in_words
from allocator.tables.frames import is_text, values_type

INDEX_COLUMN = "__index_level_"  # what pandas writes of a table's index: no column of ours


def schema(file: Path, coded: Sequence[str]) -> pa.Schema:
    """Return a file's columns; `coded` text columns get an int32 code a row. Raises what Arrow raises."""
    # Only texts can be read as codes; a list of that name would be a KeyError.
    texts = [field.name for field in pq.read_schema(file) if is_text(values_type(field.type))]
    with pq.ParquetFile(file, read_dictionary=[name for name in coded if name in texts]) as source:
        fields = source.schema_arrow.remove_metadata()
    return pa.schema([field.remove_metadata() for field in fields if not field.name.startswith(INDEX_COLUMN)])


def common_schema(
    files: Sequence[Path], schemas: Sequence[pa.Schema], names: Sequence[str], ids: Collection[str] = ("user_id",)
) -> pa.Schema:
    """Return for each of these columns a type that holds every file's entries.

    Integers and fractions are numbers together; `ids` are not: 1.0 is no id.

    Raises
    ------
    DataError
        Where types differ otherwise; names both files.
    """
    fields = []
    for name in names:
        goal, origin = schemas[0].field(name).type, files[0]
        for file, other in zip(files[1:], schemas[1:], strict=True):
            kind = other.field(name).type
            common = _common_type(goal, kind, exact=name in ids)
            if common is None:
                raise DataError(
                    f"{file}: column {name!r} is {values_type(kind)} here but {values_type(goal)} in {origin}; "
                    "write it the same way in all files"
                )
            if pa.types.is_null(goal):
                origin = file
            goal = common
        fields.append(pa.field(name, goal))
    return pa.schema(fields)


def read(files: Sequence[Path], goal: pa.Schema, coded: Sequence[str]) -> tuple[pa.Table, list[int]]:
    """Read these columns of all files, in the order of `goal`; return the table and the number of rows of each file.

    Raises
    ------
    DataError
        Where a file is damaged or cannot be read.
    """

    def one(file: Path) -> pa.Table:
        with (
            in_words(file),
            pq.ParquetFile(file, read_dictionary=list(coded), page_checksum_verification=True) as source,
        ):
            every = len(goal) == len(source.schema_arrow)
            table = source.read(columns=None if every else goal.names).select(goal.names)
            table.validate(full=True)
            columns = [_cast(column, field.type) for column, field in zip(table.columns, goal, strict=True)]
            return pa.Table.from_arrays(columns, schema=goal)

    if len(files) == 1:
        tables = [one(files[0])]
    else:
        with ThreadPoolExecutor(max(1, pa.cpu_count())) as pool:
            tables = list(pool.map(one, files))
    return pa.concat_tables(tables), [table.num_rows for table in tables]


def _common_type(one: pa.DataType, two: pa.DataType, *, exact: bool) -> pa.DataType | None:
    if one == two or pa.types.is_null(two):
        return one
    if pa.types.is_null(one):
        return two
    one, two = values_type(one), values_type(two)
    if is_text(one) and is_text(two):
        return pa.large_string()
    if pa.types.is_integer(one) and pa.types.is_integer(two):
        return pa.int64()
    if _is_number(one) and _is_number(two) and not exact:
        return pa.float64()
    return None


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _cast(column: pa.ChunkedArray, goal: pa.DataType) -> pa.ChunkedArray:
    if column.type == goal:
        return column
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    # An integer beyond 2^53 loses its last digits as a float, as it would in any sum of floats.
    return column.cast(goal, safe=not pa.types.is_floating(goal))
