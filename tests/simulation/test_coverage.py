"""Intervals hold what they promise: 95 % of them cover the truth, over simulated campaigns."""

from __future__ import annotations

import pytest
from scipy import stats

from tests.simulation.coverage import coverages

CAMPAIGNS = 1_000


def test_intervals_cover_in_a_few_campaigns() -> None:
    """Quick and coarse: 40 campaigns, a bound that chance passes in all but one run of 10,000."""
    least = stats.binom.ppf(1e-5, 40, 0.95)
    for item in coverages(40, seed=1):
        assert item.covered >= least, item


@pytest.mark.slow
def test_95_percent_intervals_cover_in_93_to_97_percent_of_1000_campaigns() -> None:
    for item in coverages(CAMPAIGNS):
        assert 0.93 <= item.share <= 0.97, item
        assert abs(item.bias) < 0.25, item
