from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from allocator.errors import DataError, UsageError
from allocator.history import (
    Profiles,
    ProfileSchema,
    adding,
    profiles,
    read_products,
    read_transactions,
    read_trial,
    read_users,
)
from allocator.history.adding import InAnyOrder, InOrder
from tests.history.worlds import NOW, departments, many, products, three_visits, trial, write


def made(
    folder: Path, table: pd.DataFrame, goods: pd.DataFrame | None = None, ending: str = "parquet", **options: object
) -> Profiles:
    catalogue = None if goods is None else read_products(write(goods, folder / "p.csv"))
    return profiles(read_transactions(write(table, folder / f"t.{ending}"), now=NOW), catalogue, **options)  # type: ignore[arg-type]


def test_every_feature_of_two_users_by_hand(tmp_path: Path) -> None:
    found = made(tmp_path, three_visits(), products(), as_of="2026-01-20")
    assert found.user_ids.to_pylist() == ["ann", "bob"]
    nan = np.nan
    expected = {
        "recency": [4 + 11 / 24, 9 + 4 / 24],
        "tenure": [14 + 14.5 / 24, 9 + 4 / 24],
        "visits": [2, 1],
        "visits_90": [2, 1],
        "money": [18, 3],
        "money_90": [18, 3],
        "basket_money": [9, 3],
        "basket_units": [3.5, 1],
        "basket_lines": [1.5, 1],
        "unit_price": [18 / 7, 3],
        "gap": [10 + 3.5 / 24, nan],
        "overdue": [(4 + 11 / 24) / (10 + 3.5 / 24), nan],
        "trend_money": [1, 1],
        "trend_visits": [1, 1],
        "discount_share": [2 / 20, 0],
        "discounted_lines": [1 / 3, 0],
        "hour_night": [0, 0],
        "hour_morning": [0.5, 0],
        "hour_afternoon": [0.5, 0],
        "hour_evening": [0, 1],
        "weekday_monday": [0.5, 0],
        "weekday_thursday": [0.5, 0],
        "weekday_saturday": [0, 1],
        "category[GROCERY]": [12 / 18, 1],
        "category[DRUG]": [6 / 18, 0],
        "category_other": [0, 0],
    }
    for name, numbers in expected.items():
        np.testing.assert_allclose(found[name], numbers, rtol=1e-6, err_msg=name)
    assert {*found.schema.names} - {*expected} == {f"weekday_{d}" for d in ("tuesday", "wednesday", "friday", "sunday")}
    assert found.matrix.dtype == np.float32


def test_windows_and_trends_split_at_90_and_180_days(tmp_path: Path) -> None:
    days = ["2025-12-31", "2025-10-03", "2025-10-02", "2025-07-06", "2025-07-01"]  # 1, 90, 91, 179, 184 days before
    table = pd.DataFrame({"user_id": 1, "item_id": 1, "time": pd.to_datetime(days), "amount": [1.0, 2, 4, 8, 16]})
    found = made(tmp_path, table, as_of="2026-01-01")
    assert found["visits"] == 5
    assert (found["visits_90"], found["money_90"]) == (2, 3)
    np.testing.assert_allclose(found["trend_money"], (3 - 12) / 15)
    np.testing.assert_allclose(found["trend_visits"], 0)


def test_nothing_that_happens_from_the_moment_on_changes_anything(tmp_path: Path) -> None:
    table = many()
    cut = pd.Timestamp("2025-09-01 12:00")
    past = made(tmp_path, table[table["time"] < cut], departments(), as_of=cut)
    rng = np.random.default_rng(1)
    later = table["time"] >= cut
    changed = table.assign(
        amount=np.where(later, 1e6, table["amount"]),
        item_id=np.where(later, 1, table["item_id"]),
        user_id=np.where(later, rng.integers(1, 900, len(table)), table["user_id"]),
        basket_id=np.where(later, 1, table["basket_id"]),
    )
    both = made(tmp_path, changed, departments(), as_of=cut)
    assert both.schema == past.schema
    assert both.user_ids.equals(past.user_ids)
    np.testing.assert_array_equal(both.matrix, past.matrix)


def test_a_line_at_the_very_moment_is_not_known_yet(tmp_path: Path) -> None:
    found = made(tmp_path, three_visits(), as_of="2026-01-10 20:00", users=["ann", "bob"])
    assert found["visits"].tolist() == [1, 0]


def test_users_may_each_have_their_own_moment(tmp_path: Path) -> None:
    table = many()
    ids, moments = np.array([5, 9, 400]), np.array(["2025-03-01", "2025-09-01", "2025-06-01"], "datetime64[s]")
    schema = made(tmp_path, table, departments(), as_of="2025-06-01").schema
    each = made(tmp_path, table, departments(), users=ids, as_of=moments, schema=schema)
    for row, (user, at) in enumerate(zip(ids, moments, strict=True)):
        alone = made(tmp_path, table, departments(), users=[user], as_of=at, schema=schema)
        np.testing.assert_array_equal(each.matrix[:, row], alone.matrix[:, 0])


def test_users_without_history_get_zero_counts_and_missing_shares(tmp_path: Path) -> None:
    found = made(tmp_path, three_visits(), products(), users=["bob", "new"], as_of="2026-01-20")
    assert found.known.tolist() == [True, False]
    for feature in found.schema.features:
        np.testing.assert_equal(found[feature.name][1], feature.empty)


def test_features_agree_with_a_plain_group_by(tmp_path: Path) -> None:
    table = many()
    found = made(tmp_path, table, departments(), as_of="2025-12-01")
    past = table[table["time"] < "2025-12-01"].merge(departments(), "left")
    groups = past.groupby("user_id")
    first = past.drop_duplicates("basket_id").groupby("user_id")["time"]
    assert found.user_ids.to_pylist() == list(groups.groups)
    np.testing.assert_array_equal(found["visits"], groups["basket_id"].nunique())
    np.testing.assert_allclose(found["money"], groups["amount"].sum(), rtol=1e-6)
    np.testing.assert_allclose(found["hour_morning"], first.apply(lambda t: t.dt.hour.between(6, 11).mean()), rtol=1e-6)
    np.testing.assert_allclose(
        found["weekday_sunday"], first.apply(lambda t: (t.dt.day_of_week == 6).mean()), rtol=1e-6
    )
    meat = past["amount"].where(past["department"] == "MEAT", 0.0).groupby(past["user_id"]).sum()
    np.testing.assert_allclose(found["category[MEAT]"], meat / groups["amount"].sum(), rtol=1e-6)
    other = past["amount"].where(past["department"].isna(), 0.0).groupby(past["user_id"]).sum()
    np.testing.assert_allclose(found["category_other"], other / groups["amount"].sum(), rtol=1e-5, atol=1e-9)
    assert found.unknown_items == past["department"].isna().sum()


ORDERS = {
    "oldest first": lambda t: t.sort_values("time", kind="stable"),
    "newest first": lambda t: t.sort_values("time", ascending=False, kind="stable"),
    "by user": lambda t: t.sort_values(["user_id", "time"], kind="stable"),
    "none": lambda t: t.sample(frac=1.0, random_state=3),
}


@pytest.mark.parametrize("baskets", [True, False])
@pytest.mark.parametrize("order", list(ORDERS))
def test_the_order_of_the_rows_and_the_size_of_batches_change_nothing(
    tmp_path: Path, order: str, baskets: bool
) -> None:
    table = many(6_000) if baskets else many(6_000).drop(columns="basket_id")
    expected = made(tmp_path, table, departments(), as_of="2025-12-01")
    small = dataclasses.replace(
        read_transactions(write(ORDERS[order](table), tmp_path / "o.parquet"), now=NOW), batch_rows=257
    )
    found = profiles(small, read_products(write(departments(), tmp_path / "p.csv")), as_of="2025-12-01")
    np.testing.assert_allclose(found.matrix, expected.matrix, rtol=1e-6)
    np.testing.assert_array_equal(found["visits"], expected["visits"])


def test_lines_in_order_need_no_set_of_baskets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(_: object) -> None:
        raise AssertionError("all baskets are remembered")

    monkeypatch.setattr(InAnyOrder, "__init__", forbidden)
    for name in ("oldest first", "newest first", "by user"):
        made(tmp_path, ORDERS[name](many(3_000)), as_of="2025-12-01")


def test_more_baskets_at_one_moment_than_can_be_remembered_are_still_told_apart(tmp_path: Path) -> None:
    n = InOrder(1, 1)._ring.shape[1] + 3
    table = pd.DataFrame(
        {
            "user_id": 1,
            "item_id": 1,
            "time": pd.Timestamp("2025-05-01"),
            "amount": 1.0,
            "basket_id": [*range(n), *range(n)],
        }
    )
    assert made(tmp_path, table)["visits"] == n


def test_a_missing_basket_id_is_told_by_its_time(tmp_path: Path) -> None:
    table = three_visits().assign(basket_id=["b1", "b1", None, None])
    assert made(tmp_path, table)["visits"].tolist() == [2, 1]


def test_days_without_a_clock_have_no_hours(tmp_path: Path) -> None:
    found = made(tmp_path, three_visits().assign(time=three_visits()["time"].dt.date))
    assert not [name for name in found.schema.names if name.startswith("hour")]


def test_by_default_everything_is_known_and_the_last_line_too(tmp_path: Path) -> None:
    found = made(tmp_path, three_visits())
    assert found["visits"].tolist() == [2, 1]
    assert found.as_of == pd.Timestamp("2026-01-15 13:00:01").timestamp()


def test_a_schema_survives_json_and_makes_the_same_columns_of_other_data(tmp_path: Path) -> None:
    table = many()
    schema = made(tmp_path, table, departments(), as_of="2025-06-01").schema
    again = ProfileSchema.of_document(json.loads(json.dumps(schema.document())))
    assert again == schema
    days = table.drop(columns="discount").assign(time=table["time"].dt.normalize())
    later = made(tmp_path, days, departments(), as_of="2025-12-01", schema=again)
    assert later.schema.names == schema.names
    with pytest.raises(DataError, match="version 99"):
        ProfileSchema.of_document({**schema.document(), "version": 99})
    with pytest.raises(DataError, match="not whole"):
        ProfileSchema.of_document({"version": 1})


def test_a_schema_with_categories_needs_the_products(tmp_path: Path) -> None:
    schema = made(tmp_path, many(), departments()).schema
    with pytest.raises(DataError, match="no products are given"):
        made(tmp_path, many(), schema=schema)


def test_every_feature_has_a_unit_and_a_meaning_and_its_own_name() -> None:
    features = ProfileSchema(("A", "other"), "department").features
    assert len({feature.name for feature in features}) == len(features)
    assert all(feature.unit and feature.meaning for feature in features)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_text_and_integer_ids_of_all_tables_meet(tmp_path: Path, ending: str) -> None:
    table = many(2_000)
    texts = table.assign(user_id=[f"u{number}" for number in table["user_id"]])
    numbers = made(tmp_path, table, ending=ending, as_of="2025-12-01")
    words = made(
        tmp_path, texts, ending=ending, as_of="2025-12-01", users=[f"u{n}" for n in numbers.user_ids.to_pylist()]
    )
    np.testing.assert_array_equal(words.matrix, numbers.matrix)


def test_integers_of_csv_meet_text_elsewhere_but_integers_of_parquet_do_not(tmp_path: Path) -> None:
    table = many(2_000)
    people = read_users(write(pd.DataFrame({"user_id": ["1", "2", "x"]}), tmp_path / "u.parquet"))
    assert made(tmp_path, table, users=people, ending="csv").known.tolist() == [True, True, False]
    with pytest.raises(DataError, match="user_id holds integers here but text in"):
        made(tmp_path, table, users=people)
    texts = table.assign(user_id=[*(str(number) for number in table["user_id"][1:]), "x"])
    everybody = read_trial(write(trial(300), tmp_path / "trial.csv"))
    assert made(tmp_path, texts, users=everybody).known.sum() > 200


def test_wrong_wishes_are_usage_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="users is not given"):
        made(tmp_path, three_visits(), as_of=np.array(["2026-01-01"], "datetime64[s]"))
    with pytest.raises(UsageError, match=r"shape \(1,\); there are 2 users"):
        made(tmp_path, three_visits(), as_of=np.array(["2026-01-01"], "datetime64[s]"), users=["ann", "bob"])
    with pytest.raises(DataError, match=r"1 id is there more than once \(e.g. ann\)"):
        made(tmp_path, three_visits(), users=["ann", "bob", "ann"])
    with pytest.raises(UsageError, match="did you mean 'recency'"):
        made(tmp_path, three_visits())["recensy"]


def test_a_hash_set_of_baskets_grows_without_losing_one() -> None:
    adding.FIRST_SLOTS, kept = 16, adding.FIRST_SLOTS
    try:
        teller = InAnyOrder()
    finally:
        adding.FIRST_SLOTS = kept
    n = 5_000
    table = np.zeros((1, 40))
    for _ in range(2):
        teller.add(
            np.zeros(n, np.int32), np.arange(n), np.arange(1, n + 1).astype(np.uint64), np.array([n + 1]), 10, table
        )
    assert table[0, 5] == n
