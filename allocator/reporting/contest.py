"""A comparison of strategies, in a terminal."""

from __future__ import annotations

from allocator.reporting.simulated import in_columns
from allocator.shares import percent
from allocator.simulation.comparing import ORACLE, OURS, Comparison
from allocator.simulation.estimates import Estimate


def table(found: Comparison, users: int) -> str:
    """Return the comparison as a table in plain columns, the best informed strategy last."""
    rows = []
    best = found.earned[:, found.strategies.index(ORACLE)].sum()
    for place, name in enumerate(found.strategies):
        share = percent(found.earned[:, place].sum() / best, 0) if best > 0 else ""
        more = "" if name == OURS else _number(found.difference(name))
        rows.append(
            [
                name,
                _number(found.earns(name)),
                share,
                more,
                f"{found.spent[:, place].mean():,.0f}",
                f"{found.issued[:, place].mean():,.0f}",
                f"{found.bad_case(name):,.0f}",
            ]
        )
    head = ["strategy", "earns", "of true", "ours earns more by", "spends", "offers", "19 of 20 runs"]
    markets, runs = found.ran.shape[:2]
    return (
        f"{markets} markets of {users:,} users, budget {found.budget.mean():,.0f} USD on average; {found.estimator}\n"
        f"What plans truly earn, USD a market; in brackets the 95 % interval over markets. The last column: what a plan\n"
        f"earned at least in 19 of 20 of its {runs} runs, all strategies having the same luck.\n\n"
        + in_columns(head, rows)
    )


def _number(estimate: Estimate) -> str:
    return f"{estimate.value:,.0f} [{estimate.low:,.0f} to {estimate.high:,.0f}]"
