"""Four more laws of synthetic trials, none of the form that a candidate supposes, each drawn anew with every seed.

trees         base, contact and sensitivity are random trees of four levels: deep interactions, flat pieces
elsewhere     effects hang on features that say nothing of the outcome; heavy tails; unequal arms
saturation    one kind in six depths; each user has a depth from which the coupon works, then it saturates
hurt          a third of the users buys less with any coupon, by a rule of two features; the others buy more
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from uplift.synthetic import BASE_RATE, Truth
from uplift.trial import Terms, Trial

_P = 20  # features
_SAMPLE = 20_000

Law = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]
# z (n, p) -> base log odds before the intercept (n,), effects on the log odds (n, coupons), log revenue (n,)


@dataclass(frozen=True, eq=False)
class ShapeWorld:
    """A market drawn with a seed.

    Attributes
    ----------
    law
        What the features do, see `Law`.
    look
        What the features look like to a model, of standard normal ones.
    share
        `(arms,)` chances of the arms.
    """

    seed: int
    terms: Terms
    law: Law
    look: Callable[[np.ndarray], np.ndarray]
    share: np.ndarray
    intercept: float

    @classmethod
    def draw(cls, kind: str, seed: int) -> ShapeWorld:
        """Draw a world of a kind; the same seed gives the same one."""
        rng = np.random.default_rng([seed, 50, sorted(_KINDS).index(kind)])
        terms, law, look, share = _KINDS[kind](rng)
        base = law(rng.normal(size=(_SAMPLE, _P)))[0]
        low, high = -10.0, 6.0
        for _ in range(50):
            middle = (low + high) / 2.0
            low, high = (middle, high) if _sigmoid(base + middle).mean() < BASE_RATE else (low, middle)
        return cls(seed, terms, law, look, share, middle)

    def users(self, n: int, seed: int) -> tuple[np.ndarray, Truth]:
        """Draw users: `(n, 20)` features and the truth."""
        z = np.random.default_rng([seed, 51]).normal(size=(n, _P))
        base, effects, revenue = self.law(z)
        base = base + self.intercept
        truth = Truth(_sigmoid(base), _sigmoid(base[:, None] + effects), 40.0 * np.exp(revenue))
        return self.look(z), truth

    def trial(self, n: int, seed: int) -> tuple[Trial, Truth]:
        """Draw a randomised trial."""
        features, truth = self.users(n, seed)
        rng = np.random.default_rng([seed, 52])
        arm = rng.choice(self.share.size, n, p=self.share)
        chance = np.column_stack([truth.control, truth.treated])[np.arange(n), arm]
        outcome = (rng.random(n) < chance).astype(np.float64)
        return Trial.create(features, arm, outcome, propensity=self.share, terms=self.terms), truth


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1.0 / (1.0 + np.exp(-x)))


def _standard(function: Callable[[np.ndarray], np.ndarray], rng: np.random.Generator) -> Callable[..., np.ndarray]:
    values = function(rng.normal(size=(_SAMPLE, _P)))
    center, scale = float(values.mean()), float(values.std())
    return lambda z: (function(z) - center) / scale


def _tree(rng: np.random.Generator, support: np.ndarray, levels: int = 4) -> Callable[[np.ndarray], np.ndarray]:
    """Random tree with a split of its own in every node, standardised."""
    feature = rng.choice(support, 2**levels)
    cut = rng.normal(0.0, 0.6, 2**levels)
    leaf = rng.normal(size=2**levels)

    def walk(z: np.ndarray) -> np.ndarray:
        node = np.zeros(z.shape[0], dtype=np.int64)
        for level in range(levels):
            at = 2**level - 1 + node
            node = 2 * node + (z[np.arange(z.shape[0]), feature[at]] > cut[at])
        return np.asarray(leaf[node])

    return _standard(walk, rng)


def _trees(rng: np.random.Generator) -> tuple[Terms, Law, Callable[[np.ndarray], np.ndarray], np.ndarray]:
    order = rng.permutation(_P)
    base, more = _tree(rng, order[:6]), _tree(rng, order[:6])
    contact, sensitivity, revenue = (_tree(rng, order[2:10]) for _ in range(3))
    tastes = [_tree(rng, order[4:12], 3) for _ in range(2)]
    terms = Terms.create([2.0, 4.0, 8.0, 2.0, 4.0, 8.0], ["a", "a", "a", "b", "b", "b"])

    def law(z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        height = 0.25 * np.exp(0.6 * sensitivity(z) - 0.2)
        columns = [
            0.12 * contact(z) - 0.05 + height * (1.0 + 0.5 * np.tanh(tastes[g](z))) * (d / 8.0) ** 0.6
            for d, g in zip(terms.depth, terms.group, strict=True)
        ]
        return 0.7 * base(z) + 0.6 * more(z), np.column_stack(columns), 0.3 * revenue(z)

    return terms, law, lambda z: z, np.full(7, 1.0 / 7.0)


def _elsewhere(rng: np.random.Generator) -> tuple[Terms, Law, Callable[[np.ndarray], np.ndarray], np.ndarray]:
    order = rng.permutation(_P)
    base_weight, revenue_weight = rng.normal(size=6), rng.normal(size=3)
    base_weight *= 0.9 / np.linalg.norm(base_weight)
    weights = rng.normal(0.0, 0.16, (6, 3))
    picks = np.array([rng.choice(order[6:13], 3, replace=False) for _ in range(6)])
    shared = rng.normal(0.0, 0.1, 3)
    terms = Terms.create([3.0, 9.0, 4.0, 8.0, 5.0, 10.0], ["a", "a", "b", "b", "c", "c"])

    def law(z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        common = np.tanh(z[:, order[6:9]]) @ shared
        columns = [
            0.05 + 0.02 * d + common * (1.0 + d / 5.0) + np.tanh(z[:, picks[2 * g]]) @ weights[2 * g] * d / 6.0
            for d, g in zip(terms.depth, terms.group, strict=True)
        ]
        return z[:, order[:6]] @ base_weight, np.column_stack(columns), 0.2 * np.tanh(z[:, order[5:8]] @ revenue_weight)

    def look(z: np.ndarray) -> np.ndarray:
        # A sinh of a normal number has tails beyond a log-normal's on both sides.
        shown = z.copy()
        shown[:, ::2] = np.sinh(1.6 * z[:, ::2])
        shown[:, 1::4] = np.exp(1.5 * z[:, 1::4])
        return shown

    return terms, law, look, np.array([0.30, 0.05, 0.10, 0.20, 0.15, 0.10, 0.10])


def _saturation(rng: np.random.Generator) -> tuple[Terms, Law, Callable[[np.ndarray], np.ndarray], np.ndarray]:
    order = rng.permutation(_P)
    base, ceiling, half, contact = (_standard(_ridge(rng, order[a : a + 6]), rng) for a in (0, 3, 5, 7))
    revenue = _standard(_ridge(rng, order[1:5]), rng)
    terms = Terms.create([1.0, 2.0, 3.0, 5.0, 8.0, 12.0], ["a"] * 6)

    def law(z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        middle = 4.0 * np.exp(0.7 * half(z))[:, None]  # currency from which half of the effect is there
        steep = (terms.depth / middle) ** 3
        top = 0.45 * np.exp(0.6 * ceiling(z) - 0.2)
        effects = top[:, None] * steep / (1.0 + steep) + (0.08 * contact(z) - 0.03)[:, None]
        return 0.9 * base(z), effects, 0.3 * revenue(z)

    return terms, law, lambda z: z, np.full(7, 1.0 / 7.0)


def _ridge(rng: np.random.Generator, support: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return a sum of three bent ridges, each in three features."""
    picks = np.array([rng.choice(support, 3, replace=False) for _ in range(3)])
    weights = rng.normal(size=(3, 3))
    return lambda z: np.asarray(sum(np.tanh(z[:, p] @ w) for p, w in zip(picks, weights, strict=True)))


def _hurt(rng: np.random.Generator) -> tuple[Terms, Law, Callable[[np.ndarray], np.ndarray], np.ndarray]:
    order = rng.permutation(_P)
    base, depth_taste, other = (_standard(_ridge(rng, order[a : a + 5]), rng) for a in (0, 2, 4))
    revenue = _standard(_ridge(rng, order[1:5]), rng)
    i, j = order[6:8]
    bound = float(rng.uniform(-0.3, 0.3))
    terms = Terms.create([2.0, 5.0, 10.0, 2.0, 5.0, 10.0], ["a", "a", "a", "b", "b", "b"])

    def law(z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        hurt = (z[:, i] > bound) & (z[:, j] < 0.45 + bound)
        columns = []
        for d, g in zip(terms.depth, terms.group, strict=True):
            good = 0.32 * np.exp(0.4 * (depth_taste(z) if g else other(z))) * np.log1p(d) / np.log1p(10.0)
            columns.append(np.where(hurt, -0.3 - 0.01 * d, good))
        return 0.9 * base(z), np.column_stack(columns), 0.3 * revenue(z)

    return terms, law, lambda z: z, np.full(7, 1.0 / 7.0)


_KINDS = {"trees": _trees, "elsewhere": _elsewhere, "saturation": _saturation, "hurt": _hurt}
SHAPES = tuple(_KINDS)
