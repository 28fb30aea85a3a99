"""The distribution of what a plan spends.

Given the common factor S, the spend is a sum of independent terms, of which mean, variance and third moment are exact
sums over the plan. It is taken as normal, and with Edgeworth's correction for skewness; of the two percentiles the larger
counts. Over S is integrated numerically: outside a window of S where the spend is near the number asked for, the answer is
0 or 1, and inside it the integrand is as smooth as the normal distribution's.

`tests/test_chance.py` compares it with 20,000 simulated campaigns of 400 offers. With fewer than some 30 expected redemptions
no smooth distribution is close, and summaries say so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from allocator.chance import DEFAULT_CONFIDENCE
from allocator.kernels.risk import moments, power_sums
from allocator.risk.parts import SpendParts

REACH = 9.0  # standard deviations; beyond it a normal distribution has 1e-19
COARSE = 65  # points of log S at which the moments are tabulated, to find the window
NODES = 64  # of Gauss and Legendre inside each panel of the window,
FEWER_NODES = 16  # where many panels end at bends
# Panels, where there are so few offers that each one's clipping shows; offers x panels.
MOST_PANELS, PER_PANEL = 16, 1 << 17
FEW = 200  # offers up to which panels end where one is clipped: the integrand has a bend there
GRADES, MOST_GRADED = 40, 10  # halvings of a distance, bends
LOOKED_AT = 500  # points, to find the others
ROUNDS = 4  # in which the window follows the percentile
HALVINGS = 80


def log_spread(shock: float) -> float:
    """Return the standard deviation of log S for S lognormal with mean 1 and this coefficient of variation."""
    return math.sqrt(math.log1p(shock * shock))


def factor(spread: float, t: np.ndarray) -> np.ndarray:
    """Return S at these standard normal numbers."""
    return np.exp(spread * t - 0.5 * spread * spread)


@dataclass(frozen=True)
class SpendRisk:
    """What a plan may spend, currency.

    Attributes
    ----------
    expected
        The sum of its costs.
    percentile
        What it stays within with probability `confidence`.
    worst
        What it takes where every offer is redeemed.
    overrun
        Probability of spending more than the budget; NaN where none was given.
    redemptions
        How many are expected; with fewer than about 30 the percentile is rough.
    """

    expected: float
    percentile: float
    worst: float
    confidence: float
    shock: float
    overrun: float
    redemptions: float


class SpendDistribution:
    """The distribution of the spend of some offers under a common shock."""

    def __init__(self, parts: SpendParts, shock: float) -> None:
        self.parts, self.spread = parts, log_spread(shock)
        self._likeliest, self._fixed = float(parts.chance.max(initial=0.0)), float(parts.fixed.sum())
        self._sums = np.zeros(6)
        power_sums(parts.amount, parts.chance, self._sums)
        self.t = np.linspace(-REACH, REACH, COARSE) if self.spread else np.zeros(1)
        self._table = self._moments(self.t)

    @property
    def worst(self) -> float:
        """What is spent where every offer is redeemed, currency."""
        return self.parts.worst

    def within(self, number: float) -> float:
        """Return P(spend <= number)."""
        return _probability(number, *self._window(number))

    def percentile(self, confidence: float) -> float:
        """Return the least number that is kept with this probability, currency; never above the worst case."""
        at = float(np.interp(ndtri(confidence), self.t, self._table[0]))
        for _ in range(ROUNDS if self.spread else 1):
            weights, table = self._window(at)
            before, at = at, _inverse(confidence, weights, table)
            if abs(at - before) <= 1e-13 * (1.0 + abs(at)):
                break
        return min(at, self.worst)

    def _moments(self, t: np.ndarray) -> np.ndarray:
        factors, parts = factor(self.spread, t), self.parts
        result = np.zeros((3, t.size))
        clipped = factors * self._likeliest > 1.0
        some = np.zeros((3, int(clipped.sum())))
        moments(parts.fixed, parts.amount, parts.chance, factors[clipped], some)
        result[:, clipped] = some
        # Where no probability is clipped, the moments are polynomials.
        s, (a1, b1, b2, c1, c2, c3) = factors[~clipped], self._sums
        result[0, ~clipped] = self._fixed + s * a1
        result[1, ~clipped] = s * b1 - s**2 * b2
        result[2, ~clipped] = s * c1 - 3.0 * s**2 * c2 + 2.0 * s**3 * c3
        result[1] = np.maximum(result[1], 0.0)
        return result

    def _panels(self, low: float, high: float, number: float) -> np.ndarray:
        """Return the edges of the panels of a range of log S.

        With few offers the integrand's bends are among them: where one is clipped, and where the correction for skewness
        leaves 0 to 1 at this number.
        """
        chance = self.parts.chance
        edges = np.linspace(low, high, 1 + max(1, min(MOST_PANELS, PER_PANEL // max(chance.size, 1))))
        if chance.size > FEW:
            return edges
        bends = 0.5 * self.spread - np.log(chance[chance > 0.0]) / self.spread
        # Towards the last ones most of the noise vanishes, and faster and faster.
        closer = np.sort(bends)[-MOST_GRADED:, None] - (high - low) * 0.5 ** np.arange(GRADES)
        bends = np.concatenate([bends, closer.reshape(-1)])
        edges = np.unique(np.concatenate([edges, bends[(bends > low) & (bends < high)]]))
        for bound in (0.0, 1.0):
            # Between neighbours among many points, by halving.
            t = np.unique(np.concatenate([np.linspace(low, high, LOOKED_AT), edges]))
            beyond = _given(number, self._moments(t))[1] > bound
            cell = np.flatnonzero(beyond[1:] != beyond[:-1])
            left, right, before = t[cell], t[cell + 1], beyond[cell]
            for _ in range(HALVINGS // 2 if cell.size else 0):
                middle = 0.5 * (left + right)
                same = (_given(number, self._moments(middle))[1] > bound) == before
                left, right = np.where(same, middle, left), np.where(same, right, middle)
            edges = np.unique(np.concatenate([edges, left]))
        return edges

    def _window(self, number: float) -> tuple[np.ndarray, np.ndarray]:
        """Return weights and moments such that the weighted probabilities at them are P(spend <= number).

        Two more points, without spread, stand for all that is left and right of the window.
        """
        if not self.spread:
            return np.ones(1), self._table
        noise = np.sqrt(self._table[1])
        # Where the mean is so far off, the spend is surely within the number, or surely not.
        sure, hopeless = self._table[0] + REACH * noise, self._table[0] - REACH * noise
        low = float(np.interp(number, np.maximum.accumulate(sure), self.t))
        high = float(np.interp(number, np.maximum.accumulate(hopeless), self.t))
        # Of few offers the noise can vanish between two of these points: there the window ends at the next one.
        beside = 0.02 if self.parts.chance.size > FEW else 2.0 * REACH / (COARSE - 1)
        low, high = max(-REACH, low - beside), min(REACH, high + beside)
        t, width = _nodes(self._panels(low, high, number))
        density = np.exp(-0.5 * t * t) / math.sqrt(2.0 * math.pi)
        table = self._moments(t)
        ends = np.array([[-np.inf, np.inf], [0.0, 0.0], [0.0, 0.0]])
        weights = np.concatenate([[ndtr(low)], width * density, [ndtr(-high)]])
        return weights, np.concatenate([ends[:, :1], table, ends[:, 1:]], axis=1)


def _nodes(edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the points and weights of Gauss and Legendre's rule in panels between these edges."""
    x, w = np.polynomial.legendre.leggauss(NODES if edges.size <= MOST_PANELS + 1 else FEWER_NODES)
    half, middles = 0.5 * np.diff(edges), 0.5 * (edges[1:] + edges[:-1])
    return (middles[:, None] + half[:, None] * x).reshape(-1), (half[:, None] * w).reshape(-1)


def spend_risk(
    parts: SpendParts, shock: float, confidence: float = DEFAULT_CONFIDENCE, budget: float = math.nan
) -> SpendRisk:
    """Return expected, percentile and worst case of what some offers spend, and how likely that exceeds the budget."""
    spend = SpendDistribution(parts, shock)
    return SpendRisk(
        expected=float(parts.fixed.sum() + (parts.amount * parts.chance).sum()),
        percentile=spend.percentile(confidence),
        worst=spend.worst,
        confidence=confidence,
        shock=shock,
        overrun=1.0 - spend.within(budget) if math.isfinite(budget) else math.nan,
        redemptions=float(parts.chance.sum()),
    )


def _probability(number: float, weights: np.ndarray, table: np.ndarray) -> float:
    normal, corrected = _given(number, table)
    return float(min(weights @ normal, weights @ np.clip(corrected, 0.0, 1.0)))


def _given(number: float, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return P(spend <= number) at each moment of the table, as normal, and corrected (which may leave 0 to 1)."""
    mean, variance, third = table
    noise = np.sqrt(variance)
    off = number - mean
    x = np.where(noise > 0, off / np.where(noise > 0, noise, 1.0), np.where(off >= 0, np.inf, -np.inf))
    normal = ndtr(x)
    inner = np.abs(x) < 30.0
    safe = np.where(inner, x, 0.0)
    skew = np.where(noise > 0, third / np.where(noise > 0, noise, 1.0) ** 3, 0.0)
    term = skew * (safe * safe - 1.0) / 6.0 * np.exp(-0.5 * safe * safe) / math.sqrt(2.0 * math.pi)
    return normal, normal - np.where(inner, term, 0.0)


def _inverse(confidence: float, weights: np.ndarray, table: np.ndarray) -> float:
    """Return the number at which the probability reaches the confidence: the upper end of what halving leaves."""
    finite = np.isfinite(table[0])
    least, most = float(table[0][finite].min()), float(table[0][finite].max())
    room = REACH * math.sqrt(float(table[1].max(initial=0.0))) + 1e-9 * (1.0 + abs(most))
    low, high = least - room, most + room
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        if _probability(middle, weights, table) >= confidence:
            high = middle
        else:
            low = middle
    return high
