"""What `allocate design` prints: the size of a control group and what it can tell."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from allocator.reporting.consoles import console_on_stdout as console
from allocator.reporting.consoles import line, set_off
from allocator.reporting.consoles import table_of as table
from allocator.shares import percent, typed
from allocator.simulation.design import Design
from allocator.simulation.effects import LEAST_SHOWN

TRUSTED = 100  # held-out users from which the intervals' coverage was tested
PURCHASES = "purchases"  # the unit, in place of a currency, where the outcome is a purchase, yes or no


def show_design(found: Design, unit: str, notes: Sequence[str]) -> None:
    """Print the size of a control group and what it will be able to tell, on stdout."""
    screen = console()
    lines = _possible(found, unit) if found.possible else _impossible(found, unit)
    line(screen, lines[0], style="bold")
    if found.correlation:
        lines.append(
            f"Adjusting by the spend before (correlation {found.correlation:.2f}) brings the standard deviation from "
            f"{found.sd:,.2f} to {found.adjusted_sd:,.2f} {unit}, as if there were {1 / (1 - found.correlation**2):.1f} times "
            "the users."
        )
    for words in [*lines[1:], *notes]:
        line(screen, words)


def _possible(found: Design, unit: str) -> list[str]:
    lines = [
        f"Hold out {found.controls:,} of {found.users:,} planned users (--holdout {typed(found.controls / found.users)}): an "
        f"effect of {_each(found.effect, unit)} is then found with a power of {percent(found.power)}.",
        f"Expected {percent(found.confidence, None)} interval: ± {_each(found.half_width, unit)}, ± "
        f"{found.total_half_width:,.0f} {unit} in all. Smallest effect found with a power of "
        f"{percent(found.wanted_power, None)}: {_each(found.detectable, unit)}.",
    ]
    if found.controls < TRUSTED and found.users >= 2 * TRUSTED:
        lines.append(
            f"Intervals hold from about {TRUSTED} held-out users on: hold out {TRUSTED} "
            f"(--holdout {typed(TRUSTED / found.users)}) or more."
        )
    elif found.controls < TRUSTED:
        lines.append(
            f"Intervals hold from about {TRUSTED} held-out users on: {found.users:,} users are too few to rely on them."
        )
    return lines


def _impossible(found: Design, unit: str) -> list[str]:
    return [
        f"No holdout finds {_each(found.effect, unit)} with a power of {percent(found.wanted_power, None)} among "
        f"{found.users:,} users: half of them would have a power of {percent(found.most_power)}.",
        f"Half of them would find an effect of {_each(found.detectable, unit)} or more. Give a larger --effect, more --users, a "
        "lower --power, or what is known of the users before (--spend with pre_spend, or --correlation).",
    ]


def show_coupon_designs(rows: Sequence[tuple[str, Design, float]], unit: str) -> None:
    """Print what the same holdout can tell coupon by coupon; each row: coupon, design, promised effect per user."""
    screen = console()
    found: Table = table(f"By coupon, at this holdout ({unit} per user)", screen, "coupon")
    for name in ("users", "held out", "promised effect", "smallest found", "power"):
        found.add_column(name, justify="right", no_wrap=True)
    for name, item, promised in rows:
        told = [f"{item.detectable:,.2f}", percent(item.power, 0)] if item.controls >= LEAST_SHOWN else ["too few", ""]
        found.add_row(Text(name), f"{item.users:,}", f"{item.controls:,}", f"{promised:,.2f}", *told)
    set_off(screen, found)


def _each(effect: float, unit: str) -> str:
    """Return an effect per user, of purchases per 100 users; small ones with three digits that count."""
    number = 100.0 * effect if unit == PURCHASES else effect
    words = f"{number:,.2f}" if abs(number) >= 0.1 else f"{number:.3g}"
    return f"{words} purchases per 100 users" if unit == PURCHASES else f"{words} {unit} per user"
