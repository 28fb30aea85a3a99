"""What changed between two plans, counted by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from allocator.errors import UsageError
from allocator.explaining import compare_plans
from tests.explaining.conftest import Planned


def holdings(folder: Path) -> dict[int, tuple[str, ...]]:
    plan = pd.read_parquet(folder / "plan.parquet")
    return {user: tuple(sorted(rows.coupon)) for user, rows in plan.groupby("user_id")}


def test_users_and_transitions_are_counted_as_by_hand(finished: Path) -> None:
    before, after = holdings(finished / "plan"), holdings(finished / "more")
    found = compare_plans(finished / "plan", finished / "more")
    users = before.keys() | after.keys()
    pairs = [(before.get(user, ()), after.get(user, ())) for user in users]
    assert found.counts.kept == sum(one == two for one, two in pairs)
    assert found.counts.switched == sum(bool(one and two) and one != two for one, two in pairs)
    assert found.counts.gained == sum(not one for one, _ in pairs)
    assert found.counts.lost == sum(not two for _, two in pairs)
    assert found.neither == found.after.users - len(users)
    told = {(item.dropped, item.added): item.users for item in found.transitions}
    moves = [(tuple(sorted(set(one) - set(two))), tuple(sorted(set(two) - set(one)))) for one, two in pairs]
    assert told == {move: moves.count(move) for move in set(moves) if move != ((), ())}
    assert any(len(one) == 2 for one in (*before.values(), *after.values()))  # sets of coupons, not only one each


def test_what_is_earned_adds_up_over_coupons_and_segments(finished: Path) -> None:
    found = compare_plans(finished / "plan", finished / "more")
    change = found.after.objective - found.before.objective
    assert found.value == change > 0
    assert sum(item.value[1] - item.value[0] for item in found.coupons) == pytest.approx(change)
    assert sum(item.value for item in found.transitions) == pytest.approx(change)
    for attribute in ("region", "segment"):
        parts = [item for item in found.segments if item.attribute == attribute]
        assert sum(item.value[1] - item.value[0] for item in parts) == pytest.approx(change)
        assert sum(item.counts.kept for item in parts) == found.counts.kept
    assert found.revalued == (0.0, 0.0)
    assert [item.same for item in found.inputs] == [True, True, True]
    assert [item.name for item in found.limits if item.differs] == ["budget"]


def test_a_plan_beside_itself_has_no_changes(finished: Path) -> None:
    found = compare_plans(finished / "plan", finished / "plan")
    assert (found.counts.changed, found.transitions, found.value, found.cost) == (0, (), 0.0, 0.0)


def test_other_offers_are_told_apart_from_other_choices(every_rule: Path, planned: Planned) -> None:
    before = planned("before")
    offers = pd.read_parquet(every_rule / "offers.parquet")
    offers["value"] += 0.25
    offers.to_parquet(every_rule / "offers.parquet", index=False)
    after = planned("after")
    found = compare_plans(before, after)
    assert [item.same for item in found.inputs] == [False, True, True]
    assert found.neither is None
    one, two = (pd.read_parquet(folder / "plan.parquet") for folder in (before, after))
    both = one.merge(two, on=["user_id", "coupon"])
    assert found.revalued[0] == pytest.approx((both.value_y - both.value_x).sum()) == pytest.approx(0.25 * len(both))


def test_ids_of_text_and_of_numbers_are_one_where_they_read_the_same(every_rule: Path, planned: Planned) -> None:
    before = planned("before")
    for name in ("offers.parquet", "users.csv"):
        read, write = (pd.read_parquet, "to_parquet") if name.endswith("parquet") else (pd.read_csv, "to_csv")
        table = read(every_rule / name)
        table["user_id"] = table["user_id"].astype(str)
        getattr(table, write)(every_rule / name, index=False)
    (every_rule / "users.csv").rename(every_rule / "old.csv")
    pd.read_csv(every_rule / "old.csv", dtype=str).to_parquet(every_rule / "users.parquet", index=False)
    after = planned("after", users="users.parquet")
    found = compare_plans(before, after)
    assert found.counts.changed == 0 and found.counts.kept > 0
    assert all(item.level != "not in users" for item in found.segments)


def test_a_coupon_or_limit_that_only_one_plan_has_is_listed(every_rule: Path, planned: Planned) -> None:
    before = planned("before")
    (every_rule / "campaign.toml").write_text('[campaign]\ncurrency = "USD"\n')
    offers = pd.read_parquet(every_rule / "offers.parquet")
    offers[offers.coupon != "b"].to_parquet(every_rule / "offers.parquet", index=False)
    found = compare_plans(before, planned("after"))
    gone = {item.name: item for item in found.limits}["north"]
    assert gone.before is not None and gone.after is None and gone.differs
    assert {item.name: item.issued[1] for item in found.coupons}["b"] == 0
    assert [item.same for item in found.inputs] == [False, True, False]


def test_small_segments_are_put_together(every_rule: Path, planned: Planned) -> None:
    users = pd.read_csv(every_rule / "users.csv")
    users["shop"] = [f"s{user % 20}" if user <= 60 else "web" for user in users.user_id]
    users.to_csv(every_rule / "users.csv", index=False)
    before, after = planned("before"), planned("after", budget=60.0)
    found = compare_plans(before, after, by=["shop"])
    assert [item.level for item in found.segments] == ["web", "(all others)"]
    assert sum(item.users for item in found.segments) == sum(
        (found.counts.kept, found.counts.switched, found.counts.gained, found.counts.lost)
    )
    with pytest.raises(UsageError, match=r"no column 'shops'.*did you mean 'shop'"):
        compare_plans(before, after, by=["shops"])


def test_a_users_table_that_is_gone_costs_the_segments_only(every_rule: Path, planned: Planned) -> None:
    before, after = planned("before"), planned("after", budget=60.0)
    (every_rule / "users.csv").unlink()
    found = compare_plans(before, after)
    assert found.segments == () and "Nothing is told by segment" in found.notes[0]
    with pytest.raises(UsageError, match="--by needs a users table"):
        compare_plans(planned("one", users=None, campaign=None), planned("two", users=None, campaign=None), by=["x"])


def test_folders_of_earlier_versions_can_be_compared(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "plan", tmp_path / "old")
    file = tmp_path / "old" / "manifest.json"
    manifest = json.loads(file.read_text())
    del manifest["source"], manifest["campaign"]
    file.write_text(json.dumps(manifest))
    found = compare_plans(tmp_path / "old", finished / "more")
    assert found.value > 0
    assert [item.same for item in found.inputs] == [None, None, None]


def test_amounts_in_two_currencies_are_not_compared(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "plan", tmp_path / "euro")
    file = tmp_path / "euro" / "summary.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"currency": "EUR"}))
    with pytest.raises(UsageError, match="EUR, the second in USD"):
        compare_plans(tmp_path / "euro", finished / "more")


def test_a_plan_that_issues_nothing_compares_too(every_rule: Path, planned: Planned) -> None:
    offers = pd.read_parquet(every_rule / "offers.parquet")
    before = planned("before", campaign=None)
    offers["value"] = -1.0
    offers.to_parquet(every_rule / "offers.parquet", index=False)
    nothing = planned("nothing", campaign=None)
    assert compare_plans(before, nothing).counts.lost == len(holdings(before))
    assert compare_plans(nothing, nothing).counts.changed == 0
