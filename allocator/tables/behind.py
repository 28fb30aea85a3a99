"""What a file of offers says of the model that made it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from allocator.errors import DataError
from allocator.tables.faults import in_words
from allocator.tables.files import files_of, format_of

MODEL, EFFECTS = b"allocate.model", b"allocate.effects"  # keys of the Parquet schema's metadata
OBSERVATIONAL = "observational"


def model_behind(path: str | Path) -> dict[str, Any] | None:
    """Return what `allocate score` noted of the model (see `reporting.findings.Findings.model`); `None`: nothing.

    Raises
    ------
    DataError
        Where a note is there but cannot be read.
    """
    found: list[dict[str, Any]] = []
    for file in files_of(path):
        if format_of(file) != "parquet":
            return None
        with in_words(file):
            metadata = pq.read_schema(file).metadata or {}
        said = _said(file, metadata)
        if said is not None and said not in found:
            found.append(said)
    if not found:
        return None
    first = found[0]
    if len(found) > 1:
        # One that is observational is enough: the plan's sums rest on it too.
        note = f"The offers come from {len(found)} models; measures and calibration are those of the first."
        watched = any(said.get(OBSERVATIONAL) for said in found)
        return {**first, OBSERVATIONAL: watched, "notes": [note, *first.get("notes", ())]}
    return first


def _said(file: Path, metadata: dict[bytes, bytes]) -> dict[str, Any] | None:
    if MODEL not in metadata:
        if metadata.get(EFFECTS) == OBSERVATIONAL.encode():
            return {OBSERVATIONAL: True}
        return None
    try:
        document = json.loads(metadata[MODEL])
    except ValueError as error:
        raise DataError(f"{file}: what it says of its model is damaged ({error}); score the users again") from error
    if not isinstance(document, dict):
        raise DataError(f"{file}: what it says of its model is no JSON object; score the users again")
    return document
