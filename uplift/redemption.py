"""Who redeems which coupon: known of those who were given one, so coupons are compared with each other, not with none."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from uplift.baselines import Boosting, TLearner
from uplift.errors import TrialError
from uplift.features import Features
from uplift.models import Fitted
from uplift.network.model import UpliftNetwork
from uplift.trial import OutcomeKind, Trial


@dataclass(frozen=True, eq=False)
class FittedRedemption:
    """A trained model of redemption.

    Attributes
    ----------
    model
        Of the coupons, the first as `control`; with a single coupon also as the only other arm.
    coupons
        Number of coupons.
    """

    model: Fitted
    coupons: int

    def predict(self, features: Any, *, pair_features: Any = None) -> np.ndarray:
        """`(n, coupons)` chance that a user who is given the coupon redeems it; `pair_features` as in the trial."""
        given = features if pair_features is None else Features.create(features, pairs=pair_features)
        effects = self.model.predict(_beside_the_first(given))
        if self.coupons == 1:
            return effects.control[:, None]
        return np.column_stack([effects.control, effects.treated])


@dataclass(frozen=True)
class Redemption:
    """Learn redemption with the network: the first coupon takes the place of control."""

    network: UpliftNetwork = field(default_factory=UpliftNetwork)

    def fit(self, trial: Trial, redeemed: Any, *, seed: int = 0) -> FittedRedemption:
        """Train on the users of `trial` who were given a coupon; `redeemed` `(n,)` 0 and 1, 0 for control.

        Raises
        ------
        TrialError
            Where somebody in control redeemed, or `redeemed` is not 0 and 1.
        """
        values = trial.with_outcome(redeemed, OutcomeKind.BINARY).outcome
        given = trial.arm > 0
        if values[~given].any():
            raise TrialError(f"{int(values[~given].sum()):,} users in control redeemed a coupon; check `arm`")
        rows = np.flatnonzero(given)
        chances = trial.propensities()[rows, 1:]
        if trial.n_coupons == 1:
            return FittedRedemption(_single(trial, rows, values, seed), 1)
        among = Trial.create(
            _beside_the_first(trial.features.take(rows)),
            trial.arm[rows] - 1,
            values[rows],
            kind=OutcomeKind.BINARY,
            propensity=chances / chances.sum(axis=1, keepdims=True),
            weight=trial.weight[rows],
        )
        return FittedRedemption(self.network.fit(among, seed=seed), trial.n_coupons)


def _beside_the_first(features: Any) -> Any:
    """Pair features of the first coupon become features of the user, those of the others differences to them."""
    if not isinstance(features, Features) or features.pairs is None:
        return features
    first = features.pairs[:, 0]
    names = tuple(f"first coupon's pair feature {j}" for j in range(first.shape[1]))
    others = features.pairs[:, 1:] - first[:, None]
    return Features((*features.names, *names), (*features.columns, *first.T), others if others.shape[1] else None)


def _single(trial: Trial, rows: np.ndarray, redeemed: np.ndarray, seed: int) -> Fitted:
    """One coupon has no other to be compared with: a model of the outcome alone, by boosting."""
    mine = trial.take(rows)
    part = dataclasses.replace(
        mine, features=_beside_the_first(mine.features), outcome=redeemed[rows], kind=OutcomeKind.BINARY, steps=()
    )
    # Both arms of the learner are this coupon.
    twice = dataclasses.replace(
        part.take(np.tile(np.arange(rows.size), 2)),
        arm=np.repeat([0, 1], rows.size),
        propensity=np.array([[0.5, 0.5]]),
    )
    return TLearner(Boosting()).fit(twice, seed=seed)
