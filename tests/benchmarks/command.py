"""Measures the whole command, from an offers file to a plan folder: wall time, peak memory and the stages.

`python -m tests.benchmarks.command --users 1000000`
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from allocator.demo import market

COUPONS = 8
GROUP = 1 << 20  # rows of a row group, as other writers make them
CAMPAIGN = '[campaign]\nname = "market"\nbudget = {budget}\n'
COUPON = '[[coupon]]\nid = "{name}"\nkind = "fixed"\namount = {face}\n'


@dataclass(frozen=True)
class Run:
    """One run of the command: seconds of wall and of processor time, peak memory in GiB, and its summary."""

    wall: float
    processor: float
    peak: float
    summary: dict[str, object]


def write_market(folder: Path, n_users: int, ids: str) -> None:
    """Write offers.parquet and campaign.toml of a market; `ids`: `integer`, `string`, or `shuffled` integers."""
    made = market(n_users, COUPONS, seed=0)
    names = [f"{face:g}off" for face in made.face_value]
    user = np.arange(n_users, dtype=np.int64) * 7 + 1_000_003
    if ids == "shuffled":
        user = np.random.default_rng(0).permutation(user)
    step = max(1, GROUP // COUPONS)
    writer = None
    for low in range(0, n_users, step):
        some = slice(low, min(n_users, low + step))
        rows = np.repeat(user[some], COUPONS)
        if ids == "shuffled":  # in the order of the coupons, so that a user's offers are far apart
            rows = rows.reshape(-1, COUPONS).T.reshape(-1)
        coupon = np.arange(rows.size, dtype=np.int32) % COUPONS
        values, costs = made.value[some].reshape(-1), made.cost[some].reshape(-1)
        if ids == "shuffled":
            coupon = np.sort(coupon)
            values, costs = made.value[some].T.reshape(-1), made.cost[some].T.reshape(-1)
        table = pa.table(
            {
                "user_id": pa.array(rows).cast(pa.string()) if ids == "string" else rows,
                "coupon": pa.DictionaryArray.from_arrays(coupon, names).cast(pa.string()),
                "value": values,
                "cost": costs,
            }
        )
        writer = writer or parquet.ParquetWriter(folder / "offers.parquet", table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()
    text = CAMPAIGN.format(budget=made.budget)
    for name, face, quantity in zip(names, made.face_value, made.quantities, strict=True):
        text += COUPON.format(name=name, face=face)
        text += "" if quantity is None else f"quantity = {quantity:.0f}\n"
    (folder / "campaign.toml").write_text(text)


def run(folder: Path, more: list[str]) -> Run:
    """Run the command on the files of `write_market`, in a process of its own."""
    plan = folder / "plan"
    words = [sys.executable, "-m", "allocator", "--offers", str(folder / "offers.parquet"), "-o", str(plan)]
    words += ["--campaign", str(folder / "campaign.toml"), "--force", "-q", *more]
    begin = time.perf_counter()
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"exit code {process.returncode}")
    summary = json.loads((plan / "summary.json").read_text())
    return Run(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20, summary)


def main() -> None:
    """Print one line a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--ids", choices=("integer", "string", "shuffled"), default="integer")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="keep the files there, and use them again; by default temporary")
    parser.add_argument("more", nargs="*", help="further words of the command, after --")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (chosen.folder or Path(temporary)) / f"{chosen.users}-{chosen.ids}"
        if not (folder / "campaign.toml").exists():
            folder.mkdir(parents=True, exist_ok=True)
            write_market(folder, chosen.users, chosen.ids)
        for _ in range(chosen.repeats):
            done = run(folder, chosen.more)
            print(
                f"{chosen.users:,} users x {COUPONS}, {chosen.ids} ids: {done.wall:.2f} s wall, {done.processor:.2f} s "
                f"processor, peak {done.peak:.2f} GiB; {done.summary['status']}, gap {done.summary['gap']:.4f}; "
                f"{done.summary['seconds']}",
                flush=True,
            )


if __name__ == "__main__":
    main()
