"""Why a user, or who gets a coupon, on stdout."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from allocator.explaining.choices import Why
from allocator.explaining.coupons import CouponExplanation, Segment, SegmentTree
from allocator.explaining.lines import OfferLine
from allocator.explaining.tree import FEWEST
from allocator.explaining.users import UserExplanation
from allocator.reporting.consoles import bar, console_on_stdout, is_narrow, numbers, set_off, table_of, visible
from allocator.reporting.consoles import line as say
from allocator.reporting.words import money
from allocator.shares import percent

if TYPE_CHECKING:
    from allocator.learning.because import Because, Bought
    from allocator.learning.reasons import CouponReasons

MOST_CHARGES = 4  # limits with a column of their own
MOST_COUPONS = 20
MOST_MOVERS = 6
PREDICTED = {
    "purchase_without": "buys anyway",
    "purchase_with": "buys with it",
    "redeem_probability": "redeems",
    "relevance": "relevance",
}


def show_user(found: UserExplanation) -> None:
    """Print why a user gets what they get."""
    console = console_on_stdout()
    say(console, visible(found.statement), style="bold")
    known = [f"{visible(name)} {visible(value)}" for name, value in found.attributes.items()]
    most = f"may get {found.may_get} {'offer' if found.may_get == 1 else 'offers'}"
    say(console, "; ".join([", ".join(known), most] if known else [f"The user {most}"]) + ".")
    _offers(console, found)
    for behind in found.reasons:
        if behind.coupon in shown_reasons(found):
            _reasons(console, behind, found.currency)
    for note in found.notes:
        say(console, visible(note))


def shown_reasons(found: UserExplanation) -> tuple[str, ...]:
    """Return the coupons whose predictions are told in a terminal: those issued, else the one worth most."""
    here = [line.coupon for line in found.offers if line.value is not None]
    return found.issued or tuple(here[:1])


def _reasons(console: Console, behind: CouponReasons, currency: str) -> None:
    """Print which features move the effect of a coupon, and what the user bought of its scope."""
    name = visible(behind.coupon)
    say(
        console,
        f"What {name} is predicted to change: {behind.uplift * 100:+.2f} percentage points of the chance of a purchase; "
        f"{behind.average * 100:+.2f} for users on average.",
    )
    table = table_of("Features that move this prediction most (percentage points)", console, "feature", "this user")
    numbers(table, "adds", "give or take")
    top = [mover for mover in behind.movers if abs(mover.adds) > 1e-6][:MOST_MOVERS]
    for mover in top:
        value = mover.value
        told = "unknown" if value is None else f"{value:,.4g}" if isinstance(value, float) else visible(value)
        cells = [f"{mover.adds * 100:+.2f}", f"{1.96 * mover.error * 100:.2f}"]
        table.add_row(Text(visible(mover.feature)), Text(told), *cells)
    if top:
        set_off(console, table)
    if behind.reach < 0.995:
        say(
            console,
            f"The effect is borrowed from coupons of another scope: {percent(behind.reach, 0)} of it is counted, since the user is "
            f"that much less likely to buy from the scope of {name}: {behind.reach * behind.uplift * 100:+.2f} points.",
        )
    if behind.because is not None and behind.bought is not None:
        _because(console, behind.because, behind.bought, name, currency)
    elif behind.bought is not None:
        parts = [
            f"{visible(item.item)} ({item.times} x, {money(item.amount, currency)}, last on {item.last})"
            for item in behind.bought[:MOST_MOVERS]
        ]
        more = f", and {len(behind.bought) - MOST_MOVERS} more items" if len(behind.bought) > MOST_MOVERS else ""
        nothing = "this user never bought any: the relevance comes from what others buy"
        words = f"this user bought {', '.join(parts)}{more}" if parts else nothing
        say(console, f"Of what {name} is good for, {words}.")


def _because(console: Console, found: Because, bought: tuple[Bought, ...], name: str, currency: str) -> None:
    """Print what makes the relevance to a coupon's scope what it is."""
    say(
        console,
        f"Relevance: {percent(found.relevance)} is the chance that this user buys from what {name} is good for within {found.days:g} "
        f"days, without the coupon. For a user of whom nothing is known it is {percent(found.base)}; the rest:",
    )
    table = table_of("Because this user bought", console, "item")
    numbers(table, "times", "paid", "last", "adds (points)")
    told = [item for item in bought if item.adds is not None]
    for item in told:
        cells = [f"{item.times:,}", money(item.amount, currency), item.last, f"{(item.adds or 0.0) * 100:+.2f}"]
        table.add_row(Text(visible(item.item)), *cells)
    more = len(bought) - len(told)
    if more:
        table.add_row(f"{more:,} more items of its scope", "", "", "", f"{found.others * 100:+.2f}")
    if not bought:
        table.add_row("nothing of its scope so far", "", "", "", "")
    table.add_row("everything else", "", "", "", f"{found.elsewhere * 100:+.2f}")
    set_off(console, table)


def _offers(console: Console, found: UserExplanation) -> None:
    here = [line for line in found.offers if line.value is not None]
    if here:
        _worth(console, found, here)
    absent = [visible(line.coupon) for line in found.offers if line.value is None]
    if absent:
        more = f" and {len(absent) - MOST_COUPONS} more" if len(absent) > MOST_COUPONS else ""
        say(console, f"Not eligible, no row in the offers: {', '.join(absent[:MOST_COUPONS])}{more}.")


def _worth(console: Console, found: UserExplanation, here: list[OfferLine]) -> None:
    narrow = is_narrow(console)
    predicted = [] if narrow else [name for name in PREDICTED if any(name in line.predictions for line in here)]
    limits = _charging(here)
    columns = [] if narrow else limits if len(limits) <= MOST_CHARGES else limits[: MOST_CHARGES - 1]
    table = table_of(f"What each coupon would earn with this user ({found.currency})", console, "coupon")
    numbers(table, *(PREDICTED[name] for name in predicted), "value", "cost")
    numbers(table, *(f"- {visible(name)}" for name in columns))
    if len(columns) < len(limits):
        numbers(table, "- other limits" if columns else "- limits")
    numbers(table, "after prices")
    table.add_column("")
    for line in here[:MOST_COUPONS]:
        takes = _takes(line)
        cells = [percent(line.predictions[name]) if name in line.predictions else "" for name in predicted]
        cells += [f"{line.value:,.2f}", f"{line.cost:,.2f}"]
        cells += [f"{takes[name]:,.2f}" if name in takes else "" for name in columns]
        if len(columns) < len(limits):
            cells.append(f"{sum(number for name, number in takes.items() if name not in columns):,.2f}")
        cells.append(f"{line.after_prices:,.2f}")
        words = visible(in_short(line) if narrow else line.reason)
        table.add_row(Text(visible(line.coupon)), *cells, Text(words), style="bold" if line.issued else "")
    set_off(console, table)
    if len(here) > MOST_COUPONS:
        say(console, f"and {len(here) - MOST_COUPONS:,} more coupons (--json lists all)")


def _charging(here: list[OfferLine]) -> list[str]:
    """Return the limits that take from any offer, the one that takes most first."""
    most: dict[str, float] = {}
    for line in here:
        for name, takes in _takes(line).items():
            most[name] = max(most.get(name, 0.0), abs(takes))
    return sorted(most, key=lambda name: -most[name])


def in_short(line: OfferLine) -> str:
    """Say in a few words why an offer is issued or not; `reason` says it in full."""
    words = {
        Why.ISSUED: "issued",
        Why.REQUIRED: "required",
        Why.FORBIDDEN: "forbidden",
        Why.HELD_OUT: "held out",
        Why.LOSES: "loses money",
        Why.PRICED_OUT: f"priced out: {line.limit}",
        Why.EXCLUSIVE: f"exclusive: {line.rival}",
        Why.MAX_PER_USER: f"less than {line.rival}" if line.rival else "none allowed",
        Why.CLOSE_CALL: "close call",
    }
    return words[line.why]


def _takes(line: OfferLine) -> dict[str, float]:
    """Return what limits take from an offer; the quantities of the coupons share a column."""
    takes: dict[str, float] = {}
    for charge in line.charges:
        own = charge.limit in (f"quantity[{line.coupon}]", f"min_quantity[{line.coupon}]")
        name = charge.limit.split("[")[0] if own else charge.limit
        takes[name] = takes.get(name, 0.0) + charge.takes
    return takes


def show_coupon(found: CouponExplanation) -> None:
    """Print who gets a coupon."""
    console = console_on_stdout()
    say(console, _headline(found), style="bold")
    say(console, _rest(found))
    if found.limits:
        parts = [f"`{visible(use.name)}` ({use.price:,.4f})" for use in found.limits]
        say(console, f"Limits that it uses, and what one more unit of each would earn: {', '.join(parts)}.")
    if found.by_users is not None:
        _tree(console, "Who they are, by the users table", found.by_users, found.currency)
    if found.by_offers is not None:
        _tree(console, "What tells them apart, by the offers' numbers", found.by_offers, found.currency)
    for note in found.notes:
        say(console, visible(note))


def _headline(found: CouponExplanation) -> str:
    if found.holders is None or found.eligible is None:
        return f"{_count(found.holders)} of {_count(found.eligible)} eligible users get {visible(found.coupon)}."
    if not found.eligible:
        return f"No user is eligible for {visible(found.coupon)}."
    return (
        f"{found.holders:,} of {found.eligible:,} eligible users ({percent(found.holders / found.eligible)}) get "
        f"{visible(found.coupon)}: expected to earn {money(found.value or 0.0, found.currency)} and to cost "
        f"{money(found.cost or 0.0, found.currency)}."
    )


def _rest(found: CouponExplanation) -> str:
    return (
        f"Of the others, {_count(found.outdone)} get what is worth more to them; with {_count(found.priced_out)} what it uses "
        f"of the limits earns more elsewhere; with {_count(found.loses)} it would lose money."
    )


def _count(number: int | None) -> str:
    return f"fewer than {FEWEST}" if number is None else f"{number:,}"


def _tree(console: Console, title: str, tree: SegmentTree, currency: str) -> None:
    if not tree.root.parts:
        looked = ", ".join(visible(name) for name in tree.columns) or "nothing that a rule can be written in"
        say(console, f"{title}: no segment gets it clearly more often than others ({looked}).")
        return
    narrow = is_narrow(console)
    table = table_of(f"{title} ({currency})", console, "segment")
    numbers(table, "eligible", "get it", "share")
    if console.is_terminal and not narrow:
        table.add_column("", no_wrap=True)
    numbers(table, "earns each", *([] if narrow else ["costs each"]))
    top = max(segment.share for _, segment in _walk(tree.root, "", ""))
    for name, segment in _walk(tree.root, "", ""):
        averages = ["" if number is None else f"{number:,.2f}" for number in (segment.value, segment.cost)]
        bars = [bar(segment.share, top, 12)] if console.is_terminal and not narrow else []
        cells = [f"{segment.users:,}", f"{segment.holders:,}", percent(segment.share), *bars]
        table.add_row(Text(name), *cells, *averages[: 1 if narrow else 2])
    set_off(console, table)
    say(
        console,
        f"These segments account for {percent(tree.accounted)} of the difference between who gets it and who does not.",
    )


def _walk(segment: Segment, lead: str, below: str) -> Iterator[tuple[str, Segment]]:
    """Yield each segment under its name, drawn as a branch."""
    yield f"{lead}{visible(segment.rule) or 'all eligible users'}", segment
    for place, part in enumerate(segment.parts, start=1):
        last = place == len(segment.parts)
        yield from _walk(part, below + ("└ " if last else "├ "), below + ("  " if last else "│ "))
