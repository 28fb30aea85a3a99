"""What the system and Arrow say of a file, in words that a planner can act on."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from allocator.errors import DataError

READING = {
    errno.ENOENT: "it is gone; give a file that exists",
    errno.EACCES: "permission denied; ask for the right to read it",
    errno.EPERM: "permission denied; ask for the right to read it",
    errno.ENAMETOOLONG: "the name is too long; give a shorter one",
    errno.EMFILE: "too many files are open; read fewer at a time",
}


@contextmanager
def in_words(file: Path) -> Iterator[None]:
    """Turn what goes wrong while a file is read into a `DataError` that names it."""
    try:
        yield
    except DataError:
        raise
    except pa.ArrowMemoryError as error:
        raise DataError(f"{file}: too large for this machine's memory ({error}); read fewer rows or columns") from error
    except OSError as error:
        words = READING.get(error.errno or 0, f"{error.strerror or error}; write it again, or copy it anew")
        raise DataError(f"{file}: cannot be read: {words}") from error
    except (pa.ArrowException, ValueError, OverflowError) as error:
        words = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{file}: damaged, cut short or not what its name says ({words}); write it again") from error
