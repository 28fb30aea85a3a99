"""Distinct and repeated keys of a stream in bounded memory: counted exactly while few, estimated from a sample beyond."""

from __future__ import annotations

import numpy as np

from allocator.kernels import hashing

SLOTS = 1 << 23  # 12 bytes each: 100 MB, exact up to 4 million keys


class KeySample:
    """Keeps the keys whose hash falls in a share of all hashes; the share is halved whenever the table is half full.

    After adaptive sampling (Flajolet, *Computing* 43, 1990, doi:10.1007/BF02241657): every distinct key has the same
    chance to be kept, and is kept with all of its repetitions.

    Parameters
    ----------
    slots
        Of the table, a power of two.
    """

    def __init__(self, slots: int = SLOTS) -> None:
        self._slots = np.zeros(slots, np.uint64)
        self._counts = np.zeros(slots, np.uint32)
        self._used = 0
        self._shift = 0

    def add(self, keys: np.ndarray) -> None:
        """Add a batch of keys, `(n,)` uint64, well mixed and not 0."""
        begin = 0
        while begin < keys.size:
            self._used, begin = hashing.sample(keys, self._slots, self._counts, self._used, self._shift, begin)
            if begin < keys.size:
                self._shift += 1
                self._slots, self._counts, self._used = hashing.thin(self._slots, self._counts, self._shift)

    @property
    def is_exact(self) -> bool:
        """Whether the numbers are counts, not estimates."""
        return self._shift == 0

    @property
    def distinct(self) -> int:
        """Keys that differ; the estimate's standard error is below 0.1 %."""
        return self._used << self._shift

    @property
    def repeated(self) -> int:
        """How many keys were there before."""
        return int(hashing.repeats(self._counts)) << self._shift
