"""What a solve returns: a status, a plan, and the proof of how good it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from allocator.plan import Plan


class Status(StrEnum):
    """How a solve ended."""

    OPTIMAL = "optimal"  # bound - objective is under 0.01 currency units or within the asked gap
    FEASIBLE = "feasible"  # a plan that keeps every limit; the gap says how much better another could be
    INFEASIBLE = "infeasible"  # proven: no plan keeps every limit
    NO_PLAN = "no_plan"  # stopped before a plan was found


class Proof(StrEnum):
    """Where the bound came from."""

    PRICES = "prices"  # anyone can recompute it from the prices in one pass
    FARKAS = "farkas"  # infeasible: by these prices alone no plan keeps the limits; anyone can recompute it in one pass
    RULES = "rules"  # infeasible: a user's required offers break the rules
    BRANCH_AND_BOUND = "branch_and_bound"  # tighter than the prices' bound; rests on an integer solver's search
    NONE = "none"


class Prices(Mapping[str, float]):
    """What one more unit of each limit would earn, by name or by position. Currency per unit.

    Positive where an at-most limit binds, negative where an at-least limit does, 0 where neither.
    """

    def __init__(self, names: tuple[str, ...], values: np.ndarray) -> None:
        self._index = {name: r for r, name in enumerate(names)}
        self._values = np.asarray(values, dtype=np.float64)

    def __getitem__(self, key: str | int) -> float:
        """Return the price of a limit by its name or its position."""
        return float(self._values[self._index[key] if isinstance(key, str) else key])

    def __iter__(self) -> Iterator[str]:
        """Iterate over the limits' names."""
        return iter(self._index)

    def __len__(self) -> int:
        """Return the number of limits."""
        return len(self._index)

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        """Return the prices in the order of the problem's limits, `(n_limits,)` float64."""
        return np.array(self._values, dtype=dtype, copy=True)  # type: ignore[call-overload]

    def __repr__(self) -> str:
        """Show names and numbers."""
        return f"Prices({dict(self)})"


@dataclass(frozen=True)
class LimitUse:
    """How much of a limit a plan uses."""

    name: str
    measure: str
    used: float
    at_least: float | None
    at_most: float | None
    price: float


@dataclass(frozen=True)
class Conflict:
    """One side of a limit that cannot hold together with others, and the smallest change of it alone that helps.

    Attributes
    ----------
    measure
        What the limit sums, in words.
    side
        `at_least` or `at_most`.
    number
        What the side asks for now, in the measure's unit.
    needed
        The nearest number with which the limits of this conflict hold together; `None` where the search had no time.
    repair
        The nearest number with which all limits of the problem hold together; `None` where no change of this side
        alone is enough (or, unless the diagnosis is `complete`, none was found).
    within
        By how much a smaller change might still do, in the measure's unit; 0: proven smallest, to a hundredth before it
        is rounded to the next hundredth (counts of offers: to the offer).
    """

    name: str
    measure: str
    side: str
    number: float
    needed: float | None
    repair: float | None
    within: float


@dataclass(frozen=True)
class Diagnosis:
    """Why no plan exists.

    Attributes
    ----------
    conflicts
        Limits that cannot hold together; empty where required offers break the rules of a user.
    minimal
        Proven: without any one of them the others can hold together.
    complete
        Whether the smallest changes were all worked out in time.
    further
        Other sets of limits that cannot hold together either, none of which shares a limit's side with another.
    """

    conflicts: tuple[Conflict, ...]
    message: str
    minimal: bool = True
    complete: bool = True
    further: tuple[Diagnosis, ...] = ()


@dataclass(frozen=True, eq=False)
class ChancePiece:
    """A bound on the plans of which two sums lie in a box (see `allocator.risk.surrogate`).

    Attributes
    ----------
    growing, variance
        The box: ranges of D and V. Both `None`: the plans whose worst case keeps the limit.
    offset, per_growing, per_variance
        A linear function of D and V that lies below H in the box, so that what it gives, limited, is a limit that
        all those plans keep.
    prices
        `(n_limits + 3,)`: of the problem's limits, of that one, and of the two ranges (without a box: `(n_limits + 1,)`).
    bound
        No plan in the box earns more, currency.
    """

    growing: tuple[float, float] | None
    variance: tuple[float, float] | None
    offset: float
    per_growing: float
    per_variance: float
    prices: np.ndarray
    bound: float


@dataclass(frozen=True, eq=False)
class ChanceProof:
    """How a budget that holds with a probability was kept and proven.

    Attributes
    ----------
    percentile
        What the plan's spend stays within with the asked probability, currency.
    pieces
        Together their boxes hold every plan; the largest of their bounds is the result's. Empty where there is no plan.
    """

    percentile: float
    pieces: tuple[ChancePiece, ...]


@dataclass(frozen=True, eq=False)
class Result:
    """The outcome of `solve`.

    Attributes
    ----------
    objective
        Value of the plan, currency; NaN without a plan.
    bound
        A number that no feasible plan can exceed, currency; the tighter of `price_bound` (rounded down where all values are
        whole numbers) and what branch and bound proved.
    price_bound
        The bound that anyone can recompute from `prices` in one pass over the offers (`verify` does).
    prices
        One number for each limit, currency per unit. Where `proof` is `FARKAS`, the weights of the limits in the proof:
        whatever is issued, the sum over the limits of weight times (use - number) stays above 0, but any plan
        that keeps the limits would have to bring it to 0 or below.
    proof
        Where `bound` came from.
    passes
        Passes over the offers, in units of one pass over all of them.
    seconds
        Time of `prices`, `integer` and `total`.
    limits
        Use and price of each limit.
    diagnosis
        Only when infeasible: the limits that conflict, and repairs.
    chance
        Where a limit must hold with a probability: how that was proven. `limits` and `prices` then have one entry more,
        of that limit's percentile.
    """

    status: Status
    objective: float
    bound: float
    price_bound: float
    prices: Prices
    proof: Proof
    plan: Plan
    passes: float
    seconds: Mapping[str, float]
    limits: tuple[LimitUse, ...] = ()
    spend: float = 0.0
    diagnosis: Diagnosis | None = None
    notes: tuple[str, ...] = field(default=())
    chance: ChanceProof | None = None

    @property
    def gap(self) -> float:
        """`bound - objective`, currency, never below 0."""
        return max(0.0, self.bound - self.objective)

    @property
    def relative_gap(self) -> float:
        """The gap as a share of the objective's size."""
        return self.gap / max(abs(self.objective), 1e-9) if self.gap else 0.0
