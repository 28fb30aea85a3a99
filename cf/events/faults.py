"""Bad events, counted by kind: they take no part, and are never dropped in silence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

FUTURE = "time in the future"
NO_TIME = "time missing or before 1970"
NO_ID = "user or item missing"
NOT_POSITIVE = "quantity not positive, or infinite"
BAD_MONEY = "money negative, missing or infinite"
UNKNOWN_KIND = "unknown kind"
UNKNOWN_ITEM = "unknown item"
UNKNOWN_USER = "unknown user"
DUPLICATE = "duplicate"


@dataclass(frozen=True)
class Faults:
    """How many of the `events` offered were left out, by the first thing that is wrong with each."""

    events: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Events left out."""
        return sum(self.counts.values())

    def __add__(self, other: Faults) -> Faults:
        counts = dict(self.counts)
        for kind, number in other.counts.items():
            counts[kind] = counts.get(kind, 0) + number
        return Faults(self.events + other.events, counts)

    def __str__(self) -> str:
        if not self.total:
            return f"all of {self.events:,} events are sound"
        parts = ", ".join(f"{kind}: {number:,}" for kind, number in sorted(self.counts.items()))
        return f"{self.total:,} of {self.events:,} events left out ({parts})"
