"""Thousands of mutated tables at the door: each is refused in words, or taken to the last row."""

from __future__ import annotations

import csv
import io
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator import Limit, Problem
from allocator.campaign import parse_campaign
from allocator.errors import AllocatorError, DataError
from allocator.tables.files import read_offers, read_users, same_ids
from tests.fuzzing import tried_on

NAMES = ["user_id", "coupon", "value", "cost", "liability", "redeem_probability", "units", "note"]
USER = st.one_of(
    st.integers(-3, 6), st.sampled_from(["u1", "007", "", " ", "1"]), st.none(), st.just(1.5), st.just(2**63)
)
COUPON = st.sampled_from(["a", "b", "c", "a", "b", "", None, 3, "ä"])
AMOUNT = st.one_of(
    st.integers(0, 9),
    st.floats(0, 50),
    st.sampled_from([-1.0, 0.0, math.nan, math.inf, -math.inf, 1e12, 1.1e12, -1e13, None, "5", "x", True, 1e-320]),
)
OTHER = st.one_of(AMOUNT, st.just([1, 2]), st.just(b"\xff"))
CELLS = {"user_id": USER, "coupon": COUPON, "note": OTHER, "units": OTHER}


def clean(draw: Any, n: int) -> dict[str, list[Any]]:
    """Return columns that are sound."""
    pairs = draw(st.lists(st.tuples(st.integers(0, 4), st.sampled_from("abc")), min_size=n, max_size=n, unique=True))
    amounts = st.floats(0, 100)
    table: dict[str, list[Any]] = {"user_id": [user for user, _ in pairs], "coupon": [coupon for _, coupon in pairs]}
    for name in NAMES[2:]:
        if name in ("value", "cost") or draw(st.booleans()):
            top = 1.0 if name == "redeem_probability" else 100.0
            table[name] = [min(top, amount) for amount in draw(st.lists(amounts, min_size=n, max_size=n))]
    return table


@st.composite
def tables(draw: Any) -> dict[str, list[Any]]:
    """Return a sound table with up to three faults: cells, columns, rows."""
    n = draw(st.integers(0, 8))
    table = clean(draw, n)
    for _ in range(draw(st.integers(0, 3))):
        kind = draw(st.sampled_from(["cell", "cell", "cell", "drop", "rename", "repeat", "column"]))
        name = draw(st.sampled_from(list(table) or NAMES))
        if not table.get(name):
            continue
        if kind == "cell":
            table[name][draw(st.integers(0, len(table[name]) - 1))] = draw(CELLS.get(name, AMOUNT))
        elif kind == "column":
            table[name] = draw(st.lists(CELLS.get(name, AMOUNT), min_size=len(table[name]), max_size=len(table[name])))
        elif kind == "drop":
            del table[name]
        elif kind == "rename":
            table[draw(st.sampled_from(["Value", "users", "cost "]))] = table.pop(name)
        else:
            row = draw(st.integers(0, len(table[name]) - 1))
            for column in table.values():
                column.append(column[row])
    return table


LIMITS = (
    [],
    [Limit("units", "units", at_most=5.0)],
    [Limit("mixed", {"value": 1.0, "liability": -0.5}, at_least=0.0)],
    [Limit("a", "count", at_most=2.0, coupons=["a"])],
)


def rows(problem: Problem, columns: tuple[str, ...]) -> list[tuple[Any, ...]]:
    """Return every offer of a problem as the caller wrote it, sorted."""
    offers = problem.offers
    index = np.flatnonzero(~np.isnan(offers.value))
    ids = problem.user_ids.take(pa.array(offers.users_of(index))).to_pylist()
    names = [problem.coupon_ids[k] for k in offers.coupons_of(index)]
    numbers = [problem.column(name, index).tolist() for name in columns]
    return sorted(zip(map(str, ids), names, *numbers, strict=True))


def as_table(kind: str, columns: dict[str, list[Any]]) -> Any:
    """Return columns as a pandas, polars or pyarrow table; `None` where that library refuses them."""
    try:
        if kind == "pandas":
            return pd.DataFrame({name: pd.Series(column, dtype=object) for name, column in columns.items()})
        if kind == "inferred":
            return pd.DataFrame(columns)
        if kind == "polars":
            return pl.DataFrame(columns, strict=True)
        return pa.table(columns)
    except (TypeError, ValueError, OverflowError, pa.ArrowException, pl.exceptions.PolarsError):
        return None


@tried_on(1_000)
@given(tables(), st.sampled_from(["pandas", "inferred", "polars", "arrow"]), st.sampled_from(LIMITS))
def test_tables_in_memory(columns: dict[str, list[Any]], kind: str, limits: list[Limit]) -> None:
    """Only the project's own errors come out, and what is taken is the whole table, number for number."""
    table = as_table(kind, columns)
    if table is None:
        return
    try:
        problem = Problem.from_offers(table, limits=limits)
    except AllocatorError as error:
        assert str(error)
        return
    given_rows = sorted(
        (str(user), coupon, float(value), float(cost))
        for user, coupon, value, cost in zip(
            columns["user_id"], columns["coupon"], columns["value"], columns["cost"], strict=True
        )
    )
    assert rows(problem, ("value", "cost")) == given_rows


@tried_on(500)
@given(tables(), st.integers(1, 3), st.sampled_from(["csv", "parquet"]), st.sampled_from(LIMITS))
def test_tables_in_files(columns: dict[str, list[Any]], parts: int, kind: str, limits: list[Limit]) -> None:
    """The same for a folder of files; the error names the folder or a file of it."""
    frame = pd.DataFrame({name: pd.Series(column, dtype=object) for name, column in columns.items()})
    with tempfile.TemporaryDirectory() as folder:
        for part in range(parts):
            some = frame.iloc[part::parts]
            if kind == "csv":
                some.to_csv(Path(folder) / f"{part}.csv", index=False)
            else:
                try:
                    parquet.write_table(
                        pa.Table.from_pandas(some, preserve_index=False), Path(folder) / f"{part}.parquet"
                    )
                except (pa.ArrowException, TypeError, OverflowError, ValueError):
                    return
        try:
            problem = Problem.from_offers(read_offers(folder), limits=limits, source=folder)
        except DataError as error:
            assert folder in str(error)
            return
        except AllocatorError as error:
            assert str(error)
            return
    assert problem.offers.present == len(frame)
    expected = sorted(zip(frame["value"].astype(float), frame["cost"].astype(float), strict=True))
    assert sorted(row[2:] for row in rows(problem, ("value", "cost"))) == expected


TEXT = st.sampled_from(
    [
        "1",
        "2",
        "3",
        "07",
        "a",
        "b",
        "1.5",
        " 2",
        "1,5",
        "1e3",
        "-1",
        "",
        "NA",
        "nan",
        "inf",
        "1e13",
        'q"q',
        "x\ny",
        "é",
        "+4",
    ]
)


@tried_on(500)
@given(
    st.lists(st.tuples(TEXT, TEXT, TEXT, TEXT, TEXT), max_size=6),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
    st.booleans(),
)
def test_csv_as_written(entries: list[tuple[str, ...]], end: str, begin: bytes, quoted: bool) -> None:
    """What is taken from a CSV file are its rows, ids and coupons letter for letter."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=end, quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL)
    writer.writerows([("user_id", "coupon", "value", "cost", "units"), *entries])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "offers.csv"
        path.write_bytes(begin + text.getvalue().encode())
        try:
            problem = Problem.from_offers(read_offers(path), source=str(path))
        except DataError as error:
            assert str(path) in str(error)
            return
    taken = rows(problem, ("value", "cost"))
    assert taken == sorted((user, coupon, float(value), float(cost)) for user, coupon, value, cost, _ in entries)


@tried_on(300)
@given(st.data())
def test_users_tables(data: st.DataObject) -> None:
    """A users table with faults is refused in words, or each offer's user is found with its own attribute."""
    offers = pa.table({"user_id": [3, 1, 2], "coupon": ["a"] * 3, "value": [1.0] * 3, "cost": [1.0] * 3})
    if data.draw(st.booleans()):
        offers = offers.set_column(0, "user_id", offers["user_id"].cast(pa.string()))
    users: dict[str, list[Any]] = {"user_id": [1, 2, 3], "segment": ["x", "y", "x"]}
    for _ in range(data.draw(st.integers(0, 3))):
        name = data.draw(st.sampled_from(list(users)))
        if users[name]:
            users[name][data.draw(st.integers(0, len(users[name]) - 1))] = data.draw(st.one_of(USER, OTHER))
    table = as_table(data.draw(st.sampled_from(["pandas", "polars", "arrow"])), users)
    if table is None:
        return
    limit = Limit("x", "count", at_most=1.0, users={"segment": data.draw(st.sampled_from(["x", "y", 5, "z"]))})
    try:
        problem = Problem.from_offers(offers, users=table, limits=[limit])
    except AllocatorError as error:
        assert str(error)
        return
    wanted = dict(limit.users or {})["segment"]
    segment = dict(zip(map(str, users["user_id"]), users["segment"], strict=True))
    groups = np.zeros(3, np.int32) if problem.user_group is None else problem.user_group
    covered = problem.limit_groups[0][groups].tolist()
    assert covered == [segment[str(user)] == wanted for user in problem.user_ids.to_pylist()]


SOUND = """[campaign]
name = "spring"
budget = 50
max_per_user = 1
exclusive = [["a", "b"]]
[[coupon]]
id = "a"
kind = "fixed"
amount = 10
quantity = 3
[[coupon]]
id = "b"
[[limit]]
name = "x"
measure = { value = 1.0, cost = -0.5 }
users = { segment = "new" }
coupons = ["a"]
at_least = 0
"""
WORDS = [
    "",
    "1",
    "-1",
    "1e400",
    "true",
    '"a"',
    '"z"',
    "[]",
    "{}",
    "x =",
    "[",
    "]",
    "[[coupon]]",
    "nan",
    "2026-01-01",
    "budgt",
]


@tried_on(600)
@given(st.data())
def test_campaign_files(data: st.DataObject) -> None:
    """A campaign file with words replaced, lost or doubled is refused in words, or understood and applied."""
    tokens = SOUND.replace("\n", " \n ").split(" ")
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(tokens) - 1))
        word = data.draw(st.one_of(st.sampled_from(WORDS), st.sampled_from(tokens)))
        tokens[place : place + data.draw(st.integers(0, 2))] = [word]
    offers = pa.table({"user_id": [1, 2], "coupon": ["a", "b"], "value": [1.0, 2.0], "cost": [1.0, 1.0]})
    users = pa.table({"user_id": [1, 2], "segment": ["new", "old"]})
    try:
        campaign = parse_campaign(" ".join(tokens))
        Problem.from_offers(
            offers,
            limits=campaign.limits(),
            users=users,
            max_per_user=campaign.max_per_user,
            exclusive=campaign.exclusive,
            coupons=campaign.coupon_ids or None,
            face_value=campaign.face_values or None,
        )
    except AllocatorError as error:
        assert str(error)


def test_rows_are_named_in_their_file(tmp_path: Path) -> None:
    """Of several files, a message names the file and the row within it."""
    head = "user_id,coupon,value,cost\n"
    (tmp_path / "1.csv").write_text(head + "1,a,1,1\n2,a,1,1\n")
    (tmp_path / "2.csv").write_text(head + "3,a,1,1\n4,a,1,-1\n1,a,1,1\n")
    with pytest.raises(DataError, match=r"negative at row 2 of .*2\.csv \(-1\.0\)"):
        Problem.from_offers(read_offers(tmp_path))
    (tmp_path / "2.csv").write_text(head + "3,a,1,1\n1,a,1,1\n")
    with pytest.raises(DataError, match=r"repeats a \(user_id, coupon\) pair \(row 2 of .*2\.csv"):
        Problem.from_offers(read_offers(tmp_path))


def test_columns_that_nobody_uses_are_the_callers() -> None:
    """Nulls and giant numbers matter only in a column that a limit measures."""
    table = pa.table(
        {"user_id": [1, 2], "coupon": ["a", "a"], "value": [1.0, 1.0], "cost": [1.0, 1.0], "id": [10**15, None]}
    )
    assert Problem.from_offers(table).offers.present == 2
    with pytest.raises(DataError, match="'id' is empty"):
        Problem.from_offers(table, limits=[Limit("id", "id", at_most=1.0)])


def test_a_table_in_any_order_with_every_pair_is_a_grid() -> None:
    """Where every user has every coupon no list of pairs is kept; rows are still the caller's."""
    table = pd.DataFrame(
        {"user_id": [7, 5, 7, 5], "coupon": ["b", "a", "a", "b"], "value": [1.0, 2.0, 3.0, 4.0], "cost": 1.0}
    )
    problem = Problem.from_offers(table)
    assert problem.offers.start is None
    assert problem.offers.value.tolist() == [1.0, 3.0, 4.0, 2.0]
    assert problem.offers.rows_of(np.arange(4)).tolist() == [0, 2, 3, 1]
    flags = Problem.from_offers(table, required=np.array([False, True, False, False]))
    assert table["value"][flags.offers.rows_of(flags.required)].tolist() == [2.0]


def test_ids_of_csv_meet_text_ids(tmp_path: Path) -> None:
    """Numbers in a CSV file of users are text where the offers' ids are."""
    (tmp_path / "users.csv").write_text("user_id,segment\n1,x\n02,y\n")
    offers = pa.table({"user_id": ["1", "02"], "coupon": ["a", "a"], "value": [1.0, 1.0], "cost": [1.0, 1.0]})
    problem = Problem.from_offers(offers, users=same_ids(offers, read_users(tmp_path / "users.csv"))[1])
    assert problem.n_users == 2


def test_max_per_user_from_a_column_of_words() -> None:
    """A column that holds no numbers cannot say how many offers a user may get."""
    offers = pa.table({"user_id": [1, 2], "coupon": ["a", "a"], "value": [1.0, 1.0], "cost": [1.0, 1.0]})
    users = pa.table({"user_id": [1, 2], "segment": ["new", "old"], "most": [2, None]})
    for column in ("segment", "most"):
        with pytest.raises(AllocatorError, match="whole numbers"):
            Problem.from_offers(offers, users=users, max_per_user=column)
