"""Writes output whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from allocator.errors import OutputError, UsageError

Content = Callable[[Path], None] | bytes | str


def check_target(folder: Path, force: bool) -> None:
    """Refuse an output folder that exists (without `force`) or cannot be written. Raises `UsageError`."""
    if folder.exists():
        if not force:
            raise UsageError(f"{folder} exists already; choose another folder, or add --force to replace it")
        if not folder.is_dir() or (any(folder.iterdir()) and not (folder / "manifest.json").exists()):
            raise UsageError(f"{folder} is not a plan folder (it has no manifest.json); --force will not replace it")
    parent = folder.absolute().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=parent, prefix=".allocate-"):
            pass
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror or error}") from error


def write_folder(folder: Path, contents: Mapping[str, Content], *, force: bool) -> None:
    """Write all files into a temporary folder beside `folder`, then rename it.

    Raises
    ------
    OutputError
        Where a file cannot be written; nothing is left behind.
    """
    check_target(folder, force)
    parent = folder.absolute().parent
    temporary = Path(tempfile.mkdtemp(dir=parent, prefix=".allocate-"))
    try:
        fresh = temporary / "new"
        fresh.mkdir()
        for name, content in contents.items():
            _write(fresh / name, content)
        if folder.exists():
            folder.rename(temporary / "old")
            try:
                fresh.rename(folder)
            except OSError:
                (temporary / "old").rename(folder)
                raise
        else:
            fresh.rename(folder)
    except OSError as error:
        raise OutputError(f"{folder} could not be written ({error.strerror or error}); nothing was kept") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_file(path: Path, data: bytes | str) -> None:
    """Write one file under a temporary name, then rename it. Raises `OutputError`."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        _write(temporary, data)
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path} could not be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def plan_table(rows: np.ndarray, offers: pa.Table) -> pa.Table:
    """Return these rows of the caller's offers table, in the order of that table, `user_id` and `coupon` first."""
    first = ["user_id", "coupon"]
    chosen = offers.select(first + [name for name in offers.column_names if name not in first])
    return chosen.take(pa.array(np.sort(rows)))


def _write(path: Path, content: Content) -> None:
    if callable(content):
        content(path)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content, encoding="utf-8")
