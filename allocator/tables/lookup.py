"""A few rows of large tables: those of one user or of one coupon, without reading the rest into memory.

Parquet: row groups whose statistics rule the id out are passed over; of the others the column of ids is read first, and
the rest of a row group only where a row matches. CSV: the text is streamed. Nothing is checked here that was checked
when the plan was made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from allocator.errors import DataError
from allocator.tables import csv_text, frames
from allocator.tables.faults import in_words
from allocator.tables.files import MAGIC, files_of, read_offers, read_users, users_column
from allocator.tables.frames import decoded, is_text, values_type

COUPON, USER = "coupon", "user_id"


def offers_of_user(path: str | Path, user: str, measures: Sequence[str] = (), beside: Sequence[str] = ()) -> pa.Table:
    """Return a user's rows of an offers table, with the columns of the schema, `measures` and `beside`.

    Parameters
    ----------
    user
        The id as text; it matches the integer id that is written so.
    measures, beside
        Columns of numbers that must, and that may, be there.

    Returns
    -------
    table
        `coupon` text, the others float64; no rows where the user has none. In the order of the files.

    Raises
    ------
    DataError
        Where a file cannot be read or lacks a column.
    """
    wanted = [COUPON, *dict.fromkeys(("value", "cost", *frames.OPTIONAL, *measures, *beside))]
    needed = {*frames.REQUIRED, *measures}
    tables = []
    for file in files_of(path):
        with in_words(file):
            there = _columns(file)
            missing = sorted(needed - set(there))
            if missing:
                raise DataError(f"{file}: column {missing[0]!r} is missing; the plan was made with it")
            names = [name for name in wanted if name in there]
            goal = pa.schema([(name, pa.string() if name == COUPON else pa.float64()) for name in names])
            if _is_parquet(file):
                table = _parquet_rows(file, USER, user, names)
                columns = [
                    column.cast(kind, safe=False) for column, kind in zip(table.columns, goal.types, strict=True)
                ]
                tables.append(pa.Table.from_arrays(columns, schema=goal))
            else:
                tables.append(_csv_rows(file, user, goal))
    return pa.concat_tables(tables, promote_options="default")


def offers_of_coupon(path: str | Path, coupon: str) -> pa.Table:
    """Return a coupon's rows of an offers table, all columns but `coupon`.

    Raises
    ------
    DataError
        Where a file cannot be read, or files do not fit together.
    """
    files = files_of(path)
    if not _is_parquet(files[0]):
        # Whether a column of CSV holds numbers is decided from all of its rows.
        table = read_offers(path)
        return table.filter(pc.equal(decoded(table[COUPON]), coupon)).drop_columns([COUPON])
    tables = []
    for file in files:
        with in_words(file):
            names = [name for name in _columns(file) if name != COUPON]
            tables.append(_parquet_rows(file, COUPON, coupon, names))
    return pa.concat_tables(tables, promote_options="permissive")


def row_of_user(path: str | Path, user: str) -> pa.Table:
    """Return a user's row of a users table, with all columns; no row where there is none.

    Raises
    ------
    DataError
        Where a file cannot be read, or files do not fit together.
    """
    files = files_of(path)
    if not _is_parquet(files[0]):
        table = read_users(path)  # types are those of whole columns: a limit's `zip = "0123"` must match text
        return table.filter(pc.equal(table[USER].cast(pa.string()), user))
    there = users_column(path)
    tables = []
    for file in files:
        with in_words(file):
            tables.append(_parquet_rows(file, there, user, _columns(file)))
    found = pa.concat_tables(tables, promote_options="permissive")
    return found.rename_columns([USER if name == there else name for name in found.column_names])


def distinct_ids(path: str | Path) -> pa.Array:
    """Return the distinct user ids of a table as text, in no particular order."""
    found: list[pa.Array] = []
    there = users_column(path)
    for file in files_of(path):
        with in_words(file):
            if _is_parquet(file):
                with pq.ParquetFile(file, read_dictionary=[there]) as source:
                    groups = (source.read_row_group(g, [there])[there] for g in range(source.num_row_groups))
                    found += [pc.unique(decoded(group)).cast(pa.large_string()) for group in groups]
            else:
                batches = _csv_batches(file, pa.schema([(there, pa.string())]))
                found += [pc.unique(batch[there]).cast(pa.large_string()) for batch in batches]
    return pc.unique(pa.chunked_array(found, type=pa.large_string()))


def _is_parquet(file: Path) -> bool:
    with in_words(file), file.open("rb") as stream:
        return stream.read(len(MAGIC)) == MAGIC


def _columns(file: Path) -> list[str]:
    if not _is_parquet(file):
        return csv_text.header(file)
    return [name for name in pq.read_schema(file).names if not name.startswith("__index_level_")]


def _parquet_rows(file: Path, column: str, text: str, names: Sequence[str]) -> pa.Table:
    """Return the rows of a Parquet file whose `column`, written as text, is `text`."""
    schema = pq.read_schema(file)
    target = _scalar(values_type(schema.field(column).type), text)
    with pq.ParquetFile(file) as source:
        groups = range(source.num_row_groups) if target is not None else range(0)
        place = [source.metadata.schema.column(c).path for c in range(len(source.metadata.schema))].index(column)
        open_groups = [g for g in groups if _may_hold(source.metadata.row_group(g).column(place).statistics, target)]
    runs = [run.tolist() for run in np.array_split(np.array(open_groups, np.int64), max(1, pa.cpu_count())) if run.size]

    def search(run: Sequence[int]) -> list[pa.Table]:
        # One opening of the file for many row groups: reading its footer takes longer than a small group.
        with pq.ParquetFile(file, read_dictionary=[column]) as source:
            return [table for g in run if (table := _group_rows(source, g, column, target, names)) is not None]

    with ThreadPoolExecutor(max(1, len(runs))) as pool:
        found = [table for tables in pool.map(search, runs) for table in tables]
    plain = pa.schema([pa.field(name, values_type(schema.field(name).type)) for name in names])
    return pa.concat_tables([table.cast(plain) for table in found]) if found else plain.empty_table()


def _group_rows(source: pq.ParquetFile, group: int, column: str, target: Any, names: Sequence[str]) -> pa.Table | None:
    ids = source.read_row_group(group, [column])[column]
    mask = pa.chunked_array([_equal(chunk, target) for chunk in ids.chunks], type=pa.bool_())
    rows = pc.indices_nonzero(mask)
    if not len(rows):
        return None
    table = source.read_row_group(group, list(names)).select(list(names))
    return table if len(rows) == table.num_rows else table.take(rows)


def _equal(chunk: pa.Array, target: Any) -> pa.Array:
    if not pa.types.is_dictionary(chunk.type):
        return pc.equal(chunk, pa.scalar(target, chunk.type))
    code = pc.index(chunk.dictionary, pa.scalar(target, chunk.dictionary.type)).as_py()
    if code < 0:
        return pa.repeat(pa.scalar(False), len(chunk))
    return pc.equal(chunk.indices, pa.scalar(code, chunk.indices.type))


def _scalar(kind: pa.DataType, text: str) -> int | str | None:
    """Return the id of this type that is written so; `None` where there is none."""
    if is_text(kind):
        return text
    try:
        number = int(text)
        pa.scalar(number, kind)
    except (ValueError, OverflowError, pa.ArrowException):
        return None
    return number if str(number) == text else None  # 007 is not 7


def _may_hold(statistics: Any, target: Any) -> bool:
    if statistics is None or not statistics.has_min_max:
        return True
    low, high = statistics.min, statistics.max
    # Texts are ordered by their bytes in UTF-8, which is the order of their code points.
    return not isinstance(low, type(target)) or bool(low <= target <= high)


def _csv_rows(file: Path, user: str, goal: pa.Schema) -> pa.Table:
    """Return a user's rows of a CSV file, with these columns."""
    batches = _csv_batches(file, goal.append(pa.field(USER, pa.string())))
    found = [batch.filter(pc.equal(batch[USER], user)).select(goal.names) for batch in batches]
    return pa.Table.from_batches(found, schema=goal)


def _csv_batches(file: Path, goal: pa.Schema) -> Iterator[pa.RecordBatch]:
    with (
        pa.input_stream(str(file), compression="gzip" if csv_text.is_gzip(file) else None) as stream,
        pa.csv.open_csv(
            stream,
            read_options=pa.csv.ReadOptions(block_size=csv_text.BLOCK_BYTES),
            parse_options=pa.csv.ParseOptions(newlines_in_values=True),
            convert_options=pa.csv.ConvertOptions(
                include_columns=goal.names,
                column_types=dict(zip(goal.names, goal.types, strict=True)),
                null_values=list(csv_text.MISSING),
            ),
        ) as batches,
    ):
        yield from batches
