"""Users unlike any that a model was trained on, and coupons that no trial had: counted, so that nobody is surprised."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from allocator.shares import percent
from uplift import Features

BEYOND = 0.25  # of the training's range


@dataclass
class Unlike:
    """Counts over the users seen so far.

    Attributes
    ----------
    users
        Seen.
    strange
        With at least one value far from all that training saw: a level of a text that it never saw, a number further out
        than `BEYOND` of the training's range, a missing one where none was.
    by_feature
        How many for each feature.
    """

    users: int = 0
    strange: int = 0
    by_feature: dict[str, int] = field(default_factory=dict)

    def add(self, schema: Any, features: Features, growing: Container[str] = ()) -> None:
        """Count a block of users; `schema` is the model's.

        Features that grow by the calendar alone are never too high: whoever was there longest in the trial is there
        longest still, and is predicted as such.
        """
        given = dict(zip(features.names, features.columns, strict=True))
        odd = np.zeros(len(features), dtype=bool)
        for column in schema.columns:
            values = given[column.name]
            if values.dtype.kind == "f":
                mine = _strange_numbers(column, values, column.name in growing)
            else:
                mine = _strange_texts(column, values)
            if mine.any():
                self.by_feature[column.name] = self.by_feature.get(column.name, 0) + int(mine.sum())
            odd |= mine
        self.users += len(features)
        self.strange += int(odd.sum())

    def sentence(self) -> str | None:
        """Say how many there are and by which features; `None` where there are none."""
        if not self.strange:
            return None
        worst = sorted(self.by_feature.items(), key=lambda item: -item[1])[:3]
        words = ", ".join(f"{name} ({count:,})" for name, count in worst)
        return (
            f"{self.strange:,} of {self.users:,} users ({percent(self.strange / self.users)}) are unlike anyone in the training, by "
            f"{words}: their predictions are those of the nearest that was seen"
        )


def _strange_numbers(column: Any, values: np.ndarray, grows: bool) -> np.ndarray:
    low, high = column.knots[0], column.knots[-1]
    # The largest of many users is beaten by the next many: a little beyond is no news.
    margin = BEYOND * (high - low)
    strange = values < low - margin
    if not grows:
        strange |= values > high + margin
    return np.asarray(strange if column.missing else strange | np.isnan(values))


def _strange_texts(column: Any, values: np.ndarray) -> np.ndarray:
    known = {*column.levels, *column.rare, None}
    return np.array([value not in known for value in values], dtype=bool)
