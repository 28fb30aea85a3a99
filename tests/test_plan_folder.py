"""A plan folder can be read back, and what is wrong with one is said."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from allocator.cli.inputs import Source
from allocator.cli.jobs import Effort, Output, plan
from allocator.cli.screen import Screen
from allocator.errors import DataError, UsageError
from allocator.tables.plan_folder import read_plan_folder

CAMPAIGN = '[campaign]\nname = "tiny"\n\n[[coupon]]\nid = "a"\nkind = "fixed"\namount = 2\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    offers, campaign = tmp_path / "offers.csv", tmp_path / "campaign.toml"
    pd.DataFrame({"user_id": [1, 2], "coupon": ["a", "a"], "value": [3.0, 2.0], "cost": [1.0, 1.0]}).to_csv(
        offers, index=False
    )
    campaign.write_text(CAMPAIGN, encoding="utf-8")
    path = tmp_path / "plan"
    code = plan(
        Source(1.0, str(offers), campaign, None),
        Effort(),
        Output(path, False, True, False),
        Screen(quiet=True, verbose=False),
    )
    assert code == 0
    return path


def test_a_plan_folder_tells_what_it_was_made_from(folder: Path, tmp_path: Path) -> None:
    read = read_plan_folder(folder)
    assert read.plan.to_pydict() == {"user_id": [1], "coupon": ["a"], "value": [3.0], "cost": [1.0]}
    assert read.summary["objective"] == 3.0
    assert read.campaign_text == CAMPAIGN
    assert read.input("offers") == str(tmp_path / "offers.csv")
    assert read.input("users") is None
    assert read.manifest["source"]["budget"] == 1.0


@pytest.mark.parametrize("name", ["summary.json", "manifest.json", "plan.parquet"])
def test_a_file_cut_short_is_named(folder: Path, name: str) -> None:
    file = folder / name
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataError, match=name):
        read_plan_folder(folder)


def test_what_is_no_plan_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        read_plan_folder(tmp_path / "nothing")
    with pytest.raises(UsageError, match="not a plan folder"):
        read_plan_folder(tmp_path)
    (folder / "plan.parquet").unlink()
    with pytest.raises(DataError, match=r"plan\.parquet is missing"):
        read_plan_folder(folder)


def test_a_summary_of_another_version_is_refused(folder: Path) -> None:
    document = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps(document | {"schema_version": 99}))
    with pytest.raises(DataError, match="schema_version is 99"):
        read_plan_folder(folder)


@pytest.mark.parametrize(
    ("name", "key", "entry", "words"),
    [
        ("manifest.json", "source", [1], "source is"),
        ("manifest.json", "source", None, "source is"),
        ("manifest.json", "campaign", 3, "campaign is"),
        ("summary.json", "objective", "x", "objective is"),
        ("summary.json", "issued", 7, "not of one plan"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(
    folder: Path, name: str, key: str, entry: object, words: str
) -> None:
    document = json.loads((folder / name).read_text(encoding="utf-8"))
    (folder / name).write_text(json.dumps({**document, key: entry}), encoding="utf-8")
    with pytest.raises(DataError, match=words):
        read_plan_folder(folder)


def test_a_plan_table_without_its_columns_is_refused(folder: Path) -> None:
    pd.DataFrame({"user_id": [1], "coupon": ["a"]}).to_parquet(folder / "plan.parquet")
    with pytest.raises(DataError, match="'value'"):
        read_plan_folder(folder)


def test_a_folder_of_another_kind_is_no_damaged_plan(tmp_path: Path) -> None:
    """A model or a market has a manifest too: that is a wrong word on the command line, not a plan to make again."""
    (tmp_path / "manifest.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UsageError, match="not a plan folder"):
        read_plan_folder(tmp_path)
