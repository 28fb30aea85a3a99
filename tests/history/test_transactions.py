from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from allocator.errors import DataError, UsageError
from allocator.history import moment, profiles, read_transactions
from tests.history.worlds import NOW, many, three_visits, write


def read_all(path: str) -> pd.DataFrame:
    parts = [
        pd.DataFrame({"user": b.users, "item": b.items, "time": b.moments, "amount": b.amount})
        for b in read_transactions(path, now=NOW).lines()
    ]
    return pd.concat(parts, ignore_index=True)


def test_csv_and_parquet_give_the_same_lines(tmp_path: Path) -> None:
    table = three_visits()
    csv, parquet = (read_all(write(table, tmp_path / f"t.{ending}")) for ending in ("csv", "parquet"))
    pd.testing.assert_frame_equal(csv, parquet)
    assert csv["user"].tolist() == table["user_id"].tolist()
    assert (csv["time"].to_numpy() == table["time"].to_numpy().astype("datetime64[s]")).all()


def test_a_folder_is_read_file_by_file_and_faults_name_their_file(tmp_path: Path) -> None:
    table = three_visits()
    write(table, tmp_path / "a.csv")
    write(table.assign(amount=[1.0, -2.0, 3.0, 4.0]), tmp_path / "b.csv")
    faults = read_transactions(tmp_path, now=NOW).faults()
    assert (faults.rows, faults.total) == (8, 1)
    assert f"row 2 of {tmp_path / 'b.csv'}" in str(faults)


def test_common_names_of_columns_are_taken_and_noted(tmp_path: Path) -> None:
    renamed = {
        "user_id": "household_id",
        "item_id": "product_id",
        "time": "transaction_timestamp",
        "amount": "sales_value",
    }
    found = read_transactions(write(three_visits().rename(columns=renamed), tmp_path / "t.csv"), now=NOW)
    assert len(found.notes) == 4
    assert "'household_id' is read as 'user_id'" in found.notes[0]
    assert found.faults().total == 0


def test_every_kind_of_fault_is_counted_with_rows_and_none_is_counted_twice(tmp_path: Path) -> None:
    good = three_visits().iloc[[0]].assign(time="2026-01-05 09:30:00", user_id="ann")
    changes = [
        {"user_id": None},
        {"item_id": None},
        {"time": None},
        {"time": "31.12.2025"},
        {"time": "2025-02-30"},
        {"time": "1931-01-01"},
        {"time": "2130-01-01"},
        {"time": "2026-06-01"},
        {"quantity": 0},
        {"quantity": -1},
        {"amount": -0.01},
        {"amount": None},
        {"amount": np.inf},
        {"discount": -1.0},
        {"discount": None},  # an empty discount is none: no fault
        {"user_id": None, "amount": -5},
    ]
    rows = pd.concat([good, *(good.assign(**{k: [v] for k, v in change.items()}) for change in changes)])
    faults = read_transactions(write(rows, tmp_path / "t.csv"), now=NOW).faults()
    counts = {kind.split(" ")[0] + kind.split(" ")[1]: fault.rows for kind, fault in faults.kinds.items()}
    assert counts == {
        "user_idor": 3,
        "timemissing,": 3,
        "timebefore": 2,
        "timein": 1,
        "quantitymissing,": 2,
        "amountmissing,": 3,
        "discountnegative": 1,
    }
    assert faults.sound == 2
    assert "row 2, row 17, row 3" in str(faults)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["2026-01-05", "2026-01-06"], ["2026-01-05", "2026-01-06"]),
        (["2026-01-05T09:30:15", "2026-01-05 09:30"], ["2026-01-05T09:30:15", "2026-01-05T09:30"]),
        (["2026-01-05T09:30:15Z", "2026-01-05T09:30:15+02:00"], ["2026-01-05T09:30:15"] * 2),
        (["2026-01-05 09:30:15.250", "2026-01-05"], ["2026-01-05T09:30:15", "2026-01-05"]),
    ],
)
def test_dates_are_read_as_the_clock_of_the_place_shows_them(
    tmp_path: Path, texts: list[str], expected: list[str]
) -> None:
    table = three_visits().head(2).assign(time=texts)
    assert (read_all(write(table, tmp_path / "t.csv"))["time"].to_numpy() == np.array(expected, "datetime64[s]")).all()


def test_a_zone_in_a_parquet_file_gives_the_local_hour(tmp_path: Path) -> None:
    table = three_visits().assign(time=pd.to_datetime(["2026-01-05 09:30"] * 4).tz_localize("Europe/Berlin"))
    assert (read_all(write(table, tmp_path / "t.parquet"))["time"] == pd.Timestamp("2026-01-05 09:30")).all()


def test_ids_of_a_csv_file_are_text_where_one_of_any_file_is(tmp_path: Path) -> None:
    write(three_visits().assign(user_id=[1, 2, 3, 4]), tmp_path / "a.csv")
    write(three_visits().assign(user_id=["1", "2", "3", "007"]), tmp_path / "b.csv")
    assert read_all(str(tmp_path))["user"].tolist() == ["1", "2", "3", "4", "1", "2", "3", "007"]


def test_a_missing_id_does_not_turn_the_other_ids_into_text(tmp_path: Path) -> None:
    table = three_visits().assign(user_id=pd.array([1, 2, None, 4], "Int64"))
    assert read_all(write(table, tmp_path / "t.csv"))["user"].tolist() == [1, 2, 4]


def test_no_sound_row_is_an_error_where_lines_are_needed(tmp_path: Path) -> None:
    path = write(three_visits().assign(discount=-1.0), tmp_path / "t.csv")
    with pytest.raises(DataError, match="no row is sound") as caught:
        profiles(read_transactions(path, now=NOW))
    assert "discount negative" in str(caught.value)
    assert "write discounts as numbers of at least 0" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"time": [1, 2, 3, 4]}, "a number of seconds or days is ambiguous"),
        ({"user_id": [1.0, 2.0, 3.0, 4.0]}, "an id is never a fraction"),
        ({"amount": ["a", "b", "c", "d"]}, "must hold numbers"),
    ],
)
def test_a_column_of_the_wrong_type_is_refused_before_any_row_is_read(
    tmp_path: Path, change: dict[str, list[object]], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        read_transactions(write(three_visits().assign(**change), tmp_path / "t.parquet"))


def test_text_among_the_amounts_of_a_csv_file_is_named_by_row(tmp_path: Path) -> None:
    path = write(three_visits().assign(amount=["1.5", "2,5", "3", "n/v"]), tmp_path / "t.csv")
    with pytest.raises(DataError, match=r"'amount' must hold numbers, but 2 rows hold text.*row 2 is '2,5'"):
        read_transactions(path).faults()


def test_a_missing_column_lists_the_names_that_would_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'amount' is missing.*Needed:.*amount \(or sales_value") as caught:
        read_transactions(write(three_visits().drop(columns="amount"), tmp_path / "t.csv"))
    assert "found are user_id, item_id" in str(caught.value)


def test_two_columns_that_mean_the_same_are_refused(tmp_path: Path) -> None:
    table = three_visits().rename(columns={"user_id": "User_ID"}).assign(user_id=[1, 2, 3, 4])
    with pytest.raises(DataError, match="both mean 'user_id'"):
        read_transactions(write(table, tmp_path / "t.csv"))


def test_a_truncated_parquet_file_is_named(tmp_path: Path) -> None:
    path = Path(write(many(), tmp_path / "t.parquet"))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"t\.parquet.*damaged"):
        read_transactions(path)


def test_damage_in_the_middle_of_a_file_is_named_when_it_is_met(tmp_path: Path) -> None:
    path = Path(write(many(), tmp_path / "t.parquet"))
    content = bytearray(path.read_bytes())
    content[200:3000] = bytes(2800)
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"t\.parquet"):
        read_transactions(path, now=NOW).faults()


def test_only_lines_before_a_moment_are_given(tmp_path: Path) -> None:
    found = read_transactions(write(three_visits(), tmp_path / "t.csv"), now=NOW)
    assert sum(len(lines) for lines in found.lines(before="2026-01-10 20:00")) == 2


def test_codes_and_views_and_large_texts_are_ids_too(tmp_path: Path) -> None:
    table = pa.Table.from_pandas(three_visits())
    for kind in (pa.dictionary(pa.int8(), pa.string()), pa.large_string(), pa.string()):
        changed = table.set_column(0, "user_id", table["user_id"].cast(pa.string()).cast(kind))
        pq.write_table(changed, tmp_path / "t.parquet")
        assert read_all(str(tmp_path / "t.parquet"))["user"].tolist() == ["ann", "ann", "bob", "ann"]


def test_moments_are_read_in_every_form() -> None:
    same = [
        "2026-01-31",
        pd.Timestamp("2026-01-31"),
        np.datetime64("2026-01-31"),
        pd.Timestamp("2026-01-31").date(),
        1769817600,
    ]
    assert {moment(form) for form in same} == {1769817600}
    for wrong in ("yesterday", "1931-01-01", -5, float("nan"), None):
        with pytest.raises(UsageError, match="moment"):
            moment(wrong)


@pytest.mark.parametrize(
    ("column", "kind", "words"),
    [
        ("item_id", pa.array([2**64 - 1] * 4, pa.uint64()), "integers beyond 2"),
        ("item_id", pa.array([[1]] * 4), "must hold integers or text, not list"),
        ("user_id", pa.array([{"a": 1}] * 4), "must hold integers or text, not struct"),
        ("time", pa.array([0] * 4).cast(pa.timestamp("s", "Mars/Base")), "time zone that is not known here"),
        ("amount", pa.nulls(4), "no row is sound"),
    ],
)
def test_odd_types_of_parquet_are_data_errors(tmp_path: Path, column: str, kind: pa.Array, words: str) -> None:
    table = pa.Table.from_pandas(three_visits(), preserve_index=False)
    pq.write_table(table.set_column(table.column_names.index(column), column, kind), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=words):
        profiles(read_transactions(tmp_path / "t.parquet", now=NOW))


def test_texts_of_any_width_are_dates(tmp_path: Path) -> None:
    table = pa.Table.from_pandas(three_visits(), preserve_index=False)
    for kind in (pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())):
        texts = pa.array(["2026-01-05", "2026-01-05", "soon", None]).cast(
            kind if not pa.types.is_dictionary(kind) else pa.string()
        )
        texts = texts.dictionary_encode() if pa.types.is_dictionary(kind) else texts
        pq.write_table(table.set_column(2, "time", texts), tmp_path / "t.parquet")
        assert read_transactions(tmp_path / "t.parquet", now=NOW).faults().total == 2


def test_a_ragged_row_that_is_not_utf8_is_told_without_noise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.csv").write_bytes(b"user_id,item_id,time,amount\n1,2,2026-01-01,1\n1,\xff,2026-01-01\n")
    with pytest.raises(DataError, match="not UTF-8"):
        read_transactions(tmp_path / "t.csv").faults()
    assert capsys.readouterr().err == ""
