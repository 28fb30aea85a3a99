"""Real kills at random moments: nothing half-written under the name asked for, and `score --resume` goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from allocator.errors import AllocatorError
from allocator.learning import Model, load_model
from tests.learning import worlds

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
USERS = 200_000
TRAIN = """
import sys
from allocator.learning import default_candidates, train
from tests.learning import worlds
model = train(worlds.trial(3000), candidates=default_candidates()[1:2])
print("trained", flush=True)
for number in range(10_000):
    model.save(sys.argv[1], force=True)
"""

pytestmark = pytest.mark.slow


@pytest.fixture
def place(model: Model, tmp_path: Path) -> Path:
    model.save(tmp_path / "model")
    table = pa.Table.from_pandas(worlds.users(USERS, 3), preserve_index=False)
    pq.write_table(table, tmp_path / "users.parquet")
    (tmp_path / "campaign.toml").write_text(worlds.CAMPAIGN, encoding="utf-8")
    return tmp_path


def scoring(place: Path, *more: str) -> subprocess.Popen[str]:
    words = [
        "score",
        "--model",
        "model",
        "--users",
        "users.parquet",
        "--campaign",
        "campaign.toml",
        "-o",
        "offers.parquet",
    ]
    return subprocess.Popen(
        [sys.executable, "-m", "allocator", *words, *more],
        cwd=place,
        env=ENVIRONMENT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def wait_for_parts(place: Path, run: subprocess.Popen[str], number: int) -> None:
    while run.poll() is None and len(list((place / ".offers.parquet.partial").glob("part-*.parquet"))) < number:
        time.sleep(0.01)


def test_a_killed_score_leaves_no_file_and_is_gone_on_with(place: Path) -> None:
    whole = scoring(place)
    said = whole.communicate(timeout=600)[0]
    assert whole.returncode == 0
    once = pq.read_table(place / "offers.parquet")
    (place / "offers.parquet").unlink()
    rng = np.random.default_rng(int(time.time()))
    parts = 0
    for kill in range(3):
        run = scoring(place, "--resume")
        wait_for_parts(place, run, parts + 1 + int(rng.integers(0, 2)))
        time.sleep(float(rng.random()) * 0.1)
        run.kill()
        run.communicate(timeout=600)
        if run.returncode == 0:
            break  # it was quicker
        assert not (place / "offers.parquet").exists(), f"after kill {kill}"
        left = len(list((place / ".offers.parquet.partial").glob("part-*.parquet")))
        assert left >= parts  # what was done is not done again
        parts = left
    else:
        last = scoring(place, "--resume")
        out, err = last.communicate(timeout=600)
        assert last.returncode == 0, err
        assert "done already; the run goes on after" in err
        assert out == said
    assert pq.read_table(place / "offers.parquet").equals(once)
    assert not (place / ".offers.parquet.partial").exists()


def test_ctrl_c_says_how_to_go_on(place: Path) -> None:
    run = scoring(place)
    wait_for_parts(place, run, 1)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=600)
    assert run.returncode == 130
    assert "interrupted; offers.parquet was not written; add --resume to go on where this run stopped" in err
    assert not (place / "offers.parquet").exists()


def test_a_model_folder_is_whole_whenever_its_writer_is_killed(tmp_path: Path) -> None:
    rng = np.random.default_rng(int(time.time()))
    whole = 0
    for _ in range(4):
        run = subprocess.Popen(
            [sys.executable, "-c", TRAIN, str(tmp_path / "model")], env=ENVIRONMENT, text=True, stdout=subprocess.PIPE
        )
        assert run.stdout is not None
        assert run.stdout.readline() == "trained\n"
        time.sleep(float(rng.random()) * 0.3)
        run.kill()
        run.communicate(timeout=600)
        if not (tmp_path / "model").exists():
            continue
        try:
            load_model(tmp_path / "model")
        except AllocatorError as error:
            raise AssertionError(f"a model half-written: {error}") from error
        whole += 1
    assert whole
