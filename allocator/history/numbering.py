"""Ids become numbers, a batch at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from allocator.errors import DataError, counted
from allocator.kernels import hashing
from allocator.tables.frames import is_text, one_chunk, values_type
from allocator.tables.origin import MOST_EXAMPLES


class Numbering:
    """Numbers ids from 0 in the order in which they first appear; integers or text, never both.

    Parameters
    ----------
    is_text
        Whether the ids are text.
    """

    def __init__(self, is_text: bool) -> None:
        self.is_text = is_text
        self._texts: dict[str, int] = {}
        self._slots = np.full(1 << 10, hashing.EMPTY, np.int32)
        self._known = np.zeros(1 << 9, np.int64)
        self._count = 0

    def __len__(self) -> int:
        return len(self._texts) if self.is_text else self._count

    @property
    def ids(self) -> pa.Array:
        """The ids in the order of their numbers."""
        return pa.array(list(self._texts), pa.string()) if self.is_text else pa.array(self._known[: self._count].copy())

    def add(self, ids: pa.Array) -> np.ndarray:
        """Return each id's number, `(n,)` int32; new ids get the next ones."""
        return self._numbers(ids, fresh=True)

    def find(self, ids: pa.Array) -> np.ndarray:
        """Return each id's number, `(n,)` int32; -1 where it is not known."""
        return self._numbers(ids, fresh=False)

    def _numbers(self, ids: pa.Array, fresh: bool) -> np.ndarray:
        if len(ids) == 0:
            return np.empty(0, np.int32)
        if self.is_text:
            return self._of_texts(ids, fresh)
        keys = ids.cast(pa.int64()).to_numpy(zero_copy_only=False)
        out = np.empty(keys.size, np.int32)
        if not fresh:
            hashing.find(self._slots, self._known, keys, out)
            return out
        done = 0
        while True:
            self._count, more = hashing.insert(self._slots, self._known, self._count, keys[done:], out[done:])
            done += more
            if done == keys.size:
                return out
            self._known = np.concatenate([self._known, np.zeros_like(self._known)])
            self._slots = np.full(2 * self._slots.size, hashing.EMPTY, np.int32)
            hashing.rebuild(self._slots, self._known, self._count)

    def _of_texts(self, ids: pa.Array, fresh: bool) -> np.ndarray:
        coded = ids if pa.types.is_dictionary(ids.type) else ids.dictionary_encode()
        indices = coded.indices.to_numpy(zero_copy_only=False)
        dictionary = coded.dictionary
        if len(dictionary) > len(indices):  # a file's codes may know many more than this batch holds
            used, indices = np.unique(indices, return_inverse=True)
            dictionary = dictionary.take(pa.array(used))
        words = dictionary.to_pylist()
        known = self._texts
        if fresh:
            # In the order of the rows, not of the dictionary: the numbers must not depend on how a file is coded.
            rank = np.full(len(words), len(indices), np.int64)
            np.minimum.at(rank, indices, np.arange(len(indices)))
            numbers = np.empty(len(words), np.int32)
            for place in np.argsort(rank, kind="stable"):
                if rank[place] < len(indices):
                    numbers[place] = known.setdefault(words[place], len(known))
        else:
            numbers = np.fromiter((known.get(word, -1) for word in words), np.int32, len(words))
        return numbers[indices]


def numbering_of(ids: Any, what: str) -> Numbering:
    """Number a list of distinct ids in its order.

    Parameters
    ----------
    ids
        Arrow, NumPy or any sequence; integers or text.
    what
        What a message calls the list.

    Raises
    ------
    DataError
        Where ids are missing, doubled or of another type.
    """
    column = ids_array(ids, what)
    numbering = Numbering(is_text(column.type))
    numbers = numbering.add(column)
    if len(numbering) < len(column):
        seen = np.zeros(len(numbering), dtype=bool)
        first = np.zeros(len(column), dtype=bool)
        first[np.unique(numbers, return_index=True)[1]] = True
        seen = ~first
        examples = ", ".join(str(value) for value in column.filter(pa.array(seen))[:MOST_EXAMPLES].to_pylist())
        raise DataError(
            f"{what}: {counted(len(column) - len(numbering), 'id is', 'ids are')} there more than once (e.g. {examples}); "
            "keep one row each"
        )
    return numbering


def ids_array(ids: Any, what: str) -> pa.Array:
    """Return ids as Arrow int64 or string; raises `DataError` where they are neither, or where some are missing."""
    if isinstance(ids, pa.Array | pa.ChunkedArray):
        column = one_chunk(ids)
    else:
        column = pa.array(np.asarray(ids).tolist() if not isinstance(ids, np.ndarray) or ids.dtype == object else ids)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = values_type(column.type)
    if len(column) == 0 and pa.types.is_null(kind):
        return pa.array([], pa.int64())
    if column.null_count:
        raise DataError(f"{what}: {counted(column.null_count, 'id is', 'ids are')} missing; drop those rows")
    if is_text(kind):
        return column.cast(pa.string())
    if pa.types.is_integer(kind):
        return column.cast(pa.int64())
    raise DataError(f"{what}: ids must be integers or text, not {kind}")
