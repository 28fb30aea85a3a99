"""Writes output whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as parquet

from allocator.errors import AllocatorError, OutputError, UsageError
from allocator.tables import placing

Content = Callable[[Path], None] | bytes | str

MANIFEST = "manifest.json"  # a folder without it is not one of ours
# Programs of every kind write a manifest.json: what tells our folders apart is the file that is what they are for.
MARKS = {"plan": "plan.parquet", "model": "model.json", "market": "truth.parquet", "simulation": "simulation.json"}
PAGES = (".html", ".htm")
WRITING = {
    errno.ENOSPC: "the disk is full; free some space, or choose another place",
    errno.EDQUOT: "the disk quota is used up; free some space, or choose another place",
    errno.EACCES: "permission denied; choose a place that you may write to",
    errno.EPERM: "permission denied; choose a place that you may write to",
    errno.EROFS: "the disk is read-only; choose another place",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
}


def check_file(path: Path, suffixes: Sequence[str], force: bool) -> None:
    """Refuse, before any long work, the name of a file that could not be written after it.

    Parameters
    ----------
    suffixes
        How its name may end, such as `(".csv", ".parquet")`.

    Raises
    ------
    UsageError
        Where the name ends otherwise, is that of a folder, exists and `force` is not given, or where its parent cannot be
        made or written to. Nothing is left behind.
    """
    if path.suffix not in suffixes:
        raise UsageError(f"{path}: name the file {' or '.join(f'NAME{suffix}' for suffix in suffixes)}")
    with _in_words(path, UsageError):
        target = _target(path)
        _refuse_existing_file(path, target, force)
        _try_place(path, target)


def check_target(folder: Path, force: bool, kind: str = "plan") -> None:
    """Refuse, before any long work, an output folder that `write_folder` would refuse after it.

    Parameters
    ----------
    kind
        Of `MARKS`: what the folder will be. With `force` it replaces a folder of its own kind alone, so that a plan never
        takes the place of a model or of a market.

    Raises
    ------
    UsageError
        Where the folder exists and `force` is not given, where it is a file or holds something else than a plan,
        where it is the working folder or one above it, or where its parent cannot be made or written to. Nothing is
        left behind.
    """
    with _in_words(folder, UsageError):
        _refuse_existing(folder, force)
        target = _target(folder)
        _refuse_other_kind(folder, target, kind)
        _try_place(folder, target)


def write_folder(folder: Path, contents: Mapping[str, Content], *, force: bool) -> None:
    """Write all files into a temporary folder beside `folder`, then rename it: it appears whole or not at all.

    Parameters
    ----------
    folder
        Where to; missing parents are made. A symbolic link is followed.
    contents
        For each file's name its bytes, its text (UTF-8), or a function that writes it at the path it is given (there
        it may make a folder too).
    force
        Replace an existing plan folder (one with a manifest.json) or an empty one. It stays until the new one is
        complete, and comes back where the last step fails.

    Raises
    ------
    UsageError
        As `check_target`.
    OutputError
        Where a file cannot be written; nothing is left behind.
    """
    for name in contents:
        if Path(name).name != name:
            raise UsageError(f"{name!r} is not the name of a file in a folder")
    with _in_words(folder):
        _refuse_existing(folder, force)
        target = _target(folder)
        with _made_parents(target):
            fresh = _temporary(target)
            try:
                fresh.mkdir()
                for name, content in contents.items():
                    _write(fresh / name, content)
                _refuse_existing(folder, force)  # someone may have made it meanwhile
                _put(fresh, target)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)


def write_file(path: Path, data: Content, *, force: bool = True) -> None:
    """Write one file under a temporary name, then rename it: it appears whole or not at all.

    Raises
    ------
    UsageError
        Where the path is a folder, or exists and `force` is false.
    OutputError
        Where it cannot be written; what was there before stays.
    """
    with _in_words(path):
        target = _target(path)
        _refuse_existing_file(path, target, force)
        with _made_parents(target):
            fresh = _temporary(target)
            try:
                _write(fresh, data)
                placing.note(fresh, target)
                fresh.replace(target)
            finally:
                fresh.unlink(missing_ok=True)


def write_files(folder: Path, contents: Mapping[str, Content]) -> None:
    """Write files into a folder, which is made where it is missing: all under temporary names first, then renamed.

    Files of these names are replaced; others stay.

    Raises
    ------
    UsageError
        Where the folder is a file.
    OutputError
        Where a file cannot be written; what was there before stays.
    """
    target = _target(folder)
    if not target.exists():
        write_folder(folder, contents, force=False)
        return
    if not target.is_dir():
        raise UsageError(f"{folder} is a file; choose another name for the folder")
    with _in_words(folder):
        fresh = {name: _temporary(target / name) for name in contents}
        try:
            for name, content in contents.items():
                _write(fresh[name], content)
            for name, path in fresh.items():
                placing.note(path, target / name)
                path.replace(target / name)
        finally:
            for path in fresh.values():
                path.unlink(missing_ok=True)


def table_bytes(table: pa.Table, suffix: str) -> bytes:
    """Return a table as the bytes of a `.csv` or `.parquet` file."""
    sink = pa.BufferOutputStream()
    if suffix == ".csv":
        csv.write_csv(table, sink, csv.WriteOptions(quoting_style="needed"))
    else:
        parquet.write_table(table, sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def plan_table(rows: np.ndarray, offers: pa.Table) -> pa.Table:
    """Return the offers that a plan issues, as the caller wrote them.

    Parameters
    ----------
    rows
        `(n_issued,)` rows of `offers` in any order, such as `plan.row`.
    offers
        The table that the problem was built from.

    Returns
    -------
    table
        `user_id`, `coupon`, then the other columns in the order of the input; rows in the order of the input. Coded
        text is plain text again.
    """
    first = ["user_id", "coupon"]
    chosen = offers.select([*first, *(name for name in offers.column_names if name not in first)])
    chosen = chosen.take(pa.array(np.sort(rows))).replace_schema_metadata(None)
    columns = [
        column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
        for column in chosen.columns
    ]
    return pa.table(columns, names=chosen.column_names)


def _refuse_existing(folder: Path, force: bool) -> None:
    target = _target(folder)
    if not target.exists():
        return
    if not target.is_dir():
        raise UsageError(f"{folder} is a file; choose another name for the folder (--force replaces plan folders only)")
    if not force:
        raise UsageError(f"{folder} exists already; choose another folder, or add --force to replace it")
    here = Path.cwd()
    if target == here or target in here.parents:
        raise UsageError(f"{folder} is the folder that you work in, or one above it; choose another")
    if not (target / MANIFEST).is_file() and any(target.iterdir()):
        raise UsageError(
            f"{folder} is not a plan folder (it has no {MANIFEST}), so --force does not replace it; choose another"
        )


def _refuse_existing_file(path: Path, target: Path, force: bool) -> None:
    if target.is_dir():
        raise UsageError(f"{path} is a folder; give the name of a file")
    if target.exists() and not force:
        raise UsageError(f"{path} exists already; choose another name, or add --force to replace it")


def _try_place(path: Path, target: Path) -> None:
    """Raise where nothing can be made beside a target. To try is the only sure test: rights, quotas and network disks each have their own rules."""
    blocking = next(place for place in target.parents if place.exists())
    if not blocking.is_dir():
        raise UsageError(f"{path} cannot be made: {blocking} is a file; choose another place")
    with _made_parents(target) as made:
        trial = _temporary(target)
        trial.mkdir()
        trial.rmdir()
    _remove_empty(made)


def _refuse_other_kind(folder: Path, target: Path, kind: str) -> None:
    if not target.is_dir() or not any(target.iterdir()) or (target / MARKS[kind]).exists():
        return
    other = next((f"a {name}" for name, mark in MARKS.items() if (target / mark).exists()), f"no {kind}")
    raise UsageError(
        f"{folder} holds {other} (it has no {MARKS[kind]}), and --force replaces a {kind} by a {kind} only; choose another folder"
    )


def _put(fresh: Path, target: Path) -> None:
    """Rename a complete folder to its place; the one that is there goes last, and comes back on any failure."""
    placing.note(fresh, target)
    if not target.exists():
        fresh.rename(target)
        return
    old = _hidden(target)  # no temporary one: until the new one is in its place, it is all there is
    try:
        target.rename(old)
        fresh.rename(target)
    except BaseException:
        if old.exists() and not target.exists():
            try:
                old.rename(target)
            except OSError as error:
                raise OutputError(f"{target} could not be put back; what was there is whole in {old}") from error
        raise
    shutil.rmtree(old, ignore_errors=True)


def _write(path: Path, content: Content) -> None:
    if callable(content):
        content(path)
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    _sync(path)


def _sync(path: Path) -> None:
    """Have the system write a file to the disk now: some report only then that the disk is full."""
    if path.is_dir():
        for file in path.rglob("*"):
            if file.is_file():
                _sync(file)
        return
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _target(path: Path) -> Path:
    """Follow links, so that a rename replaces what they point to and not the link."""
    try:
        return Path(path).resolve()
    except (ValueError, RuntimeError) as error:  # a NUL in the name; links in a circle
        raise UsageError(f"{str(path)!r} is not the name of a file or folder ({error})") from error


def _temporary(target: Path) -> Path:
    return placing.lies_beside(_hidden(target))


def _hidden(target: Path) -> Path:
    # In the same folder, hence on the same disk: only there is a rename a single step.
    return target.parent / f".allocate-{secrets.token_hex(8)}"


@contextmanager
def _made_parents(target: Path) -> Iterator[list[Path]]:
    """Make the missing folders above a target and yield them; take them away where what follows fails."""
    missing = [place for place in target.parents if not place.exists()]
    try:
        for place in reversed(missing):
            place.mkdir(exist_ok=True)
        yield missing
    except BaseException:
        _remove_empty(missing)
        raise


def _remove_empty(folders: list[Path]) -> None:
    for place in folders:
        with suppress(OSError):  # never made, or used by others by now
            place.rmdir()


@contextmanager
def _in_words(path: Path, kind: type[AllocatorError] = OutputError) -> Iterator[None]:
    """Turn what the system says into an error that names the target."""
    try:
        yield
    except (UsageError, OutputError):
        raise
    except OSError as error:
        words = WRITING.get(error.errno or 0, error.strerror or str(error))
        raise kind(f"{path} cannot be written: {words} (nothing was left behind)") from error
