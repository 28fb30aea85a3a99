"""Columns of a caller's table under the names that this package knows them by, and words for who got no coupon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from allocator.errors import DataError, UsageError, counted, nearest

FEW = 10  # users
NO_COUPON = ("", "control", "none")


class Remark(str):
    """Something to be said of a table; `public`: the same without examples of users, for pages that are passed on."""

    __slots__ = ("public",)
    public: str

    def __new__(cls, words: str, public: str) -> Remark:
        """Keep both."""
        made = super().__new__(cls, words)
        made.public = public
        return made


def few(number: int, one: str, many: str) -> str:
    """Return `12 users` for a page that is passed on; of fewer than `FEW` it does not say how many."""
    return counted(number, one, many) if number >= FEW else f"fewer than {FEW} {many}"


def public(note: str) -> str:
    """Return a note without examples of users."""
    return note.public if isinstance(note, Remark) else note


def renamed(
    arrow: pa.Table, source: str, aliases: Mapping[str, Sequence[str]], columns: Mapping[str, str] | None = None
) -> tuple[pa.Table, list[str]]:
    """Give columns the names that they are known by.

    Parameters
    ----------
    aliases
        For each name that is known the usual others, taken where the name itself is not there.
    columns
        For a name that is known the table's own (`--column NAME=COLUMN`); it goes before a column of that name.

    Returns
    -------
    table, notes
        The table, its metadata kept, and what was taken for what.

    Raises
    ------
    UsageError
        For a name that is not known.
    DataError
        Where the table has no such column.
    """
    names, notes, metadata = list(arrow.column_names), [], arrow.schema.metadata
    for name, there in (columns or {}).items():
        if name not in aliases:
            raise UsageError(
                f"--column {name}={there}: {name!r} is no column that is read here{nearest(name, list(aliases))}; known: "
                f"{', '.join(aliases)}"
            )
        if there not in arrow.column_names:
            raise DataError(
                f"{source}: there is no column {there!r}{nearest(there, arrow.column_names, 0.6)} (--column "
                f"{name}={there}); found: {', '.join(arrow.column_names)}"
            )
        if name != there and name in names:
            notes.append(f"{source}: its own column {name!r} is left out, since {there!r} is read as {name!r}.")
            names[names.index(name)] = f"[{name}]"
        names[arrow.column_names.index(there)] = name
    for name, others in aliases.items():
        for other in others:
            if name not in names and other in names:
                names[names.index(other)] = name
                notes.append(f"{source}: column {other!r} is read as {name!r}.")
    return arrow.rename_columns(names).replace_schema_metadata(metadata), notes


def without_coupon(got: np.ndarray, control: str | None, source: str) -> np.ndarray:
    """Return which of these texts say that a user got no coupon, `(n,)` bool.

    `control`: the one word that says so; by default those of `NO_COUPON`, in any case. Raises `DataError` where nobody has that word.
    """
    words, code = np.unique(got.astype(str), return_inverse=True)
    stripped = [word.strip() for word in words.tolist()]
    if control is None:
        return np.array([word.lower() in NO_COUPON for word in stripped], bool)[code]
    if control not in stripped:
        raise DataError(
            f"{source}: no row has coupon {control!r} (--control); it holds {', '.join(map(repr, stripped[:8]))}"
        )
    return np.array([word == control for word in stripped], bool)[code]
