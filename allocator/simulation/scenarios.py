"""Days of a large shop, run by name at a share of their size: what they cost, measured, and what is extrapolated."""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from allocator.errors import UsageError
from allocator.history import profiles, read_transactions
from allocator.simulation.demand import Baskets, forecast
from allocator.simulation.pacing import ByPrices, dual_price
from allocator.simulation.selling import WEEKS, Sales
from allocator.simulation.stock import Stock
from allocator.simulation.waves import Campaign, Stage, run

USERS, EVENTS_EACH, VISITS, COUPONS_A_DAY, FORECASTS = 1_000_000, 500, 100_000, 5_000, 1_000
SLICE = 5_000  # users whose events are in memory together
ITEMS = 2_000
BATCH = 256  # visits that are served together
SINGLES = 300  # visits that are served one at a time, for latency
START = np.datetime64("2024-01-01", "s")

Serve = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Scenario:
    """What a scenario did.

    Attributes
    ----------
    share
        Of the full size.
    figures
        Measured: numbers by name, units in the names. Processor seconds are of all threads.
    extrapolated
        What the full size would take, where `share` is below 1: measured times 1 / share.
    """

    name: str
    share: float
    figures: Mapping[str, float]
    extrapolated: Mapping[str, float]


def events(share: float, seed: int = 0) -> Scenario:
    """Make features of 1 M users from 500 events each: a stream of Parquet batches, never all in memory."""
    users = _size(USERS, share)
    rng = np.random.default_rng([seed, 801])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "transactions.parquet"
        begin = process_time()
        _write_events(path, users, rng)
        written, before = process_time() - begin, _peak_mib()
        size = path.stat().st_size / (1 << 20)
        begin = process_time()
        found = profiles(read_transactions(path, now="2025-06-01"))
        took = process_time() - begin
    lines = users * EVENTS_EACH
    figures = {
        "users": users,
        "events": lines,
        "features": len(found.schema.names),
        "cpu_seconds": took,
        "events_per_cpu_second": lines / took,
        "cpu_seconds_to_make_up_the_events": written,
        "peak_memory_mib": _peak_mib(),
        "peak_memory_mib_before": before,
        "events_on_disk_mib": size,
    }
    return Scenario("events", share, figures, _scaled(share, {"cpu_seconds": took}))


def visits(share: float, fit: Callable[[pa.Table], Serve], seed: int = 0, *, coupons: int = 20) -> Scenario:
    """Serve 100 k visits of a day: the best items for each user, and the coupon that is worth most at today's price.

    Parameters
    ----------
    fit
        Takes events (`user_id`, `item_id`, `day`, `amount`) and returns what serves visits: from `(n,)` users to `(n, N)`
        numbers of items. `cf` is not known here.
    """
    n_visits, rng = _size(VISITS, share), np.random.default_rng([seed, 802])
    users = max(50, n_visits // 5)
    owner = np.repeat(np.arange(users), 30)
    item = (rng.integers(0, 20, users)[owner] * (ITEMS // 20) + rng.zipf(1.5, owner.size)) % ITEMS
    table = pa.table(
        {
            "user_id": owner,
            "item_id": item,
            "day": rng.uniform(0, 365, owner.size),
            "amount": rng.gamma(2.0, 3.0, owner.size),
        }
    )
    begin = process_time()
    serve = fit(table)
    fitted = process_time() - begin
    value, cost = rng.normal(0.5, 1.0, (users, coupons)), rng.uniform(0.2, 1.5, (users, coupons))
    visitors = rng.integers(0, users, n_visits)
    often = np.bincount(visitors, minlength=users).astype(float)
    price = dual_price(value, cost, often, 0.1 * n_visits)
    singles = np.empty(min(SINGLES, n_visits))
    answer(serve, visitors[:1], value, cost, price)  # compiles
    for place in range(singles.size):
        clock = perf_counter()
        answer(serve, visitors[place : place + 1], value, cost, price)
        singles[place] = perf_counter() - clock
    begin, issued = process_time(), 0
    for low in range(0, n_visits, BATCH):
        given = answer(serve, visitors[low : low + BATCH], value, cost, price)
        issued += int((given >= 0).sum())
    took = process_time() - begin
    figures = {
        "visits": n_visits,
        "users": users,
        "items": ITEMS,
        "coupons": coupons,
        "cpu_seconds_to_fit": fitted,
        "price": price,
        "issued": issued,
        "cpu_seconds": took,
        "visits_per_cpu_second": n_visits / took,
        "one_visit_median_ms": 1e3 * float(np.median(singles)),
        "one_visit_p99_ms": 1e3 * float(np.quantile(singles, 0.99)),
    }
    return Scenario("visits", share, figures, _scaled(share, {"cpu_seconds": took}))


def answer(serve: Serve, users: np.ndarray, value: np.ndarray, cost: np.ndarray, price: float) -> np.ndarray:
    """Return `(n,)` the coupon that each visit gets, -1: none.

    Of the coupons whose scope holds a recommended item (item i is of scope i modulo the coupons), the one with the
    largest value less its cost at the price of the budget, where that is above 0.
    """
    items = serve(users)
    coupons = value.shape[1]
    fits = np.zeros((users.size, coupons), bool)
    rows, columns = np.nonzero(items >= 0)
    fits[rows, items[rows, columns] % coupons] = True
    reduced = np.where(fits, value[users] - price * cost[users], -np.inf)
    best = reduced.argmax(axis=1)
    return np.where(reduced[np.arange(users.size), best] > 0.0, best, -1)


def coupons(share: float, seed: int = 0, *, days: int = 4) -> Scenario:
    """Issue 5,000 coupons a day from a budget for all days, among those who turn up of 100 k users."""
    a_day = _size(COUPONS_A_DAY, share)
    stage = Stage.draw(Campaign(20 * a_day, days, most_a_wave=a_day, budget=1.0 * a_day * days), seed)
    begin = process_time()
    found = run(stage, ByPrices())
    took = process_time() - begin
    figures = {
        "users": 20 * a_day,
        "days": days,
        "issued": found.total("issued"),
        "most_a_day": max(wave.issued for wave in found.waves),
        "cpu_seconds_a_day": took / days,
        "spent_share_of_budget": found.total("spent") / found.budget,
    }
    return Scenario("coupons", share, figures, _scaled(share, {"cpu_seconds_a_day": took / days}))


def forecasts(share: float, seed: int = 0) -> Scenario:
    """Forecast the demand of 1,000 items with a plan and without it, with intervals and orders."""
    n, rng = _size(FORECASTS, share), np.random.default_rng([seed, 803])
    weekly = rng.poisson(rng.gamma(1.0, 20.0, n)[:, None], (n, WEEKS)).astype(float)
    scoped = np.where(np.arange(n) % 10 == 0, weekly.sum(axis=1), 0.0)
    baskets = max(1, int(weekly.sum() / 4))
    sales = Sales(weekly, baskets, {"tenth": max(1, baskets // 5)}, {"tenth": scoped})
    stock = Stock(
        "item_id", tuple(map(str, range(n))), weekly.mean(axis=1) * 5, np.full(n, 7.0), np.arange(n, dtype=np.int32)
    )
    begin = process_time()
    found = forecast(stock, sales, {"tenth": Baskets(0.05 * baskets, 0.02 * baskets)}, redemption_shock=0.1)
    took = process_time() - begin
    figures = {
        "forecasts": n,
        "cpu_seconds": took,
        "forecasts_per_cpu_second": n / took,
        "items_to_order": int((found.order > 0).sum()),
        "mean_chance_to_run_out": float(found.runs_out.mean()),
    }
    return Scenario("forecasts", share, figures, _scaled(share, {"cpu_seconds": took}))


NAMES = ("events", "visits", "coupons", "forecasts")


def _size(full: int, share: float) -> int:
    if not 0.0 < share <= 1.0:
        raise UsageError(f"share is {share:g}; it must be above 0 and at most 1, such as 0.02")
    return max(1, round(full * share))


def _scaled(share: float, measured: Mapping[str, float]) -> dict[str, float]:
    return {} if share == 1.0 else {name: number / share for name, number in measured.items()}


def _write_events(path: Path, users: int, rng: np.random.Generator) -> None:
    """Write 500 lines a user over a year, each user's in order of time."""
    writer: parquet.ParquetWriter | None = None
    for low in range(0, users, SLICE):
        some = min(SLICE, users - low)
        seconds = np.sort(rng.integers(0, 365 * 86_400, (some, EVENTS_EACH)), axis=1).ravel()
        table = pa.table(
            {
                "user_id": np.repeat(np.arange(low, low + some), EVENTS_EACH),
                "item_id": rng.integers(0, ITEMS, seconds.size),
                "time": pa.array(START + seconds.astype("timedelta64[s]")),
                "amount": np.round(rng.gamma(2.0, 3.0, seconds.size), 2),
            }
        )
        writer = parquet.ParquetWriter(path, table.schema) if writer is None else writer
        writer.write_table(table)
    assert writer is not None
    writer.close()


def _peak_mib() -> float:
    """Return the largest memory that this process has had, MiB; NaN where the system does not tell."""
    if sys.platform == "win32":
        return math.nan
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)
