"""The days of a large shop run by name, small."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from allocator.cli.app import app
from allocator.errors import UsageError
from allocator.simulation import scenarios
from allocator.simulation.scenarios import Serve


def test_events_become_a_row_of_features_a_user_and_the_full_size_is_marked_as_extrapolated() -> None:
    found = scenarios.events(0.0001)
    assert found.figures["events"] == 100 * 500
    assert found.extrapolated["cpu_seconds"] == pytest.approx(found.figures["cpu_seconds"] / 0.0001)


def test_a_visit_gets_the_best_coupon_of_what_is_recommended_and_none_below_the_price() -> None:
    value, cost = np.array([[3.0, 5.0, 9.0]]), np.ones((1, 3))

    def serve(users: np.ndarray) -> np.ndarray:
        return np.tile(np.array([3, 4, -1]), (users.size, 1))  # items of scopes 0 and 1

    assert scenarios.answer(serve, np.zeros(2, int), value, cost, 1.0).tolist() == [1, 1]
    assert scenarios.answer(serve, np.zeros(1, int), value, cost, 6.0).tolist() == [-1]


def test_visits_are_served_whatever_recommends() -> None:
    def fit(events: pa.Table) -> Serve:
        return lambda users: np.tile(np.arange(10), (users.size, 1))

    found = scenarios.visits(0.003, fit)
    assert found.figures["visits"] == 300
    assert 0 < found.figures["issued"] <= 300


def test_a_day_issues_no_more_coupons_than_it_may() -> None:
    found = scenarios.coupons(0.004, days=2)
    assert found.figures["most_a_day"] <= 20


def test_the_command_tells_plain_numbers() -> None:
    found = CliRunner().invoke(app, ["scenario", "forecasts", "--share", "5%", "--json", "-q"])
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["figures"]["forecasts"] == 50
    text = CliRunner().invoke(app, ["scenario", "forecasts", "--share", "5%", "-q"])
    assert "extrapolated in proportion and not measured" in text.stdout


@pytest.mark.slow
def test_recommendations_of_cf_are_served() -> None:
    found = CliRunner().invoke(app, ["scenario", "visits", "--share", "0.5%", "--json", "-q"])
    assert found.exit_code == 0, found.output


def test_a_share_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="share is 0"):
        scenarios.forecasts(0.0)
