"""Rows that say something impossible: left out, counted by kind, with examples; never dropped in silence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from allocator.errors import counted
from allocator.tables.origin import MOST_EXAMPLES

NO_ID = "user_id or item_id missing"
NO_TIME = "time missing, or not written YYYY-MM-DD"
OUT_OF_RANGE = "time before 1970 or after 2105"
FUTURE = "time in the future"
BAD_QUANTITY = "quantity missing, or not above 0"
BAD_AMOUNT = "amount missing, negative or not finite"
BAD_DISCOUNT = "discount negative or not finite"
ADVICE = {
    NO_ID: "guests' purchases cannot be profiled; drop these rows",
    NO_TIME: "write times as 2026-01-31 or 2026-01-31 18:05:00",
    OUT_OF_RANGE: "correct the time, or drop these rows",
    FUTURE: "correct the time, or drop these rows",
    BAD_QUANTITY: "give returns a table of their own",
    BAD_AMOUNT: "give returns a table of their own",
    BAD_DISCOUNT: "write discounts as numbers of at least 0, also where the export has them negative",
}


@dataclass(frozen=True)
class Fault:
    """One kind of fault: how many rows have it, and where the first are."""

    rows: int
    examples: tuple[str, ...]

    def __add__(self, other: Fault) -> Fault:
        return Fault(self.rows + other.rows, (*self.examples, *other.examples)[:MOST_EXAMPLES])


@dataclass(frozen=True)
class Faults:
    """Of `rows` rows, those left out, each by the first thing that is wrong with it."""

    rows: int = 0
    kinds: Mapping[str, Fault] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Rows left out."""
        return sum(fault.rows for fault in self.kinds.values())

    @property
    def sound(self) -> int:
        """Rows kept."""
        return self.rows - self.total

    def __add__(self, other: Faults) -> Faults:
        kinds = dict(self.kinds)
        for kind, fault in other.kinds.items():
            kinds[kind] = kinds[kind] + fault if kind in kinds else fault
        return Faults(self.rows + other.rows, kinds)

    def without(self, kind: str) -> Faults:
        """Return the same without the rows of one kind: where it is no fault."""
        kinds = {name: fault for name, fault in self.kinds.items() if name != kind}
        return Faults(self.rows - self.total + sum(fault.rows for fault in kinds.values()), kinds)

    def told(self, path: str) -> list[str]:
        """Return the sentences, each naming the table that the rows were left out of."""
        return [f"{path}: left out {sentence}" for sentence in self.sentences()]

    def sentences(self) -> list[str]:
        """Return a sentence for each kind, the most frequent first."""
        ordered = sorted(self.kinds.items(), key=lambda item: (-item[1].rows, item[0]))
        return [
            f"{counted(fault.rows, 'row', 'rows')}: {kind} ({', '.join(fault.examples)}); {ADVICE[kind]}"
            for kind, fault in ordered
        ]

    def __str__(self) -> str:
        if not self.total:
            return f"all of {counted(self.rows, 'row', 'rows')} are sound"
        return f"{self.total:,} of {self.rows:,} rows left out:\n" + "\n".join(f"  {line}" for line in self.sentences())


class Sieve:
    """Sorts the rows of one batch into sound ones and faults; the first fault of a row counts.

    Attributes
    ----------
    good
        `(n,)` bool.
    """

    def __init__(self, n_rows: int, row: Callable[[int], str]) -> None:
        self.good = np.ones(n_rows, dtype=bool)
        self._row = row
        self._kinds: dict[str, Fault] = {}

    def refuse(self, kind: str, bad: np.ndarray) -> None:
        """Leave out these rows, where they were good so far."""
        fresh = np.flatnonzero(self.good & bad)
        if fresh.size:
            found = Fault(int(fresh.size), tuple(self._row(int(r)) for r in fresh[:MOST_EXAMPLES]))
            self._kinds[kind] = self._kinds[kind] + found if kind in self._kinds else found
            self.good[fresh] = False

    @property
    def faults(self) -> Faults:
        """What was left out."""
        return Faults(int(self.good.size), dict(self._kinds))
