"""What a planner believes of a market's offers from wave to wave, and the log that it may learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa

from allocator.simulation.estimating import learned_offers
from allocator.simulation.folder import trial_table, users_table
from allocator.simulation.market import NOTHING, Market
from allocator.simulation.truth import Outcomes

if TYPE_CHECKING:
    from allocator.learning import Candidate


class Beliefs(Protocol):
    """Estimates a market's offers at the start of a wave."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    def estimate(self, market: Market, logs: Sequence[pa.Table], seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return value and cost of every offer, `(n_users, n_coupons)` float64, currency.

        `logs` has a table for each earlier wave, see `logged`.
        """
        ...


@dataclass(frozen=True)
class Told:
    """The market's own expectations, as users are at the start of the wave."""

    name: str = "true effects"

    def estimate(self, market: Market, logs: Sequence[pa.Table], seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the truth."""
        return market.truth.value, market.truth.cost


@dataclass(frozen=True)
class Refitted:
    """Effects learned from the trial of the past, and again in each wave from what lots decided in the waves before.

    Attributes
    ----------
    candidates
        The models to try; `None`: those of `allocate train`.
    """

    candidates: Sequence[Candidate] | None = None
    name: str = "learned effects, refitted"

    def estimate(self, market: Market, logs: Sequence[pa.Table], seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Train on the trial and on the logs of waves in which every coupon was possible; score all users."""
        # Where no lots were drawn, a user's coupon follows from what is known of them, and nothing can be learned from it.
        usable = [log for log in logs if log.num_rows and float(np.max(log["propensity"].to_numpy())) < 1.0]
        trial = trial_table(market)
        table = pa.concat_tables([trial, *(log.select(trial.column_names).cast(trial.schema) for log in usable)])
        return learned_offers(market, table, self.candidates, seed)


def refitted_logistic() -> Refitted:
    """Return beliefs that are learned without the network: seconds a wave."""
    from allocator.learning import quick_candidates

    return Refitted(quick_candidates(), "logistic effects, refitted")


def logged(
    market: Market, rows: np.ndarray, arm: np.ndarray, planned: np.ndarray, share: float, outcomes: Outcomes
) -> pa.Table:
    """Return a wave's log in the form of a trial: what users were known for, what they got, its chance, what they did.

    Parameters
    ----------
    rows
        `(n,)` the users for whom lots could have been drawn.
    arm, planned
        `(n_users,)` what they got, and what they get where lots do not decide; -1: nothing.
    share
        For whom lots were drawn; every coupon and none was then as likely.
    """
    coupons = len(market.coupons)
    names = np.array([*market.coupon_ids, "control"], dtype=object)  # -1, nothing, is the last
    known = users_table(market).take(pa.array(rows))
    chance = share / (coupons + 1) + (1.0 - share) * (arm[rows] == planned[rows])
    first = market.first_day(market.period)
    return pa.table(
        {
            "user_id": rows.astype(np.int64),
            "coupon": pa.array(names[np.where(arm[rows] == NOTHING, coupons, arm[rows])].tolist(), pa.string()),
            "time": pa.array([first] * rows.size, pa.date32()),
            **{name: known[name] for name in known.column_names if name != "user_id"},
            "purchased": outcomes.purchased[rows].astype(np.int8),
            "spend": np.round(outcomes.spend[rows], 2),
            "redeemed": outcomes.redeemed[rows].astype(np.int8),
            "propensity": chance,
            "discount": np.round(outcomes.discount[rows], 2),
        }
    )
