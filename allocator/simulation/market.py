"""Markets with known truth: what `Market` draws, and writes as the files that the commands read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from allocator.simulation.drawn import MOST_DAYS, NOTHING, TRIAL, DrawnMarket
from allocator.simulation.folder import write_market

__all__ = ["MOST_DAYS", "NOTHING", "TRIAL", "Market"]


@dataclass(frozen=True, eq=False)
class Market(DrawnMarket):
    """Users, coupons and how they meet; see `DrawnMarket`. Make one with `Market.draw`."""

    def write(self, folder: str | Path, *, force: bool = False) -> None:
        """Write transactions, products, users, trial, truth (Parquet) and campaign.toml to a new folder."""
        write_market(self, Path(folder), force=force)
