"""Numbers read off a number of runs, each with the error that comes from their being so few."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.95  # of every interval


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval over the luck of the runs."""

    value: float
    low: float
    high: float


def mean(sample: np.ndarray) -> Estimate:
    """Return the mean of runs `(runs,)`, with Student's interval; a single run has no interval (NaN)."""
    center = float(np.mean(sample))
    if sample.size < 2:
        return Estimate(center, np.nan, np.nan)
    reach = float(stats.t.ppf(0.5 + LEVEL / 2, sample.size - 1) * np.std(sample, ddof=1) / np.sqrt(sample.size))
    return Estimate(center, center - reach, center + reach)


def quantile(sample: np.ndarray, share: float) -> Estimate:
    """Return a quantile of runs, with the interval between two order statistics.

    How many runs fall below the true quantile is binomial, so the ranks need no assumption about the distribution
    (David & Nagaraja, *Order Statistics*, 2003, section 7.1). Where too few runs lie beyond, the end is infinite.
    """
    ordered, n = np.sort(sample), sample.size
    low, high = stats.binom.ppf([0.5 - LEVEL / 2, 0.5 + LEVEL / 2], n, share).astype(int)
    # Order statistic number `low` is below the quantile with at least that chance; `high + 1` is above it.
    return Estimate(
        float(np.quantile(ordered, share)),
        float(ordered[low - 1]) if low >= 1 else -np.inf,
        float(ordered[high]) if high < n else np.inf,
    )


def probability(events: np.ndarray) -> Estimate:
    """Return how often something happened in runs, with Wilson's interval (1927, doi:10.1080/01621459.1927.10502953)."""
    n, hits = events.size, int(np.count_nonzero(events))
    low, high = stats.binomtest(hits, n).proportion_ci(LEVEL, method="wilson")
    return Estimate(hits / n, float(low), float(high))
