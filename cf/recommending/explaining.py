"""Because you bought X: contributions that add up to the score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cf.interactions import Interactions
from cf.model import Model, Reason


@dataclass(frozen=True)
class Explanation:
    """Why an item is recommended to a user: `score` is the sum of the reasons' contributions, the largest first."""

    user: Any
    item: Any
    score: float
    reasons: tuple[Reason, ...]

    def __str__(self) -> str:
        if not self.reasons:
            return f"{self.item}: popular; nothing is known of the user that speaks for it"
        words = {"item": "because of {}", "user": "because {} has it", "popular": "because it is popular"}
        parts = [
            f"{words.get(reason.because, reason.because + ' {}').format(reason.of)} ({reason.contribution:+.4g})"
            for reason in self.reasons[:5]
        ]
        more = len(self.reasons) - 5
        return f"{self.item} ({self.score:.4g}): " + ", ".join(parts) + (f", and {more} more" if more > 0 else "")


def explain(model: Model, history: Interactions, user: Any, item: Any) -> Explanation:
    """Return why the model gives this item (id) its score for this user (id) of the history."""
    known = history.aligned(model.items)
    number = int(known.users.numbers([user], "user")[0])
    place = int(model.items.numbers([item], "item")[0])
    score = float(model.scores(known, np.array([number]))[0, place])
    reasons: Sequence[Reason] = model.reasons(known, number, place)
    ordered = tuple(sorted(reasons, key=lambda reason: -abs(reason.contribution)))
    return Explanation(user, item, score, ordered)
