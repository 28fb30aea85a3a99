"""Models that train in a second: the logistic candidates alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import cf
from allocator.campaign import Campaign, parse_campaign
from allocator.learning import Model, default_candidates, train
from tests.learning import worlds


@pytest.fixture(scope="package", autouse=True)
def quick_relevance() -> Iterator[None]:
    """Fewer trees: the shops of these tests have 20 products."""
    few = cf.Boosting(rounds=30, leaves=8, rate=0.2, least_rows=50)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "allocator.learning.wanting.rule",
            lambda days, seed: cf.Relevance(window=days, seed=seed, boosting=few, short=few, spending=few),
        )
        yield


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
