"""How fast, how close and how large: `python -m tests.benchmarks` measures, and `--readme` writes README's table."""
