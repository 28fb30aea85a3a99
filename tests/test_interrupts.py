"""Every command that writes: Ctrl-C at any moment leaves nothing half-written, and the same seed gives the same bytes."""

from __future__ import annotations

import json
import re
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.conftest import Allocate, Run
from tests.fuzzing import SHARE

# When each command is interrupted, as shares of how long it takes: from early to late; the last strike often comes while
# files are being written.
STRIKES = (0.15, 0.55, 0.95) if SHARE == 1 else (0.95,)
PLAN = {"plan.parquet", "summary.json", "report.html", "manifest.json"}


class Stage:
    """What the commands read, and the words of each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shop, self.plan = folder / "shop", folder / "plan"
        self.offers = ["--offers", self.shop / "truth.parquet", "--campaign", self.shop / "campaign.toml"]

    def words(self, name: str, out: Path) -> list[Any]:
        """Return the words of a command that writes to `out`."""
        known: dict[str, list[Any]] = {
            "plan": [*self.offers, "--holdout", "20%", "-o", out],
            "confidence": [*self.offers, "--confidence", "0.9", "-o", out],
            "market": ["market", out, "--users", 200, "--seed", 2],
            "simulate": ["simulate", self.plan, "--runs", 40, "-o", out],
            "measure": [
                "measure",
                self.plan,
                "--outcomes",
                self.folder / "after.parquet",
                "-o",
                out.with_suffix(".html"),
            ],
            "demand": [
                "demand",
                self.plan,
                "--stock",
                self.folder / "stock.csv",
                "--transactions",
                self.shop / "transactions.parquet",
                "--products",
                self.shop / "products.parquet",
                "-o",
                out.with_suffix(".csv"),
            ],
            "hedge": ["hedge", "--offers", self.folder / "drawn.parquet", "--budget", 40, "--steps", 2, "-o", out],
            "waves": ["waves", "--users", 200, "--waves", 2, "--markets", 2, "--explore", "20%", "-o", out],
            "frontier": [
                "frontier",
                *self.offers,
                "--from",
                20,
                "--to",
                60,
                "--steps",
                3,
                "-o",
                out.with_suffix(".csv"),
            ],
        }
        return known[name]


FILES = {
    "plan": PLAN | {"holdout.parquet", "propensities.parquet"},
    "confidence": PLAN,
    "market": {
        "campaign.toml",
        "manifest.json",
        "products.parquet",
        "transactions.parquet",
        "trial.parquet",
        "truth.parquet",
        "users.parquet",
    },
    "simulate": {"manifest.json", "simulation.json", "runs.parquet", "report.html"},
    "hedge": PLAN | {"tradeoff.json"},
    "waves": {"manifest.json", "waves.json", "wave-01.parquet", "wave-02.parquet"},
    "measure": {"out.html"},
    "demand": {"out.csv"},
    "frontier": {"out.csv"},
}
THREADED = ("plan", "confidence", "simulate", "hedge", "frontier")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """Make a market, a plan with a holdout, its outcomes, a stock list and offers with draws."""
    from allocator.cli import main

    made = Stage(tmp_path_factory.mktemp("interrupts"))
    for words in (
        ["market", made.shop, "--users", 300, "--seed", 1],
        [*made.offers, "--holdout", "20%", "-o", made.plan],
    ):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as end:
            patch.setattr("sys.argv", ["allocate", *map(str, words), "-q"])
            main()
        assert end.value.code == 0
    users = pd.read_parquet(made.plan / "propensities.parquet").user_id
    rng = np.random.default_rng(0)
    after = pd.DataFrame({"user_id": users, "spend": np.round(rng.gamma(1.0, 9.0, users.size), 2)})
    after.to_parquet(made.folder / "after.parquet")
    items = pd.read_parquet(made.shop / "products.parquet").item_id.head(5)
    pd.DataFrame({"item_id": items, "units": 20}).to_csv(made.folder / "stock.csv", index=False)
    drawn = pd.read_parquet(made.shop / "truth.parquet")
    for j in range(4):
        drawn[f"value_draw_{j}"] = drawn.value * rng.normal(1.0, 0.5)
    drawn.to_parquet(made.folder / "drawn.parquet")
    return made


def written(out: Path) -> set[str]:
    """Return the names of what a command wrote: a folder's files, or the file beside it."""
    if out.is_dir():
        return {path.name for path in out.iterdir()}
    return {path.name for path in out.parent.iterdir()}


def stack(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield a frame and those that called it."""
    while frame is not None:
        yield frame
        frame = frame.f_back


@pytest.fixture
def interrupted(allocate: Allocate) -> Iterator[Callable[[list[Any], float], Run]]:
    """Run a command in this process, interrupted after so many seconds as Ctrl-C would."""

    running = False

    def strike(number: int, frame: FrameType | None) -> None:
        calls = {frame.f_code.co_name for frame in stack(frame)}
        if "_code" in calls and "gc_callback" not in calls:
            raise KeyboardInterrupt
        # The command's job has not begun, or what is raised would be lost: in a callback of the collector, which the tests' tools have.
        if running:
            signal.setitimer(signal.ITIMER_REAL, 1e-3)

    before = signal.signal(signal.SIGALRM, strike)

    def run(words: list[Any], seconds: float) -> Run:
        nonlocal running
        running = True
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            return allocate(*words)
        finally:
            running = False
            signal.setitimer(signal.ITIMER_REAL, 0)

    yield run
    signal.signal(signal.SIGALRM, before)


# A strike between the opening of a file and the block that closes it leaves closing to the collector, as the process' end would.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.fuzz
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timer")
@pytest.mark.parametrize("name", sorted(FILES))
def test_a_command_that_is_interrupted_leaves_all_or_nothing(
    name: str, stage: Stage, interrupted: Callable[[list[Any], float], Run], tmp_path: Path
) -> None:
    from time import perf_counter

    (tmp_path / "whole").mkdir()
    begin = perf_counter()
    assert interrupted(stage.words(name, tmp_path / "whole" / "out"), 1e6).code == 0
    took = perf_counter() - begin
    for turn, strike in enumerate(STRIKES):
        out = tmp_path / str(turn) / "out"
        out.parent.mkdir()
        code, _, err = interrupted(stage.words(name, out), took * strike)
        assert code in (0, 130), err
        # The last strike may come when all is written and the command has yet to end.
        assert written(out) == FILES[name] or (code == 130 and written(out) == set())
        assert {path.name for path in out.parent.iterdir()} <= {"out", "out.html", "out.csv"}  # no temporary folder


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_strike_while_files_are_written_leaves_nothing(
    name: str, stage: Stage, allocate: Allocate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from allocator.tables import output

    def strike(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(output, "_sync", strike)  # after the first file
    code, _, err = allocate(*stage.words(name, tmp_path / "out"))
    assert (code, "interrupted; nothing was written" in err) == (130, True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("last", ["rmdir", "unlink"])
def test_a_strike_in_the_line_that_removes_a_temporary_name_leaves_nothing(
    last: str, stage: Stage, allocate: Allocate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    struck, real = [], getattr(Path, last)

    def strike(path: Path, **options: Any) -> None:
        if path.name.startswith(".allocate-") and not struck:
            struck.append(path)
            raise KeyboardInterrupt
        real(path, **options)

    monkeypatch.setattr(Path, last, strike)
    assert allocate(*stage.words("demand", tmp_path / "out")).code == 130
    assert struck
    assert [path for path in tmp_path.iterdir() if path.name != "out.csv"] == []


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_strike_right_after_the_last_rename_is_told_as_it_is(
    name: str, stage: Stage, allocate: Allocate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def then_strike(move: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
        def moved(path: Path, target: Path) -> Path:
            move(path, target)
            raise KeyboardInterrupt

        return moved

    for way in ("rename", "replace"):
        monkeypatch.setattr(Path, way, then_strike(getattr(Path, way)))
    out = tmp_path / "out"
    code, _, err = allocate(*stage.words(name, out))
    assert code == 130
    whole = next(path for path in tmp_path.iterdir() if path.name.startswith("out"))
    assert f"interrupted; {whole} was written before, and whole" in err
    assert "nothing" not in err.splitlines()[-1]
    assert written(out) == FILES[name]


def contents(out: Path) -> dict[str, Any]:
    """Return what a command wrote, without what tells of the run itself: times and the command's own words."""
    found: dict[str, Any] = {}
    for path in sorted(out.iterdir() if out.is_dir() else out.parent.iterdir()):
        if path.suffix == ".json":
            document = json.loads(path.read_text(encoding="utf-8"))
            found[path.name] = {key: item for key, item in document.items() if key not in ("seconds", "command")}
        elif path.suffix == ".html":
            found[path.name] = re.sub(r"Planned in [^.]*\.\d+ seconds", "", path.read_text(encoding="utf-8"))
        else:
            found[path.name] = path.read_bytes()
    return found


@pytest.mark.parametrize("name", sorted(FILES))
def test_the_same_seed_gives_the_same_bytes_whatever_the_threads(
    name: str, stage: Stage, allocate: Allocate, tmp_path: Path
) -> None:
    outs = [tmp_path / str(turn) / "out" for turn in (1, 2)]
    for turn, out in enumerate(outs, start=1):
        out.parent.mkdir()
        threads = ["--threads", turn] if name in THREADED else []
        run = allocate(*stage.words(name, out), *threads, "-q")
        assert run.code == 0, run.err
    assert set(contents(outs[0])) == FILES[name]
    assert contents(outs[0]) == contents(outs[1])


def test_a_lock_that_a_strike_tore_from_a_waiting_thread_is_no_internal_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from allocator.cli.exits import leave

    def job() -> int:
        lock = threading.Lock()
        with lock:
            lock.release()  # as `Condition.wait` does, where the strike comes before it has the lock again
            raise KeyboardInterrupt

    with pytest.raises(SystemExit) as end:
        leave(job, verbose=False)
    assert end.value.code == 130
    assert "interrupted; nothing was written" in capsys.readouterr().err
