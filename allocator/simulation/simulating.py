"""Runs a plan many times: what it may spend, bring in and use up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from allocator.chance import DEFAULT_SHOCK
from allocator.errors import UsageError, nearest
from allocator.kernels import draws, replay
from allocator.kernels.blocks import available_threads
from allocator.simulation import estimates
from allocator.simulation.estimates import Estimate
from allocator.simulation.issued import Issued
from allocator.simulation.settings import calibration

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
MOST_RUNS = 1_000_000
MOST_CELLS = 1 << 27  # of numbers by run and coupon that are kept: 1 GiB
Progress = Callable[[str, float], None]


@dataclass(frozen=True, eq=False)
class Simulation:
    """What a plan did in each run; money in currency.

    Attributes
    ----------
    issued
        The offers that were run.
    seed, redemption_shock, budget
        As given; `budget` is `None` where there is none.
    shock
        `(runs,)` the factor that each run had on all redemption.
    redeemed, spent, gained
        `(runs, n_coupons)`: redemptions, what they cost, and the margin that would not have come without the plan.
    paths
        `(days + 1, 5)` quantiles over the runs (`QUANTILES`) of what is spent up to the end of each day; day 0 is the
        contacts alone.
    stock
        Units on hand by coupon; a redemption takes one.
    """

    issued: Issued
    seed: int
    redemption_shock: float
    budget: float | None
    shock: np.ndarray
    redeemed: np.ndarray
    spent: np.ndarray
    gained: np.ndarray
    paths: np.ndarray
    stock: Mapping[str, float]

    @property
    def runs(self) -> int:
        """How many runs there were."""
        return int(self.shock.size)

    @property
    def spend(self) -> np.ndarray:
        """`(runs,)` what each run spent: redemptions and contacts."""
        return self.spent.sum(axis=1) + self.issued.contact.sum()

    @property
    def net(self) -> np.ndarray:
        """`(runs,)` incremental net revenue: the margin that the plan moved, less what it spent."""
        return self.gained.sum(axis=1) - self.spend

    @property
    def overrun(self) -> Estimate | None:
        """How likely the plan spends more than the budget; `None` without one."""
        return None if self.budget is None else estimates.probability(self.spend > self.budget)

    def stock_out(self, coupon: str) -> tuple[Estimate, Estimate]:
        """Return how likely a coupon's stock does not suffice, and how many redemptions go unserved on average."""
        short = self.redeemed[:, self.issued.coupon_ids.index(coupon)] - self.stock[coupon]
        return estimates.probability(short > 0), estimates.mean(np.maximum(short, 0.0))

    def document(self) -> dict[str, Any]:
        """Return everything as plain numbers, for JSON. An interval's infinite or missing end is `None`."""
        document: dict[str, Any] = {
            "schema_version": 1,
            "runs": self.runs,
            "seed": self.seed,
            "redemption_shock": self.redemption_shock,
            "offers": len(self.issued),
            "budget": self.budget,
            "worst_spend": self.issued.worst_spend,
            "expected_spend": self.issued.expected_spend,
            "overrun_probability": None if self.overrun is None else _plain(self.overrun),
            "spend": _described(self.spend),
            "net": _described(self.net),
            "coupons": [
                {
                    "coupon": name,
                    "issued": int(np.count_nonzero(self.issued.coupon == k)),
                    "redeemed": _described(self.redeemed[:, k]),
                    "spend": _described(self.spent[:, k] + self.issued.contact[self.issued.coupon == k].sum()),
                }
                for k, name in enumerate(self.issued.coupon_ids)
            ],
            "stock": [],
            "fan": {
                "what": "spend up to the end of the day",
                "quantiles": list(QUANTILES),
                "days": list(range(len(self.paths))),
                "spend": self.paths.tolist(),
            },
            "assumptions": list(self.issued.assumptions),
        }
        for name, units in self.stock.items():
            chance, unserved = self.stock_out(name)
            document["stock"].append(
                {"coupon": name, "units": units, "stock_out": _plain(chance), "unserved": _plain(unserved)}
            )
        return document


def simulate(
    issued: Issued,
    *,
    runs: int = 1000,
    seed: int = 0,
    redemption_shock: float = DEFAULT_SHOCK,
    budget: float | None = None,
    stock: Mapping[str, float] | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Simulation:
    """Run a plan's offers many times.

    In a run every offer is redeemed or not, by a chance of its own times a factor S that all share: lognormal with mean
    1 and coefficient of variation `redemption_shock`. What an offer brings in is drawn apart from S: a campaign that
    happens to be redeemed more costs more and is not taken to earn more, which errs on the side of caution.

    Parameters
    ----------
    issued
        Such as `issued_of(read_plan_folder("plan/"))`.
    runs
        How many, 1 to a million. All intervals shrink with its root.
    seed
        The same seed gives the same runs whatever the threads; an offer that two plans share has the same luck in both.
    stock
        Units on hand by coupon.

    Raises
    ------
    UsageError
        Where a number makes no sense, or the stock is of a coupon that is not issued.
    """
    _check(issued, runs, redemption_shock, stock or {})
    spread = np.sqrt(np.log1p(redemption_shock**2))
    keys = [draws.run_key(seed, run) for run in range(runs)]
    shock = np.exp(spread * np.array([draws.normal(key, 0) for key in keys]) - 0.5 * spread**2)
    shape = (runs, len(issued.coupon_ids))
    redeemed, spent, gained = np.zeros(shape, np.int64), np.zeros(shape), np.zeros(shape)

    def run(r: int) -> None:
        replay.run(
            keys[r],
            issued.luck,
            issued.coupon,
            issued.redeem_probability,
            issued.paid,
            issued.moved,
            issued.gain,
            shock[r],
            redeemed[r],
            spent[r],
            gained[r],
        )

    with ThreadPoolExecutor(threads or available_threads()) as pool:
        for done, _ in enumerate(pool.map(run, range(runs)), start=1):
            if progress is not None:
                progress("runs", done / runs)
    paths = _paths(issued, redeemed, spent, np.random.default_rng([seed, 701]))
    return Simulation(issued, seed, redemption_shock, budget, shock, redeemed, spent, gained, paths, dict(stock or {}))


def _check(issued: Issued, runs: int, redemption_shock: float, stock: Mapping[str, float]) -> None:
    if not 1 <= runs <= MOST_RUNS:
        raise UsageError(f"runs is {runs:,}; it must be 1 to {MOST_RUNS:,}")
    if runs * len(issued.coupon_ids) > MOST_CELLS:
        raise UsageError(
            f"{runs:,} runs of {len(issued.coupon_ids):,} coupons are more numbers than fit into memory; ask for {MOST_CELLS // len(issued.coupon_ids):,} runs at most"
        )
    if not 0.0 <= redemption_shock <= 10.0:
        raise UsageError(f"redemption_shock is {redemption_shock:g}; it must be 0 to 10, such as 0.2")
    for name, units in stock.items():
        if name not in issued.coupon_ids:
            raise UsageError(
                f"the stock names coupon {name!r}, of which the plan issues none{nearest(name, issued.coupon_ids)}"
            )
        if not 0.0 <= units < np.inf:
            raise UsageError(f"the stock of {name!r} is {units:g}; it must be 0 or more")


def day_shares(days: int) -> np.ndarray:
    """Return `(days,)` the share of redemptions on each day of a coupon's life, as in Complete Journey."""
    tenths = np.concatenate([[0.0], np.cumsum(calibration()["redeeming"]["timing"])])
    edges = np.interp(np.linspace(0.0, 1.0, days + 1), np.linspace(0.0, 1.0, tenths.size), tenths / tenths[-1])
    return np.diff(edges)


def _paths(issued: Issued, redeemed: np.ndarray, spent: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Spread each run's redemptions over the days and return the quantiles of the spend so far."""
    longest = int(issued.valid_days.max())
    path = np.zeros((redeemed.shape[0], longest + 1))
    for k, days in enumerate(issued.valid_days.tolist()):
        by_day = rng.multinomial(redeemed[:, k], day_shares(days))
        each = spent[:, k] / np.maximum(redeemed[:, k], 1)
        path[:, 1 : days + 1] += by_day * each[:, None]
    path[:, 0] = issued.contact.sum()
    return np.quantile(np.cumsum(path, axis=1), QUANTILES, axis=0).T


def _described(sample: np.ndarray) -> dict[str, Any]:
    return {
        "mean": _plain(estimates.mean(sample)),
        "deviation": float(np.std(sample, ddof=1)) if sample.size > 1 else None,
        "quantiles": [{"share": share, **_plain(estimates.quantile(sample, share))} for share in QUANTILES],
    }


def _plain(estimate: Estimate) -> dict[str, float | None]:
    ends = {"low": estimate.low, "high": estimate.high}
    return {"value": estimate.value, **{name: end if np.isfinite(end) else None for name, end in ends.items()}}
