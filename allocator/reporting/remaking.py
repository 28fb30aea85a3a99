"""The report of a plan folder, made again from what lies in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from allocator.errors import DataError
from allocator.reporting.reading import summary_of
from allocator.reporting.report import page
from allocator.reporting.simulated import AGAIN, KEPT, section_of
from allocator.tables.plan_folder import SUMMARY, PlanFolder


def report_of(folder: PlanFolder, simulated: Mapping[str, Any] | None = None) -> str:
    """Return report.html of a plan folder; with the simulation given, or kept in the folder, where there is one.

    Raises
    ------
    DataError
        Where a file of the folder is damaged.
    """
    # A model may have told the manifest of itself alone.
    model = folder.summary.get("model") or folder.manifest.get("model")
    summary = summary_of({**folder.summary, "model": model}, str(folder.path / SUMMARY))
    kept = folder.path / KEPT
    if simulated is None and kept.is_file():
        try:
            simulated = json.loads(kept.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"{kept} is cut short or not JSON ({error}); {AGAIN}") from error
    part = "" if simulated is None else section_of(simulated, summary.currency, str(kept))
    return page(summary, part)
