"""Calibration for the decision: effects are ranked by a planner under a budget, so they are tuned for what the plan earns.

A likelihood weighs all users alike; a plan only asks who is worth a coupon. Here the spread of the effects around their
averages is scaled by the factor whose plan earns most by doubly robust scores (the decision as the loss: Elmachtoub and
Grigas 2022, 10.1287/mnsc.2020.3922; for budgets Zhou et al. 2023, "Direct Heterogeneous Causal Learning for Resource
Allocation Problems in Marketing", AAAI). It is kept only where users not used for the choice confirm it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uplift.effects import Effects
from uplift.errors import TrialError
from uplift.metrics.policy import dr_scores
from uplift.splitting import split_halves
from uplift.trial import Trial

_FACTORS = np.array([0.4, 0.6, 0.8, 1.0, 1.25, 1.6, 2.0])


@dataclass(frozen=True, eq=False)
class Decision:
    """What the planner will pay and earn.

    Attributes
    ----------
    worth
        `(n,)` what one unit of the outcome earns from each user of the trial.
    discount
        `(coupons,)` what a coupon takes off one unit of the outcome.
    contact
        `(coupons,)` what issuing a coupon costs.
    budget
        Expected discounts and contacts that may be spent a user, on average.
    """

    worth: np.ndarray
    discount: np.ndarray
    contact: np.ndarray
    budget: float

    def choose(self, effects: Effects, worth: np.ndarray) -> np.ndarray:
        """`(n,)` arm of each user (0 none) that earns most at the price of budget at which all of them fit."""
        cost = effects.treated * self.discount + self.contact
        value = effects.uplift * worth[:, None] - cost
        allowed = self.budget * worth.size

        def at(price: float) -> tuple[np.ndarray, float]:
            reduced = value - price * cost
            best = reduced.argmax(axis=1)
            rows = np.arange(best.size)
            arms = np.where(reduced[rows, best] > 0, best + 1, 0)
            return arms, float(np.where(arms > 0, cost[rows, best], 0.0).sum())

        arms, spent = at(0.0)
        if spent <= allowed:
            return arms
        low, high = 0.0, 1.0
        while at(high)[1] > allowed:
            high *= 2.0
        for _ in range(40):
            middle = (low + high) / 2.0
            low, high = (middle, high) if at(middle)[1] > allowed else (low, middle)
        return at(high)[0]

    def earned(self, scores: np.ndarray, worth: np.ndarray, arms: np.ndarray) -> np.ndarray:
        """`(n,)` unbiased score of what each user's arm earns over none, by `dr_scores`."""
        rows = np.flatnonzero(arms > 0)
        k = arms[rows] - 1
        made = np.zeros(arms.size)
        made[rows] = (scores[rows, arms[rows]] - scores[rows, 0]) * worth[rows]
        made[rows] -= scores[rows, arms[rows]] * self.discount[k] + self.contact[k]
        return made


@dataclass(frozen=True)
class Spread:
    """How far to stretch effects around their averages.

    Attributes
    ----------
    factor
        1 leaves them as they are.
    averages
        `(coupons,)` that they are stretched around.
    gain, standard_error
        What the factor earned over 1 a user, currency, on users not used to choose it; 0 where it was not kept.
    """

    factor: float
    averages: tuple[float, ...]
    gain: float
    standard_error: float

    def apply(self, effects: Effects) -> Effects:
        """Stretch effects; the outcome without a coupon stays."""
        averages = np.array(self.averages)
        uplift = averages + self.factor * (effects.uplift - averages)
        return Effects(effects.control, effects.control[:, None] + uplift, effects.standard_error * self.factor)


def decision_spread(trial: Trial, effects: Effects, decision: Decision, *, seed: int = 0) -> Spread:
    """Choose the factor on one half of the users, and keep it if the other half earns more, by a standard error.

    `effects` must be out of fold.

    Raises
    ------
    TrialError
        Where the decision's arrays do not fit the trial.
    """
    if decision.worth.shape != (len(trial),) or decision.discount.shape != (trial.n_coupons,):
        raise TrialError(f"the decision needs worth ({len(trial)},) and discount ({trial.n_coupons},)")
    averages = tuple(np.average(effects.uplift, axis=0, weights=trial.weight).tolist())
    scores = dr_scores(trial, effects)
    halves = split_halves(trial, np.random.default_rng([seed, 15]))

    def earned(factor: float, rows: np.ndarray) -> np.ndarray:
        made = Spread(factor, averages, 0.0, 0.0).apply(effects.take(rows))
        worth = decision.worth[rows]
        return trial.weight[rows] * decision.earned(scores[rows], worth, decision.choose(made, worth))

    means = [float(earned(factor, halves[0]).mean()) for factor in _FACTORS]
    factor = float(_FACTORS[int(np.argmax(means))])
    difference = earned(factor, halves[1]) - earned(1.0, halves[1])
    gain, error = float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(difference.size))
    if factor == 1.0 or gain <= error:
        return Spread(1.0, averages, 0.0, 0.0)
    return Spread(factor, averages, gain, error)
