"""Words of the command line that name columns and files."""

from __future__ import annotations

from pathlib import Path

from allocator.errors import UsageError


def name_pair(words: str) -> tuple[str, str]:
    """Read `NAME=COLUMN`, such as `coupon=segment`."""
    name, sign, column = words.partition("=")
    if not sign or not name or not column:
        raise UsageError(f"--column {words!r}: write NAME=COLUMN, such as coupon=segment")
    return name.strip(), column.strip()


def check_page(path: Path, force: bool) -> None:
    """Refuse, before any long work, a file that could not be written as a page after it."""
    if path.suffix not in (".html", ".htm"):
        raise UsageError(f"{path}: name the page NAME.html")
    if path.is_dir():
        raise UsageError(f"{path} is a folder; give the name of a file")
    if path.exists() and not force:
        raise UsageError(f"{path} exists already; choose another name, or add --force to replace it")
