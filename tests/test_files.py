"""Offers and users from files: what is read, and what is said of files that cannot be."""

import gzip
import hashlib
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.errors import DataError
from allocator.problem import Problem
from allocator.tables import csv_text
from allocator.tables.files import files_of, hash_inputs, read_offers, read_users, same_ids
from tests.fuzzing import tried_on

HEAD = "user_id,coupon,value,cost\n"
ROWS = "1,a,2.5,1.0\n1,b,3.0,2.0\n2,a,1.5,1.0\n"
BOM = b"\xef\xbb\xbf"


def write(folder: Path, name: str, content: str | bytes) -> Path:
    """Write a file, and the folders above it."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def parquet(folder: Path, name: str, **columns: object) -> Path:
    """Write a Parquet file with two offers; `columns` replace or add."""
    table = {"user_id": [1, 2], "coupon": ["a", "b"], "value": [2.0, 3.0], "cost": [1.0, 1.0], **columns}
    path = folder / name
    pq.write_table(pa.table(table), path)
    return path


def problem_of(path: Path, **more: object) -> Problem:
    """Read offers and take them in, as the command does."""
    return Problem.from_offers(read_offers(path), source=str(path), **more)  # type: ignore[arg-type]


def complaint(path: Path, **more: object) -> str:
    """Return what is said of offers that are refused; it always names the file."""
    with pytest.raises(DataError) as caught:
        problem_of(path, **more)
    assert caught.value.exit_code == 3
    assert path.name in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["offers.csv", "offers.csv.gz", "OFFERS.CSV"])
@pytest.mark.parametrize("begin", [b"", BOM])
def test_csv(tmp_path: Path, name: str, begin: bytes) -> None:
    """CSV is read with and without a byte-order mark, compressed or not."""
    data = begin + (HEAD + ROWS).encode()
    table = read_offers(write(tmp_path, name, gzip.compress(data) if name.endswith("gz") else data))
    assert table["user_id"].to_pylist() == [1, 1, 2]
    assert table["coupon"].to_pylist() == ["a", "b", "a"]
    assert table.schema.field("coupon").type == pa.dictionary(pa.int32(), pa.string())
    assert table["cost"].to_pylist() == [1.0, 2.0, 1.0]


def test_line_ends_quotes_and_blank_lines(tmp_path: Path) -> None:
    """Windows line ends, quoted text with commas and line breaks, and blank lines are read as meant."""
    path = write(tmp_path, "o.csv", 'user_id,coupon,value,cost,note\r\n1,"a,b",1,1,"x\ny"\r\n\r\n2,c,"2",1,z\r\n')
    table = read_offers(path)
    assert table["coupon"].to_pylist() == ["a,b", "c"]
    assert table["note"].to_pylist() == ["x\ny", "z"]
    assert table["value"].to_pylist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("entries", "kind"),
    [
        (["1", "22", "-3"], pa.int64()),
        (["1", "007"], None),
        (["0", "10"], pa.int64()),
        (["1", "A2"], None),
        (["0x1F", "0x2A"], None),
        (["1.0", "2.0"], None),
        (["99999999999999999999", "1"], None),
        (["NA", "1"], None),
    ],
)
def test_csv_ids(tmp_path: Path, entries: list[str], kind: pa.DataType | None) -> None:
    """Ids are integers only where every one prints as it was written; else the text stays letter for letter."""
    table = read_offers(write(tmp_path, "o.csv", HEAD + "".join(f"{entry},a,1,1\n" for entry in entries)))
    ids = table["user_id"]
    if kind is None:
        assert ids.type == csv_text.TEXT_CODES
        assert ids.to_pylist() == entries
    else:
        assert ids.type == kind
        assert ids.to_pylist() == [int(entry) for entry in entries]


def test_types_come_from_the_whole_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One odd entry far down decides, whatever the blocks in which a file is read."""
    monkeypatch.setattr(csv_text, "BLOCK_BYTES", 2048)
    lines = [f"{n},a,1,1,{n},{n},{n},0{n % 2},{'true' if n % 2 else 'false'}" for n in range(1000)]
    lines[900] = "u900,a,1,1,0.5,x,,05,true"
    head = "user_id,coupon,value,cost,number,text,gap,padded,flag\n"
    table = read_offers(write(tmp_path, "o.csv", head + "\n".join(lines)))
    assert table["user_id"].to_pylist()[899:901] == ["899", "u900"]
    assert table.schema.field("number").type == pa.float64()
    assert table["text"].to_pylist()[899:901] == ["899", "x"]
    assert table.schema.field("gap").type == pa.int64()
    assert table["gap"].null_count == 1
    assert table["padded"].to_pylist()[0] == "00"
    assert table.schema.field("flag").type == pa.bool_()


def test_csv_ids_agree_over_files(tmp_path: Path) -> None:
    """Where one file of several has an id with letters, the ids of all are text."""
    write(tmp_path, "parts/1.csv", HEAD + "1,a,1,1\n")
    write(tmp_path, "parts/2.csv", "coupon,user_id,value,cost\na,x7,1,1\n")
    assert read_offers(tmp_path / "parts")["user_id"].to_pylist() == ["1", "x7"]


def test_parquet_from_everywhere(tmp_path: Path) -> None:
    """Parquet of pyarrow, pandas (with an index) and polars gives the same table, with coupons coded."""
    frame = pd.DataFrame({"user_id": ["x", "y"], "coupon": ["a", "b"], "value": [1.0, 2.0], "cost": [1.0, 1.0]})
    frame.set_index(pd.Index([5, 9])).to_parquet(tmp_path / "pandas.parquet")
    pq.write_table(pa.Table.from_pandas(frame), tmp_path / "arrow.parquet")
    pl.from_pandas(frame).with_columns(pl.col("coupon").cast(pl.Categorical)).write_parquet(tmp_path / "polars.pq")
    tables = [read_offers(tmp_path / name) for name in ("pandas.parquet", "arrow.parquet", "polars.pq")]
    for table in tables:
        assert table.column_names == ["user_id", "coupon", "value", "cost"]
        assert table.schema.field("coupon").type == csv_text.TEXT_CODES
        assert table.to_pylist() == tables[0].to_pylist()
        assert Problem.from_offers(table).n_users == 2


def test_several_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    """A folder (with subfolders and what Spark leaves) and a glob give the rows in the order of the files' names."""
    (tmp_path / "in" / "more").mkdir(parents=True)
    parquet(tmp_path / "in", "b.parquet", user_id=[3, 4])
    parquet(tmp_path / "in", "a.parquet")
    parquet(tmp_path / "in" / "more", "c.parquet", user_id=[5, 6])
    write(tmp_path, "in/_SUCCESS", "")
    write(tmp_path, "in/.a.parquet.crc", "x")
    assert read_offers(tmp_path / "in")["user_id"].to_pylist() == [1, 2, 3, 4, 5, 6]
    assert read_offers(f"{tmp_path}/in/*.parquet")["user_id"].to_pylist() == [1, 2, 3, 4]
    assert read_offers(tmp_path / "in")["value"].num_chunks == 1, "arrays can view the column"


def test_files_with_numbers_of_two_types(tmp_path: Path) -> None:
    """Whole and fractional amounts of different files are numbers together."""
    parquet(tmp_path, "1.parquet", value=[1, 2])
    parquet(tmp_path, "2.parquet")
    assert read_offers(tmp_path)["value"].to_pylist() == [1.0, 2.0, 2.0, 3.0]


def test_extra(tmp_path: Path) -> None:
    """With `extra`, only the schema's columns and those named are read; an unknown one is an error."""
    path = parquet(tmp_path, "o.parquet", units=[1, 2], note=["x", "y"], liability=[1.0, 1.0])
    assert read_offers(path, extra=["units"]).column_names == [
        "user_id",
        "coupon",
        "value",
        "cost",
        "units",
        "liability",
    ]
    with pytest.raises(DataError, match=r"'unit'.*did you mean 'units'"):
        read_offers(path, extra=["unit"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["empty"]),
        ("\n\n", ["empty"]),
        (BOM, ["empty"]),
        (HEAD, ["no rows"]),
        (HEAD.strip(), ["no rows"]),
        (HEAD + "1,a,1,1\n2,b,1\n3,c,1,1,9\n", ["2 rows", "rows 2, 3", "'2,b,1'", "4 fields"]),
        (HEAD + "1,a,1,1\n2,b,much,1\n", ["'value'", "row 2", "'much'", "1234.5"]),
        (HEAD + '1,a,1,"1,5"\n', ["'cost'", "row 1", "'1,5'"]),
        ("user_id;coupon;value;cost\n1;a;1;1\n", ["semicolons", "commas"]),
        ("user_id\tcoupon\tvalue\tcost\n", ["tabs"]),
        ("1,a,1,1\n2,a,1,1\n", ["'user_id' is missing", "found are 1, a, 1, 1"]),
        ("user_id,coupon,values,cost\n1,a,1,1\n", ["'value' is missing", "'values'"]),
        ("User,coupon,Value,cost\n1,a,1,1\n", ["'user_id' is missing", "'User'", "'Value'"]),
        ("user_id,coupon,value,cost,cost\n1,a,1,1,1\n", ["'cost' occurs 2 times"]),
        (HEAD + ",a,1,1\n", ["'user_id' is empty in 1 row", "row 1"]),
        (HEAD + "1,a,1,1\n2,,1,1\n", ["'coupon' is empty in 1 row", "row 2"]),
        (HEAD + "1,a,,1\n", ["'value'", "empty", "row 1"]),
        (HEAD + "1,a,1,1\n2,a,NaN,1\n", ["'value'", "not a finite number", "row 2"]),
        (HEAD + "1,a,1,1\n2,a,1,inf\n", ["'cost'", "not a finite number", "row 2"]),
        (HEAD + "1,a,1,-1\n", ["'cost'", "negative", "row 1"]),
        (HEAD + "1,a,1e13,1\n", ["'value'", "10^12", "row 1"]),
        (HEAD + "1,a,1,1\n1,a,2,1\n", ["repeat", "row 2", "'a'"]),
        (b"user_id,coupon,value,cost\n1,\xff,1,1\n", ["UTF-8"]),
        ((HEAD + ROWS).encode("utf-16"), ["UTF-16"]),
        (b"PK\x03\x04abc", ["Excel"]),
        (b"\x01\x00\x02", ["not a text file"]),
        (gzip.compress((HEAD + ROWS * 999).encode())[:-9], ["cut short"]),
        (b"PAR1 and more", ["rename"]),
    ],
)
def test_bad_csv(tmp_path: Path, content: str | bytes, words: list[str]) -> None:
    """Each fault of a CSV file is named: file, column, row and text, and what to do."""
    said = complaint(write(tmp_path, "offers.csv", content))
    for word in words:
        assert word in said


def test_bad_parquet(tmp_path: Path) -> None:
    """A file that is cut short, is something else, or has faulty columns, is named with its fault."""
    whole = parquet(tmp_path, "whole.parquet").read_bytes()
    assert "cut short" in complaint(write(tmp_path, "cut.parquet", whole[:-10]))
    assert "not a Parquet file" in complaint(write(tmp_path, "text.parquet", HEAD + ROWS))
    assert "empty (0 bytes)" in complaint(write(tmp_path, "none.parquet", ""))
    assert "neither Parquet nor CSV" in complaint(write(tmp_path, "offers.xlsx", "abc"))
    assert "must hold strings" in complaint(parquet(tmp_path, "number.parquet", coupon=[1, 2]))
    assert "must hold integers or strings" in complaint(parquet(tmp_path, "float.parquet", user_id=[1.0, 2.0]))
    assert "must hold numbers" in complaint(parquet(tmp_path, "words.parquet", value=["1", "x"]))
    assert "'value' is empty" in complaint(parquet(tmp_path, "null.parquet", value=[1.0, None]))
    assert "'user_id' is empty" in complaint(parquet(tmp_path, "blank.parquet", user_id=["x", ""]))
    assert "no rows" in complaint(
        parquet(tmp_path, "empty.parquet", user_id=[], coupon=pa.array([], pa.string()), value=[], cost=[])
    )
    assert "did you mean 'b'" in complaint(parquet(tmp_path, "unknown.parquet", coupon=["a", "bb"]), coupons=["a", "b"])


def test_files_that_do_not_fit_together(tmp_path: Path) -> None:
    """Two id types, two sets of columns, or two formats are refused; both files are named."""
    parquet(tmp_path, "1.parquet")
    other = parquet(tmp_path, "2.parquet", user_id=["x", "y"])
    said = complaint(tmp_path)
    assert "user_id" in said and "1.parquet" in said and "2.parquet" in said and "string" in said
    parquet(tmp_path, "2.parquet", units=[1, 2])
    said = complaint(tmp_path)
    assert "'units' is missing" in said and "1.parquet" in said and "2.parquet" in said
    other.unlink()
    write(tmp_path, "2.csv", HEAD + ROWS)
    assert "mixes Parquet and CSV" in complaint(tmp_path)


def test_places_without_a_table(tmp_path: Path) -> None:
    """A missing file (with the nearest name), an empty folder, a partitioned one, a foreign file, a glob of none."""
    parquet(tmp_path, "offers.parquet")
    assert "did you mean 'offers.parquet'" in complaint(tmp_path / "ofers.parquet")
    assert "no file matches" in complaint(tmp_path / "*.csv")
    (tmp_path / "empty").mkdir()
    assert "holds no" in complaint(tmp_path / "empty")
    write(tmp_path, "parts/coupon=a/1.csv", HEAD + ROWS)
    assert "column=value" in complaint(tmp_path / "parts" / "coupon=a" / "..")
    write(tmp_path, "mixed/notes.txt", "x")
    with pytest.raises(DataError, match=r"notes\.txt"):
        files_of(tmp_path / "mixed")


def test_permission_denied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that may not be read is a DataError in words."""
    path = parquet(tmp_path, "o.parquet")

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    assert "permission denied" in complaint(path)


def test_users_and_ids_that_csv_made_differ(tmp_path: Path) -> None:
    """Attributes keep leading zeros; ids of CSV that look like numbers meet text ids as text; Parquet's do not."""
    users = read_users(write(tmp_path, "users.csv", "user_id,zip,age\n1,01234,30\n2,99999,\n"))
    assert users["zip"].to_pylist() == ["01234", "99999"]
    assert users["age"].to_pylist() == [30, None]
    offers = read_offers(parquet(tmp_path, "o.parquet", user_id=["1", "2"]))
    assert Problem.from_offers(offers, users=same_ids(offers, users)[1]).n_users == 2
    numbers = read_users(parquet(tmp_path, "u.parquet"))
    with pytest.raises(DataError, match="write both the same way"):
        Problem.from_offers(offers, users=same_ids(offers, numbers)[1])


def test_hash_inputs(tmp_path: Path) -> None:
    """Every file of a folder, and a file of any other kind, is hashed."""
    one, two = parquet(tmp_path, "1.parquet"), parquet(tmp_path, "2.parquet")
    toml = write(tmp_path.parent, f"{tmp_path.name}.toml", "x")
    hashes = hash_inputs([tmp_path, toml])
    assert hashes == {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in (one, two, toml)}


CELL = st.one_of(
    st.sampled_from(
        ["1", "2", "007", "-5", "a", "10off", "", " ", "NaN", "inf", "1e13", "1.5", '"', "é", "NA", "true"]
    ),
    st.text(max_size=4),
)


def refused_or_taken(data: bytes, name: str) -> None:
    """Read bytes as offers; only a `DataError` may come of it."""
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), name, data)
        try:
            problem = problem_of(path)
        except DataError as error:
            assert str(error)  # any other error fails the test
        else:
            assert problem.n_users > 0


@tried_on(150)
@given(rows=st.lists(st.lists(CELL, min_size=1, max_size=5), max_size=6), head=st.booleans())
def test_any_csv(rows: list[list[str]], head: bool) -> None:
    """Whatever a CSV file holds, it is taken or refused as bad data."""
    text = (HEAD if head else "") + "\n".join(",".join(row) for row in rows)
    refused_or_taken(text.encode("utf-8", "surrogatepass"), "o.csv")


@tried_on(100)
@given(data=st.binary(max_size=60), name=st.sampled_from(["o.csv", "o.parquet", "o.csv.gz", "o"]), begin=st.booleans())
def test_any_bytes(data: bytes, name: str, begin: bool) -> None:
    """Whatever bytes a file holds under whatever name, they are refused as bad data."""
    refused_or_taken((b"PAR1" if begin else b"") + data, name)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_cut(data: st.DataObject) -> None:
    """A Parquet or compressed file cut anywhere is refused, never read in part."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole = parquet(folder, "whole.parquet").read_bytes()
        kind = data.draw(st.sampled_from(["cut.parquet", "cut.csv.gz"]))
        if kind == "cut.csv.gz":
            whole = gzip.compress((HEAD + "".join(f"{n},a,{n},1\n" for n in range(500))).encode())
        path = write(folder, kind, whole[: data.draw(st.integers(0, len(whole) - 1))])
        with pytest.raises(DataError):
            read_offers(path)


@settings(max_examples=50, deadline=None)
@given(
    ids=st.lists(st.one_of(st.integers(-(2**63), 2**63 - 1).map(str), st.text("0aX_ ", min_size=1)), min_size=1),
    block=st.sampled_from([64, 1 << 20]),
)
def test_ids_survive_csv(ids: list[str], block: int) -> None:
    """An id printed again reads as it was written in the file, whatever its neighbours and the blocks."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_text, "BLOCK_BYTES", block)
        path = write(Path(folder), "o.csv", HEAD + "".join(f"{entry},a,1,1\n" for entry in ids))
        read = [str(entry) for entry in read_offers(path)["user_id"].to_pylist()]
    assert read == ids


def test_arrays_view_the_table(tmp_path: Path) -> None:
    """Numbers are not copied on their way into a problem: 80 million rows are there once."""
    table = read_offers(parquet(tmp_path, "o.parquet"))
    problem = Problem.from_offers(table)
    assert np.shares_memory(problem.offers.value, table["value"].chunk(0).to_numpy())
