r"""The percentile of spend as a function of two sums over the plan, and linear functions that stay below it.

Let S_a be the percentile of the common factor. With A the mean of the spend at S_a, D the part of it that grows with S
(what is expected to be redeemed, at S = 1, of offers whose probability is not clipped at S_a), and V the variance at S_a,
the spend is taken as

    A + (S - S_a) D + sqrt(V S / S_a) xi,    xi standard normal,

whose percentile is A - S_a D + H(D, V), with H(D, V) = D psi(V / D^2) and psi a function of one number. The three sums
are linear in the plan. psi rises from S_a, so that H >= S_a D, and A alone would be the percentile if redemptions were not random given S (then the spend rises
with S, and the percentile of a rising function is the function of the percentile). H rises and is concave in V.

Where no probability is clipped the mean is exact. Two things of the second order are counted as if they were variance, by
what each adds to the percentile of a nearly normal distribution (z its number of standard deviations, tau the standard
deviation of the spend): that the variance of a redemption grows more slowly than S, and skewness. With U the sum of
(amount x chance)^2 and K the third central moment at S_a,

    V = variance at S_a + spread S_a^2 (z (1 - rho) + rho / z) U + max(z^2 - 1, 0) / (3 z tau) K,

where rho is the share of tau that the shock alone makes. The factor of U: what the variance has in excess at S,
U S (S_a - S), moves the percentile by z / (2 tau) times its mean given that the spend is there (S is then z spread S_a
(1 - rho) below S_a on average), less half of that mean's slope. tau and rho are taken from offers that earn the most for
what they spend, as many as the budget pays for, so that V is known before any plan is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from allocator.chance import Chance
from allocator.risk.distribution import REACH, factor, log_spread
from allocator.risk.parts import SpendParts

NODES = 64
STEPS = 100  # of Newton's method, kept inside a bracket
LOW_GRID, HIGH_GRID = 17, 33  # points along D and along V at which a linear function is held below H
FLAT = 0.1  # standard deviations
LOOKED_AT = 99_991  # offers; a prime, so that no coupon of a dense grid is passed over
FLATTEST = 1e-9  # of V's largest: where its geometric grid begins


@dataclass(frozen=True, eq=False)
class Surrogate:
    """H for one confidence and shock.

    Attributes
    ----------
    spread
        Standard deviation of log S.
    level
        S_a.
    """

    confidence: float
    spread: float
    level: float

    @classmethod
    def of(cls, chance: Chance) -> Surrogate:
        """Return the surrogate of a chance limit."""
        spread = log_spread(chance.shock)
        level = float(factor(spread, np.asarray(ndtri(chance.confidence)))) if spread else 1.0
        return cls(chance.confidence, spread, level)

    @property
    def z(self) -> float:
        """The percentile of the standard normal distribution."""
        return float(ndtri(self.confidence))

    def columns(self, parts: SpendParts, value: np.ndarray, budget: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return each offer's share of A, D and V, `(n,)` float64 each, for a limit of this number."""
        chance = np.minimum(1.0, self.level * parts.chance)
        mean = parts.fixed + parts.amount * chance
        growing = np.where(chance < 1.0, parts.amount * parts.chance, 0.0)
        variance = parts.amount**2 * (chance * (1.0 - chance))
        if self.z < FLAT:  # next to the median, where variance adds next to nothing
            return mean, growing, variance
        few = _typical(value, mean, budget)
        share = budget / max(float(mean[few].sum()), 1e-300)
        shocked = self.spread * self.level * float(growing[few].sum()) * share
        tau = max(math.hypot(shocked, math.sqrt(float(variance[few].sum()) * share)), 1e-300)
        rho = shocked / tau
        slower = min(1.0, self.spread * self.level**2 * (self.z * (1.0 - rho) + rho / self.z))
        skewed = max(self.z**2 - 1.0, 0.0) / (3.0 * self.z * tau)
        third = variance * parts.amount * (1.0 - 2.0 * chance)
        return (
            mean,
            growing,
            np.maximum(variance + slower * growing**2 + np.clip(skewed * third, -variance, variance), 0.0),
        )

    def height(self, growing: np.ndarray, variance: np.ndarray) -> np.ndarray:
        """Return H at these D (above 0 where there is a shock) and V, currency."""
        if not self.spread:
            return growing + self.z * np.sqrt(variance)
        return growing * self.psi(variance / growing**2)

    def psi(self, ratio: np.ndarray) -> np.ndarray:
        """Return the percentile of S + sqrt(ratio S / S_a) xi."""
        flat = np.asarray(ratio, dtype=np.float64).reshape(-1)
        z = self.z
        noise = np.sqrt(flat / self.level)
        if not self.spread:
            return (1.0 + z * noise).reshape(np.shape(ratio))
        scale = self.spread * self.level
        # A normal distribution of the same spread is where the search begins.
        at = np.maximum(self.level + z * (np.sqrt(scale**2 + flat) - scale), 1e-9)
        low, high = np.zeros(flat.shape), (self.level + 1.0) * 8.0 + 4.0 * REACH * np.sqrt(flat) + 20.0 * noise
        for _ in range(STEPS):
            value, slope = self._cdf(at, noise)
            off = value - self.confidence
            low, high = np.where(off < 0, at, low), np.where(off >= 0, at, high)
            step = at - off / np.maximum(slope, 1e-300)
            after = np.where((step > low) & (step < high), step, 0.5 * (low + high))
            moved, at = np.abs(after - at), after
            if (moved <= 1e-15 * at).all():
                break
        return at.reshape(np.shape(ratio))

    def _cdf(self, at: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return P(S + noise sqrt(S) xi <= at) and its derivative."""
        # S +- REACH noise sqrt(S) = at, a quadratic equation in sqrt(S): outside, the answer is 0 or 1.
        half = 0.5 * REACH * noise
        root = np.sqrt(half * half + at)
        ends = []
        for side in (root - half, root + half):
            with np.errstate(divide="ignore"):
                ends.append((2.0 * np.log(np.maximum(side, 0.0)) + 0.5 * self.spread**2) / self.spread)
        low, high = np.clip(ends[0], -REACH, REACH), np.clip(ends[1], -REACH, REACH)
        high = np.maximum(high, low)
        x, w = np.polynomial.legendre.leggauss(NODES)
        half_width = 0.5 * (high - low)
        t = 0.5 * (low + high)[:, None] + half_width[:, None] * x
        s = factor(self.spread, t)
        density = np.exp(-0.5 * t * t) / math.sqrt(2.0 * math.pi) * w * half_width[:, None]
        sigma = noise[:, None] * np.sqrt(s)
        random = noise > 0
        sigma = np.where(random[:, None], sigma, 1.0)
        u = (at[:, None] - s) / sigma
        inner = (density * ndtr(u)).sum(axis=1)
        slope = (density * np.exp(-0.5 * u * u) / sigma).sum(axis=1) / math.sqrt(2.0 * math.pi)
        sure = (np.log(np.maximum(at, 1e-300)) + 0.5 * self.spread**2) / self.spread
        bare = np.exp(-0.5 * sure * sure) / math.sqrt(2.0 * math.pi) / (self.spread * at)
        return np.where(random, ndtr(low) + inner, ndtr(sure)), np.where(random, slope, bare)


def _typical(value: np.ndarray, mean: np.ndarray, budget: float) -> np.ndarray:
    """Return offers (indices) like those of a plan: the dearest are left out, whose share of the budget pays for no more.

    Of very many offers every so many-th is looked at.
    """
    n = value.size
    looked = np.arange(n) if n <= LOOKED_AT else np.arange(LOOKED_AT) * n // LOOKED_AT
    gain, spent = value[looked], mean[looked]
    good = np.flatnonzero((gain > 0) & (spent > 0))
    order = good[np.argsort(-(gain[good] / spent[good]), kind="stable")]
    paid = int(np.searchsorted(np.cumsum(spent[order]), budget * (looked.size / n), side="right"))
    return looked[order[: max(1, paid)]] if order.size else looked


@dataclass(frozen=True)
class Box:
    """Ranges of D and of V."""

    growing: tuple[float, float]
    variance: tuple[float, float]


@dataclass(frozen=True)
class Stand:
    """A linear function below H inside a box: `offset + per_growing D + per_variance V`."""

    offset: float
    per_growing: float
    per_variance: float


def stand_below(surrogate: Surrogate, box: Box, near: tuple[float, float]) -> Stand:
    """Return a linear function that stays below H in the box and comes close to it at the point `near` inside.

    Its slope along V is the chord's (H is concave in V), along D the tangent's. It is then lowered until it lies below H
    at the points of a grid, less what H, curved along D, may sink between two of them.
    """
    (low, high), (least, most) = box.growing, box.variance
    z = surrogate.z
    if not surrogate.spread:
        width = math.sqrt(most) + math.sqrt(least)
        chord = z / width if width > 0 else 0.0
        return Stand(z * math.sqrt(least) - chord * least - 1e-12 * math.sqrt(most), 1.0, float(chord))
    if low <= 0:
        return Stand(0.0, surrogate.level, 0.0)
    d = np.linspace(low, high, LOW_GRID)
    first = max(least, FLATTEST * most)
    v = np.unique(np.concatenate([[least], np.geomspace(first, most, HIGH_GRID) if most > 0 else [0.0], [most]]))
    v = np.clip(v, least, most)
    center = min(max(near[0], low), high)
    ends = surrogate.height(np.array([center, center]), np.array([least, most]))
    per_variance = float(ends[1] - ends[0]) / (most - least) if most > least else 0.0
    at = min(max(near[1], least), most)
    step = 1e-4 * center
    around = surrogate.height(np.array([center - step, center + step]), np.array([at, at]))
    per_growing = float(around[1] - around[0]) / (2.0 * step)
    grid = surrogate.height(np.repeat(d, v.size), np.tile(v, d.size)).reshape(d.size, v.size)
    rest = grid - per_growing * d[:, None] - per_variance * v
    bend = float(np.abs(np.diff(rest, 2, axis=0)).max(initial=0.0)) / 4.0  # twice what a parabola sinks by
    size = float(np.abs(grid).max())
    return Stand(float(rest.min()) - bend - 1e-12 * size, float(per_growing), float(per_variance))


def tangent(surrogate: Surrogate, at: tuple[float, float]) -> Stand:
    """Return the linear function that touches H at a point (D above 0 where there is a shock, V above 0)."""
    d, v = at
    steps = 1e-4 * np.array([d, v])
    if v <= 0 or (surrogate.spread and d <= 0):
        return Stand(0.0, surrogate.level, 0.0)
    points = np.array([[d, v], [d + steps[0], v], [d - steps[0], v], [d, v + steps[1]], [d, v - steps[1]]])
    h = surrogate.height(points[:, 0], points[:, 1])
    per_growing = float(h[1] - h[2]) / (2.0 * steps[0]) if d > 0 else 1.0
    per_variance = float(h[3] - h[4]) / (2.0 * steps[1])
    return Stand(float(h[0] - per_growing * d - per_variance * v), float(per_growing), float(per_variance))
