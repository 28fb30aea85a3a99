"""Parquet files as a stream of events in batches: as many passes as asked for, one batch in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cf.errors import EventsError
from cf.events.columns import Events, choose_columns


@dataclass(frozen=True)
class EventFiles:
    """Events in one Parquet file or in all `*.parquet` of a folder (in the order of their names).

    `rows` are read at a time, so that memory does not grow with the files.
    """

    path: str | Path
    columns: Mapping[str, str] | None = None
    rows: int = 1_000_000

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise EventsError(f"rows must be at least 1; got {self.rows}")
        if not self.files():
            raise EventsError(f"no Parquet file at {self.path}")

    def files(self) -> list[Path]:
        """Return the files, sorted by name."""
        path = Path(self.path)
        return sorted(path.glob("*.parquet")) if path.is_dir() else [path] if path.is_file() else []

    def __iter__(self) -> Iterator[Events]:
        for file in self.files():
            try:
                with pq.ParquetFile(file, pre_buffer=False) as opened:
                    chosen = choose_columns(opened.schema_arrow.names, self.columns)
                    for batch in opened.iter_batches(self.rows, columns=list(chosen.values())):
                        yield Events(
                            **{
                                field: batch.column(name).to_numpy(zero_copy_only=False)
                                for field, name in chosen.items()
                            }
                        )
            except (pa.ArrowInvalid, OSError) as error:
                raise EventsError(f"{file} cannot be read as Parquet: {error}") from error
