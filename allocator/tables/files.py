"""Reads offers and users from Parquet or CSV: a file, a folder or a glob.

Files of one table share their columns; their order is that of their names. Everything that cannot be read becomes a
`DataError` which names the file and says what to do.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa

from allocator.errors import DataError, nearest
from allocator.tables import csv_text, frames, parquet_data
from allocator.tables.faults import in_words
from allocator.tables.frames import is_text, values_type
from allocator.tables.origin import Origin

PARQUET = (".parquet", ".pq")
CSV = (".csv", ".csv.gz")
MAGIC = b"PAR1"
AMOUNTS = ("value", "cost", *frames.OPTIONAL)
SAME_NAMES = {"user": "user_id", "customer_id": "user_id", "coupon_id": "coupon"}
# What exports call the column of users; the project's tables say `user_id`.
USER_NAMES = ("household_id", "household_key", "customer_id", "member_id", "client_id", "user", "customer")
FROM_CSV = {b"format": b"csv"}  # marks tables whose integers came from text, and can go back to it unchanged


def read_offers(path: str | Path, *, extra: Sequence[str] | None = None) -> pa.Table:
    """Read an offers table. Its meaning is checked by `Problem.from_offers`.

    Parameters
    ----------
    path
        A Parquet or CSV file (also `.csv.gz`), a folder of one of the two, or a glob.
    extra
        The columns to read beside those of the schema; by default all.

    Returns
    -------
    table
        `user_id` int64, or text with an int32 code a row; `coupon` text with an int32 code a row, which keeps 80
        million rows in memory; the rest as in the file. Columns of numbers are in one piece: arrays view them.

    Raises
    ------
    DataError
        Where a file cannot be read, a column of the schema is missing, or files do not fit together.
    """
    return _read(path, frames.REQUIRED, extra, coded=("user_id", "coupon"))


def read_users(path: str | Path) -> pa.Table:
    """Read a users table: `user_id` (or one of `USER_NAMES`), int64 or text, and attributes.

    Raises
    ------
    DataError
        Where a file cannot be read, `user_id` is missing, or files do not fit together.
    """
    there = users_column(path)
    table = _read(path, (there,), None, coded=())
    named = table.rename_columns(["user_id" if name == there else name for name in table.column_names])
    return named.replace_schema_metadata(table.schema.metadata)


def users_column(path: str | Path) -> str:
    """Return what a table calls `user_id`: that, or one of `USER_NAMES` where it is missing. Raises `DataError`."""
    file = files_of(path)[0]
    is_csv = format_of(file) == "csv"
    with in_words(file):
        names = csv_text.header(file) if is_csv else parquet_data.schema(file, ()).names
    plain: dict[str, str] = {}
    for name in names:
        plain.setdefault(name.strip().lower(), name)
    return next((plain[word] for word in ("user_id", *USER_NAMES) if word in plain), "user_id")


def users_notes(path: str | Path) -> tuple[str, ...]:
    """Say which column of a users table was taken for `user_id`, where it has another name."""
    there = users_column(path)
    return () if there == "user_id" else (f"{path}: column {there!r} is read as 'user_id'",)


def read_plain(path: str | Path) -> pa.Table:
    """Read a table of any columns, one row a user or an event; its caller checks what they mean.

    Raises
    ------
    DataError
        Where a file cannot be read, or files do not fit together.
    """
    return _read(path, (), None, coded=())


def same_ids(offers: pa.Table, users: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Give `user_id` one type in both tables where CSV alone made them differ.

    In a CSV file an id is a number only because all of its neighbours are. Where the other table has text, it was
    text. Integers of a Parquet file were meant, and stay.
    """
    tables = [offers, users]
    kinds = [pa.types.is_integer(table["user_id"].type) for table in tables]
    for this, other in ((0, 1), (1, 0)):
        table = tables[this]
        if kinds[this] and not kinds[other] and (table.schema.metadata or {}).items() >= FROM_CSV.items():
            place = table.column_names.index("user_id")
            tables[this] = table.set_column(place, "user_id", table["user_id"].cast(pa.string()))
    return tables[0], tables[1]


def hash_inputs(paths: Iterable[str | Path]) -> dict[str, str]:
    """Return the SHA-256 of every file that these paths stand for, by its path; files of any kind."""
    files = [file for path in paths for file in ([Path(path)] if Path(path).is_file() else files_of(path))]

    def digest(file: Path) -> str:
        with in_words(file), file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    with ThreadPoolExecutor(max(1, pa.cpu_count())) as pool:
        return dict(zip(map(str, files), pool.map(digest, files), strict=True))


def files_of(path: str | Path) -> list[Path]:
    """Return the files that a path stands for, sorted by name; names that start with `.` or `_` are passed over.

    Raises
    ------
    DataError
        Where there are none, where two formats are mixed, or where a folder holds something else.
    """
    place = Path(path)
    if not str(path):
        raise DataError("the name of the table is empty; give a Parquet or CSV file, a folder of them, or a glob")
    with in_words(place):
        if place.is_dir():
            files = list(_inside(place))
            if not files:
                raise DataError(f"{path}: the folder holds no .parquet or .csv file; put the table's files there")
        elif place.exists():
            files = [place]
        elif any(sign in str(path) for sign in "*?["):
            files = [file for match in _matches(place) for file in (_inside(match) if match.is_dir() else [match])]
            if not files:
                raise DataError(f"{path}: no file matches; check the pattern and the folder")
        else:
            siblings = [item.name for item in place.parent.iterdir()] if place.parent.is_dir() else []
            raise DataError(
                f"{path}: there is no such file{nearest(place.name, siblings, 0.6)}; "
                "give a Parquet or CSV file, a folder of them, or a glob"
            )
    formats = {format_of(file): file for file in reversed(files)}
    if len(formats) > 1:
        raise DataError(
            f"{path}: mixes Parquet and CSV ({formats['parquet'].name}, {formats['csv'].name}); keep one format, or "
            f"give a glob such as '*{PARQUET[0]}'"
        )
    return files


def _inside(folder: Path) -> Iterator[Path]:
    for item in sorted(folder.iterdir()):
        if item.name.startswith((".", "_")):  # _SUCCESS and checksums, as Spark leaves them
            continue
        if not item.is_dir():
            yield item
        elif "=" in item.name:
            raise DataError(
                f"{item}: a folder named column=value is not read as a column; write {item.name.split('=')[0]!r} "
                "into the files"
            )
        else:
            yield from _inside(item)


def _matches(pattern: Path) -> list[Path]:
    try:
        found = sorted(Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor))))
    except (ValueError, NotImplementedError) as error:
        raise DataError(f"{pattern}: not a pattern of file names ({error})") from error
    return [item for item in found if not item.name.startswith((".", "_"))]


def format_of(file: Path) -> str:
    """Return `parquet` or `csv`, after the name and the first bytes."""
    with in_words(file):
        if not file.is_file():
            raise DataError(f"{file}: this is not a file; save the table to one first")
        if file.stat().st_size == 0:
            raise DataError(f"{file}: the file is empty (0 bytes); write it again, or take it out")
        with file.open("rb") as stream:
            magic = stream.read(len(MAGIC))
    name = file.name.lower()
    if magic == MAGIC:
        if name.endswith(CSV):
            raise DataError(f"{file}: this is a Parquet file under a CSV name; rename it to end in .parquet")
        return "parquet"
    if name.endswith(PARQUET):
        raise DataError(f"{file}: this is not a Parquet file, though its name says so; write it again, or rename it")
    if name.endswith(CSV):
        return "csv"
    raise DataError(f"{file}: neither Parquet nor CSV; name it .parquet, .csv or .csv.gz, or take it out of the folder")


def _read(path: str | Path, required: Sequence[str], extra: Sequence[str] | None, coded: Sequence[str]) -> pa.Table:
    files = files_of(path)
    is_csv = format_of(files[0]) == "csv"
    schemas: list[pa.Schema] = []
    for file in files:
        with in_words(file):
            schemas.append(csv_text.schema(file) if is_csv else parquet_data.schema(file, coded))
        _check_columns(file, schemas[-1].names, files[0], schemas[0].names, required)
    names = schemas[0].names
    if extra is not None:
        _check_extra(path, extra, names)
        names = [name for name in names if name in {*required, *frames.OPTIONAL, *extra}]
    if is_csv:
        amounts = AMOUNTS if "value" in required else ()
        table, lengths = csv_text.read(files, names, amounts, required[:1] or ("user_id",))
    else:
        table, lengths = parquet_data.read(
            files, parquet_data.common_schema(files, schemas, names, required[:1]), coded
        )
    if table.num_rows == 0:
        raise DataError(f"{path}: no rows; write one row for each {'offer' if 'value' in required else 'user'}")
    origin = Origin(tuple(zip(map(str, files), lengths, strict=True)))
    return _compact(table.replace_schema_metadata(origin.metadata | (FROM_CSV if is_csv else {})), coded)


def _check_columns(
    file: Path, names: Sequence[str], first: Path, expected: Sequence[str], needed: Sequence[str]
) -> None:
    """Refuse missing columns, doubled ones, and others than in the first file."""
    missing = [name for name in needed if name not in names]
    if missing:
        similar = {SAME_NAMES.get(name.strip().lower(), name.strip().lower()): name for name in names}
        hints = []
        for name in missing:
            close = difflib.get_close_matches(name, [word for word in similar if similar[word] not in needed], 1, 0.75)
            hints.append(
                f"column {name!r} is missing" + (f" (is it {similar[close[0]]!r}? rename it)" if close else "")
            )
        raise DataError(
            f"{file}: {', '.join(hints)}; the columns found are {listed(names)}. Needed: {', '.join(needed)}"
        )
    common_columns(file, names, first, expected)


def common_columns(file: object, names: Sequence[str], first: object, expected: Sequence[str]) -> None:
    """Refuse doubled columns, and others than in the first file, with `DataError`."""
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise DataError(f"{file}: column {doubled[0]!r} occurs {names.count(doubled[0])} times; keep one")
    if set(names) != set(expected):
        odd = sorted(set(names) ^ set(expected))[0]
        has, lacks = (file, first) if odd in names else (first, file)
        raise DataError(f"{lacks}: column {odd!r} is missing, but {has} has it; give all files the same columns")


def _check_extra(path: str | Path, extra: Sequence[str], names: Sequence[str]) -> None:
    for name in extra:
        if name not in names:
            raise DataError(f"{path}: there is no column {name!r}{nearest(name, names, 0.6)}; found: {listed(names)}")


def _compact(table: pa.Table, coded: Sequence[str]) -> pa.Table:
    """Code ids, and bring each column of numbers or codes into one piece.

    Arrays can then view the columns instead of copying them. Columns go one by one, so that only one is there twice.
    """
    names, metadata, columns = table.column_names, table.schema.metadata, table.columns
    del table
    for place, name in enumerate(names):
        column = columns[place]
        columns[place] = None
        if name in coded and not pa.types.is_integer(column.type):
            column = _coded(column)
        kind = column.type
        if column.num_chunks > 1 and (pa.types.is_primitive(kind) or pa.types.is_dictionary(kind)):
            column = pa.chunked_array([column.unify_dictionaries().combine_chunks()])
        columns[place] = column
    return pa.Table.from_arrays(columns, names=names).replace_schema_metadata(metadata)


def _coded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a text column with int32 codes; columns of other types as they are, for a better message later."""
    if column.type == csv_text.TEXT_CODES or not is_text(values_type(column.type)):
        return column
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    chunks = [
        pa.DictionaryArray.from_arrays(chunk.indices.cast(pa.int32()), chunk.dictionary.cast(pa.string()))
        for chunk in column.chunks
    ]
    return pa.chunked_array(chunks, type=csv_text.TEXT_CODES)


def listed(names: Sequence[str]) -> str:
    """Return names in a row, the first twenty."""
    shown = ", ".join(names[:20])
    return f"{shown} and {len(names) - 20} more" if len(names) > 20 else shown or "(none)"
