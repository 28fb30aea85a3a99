"""A comparison of pacings, in a terminal."""

from __future__ import annotations

from allocator.reporting.simulated import in_columns
from allocator.shares import percent
from allocator.simulation.estimates import Estimate
from allocator.simulation.paces import Paced
from allocator.simulation.pacing import ByPrices


def table(found: Paced, users: int) -> str:
    """Return the comparison and, for the first market, what pacing by prices did in each wave."""
    rows = []
    for place, name in enumerate(found.names):
        ahead = "" if name == ByPrices.name else _share(found.ahead(ByPrices.name, name))
        rows.append(
            [
                name,
                f"{found.earned[:, place].mean():,.0f}",
                _share(found.share(name)),
                ahead,
                _share(found.used(name)),
                percent(found.worst(name), 0),
            ]
        )
    rows.append(["hindsight", f"{found.best.mean():,.0f}", percent(1.0, 0), "", "", ""])
    head = ["pacing", "earns", "of hindsight", "prices are ahead by", "budget really spent", "at worst"]
    text = (
        f"{found.best.size} markets of {users:,} users, budget {found.budget.mean():,.0f} USD on average; {found.beliefs}\n"
        "What is issued truly earns, USD a market; in brackets the 95 % interval over markets.\n\n"
        + in_columns(head, rows)
    )
    if ByPrices.name not in found.names:
        return text
    waves = [
        [
            f"{number}",
            f"{wave.came:,}",
            f"{wave.eligible:,}",
            f"{wave.price:.3f}",
            f"{wave.allowed:,.2f}",
            f"{wave.issued:,}",
            f"{wave.explored:,}",
            f"{wave.spent:,.2f}",
        ]
        for number, wave in enumerate(found.first[found.names.index(ByPrices.name)].waves, 1)
    ]
    head = ["wave", "came", "eligible", "price", "may spend", "issued", "by lot", "really spent"]
    return f"{text}\nThe first market, {ByPrices.name}:\n\n{in_columns(head, waves)}{_lots(found)}"


def _lots(found: Paced) -> str:
    """Say where lots leave the plan little of the budget: they are drawn of all coupons, dear ones too."""
    run = found.first[found.names.index(ByPrices.name)]
    issued, lots = run.total("issued"), run.total("explored")
    if not lots > 0.5 * issued:
        return ""
    return (
        f"\nLots were drawn for {lots:,.0f} users, and {issued:,.0f} coupons issued in all: lots took most of the budget. "
        "Explore less, or give more budget.\n"
    )


def _share(estimate: Estimate) -> str:
    return f"{percent(estimate.value)} [{percent(estimate.low)} to {percent(estimate.high)}]"
