"""OR-Tools beside other libraries in one process."""

from __future__ import annotations

import subprocess
import sys

import pytest

SOLVE = """
import numpy as np
from allocator import Problem, solve
rng = np.random.default_rng(0)
problem = Problem.from_arrays(rng.normal(1, 1, (2000, 3)), rng.uniform(0.1, 1, (2000, 3)), budget=100.0)
assert solve(problem).status == "optimal"
"""


@pytest.mark.slow
@pytest.mark.parametrize("tensorflow_first", [True, False])
def test_tensorflow_and_the_solver_share_a_process(tensorflow_first: bool) -> None:
    """TensorFlow first used to end in a crash inside OR-Tools."""
    network = "import tensorflow as tf\nassert float(tf.constant(1.0) + 1) == 2\n"
    code = network + SOLVE if tensorflow_first else SOLVE + network
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
