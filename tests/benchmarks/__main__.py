"""Measures the solver beside its peers and prints tables; `--readme` writes them into README."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numba
import numpy as np

from allocator import Problem, frontier, solve, verify
from allocator.demo import Market, market
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


def scale_table(sizes: list[int], repeats: int) -> list[str]:
    """Return the rows of markets of 8 coupons, a budget and 4 quantities: medians over repeats, of building and solving."""
    rows = ["| users | gap | proof | seconds | bare passes' time | full passes | verify, s |", "| --- | --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    warm = market(1_000, 8, seed=9)
    solve(Problem.from_arrays(warm.value, warm.cost, budget=warm.budget, quantities=warm.quantities))
    for size in sizes:
        made = market(size, 8, seed=0)
        bare, times = fastest_bare_pass(made), []
        for _ in range(repeats if size <= 1_000_000 else 1):
            begin = time.perf_counter()
            problem = Problem.from_arrays(made.value, made.cost, budget=made.budget, quantities=made.quantities)
            result = solve(problem)
            times.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        verify(problem, result)
        checked = time.perf_counter() - begin
        took = float(np.median(times))
        rows.append(
            f"| {size:,} | {result.gap:.4f} | {result.proof.value.replace('_', ' ')} | {took:.2f} | {took / bare:,.0f} | "
            f"{result.passes:.1f} | {checked:.2f} |"
        )
        print(rows[-1], flush=True)
    return rows


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
    problem = Problem.from_arrays(made.value, made.cost, budget=made.budget, quantities=made.quantities)
    ours = solve(problem)
    took = time.perf_counter() - begin
    rows = [f"| {size:,} users | earns | seconds | ended |", "| --- | --- | --- | --- |"]
    rows.append(f"| this solver | {ours.objective:,.2f} | {took:.2f} | {ours.status.value} |")
    for name in (*EXACT, "scipy.milp", "pdlp", "glop"):
        run = run_peer(name, market_model(made), seconds)
        what = f"{name}, relaxation" if name in ("pdlp", "glop") else name
        rows.append(f"| {what} | {_number(run, 2)} | {run.seconds:.1f} | {run.ended} |")
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
            + " | ".join(others) + " |"
        )  # fmt: skip
        print(rows[-1], flush=True)
    return rows if len(rows) > 2 else ["(the public hard instances are not here: skipped)"]


def frontier_line(size: int) -> str:
    """Return how long 50 budgets take, in times of one solve."""
    made = market(size, 8, seed=0)
    problem = Problem.from_arrays(made.value, made.cost, budget=made.budget, quantities=made.quantities)
    begin = time.perf_counter()
    solve(problem)
    one = time.perf_counter() - begin
    begin = time.perf_counter()
    frontier(problem, np.linspace(0.5 * made.budget, 1.5 * made.budget, 50).tolist())
    return f"A frontier of 50 budgets at {size:,} users: {(time.perf_counter() - begin) / one:.1f} times one solve."


def _number(run: PeerRun, digits: int) -> str:
    return "no plan" if np.isnan(run.objective) else f"{run.objective:,.{digits}f}"


def main() -> None:
    """Run the chosen tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="1000,10000,100000,1000000,10000000", help="users of the markets")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--variants", default="100000", help="users of the market's variants; empty: none")
    parser.add_argument("--peers", default="10000", help="users of the markets that peers get; empty: none")
    parser.add_argument("--frontier", type=int, default=100_000, help="users of the frontier's market; 0: none")
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="time limit of every peer, and of ours on hard ones"
    )
    parser.add_argument("--families", choices=("no", "ours", "all"), default="all")
    parser.add_argument("--readme", action="store_true", help="write what was measured into README")
    chosen = parser.parse_args()
    parts = [[f"Measured by `python -m tests.benchmarks` on {os.cpu_count()} cores; money in currency units."]]
    if chosen.sizes:
        parts.append(scale_table([int(size) for size in chosen.sizes.split(",")], chosen.repeats))
    parts += [variant_table(int(size), chosen.seconds) for size in chosen.variants.split(",") if size]
    parts += [peer_table(int(size), chosen.seconds) for size in chosen.peers.split(",") if size]
    if chosen.frontier:
        parts.append([frontier_line(chosen.frontier)])
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
