"""Reads a plan folder back: what was issued, what was promised, and what it was made from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet

from allocator.errors import DataError, UsageError
from allocator.tables.faults import in_words
from allocator.tables.output import MANIFEST

PLAN, SUMMARY = "plan.parquet", "summary.json"
SCHEMA_VERSION = 1  # of summary.json


@dataclass(frozen=True, eq=False)
class PlanFolder:
    """A plan folder, read.

    Attributes
    ----------
    path
        Where it lies.
    plan
        The offers issued: `user_id`, `coupon`, then the other columns of the offers.
    summary
        The document of summary.json.
    manifest
        The document of manifest.json.
    """

    path: Path
    plan: pa.Table
    summary: dict[str, Any]
    manifest: dict[str, Any]

    @property
    def campaign_text(self) -> str | None:
        """The campaign file that the plan was made with; `None` where there was none."""
        return self.manifest.get("campaign")

    def input(self, part: str) -> str | None:
        """Return the name of the plan's `offers`, `users` or `campaign`, as its command gave it; `None`: not given."""
        name = self.manifest.get("source", {}).get(part)
        return None if name is None else str(name)


def read_plan_folder(path: str | Path) -> PlanFolder:
    """Read what `allocate -o` wrote.

    Raises
    ------
    UsageError
        Where the path is no plan folder.
    DataError
        Where a file of it is missing, cut short or of another version.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise UsageError(f"{path}: there is no such folder; give the folder that `allocate -o FOLDER` wrote")
    if not (folder / MANIFEST).is_file():
        raise UsageError(f"{path} is not a plan folder (it has no {MANIFEST}); give one that `allocate -o` wrote")
    summary, manifest = _document(folder / SUMMARY), _document(folder / MANIFEST)
    if summary.get("schema_version") != SCHEMA_VERSION:
        raise DataError(
            f"{folder / SUMMARY}: schema_version is {summary.get('schema_version')!r}, this version reads "
            f"{SCHEMA_VERSION}; make the plan again with `allocate -o`"
        )
    table = folder / PLAN
    if not table.is_file():
        raise DataError(f"{table} is missing; make the plan again with `allocate -o`")
    with in_words(table):
        return PlanFolder(folder, parquet.read_table(table), summary, manifest)


def _document(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise DataError(f"{path} is missing; make the plan again with `allocate -o`")
    try:
        with in_words(path):
            document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is cut short or not JSON ({error}); make the plan again with `allocate -o`") from error
    if not isinstance(document, dict):
        raise DataError(f"{path} holds no JSON object; make the plan again with `allocate -o`")
    return document
