"""Tables whose columns go by several names: which column of a file is meant, and what it must hold.

Exports call the same thing `user_id`, `customer_id` or `household_id`. Each table of the project has one name for it;
the common others are accepted, and noted, so that nobody is surprised by what was taken for what.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from allocator.errors import DataError, nearest
from allocator.tables import csv_text, parquet_data
from allocator.tables.faults import in_words
from allocator.tables.files import FROM_CSV, USER_NAMES, common_columns, files_of, format_of, listed
from allocator.tables.frames import decoded, is_text, to_arrow, values_type
from allocator.tables.origin import Origin

__all__ = ["USER_NAMES", "Column", "Holds", "Layout", "layout_of", "name_frame", "plain_id", "read_layout"]


class Holds(StrEnum):
    """What a column must hold."""

    ID = "integers or text"
    NUMBER = "numbers"
    TIME = "timestamps or dates"
    TEXT = "text"
    FLAG = "0 and 1"


@dataclass(frozen=True)
class Column:
    """A column that a table has or may have.

    Attributes
    ----------
    name
        What the project calls it.
    holds
        What stands in it.
    aliases
        What others call it; the first that a file has counts.
    required
        Whether a table without it is refused.
    meaning
        What it says, in a few words.
    """

    name: str
    holds: Holds
    aliases: tuple[str, ...] = ()
    required: bool = False
    meaning: str = ""


@dataclass(frozen=True)
class Layout:
    """Which columns of a table's files hold what.

    Attributes
    ----------
    path
        As it was given.
    files
        What it stands for, sorted by name.
    is_csv
        Whether these are CSV; Parquet otherwise.
    names
        For each column of the project that is there, its name in the files.
    others
        The columns that the project has no name for, in the files' order.
    schema
        Types of all columns, by their name in the files; all text in CSV.
    """

    path: str
    files: tuple[Path, ...]
    is_csv: bool
    names: Mapping[str, str]
    others: tuple[str, ...]
    schema: pa.Schema

    @property
    def notes(self) -> tuple[str, ...]:
        """What was taken for what, one sentence each."""
        return tuple(
            f"{self.path}: column {there!r} is read as {name!r}" for name, there in self.names.items() if name != there
        )

    def holds_text(self, name: str) -> bool:
        """Return whether a column of a Parquet file holds text."""
        return is_text(values_type(self.schema.field(self.names[name]).type))


def layout_of(
    path: str | Path, columns: Sequence[Column], *, chosen: Mapping[str, str] | None = None, ignored: Sequence[str] = ()
) -> Layout:
    """Find a table's files and columns; no row is read.

    Parameters
    ----------
    chosen
        For columns of the project the name in the files, where the caller says it.
    ignored
        Columns of the files that are passed over.

    Raises
    ------
    DataError
        Where there is no such file, a required column is missing, two columns mean the same, files do not fit
        together, or a Parquet column has a type that it cannot have.
    """
    files = files_of(path)
    is_csv = format_of(files[0]) == "csv"
    schemas: list[pa.Schema] = []
    coded = [
        name for column in columns if column.holds in (Holds.ID, Holds.TEXT) for name in (column.name, *column.aliases)
    ]
    for file in files:
        with in_words(file):
            schemas.append(csv_text.schema(file) if is_csv else parquet_data.schema(file, coded))
    whole = schemas[0].names
    found = _without(files[0], whole, ignored)
    names = _choose(files[0], found, columns, chosen or {})
    for file, schema in zip(files, schemas, strict=True):
        common_columns(file, schema.names, files[0], whole)
    if is_csv:
        schema = schemas[0]
    else:
        exact = [there for column in columns if column.holds is Holds.ID and (there := names.get(column.name))]
        schema = parquet_data.common_schema(files, schemas, found, exact)
        for column in columns:
            if column.name in names:
                _check_type(files[0], column, schema.field(names[column.name]))
    others = tuple(name for name in found if name not in names.values())
    return Layout(str(path), tuple(files), is_csv, names, others, schema)


def name_frame(
    frame: Any,
    columns: Sequence[Column],
    source: str,
    *,
    chosen: Mapping[str, str] | None = None,
    ignored: Sequence[str] = (),
) -> tuple[pa.Table, tuple[str, ...]]:
    """Return a table in memory (pandas, polars, pyarrow) under the project's names, and notes of what was taken for what.

    Raises
    ------
    DataError
        As `layout_of`.
    """
    table = to_arrow(frame, source)
    found = _without(source, table.column_names, ignored)
    names = _choose(source, found, columns, chosen or {})
    common_columns(source, found, source, found)
    table = table.select(found)
    for column in columns:
        there = names.get(column.name)
        if there is not None:
            _check_type(source, column, table.schema.field(there))
            if column.holds is Holds.ID:
                table = table.set_column(found.index(there), there, plain_id(decoded(table[there]), source, there))
    back = {there: name for name, there in names.items()}
    table = table.rename_columns([back.get(name, name) for name in found])
    unsaid = {name: there for name, there in names.items() if name not in (chosen or {})}
    return table, Layout(source, (), False, unsaid, (), table.schema).notes


def read_layout(layout: Layout, columns: Sequence[Column], *, others: bool = True) -> pa.Table:
    """Read a whole table, its columns under the project's names.

    Returns
    -------
    table
        Ids are int64, or text; numbers float64; the rest as in the file (in CSV: see `csv_text`). The metadata tell
        the `Origin` of the rows, and whether they came from CSV.

    Raises
    ------
    DataError
        Where a file cannot be read, or a CSV column of numbers holds text.
    """
    holds = {column.name: column.holds for column in columns}
    wanted = [*layout.names.values(), *(layout.others if others else ())]
    wanted = [name for name in layout.schema.names if name in wanted]
    if layout.is_csv:
        numbers = [there for name, there in layout.names.items() if holds[name] in (Holds.NUMBER, Holds.FLAG)]
        ids = [there for name, there in layout.names.items() if holds[name] is Holds.ID]
        texts = [there for name, there in layout.names.items() if holds[name] in (Holds.TEXT, Holds.TIME)]
        table, lengths = csv_text.read(layout.files, wanted, numbers, ids, texts)
    else:
        goal = pa.schema([layout.schema.field(name) for name in wanted])
        coded = [name for name in wanted if pa.types.is_dictionary(goal.field(name).type)]
        table, lengths = parquet_data.read(layout.files, goal, coded)
    for name in (there for name, there in layout.names.items() if holds[name] is Holds.ID):
        place = table.column_names.index(name)
        table = table.set_column(place, name, plain_id(decoded(table[name]), layout.path, name))
    origin = Origin(tuple(zip(map(str, layout.files), lengths, strict=True)))
    back = {there: name for name, there in layout.names.items()}
    table = table.rename_columns([back.get(name, name) for name in table.column_names])
    return table.replace_schema_metadata(origin.metadata | (FROM_CSV if layout.is_csv else {}))


def plain_id(column: Any, source: object, name: str) -> Any:
    """Return a column of ids (an array or a chunked array) with int64 for integers of any width; text as it is.

    Raises
    ------
    DataError
        Where an integer is beyond 2^63 - 1.
    """
    if not pa.types.is_integer(column.type) or column.type == pa.int64():
        return column
    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise DataError(f"{source}: column {name!r} holds integers beyond 2^63 - 1; write these ids as text") from error


def _without(file: object, found: Sequence[str], ignored: Sequence[str]) -> list[str]:
    for name in ignored:
        if name not in found:
            raise DataError(
                f"{file}: there is no column {name!r}{nearest(name, found, 0.6)} to ignore; found: {listed(found)}"
            )
    return [name for name in found if name not in ignored]


def _choose(file: object, found: Sequence[str], columns: Sequence[Column], given: Mapping[str, str]) -> dict[str, str]:
    """Return the name in the file of each column that is there; `given` says it of some."""
    for name in given.values():
        if name not in found:
            raise DataError(f"{file}: there is no column {name!r}{nearest(name, found, 0.6)}; found: {listed(found)}")
    plain: dict[str, str] = {}
    for name in found:
        plain.setdefault(name.strip().lower(), name)
    chosen: dict[str, str] = dict(given)
    missing = []
    for column in columns:
        if column.name in given:
            continue
        there = [plain[name] for name in (column.name, *column.aliases) if name in plain]
        there = [name for name in there if name not in chosen.values()]
        if there:
            chosen[column.name] = there[0]
        elif column.required:
            missing.append(column)
    if missing:
        hints = []
        for column in missing:
            close = difflib.get_close_matches(
                column.name, [name for name in plain if plain[name] not in chosen.values()], 1, 0.7
            )
            hints.append(
                f"column {column.name!r} is missing" + (f" (is it {plain[close[0]]!r}? rename it)" if close else "")
            )
        needed = ", ".join(
            f"{column.name} (or {', '.join(column.aliases)})" if column.aliases else column.name
            for column in columns
            if column.required
        )
        raise DataError(f"{file}: {', '.join(hints)}; the columns found are {listed(found)}. Needed: {needed}")
    for column in columns:
        others = [name for name in found if name not in chosen.values() and name.strip().lower() == column.name]
        if others and column.name in chosen and column.name not in given:
            raise DataError(
                f"{file}: columns {chosen[column.name]!r} and {others[0]!r} both mean {column.name!r}; keep one"
            )
    return chosen


def _check_type(file: object, column: Column, field: pa.Field) -> None:
    kind = values_type(field.type)
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    sound = {
        Holds.ID: pa.types.is_integer(kind) or is_text(kind),
        Holds.NUMBER: number,
        Holds.TIME: pa.types.is_timestamp(kind) or pa.types.is_date(kind) or is_text(kind),
        Holds.TEXT: is_text(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind),
        Holds.FLAG: number or pa.types.is_boolean(kind),
    }[column.holds]
    if column.holds is Holds.TIME and pa.types.is_timestamp(kind) and kind.tz is not None:
        try:
            pc.local_timestamp(pa.array([0]).cast(kind))
        except pa.ArrowInvalid as error:
            raise DataError(
                f"{file}: column {field.name!r} is in a time zone that is not known here ({kind.tz}); write times without a zone"
            ) from error
    if not sound and not pa.types.is_null(kind):
        more = ""
        if column.holds is Holds.TIME and number:
            more = "; a number of seconds or days is ambiguous: convert it to a timestamp first"
        elif column.holds is Holds.ID and number:
            more = "; an id is never a fraction: cast it to an integer, and drop the rows without one"
        raise DataError(f"{file}: column {field.name!r} must hold {column.holds.value}, not {kind}{more}")
