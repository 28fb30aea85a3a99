"""CSV files as tables: types decided from whole columns, and faults named by row and text.

A CSV file has no types. Columns of amounts are numbers; every other column is what all of its entries are:
integers, else numbers, else true/false, else text. A leading zero (`007`, a postcode) makes a column text, since a
number would lose it.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from allocator.errors import DataError
from allocator.tables import frames

TEXT_IDS = pa.dictionary(pa.int32(), pa.string())
MISSING = ["", "NA", "N/A", "NULL", "null", "None"]  # in columns of numbers; in text they stand for themselves
BLOCK_BYTES = 1 << 23
HEADER_BYTES = 1 << 20
NUMBER = r"^\s*[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[iI][nN][fF]([iI][nN][iI][tT][yY])?|[nN][aA][nN])\s*$"
LEADING_ZERO = r"^[+-]?0\d"

Parsed = tuple[str, pa.Array]


def header(file: Path) -> list[str]:
    """Return the column names on a CSV file's first line.

    Raises
    ------
    DataError
        Where the file is empty, is not UTF-8 text, or is a workbook under a wrong name.
    """
    opener = gzip.open if _is_gzip(file) else Path.open
    try:
        with opener(file, "rb") as stream:
            head = bytes(stream.read(HEADER_BYTES))
    except (EOFError, gzip.BadGzipFile) as error:
        raise DataError(f"{file}: the compressed file is damaged or cut short ({error}); write it again") from error
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
        raise DataError(f"{file}: the first line cannot be read as CSV ({error})") from error
    if not names:
        raise DataError(f"{file}: the file is empty; expected CSV with the columns' names on the first line")
    if any("\ufffd" in name for name in names):
        raise DataError(f"{file}: the first line is not UTF-8 text; save it as 'CSV UTF-8'")
    if len(names) == 1:
        for sign, word in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
            if sign in names[0]:
                raise DataError(f"{file}: the columns are separated by {word}; save the file with commas")
    return names


def read(files: Sequence[Path], names: Sequence[str], numbers: Iterable[str]) -> pa.Table:
    """Read these columns of CSV files of one table.

    Parameters
    ----------
    files
        Files that all have these columns, in any order.
    names
        The columns to read, in the order wanted.
    numbers
        The columns that must be numbers: float64. `coupon` is text, with an int32 code a row. `user_id` is int64
        where every id is an integer written without leading zeros, else text. Others: see the module.

    Raises
    ------
    DataError
        Where a row has too few or too many fields, or text where a number must be.
    """
    amounts = [name for name in names if name in set(numbers)]
    types = {name: pa.string() for name in names} | dict.fromkeys(amounts, pa.float64())
    if "coupon" in types:
        types["coupon"] = TEXT_IDS
    table = pa.concat_tables([_read_one(file, names, types, amounts) for file in files])
    columns = dict(zip(names, table.columns, strict=True))
    del table  # so that each column's text is freed as soon as its numbers are there
    for name in names:
        if types[name] == pa.string():
            columns[name] = _typed(columns[name], ["integer"] if name == "user_id" else list(_PARSERS))
    return pa.table(columns)


def _read_one(file: Path, names: Sequence[str], types: dict[str, pa.DataType], amounts: Sequence[str]) -> pa.Table:
    try:
        return _arrow_read(file, names, types)
    except pa.ArrowInvalid as error:
        words = str(error)
        if "Expected" in words and "columns" in words:
            raise DataError(_ragged_rows(file, words)) from error
        if "conversion error to double" in words:
            raise DataError(_texts_in_numbers(file, amounts, words)) from error
        if "UTF8" in words:
            raise DataError(f"{file}: the text is not UTF-8 ({words}); save it as 'CSV UTF-8'") from error
        if "straddl" in words:
            raise DataError(
                f"{file}: a row is longer than {BLOCK_BYTES >> 20} MiB; most likely a quotation mark is not closed"
            ) from error
        raise DataError(f"{file}: cannot be read as CSV ({words})") from error


def _arrow_read(
    file: Path,
    names: Sequence[str],
    types: dict[str, pa.DataType],
    *,
    on_bad_row: Callable[[arrow_csv.InvalidRow], str] | None = None,
) -> pa.Table:
    with pa.input_stream(str(file), compression="gzip" if _is_gzip(file) else None) as stream:
        return arrow_csv.read_csv(
            stream,
            # Rows are numbered only when one thread reads them: fast first, and again slowly to name a bad row.
            read_options=arrow_csv.ReadOptions(use_threads=on_bad_row is None, block_size=BLOCK_BYTES),
            parse_options=arrow_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=on_bad_row),
            convert_options=arrow_csv.ConvertOptions(
                include_columns=list(names), column_types=types, null_values=MISSING, strings_can_be_null=False
            ),
        )


def _ragged_rows(file: Path, words: str) -> str:
    rows: list[int] = []
    sample: list[arrow_csv.InvalidRow] = []

    def note(row: arrow_csv.InvalidRow) -> str:
        if not sample:
            sample.append(row)
        rows.append((row.number or 2) - 2)  # counted from 1, the header being the first
        return "skip"

    first_name = header(file)[0]
    _arrow_read(file, [first_name], {first_name: pa.string()}, on_bad_row=note)
    if not sample:
        return f"{file}: cannot be read as CSV ({words})"
    first = sample[0]
    return (
        f"{file}: {len(rows):,} rows do not have {first.expected_columns} fields like the header "
        f"({frames.row_words(rows)}; the first has {first.actual_columns}: {_short(first.text)}); "
        "add the missing commas, or put text with commas in quotation marks"
    )


def _texts_in_numbers(file: Path, amounts: Sequence[str], words: str) -> str:
    texts = _arrow_read(file, amounts, dict.fromkeys(amounts, pa.string()))
    for name in amounts:
        column = texts[name]
        sound = pc.or_(pc.match_substring_regex(column, NUMBER), pc.is_in(column, value_set=pa.array(MISSING)))
        bad = pc.indices_nonzero(pc.invert(sound))
        if len(bad):
            rows = bad[: frames.MOST_EXAMPLES].to_pylist()
            entries = ", ".join(f"{_short(column[row].as_py())} in row {row + 1:,}" for row in rows)
            return (
                f"{file}: column {name!r} must hold numbers, but {len(bad):,} rows do not ({entries}); "
                "write plain numbers such as 1234.5, and drop rows without one"
            )
    return f"{file}: a column of numbers cannot be read ({words})"


def _typed(column: pa.ChunkedArray, kinds: Sequence[str]) -> pa.ChunkedArray:
    """Turn text into the first of these kinds that every entry is, else leave it text."""
    with ThreadPoolExecutor(max(1, pa.cpu_count())) as pool:
        parts = list(pool.map(lambda chunk: _parsed(chunk, kinds), column.chunks))
        found = {kind for kind, _ in parts} - {"empty"}
        if not found or "text" in found:
            return column
        if len(found) > 1:
            # Chunks differ; what all can be is found by trying each kind on every chunk.
            for kind in kinds:
                parts = list(pool.map(lambda chunk, kind=kind: _parsed(chunk, [kind]), column.chunks))
                found = {kind for kind, _ in parts} - {"empty"}
                if found == {kind}:
                    break
            else:
                return column
    return pa.chunked_array([array for _, array in parts], type=_TYPES[found.pop()])
