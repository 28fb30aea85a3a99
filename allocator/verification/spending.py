"""What a plan spends, as the check works it out: by other ways than the solver's.

Moments at any common factor come from sums over the offers sorted by probability, since those that are clipped are the
last ones; percentiles are never inverted, only probabilities at given numbers are taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from allocator.chance import Chance
from allocator.problem import Problem

POINTS = 20_001  # of the trapezoidal rule over the factor; its steps stay below the width of what it integrates
FEW = 200  # offers up to which each one's clipping shows: there integrals begin anew where one is clipped
CELLS = 6_000
CLOSER, LAST = 100, 10
HALVINGS = 40
GAUSS = ((-math.sqrt(0.6), 5.0 / 9.0), (0.0, 8.0 / 9.0), (math.sqrt(0.6), 5.0 / 9.0))  # on a cell, from -1 to 1
FEW_POINTS = 201  # over a single normal number
REACH = 9.0
SAMPLE = 99_991  # offers that stand for all


@dataclass(frozen=True, eq=False)
class Offered:
    """`(n,)` each: what offers spend for sure, what they spend on redemption (currency), and how likely that is."""

    fixed: np.ndarray
    amount: np.ndarray
    chance: np.ndarray


def offered(problem: Problem) -> Offered:
    """Work out the parts of every offer from cost, liability and redeem_probability."""
    offers = problem.offers
    absent = np.isnan(offers.value)
    cost = np.where(absent, 0.0, offers.cost)
    probability = offers.columns.get("redeem_probability")
    probability = np.ones(cost.size) if probability is None else np.where(absent, 0.0, probability)
    if "liability" in offers.columns:
        liability = np.where(absent, 0.0, offers.columns["liability"])
    elif problem.face_value is not None:
        liability = problem.face_value[offers.coupons_of(np.arange(cost.size))]
    else:
        liability = np.full(cost.size, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.where(probability > 0, cost / probability, 0.0)
        amount = np.where(np.isnan(liability), spread, liability)
        chance = np.where(amount > 0, np.minimum(probability, cost / amount), np.minimum(probability, 1.0))
    return Offered(np.maximum(cost - amount * chance, 0.0), amount, chance)


def within(offers: Offered, chance: Chance, number: float) -> float:
    """Return P(spend <= number): the smaller of that of normal distributions given the factor, and Edgeworth's."""
    sigma = math.sqrt(math.log(1.0 + chance.shock**2))
    if not sigma:
        normal, corrected = _given(offers, np.ones(1), number)
        return float(min(normal[0], np.clip(corrected[0], 0.0, 1.0)))

    def given(t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return _given(offers, np.exp(sigma * t - sigma * sigma / 2.0), number)

    if offers.chance.size > FEW:
        t = np.linspace(-REACH, REACH, POINTS)
        weight = np.exp(-t * t / 2.0)
    else:
        t, weight = _points(_edges(offers.chance, sigma, lambda t: given(t)[1]))
    normal, corrected = given(t)
    return float(min(weight @ normal, weight @ np.clip(corrected, 0.0, 1.0)) / weight.sum())


def _edges(chance: np.ndarray, sigma: float, corrected: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return points between which what is integrated has no bend, by the log of the factor in its deviations.

    It has one where an offer's probability reaches 1, and one where Edgeworth's correction leaves 0 to 1. Among many offers
    one bend is nothing; among few the trapezoidal rule would be off by some 1e-7 for it.
    """
    bends = sigma / 2.0 - np.log(chance[chance > 0.0]) / sigma
    # Where the last offers are clipped little or nothing random is left: close to that cells get ever smaller.
    closer = np.subtract.outer(np.sort(bends)[-LAST:], np.geomspace(1e-11, 1.0, CLOSER))
    every = np.concatenate([np.linspace(-REACH, REACH, CELLS + 1), bends, closer.reshape(-1)])
    edges = np.unique(every[np.abs(every) <= REACH])
    at = corrected(edges)
    found = [edges]
    for level in (0.0, 1.0):
        cell = np.flatnonzero((at[1:] > level) != (at[:-1] > level))
        low, high, above = edges[cell], edges[cell + 1], at[cell] > level
        for _ in range(HALVINGS):
            middle = (low + high) / 2.0
            same = (corrected(middle) > level) == above
            low, high = np.where(same, middle, low), np.where(same, high, middle)
        found.append(low)
    return np.unique(np.concatenate(found))


def _points(edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return points and weights, up to a factor, for the mean of a function that is smooth between these edges."""
    half, middle = np.diff(edges) / 2.0, (edges[1:] + edges[:-1]) / 2.0
    t = np.concatenate([middle + half * x for x, _ in GAUSS])
    return t, np.concatenate([half * w for _, w in GAUSS]) * np.exp(-t * t / 2.0)


def _given(offers: Offered, factors: np.ndarray, number: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the two probabilities at each of these factors, the second as it comes: it may be beyond 0 and 1."""
    order = np.argsort(offers.chance, kind="stable")
    p, a = offers.chance[order], offers.amount[order]
    # Offers before this place are not clipped.
    place = np.searchsorted(p * factors.max() if factors.size == 1 else p, 1.0 / factors, side="left")
    sums = [
        np.concatenate([[0.0], np.cumsum(a**i * p**j)])
        for i, j in ((1, 0), (1, 1), (2, 1), (2, 2), (3, 1), (3, 2), (3, 3))
    ]
    a0, a1, b1, b2, c1, c2, c3 = (total[place] for total in sums)
    mean = offers.fixed.sum() + factors * a1 + (sums[0][-1] - a0)
    variance = np.maximum(factors * b1 - factors**2 * b2, 0.0)
    third = factors * c1 - 3.0 * factors**2 * c2 + 2.0 * factors**3 * c3
    random = variance > 0
    noise = np.sqrt(np.where(random, variance, 1.0))
    x = np.where(random, np.clip((number - mean) / noise, -38.0, 38.0), np.where(number >= mean, 38.0, -38.0))
    normal = ndtr(x)
    bend = (
        np.where(random, third / noise**3, 0.0)
        * (x * x - 1.0)
        * np.exp(-x * x / 2.0)
        / (6.0 * math.sqrt(2.0 * math.pi))
    )
    return normal, normal - bend


def _like_a_plan(value: np.ndarray, mean: np.ndarray, budget: float) -> np.ndarray:
    """Return the offers that earn the most for each unit they spend, until the budget is used; of many, a grid's."""
    places = np.arange(value.size)
    if value.size > SAMPLE:
        places = places[:SAMPLE] * value.size // SAMPLE
    useful = places[(value[places] > 0) & (mean[places] > 0)]
    if not useful.size:
        return places
    ranked = useful[np.argsort(-(value[useful] / mean[useful]), kind="stable")]
    within = np.cumsum(mean[ranked]) <= budget * (places.size / value.size)
    return ranked[: max(1, int(within.sum()))]


@dataclass(frozen=True)
class Standing:
    """The two-sum approximation of the percentile that bounds are about (README; `allocator.risk.surrogate`)."""

    chance: Chance

    @property
    def sigma(self) -> float:
        """Standard deviation of the log of the factor."""
        return math.sqrt(math.log(1.0 + self.chance.shock**2))

    @property
    def z(self) -> float:
        """The normal percentile."""
        return float(ndtri(self.chance.confidence))

    @property
    def level(self) -> float:
        """The factor's percentile."""
        return math.exp(self.sigma * self.z - self.sigma**2 / 2.0)

    def columns(self, offers: Offered, value: np.ndarray, budget: float) -> dict[str, np.ndarray]:
        """Return each offer's mean at the factor's percentile, the part that grows with it, variance and worst case."""
        q = np.minimum(self.level * offers.chance, 1.0)
        mean = offers.fixed + offers.amount * q
        growing = np.where(q < 1.0, offers.amount * offers.chance, 0.0)
        variance = offers.amount**2 * (q * (1.0 - q))
        total = variance
        if self.z >= 0.1:
            some = _like_a_plan(value, mean, budget)
            share = budget / max(float(mean[some].sum()), 1e-300)
            by_shock = self.sigma * self.level * float(growing[some].sum()) * share
            tau = max(math.hypot(by_shock, math.sqrt(float(variance[some].sum()) * share)), 1e-300)
            rho = by_shock / tau
            slower = min(1.0, self.sigma * self.level**2 * (self.z * (1.0 - rho) + rho / self.z)) * growing**2
            bend = max(self.z**2 - 1.0, 0.0) / (3.0 * self.z * tau)
            skewed = bend * (variance * offers.amount * (1.0 - 2.0 * q))
            total = np.maximum(variance + slower + np.clip(skewed, -variance, variance), 0.0)
        return {"[spend]": mean, "[redeemed]": growing, "[variance]": total, "[worst]": offers.fixed + offers.amount}

    def within(self, height: np.ndarray, growing: np.ndarray, variance: np.ndarray) -> np.ndarray:
        """Return P(S D + sqrt(V S / S_a) xi <= height) for arrays of one shape."""
        if not self.sigma:
            off = height - growing
            safe = np.sqrt(np.where(variance > 0, variance, 1.0))
            return np.where(variance > 0, ndtr(off / safe), np.where(off >= 0, 1.0, 0.0))
        noise = np.sqrt(variance / self.level)
        # Either of the two may be integrated over; the rule is exact for the one that the rest is smooth in.
        noisy = noise > self.sigma * growing
        result = np.empty(height.shape)
        for part, over in ((noisy, self._over_factor), (~noisy, self._over_noise)):
            result[part] = over(height[part], growing[part], noise[part])
        return result

    def _over_factor(self, height: np.ndarray, growing: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Integrate over the factor what the noise keeps within."""
        result = np.zeros(height.shape)
        for t, w in _trapezoidal():
            s = math.exp(self.sigma * t - self.sigma**2 / 2.0)
            result += w * ndtr((height - s * growing) / (noise * math.sqrt(s)))
        return result

    def _over_noise(self, height: np.ndarray, growing: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Integrate over the noise what the factor keeps within."""
        result = np.zeros(height.shape)
        for x, w in _trapezoidal():
            # S D + noise sqrt(S) x <= height: a quadratic inequality in sqrt(S).
            root = (-noise * x + np.sqrt((noise * x) ** 2 + 4.0 * growing * np.maximum(height, 0.0))) / (2.0 * growing)
            with np.errstate(divide="ignore"):
                result += w * ndtr((2.0 * np.log(np.maximum(root, 0.0)) + self.sigma**2 / 2.0) / self.sigma)
        return result


def _trapezoidal() -> list[tuple[float, float]]:
    """Return points and weights for the mean of a smooth function of a standard normal number.

    The error falls like exp(-(2 pi width / step)^2 / 2) where the function changes over a width (Trefethen and Weideman,
    2014, doi:10.1137/130932132).
    """
    points = np.linspace(-REACH, REACH, FEW_POINTS)
    weights = np.exp(-points * points / 2.0)
    return list(zip(points.tolist(), (weights / weights.sum()).tolist(), strict=True))
