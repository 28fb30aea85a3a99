"""Tables too large for memory, as a stream of batches; ids become numbers as they come."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from allocator.tables import csv_text
from allocator.tables.faults import in_words
from allocator.tables.frames import values_type
from allocator.tables.named import Column, Holds, Layout, plain_id

ROWS = 1 << 20  # of a batch
ISO_DATE = r"^\s*\d{4}-\d{2}-\d{2}"


@dataclass(frozen=True)
class Batch:
    """Rows of one file that follow one another.

    Attributes
    ----------
    file
        Where they come from.
    first
        The number of the first row in its file, counted from 0.
    columns
        By the project's names.
    """

    file: Path
    first: int
    columns: pa.RecordBatch

    def __len__(self) -> int:
        return int(self.columns.num_rows)

    def __contains__(self, name: str) -> bool:
        return name in self.columns.schema.names

    def __getitem__(self, name: str) -> pa.Array:
        return self.columns.column(name)

    def get(self, name: str) -> pa.Array | None:
        """Return a column, or `None` where it is not there."""
        return self.columns.column(name) if name in self else None


def batches(
    layout: Layout, columns: Sequence[Column], wanted: Collection[str], text_ids: Collection[str] = (), rows: int = ROWS
) -> Iterator[Batch]:
    """Yield a table's rows, a batch at a time, in the order of its files.

    Parameters
    ----------
    columns
        What the layout was made with.
    wanted
        The columns to read, by the project's names; those that the files lack are left out.
    text_ids
        Columns of ids in CSV files that are text: see `text_ids_of`.

    Raises
    ------
    DataError
        Where a file is damaged, or a CSV column of numbers holds text.
    """
    holds = {column.name: column.holds for column in columns}
    there = {name: layout.names[name] for name in holds if name in wanted and name in layout.names}
    for file in layout.files:
        if layout.is_csv:
            types = {place: _csv_type(holds[name], name in text_ids) for name, place in there.items()}
            numbers = [place for name, place in there.items() if holds[name] in (Holds.NUMBER, Holds.FLAG)]
            parts = csv_text.stream(file, types, numbers)
        else:
            coded = [place for place in there.values() if pa.types.is_dictionary(layout.schema.field(place).type)]
            parts = _parquet(file, list(there.values()), coded, rows)
        first = 0
        with in_words(file):
            for part in parts:
                found = [
                    plain_id(part.column(place), file, place) if holds[name] is Holds.ID else part.column(place)
                    for name, place in there.items()
                ]
                yield Batch(file, first, pa.RecordBatch.from_arrays(found, list(there)))
                first += part.num_rows


def text_ids_of(layout: Layout, columns: Sequence[Column]) -> frozenset[str]:
    """Return which columns of ids are text.

    For CSV this reads them through, for an id is a number only where all of its neighbours are.
    """
    ids = [column.name for column in columns if column.holds is Holds.ID and column.name in layout.names]
    if not layout.is_csv:
        return frozenset(name for name in ids if layout.holds_text(name))
    found: set[str] = set()
    for batch in batches(layout, columns, ids, ids):
        for name in set(ids) - found:
            if not csv_text.are_integers(batch[name]):
                found.add(name)
        if len(found) == len(ids):
            break
    return frozenset(found)


def count_rows(layout: Layout) -> int | None:
    """Return the number of rows, as the files' footers tell; `None` for CSV."""
    if layout.is_csv:
        return None
    total = 0
    for file in layout.files:
        with in_words(file):
            total += pq.read_metadata(file).num_rows
    return total


def times_of(column: pa.Array) -> tuple[np.ndarray, bool]:
    """Return times as whole seconds since 1970 on the clock of the place, and whether they are days without one.

    Returns
    -------
    seconds
        `(n,)` int64; the least int64 where an entry is missing, or is no date.
    days
        Whether the column holds dates.
    """
    kind = values_type(column.type)
    if pa.types.is_date(kind):
        return _seconds(column.cast(pa.timestamp("s"))), True
    if pa.types.is_timestamp(kind):
        # An hour of the day is that of the shop, where the file knows it.
        local = pc.local_timestamp(column) if kind.tz is not None else column
        return _seconds(local.cast(pa.timestamp("s"), safe=False)), False
    if pa.types.is_dictionary(column.type):
        seconds, days = times_of(column.dictionary)
        indices = column.indices.fill_null(len(column.dictionary)).to_numpy(zero_copy_only=False)
        return np.append(seconds, MISSING_TIME)[indices], days
    if pa.types.is_null(kind):
        return np.full(len(column), MISSING_TIME), False
    if pa.types.is_string_view(kind):
        column = column.cast(pa.large_string())
    try:
        return _seconds(column.cast(pa.timestamp("s"))), False
    except pa.ArrowInvalid:  # some entry is no plain date: slower, one by one
        return _parsed_times(column), False


MISSING_TIME = np.iinfo(np.int64).min


def _seconds(column: pa.Array) -> np.ndarray:
    return np.asarray(column.cast(pa.int64()).fill_null(MISSING_TIME).to_numpy(zero_copy_only=False))


def _parsed_times(column: pa.Array) -> np.ndarray:
    # Only what begins with year, month and day: 03/04/2025 is March to some and April to others.
    iso = pc.fill_null(pc.match_substring_regex(column, ISO_DATE), False)
    texts = pc.if_else(iso, pc.utf8_trim_whitespace(column), pa.scalar(None, column.type)).to_pandas()
    # With a zone the clock of the place is what is written before it.
    plain = texts.str.replace(r"\s*(Z|[+-]\d{2}:?\d{2})$", "", regex=True).where(texts.str.len() > 10, texts)
    moments = pd.to_datetime(plain, format="ISO8601", errors="coerce").to_numpy().astype("datetime64[s]")
    return np.where(np.isnat(moments), MISSING_TIME, moments.astype(np.int64))


def _csv_type(holds: Holds, is_text: bool) -> pa.DataType:
    if holds in (Holds.NUMBER, Holds.FLAG):
        return pa.float64()
    return pa.int64() if holds is Holds.ID and not is_text else pa.string()


def _parquet(file: Path, names: list[str], coded: list[str], rows: int) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(file, read_dictionary=coded, pre_buffer=False) as opened:
        yield from opened.iter_batches(rows, columns=names)
