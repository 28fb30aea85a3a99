"""A small campaign with every kind of rule, planned into folders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from allocator.cli.inputs import Source
from allocator.cli.jobs import Effort, Output, plan
from allocator.cli.screen import Screen

CAMPAIGN = """
[campaign]
name = "every rule"
currency = "USD"
max_per_user = 2
exclusive = [["a", "b"]]

[[coupon]]
id = "a"
kind = "fixed"
amount = 5
quantity = 30

[[coupon]]
id = "b"
kind = "fixed"
amount = 8

[[coupon]]
id = "c"

[[limit]]
name = "north"
measure = "cost"
users = { region = ["north", "west"] }
at_most = 25

[[limit]]
name = "new"
measure = "count"
users = { segment = "new" }
at_least = 25

[[limit]]
name = "owed"
measure = "liability"
coupons = ["a", "b"]
at_most = 260

[[limit]]
name = "effort"
measure = { minutes = 1.0, cost = 0.5 }
at_most = 150
"""
Planned = Callable[..., Path]


def write(folder: Path) -> None:
    """Write offers, users and a campaign: 120 users, three coupons, a tenth of the pairs not eligible."""
    rng = np.random.default_rng(5)
    offers = pd.DataFrame([(user, coupon) for user in range(1, 121) for coupon in "abc"], columns=["user_id", "coupon"])
    offers["cost"] = rng.gamma(2.0, 0.5, len(offers)).round(2)
    offers["value"] = (offers["cost"] * rng.normal(1.5, 1.2, len(offers))).round(2)
    offers["minutes"] = rng.integers(1, 9, len(offers))
    offers["purchase_with"] = rng.random(len(offers)).round(3)
    offers = offers[rng.random(len(offers)) > 0.1]
    offers.to_parquet(folder / "offers.parquet", index=False, row_group_size=50)
    offers.to_csv(folder / "offers.csv", index=False)
    users = pd.DataFrame({"user_id": range(1, 122)})
    users["region"] = rng.choice(["north", "west", "south"], len(users))
    users["segment"] = rng.choice(["new", "old"], len(users))
    users.to_csv(folder / "users.csv", index=False)
    (folder / "campaign.toml").write_text(CAMPAIGN, encoding="utf-8")


def plan_of(
    place: Path,
    name: str = "plan",
    budget: float = 50.0,
    offers: str = "offers.parquet",
    users: str | None = "users.csv",
    campaign: str | None = "campaign.toml",
) -> Path:
    """Plan from files of a folder into a new one in it."""
    source = Source(
        budget,
        str(place / offers),
        None if campaign is None else place / campaign,
        None if users is None else str(place / users),
    )
    output = Output(place / name, True, True, False)
    assert plan(source, Effort(), output, Screen(quiet=True, verbose=False)) == 0
    return place / name


@pytest.fixture(scope="package", autouse=True)
def no_other_budgets() -> Iterator[None]:
    """What other budgets would earn takes most of the time of a plan, and nothing here asks for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("allocator.reporting.insight.BUDGETS", ())
        yield


@pytest.fixture(scope="package")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign with its plan, `plan`, and one of a larger budget, `more`: to be read only."""
    folder = tmp_path_factory.mktemp("finished")
    write(folder)
    plan_of(folder)
    plan_of(folder, "more", budget=60.0)
    return folder


@pytest.fixture
def every_rule(tmp_path: Path) -> Path:
    """A campaign's files, to be changed at will."""
    write(tmp_path)
    return tmp_path


@pytest.fixture
def planned(tmp_path: Path) -> Planned:
    """Plan from files of `every_rule`; returns the plan's folder."""
    return partial(plan_of, tmp_path)
