from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_the_example_runs_and_says_why() -> None:
    example = Path(__file__).parents[2] / "examples" / "wants.py"
    done = subprocess.run([sys.executable, str(example)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "because" in done.stdout
    assert "calibration error" in done.stdout
