"""What plans earn by the size of the trial they were learned from, as a table that README shows."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.uplift_value import Marks, mark
from uplift.synthetic import World

README = Path(__file__).resolve().parents[2] / "README.md"
MARKS = ("<!-- uplift:start -->", "<!-- uplift:end -->")
_NEW_USERS = 50_000
_SHOWN = ("net_half", "net_more", "fixed", "missed", "covered", "seconds")  # columns, as the head names them


def run(models: list[Any], sizes: list[int], worlds: list[int], first: int, *, readme: bool) -> None:
    """Print the table of `worlds` (so many at each size) and, if asked, put it into README."""
    lines = [
        "| users in the trial, worlds | model | net, 0.5 % | net, 1.5 % | fixed cost | spend missed | 90 % intervals hold | CPU s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    print("\n".join(lines), flush=True)
    for size, count in zip(sizes, worlds, strict=True):
        table: dict[str, list[Marks]] = {}
        for seed in range(first, first + count):
            world = World.draw(seed)
            trial, _ = world.trial(size, seed=1)
            features, truth = world.users(_NEW_USERS, seed=2)
            for model in models:
                start = time.process_time()
                fitted = model.fit(trial, seed=seed)
                seconds = time.process_time() - start
                made = mark(fitted.predict(features), truth, world.terms.depth, seconds)
                table.setdefault(model.name, []).append(made)
        for name, rows in table.items():
            lines.append(_line(f"{size:,}, {count}", name, rows))
            print(lines[-1], flush=True)
    if readme:
        before, rest = README.read_text(encoding="utf-8").split(MARKS[0])
        after = rest.split(MARKS[1])[1]
        text = "\n".join(lines)
        README.write_text(f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{after}", encoding="utf-8")


def _line(first: str, name: str, rows: list[Marks]) -> str:
    def cell(part: str, digits: int = 0) -> str:
        values = np.array([getattr(row, part) for row in rows])
        if np.isnan(values).any():
            return ""
        error = f" ({values.std(ddof=1) / values.size**0.5:.{digits}f})" if values.size > 1 else ""
        return f"{values.mean():.{digits}f}{error}"

    parts = [cell(name, 1 if name == "missed" else 0) for name in _SHOWN]
    return f"| {first} | {name} | {' | '.join(parts)} |"
