"""Effects are stretched for the plan only where the plan earns more."""

from __future__ import annotations

import numpy as np
import pytest

from uplift import Decision, Effects, Trial, TrialError, decision_spread


def market(n: int = 40_000) -> tuple[Trial, Effects, Decision]:
    """Half the users are moved by 20 points, half are put off by 10; and the effects say so."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=n)
    arm = rng.permutation(np.arange(n) % 2)
    lift = np.where(x > 0, 0.2, -0.1)
    outcome = (rng.random(n) < 0.3 + lift * arm).astype(float)
    trial = Trial.create(x[:, None], arm, outcome, propensity=[0.5, 0.5])
    control = np.full(n, 0.3)
    truth = Effects.create(control, (control + lift)[:, None])
    return trial, truth, Decision(np.full(n, 20.0), np.array([1.0]), np.array([0.1]), budget=0.5)


def test_right_effects_are_left_alone() -> None:
    trial, truth, decision = market()
    assert decision_spread(trial, truth, decision).factor == 1.0


def test_effects_too_timid_to_act_on_are_stretched() -> None:
    trial, truth, decision = market()
    middle = truth.uplift.mean()
    timid = Effects.create(truth.control, truth.control[:, None] + middle + 0.1 * (truth.uplift - middle))
    found = decision_spread(trial, timid, decision)
    assert found.factor > 1.0
    assert found.gain > found.standard_error > 0.0


def test_the_plan_keeps_the_budget_it_expects() -> None:
    trial, truth, decision = market()
    arms = Decision(decision.worth, decision.discount, decision.contact, budget=0.1).choose(truth, decision.worth)
    cost = truth.treated[:, 0] + 0.1
    assert cost[arms > 0].sum() <= 0.1 * len(trial)
    with pytest.raises(TrialError, match="worth"):
        decision_spread(trial, truth, Decision(np.ones(3), np.ones(1), np.ones(1), 1.0))
