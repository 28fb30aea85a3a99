"""Words of the command line that name columns."""

from __future__ import annotations

from allocator.errors import UsageError


def name_pair(words: str) -> tuple[str, str]:
    """Read `NAME=COLUMN`, such as `coupon=segment`."""
    name, sign, column = words.partition("=")
    if not sign or not name or not column:
        raise UsageError(f"--column {words!r}: write NAME=COLUMN, such as coupon=segment")
    return name.strip(), column.strip()
