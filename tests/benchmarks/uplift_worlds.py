"""Synthetic trials by another law than `uplift.synthetic`, so that no model is marked by its own assumptions alone.

Effects are added on the scale of probability, sensitivity and taste are steps and boxes as a decision tree would draw
them, the response to depth is a saturating curve that differs by kind, arms are unequal, and features are of mixed
type with missing values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uplift.synthetic import Truth
from uplift.trial import Terms, Trial

_TOWNS = np.array(["north", "south", "east", "west", "centre"])


@dataclass(frozen=True, eq=False)
class BoxWorld:
    """A market drawn with a seed; three kinds of coupon in two depths each."""

    seed: int
    terms: Terms

    @classmethod
    def draw(cls, seed: int) -> BoxWorld:
        """Draw a world."""
        return cls(
            seed, Terms.create([5.0, 10.0, 3.0, 6.0, 4.0, 12.0], ["food", "food", "toys", "toys", "home", "home"])
        )

    def users(self, n: int, seed: int) -> tuple[dict[str, np.ndarray], Truth]:
        """Draw users: 18 numbers of several shapes and two texts, and the truth."""
        law, rng = np.random.default_rng([self.seed, 31]), np.random.default_rng([seed, 32])
        u = rng.random((n, 18))
        shared = rng.random(n)[:, None]
        u[:, ::3] = 0.7 * u[:, ::3] + 0.3 * shared
        town = rng.integers(0, 5, n)
        order = law.permutation(18)

        def box(count: int) -> np.ndarray:
            """Sum of boxes in two features each, from 0 to 1."""
            total = np.zeros(n)
            for _ in range(count):
                i, j = law.choice(order[:9], 2, replace=False)
                a, b = law.uniform(0.2, 0.7, 2)
                total += law.uniform(0.3, 1.0) * (u[:, i] > a) * (1.0 / (1.0 + np.exp(-12 * (u[:, j] - b))))
            return total / count

        base = 0.03 + 0.3 * box(4) + 0.12 * u[:, order[0]] ** 2 + law.uniform(0.0, 0.08, 5)[town]
        base *= 0.15 / base.mean()
        sensitivity = 0.45 * box(3) ** 1.5
        dislike = 0.05 * box(2)
        saturation = law.uniform(2.0, 8.0, 3)
        columns = []
        for kind in range(3):
            taste = 0.3 + 1.4 * box(2) + law.uniform(-0.2, 0.2, 5)[town]
            for k in np.flatnonzero(self.terms.group == kind):
                depth = self.terms.depth[k] / (self.terms.depth[k] + saturation[kind])
                columns.append(sensitivity * taste * depth - dislike + 0.004)
        base = np.clip(base, 0.01, 0.8)
        treated = np.clip(base[:, None] + np.column_stack(columns), 0.005, 0.95)
        revenue = 30.0 + 40.0 * u[:, order[3]] * u[:, order[10]]
        features: dict[str, np.ndarray] = {}
        for j in range(18):
            column = [u[:, j], -np.log(1.0 - 0.999 * u[:, j]), np.floor(8 * u[:, j])][j % 3]
            features[f"x{j}"] = np.where(rng.random(n) < 0.03, np.nan, column)
        features["town"] = _TOWNS[town]
        features["device"] = np.array(["app", "web"])[rng.integers(0, 2, n)]
        return features, Truth(base, treated, revenue)

    def trial(self, n: int, seed: int) -> tuple[Trial, Truth]:
        """Draw a randomised trial in which control is larger than the other arms."""
        features, truth = self.users(n, seed)
        rng = np.random.default_rng([seed, 33])
        chances = np.array([0.28, 0.12, 0.12, 0.12, 0.12, 0.12, 0.12])
        arm = rng.choice(7, n, p=chances)
        chance = np.column_stack([truth.control, truth.treated])[np.arange(n), arm]
        outcome = (rng.random(n) < chance).astype(np.float64)
        return Trial.create(features, arm, outcome, propensity=chances, terms=self.terms), truth
