"""What a planner would believe of a market's offers, learned from its trial as a real one is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa

from allocator.campaign.reading import parse_campaign
from allocator.errors import DataError, UsageError
from allocator.simulation.folder import campaign_text, trial_table, users_table
from allocator.simulation.market import Market

if TYPE_CHECKING:
    from allocator.learning import Candidate


LEAST_USERS = (
    200  # of 60 to 120 users every trial or every third lacked an arm among those held back; of 160, none of six
)


class Estimator(Protocol):
    """Estimates a market's offers from what a shop knows of it: the trial and the users' table, never the truth."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    def estimate(self, market: Market, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return value and cost of every offer, `(n_users, n_coupons)` float64, currency."""
        ...


def check_users(users: int) -> int:
    """Return how many users a market has; raises `UsageError` where its trial is too small to learn from."""
    if users < LEAST_USERS:
        raise UsageError(
            f"a market of {users:,} users is too small to learn from; ask for {LEAST_USERS:,} users or more, 20,000 for "
            "estimates worth comparing"
        )
    return users


def learned_offers(
    market: Market, trial: pa.Table, candidates: Sequence[Candidate] | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Train on a trial of the market, score all its users, and return value and cost, `(n_users, n_coupons)`, currency.

    Raises
    ------
    UsageError
        Where the market has fewer than `LEAST_USERS`, or the trial does not suffice all the same: nobody gave a file that
        could be corrected.
    """
    from allocator.learning import score, train

    check_users(market.n_users)
    campaign = parse_campaign(campaign_text(market))
    try:
        model = train(trial, campaign=campaign, candidates=candidates, seed=seed)
    except DataError as error:
        raise UsageError(
            f"a market of {market.n_users:,} users is too small to learn from ({error}); ask for more users"
        ) from error
    offers = score(model, users_table(market), campaign)
    shape = (market.n_users, len(market.coupons))
    value, cost = (offers[name].to_numpy().reshape(shape) for name in ("value", "cost"))
    return value, cost


@dataclass(frozen=True)
class Learned:
    """What `allocate train` and `allocate score` estimate.

    Attributes
    ----------
    candidates
        The models to try; `None`: those of `allocate train`, the TensorFlow network among them.
    """

    candidates: Sequence[Candidate] | None = None
    name: str = "learned effects"

    def estimate(self, market: Market, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Train on the trial, then score all users."""
        return learned_offers(market, trial_table(market), self.candidates, seed)


def logistic() -> Learned:
    """Return the estimator without the network: it trains in seconds."""
    from allocator.learning import quick_candidates

    return Learned(quick_candidates(), "logistic effects")
