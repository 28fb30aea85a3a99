"""Output appears whole or not at all."""

import errno
import os
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.errors import DataError, OutputError, UsageError
from allocator.problem import Problem
from allocator.tables import output
from allocator.tables.output import check_target, plan_table, write_file, write_folder

CONTENTS: dict[str, output.Content] = {
    "manifest.json": "{}",
    "data.bin": b"\x00\x01",
    "text.txt": lambda path: path.write_text("é", encoding="utf-8") and None,
}


def names(folder: Path) -> list[str]:
    """Return everything under a folder, hidden files too."""
    return sorted(str(item.relative_to(folder)) for item in folder.rglob("*"))


def failing(error: BaseException) -> output.Content:
    """Return a writer that writes half of its file and then fails."""

    def write(path: Path) -> None:
        path.write_bytes(b"half")
        raise error

    return write


def test_folder_is_written(tmp_path: Path) -> None:
    """All files are there with their content, missing parents are made, and nothing else stays."""
    write_folder(tmp_path / "a" / "plan", CONTENTS, force=False)
    assert names(tmp_path) == ["a", "a/plan", "a/plan/data.bin", "a/plan/manifest.json", "a/plan/text.txt"]
    assert (tmp_path / "a/plan/text.txt").read_text(encoding="utf-8") == "é"


def test_existing_folder(tmp_path: Path) -> None:
    """Without force an existing folder stays; with it, a plan folder is replaced as a whole."""
    plan = tmp_path / "plan"
    write_folder(plan, {**CONTENTS, "old.txt": "x", "plan.parquet": b""}, force=False)
    for refused in (lambda: check_target(plan, False), lambda: write_folder(plan, CONTENTS, force=False)):
        with pytest.raises(UsageError, match="--force"):
            refused()
    assert (plan / "old.txt").exists()
    check_target(plan, True)
    write_folder(plan, CONTENTS, force=True)
    assert names(tmp_path) == ["plan", "plan/data.bin", "plan/manifest.json", "plan/text.txt"]


def test_force_replaces_a_folder_of_its_own_kind_alone(tmp_path: Path) -> None:
    """`allocate -o model/ --force` does not cost a model, nor any other program's folder with a manifest.json."""
    for kind, mark in output.MARKS.items():
        write_folder(tmp_path / kind, {"manifest.json": "{}", mark: b""}, force=False)
        check_target(tmp_path / kind, True, kind)
    with pytest.raises(UsageError, match="holds a model"):
        check_target(tmp_path / "model", True)
    with pytest.raises(UsageError, match="holds a plan"):
        check_target(tmp_path / "plan", True, "market")
    write_folder(tmp_path / "extension", {"manifest.json": "{}", "page.js": ""}, force=False)
    with pytest.raises(UsageError, match="holds no plan"):
        check_target(tmp_path / "extension", True)


def test_force_spares_what_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With force, a folder without manifest.json, a file, and the working folder stay; an empty folder may go."""
    photos = tmp_path / "photos"
    photos.mkdir()
    check_target(photos, True)
    (photos / "cat.jpg").write_text("meow")
    with pytest.raises(UsageError, match=r"manifest\.json"):
        check_target(photos, True)
    with pytest.raises(UsageError, match="is a file"):
        write_folder(photos / "cat.jpg", CONTENTS, force=True)
    with pytest.raises(UsageError, match="is a file"):
        check_target(photos / "cat.jpg" / "plan", True)
    inside = tmp_path / "plan" / "inside"
    inside.mkdir(parents=True)
    (tmp_path / "plan" / "manifest.json").write_text("{}")
    monkeypatch.chdir(inside)
    for place in (tmp_path / "plan", Path("..")):
        with pytest.raises(UsageError, match="you work in"):
            write_folder(place, CONTENTS, force=True)
    assert (photos / "cat.jpg").read_text() == "meow"


def test_check_leaves_nothing(tmp_path: Path) -> None:
    """The check up front makes no folder, not even parents."""
    check_target(tmp_path / "a" / "b" / "plan", False)
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["x" * 300, "nul\0"])
def test_impossible_names(tmp_path: Path, name: str) -> None:
    """A name that the system does not take is refused up front."""
    with pytest.raises(UsageError):
        check_target(tmp_path / name, False)
    assert names(tmp_path) == []


def test_link_is_followed(tmp_path: Path) -> None:
    """Where the folder is a symbolic link, what it points to is replaced and the link stays."""
    write_folder(tmp_path / "real", {"manifest.json": "old"}, force=False)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_folder(tmp_path / "link", {"manifest.json": "new"}, force=True)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "manifest.json").read_text() == "new"


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "disk is full"), (errno.EACCES, "permission denied"), (errno.EROFS, "read-only")],
)
def test_system_errors_in_words(tmp_path: Path, number: int, words: str) -> None:
    """What the system says becomes an OutputError that names the folder and says what to do."""
    content = {**CONTENTS, "last.bin": failing(OSError(number, os.strerror(number)))}
    with pytest.raises(OutputError, match=words) as caught:
        write_folder(tmp_path / "new" / "plan", content, force=False)
    assert "plan" in str(caught.value)
    assert names(tmp_path) == []


def test_denied_up_front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A place that cannot be written to is refused before any work."""

    def denied(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", denied)
    with pytest.raises(UsageError, match="permission denied"):
        check_target(tmp_path / "plan", False)


@pytest.mark.parametrize("broken", ["first", "second", "interrupted"])
def test_last_step_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    """Where the renames at the end fail or are interrupted, the old folder is back."""
    plan = tmp_path / "plan"
    write_folder(plan, {"manifest.json": "old"}, force=False)
    rename, calls = Path.rename, []

    def fail(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == (1 if broken == "first" else 2):
            raise KeyboardInterrupt if broken == "interrupted" else OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(KeyboardInterrupt if broken == "interrupted" else OutputError):
        write_folder(plan, {"manifest.json": "new"}, force=True)
    assert names(tmp_path) == ["plan", "plan/manifest.json"]
    assert (plan / "manifest.json").read_text() == "old"


def test_made_meanwhile(tmp_path: Path) -> None:
    """A folder that another makes while ours is written is not replaced."""
    plan = tmp_path / "plan"

    def other(path: Path) -> None:
        path.write_text("x")
        plan.mkdir()

    with pytest.raises(UsageError, match="exists already"):
        write_folder(plan, {"a": other}, force=False)
    assert names(tmp_path) == ["plan"]


@settings(max_examples=60, deadline=None)
@given(
    before=st.lists(st.binary(max_size=20), max_size=3),
    error=st.sampled_from(
        [OSError(errno.ENOSPC, "full"), ValueError("x"), KeyboardInterrupt(), MemoryError(), DataError("y"), None]
    ),
    after=st.integers(0, 2),
    exists=st.booleans(),
)
def test_whole_or_absent(before: list[bytes], error: BaseException | None, after: int, exists: bool) -> None:
    """Whatever fails and when: the folder is complete, or as it was, and nothing else is left behind."""
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        plan = top / "sub" / "plan"
        if exists:
            write_folder(plan, {"manifest.json": "old"}, force=False)
        was = names(top)
        contents: dict[str, output.Content] = {f"{n}.bin": data for n, data in enumerate(before)}
        contents["manifest.json"] = "new" if error is None else failing(error)
        contents |= {f"after{n}": "x" for n in range(after)}
        if error is None:
            write_folder(plan, contents, force=exists)
            assert {item.name for item in plan.iterdir()} == set(contents)
            assert {item.name for item in plan.parent.iterdir()} == {"plan"}
        else:
            with pytest.raises(OutputError if isinstance(error, OSError) else type(error)):
                write_folder(plan, contents, force=exists)
            assert names(top) == was
            assert not exists or (plan / "manifest.json").read_text() == "old"


def test_names_stay_inside(tmp_path: Path) -> None:
    """A file's name cannot lead out of the folder."""
    with pytest.raises(UsageError, match="not the name of a file"):
        write_folder(tmp_path / "plan", {"../x": "y"}, force=False)


def test_file(tmp_path: Path) -> None:
    """A file is replaced whole or stays; a folder is refused; `force=False` refuses a file that is there."""
    path = tmp_path / "sub" / "table.csv"
    write_file(path, "one")
    write_file(path, b"two")
    with pytest.raises(OutputError, match="disk is full"):
        write_file(path, failing(OSError(errno.ENOSPC, "full")))
    with pytest.raises(UsageError, match="exists already"):
        write_file(path, "three", force=False)
    with pytest.raises(UsageError, match="is a folder"):
        write_file(path.parent, "three")
    assert path.read_text() == "two"
    assert names(tmp_path) == ["sub", "sub/table.csv"]


def test_plan_table() -> None:
    """A plan's rows come in the input's order with all of the input's columns, ids first, and text as text."""
    offers = pa.table(
        {
            "value": [5.0, 1.0, 4.0, 3.0],
            "user_id": [9, 7, 9, 8],
            "note": ["a", "b", "c", "d"],
            "coupon": pa.array(["x", "x", "y", "y"]).dictionary_encode(),
            "cost": [1.0, 1.0, 1.0, 1.0],
        }
    )
    problem = Problem.from_offers(offers)
    chosen = np.flatnonzero(problem.offers.value >= 3.0)[::-1]
    table = plan_table(problem.offers.rows_of(chosen), offers)
    assert table.column_names == ["user_id", "coupon", "value", "note", "cost"]
    assert table.schema.field("coupon").type == pa.string()
    assert table["note"].to_pylist() == ["a", "c", "d"]
    assert plan_table(np.empty(0, np.int64), offers).num_rows == 0
