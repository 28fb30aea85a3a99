"""Models that train in a second: the logistic candidates alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from allocator.campaign import Campaign, parse_campaign
from allocator.learning import Model, default_candidates, train
from tests.learning import worlds


@pytest.fixture(scope="session")
def campaign() -> Campaign:
    return parse_campaign(worlds.CAMPAIGN)


@pytest.fixture(scope="session")
def model(campaign: Campaign) -> Model:
    return train(worlds.trial(), campaign=campaign, candidates=default_candidates()[1:])


@pytest.fixture
def folder(model: Model, tmp_path: Path) -> Path:
    model.save(tmp_path / "model")
    return tmp_path / "model"
