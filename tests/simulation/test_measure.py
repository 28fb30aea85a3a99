"""`measure`: the truth of a made-up campaign is found, and bad input is named, counted, refused or set aside."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from allocator.errors import DataError, UsageError
from allocator.reporting.measurement import headline
from allocator.simulation import measure
from allocator.simulation.assignment import coupons_of, in_order
from allocator.simulation.logged import value_on_log
from allocator.simulation.naming import Remark
from allocator.simulation.targeting import public_scores
from allocator.tables.plan_folder import PlanFolder, read_plan_folder
from tests.benchmarks.measurement import write_campaign
from tests.simulation import worlds

USERS = 4_000
Changed = Callable[[pd.DataFrame], Any]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame, worlds.World]:
    plan, outcomes, world = write_campaign(tmp_path_factory.mktemp("run"), USERS, share=0.2)
    return plan, pd.read_parquet(outcomes), world


Run = tuple[Path, pd.DataFrame, worlds.World]


def test_the_truth_lies_in_the_intervals(run: Run) -> None:
    plan, outcomes, world = run
    found = measure(plan, outcomes)
    arm, whole = world.treated, found.overall
    assert whole.treated == arm.sum()
    assert whole.control == (~arm).sum()
    assert whole.lift.low < (world.spend[:, 1] - world.spend[:, 0])[arm].mean() < whole.lift.high
    assert whole.net.low < (world.gain() - world.cost())[arm].sum() < whole.net.high
    assert whole.iroi.low < world.gain()[arm].sum() / world.cost()[arm].sum() - 1 < whole.iroi.high
    assert whole.cost == pytest.approx(world.cost()[arm].sum())
    assert whole.redemptions == outcomes["redeemed"].sum()
    assert [cell.name for cell in found.coupons] == ["10off", "20off", "5off"]
    assert found.balance is not None
    assert found.balance.p_value > 0.001
    assert found.qini is not None
    rank = np.argsort(np.argsort(-world.assignment.value))
    area = ((world.gain() - world.cost()) * (0.5 - (rank + 0.5) / USERS)).mean()
    assert found.qini.coefficient.low < area < found.qini.coefficient.high
    assert len(found.fifths) == 5
    assert (found.contaminated, found.moved) == (0, 0)
    assert [note for note in found.notes if "returns of goods" not in note] == []  # a coupon may exceed a made-up spend
    assert whole.variance_kept < 0.9


def test_the_order_of_rows_and_the_type_of_table_change_nothing(run: Run, tmp_path: Path) -> None:
    plan, outcomes, _ = run
    outcomes.sample(frac=1, random_state=1).to_csv(tmp_path / "after.csv", index=False)
    one, two = measure(plan, outcomes), measure(plan, tmp_path / "after.csv")
    assert one.overall.net.value == pytest.approx(two.overall.net.value, abs=1e-6)


def test_small_groups_are_not_shown(run: Run) -> None:
    plan, outcomes, _ = run
    users = pd.DataFrame({"user_id": np.arange(USERS), "segment": np.where(np.arange(USERS) < 15, "few", "many")})
    few, many = measure(plan, outcomes, users=users).segments
    assert (few.name, few.effects) == ("few", None)
    assert many.effects is not None
    assert many.adjusted_p == many.effects.lift.p_value  # one group is no multiple comparison
    with pytest.raises(UsageError, match="no column 'region'"):
        measure(plan, outcomes, users=users, by=["region"])


def test_without_discounts_the_cost_is_what_the_plan_expected_and_that_is_said(run: Run) -> None:
    plan, outcomes, world = run
    found = measure(plan, outcomes.drop(columns="discount"))
    assert found.overall.cost == pytest.approx(2.0 * world.treated.sum())
    assert any("as the plan expected" in note for note in found.notes)


def test_without_a_margin_the_campaign_files_default_is_taken_and_that_is_said(run: Run, tmp_path: Path) -> None:
    plan, outcomes, _ = run
    copy = tmp_path / "plan"
    copy.mkdir()
    for file in plan.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    (copy / "manifest.json").write_text(json.dumps({"campaign": None, "source": {}}))
    found = measure(copy, outcomes)
    assert found.money.margin == 0.3
    assert any("taken as 30 %" in note for note in found.notes)
    assert measure(copy, outcomes, margin=worlds.MARGIN).money.margin == worlds.MARGIN


def test_a_plan_without_a_control_group_is_refused(run: Run, tmp_path: Path) -> None:
    plan, outcomes, _ = run
    for name in ("manifest.json", "summary.json", "plan.parquet"):
        (tmp_path / name).write_bytes((plan / name).read_bytes())
    with pytest.raises(DataError, match="no control group"):
        measure(tmp_path, outcomes)


BAD: dict[str, tuple[Changed, str]] = {
    "double rows": (lambda t: pd.concat([t, t.head(2)]), r"2 rows repeat a user_id \(rows 4,001, 4,002: users 0, 1\)"),
    "strangers only": (lambda t: t.assign(user_id=t.user_id + 10**6), "all 4,000 rows are of users"),
    "absent users": (lambda t: t.iloc[3:], r"3 users of the campaign \(e.g. 0, 1, 2\) have no row.*--absent zero"),
    "early": (
        lambda t: t.assign(time=["2026-02-27"] + ["2026-03-05"] * (USERS - 1)),
        r"1 row is dated.*\(row 1: 2026-02-27",
    ),
    "no date": (lambda t: t.assign(time="soon"), "holds no dates"),
    "no spend": (lambda t: t.drop(columns="spend"), "column 'spend' is missing"),
    "numbers for dates": (lambda t: t.assign(time=1_772_000_000), r"'time' holds no dates \(its type is int64\)"),
    "truth values for spend": (lambda t: t.assign(spend=t.spend > 0), "'spend' must hold numbers, not bool"),
    "empty spend": (lambda t: t.assign(spend=t.spend.where(t.user_id != 7)), "'spend' is empty or NaN in 1 row"),
    "infinite spend": (lambda t: t.assign(spend=t.spend.where(t.user_id != 7, np.inf)), "'spend' is not a finite"),
    "text": (lambda t: t.assign(spend="much"), "must hold numbers"),
    "purchased twice": (lambda t: t.assign(purchased=2), "neither 0 nor 1 in 4,000 rows"),
    "negative discount": (lambda t: t.assign(discount=-1.0), "'discount' is negative"),
    "other ids": (lambda t: t.assign(user_id=t.user_id.astype(str) + "x"), "write both the same way"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_outcomes_are_named_counted_and_refused(run: Run, name: str) -> None:
    plan, outcomes, _ = run
    change, words = BAD[name]
    with pytest.raises(DataError, match=words):
        measure(plan, change(outcomes), start="2026-03-01")


def test_a_start_that_is_no_date_is_refused(run: Run) -> None:
    with pytest.raises(UsageError, match="start is 'gestern'"):
        measure(run[0], run[1], start="gestern")


def test_outcomes_on_and_after_the_start_are_taken(run: Run) -> None:
    dated = run[1].assign(time=pd.Timestamp("2026-03-01"))
    assert measure(run[0], dated, start="2026-03-01").overall.treated == run[2].treated.sum()
    assert any("was not checked" in note for note in measure(run[0], dated).notes)


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York", "+05:30"])
def test_times_with_a_zone_are_read_by_the_clock_of_that_zone(run: Run, zone: str) -> None:
    dated = run[1].assign(time=pd.Timestamp("2026-03-01 00:10", tz=zone))
    assert measure(run[0], dated, start="2026-03-01").overall.treated == run[2].treated.sum()
    with pytest.raises(DataError, match="2026-03-01 00:10:00"):
        measure(run[0], dated, start="2026-03-02")


def test_rows_without_a_date_are_counted(run: Run) -> None:
    dated = run[1].assign(time=[None, None, *["2026-03-05"] * (USERS - 2)])
    found = measure(run[0], dated, start="2026-03-01")
    assert any("'time' is empty in 2 rows (rows 1, 2)" in note for note in found.notes)


def test_returns_are_counted_and_stay(run: Run) -> None:
    plan, outcomes, _ = run
    found = measure(plan, outcomes.assign(spend=outcomes.spend.where(outcomes.user_id > 2, -9.0)))
    note = next(note for note in found.notes if "'spend' is negative in" in note)
    assert "(rows 1, 2, 3: -9, -9, -9)" in note and isinstance(note, Remark) and "-9" not in note.public


def test_outcomes_without_a_single_purchase_are_doubted(run: Run) -> None:
    plan, outcomes, _ = run
    found = measure(plan, outcomes.assign(spend=0.0, discount=0.0))
    assert any("Nobody of the campaign spent anything" in note for note in found.notes)
    assert "nan" not in headline(found)


def test_public_scores_are_those_of_the_net_gain_as_it_came(run: Run) -> None:
    plan, outcomes, world = run
    found = measure(plan, outcomes).public_scores
    table = pd.read_parquet(plan / "propensities.parquet")
    margin, paid = worlds.MARGIN * (outcomes.spend + outcomes.discount), outcomes.discount
    net = margin - paid - worlds.CONTACT * world.treated
    expected = public_scores(net.to_numpy(), table.planned_value.to_numpy(), world.treated)
    assert found is not None
    assert (found.qini_score, found.auuc_score) == pytest.approx((expected.qini_score, expected.auuc_score))


def test_a_groups_share_is_of_what_its_own_control_users_spend(run: Run) -> None:
    plan, outcomes, world = run
    rich = outcomes.pre_spend > outcomes.pre_spend.median()
    users = pd.DataFrame({"user_id": outcomes.user_id, "segment": np.where(rich, "rich", "poor")})
    for cell in measure(plan, outcomes, users=users).segments:
        spend = outcomes.spend[(rich == (cell.name == "rich")) & ~world.treated].mean()
        assert cell.effects is not None
        assert cell.effects.control_spend == pytest.approx(spend, rel=0.1)
        assert cell.effects.share.value == pytest.approx(cell.effects.lift.value / spend, rel=0.15)


def test_unknown_users_are_counted_and_set_aside(run: Run) -> None:
    plan, outcomes, _ = run
    more = pd.concat([outcomes, outcomes.head(5).assign(user_id=lambda t: t.user_id + 10**6)])
    found = measure(plan, more)
    assert found.overall == measure(plan, outcomes).overall
    assert any("5 rows are of users that the campaign does not know" in note for note in found.notes)


def test_absent_users_count_as_buyers_of_nothing_or_are_set_aside_as_asked(run: Run) -> None:
    plan, outcomes, _ = run
    buyers = outcomes[outcomes.spend != 0]
    zero = measure(plan, buyers.drop(columns="pre_spend"), absent="zero")
    whole = measure(plan, outcomes.drop(columns="pre_spend"))
    assert zero.overall.lift.value == pytest.approx(whole.overall.lift.value)
    drop = measure(plan, buyers, absent="drop")
    assert drop.overall.treated + drop.overall.control == len(buyers)
    with pytest.raises(UsageError, match="absent is 'perhaps'"):
        measure(plan, outcomes, absent="perhaps")


def test_missing_rows_that_depend_on_the_arm_are_noticed(run: Run) -> None:
    plan, outcomes, world = run
    lost = np.flatnonzero(~world.treated)[::5]
    found = measure(plan, outcomes.drop(index=lost), absent="drop")
    assert found.answered[2] < 1e-6
    assert any("who is missing depends on the coupon" in note for note in found.notes)


def test_held_out_users_who_got_a_coupon_anyway_stay_and_are_counted(run: Run) -> None:
    plan, outcomes, world = run
    reached = np.flatnonzero(~world.treated)[:80]
    changed = outcomes.assign(coupon=np.where(world.treated, "10off", "none"))
    changed.loc[reached, "coupon"] = "10off"
    changed.loc[reached, "spend"] = world.spend[reached, 1]
    found = measure(plan, changed)
    assert found.contaminated == 80
    assert found.overall.control == (~world.treated).sum()
    assert any("80 held-out users" in note and "got a coupon anyway" in note for note in found.notes)
    assert found.corrected is not None
    assert found.corrected.value == pytest.approx(found.overall.lift.value / 0.9, rel=0.02)


def test_usual_other_names_of_columns_are_read_and_that_is_said(run: Run) -> None:
    plan, outcomes, _ = run
    found = measure(plan, outcomes.rename(columns={"spend": "sales_value", "user_id": "household_id"}))
    assert [note for note in found.notes if "is read as" in note]


def other_folder(plan: Path, folder: Path, keep: np.ndarray) -> Path:
    """Write a plan that gives only some users what this one planned."""
    folder.mkdir()
    summary = json.loads((plan / "summary.json").read_text(encoding="utf-8"))
    (folder / "summary.json").write_text(json.dumps({**summary, "issued": int(keep.sum())}), encoding="utf-8")
    (folder / "manifest.json").write_bytes((plan / "manifest.json").read_bytes())
    table = pd.read_parquet(plan / "propensities.parquet")[["user_id", "planned"]].rename(columns={"planned": "coupon"})
    table[keep].assign(value=1.0, cost=1.0).to_parquet(folder / "plan.parquet")
    return folder


def test_another_plan_is_valued_on_these_outcomes(run: Run, tmp_path: Path) -> None:
    plan, outcomes, world = run
    keep = world.assignment.value > np.median(world.assignment.value)
    found = measure(plan, outcomes, other=other_folder(plan, tmp_path / "other", keep)).other
    assert found is not None
    without = worlds.MARGIN * world.spend[:, 0]
    truth = without + np.where(keep, world.gain() - world.cost(), 0.0)
    for value in found.net:
        assert value.mean.low < truth.mean() < value.mean.high, value
    gap = (np.where(keep, 0.0, -1.0) * (world.gain() - world.cost())).mean()
    assert found.difference.low < gap < found.difference.high
    assert (found.users, found.different, found.new) == (USERS, 0, 0)


def test_several_coupons_of_a_user_are_the_same_in_any_order() -> None:
    assert in_order(np.array(["b+a", "", "a+b", "c"], object)).tolist() == ["a+b", "", "a+b", "c"]
    table = pa.table({"user_id": [2, 1, 2, 9], "coupon": ["b", "c", "a", "a"]})
    gives = coupons_of(PlanFolder(Path("plan"), table, {}, {}), pa.array([1, 2, 3]), "here")
    assert gives.tolist() == ["c", "a+b", ""]


def test_planned_redemptions_are_those_of_the_users_who_are_measured(run: Run) -> None:
    plan, outcomes, world = run
    folder = read_plan_folder(plan)
    assert np.isnan(measure(folder, outcomes).planned_redemptions)
    chance = np.linspace(0.1, 0.4, folder.plan.num_rows)
    told = replace(folder, plan=folder.plan.append_column("redeem_probability", pa.array(chance)))
    assert measure(told, outcomes).planned_redemptions == pytest.approx(chance.sum())
    lost = np.flatnonzero(world.treated)[:3]  # the plan's rows are the treated in order
    left = measure(told, outcomes.drop(index=lost), absent="drop").planned_redemptions
    assert left == pytest.approx(chance[3:].sum())


def test_another_plan_that_knows_who_was_held_out_is_refused(run: Run) -> None:
    plan, outcomes, _ = run
    with pytest.raises(DataError, match="knows who was held out"):
        measure(plan, outcomes, other=plan)


def test_a_plan_is_valued_on_a_trial_with_propensities(run: Run, tmp_path: Path) -> None:
    plan, _, world = run
    rng = np.random.default_rng(5)
    arm = rng.random(USERS) < 0.5  # the trial drew the planned coupon or none
    coupon = np.array(worlds.COUPONS)[world.assignment.planned]
    trial = pd.DataFrame(
        {
            "user_id": np.arange(USERS),
            "coupon": np.where(arm, coupon, "control"),
            "propensity": 0.5,
            "spend": np.where(arm, world.spend[:, 1], world.spend[:, 0]),
            "before": world.columns["pre_spend"],
        }
    )
    folder = other_folder(plan, tmp_path / "other", np.arange(USERS) % 2 == 0)
    found = value_on_log(folder, trial, clip=1.5)
    truth = np.where(np.arange(USERS) % 2 == 0, world.spend[:, 1], world.spend[:, 0]).mean()
    for value in found.values[:3]:
        assert value.mean.low < truth < value.mean.high, value
    assert found.weight_mean.low < 1 < found.weight_mean.high
    assert found.values[3].capped > 0
    wrong = value_on_log(folder, trial.assign(propensity=0.9))
    assert any("propensities are wrong" in note for note in wrong.notes)
    with pytest.raises(DataError, match="column 'propensity' is missing"):
        value_on_log(folder, trial.drop(columns="propensity"))
    with pytest.raises(DataError, match="1 row repeats a user_id"):
        value_on_log(folder, pd.concat([trial, trial.head(1)]))
    with pytest.raises(DataError, match="are these the same users"):
        value_on_log(folder, trial.assign(user_id=trial.user_id + 10**6))
    with pytest.raises(DataError, match=r"no user got what the plan .* gives.*written the same way"):
        value_on_log(folder, trial.assign(coupon="c" + trial.coupon), control=None)
    with pytest.raises(DataError, match=r"'before' is empty or NaN in 1 row.*leave the column out"):
        value_on_log(folder, trial.assign(before=trial.before.where(trial.user_id > 0)))
    cut = value_on_log(folder, trial, clip=1.5)
    assert any("a bias that is in no interval" in note for note in cut.notes)
    assert not any("in no interval" in note for note in value_on_log(folder, trial).notes)


def test_estimates_on_a_trial_are_those_of_the_formulas(run: Run, tmp_path: Path) -> None:
    plan, outcomes, world = run
    rng = np.random.default_rng(6)
    chance = rng.uniform(0.2, 0.8, USERS)
    arm = rng.random(USERS) < chance
    coupon = np.array(worlds.COUPONS)[world.assignment.planned]
    trial = pd.DataFrame(
        {
            "user_id": np.arange(USERS),
            "coupon": np.where(arm, coupon, "none"),
            "propensity": np.where(arm, chance, 1 - chance),
            "spend": outcomes.spend,
        }
    )
    gives = np.arange(USERS) % 3 == 0
    found = value_on_log(other_folder(plan, tmp_path / "other", gives), trial)
    weight = (arm == gives) / trial.propensity
    ips = (weight * trial.spend).mean()
    assert found.values[0].mean.value == pytest.approx(ips, abs=1e-9)
    assert found.values[1].mean.value == pytest.approx(ips / weight.mean(), abs=1e-9)
    assert found.matched == int((arm == gives).sum())


def test_another_plan_for_other_users_is_refused(run: Run, tmp_path: Path) -> None:
    plan, outcomes, _ = run
    other = other_folder(plan, tmp_path / "other", np.ones(USERS, bool))
    table = pd.read_parquet(other / "plan.parquet")
    table.assign(user_id=table.user_id + 10**6).to_parquet(other / "plan.parquet")
    with pytest.raises(DataError, match="no user gets the same coupon"):
        measure(plan, outcomes, other=other)
