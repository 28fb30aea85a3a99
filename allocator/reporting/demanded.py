"""A forecast of demand, in a terminal."""

from __future__ import annotations

import numpy as np

from allocator.reporting.simulated import in_columns
from allocator.shares import percent
from allocator.simulation.demand import Demand

MOST = 20  # rows that are shown


def table(found: Demand) -> str:
    """Return what runs short first, in plain columns, and what was taken for granted."""
    order = np.argsort(-found.runs_out, kind="stable")
    rows = [
        [
            found.stock.names[row],
            f"{found.stock.units[row]:,.0f}",
            f"{found.without[row]:,.1f}",
            f"{found.with_[row]:,.1f} [{found.low[row]:,.0f} to {found.high[row]:,.0f}]",
            _days(found.lasts[row]),
            _days(found.lasts_low[row]),
            percent(found.runs_out[row]),
            f"{found.order[row]:,.0f}",
        ]
        for row in order[:MOST].tolist()
    ]
    short, orders = int((found.runs_out > 1 - found.service).sum()), int((found.order > 0).sum())
    head = [
        found.stock.what,
        "on hand",
        "without plan",
        f"with plan, {found.days} days",
        "days left",
        "at high demand",
        "runs out",
        "order",
    ]
    more = (
        f"\n{len(found.stock) - MOST:,} more rows are in the file that -o writes.\n" if len(found.stock) > MOST else ""
    )
    notes = "".join(f"Taken for granted: {note}.\n" for note in found.assumptions)
    return (
        f"{short:,} of {len(found.stock):,} rows run out within {found.days} days with more than {percent(1 - found.service, None)} "
        f"probability; {orders:,} should be ordered now.\n\n{in_columns(head, rows)}{more}\n{notes}"
    )


def _days(number: float) -> str:
    return f"{number:,.1f}" if np.isfinite(number) else "never"
