"""CSV files as tables: types decided from whole columns, and faults named by row and text.

A CSV file has no types. Columns of amounts are numbers; every other column is what all of its entries are:
integers, else numbers, else true/false, else text. A leading zero (`007`, a postcode) makes a column text, since a
number would lose it.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import itertools
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from allocator.errors import DataError, counted
from allocator.tables.faults import in_words
from allocator.tables.origin import MOST_EXAMPLES, Origin

TEXT_CODES = pa.dictionary(pa.int32(), pa.string())
MISSING = ("", "NA", "N/A", "NULL", "null", "None")  # in columns of numbers; in text they stand for themselves
TEXT, EMPTY = "text", "empty"
KINDS = {"integer": pa.int64(), "number": pa.float64(), "flag": pa.bool_()}  # in the order in which they are tried
BLOCK_BYTES = 1 << 23
HEADER_BYTES = 1 << 20
LONGEST_SAMPLE = 60  # characters of a faulty row that a message shows
NUMBER = r"^\s*([+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|(?i:inf|infinity|nan)))\s*$"
LEADING_ZERO = r"^[+-]?0\d"
SEPARATORS = ((";", "semicolons"), ("\t", "tabs"), ("|", "bars"))


def header(file: Path) -> list[str]:
    """Return the column names on a CSV file's first line.

    Raises
    ------
    DataError
        Where the file is empty, is not UTF-8 text, or is a workbook under a wrong name.
    """
    head = _head(file)
    if head.startswith(b"PK\x03\x04"):
        raise DataError(f"{file}: this is an Excel workbook or a zip archive, not CSV; save it as 'CSV UTF-8'")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{file}: the text is UTF-16; save it as 'CSV UTF-8'")
    if b"\0" in head:
        raise DataError(f"{file}: this is not a text file; expected CSV with the columns' names on the first line")
    text = head.decode("utf-8-sig", errors="replace").lstrip("\r\n")
    try:
        names = next(csv.reader(io.StringIO(text, newline="")), [])
    except csv.Error as error:
        raise DataError(f"{file}: the first line cannot be read as CSV ({error}); write the columns' names") from error
    if not names:
        raise DataError(f"{file}: the file is empty; expected CSV with the columns' names on the first line")
    if any("\ufffd" in name for name in names):
        raise DataError(f"{file}: the first line is not UTF-8 text; save it as 'CSV UTF-8'")
    for sign, word in SEPARATORS if len(names) == 1 else ():
        if sign in names[0]:
            raise DataError(f"{file}: the columns are separated by {word}; save the file with commas")
    return names


def schema(file: Path) -> pa.Schema:
    """Return a file's columns, text each: types come later, from all of its rows. Raises `DataError`."""
    return pa.schema([pa.field(name, pa.string()) for name in header(file)])


def read(
    files: Sequence[Path],
    names: Sequence[str],
    amounts: Iterable[str],
    ids: Collection[str] = ("user_id",),
    texts: Collection[str] = (),
) -> tuple[pa.Table, list[int]]:
    """Read columns of the CSV files of one table; return it and the number of rows of each file.

    Parameters
    ----------
    files
        Files that all have these columns, in any order.
    names
        The columns to read, in the order wanted.
    amounts
        The columns that must be numbers: float64. `coupon` is text, an int32 code a row. Others: see the module.
    ids
        The columns of ids: int64 where every id in every file is an integer written without leading zeros, else text.
    texts
        The columns that are text whatever stands in them.

    Raises
    ------
    DataError
        Where a row has too few or too many fields, or text where a number must be.
    """
    numbers = [name for name in names if name in set(amounts)]
    types = {name: pa.string() for name in names} | dict.fromkeys(numbers, pa.float64())
    if "coupon" in types:
        types["coupon"] = TEXT_CODES
    tables = [_read_one(file, types, numbers) for file in files]
    lengths = [table.num_rows for table in tables]
    table = pa.concat_tables(tables)
    del tables
    columns = dict(zip(names, table.columns, strict=True))
    del table  # so that the text of each column is freed as soon as its numbers are there
    for name in names:
        if types[name] == pa.string() and name not in texts:
            # An id that reads NA is an id; and an id is never a fraction.
            kinds, missing = (["integer"], ()) if name in ids else (list(KINDS), MISSING)
            columns[name] = _typed(columns[name], kinds, missing)
    return pa.table(columns), lengths


def _read_one(file: Path, types: Mapping[str, pa.DataType], numbers: Sequence[str]) -> pa.Table:
    with in_words(file):
        try:
            return _arrow_read(file, types)
        except pa.ArrowInvalid as error:
            words = str(error).splitlines()[0]
            if "Empty CSV" in words:  # a header without a line end; it was read before
                return pa.schema(list(types.items())).empty_table()
            raise DataError(_fault(file, words, numbers)) from error


def stream(file: Path, types: Mapping[str, pa.DataType], numbers: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield the rows of one file, these columns of it, a few megabytes at a time.

    Raises
    ------
    DataError
        As `read`.
    """
    with in_words(file):
        try:
            with (
                pa.input_stream(str(file), compression="gzip" if is_gzip(file) else None) as source,
                pa.csv.open_csv(source, **_options(types, pa.csv.ReadOptions(block_size=BLOCK_BYTES), None)) as opened,
            ):
                yield from opened
        except pa.ArrowInvalid as error:
            words = str(error).splitlines()[0]
            if "Empty CSV" not in words:
                raise DataError(_fault(file, words, numbers)) from error


def are_integers(column: pa.Array) -> bool:
    """Return whether every text is an integer as it is printed, without leading zeros, or missing."""
    return _parsed(column, ["integer"], pa.array(MISSING, pa.string()))[0] in ("integer", EMPTY)


def possible_kinds(chunk: pa.Array, kinds: Sequence[str], missing: Sequence[str] = MISSING) -> list[str]:
    """Return which of these kinds every entry of a piece of a column is: its column is of the first that all pieces are."""
    tokens = pa.array(missing, pa.string())
    return [kind for kind in kinds if _parsed(chunk, [kind], tokens)[0] in (kind, EMPTY)]


def as_kind(chunk: pa.Array, kind: str | None, missing: Sequence[str] = MISSING) -> pa.Array:
    """Return a piece of a column as a kind that all of its entries are; `None`: as the text that it is."""
    if kind is None:
        return chunk
    gaps = pc.is_in(chunk, value_set=pa.array(missing, pa.string()))
    return pc.if_else(gaps, pa.scalar(None, pa.string()), chunk).cast(KINDS[kind])


def _fault(file: Path, words: str, numbers: Sequence[str]) -> str:
    """Find what Arrow's complaint comes from."""
    if "columns, got" in words and _is_utf8(file):
        return _ragged_rows(file, words)
    if "conversion error to double" in words:
        return _texts_in_numbers(file, numbers, words)
    if "UTF8" in words or not _is_utf8(file):
        return f"{file}: the text is not UTF-8 ({words}); save it as 'CSV UTF-8'"
    if "straddl" in words:
        return f"{file}: a row is longer than {BLOCK_BYTES >> 20} MiB; most likely a quotation mark is not closed"
    return f"{file}: cannot be read as CSV ({words}); write it again"


def _arrow_read(
    file: Path, types: Mapping[str, pa.DataType], on_bad_row: Callable[[pa.csv.InvalidRow], str] | None = None
) -> pa.Table:
    with pa.input_stream(str(file), compression="gzip" if is_gzip(file) else None) as source:
        # Rows are numbered only where one thread reads them: fast first, and once more to name a bad row.
        reading = pa.csv.ReadOptions(use_threads=on_bad_row is None, block_size=BLOCK_BYTES)
        return pa.csv.read_csv(source, **_options(types, reading, on_bad_row))


def _options(
    types: Mapping[str, pa.DataType], reading: Any, on_bad_row: Callable[[pa.csv.InvalidRow], str] | None
) -> dict[str, Any]:
    return {
        "read_options": reading,
        "parse_options": pa.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=on_bad_row),
        "convert_options": pa.csv.ConvertOptions(
            include_columns=list(types), column_types=dict(types), null_values=list(MISSING)
        ),
    }


def _ragged_rows(file: Path, words: str) -> str:
    rows: list[int] = []
    samples: list[pa.csv.InvalidRow] = []

    def note(row: pa.csv.InvalidRow) -> str:
        if not samples:
            samples.append(row)
        rows.append(row.number - 2)  # Arrow counts from 1 and counts the header; messages count rows of data
        return "skip"

    _arrow_read(file, {header(file)[0]: pa.binary()}, note)
    if not samples:
        return f"{file}: cannot be read as CSV ({words}); write it again"
    first = samples[0]
    return (
        f"{file}: {counted(len(rows), 'row does', 'rows do')} not have {first.expected_columns} fields as the first line has "
        f"({Origin().rows(rows)}; the first has {first.actual_columns}: {_short(first.text)}); "
        "add or remove commas, or put text that has commas in quotation marks"
    )


def _texts_in_numbers(file: Path, numbers: Sequence[str], words: str) -> str:
    texts = _arrow_read(file, dict.fromkeys(numbers, pa.string()))
    for name in numbers:
        sound = pc.or_(
            pc.match_substring_regex(texts[name], NUMBER), pc.is_in(texts[name], value_set=pa.array(MISSING))
        )
        bad = pc.indices_nonzero(pc.invert(sound))
        if len(bad):
            rows = bad[:MOST_EXAMPLES].to_pylist()
            entries = ", ".join(f"row {row + 1:,} is {_short(texts[name][row].as_py())}" for row in rows)
            return (
                f"{file}: column {name!r} must hold numbers, but {counted(len(bad), 'row holds', 'rows hold')} text ({entries}); "
                "write plain numbers such as 1234.5, and drop rows without one"
            )
    return f"{file}: a column of numbers cannot be read ({words}); write plain numbers such as 1234.5"


def _typed(column: pa.ChunkedArray, kinds: Sequence[str], missing: Sequence[str]) -> pa.ChunkedArray:
    """Turn text into the first of these kinds that every entry is, or leave it text."""
    tokens = pa.array(missing, pa.string())
    with ThreadPoolExecutor(max(1, pa.cpu_count())) as pool:

        def parse(tried: Sequence[str]) -> list[tuple[str, pa.Array]]:
            return list(pool.map(_parsed, column.chunks, itertools.repeat(tried), itertools.repeat(tokens)))

        parts = parse(kinds)
        found = {kind for kind, _ in parts} - {EMPTY}
        # Chunks of integers and fractions are numbers: try one kind after the other on all, as on a single chunk.
        for kind in kinds if len(found) > 1 and TEXT not in found else ():
            parts = parse([kind])
            found = {part for part, _ in parts} - {EMPTY}
            if found == {kind}:
                break
    if len(found) != 1 or TEXT in found:
        return column
    goal = KINDS[found.pop()]
    return pa.chunked_array([part.cast(goal) for _, part in parts], type=goal)


def _parsed(chunk: pa.Array, kinds: Sequence[str], missing: pa.Array) -> tuple[str, pa.Array]:
    """Return the first of these kinds that every entry is, and the entries as that kind."""
    for entries in _with_and_without_gaps(chunk, missing):
        if len(entries) == entries.null_count:
            return EMPTY, entries
        for kind in kinds:
            try:
                parsed = entries.cast(KINDS[kind])
            except pa.ArrowInvalid:
                continue
            # Arrow reads 007 and 0x1F as integers: only what prints the same again was one.
            if kind == "integer" and not parsed.cast(pa.string()).equals(entries):
                return TEXT, chunk
            if kind == "number" and pc.any(pc.match_substring_regex(entries, LEADING_ZERO)).as_py():
                return TEXT, chunk
            return kind, parsed
    return TEXT, chunk


def _with_and_without_gaps(chunk: pa.Array, missing: pa.Array) -> Iterator[pa.Array]:
    """Yield the entries as they are, then with nulls where they are missing: most columns have no gaps."""
    yield chunk
    if len(missing):
        gaps = pc.is_in(chunk, value_set=missing)
        if pc.any(gaps).as_py():
            yield pc.if_else(gaps, pa.scalar(None, pa.string()), chunk)


def _short(text: str) -> str:
    return repr(text if len(text) <= LONGEST_SAMPLE else text[: LONGEST_SAMPLE - 1] + "…")


def _head(file: Path) -> bytes:
    try:
        with cast(IO[bytes], gzip.open(file) if is_gzip(file) else file.open("rb")) as stream:
            return stream.read(HEADER_BYTES)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{file}: the compressed file is damaged or cut short ({error}); write it again") from error


def _is_utf8(file: Path) -> bool:
    """Return whether a whole file is UTF-8; Arrow cannot tell of a bad row that is not."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with cast(IO[bytes], gzip.open(file) if is_gzip(file) else file.open("rb")) as source:
        try:
            while block := source.read(HEADER_BYTES):
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


def is_gzip(file: Path) -> bool:
    """Return whether a file's bytes, whatever its name, are compressed with gzip."""
    with file.open("rb") as stream:
        return stream.read(2) == b"\x1f\x8b"
