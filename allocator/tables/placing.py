"""What was put in its place, whole, and what lies beside it meanwhile: known whatever moment an interruption strikes at."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

UNFINISHED = ".{}.partial"  # the folder beside a file that is made block by block, until it is whole


@dataclass(frozen=True)
class _Placing:
    """What a rename is about to put in its place, and by which numbers the disk knows it."""

    target: Path
    identity: tuple[int, int]


_PLACING: list[_Placing] = []
_BESIDE: list[Path] = []  # temporary names that were given out


def note(fresh: Path, target: Path) -> None:
    """Note that what is complete at `fresh` is about to be renamed to `target`."""
    identity = _identity(fresh)
    if identity is not None:
        _PLACING.append(_Placing(target, identity))


def forget() -> None:
    """Begin to note anew."""
    _PLACING.clear()
    _BESIDE.clear()


def lies_beside(path: Path) -> Path:
    """Note, and return, a temporary name, before anything is made under it."""
    _BESIDE.append(path)
    return path


def sweep() -> None:
    """Remove what still lies under a temporary name: an interruption can strike in the very line that was to remove it."""
    while _BESIDE:
        path = _BESIDE.pop()
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def placed() -> list[Path]:
    """Return what is in its place of all that was noted since `forget`.

    A rename keeps the numbers of what it moves. No line of code could tell as surely: an interruption may strike between
    the rename and the line after it. Blocks of a file that is not whole yet do not count.
    """
    there = [placing.target for placing in _PLACING if _identity(placing.target) == placing.identity]
    return [path for path in there if not _is_block(path)]


def _is_block(path: Path) -> bool:
    before, after = UNFINISHED.split("{}")
    return path.parent.name.startswith(before) and path.parent.name.endswith(after)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
