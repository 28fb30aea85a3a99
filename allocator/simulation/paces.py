"""Ways to pace a campaign's budget, compared on the same markets, arrivals, lots and luck."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from allocator.errors import UsageError
from allocator.progress import Progress, silent
from allocator.simulation import estimates
from allocator.simulation.beliefs import Beliefs, Told
from allocator.simulation.estimates import Estimate
from allocator.simulation.pacing import ByPrices, EqualSplit, GreedyFirst, Pacing
from allocator.simulation.waves import Campaign, Run, Stage, hindsight, run

PACINGS: tuple[Pacing, ...] = (EqualSplit(), GreedyFirst(), ByPrices())


@dataclass(frozen=True, eq=False)
class Paced:
    """What each pacing did on each market; money in currency.

    Attributes
    ----------
    names
        Of the pacings.
    earned, cost, spent
        `(markets, pacings)`: true expected value and cost of what was issued, and what was really spent.
    best, budget
        `(markets,)`: what hindsight would have earned, and the budget.
    first
        The runs on the first market.
    beliefs
        Where estimates came from.
    """

    names: tuple[str, ...]
    earned: np.ndarray
    cost: np.ndarray
    spent: np.ndarray
    best: np.ndarray
    budget: np.ndarray
    first: tuple[Run, ...]
    beliefs: str

    def share(self, name: str) -> Estimate:
        """Return what a pacing earns as a share of hindsight, with the 95 % interval over markets."""
        return estimates.mean(self.earned[:, self.names.index(name)] / self.best)

    def ahead(self, name: str, other: str) -> Estimate:
        """Return how much more of hindsight's earnings `name` makes than `other`, in pairs, with the 95 % interval."""
        more = self.earned[:, self.names.index(name)] - self.earned[:, self.names.index(other)]
        return estimates.mean(more / self.best)

    def used(self, name: str) -> Estimate:
        """Return what was really spent as a share of the budget, with the 95 % interval over markets."""
        return estimates.mean(self.spent[:, self.names.index(name)] / self.budget)

    def worst(self, name: str) -> float:
        """Return the largest share of the budget that was really spent."""
        return float((self.spent[:, self.names.index(name)] / self.budget).max())

    def document(self) -> dict[str, Any]:
        """Return everything as plain numbers, for JSON."""
        rows = []
        for place, name in enumerate(self.names):
            rows.append(
                {
                    "pacing": name,
                    "earned": float(self.earned[:, place].mean()),
                    "share_of_hindsight": asdict(self.share(name)),
                    "paced_by_prices_ahead": asdict(self.ahead(ByPrices.name, name)),
                    "cost_share_of_budget": asdict(estimates.mean(self.cost[:, place] / self.budget)),
                    "spent_share_of_budget": asdict(self.used(name)),
                    "spent_share_of_budget_worst": self.worst(name),
                    "first_market": [
                        {key: None if number != number else number for key, number in asdict(wave).items()}
                        for wave in self.first[place].waves
                    ],
                }
            )
        return {
            "schema_version": 1,
            "markets": self.best.size,
            "beliefs": self.beliefs,
            "budget": float(self.budget.mean()),
            "hindsight": float(self.best.mean()),
            "pacings": rows,
        }


def compare_paces(
    campaign: Campaign,
    beliefs: Beliefs | None = None,
    *,
    pacings: Sequence[Pacing] = PACINGS,
    markets: int = 5,
    seed: int = 0,
    progress: Progress = silent,
) -> Paced:
    """Run a campaign with every pacing on each of several markets.

    Raises
    ------
    UsageError
        Where fewer than 2 markets are asked for: there is no interval over one.
    """
    if markets < 2:
        raise UsageError(f"markets is {markets}; an interval over markets needs 2 at least")
    beliefs = Told() if beliefs is None else beliefs
    runs, best, budget = [], [], []
    for number in range(markets):
        progress("markets", number / markets)
        stage = Stage.draw(campaign, seed + number)
        runs.append(tuple(run(stage, pacing, beliefs) for pacing in pacings))
        best.append(hindsight(stage))
        budget.append(stage.budget)

    def of(name: str) -> np.ndarray:
        return np.array([[each.total(name) for each in row] for row in runs])

    names = tuple(pacing.name for pacing in pacings)
    return Paced(names, of("earned"), of("cost"), of("spent"), np.array(best), np.array(budget), runs[0], beliefs.name)
