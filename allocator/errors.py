"""Every error that a caller can meet, with the exit code that the command line gives it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AllocatorError(Exception):
    """Base of all errors raised on purpose; the message says what is wrong and what to do."""

    exit_code = 1


class UsageError(AllocatorError, ValueError):
    """An argument, option or output folder that cannot be used as asked."""

    exit_code = 2


class CampaignError(UsageError):
    """A campaign file (or a limit) that cannot be understood; names the key and the nearest known one."""


class DataError(AllocatorError, ValueError):
    """Offers or users that break the schema; names the file, column, number of rows and examples."""

    exit_code = 3


class OutputError(AllocatorError, OSError):
    """The output could not be written whole; nothing was left behind."""


class VerificationError(AllocatorError):
    """A result that does not stand up to the independent check; the message lists every fault."""


def counted(number: int, one: str, many: str) -> str:
    """Return `1 row` or `1,234 rows`."""
    return f"{number:,} {one if number == 1 else many}"


def nearest(word: object, known: Iterable[object], likeness: float = 0.5) -> str:
    """Return ` (did you mean 'x'?)` for the closest known word of at least this likeness (0 to 1), or nothing."""
    words: dict[str, str] = {}
    for item in known:
        words.setdefault(str(item).lower(), str(item))
    close = difflib.get_close_matches(str(word).lower(), list(words), n=1, cutoff=likeness)
    return f" (did you mean {words[close[0]]!r}?)" if close and words[close[0]] != str(word) else ""
