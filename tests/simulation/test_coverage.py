"""Intervals hold what they promise: 95 % of them cover the truth, over simulated campaigns."""

from __future__ import annotations

import pytest
from scipy import stats

from tests.simulation.coverage import coverages
from tests.simulation.market_coverage import market_coverages

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


@pytest.mark.slow
def test_intervals_hold_on_the_market_itself() -> None:
    """A market that shares nothing with the generator above: enough campaigns to find intervals that are far too short."""
    found = {item.name: item for item in market_coverages(30, users=2_500, seed=7)}
    for name in ("lift", "lift, CUPED", "net gain", "net gain, CUPED", "iROI (Fieller)", "Qini coefficient"):
        assert found[name].campaigns == 15
        assert found[name].share >= 12 / 15, name  # at 95 % fewer than 12 of 15 come up once in 180
        assert abs(found[name].bias) < 1.0, name
