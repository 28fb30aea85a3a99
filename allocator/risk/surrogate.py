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
from functools import cached_property, lru_cache

import numpy as np
from scipy.interpolate import BSpline, make_interp_spline
from scipy.special import ndtr, ndtri

from allocator.chance import Chance
from allocator.kernels.risk import surrogate_columns
from allocator.risk.distribution import REACH, factor, log_spread
from allocator.risk.parts import SpendParts

NODES = 64
STEPS = 100  # of Newton's method, kept inside a bracket
ROUNDING = 1e-12  # relative, of H
LOW_GRID, HIGH_GRID = 17, 33  # points along D and along V at which a linear function is held below H
LOWEST, HIGHEST, KNOTS = 1e-7, 1e7, 400  # of the factor's variance: where psi is tabulated
NOISY = 1e10  # V / D^2 where D hardly counts
DEGREE = 7  # of the spline between
FLAT = 0.1  # standard deviations
LOOKED_AT = 99_991  # offers; a prime, so that no coupon of a dense grid is passed over
FLATTEST = 1e-9  # of V's largest: where its geometric grid begins


@lru_cache(maxsize=1)
def _rule() -> tuple[np.ndarray, np.ndarray]:
    """Return the points and weights of Gauss and Legendre's rule."""
    points, weights = np.polynomial.legendre.leggauss(NODES)
    return points, weights


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
        slower = skewed = 0.0
        if self.z >= FLAT:  # next to the median, variance adds next to nothing
            slower, skewed = self._corrections(parts, value, budget)
        result = np.empty((3, parts.chance.size))
        surrogate_columns(parts.fixed, parts.amount, parts.chance, self.level, slower, skewed, *result)
        return result[0], result[1], result[2]

    def _corrections(self, parts: SpendParts, value: np.ndarray, budget: float) -> tuple[float, float]:
        """Return the factors of U and of K in V."""
        n = value.size
        looked = slice(None) if n <= LOOKED_AT else np.arange(LOOKED_AT) * n // LOOKED_AT
        fixed, amount, chance = parts.fixed[looked], parts.amount[looked], parts.chance[looked]
        q = np.minimum(self.level * chance, 1.0)
        mean = fixed + amount * q
        few = _typical(value[looked], mean, budget * (mean.size / n))
        amount, chance, q = amount[few], chance[few], q[few]
        share = budget / max(float(mean[few].sum()), 1e-300)
        shocked = self.spread * self.level * float(np.where(q < 1.0, amount * chance, 0.0).sum()) * share
        noise = float((amount * amount * (q * (1.0 - q))).sum()) * share
        tau = max(math.hypot(shocked, math.sqrt(noise)), 1e-300)
        rho = shocked / tau
        slower = min(1.0, self.spread * self.level**2 * (self.z * (1.0 - rho) + rho / self.z))
        return slower, max(self.z**2 - 1.0, 0.0) / (3.0 * self.z * tau)

    def height(self, growing: np.ndarray, variance: np.ndarray) -> np.ndarray:
        """Return H at these D and V, currency."""
        if not self.spread:
            return growing + self.z * np.sqrt(variance)
        low, high, spline = self._table
        with np.errstate(over="ignore"):
            ratio = variance / np.maximum(growing, 1e-150) ** 2
        inside, noisy = np.clip(ratio, low, high), ratio > high
        psi = spline(np.log(inside))
        # Below it is a straight line to all digits.
        psi = np.where(ratio < low, self.level + (psi - self.level) * (ratio / low), psi)
        height: np.ndarray = growing * psi
        if noisy.any():
            flat = ratio[noisy] > NOISY
            psi = self.psi(np.minimum(ratio[noisy], NOISY))
            height[noisy] = np.where(flat, self.noise * np.sqrt(variance[noisy]), growing[noisy] * psi)
        return height

    @cached_property
    def noise(self) -> float:
        """H at D = 0 and V = 1, a little less: what noise alone takes."""
        return float(self.psi(np.array([NOISY]))[0]) / math.sqrt(NOISY) - 2.0 * (self.level + 1.0) / math.sqrt(NOISY)

    @cached_property
    def _table(self) -> tuple[float, float, BSpline]:
        """Psi between two ratios, as a spline of their logarithm: off by about 1e-12."""
        low, high = LOWEST * self.spread**2, HIGHEST * self.spread**2
        at = np.linspace(math.log(low), math.log(high), KNOTS)
        return low, high, make_interp_spline(at, self.psi(np.exp(at)), k=DEGREE)

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
        x, w = _rule()
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
    """Return offers (indices) like those of a plan: those that earn the most for what they spend, until the budget is used."""
    good = np.flatnonzero((value > 0) & (mean > 0))
    if not good.size:
        return np.arange(value.size)
    order = good[np.argsort(-(value[good] / mean[good]), kind="stable")]
    return order[: max(1, int(np.searchsorted(np.cumsum(mean[order]), budget, side="right")))]


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


@dataclass(frozen=True, eq=False)
class Grid:
    """H at the points of a grid over a box, to hold linear functions below it.

    Between two points H, curved along D, may sink below what it has there; twice what a parabola would sink by is taken
    off. Where D may be 0, H is taken as S_a D or as what it is without D, as `heights` has both: it is below neither.
    """

    d: np.ndarray
    v: np.ndarray
    heights: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, surrogate: Surrogate, box: Box) -> Grid:
        """Take H at the points of a box's grid."""
        (low, high), (least, most) = box.growing, box.variance
        if surrogate.spread and low <= 0:
            d, v = np.array([low, high]), np.array([least, most])
            flat = np.zeros((2, 2))
            return cls(d, v, (flat + surrogate.level * d[:, None], flat + surrogate.noise * np.sqrt(v)))
        d = np.linspace(low, high, LOW_GRID) if surrogate.spread else np.array([low, high])
        # Along V, H is concave: what a linear function leaves is least at an end.
        first = max(least, FLATTEST * most)
        v = np.unique(np.concatenate([[least], np.geomspace(first, most, HIGH_GRID) if most > 0 else [0.0], [most]]))
        v = np.clip(v, least, most)
        height = surrogate.height(np.repeat(d, v.size), np.tile(v, d.size)).reshape(d.size, v.size)
        return cls(d, v, (height,))

    def lowest(self, per_growing: float, per_variance: float) -> tuple[float, tuple[float, float, float]]:
        """Return the least that H has above a plane of these slopes through 0, and D, V and H there."""
        lowest = []
        for height, rest in zip(self.heights, self._rests(per_growing, per_variance), strict=True):
            row, column = np.unravel_index(int(rest.argmin()), rest.shape)
            bend = float(np.abs(np.diff(rest, 2, axis=0)).max(initial=0.0)) / 4.0
            less = bend + ROUNDING * float(np.abs(height).max())
            where = (float(self.d[row]), float(self.v[column]), float(height[row, column]))
            lowest.append((float(rest[row, column]) - less, where))
        return max(lowest)

    def bends(self, per_growing: float, per_variance: float) -> tuple[float, float]:
        """Return by how much H rises above a plane of these slopes through its lowest point, along D and along V."""
        along_d, along_v = [], []
        for rest in self._rests(per_growing, per_variance):
            row, column = np.unravel_index(int(rest.argmin()), rest.shape)
            along_d.append(float(np.ptp(rest[:, column])))
            along_v.append(float(np.ptp(rest[row])))
        return max(along_d), max(along_v)

    def _rests(self, per_growing: float, per_variance: float) -> list[np.ndarray]:
        return [height - per_growing * self.d[:, None] - per_variance * self.v for height in self.heights]


def stand_below(surrogate: Surrogate, box: Box, near: tuple[float, float]) -> Stand:
    """Return a linear function that stays below H in the box and comes close to it at the point `near` inside.

    Its slope along V is the chord's (H is concave in V), along D the tangent's.
    """
    (low, high), (least, most) = box.growing, box.variance
    if surrogate.spread and low <= 0:
        return Stand(0.0, surrogate.level, 0.0)
    center = min(max(near[0], low), high)
    ends = surrogate.height(np.array([center, center]), np.array([least, most]))
    per_variance = float(ends[1] - ends[0]) / (most - least) if most > least else 0.0
    per_growing = 1.0
    if surrogate.spread:
        at = min(max(near[1], least), most)
        step = 1e-4 * center
        around = surrogate.height(np.array([center - step, center + step]), np.array([at, at]))
        per_growing = float(around[1] - around[0]) / (2.0 * step)
    offset, _ = Grid.of(surrogate, box).lowest(per_growing, per_variance)
    return Stand(offset, per_growing, per_variance)


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
