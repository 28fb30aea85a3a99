"""Full disks, closed pipes and odd names: what a planner's shell does to a command."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HEAD = "user_id,coupon,value,cost\n"
FULL = Path("/dev/full")


def run(*words: object, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    command = [sys.executable, "-m", "allocator", *map(str, words)]
    more.setdefault("stdout", subprocess.PIPE)
    more.setdefault("stderr", subprocess.PIPE)
    return subprocess.run(command, text=True, timeout=120, check=False, **more)


def written(path: Path, users: int) -> Path:
    """Write an offer each."""
    path.write_text(HEAD + "".join(f"u{n * 7919 % 999_983},a,{n % 97 + 2}.37,1.5\n" for n in range(users)))
    return path


@pytest.fixture
def offers(tmp_path: Path) -> Path:
    return written(tmp_path / "offers.csv", 20)


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("more", [["--json"], ["--dry-run"]])
def test_stdout_on_a_full_disk(offers: Path, more: list[str]) -> None:
    """`allocate > file` on a full disk says so in words and exits with 1."""
    with FULL.open("w") as full:
        done = run("--budget", 10, "--offers", offers, "-q", *more, stdout=full)
    assert done.returncode == 1
    assert done.stderr.startswith("allocate: the result could not be printed: No space left")
    assert "Traceback" not in done.stderr


def test_streams_that_are_closed(offers: Path) -> None:
    """`>&-` loses the text alone; with stderr closed the exit code still tells."""
    words = f"{sys.executable} -m allocator --budget 10 -q --offers"
    assert subprocess.run(f"{words} {offers} >&-", shell=True, timeout=120, check=False).returncode == 0
    assert subprocess.run(f"{words} {offers}.none 2>&-", shell=True, timeout=120, check=False).returncode == 3


@pytest.mark.slow
def test_a_disk_that_fills_up_while_the_plan_is_written(tmp_path: Path) -> None:
    """The system stops the plan's file half-way: exit code 1 in words, no new folder, and the old plan stays whole."""

    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    plan, offers = tmp_path / "plan", written(tmp_path / "offers.csv", 9_000)  # as many as a file of some size needs
    assert run("--budget", 10, "--offers", offers, "-q", "-o", plan).returncode == 0
    before = {item.name: item.read_bytes() for item in plan.iterdir()}
    words = ["--budget", 13_500, "--offers", offers, "-q", "-o"]
    for target, force in ((tmp_path / "new" / "plan", []), (plan, ["--force"])):
        done = run(*words, target, *force, preexec_fn=small)
        assert done.returncode == 1
        assert "cannot be written" in done.stderr and "nothing was left behind" in done.stderr
    assert {item.name for item in tmp_path.iterdir()} == {"offers.csv", "plan"}
    assert {item.name: item.read_bytes() for item in plan.iterdir()} == before
    assert json.loads(before["summary.json"])["budget"] == 10
