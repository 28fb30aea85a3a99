"""A table of users a block at a time: memory does not grow with their number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from allocator.errors import DataError, counted
from allocator.tables import parquet_data
from allocator.tables.faults import in_words
from allocator.tables.files import files_of, format_of, read_users
from allocator.tables.frames import decoded, is_text, one_chunk
from allocator.tables.origin import MOST_EXAMPLES


@dataclass(frozen=True, eq=False)
class UserBlocks:
    """A table of users, checked for distinct ids; Parquet is streamed, CSV is held (its types need whole columns).

    Attributes
    ----------
    path
        As it was given.
    rows
        Number of users.
    id_type
        Of `user_id`: an integer type or string.
    names
        All columns.
    """

    path: str
    rows: int
    id_type: pa.DataType
    names: tuple[str, ...]
    files: tuple[Path, ...]
    schema: pa.Schema
    held: pa.Table | None

    def blocks(self, size: int, columns: Sequence[str] | None = None, first: int = 0) -> Iterator[pa.Table]:
        """Yield `size` users at a time (the last block is smaller), from block `first` on; these columns of them.

        Raises
        ------
        DataError
            Where a file is damaged.
        """
        names = [name for name in self.names if columns is None or name in columns or name == "user_id"]
        if self.held is not None:
            table = self.held.select(names)
            for begin in range(first * size, self.rows, size):
                yield table.slice(begin, size)
            return
        yield from _of_size(self._batches(names, size), size, first * size)

    def ids(self) -> pa.Array:
        """Return the ids of all users, in their order."""
        parts = [one_chunk(block["user_id"]) for block in self.blocks(1 << 20, ["user_id"])]
        return one_chunk(pa.chunked_array(parts, self.id_type))

    def _batches(self, names: list[str], size: int) -> Iterator[pa.Table]:
        goal = pa.schema([self.schema.field(name) for name in names])
        for file in self.files:
            with in_words(file), pq.ParquetFile(file, pre_buffer=False, page_checksum_verification=True) as opened:
                for batch in opened.iter_batches(size, columns=names):
                    table = pa.Table.from_batches([batch]).select(names)
                    columns = [
                        _cast(decoded(column), field.type) for column, field in zip(table.columns, goal, strict=True)
                    ]
                    yield pa.Table.from_arrays(columns, schema=goal)


def open_users(path: str | Path) -> UserBlocks:
    """Find a table of users: Parquet or CSV; a file, a folder or a glob.

    Raises
    ------
    DataError
        Where it cannot be read, `user_id` is missing, empty or there more than once.
    """
    files = files_of(path)
    if format_of(files[0]) == "csv":
        held = read_users(path)
        opened = UserBlocks(
            str(path), held.num_rows, held["user_id"].type, tuple(held.column_names), tuple(files), held.schema, held
        )
    else:
        opened = _open_parquet(path, files)
    _check_ids(opened)
    return opened


def _open_parquet(path: str | Path, files: list[Path]) -> UserBlocks:
    schemas, rows = [], 0
    for file in files:
        with in_words(file):
            schemas.append(parquet_data.schema(file, ()))
            rows += pq.read_metadata(file).num_rows
        if set(schemas[-1].names) != set(schemas[0].names):
            odd = sorted(set(schemas[-1].names) ^ set(schemas[0].names))[0]
            raise DataError(f"{file}: column {odd!r} is not in all files of {path}; give all files the same columns")
    names = schemas[0].names
    if "user_id" not in names:
        raise DataError(f"{files[0]}: column 'user_id' is missing; found: {', '.join(names[:20])}")
    if rows == 0:
        raise DataError(f"{path}: no rows; write one row for each user")
    schema = parquet_data.common_schema(files, schemas, names)
    plain = pa.schema(
        [pa.field(f.name, f.type.value_type if pa.types.is_dictionary(f.type) else f.type) for f in schema]
    )
    return UserBlocks(str(path), rows, plain.field("user_id").type, tuple(names), tuple(files), plain, None)


def _check_ids(users: UserBlocks) -> None:
    kind = users.id_type
    if not is_text(kind) and not pa.types.is_integer(kind):
        raise DataError(f"{users.path}: column 'user_id' must hold integers or strings, not {kind}")
    ids = users.ids()
    if ids.null_count:
        raise DataError(
            f"{users.path}: column 'user_id' is empty in {counted(ids.null_count, 'row', 'rows')}; drop them"
        )
    doubled = len(ids) - pc.count_distinct(ids).as_py()
    if doubled:
        counts = pc.value_counts(ids)
        examples = counts.field("values").filter(pc.greater(counts.field("counts"), 1))[:MOST_EXAMPLES].to_pylist()
        raise DataError(
            f"{users.path}: {counted(doubled, 'user_id is', 'user_id are')} there more than once (e.g. "
            f"{', '.join(map(str, examples))}); keep one row a user"
        )


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
