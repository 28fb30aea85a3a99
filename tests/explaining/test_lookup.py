"""A few rows of a large table: the right ones, whatever the layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from allocator.errors import DataError
from allocator.tables import lookup


def offers(n: int, ids: pa.Array) -> pa.Table:
    rng = np.random.default_rng(0)
    return pa.table(
        {
            "user_id": ids,
            "coupon": pa.array(rng.choice(["a", "b", "c"], n)),
            "value": rng.normal(size=n),
            "cost": pa.array(rng.integers(0, 9, n), pa.int32()),
        }
    )


@pytest.mark.parametrize("kind", [pa.int64(), pa.int16(), pa.uint64(), pa.string(), pa.large_string(), "coded"])
@pytest.mark.parametrize("ordered", [True, False])
def test_rows_are_found_in_every_layout(tmp_path: Path, kind: pa.DataType, ordered: bool) -> None:
    numbers = np.random.default_rng(1).integers(-40 if kind in (pa.int64(), pa.int16()) else 0, 400, 3_000)
    numbers = np.sort(numbers) if ordered else numbers
    ids = pa.array(numbers).cast(pa.string())
    ids = ids.dictionary_encode() if kind == "coded" else ids.cast(kind)
    table = offers(numbers.size, ids)
    parquet.write_table(table, tmp_path / "t.parquet", row_group_size=170)
    frame = table.to_pandas()
    for user in (*map(str, numbers[:3]), "-3", "400", "007", "", "x"):
        found = lookup.offers_of_user(tmp_path / "t.parquet", user).to_pandas()
        wanted = frame[frame.user_id.astype(str) == user]
        assert found.value.tolist() == wanted.value.tolist(), user
        assert found.coupon.tolist() == wanted.coupon.tolist()
    mine = lookup.offers_of_coupon(tmp_path / "t.parquet", "b").to_pandas()
    assert mine.value.tolist() == frame[frame.coupon == "b"].value.tolist()
    assert set(lookup.distinct_ids(tmp_path / "t.parquet").to_pylist()) == set(map(str, numbers.tolist()))


def test_csv_gives_the_same_rows_and_keeps_leading_zeros(tmp_path: Path) -> None:
    frame = pd.DataFrame({"user_id": ["007", "7", "NA", "007"], "coupon": list("aabb"), "value": [1.5, 2.0, 3.0, -4.0]})
    frame["cost"], frame["note"] = 1.0, "x,y"
    for name in ("t.csv", "t.csv.gz"):
        frame.to_csv(tmp_path / name, index=False)
        for user, values in (("007", [1.5, -4.0]), ("7", [2.0]), ("NA", [3.0]), ("07", [])):
            assert lookup.offers_of_user(tmp_path / name, user)["value"].to_pylist() == values
        assert lookup.offers_of_coupon(tmp_path / name, "b")["user_id"].to_pylist() == ["NA", "007"]


def test_a_users_row_keeps_the_types_of_whole_columns(tmp_path: Path) -> None:
    (tmp_path / "u.csv").write_text("user_id,zip\n1,0123\n2,4567\n")
    assert lookup.row_of_user(tmp_path / "u.csv", "2").to_pylist() == [{"user_id": 2, "zip": "4567"}]
    parquet.write_table(pa.table({"user_id": [1, 2]}), tmp_path / "u.parquet")
    assert lookup.row_of_user(tmp_path / "u.parquet", "2").num_rows == 1
    assert lookup.row_of_user(tmp_path / "u.parquet", "3").num_rows == 0


def test_a_missing_measure_and_a_damaged_file_are_named(tmp_path: Path) -> None:
    parquet.write_table(offers(50, pa.array(range(50))), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="column 'minutes' is missing"):
        lookup.offers_of_user(tmp_path / "t.parquet", "1", ["minutes"])
    data = (tmp_path / "t.parquet").read_bytes()
    (tmp_path / "t.parquet").write_bytes(data[:200] + data[400:])
    with pytest.raises(DataError, match=r"t\.parquet"):
        lookup.offers_of_user(tmp_path / "t.parquet", "1")
