"""`allocate measure -o`: one page to pass on, and what `--column` and `--control` read."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from allocator.cli.screen import STAGES
from allocator.errors import DataError, UsageError
from allocator.reporting.measured import page
from allocator.simulation import measure
from allocator.simulation.logged import value_on_log
from allocator.simulation.measuring import Measurement
from tests.benchmarks.measurement import write_campaign
from tests.conftest import Allocate

USERS = 3_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page")
    write_campaign(path, USERS, share=0.2)
    number = np.arange(USERS)
    segment = np.select([number < 20, number % 3 == 0, number % 3 == 1], ["rare", "one", "two"], "three")
    pd.DataFrame({"user_id": number, "segment": segment}).to_parquet(path / "users.parquet")
    shutil.copytree(path / "plan", path / "other")
    chosen = pd.read_parquet(path / "plan" / "propensities.parquet").iloc[::2]
    other = chosen.rename(columns={"planned": "coupon", "planned_value": "value", "planned_cost": "cost"})
    other[["user_id", "coupon", "value", "cost"]].to_parquet(path / "other" / "plan.parquet")
    summary = json.loads((path / "other" / "summary.json").read_text())
    (path / "other" / "summary.json").write_text(json.dumps(summary | {"issued": len(other)}))
    after = pd.read_parquet(path / "after.parquet")
    after.loc[:4, "user_id"] += 9_123_456
    after.to_parquet(path / "strange.parquet")
    return path


@pytest.fixture(scope="module")
def measured(folder: Path) -> Measurement:
    return measure(
        folder / "plan",
        folder / "strange.parquet",
        users=folder / "users.parquet",
        absent="drop",
        other=folder / "other",
    )


def test_the_page_shows_every_part_and_no_user(measured: Measurement) -> None:
    html = page(measured)
    for said in ("Planned and measured", "By coupon", "By segment", "Did the plan pick", "Another plan", "Checks"):
        assert said in html
    assert any("9123" in note for note in measured.notes)
    assert not re.search(r"9[, ]?123", html)
    assert "5 rows" not in html and "fewer than 10 rows" in html
    assert html.count("<script>") == 1 and "http" not in html.replace("http-equiv", "")


def test_a_segment_of_few_users_cannot_be_worked_out_from_the_others(measured: Measurement) -> None:
    rare = next(cell for cell in measured.segments if cell.name == "rare")
    assert rare.effects is None
    html = page(measured)
    section = html[html.index("<h2>By segment") : html.index("Did the plan pick")]
    assert "rare" not in section
    assert "2 other segments" in section  # the total less three would tell of the fourth


def test_an_unbounded_interval_is_drawn_and_said(measured: Measurement) -> None:
    whole = measured.overall
    endless = dataclasses.replace(whole.iroi, low=-np.inf, high=np.inf)
    html = page(dataclasses.replace(measured, overall=dataclasses.replace(whole, iroi=endless), segments=()))
    assert "no bound to no bound" in html
    assert ">nan" not in html and '="nan' not in html


def test_names_from_outside_are_escaped(measured: Measurement) -> None:
    cells = tuple(dataclasses.replace(cell, name="<b>x</b>") for cell in measured.coupons[:1]) + measured.coupons[1:]
    html = page(dataclasses.replace(measured, campaign="<script>1</script>", coupons=cells))
    assert "<b>x</b>" not in html and "<script>1" not in html


def test_the_command_writes_the_page_and_replaces_it_with_force_alone(
    allocate: Allocate, folder: Path, tmp_path: Path
) -> None:
    words = ["measure", folder / "plan", "--outcomes", folder / "after.parquet", "-o", tmp_path / "m.html"]
    code, out, err = allocate(*words)
    assert code == 0, err
    assert "held out of the same strata" in out and "Written to" in err
    first = (tmp_path / "m.html").read_bytes()
    code, _, err = allocate(*words)
    assert (code, "exists already" in err) == (2, True)
    assert allocate(*words, "--force").code == 0
    assert (tmp_path / "m.html").read_bytes() == first
    code, _, err = allocate(
        "measure", folder / "plan", "--outcomes", folder / "after.parquet", "-o", tmp_path / "m.pdf"
    )
    assert (code, "NAME.html" in err) == (2, True)


def test_outcomes_under_other_names_are_read(allocate: Allocate, folder: Path, tmp_path: Path) -> None:
    after = pd.read_parquet(folder / "after.parquet")
    other = after.rename(columns={"spend": "sales_28d", "user_id": "customer_id"})
    other.to_parquet(tmp_path / "other.parquet")
    words = ["measure", folder / "plan", "--outcomes", tmp_path / "other.parquet"]
    code, _, err = allocate(*words)
    assert (code, "--column spend=NAME" in err) == (3, True)
    plain = allocate("measure", folder / "plan", "--outcomes", folder / "after.parquet")
    named = allocate(*words, "--column", "spend=sales_28d")
    assert named.code == 0, named.err
    assert named.out.splitlines()[:5] == plain.out.splitlines()[:5]
    code, _, err = allocate(*words, "--column", "spent=sales_28d")
    assert (code, "did you mean 'spend'" in err) == (2, True)


def trial(rng: np.random.Generator) -> pd.DataFrame:
    found = pd.DataFrame({"user_id": np.arange(USERS), "coupon": rng.choice(["", "5off"], USERS), "propensity": 0.5})
    found["spend"] = np.round(rng.gamma(1.0, 5.0, USERS), 2)
    return found


def test_a_trial_under_other_names_and_with_a_chance_a_coupon_gives_the_same_values(
    folder: Path, tmp_path: Path
) -> None:
    plain = trial(np.random.default_rng(0))
    found = value_on_log(folder / "plan", plain)
    other = plain.assign(arm=plain.coupon.replace("", "No E-Mail")).drop(columns="coupon")
    again = value_on_log(folder / "plan", other, columns={"coupon": "arm"}, control="No E-Mail")
    assert [value.mean for value in again.values] == [value.mean for value in found.values]
    by_coupon = plain.drop(columns="propensity").assign(**{"propensity[5off]": 0.5})
    assert [value.mean for value in value_on_log(folder / "plan", by_coupon).values] == [
        value.mean for value in found.values
    ]


def test_a_log_whose_chances_are_none_is_refused_by_row(folder: Path) -> None:
    plain = trial(np.random.default_rng(0))
    plain.loc[7, "propensity"] = 0.0
    with pytest.raises(DataError, match=r"above 0 and at most 1.*1 row.*8: 0"):
        value_on_log(folder / "plan", plain)
    with pytest.raises(DataError, match="no row has coupon 'nobody'"):
        value_on_log(folder / "plan", trial(np.random.default_rng(0)), control="nobody")
    with pytest.raises(UsageError, match="no column that is read"):
        value_on_log(folder / "plan", trial(np.random.default_rng(0)), columns={"cuopon": "arm"})


def test_text_that_is_no_number_is_named_by_row(folder: Path) -> None:
    after = pd.read_parquet(folder / "after.parquet")
    texts = after.spend.astype(str)
    texts[2] = "n/a"
    with pytest.raises(DataError, match=r"1 row is none .*3: 'n/a'"):
        measure(folder / "plan", after.assign(spend=texts))


def test_every_stage_of_a_command_has_words_for_a_terminal() -> None:
    """A stage without words made `waves` and `scenario` end with an internal error on a terminal."""
    import allocator.cli

    root = Path(allocator.cli.__file__).parent
    used = {
        name
        for path in root.rglob("*.py")
        for name in re.findall(r"\.stage\((.*?)\)", path.read_text(encoding="utf-8"))
    }
    assert {name.strip('"') for name in used} <= set(STAGES)
