"""Who gets a coupon: rules that are true, cells that point at nobody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from allocator.errors import DataError, UsageError
from allocator.explaining import Segment, Why, explain_coupon, explain_user
from allocator.explaining.features import features
from allocator.explaining.tree import Node, grow
from tests.explaining.conftest import Planned


def nodes(root: Node) -> Iterator[Node]:
    yield root
    for child in root.children:
        yield from nodes(child)


def segments(root: Segment) -> Iterator[Segment]:
    yield root
    for part in root.parts:
        yield from segments(part)


def people(n: int = 4_000) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    table = pd.DataFrame({"age": rng.integers(18, 90, n).astype(float), "spend": rng.gamma(2.0, 30.0, n)})
    table["region"] = rng.choice(["north", "south", "east", "west"], n, p=[0.4, 0.3, 0.2, 0.1])
    table["member"] = rng.random(n) < 0.3
    table["since"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 900, n), unit="D")
    table["name"] = [f"n{k}" for k in range(n)]
    table["same"] = 1
    table.loc[rng.random(n) < 0.1, "age"] = np.nan
    table.loc[rng.random(n) < 0.05, "region"] = None
    return table


def test_a_planted_rule_is_found_and_its_words_hold_for_every_row() -> None:
    table = people()
    has = (((table.region == "north") | (table.region == "west")) & (table.age > 40)).to_numpy()
    usable, left = features(pa.Table.from_pandas(table, preserve_index=False))
    assert left == ["name", "same"]
    root, accounted = grow(usable, has)
    leaf = max((node for node in nodes(root) if not node.children), key=lambda node: has[node.rows].mean())
    assert accounted > 0.9
    assert has[leaf.rows].mean() > 0.95
    told = [node.rule for node in nodes(root)]
    assert any(rule.startswith("region is ") and "north" in rule and "west" in rule for rule in told)
    assert any(rule.startswith("age > ") for rule in told)


def test_each_rule_describes_exactly_the_rows_of_its_segment() -> None:
    table = people()
    rng = np.random.default_rng(0)
    score = 0.02 * table.age.fillna(0) + (table.spend > 75) + 2.0 * table.member + (table.since > "2025-06-30") * 1.5
    has = (score + rng.normal(0, 0.6, len(table)) > 2.6).to_numpy()
    usable, _ = features(pa.Table.from_pandas(table, preserve_index=False))
    root, _ = grow(usable, has)
    checked = 0
    for node in nodes(root):
        for child in node.children:
            column = child.rule.split()[0]
            values = table[column].iloc[node.rows]
            inside = np.isin(node.rows, child.rows)
            if " is " in child.rule:
                wanted = child.rule.split(" is ")[1].split(" or ")
                np.testing.assert_array_equal(inside, values.astype(str).str.lower().isin(wanted))
            elif column == "since":
                cut = pd.Timestamp(child.rule.split()[2]) + pd.Timedelta(days=1)
                np.testing.assert_array_equal(inside, (values < cut) == ("<=" in child.rule))
            else:
                cut = float(child.rule.split()[2].replace(",", ""))
                low = (values <= cut) | (values.isna() & ("unknown" in child.rule))
                np.testing.assert_array_equal(inside, low if "<=" in child.rule else values > cut)
            checked += 1
    assert checked >= 6


@pytest.mark.parametrize("seed", range(8))
def test_no_cell_of_a_tree_is_smaller_than_ten_users(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(20, 400))
    table = pd.DataFrame({"x": rng.normal(size=n), "k": rng.choice(list("abcdef"), n)})
    has = rng.random(n) < 1 / (1 + np.exp(-3 * table.x - 2 * (table.k == "a")))
    usable, _ = features(pa.Table.from_pandas(table, preserve_index=False))
    root, accounted = grow(usable, has.to_numpy())
    assert 0.0 <= accounted <= 1.0
    for node in nodes(root):
        if node is not root:
            held = int(has.to_numpy()[node.rows].sum())
            assert node.rows.size >= 10
            assert held == 0 or held >= 10
            assert node.rows.size - held == 0 or node.rows.size - held >= 10
    leaves = [node for node in nodes(root) if not node.children]
    assert sorted(np.concatenate([leaf.rows for leaf in leaves]).tolist()) == list(range(n))


def test_chance_makes_no_segments() -> None:
    rng = np.random.default_rng(1)
    table = pd.DataFrame(rng.normal(size=(5_000, 20)), columns=[f"f{k}" for k in range(20)])
    usable, _ = features(pa.Table.from_pandas(table, preserve_index=False))
    for seed in range(10):
        root, _ = grow(usable, np.random.default_rng(seed).random(5_000) < 0.2)
        assert not root.children


def test_counts_and_sums_are_those_of_the_plan(finished: Path) -> None:
    plan = pd.read_parquet(finished / "plan" / "plan.parquet")
    offers = pd.read_parquet(finished / "offers.parquet")
    found = explain_coupon(finished / "plan", "c")
    mine, eligible = plan[plan.coupon == "c"], offers[offers.coupon == "c"]
    assert (found.eligible, found.holders) == (len(eligible), len(mine))
    assert found.value == pytest.approx(mine.value.sum()) and found.cost == pytest.approx(mine.cost.sum())
    counts = dict.fromkeys(("loses", "priced_out", "outdone"), 0)
    names = {Why.LOSES: "loses", Why.PRICED_OUT: "priced_out"}
    for user in eligible.user_id:  # judged one by one
        line = next(line for line in explain_user(finished / "plan", user).offers if line.coupon == "c")
        if not line.issued:
            counts[names.get(line.why, "outdone")] += 1
    for name, count in counts.items():
        assert getattr(found, name) == (None if 0 < count < 10 else count), name
    assert {use.name for use in found.limits} <= {"budget", "north", "new", "effort"}  # not those of other coupons
    assert found.by_users is not None and found.by_users.columns == ("region", "segment")
    assert found.by_offers is not None and found.by_offers.columns == ("cost", "value", "minutes", "purchase_with")
    assert found.by_offers.root.holders == len(mine)
    for segment in segments(found.by_offers.root):
        assert segment.share == segment.holders / segment.users
        if segment.parts:
            assert sum(part.users for part in segment.parts) == segment.users


def test_few_holders_are_not_described(every_rule: Path, planned: Planned) -> None:
    folder = planned(budget=3.0, campaign=None)
    for coupon in "abc":
        found = explain_coupon(folder, coupon, users=str(every_rule / "users.csv"))
        if found.holders is None:
            assert found.value is None and found.by_users is None and found.by_offers is None
            assert "Fewer than 10 eligible users get it" in found.notes[-1]
            return
    pytest.fail("no coupon with few holders")


def test_an_unknown_coupon_names_the_nearest(every_rule: Path, finished: Path) -> None:
    with pytest.raises(UsageError, match=r"the plan has no coupon 'A'.*did you mean 'a'"):
        explain_coupon(finished / "plan", "A")


def test_offers_of_another_plan_are_refused(every_rule: Path, planned: Planned) -> None:
    folder = planned()
    offers = pd.read_parquet(every_rule / "offers.parquet")
    offers[offers.user_id > 60].to_parquet(every_rule / "half.parquet", index=False)
    with pytest.raises(DataError, match=r"issues \d+ of coupon 'c', and \d+ of these have a row"):
        explain_coupon(folder, "c", offers=str(every_rule / "half.parquet"))


def test_without_users_the_offers_numbers_still_tell(every_rule: Path, planned: Planned) -> None:
    found = explain_coupon(planned(users=None, campaign=None), "c")
    assert found.by_users is None and found.by_offers is not None
    assert "--users" in found.notes[-1]
