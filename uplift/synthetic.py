"""Seeded trials with known truth: what a coupon changes is known for every user, so estimates can be marked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uplift.trial import Terms, Trial

BASE_RATE = 0.15  # share of users who buy without a coupon
N_FEATURES = 20


@dataclass(frozen=True, eq=False)
class Truth:
    """What is known of synthetic users beyond what a trial shows.

    Attributes
    ----------
    control
        `(n,)` P(purchase) without a coupon.
    treated
        `(n, coupons)` P(purchase) with each coupon.
    revenue
        `(n,)` currency that a purchase brings; known to the planner too.
    """

    control: np.ndarray
    treated: np.ndarray
    revenue: np.ndarray

    @property
    def uplift(self) -> np.ndarray:
        """`(n, coupons)` change of P(purchase)."""
        return self.treated - self.control[:, None]


@dataclass(frozen=True, eq=False)
class _Function:
    """A random smooth function of a few features: lines, bends, steps and products; mean 0 and deviation 1."""

    linear: np.ndarray  # (p,), mostly 0
    bends: tuple[tuple[int, float, float], ...]  # feature, frequency, weight of a sine
    steps: tuple[tuple[int, float, float], ...]  # feature, threshold, weight
    products: tuple[tuple[int, int, float], ...]  # two features, weight
    center: float = 0.0
    scale: float = 1.0

    @classmethod
    def draw(cls, rng: np.random.Generator, support: np.ndarray, sample: np.ndarray) -> _Function:
        """Draw one that depends on `support` alone, standardised on `sample` `(m, p)`."""
        linear = np.zeros(sample.shape[1])
        linear[support] = rng.normal(0.0, 1.0, support.size)

        def pick() -> int:
            return int(rng.choice(support))

        bends = tuple((pick(), float(rng.uniform(0.8, 1.8)), float(rng.normal(0.0, 0.8))) for _ in range(2))
        steps = tuple((pick(), float(rng.normal(0.0, 0.7)), float(rng.normal(0.0, 0.8))) for _ in range(2))
        products = tuple((pick(), pick(), float(rng.normal(0.0, 0.5))) for _ in range(2))
        raw = cls(linear, bends, steps, products)
        values = raw(sample)
        return cls(linear, bends, steps, products, float(values.mean()), float(values.std()))

    def __call__(self, z: np.ndarray) -> np.ndarray:
        """`(n, p)` features with values of order 1 -> `(n,)`."""
        total = z @ self.linear
        for j, frequency, weight in self.bends:
            total += weight * np.sin(frequency * z[:, j] + 0.5)
        for j, threshold, weight in self.steps:
            total += weight * (z[:, j] > threshold)
        for i, j, weight in self.products:
            total += weight * np.tanh(z[:, i]) * z[:, j]
        return (total - self.center) / self.scale


@dataclass(frozen=True, eq=False)
class World:
    """A market whose users answer to coupons by a known law; every draw from it is a new set of users.

    The log odds of a purchase with coupon k are base + contact + sensitivity x depth_k x taste of k's category:
    contact has either sign (sleeping dogs), the rest is never negative. With `unrelated` arms each coupon has a
    random function of its own instead, of either sign, that says nothing of the others.

    Attributes
    ----------
    terms
        Face value and category of the coupons.
    """

    terms: Terms
    mixing: np.ndarray
    base: _Function
    spend: _Function
    contact: _Function
    sensitivity: _Function
    tastes: tuple[_Function, ...]
    own: tuple[_Function, ...]  # of the unrelated arms; empty otherwise
    intercept: float
    strength: float

    @classmethod
    def draw(cls, seed: int, *, unrelated: bool = False, strength: float = 1.0) -> World:
        """Draw a world; the same seed gives the same one.

        Parameters
        ----------
        unrelated
            Arms that have nothing in common.
        strength
            Factor on every effect, on the log odds; 0 is a world where coupons change nothing.
        """
        rng = np.random.default_rng([seed, 20])
        terms = Terms(
            depth=np.array([2.0, 4.0, 8.0, 2.0, 4.0, 8.0]),
            group=np.array([0, 0, 0, 1, 1, 1]),
        )
        p = N_FEATURES
        mixing = np.eye(p) + rng.normal(0.0, 0.15, (p, p))
        mixing /= np.linalg.norm(mixing, axis=0)
        sample = rng.normal(0.0, 1.0, (20_000, p)) @ mixing
        order = rng.permutation(p)
        base = _Function.draw(rng, order[:7], sample)

        def few(count: int) -> np.ndarray:
            # Effects depend on features that matter for the base and on some that do not; 8 or so are noise for all.
            return rng.choice(order[:12], count, replace=False)

        spend = _Function.draw(rng, few(4), sample)
        contact = _Function.draw(rng, few(4), sample)
        sensitivity = _Function.draw(rng, few(4), sample)
        tastes = tuple(_Function.draw(rng, few(3), sample) for _ in range(2))
        own = tuple(_Function.draw(rng, few(4), sample) for _ in range(6)) if unrelated else ()
        log_odds = 0.9 * base(sample)
        low, high = -8.0, 4.0
        for _ in range(50):  # bisection for the intercept that gives the base rate
            middle = (low + high) / 2
            low, high = (middle, high) if _sigmoid(log_odds + middle).mean() < BASE_RATE else (low, middle)
        return cls(terms, mixing, base, spend, contact, sensitivity, tastes, own, middle, strength)

    def effects_on_log_odds(self, z: np.ndarray) -> np.ndarray:
        """`(n, p)` -> `(n, coupons)` what each coupon adds to the log odds."""
        depth = np.log1p(self.terms.depth) / np.log1p(self.terms.depth.max())
        columns = []
        if self.own:
            columns = [0.22 * function(z) + 0.12 * depth[k] for k, function in enumerate(self.own)]
        else:
            contact = 0.12 * self.contact(z) - 0.04
            sensitivity = 0.22 * np.exp(0.8 * self.sensitivity(z) - 0.32)
            tastes = [2.0 * _sigmoid(1.5 * taste(z)) for taste in self.tastes]
            columns = [
                contact + sensitivity * depth[k] * tastes[int(group)] for k, group in enumerate(self.terms.group)
            ]
        return self.strength * np.column_stack(columns)

    def users(self, n: int, seed: int) -> tuple[np.ndarray, Truth]:
        """Draw `n` users: their features `(n, 20)` float64, some of them skewed, and the truth about them."""
        rng = np.random.default_rng([seed, 21])
        z = rng.normal(0.0, 1.0, (n, N_FEATURES)) @ self.mixing
        base = 0.9 * self.base(z) + self.intercept
        treated = _sigmoid(base[:, None] + self.effects_on_log_odds(z))
        revenue = 40.0 * np.exp(0.35 * self.spend(z) - 0.06)
        features = z.copy()
        features[:, ::5] = np.exp(features[:, ::5])  # amounts: skewed to the right
        features[:, 1::5] = np.round(2.0 * features[:, 1::5])  # counts
        return features, Truth(_sigmoid(base), treated, revenue)

    def trial(self, n: int, seed: int, *, placebo: bool = False) -> tuple[Trial, Truth]:
        """Draw a randomised trial of `n` users with equal arms, control among them.

        With `placebo` the arms are shuffled after the outcome is drawn: no coupon can have changed anything.
        """
        features, truth = self.users(n, seed)
        rng = np.random.default_rng([seed, 22])
        arms = self.terms.depth.size + 1
        arm = rng.permutation(np.arange(n) % arms)
        chance = np.column_stack([truth.control, truth.treated])[np.arange(n), arm]
        outcome = (rng.random(n) < chance).astype(np.float64)
        if placebo:
            arm = rng.permutation(arm)
            truth = Truth(truth.control, np.repeat(truth.control[:, None], arms - 1, axis=1), truth.revenue)
        trial = Trial.create(features, arm, outcome, propensity=np.full(arms, 1.0 / arms), terms=self.terms)
        return trial, truth


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))
