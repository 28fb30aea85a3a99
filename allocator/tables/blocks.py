"""A table of users a block at a time: memory does not grow with their number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from allocator.errors import DataError
from allocator.tables import csv_text, parquet_data
from allocator.tables.faults import in_words
from allocator.tables.files import common_columns, files_of, format_of, users_column, users_notes
from allocator.tables.frames import decoded, one_chunk, values_type
from allocator.tables.origin import Origin
from allocator.tables.user_ids import refuse_bad_ids


@dataclass(frozen=True, eq=False)
class UserBlocks:
    """A table of users, checked for distinct ids, and streamed.

    Attributes
    ----------
    path
        As it was given.
    origin
        Its files, and the rows of each.
    id_type
        Of `user_id`: an integer type or string.
    names
        All columns; `user_id` is called so whatever the files call it.
    id_name
        What the files call it.
    kinds
        What each column of CSV files holds, by `csv_text.KINDS`; `None` a column: text. `None`: the files are Parquet.
    notes
        What was taken for what.
    """

    path: str
    origin: Origin
    id_type: pa.DataType
    names: tuple[str, ...]
    id_name: str
    files: tuple[Path, ...]
    schema: pa.Schema
    kinds: Mapping[str, str | None] | None
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Number of users."""
        return sum(rows for _, rows in self.origin.files)

    def blocks(self, size: int, columns: Sequence[str] | None = None, first: int = 0) -> Iterator[pa.Table]:
        """Yield `size` users at a time (the last block is smaller), from block `first` on; these columns of them.

        Raises
        ------
        DataError
            Where a file is damaged.
        """
        names = [name for name in self.names if columns is None or name in columns or name == "user_id"]
        yield from _of_size(self._batches(names, size), size, first * size)

    def ids(self) -> pa.Array:
        """Return the ids of all users, in their order."""
        parts = [one_chunk(block["user_id"]) for block in self.blocks(1 << 20, ["user_id"])]
        return one_chunk(pa.chunked_array(parts, self.id_type))

    def _batches(self, names: list[str], size: int) -> Iterator[pa.Table]:
        goal = pa.schema([self.schema.field(name) for name in names])
        there = [self.id_name if name == "user_id" else name for name in names]
        for file in self.files:
            for batch in self._csv(file, there) if self.kinds is not None else _parquet(file, there, size):
                columns = [
                    _cast(decoded(column), field.type) for column, field in zip(batch.columns, goal, strict=True)
                ]
                yield pa.Table.from_arrays(columns, schema=goal)

    def _csv(self, file: Path, there: list[str]) -> Iterator[pa.Table]:
        assert self.kinds is not None
        for batch in csv_text.stream(file, dict.fromkeys(there, pa.string()), ()):
            columns = [
                csv_text.as_kind(column, self.kinds[name], _missing(name, self.id_name))
                for name, column in zip(there, batch.columns, strict=True)
            ]
            yield pa.Table.from_arrays(columns, names=there)


def open_users(path: str | Path) -> UserBlocks:
    """Find a table of users: Parquet or CSV; a file, a folder or a glob.

    CSV is read through once to know its types, which rest on whole columns; what is held is a batch.

    Raises
    ------
    DataError
        Where it cannot be read, `user_id` is missing, empty or there more than once.
    """
    files = files_of(path)
    opened = _open_csv(path, files) if format_of(files[0]) == "csv" else _open_parquet(path, files)
    refuse_bad_ids(opened.ids(), opened.path, opened.origin)
    return opened


def _open_csv(path: str | Path, files: list[Path]) -> UserBlocks:
    there = users_column(path)
    names = csv_text.header(files[0])
    for file in files:
        common_columns(file, csv_text.header(file), files[0], names)
    _refuse_without_ids(files[0], names, there)
    left = {name: ["integer"] if name == there else list(csv_text.KINDS) for name in names}
    filled = dict.fromkeys(names, False)
    lengths = []
    for file in files:
        lengths.append(0)
        for batch in csv_text.stream(file, dict.fromkeys(names, pa.string()), ()):
            lengths[-1] += batch.num_rows
            for name, column in zip(names, batch.columns, strict=True):
                missing = _missing(name, there)
                left[name] = csv_text.possible_kinds(column, left[name], missing)
                filled[name] = (
                    filled[name] or not pc.all(pc.is_in(column, value_set=pa.array(missing, pa.string()))).as_py()
                )
    kinds = {name: left[name][0] if left[name] and filled[name] else None for name in names}
    fields = [pa.field(name, pa.string() if (kind := kinds[name]) is None else csv_text.KINDS[kind]) for name in names]
    return _blocks(path, lengths, there, files, pa.schema(fields), kinds)


def _missing(name: str, id_name: str) -> tuple[str, ...]:
    return () if name == id_name else csv_text.MISSING  # an id that reads NA is an id


def _open_parquet(path: str | Path, files: list[Path]) -> UserBlocks:
    schemas, lengths = [], []
    there = users_column(path)
    for file in files:
        with in_words(file):
            schemas.append(parquet_data.schema(file, ()))
            lengths.append(pq.read_metadata(file).num_rows)
        common_columns(file, schemas[-1].names, files[0], schemas[0].names)
    _refuse_without_ids(files[0], schemas[0].names, there)
    schema = parquet_data.common_schema(files, schemas, schemas[0].names, (there,))
    return _blocks(path, lengths, there, files, schema, None)


def _blocks(
    path: str | Path,
    lengths: Sequence[int],
    there: str,
    files: list[Path],
    schema: pa.Schema,
    kinds: Mapping[str, str | None] | None,
) -> UserBlocks:
    if not sum(lengths):
        raise DataError(f"{path}: no rows; write one row for each user")
    origin = Origin(tuple(zip(map(str, files), lengths, strict=True)))
    fields = [pa.field("user_id" if f.name == there else f.name, values_type(f.type)) for f in schema]
    plain = pa.schema(fields)
    kind = plain.field("user_id").type
    return UserBlocks(str(path), origin, kind, tuple(plain.names), there, tuple(files), plain, kinds, users_notes(path))


def _refuse_without_ids(file: Path, names: Sequence[str], there: str) -> None:
    if there not in names:
        raise DataError(f"{file}: column 'user_id' is missing; found: {', '.join(names[:20])}")


def _parquet(file: Path, names: list[str], size: int) -> Iterator[pa.Table]:
    with in_words(file), pq.ParquetFile(file, pre_buffer=False, page_checksum_verification=True) as opened:
        for batch in opened.iter_batches(size, columns=names):
            yield pa.Table.from_batches([batch]).select(names)


def _cast(column: pa.ChunkedArray, goal: pa.DataType) -> pa.ChunkedArray:
    return column if column.type == goal else column.cast(goal, safe=not pa.types.is_floating(goal))


def _of_size(batches: Iterator[pa.Table], size: int, skip: int) -> Iterator[pa.Table]:
    """Cut batches of any size into blocks of one size, without the first `skip` rows."""
    held: list[pa.Table] = []
    rows = 0
    for batch in batches:
        if skip:
            taken = min(skip, batch.num_rows)
            batch, skip = batch.slice(taken), skip - taken
        while batch.num_rows:
            part = batch.slice(0, size - rows)
            batch = batch.slice(part.num_rows)
            held.append(part)
            rows += part.num_rows
            if rows == size:
                yield pa.concat_tables(held).combine_chunks()
                held, rows = [], 0
    if rows:
        yield pa.concat_tables(held).combine_chunks()
