"""Ids of any one type, numbered in order of appearance and remembered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cf.errors import EventsError, UsageError

Numbers = npt.NDArray[np.int64]
SAMPLE = 1_000  # values of an object column whose types are looked at
LARGEST = 2**63 - 1


def plain(ids: npt.ArrayLike) -> npt.NDArray[Any]:
    """Return ids as a one-dimensional array: int64 for integers, object for text and everything else."""
    array = np.asarray(ids)
    if array.ndim != 1:
        raise EventsError(f"ids must be one-dimensional; got an array of shape {array.shape}")
    if array.dtype.kind == "u" and array.size and array.max() > LARGEST:
        raise EventsError(f"ids are at most {LARGEST}; got {array.max()}: give them as text")
    if array.dtype.kind in "iub":
        return array.astype(np.int64, copy=False)
    return whole(array) if array.dtype.kind == "f" else array.astype(object)


def whole(array: npt.NDArray[np.floating[Any]]) -> Numbers:
    """Return floats that are integers as int64; others are an error."""
    if not (np.abs(array) < 2.0**63).all() or (array != np.floor(array)).any():  # NaN compares false
        raise EventsError("ids are fractions, infinite or missing; give integers or text")
    return array.astype(np.int64)


def sort_of(values: npt.NDArray[Any]) -> str:
    """Name the type of ids for messages and for the check that two sets of ids can be compared."""
    if values.dtype.kind == "i":
        return "integers"
    first = next((value for value in values[:SAMPLE] if value is not None), None)
    return "text" if isinstance(first, str) or first is None else type(first).__name__


@contextmanager
def hashing() -> Iterator[None]:
    """Say with words that ids (lists, say) cannot be told apart."""
    try:
        yield
    except TypeError as error:
        raise EventsError(f"ids must be integers, text or the like: {error}") from error


class Ids:
    """Numbers 0, 1, ... for the ids of one type; `values[n]`, `(n,)` int64 or object, is the id with number n."""

    __slots__ = ("_index", "values")

    def __init__(self, values: npt.ArrayLike = ()) -> None:
        array = plain(values)
        if array.size == 0:
            array = np.zeros(0, np.int64)
        self.values = array
        self._index = pd.Index(array)
        with hashing():
            unique = self._index.is_unique
        if not unique:
            raise UsageError(f"ids must be distinct; {self._index[self._index.duplicated()][0]!r} comes twice")

    def __len__(self) -> int:
        return self.values.size

    def __repr__(self) -> str:
        return f"Ids({len(self):,} {sort_of(self.values)})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Ids):
            return NotImplemented
        return self is other or np.array_equal(self.values, other.values)

    __hash__ = None  # type: ignore[assignment]

    def _checked(self, ids: npt.ArrayLike) -> npt.NDArray[Any]:
        array = plain(ids)
        if array.size and len(self) and sort_of(array) != sort_of(self.values):
            raise EventsError(f"ids are {sort_of(array)}, but those known are {sort_of(self.values)}")
        return array

    def find(self, ids: npt.ArrayLike) -> Numbers:
        """Return each id's number, or -1 where it is not known; `(n,)` int64."""
        with hashing():
            return np.asarray(self._index.get_indexer(pd.Index(self._checked(ids))), np.int64)

    def numbers(self, ids: npt.ArrayLike, what: str = "id") -> Numbers:
        """Return each id's number; an unknown one is an error that names it."""
        array = plain(ids)
        found = self.find(array)
        if (found < 0).any():
            missing = array[found < 0]
            raise UsageError(f"{missing.size:,} unknown {what}s, such as {missing[0]!r}")
        return found

    def with_new(self, ids: npt.ArrayLike) -> tuple[Ids, Numbers]:
        """Return ids that know these too, new ones numbered last in order of appearance, and their numbers."""
        array = self._checked(ids)
        found = self.find(array)
        unknown = found < 0
        if not unknown.any():
            return self, found
        codes, fresh = pd.factorize(array[unknown])
        if (codes < 0).any():
            raise EventsError(f"{int((codes < 0).sum()):,} ids are missing")
        found[unknown] = len(self) + codes
        known = self.values if len(self) else self.values.astype(fresh.dtype)
        return Ids(np.concatenate([known, fresh])), found
