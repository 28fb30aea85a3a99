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
COLUMNS = ("user_id", "coupon", "value", "cost")  # of every plan
AGAIN = "make the plan again with `allocate -o`"
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

    @property
    def is_demo(self) -> bool:
        """Whether it is a plan of the built-in demo campaign, which has no files."""
        return "source" in self.manifest and self.input("offers") is None

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
    if folder.is_file():
        raise UsageError(f"{path} is a file; give the folder that `allocate -o FOLDER` wrote")
    if not folder.is_dir():
        raise UsageError(f"{path}: there is no such folder; give the folder that `allocate -o FOLDER` wrote")
    if not (folder / MANIFEST).is_file():
        raise UsageError(f"{path} is not a plan folder (it has no {MANIFEST}); give one that `allocate -o` wrote")
    if not any((folder / name).exists() for name in (SUMMARY, PLAN)):
        # A model, a market, a simulation: what other commands write has a manifest too.
        raise UsageError(f"{path} is not a plan folder (it has no {SUMMARY}); give one that `allocate -o` wrote")
    summary, manifest = _document(folder / SUMMARY), _document(folder / MANIFEST)
    if summary.get("schema_version") != SCHEMA_VERSION:
        raise DataError(
            f"{folder / SUMMARY}: schema_version is {summary.get('schema_version')!r}, this version reads "
            f"{SCHEMA_VERSION}; {AGAIN}"
        )
    table = folder / PLAN
    if not table.is_file():
        raise DataError(f"{table} is missing; {AGAIN}")
    with in_words(table):
        found = PlanFolder(folder, parquet.read_table(table), summary, manifest)
    _check(found)
    return found


def _check(found: PlanFolder) -> None:
    """Refuse files that cannot have been written together, or not by `allocate`."""
    table, issued = found.path / PLAN, found.summary.get("issued")
    for name in COLUMNS:
        if found.plan.column_names.count(name) != 1:
            raise DataError(f"{table} does not have one column {name!r}; {AGAIN}")
    if issued != found.plan.num_rows:
        told = "nothing of the" if issued is None else f"{issued}"
        raise DataError(
            f"{found.path}: {SUMMARY} tells of {told} offers issued, {PLAN} has {found.plan.num_rows:,} rows; they are not of "
            f"one plan: {AGAIN}"
        )
    objective = found.summary.get("objective")
    if isinstance(objective, bool) or not isinstance(objective, int | float):
        raise DataError(f"{found.path / SUMMARY}: objective is {objective!r}, no number; {AGAIN}")
    source = found.manifest.get("source", {})
    if not isinstance(source, dict):
        raise DataError(f"{found.path / MANIFEST}: source is {source!r}, no object; {AGAIN}")
    text = found.manifest.get("campaign")
    if text is not None and not isinstance(text, str):
        raise DataError(f"{found.path / MANIFEST}: campaign is {text!r}, no text; {AGAIN}")


def _document(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise DataError(f"{path} is missing; {AGAIN}")
    try:
        with in_words(path):
            content = path.read_bytes()
        document = json.loads(content.decode("utf-8"))
    except DataError:
        raise
    except ValueError as error:
        raise DataError(f"{path} is cut short or not JSON ({error}); {AGAIN}") from error
    if not isinstance(document, dict):
        raise DataError(f"{path} holds no JSON object; {AGAIN}")
    return document
