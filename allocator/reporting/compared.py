"""What changed from one plan to another, on stdout."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from allocator.explaining.comparing import Comparison, InputChange, LimitChange
from allocator.explaining.facts import Facts
from allocator.reporting.consoles import bar, console_on_stdout, is_narrow, numbers, set_off, table_of, visible
from allocator.reporting.consoles import line as say
from allocator.reporting.words import money, quantity
from allocator.result import LimitUse
from allocator.shares import percent

MOST_ROWS = 12


def show_comparison(found: Comparison) -> None:
    """Print a comparison."""
    console = console_on_stdout()
    say(console, _headline(found), style="bold")
    for line in [*_users(found), *_inputs(found), *_proofs(found)]:
        say(console, line)
    if console.is_terminal:
        _bars(console, found)
    _coupons(console, found)
    _limits(console, found)
    _transitions(console, found)
    _segments(console, found)
    for note in found.notes:
        say(console, visible(note))


def _headline(found: Comparison) -> str:
    one, two, currency = found.before, found.after, found.after.currency
    words = f"{visible(two.path)} {_more('earns', found.value, one.objective, currency)} and {_more('spends', found.cost, one.spend, currency)}"
    same = abs(found.value) < 0.005 and abs(found.cost) < 0.005
    words += f" {'as' if same else 'than'} {visible(one.path)}"
    if found.value * found.cost > 0 and abs(found.cost) >= 0.01:
        direction = "further" if found.cost > 0 else "saved"
        words += f": {found.value / found.cost:,.2f} {currency} for each {direction} {currency}"
    return words + "."


def _more(verb: str, change: float, base: float, currency: str) -> str:
    if abs(change) < 0.005:
        return f"{verb} as much"
    part = f" ({percent(change / abs(base), sign=True)})" if abs(base) >= 0.01 else ""
    return f"{verb} {money(abs(change), currency)} {'more' if change > 0 else 'less'}{part}"


def _users(found: Comparison) -> list[str]:
    counts = found.counts
    if not counts.changed:
        lines = [f"Nothing changes for any user: {counts.kept:,} keep what they have."]
    else:
        lines = [
            f"{counts.changed:,} users see a change: {counts.gained:,} gain a coupon, {counts.switched:,} switch to another, "
            f"{counts.lost:,} lose theirs; {counts.kept:,} keep what they have"
            + ("." if found.neither is None else f", {found.neither:,} get nothing in either plan.")
        ]
    value, _ = found.revalued
    if abs(value) >= 0.005:
        currency = found.after.currency
        lines.append(
            f"Of the change in what is earned, {value:+,.2f} {currency} come from offers that both plans issue and that are "
            f"worth something else now, {found.value - value:+,.2f} {currency} from issuing others."
        )
    return lines


def _inputs(found: Comparison) -> list[str]:
    same = [item.part for item in found.inputs if item.same]
    differ = [item for item in found.inputs if item.same is False]
    unknown = [item.part for item in found.inputs if item.same is None]
    lines = []
    if not differ and not unknown:
        lines.append("Both were made from the same offers, users and campaign.")
    elif differ:
        rest = f"; the same {' and '.join(same)}" if same else ""
        lines.append(f"Made from different inputs: {'; '.join(_difference(item) for item in differ)}{rest}.")
    if unknown:
        lines.append(f"Whether they were made from the same {' and '.join(unknown)} is not known (no checksums).")
    return lines


def _difference(item: InputChange) -> str:
    names = [visible(name) if name is not None else "none" for name in (item.before, item.after)]
    if names[0] == names[1]:
        return f"{item.part} ({names[0]} changed in between)"
    return f"{item.part} ({names[0]}, then {names[1]})"


def _proofs(found: Comparison) -> list[str]:
    def words(side: Facts) -> str:
        if side.status == "optimal":
            return f"{visible(side.path)} is proven optimal"
        return f"{visible(side.path)} is not: another plan could earn up to {money(side.gap, side.currency)} more"

    if found.before.status == found.after.status == "optimal":
        return ["Both are proven optimal for their limits."]
    return [f"{words(found.before)}; {words(found.after)}."]


def _bars(console: Console, found: Comparison) -> None:
    counts = found.counts
    rows = [("kept", counts.kept), ("switched", counts.switched), ("gained", counts.gained), ("lost", counts.lost)]
    table = table_of("Users", console, "")
    numbers(table, "users")
    table.add_column("", no_wrap=True)
    for name, number in rows:
        table.add_row(name, f"{number:,}", bar(number, max(count for _, count in rows), 40))
    set_off(console, table)


def _coupons(console: Console, found: Comparison) -> None:
    used = [item for item in found.coupons if any(item.issued)]
    used.sort(key=lambda item: -abs(item.value[1] - item.value[0]))
    table = table_of(f"Coupons ({found.after.currency})", console)
    _names(table, "coupon")
    numbers(table, "before", "offers now", "earns", "change", "spends", "change")
    _chart(console, table)
    top = max((abs(item.value[1] - item.value[0]) for item in used), default=0.0)
    for item in used[:MOST_ROWS]:
        cells = [f"{number:,}" for number in item.issued] + [*_moved(console, item.value), *_moved(console, item.cost)]
        table.add_row(Text(visible(item.name)), *cells, *_swing(console, item.value[1] - item.value[0], top))
    set_off(console, table)
    _rest(console, len(used), "coupons that change less")


def _limits(console: Console, found: Comparison) -> None:
    items = [item for item in found.limits if item.differs or _price_moves(item)]
    if not items:
        return
    items.sort(key=lambda item: not item.differs)
    table = table_of("Limits whose numbers or prices differ", console)
    _names(table, "limit")
    columns = {"at_least": "at least", "at_most": "at most", "used": "used", "price": "one more earns"}
    if is_narrow(console):
        columns.pop("used")
    else:
        table.add_column("measure")
    numbers(table, *columns.values())
    for item in items[:MOST_ROWS]:
        measure = [] if is_narrow(console) else [Text(visible(item.measure))]
        table.add_row(Text(visible(item.name)), *measure, *(_shift(item, name) for name in columns))
    set_off(console, table)
    _rest(console, len(items), "limits")


def _shift(item: LimitChange, name: str) -> str:
    """Return `50,000 → 60,000`, or the number alone where it did not change."""

    def words(side: LimitUse | None) -> str:
        if side is None:
            return "no such limit" if name == "price" else ""
        number = getattr(side, name)
        return f"{number:,.4f}" if name == "price" else quantity(number, side.measure)

    before, after = words(item.before), words(item.after)
    return before if before == after else f"{before} → {after}".strip()


def _price_moves(item: LimitChange) -> bool:
    if item.before is None or item.after is None:
        return True
    size = max(abs(item.before.price), abs(item.after.price))
    return abs(item.after.price - item.before.price) > 1e-3 * size


def _transitions(console: Console, found: Comparison) -> None:
    if not found.transitions:
        return
    table = table_of(f"From what to what ({found.after.currency})", console, "no longer", "instead")
    numbers(table, "users", "earns more", "spends more")
    _chart(console, table)
    top = max(item.users for item in found.transitions)
    for item in found.transitions[:MOST_ROWS]:
        cells = [f"{item.users:,}", *(_signed(console, number) for number in (item.value, item.cost))]
        bars = [bar(item.users, top, 12)] if console.is_terminal and not is_narrow(console) else []
        table.add_row(Text(_set(item.dropped)), Text(_set(item.added)), *cells, *bars)
    set_off(console, table)
    rest = found.transitions[MOST_ROWS:]
    if rest:
        users = sum(item.users for item in rest)
        say(console, f"and {len(rest):,} more of these, {users:,} users in all (--json lists all)")


def _segments(console: Console, found: Comparison) -> None:
    for name in dict.fromkeys(item.attribute for item in found.segments):
        items = [item for item in found.segments if item.attribute == name]
        table = table_of(f"By {visible(name)} ({found.after.currency})", console)
        _names(table, visible(name))
        numbers(table, "kept", "switched", "gained", "lost", "earns", "change", "spends more")
        _chart(console, table)
        top = max(abs(item.value[1] - item.value[0]) for item in items)
        for item in items:
            counts = item.counts
            cells = [f"{number:,}" for number in (counts.kept, counts.switched, counts.gained, counts.lost)]
            cells += [*_moved(console, item.value), _moved(console, item.cost)[1]]
            table.add_row(Text(visible(item.level)), *cells, *_swing(console, item.value[1] - item.value[0], top))
        set_off(console, table)


def _names(table: Table, title: str) -> None:
    """Add the column of names: the last to give way where a terminal is narrow."""
    table.add_column(Text(title), no_wrap=True, min_width=10)


def _chart(console: Console, table: Table) -> None:
    if console.is_terminal and not is_narrow(console):
        table.add_column("", no_wrap=True)


def _swing(console: Console, change: float, top: float) -> list[Text]:
    """Return a bar in green for a gain, in red for a loss, on a terminal that is wide enough."""
    if not console.is_terminal or is_narrow(console):
        return []
    return [Text(bar(abs(change), top, 10), style="green" if change > 0 else "red")]


def _moved(console: Console, pair: tuple[float, float]) -> list[str]:
    """Return a number as it is now, and its change; whole where the terminal is narrow."""
    now = f"{pair[1]:,.0f}" if is_narrow(console) else f"{pair[1]:,.2f}"
    return [now, _signed(console, pair[1] - pair[0])]


def _signed(console: Console, number: float) -> str:
    return f"{number:+,.0f}" if is_narrow(console) else f"{number:+,.2f}"


def _set(coupons: Sequence[str]) -> str:
    return " + ".join(visible(name) for name in coupons) or "nothing"


def _rest(console: Console, number: int, what: str) -> None:
    if number > MOST_ROWS:
        say(console, f"and {number - MOST_ROWS:,} more {what} (--json lists all)")
