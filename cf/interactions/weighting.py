"""How much a user's events with an item weigh together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse

from cf.errors import UsageError
from cf.events.columns import KINDS


@dataclass(frozen=True)
class Weighting:
    """The weight of a (user, item) pair: a sum over its events, then a transform.

    Attributes
    ----------
    half_life
        Days after which an event counts half; infinite for no decay.
    amount
        What is summed: `visits` (times that the user had the item, whatever the number of units), `quantity` (units) or
        `money` (currency).
    repeats
        What becomes of the sum: it stays (`sum`), its logarithm log(1 + sum) (`log`), or 1 (`once`).
    kinds
        Weight of each kind of event; those not named weigh 0. By default every event counts 1.
    """

    half_life: float = np.inf
    amount: Literal["visits", "quantity", "money"] = "visits"
    repeats: Literal["sum", "log", "once"] = "sum"
    kinds: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if not self.half_life > 0:
            raise UsageError(f"half_life must be above 0 days; got {self.half_life}")
        if self.amount not in ("visits", "quantity", "money"):
            raise UsageError(f"amount must be visits, quantity or money; got {self.amount!r}")
        if self.repeats not in ("sum", "log", "once"):
            raise UsageError(f"repeats must be sum, log or once; got {self.repeats!r}")
        for kind, weight in (self.kinds or {}).items():
            if kind not in KINDS:
                raise UsageError(f"kind {kind!r} is not one of {', '.join(KINDS)}")
            if not 0 <= weight < np.inf:
                raise UsageError(f"the weight of {kind} must be at least 0; got {weight}")

    def kind_weights(self) -> npt.NDArray[np.float64]:
        """Return the weight of each of `KINDS`."""
        if self.kinds is None:
            return np.ones(len(KINDS))
        return np.array([self.kinds.get(kind, 0.0) for kind in KINDS])

    def column(self, quantity: Any, money: Any) -> npt.NDArray[np.float32]:
        """Return what is summed; of size 0 for ones."""
        if self.amount == "money" and money is None:
            raise UsageError("these events have no money to weigh by; use visits or quantity")
        chosen = {"visits": None, "quantity": quantity, "money": money}[self.amount]
        return np.zeros(0, np.float32) if chosen is None else chosen

    def transformed(self, matrix: sparse.csr_matrix) -> sparse.csr_matrix:
        """Apply `repeats` in place."""
        if self.repeats == "log":
            np.log1p(matrix.data, out=matrix.data)
        elif self.repeats == "once":
            matrix.data[:] = 1.0
        return matrix
