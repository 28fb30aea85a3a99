"""cf at scale: `python -m tests.benchmarks.cf_scale --events 50_000_000 --users 1_000_000 [--learn-from 5_000]`.

From Parquet to a relevance matrix of all users and 50 scopes, with the time and the memory of each step. With several numbers
after `--learn-from`, the last 28 days are held back instead, and relevance is judged on 20,000 users for each number of users to
learn from: what does a sample cost? Times are CPU seconds of all threads and wall seconds; memory is the process' peak.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

import cf
from tests.benchmarks.cf import measured

FILE = 10_000_000  # rows
YEAR = 365
JUDGED = 20_000  # users


def synthetic(folder: Path, users: int, events: int, items: int) -> None:
    """Write a year's log as Parquet, ten million rows a file in order of time, of shoppers who come at rates of their own.

    A visit has five events on average; six tenths of them are of the user's own list of some ten items, more of its first
    ones, and the others anything; items are drawn by Zipf's law.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    share = 1.0 / (np.arange(items) + 10.0)
    edges = np.cumsum(share / share.sum())
    rates = np.cumsum(rng.gamma(1.5, size=users))
    days = 0.0
    for number, begin in enumerate(range(0, events, FILE)):
        rows = min(FILE, events - begin)
        visits, span = max(rows // 5, 1), 365.0 * rows / events
        time = np.sort(days + span * rng.random(visits))
        shopper = np.searchsorted(rates, rates[-1] * rng.random(visits))
        visit = np.sort(rng.integers(0, visits, rows))
        user, days = shopper[visit], days + span
        place = edges.searchsorted(
            np.where(rng.random(rows) < 0.6, own_place(user, rng.geometric(0.1, rows)), rng.random(rows))
        )
        table = pa.table(
            {
                "user_id": user.astype(np.int32),
                "item_id": np.minimum(place, items - 1).astype(np.int32),
                "time": (time[visit] * 86_400).astype("datetime64[s]"),
                "money": rng.gamma(2.0, 2.0, rows).astype(np.float32),
            }
        )
        pq.write_table(table, folder / f"{number:03}.parquet", row_group_size=1_000_000)


def own_place(user: npt.NDArray[np.int64], entry: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return a number in [0, 1) for each entry of a user's list, always the same: the finaliser of SplitMix64."""
    mixed = user.astype(np.uint64) * np.uint64(1_000) + entry.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return (mixed >> np.uint64(11)).astype(np.float64) / 2.0**53


def read(folder: Path, users: int, events: int, items: int) -> tuple[cf.Interactions, list[float]]:
    """Write a log, read it, and return it with what reading took."""
    with measured("write Parquet (not counted)"):
        synthetic(folder, users, events, items)
    with measured("Parquet -> interactions") as spent:
        x = cf.Interactions.of(cf.EventFiles(folder), now=YEAR)
    print(f"  {len(x):,} events of {x.n_users:,} users and {x.n_items:,} items; {x.faults}")
    return x, spent


def scale(x: cf.Interactions, reading: list[float], sample: int) -> str:
    """Return a row of a table: events, users, CPU seconds of each step, wall seconds and memory of all."""
    scopes = cf.Scopes.by_group(x.items, x.items.values % 50)
    with measured("fit") as fit:
        model = cf.Relevance(most_users=sample).fit(x, scopes)
    with measured("predict") as told:
        found = model.predict(x)
    print(f"  {found.probability.shape} probabilities, mean {found.probability.mean():.4f}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    cpu = " | ".join(f"{step[0]:.0f}" for step in (reading, fit, told))
    return f"| {len(x):,} | {x.n_users:,} | {cpu} | {reading[1] + fit[1] + told[1]:.0f} | {peak:.1f} |"


def judged(x: cf.Interactions, samples: list[int]) -> None:
    """Print how good relevance is on the last 28 days, by the number of users that it learned from."""
    scopes = cf.Scopes.by_group(x.items, x.items.values % 50)
    known = x.before(YEAR - 28)
    some = np.sort(np.random.default_rng(1).permutation(np.flatnonzero(np.diff(known.start)))[:JUDGED])
    history, later = known.only(some), x.between(YEAR - 28, YEAR).only(some)
    for sample in samples:
        with measured(f"fit on {sample:,} users"):
            model = cf.Relevance(most_users=sample).fit(known, scopes)
        said = cf.judge(model.predict(history), history, later, scopes, repeats=20)
        print(
            f"  {sample:,} users: log-loss {said.log_loss}, AUC {said.auc}, calibration error {said.calibration_error:.4f}"
        )


def main() -> None:
    """Run at the size asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--learn-from", type=int, nargs="+", default=[5_000])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as held:
        x, spent = read(Path(held), options.users, options.events, options.items)
    if len(options.learn_from) > 1:
        judged(x, options.learn_from)
    else:
        print(scale(x, spent, options.learn_from[0]))


if __name__ == "__main__":
    main()
