"""Which file, and which row of it, a row of a table came from: what messages about rows say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

MOST_EXAMPLES = 3
FILES = b"files"  # the key in a table's metadata


@dataclass(frozen=True)
class Origin:
    """The files that a table was read from, and the number of rows of each; none for a table in memory."""

    files: tuple[tuple[str, int], ...] = ()

    @classmethod
    def of(cls, table: pa.Table) -> Origin:
        """Return what a table read by `tables.files` knows of its origin."""
        noted = (table.schema.metadata or {}).get(FILES)
        return cls() if noted is None else cls(tuple((name, rows) for name, rows in json.loads(noted)))

    @property
    def metadata(self) -> dict[bytes, bytes]:
        """What a table's schema carries, for `of`."""
        return {FILES: json.dumps(self.files).encode()}

    def rows(self, rows: Sequence[int] | np.ndarray) -> str:
        """Name up to three rows, counted from 1 after the header, as a planner sees them."""
        shown = [int(row) for row in rows[:MOST_EXAMPLES]]
        if len(self.files) < 2:
            return ("row " if len(shown) == 1 else "rows ") + ", ".join(f"{row + 1:,}" for row in shown)
        ends = np.cumsum([number for _, number in self.files])
        places = np.searchsorted(ends, shown, side="right").tolist()
        return ", ".join(
            f"row {row - int(ends[place]) + self.files[place][1] + 1:,} of {self.files[place][0]}"
            for row, place in zip(shown, places, strict=True)
        )

    def row(self, row: int) -> str:
        """Name one row."""
        return self.rows([row])
