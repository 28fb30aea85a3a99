"""Reads offers and users from Parquet or CSV: a file, a folder or a glob."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pyarrow.parquet as parquet

from allocator.errors import DataError

PARQUET = (".parquet", ".pq")
CSV = (".csv", ".csv.gz")
NULLS = ["", "NaN", "nan", "NA", "null"]


def files_of(path: str | Path) -> list[Path]:
    """Return the files that a path stands for, sorted; raises `DataError` where there are none, or of two formats."""
    where = Path(path)
    if any(sign in str(path) for sign in "*?["):
        found = [Path(name) for name in sorted(glob.glob(str(path)))]
    elif where.is_dir():
        found = sorted(item for item in where.iterdir() if item.name.endswith((*PARQUET, *CSV)))
    else:
        if not where.exists():
            raise DataError(f"{path}: there is no such file; give a Parquet or CSV file, a folder of them, or a glob")
        return [where]
    if not found:
        raise DataError(f"{path}: holds no .parquet or .csv file")
    if len({item.name.endswith(PARQUET) for item in found}) > 1:
        raise DataError(f"{path}: mixes Parquet and CSV files; keep one format")
    return found


def read_offers(path: str | Path) -> pa.Table:
    """Read offers; the coupon column comes as a dictionary, to save memory. Raises `DataError`."""
    return _read(path, ["coupon"])


def read_users(path: str | Path) -> pa.Table:
    """Read a users table. Raises `DataError`."""
    return _read(path, [])


def hash_inputs(paths: Iterable[str | Path]) -> dict[str, str]:
    """Return the SHA-256 of every file read."""
    hashes = {}
    for path in paths:
        for item in files_of(path):
            with item.open("rb") as stream:
                hashes[str(item)] = hashlib.file_digest(stream, "sha256").hexdigest()
    return hashes


def _read(path: str | Path, dictionary: list[str]) -> pa.Table:
    tables: list[pa.Table] = []
    for item in files_of(path):
        table = _read_one(item, dictionary)
        if tables and table.schema.names != tables[0].schema.names:
            raise DataError(f"{item}: its columns ({', '.join(table.column_names)}) differ from {files_of(path)[0]}'s")
        if tables and "user_id" in table.column_names:
            here, there = table.schema.field("user_id").type, tables[0].schema.field("user_id").type
            if here != there:
                raise DataError(f"{item}: user_id is {here} here but {there} in {files_of(path)[0]}; use one type")
        tables.append(table)
    if len(tables) == 1:
        return tables[0]
    try:
        return pa.concat_tables(tables, promote_options="permissive").unify_dictionaries()
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(f"{path}: the files' column types differ: {error}") from error


def _read_one(item: Path, dictionary: list[str]) -> pa.Table:
    try:
        if item.stat().st_size == 0:
            raise DataError(f"{item}: the file is empty")
        if item.name.endswith(CSV):
            return _read_csv(item)
        if item.name.endswith(PARQUET):
            with parquet.ParquetFile(item, read_dictionary=dictionary) as source:
                return source.read()
    except OSError as error:
        raise DataError(f"{item}: cannot be read: {error}") from error
    except pa.ArrowInvalid as error:
        raise DataError(f"{item}: damaged, cut short, or not the format its name says: {error}") from error
    raise DataError(f"{item}: unknown format; name it .parquet or .csv")


def _read_csv(item: Path) -> pa.Table:
    """Read one CSV file. Ids with a leading zero stay strings; a coupon is a string whatever it looks like."""
    options = csv.ConvertOptions(column_types={"coupon": pa.string()}, strings_can_be_null=True, null_values=NULLS)
    table = csv.read_csv(item, convert_options=options)
    if "user_id" in table.column_names and pa.types.is_integer(table.schema.field("user_id").type):
        only = csv.ConvertOptions(include_columns=["user_id"], column_types={"user_id": pa.string()})
        text = csv.read_csv(item, convert_options=only)["user_id"]
        padded = pc.and_(pc.starts_with(text, "0"), pc.greater(pc.utf8_length(text), 1))
        if pc.any(padded).as_py():
            table = table.set_column(table.column_names.index("user_id"), "user_id", text)
    return table
