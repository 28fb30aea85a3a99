"""Measures the solver beside its peers and prints tables; `--readme` writes them into README."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numba
import numpy as np

from allocator import Problem, frontier, solve, verify
from allocator.demo import Market, market
from tests.benchmarks import command
from tests.benchmarks.families import families
from tests.benchmarks.models import market_model
from tests.benchmarks.peers import EXACT, PeerRun, run_peer
from tests.benchmarks.variants import variants

README = Path(__file__).resolve().parents[2] / "README.md"
MARKS = ("<!-- benchmarks:start -->", "<!-- benchmarks:end -->")


@numba.njit(parallel=True)
def bare_pass(value: np.ndarray, cost: np.ndarray) -> float:
    """Read value and cost of every offer once and take each user's best difference: what no pass can do without."""
    total = 0.0
    for i in numba.prange(value.shape[0]):
        best = 0.0
        for k in range(value.shape[1]):
            best = max(best, value[i, k] - cost[i, k])
        total += best
    return total


def fastest_bare_pass(made: Market) -> float:
    """Return the shortest of five bare passes, seconds."""
    bare_pass(made.value[:2], made.cost[:2])
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        bare_pass(made.value, made.cost)
        times.append(time.perf_counter() - begin)
    return min(times)


def seeds_for(size: int) -> range:
    """Return the seeds of a size's markets: one draw tells little, but ten million users are as good as many draws."""
    return range(5 if size <= 100_000 else 3 if size <= 1_000_000 else 1)


def problem_of(made: Market) -> Problem:
    """Return a market's problem: a budget and four quantities."""
    return Problem.from_arrays(made.value, made.cost, budget=made.budget, quantities=made.quantities)


def warm() -> None:
    """Have all that is compiled or loaded at first use compiled and loaded."""
    made = market(1_000, 8, seed=9)
    problem = problem_of(made)
    verify(problem, solve(problem))
    frontier(problem, [0.9 * made.budget, made.budget])


def scale_table(sizes: list[int]) -> list[str]:
    """Return the rows of markets of 8 coupons, a budget and 4 quantities, over seeds: seconds of building and solving."""
    rows = [
        "| users | markets | worst gap | seconds: median | worst | in bare passes | full passes | bytes an offer | verify, s |",
        "| --- |" + " --- |" * 8,
    ]
    for size in sizes:
        runs = [one_market(size, seed) for seed in seeds_for(size)]
        gap, took, bare, passes, memory, checked = (np.array(column) for column in zip(*runs, strict=True))
        held = "" if np.isnan(memory).any() else f"{np.median(memory):.1f}"
        rows.append(
            f"| {size:,} | {len(runs)} | {gap.max():.4f} | {np.median(took):.2f} | {took.max():.2f} | "
            f"{np.median(took / bare):,.0f} | {np.median(passes):.1f} | {held} | {np.median(checked):.2f} |"
        )
        print(rows[-1], flush=True)
    return rows


def one_market(size: int, seed: int) -> tuple[float, float, float, float, float, float]:
    """Return gap, seconds, seconds of a bare pass, full passes, bytes an offer and seconds of the check of one market."""
    made = market(size, 8, seed=seed)
    bare = fastest_bare_pass(made)
    memory = Memory()
    begin = time.perf_counter()
    problem = problem_of(made)
    result = solve(problem)
    took = time.perf_counter() - begin
    held = memory.above() / made.value.size
    begin = time.perf_counter()
    verify(problem, result)
    return result.gap, took, bare, result.passes, held, time.perf_counter() - begin


class Memory:
    """How much memory the process comes to hold above what it held before; NaN where the system does not tell (not Linux)."""

    def __init__(self) -> None:
        self._before = np.nan
        if Path("/proc/self/clear_refs").exists():
            Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
            self._before = self._read("VmRSS")

    def above(self) -> float:
        """Return the peak since then above what was held then, bytes."""
        return self._read("VmHWM") - self._before if np.isfinite(self._before) else np.nan

    @staticmethod
    def _read(key: str) -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(float(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def variant_table(size: int, seconds: float) -> list[str]:
    """Return a row for each variant of the market: gap, relative gap, seconds."""
    rows = [f"| {size:,} users | limits | gap | relative | proof | seconds |", "| --- | --- | --- | --- | --- | --- |"]
    for name, problem in variants(size):
        result = solve(problem, time_limit=seconds)
        verify(problem, result)
        rows.append(
            f"| {name} | {len(problem.limits)} | {result.gap:.4f} | {result.relative_gap:.1e} | "
            f"{result.proof.value.replace('_', ' ')} | {result.seconds['total']:.1f} |"
        )
        print(rows[-1], flush=True)
    return rows


def peer_table(size: int, seconds: float) -> list[str]:
    """Return the rows of peers on the whole model of one market, with ours above."""
    made = market(size, 8, seed=0)
    begin = time.perf_counter()
    ours = solve(problem_of(made))
    took = time.perf_counter() - begin
    rows = [f"| {size:,} users | earns | seconds | times ours | ended |", "| --- | --- | --- | --- | --- |"]
    rows.append(f"| this solver | {ours.objective:,.2f} | {took:.2f} | 1 | {ours.status.value} |")
    for name in (*EXACT, "scipy.milp", "pdlp", "glop"):
        run = run_peer(name, market_model(made), seconds)
        what = f"{name}, relaxation" if name in ("pdlp", "glop") else name
        rows.append(f"| {what} | {_number(run, 2)} | {run.seconds:.1f} | {run.seconds / took:,.0f} | {run.ended} |")
        print(rows[-1], flush=True)
    return rows


def family_table(seconds: float, peers: bool) -> list[str]:
    """Return a row for each public hard instance: ours and the peers after the same time."""
    rows = ["| instance | best known | this solver | its bound | " + " | ".join(EXACT) + " |", "| --- |" + " --- |" * 6]
    for family in families():
        problem = family.problem()
        result = solve(problem, time_limit=seconds)
        verify(problem, result)
        others = [_number(run_peer(name, family.model(), seconds), 0) if peers else "" for name in EXACT]
        rows.append(
            f"| {family.name} | {family.best_known:,.0f} | {result.objective:,.0f} | {result.bound:,.1f} | "
            + " | ".join(others)
            + " |"
        )
        print(rows[-1], flush=True)
    return rows if len(rows) > 2 else ["(the public hard instances are not here: skipped)"]


def frontier_table(sizes: list[int]) -> list[str]:
    """Return how long 50 budgets take, beside one solve: medians over seeds."""
    rows = ["| users | one solve, s | 50 budgets, s | times one solve | worst relative gap |", "| --- |" + " --- |" * 4]
    for size in sizes:
        once, all_, gaps = [], [], []
        for seed in range(3):
            made = market(size, 8, seed=seed)
            problem = problem_of(made)
            begin = time.perf_counter()
            solve(problem)
            once.append(time.perf_counter() - begin)
            begin = time.perf_counter()
            found = frontier(problem, np.linspace(0.5 * made.budget, 1.5 * made.budget, 50).tolist())
            all_.append(time.perf_counter() - begin)
            gaps.append(max((row.bound - row.objective) / row.bound for row in found.rows))
        one, many = float(np.median(once)), float(np.median(all_))
        times = float(np.median(np.array(all_) / np.array(once)))
        rows.append(f"| {size:,} | {one:.2f} | {many:.2f} | {times:.1f} | {max(gaps):.1e} |")
        print(rows[-1], flush=True)
    return rows


def command_table(sizes: list[int]) -> list[str]:
    """Return how long the whole command takes, from Parquet to a plan folder."""
    rows = ["| users, whole command | seconds | peak, GiB | gap |", "| --- | --- | --- | --- |"]
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            command.write_market(Path(folder), size, "integer")
            done = command.run(Path(folder), [])
        rows.append(f"| {size:,} | {done.wall:.1f} | {done.peak:.2f} | {done.summary['gap']:.4f} |")
        print(rows[-1], flush=True)
    return rows


def _number(run: PeerRun, digits: int) -> str:
    return "no plan" if np.isnan(run.objective) else f"{run.objective:,.{digits}f}"


def sizes(text: str) -> list[int]:
    """Read whole numbers with commas between them."""
    return [int(size) for size in text.split(",") if size]


def main() -> None:
    """Run the chosen tables: some ten minutes on a machine with nothing else to do."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--sizes", type=sizes, default="1000,10000,100000,1000000,10000000", help="users of the markets"
    )
    parser.add_argument("--variants", type=sizes, default="100000", help="users of the market's variants; empty: none")
    parser.add_argument("--variant-seconds", type=float, default=30.0, help="time limit of each variant")
    parser.add_argument(
        "--peers", type=sizes, default="1000,10000", help="users of the markets that peers get; empty: none"
    )
    parser.add_argument("--frontier", type=sizes, default="100000,1000000", help="users of the frontiers; empty: none")
    parser.add_argument("--command", type=sizes, default="1000000", help="users of the whole command; empty: none")
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="time limit of every peer, and of ours on hard instances"
    )
    parser.add_argument(
        "--families",
        choices=("no", "ours", "all"),
        default="no",
        help="public hard instances (20 minutes), with peers 80",
    )
    parser.add_argument("--readme", action="store_true", help="write what was measured into README")
    chosen = parser.parse_args()
    processor = f"{os.cpu_count()} cores"
    words = " ".join(word for word in sys.argv[1:] if word != "--readme")
    called = f"`python -m tests.benchmarks{' ' + words if words else ''}`"
    head = f"Measured by {called} on {processor}; money in currency units; a variant had {chosen.variant_seconds:g} seconds."
    parts = [[head]]
    warm()
    if chosen.sizes:
        parts.append(scale_table(chosen.sizes))
    parts += [variant_table(size, chosen.variant_seconds) for size in chosen.variants]
    if chosen.frontier:
        parts.append(frontier_table(chosen.frontier))
    if chosen.command:
        parts.append(command_table(chosen.command))
    parts += [peer_table(size, chosen.seconds) for size in chosen.peers]
    if chosen.families != "no":
        parts.append(family_table(chosen.seconds, chosen.families == "all"))
    text = "\n\n".join("\n".join(part) for part in parts)
    print("\n" + text)
    if chosen.readme:
        before, rest = README.read_text(encoding="utf-8").split(MARKS[0])
        after = rest.split(MARKS[1])[1]
        README.write_text(f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
