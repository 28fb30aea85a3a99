"""Small trials for tests, and the plan that their effects are marked by."""

from __future__ import annotations

import numpy as np

from uplift.effects import Effects
from uplift.synthetic import World
from uplift.trial import Terms, Trial


def tiny(n: int = 600, seed: int = 0) -> Trial:
    """Two coupons of one kind; the second moves those with a high first feature."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    arm = rng.permutation(np.arange(n) % 3)
    chance = 0.3 + 0.2 * (arm == 2) * (x[:, 0] > 0)
    outcome = (rng.random(n) < chance).astype(float)
    return Trial.create(x, arm, outcome, propensity=[1 / 3] * 3, terms=Terms.create([2.0, 5.0]))


def small_world(n: int = 6_000, seed: int = 1, **kind: bool) -> tuple[World, Trial]:
    """A synthetic world with a trial that is too small to be good but large enough to learn something."""
    world = World.draw(seed, **kind)
    return world, world.trial(n, seed=1)[0]


def guess(n: int, coupons: int, seed: int = 0) -> Effects:
    """Effects out of thin air."""
    rng = np.random.default_rng(seed)
    control = rng.uniform(0.1, 0.4, n)
    return Effects.create(control, control[:, None] + rng.normal(0.0, 0.05, (n, coupons)))
