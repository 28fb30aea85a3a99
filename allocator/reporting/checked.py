"""What `allocate check` found, in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from allocator.checking import Report
from allocator.reporting.consoles import console_on_stdout, line, table_of
from allocator.shares import percent

MOST = 12


def show(report: Report) -> None:
    """Print a report on stdout; errors are the caller's to tell."""
    console = console_on_stdout()
    for part, path in report.inputs.given.items():
        said = report.parts.get(part)
        mark = "cannot be used" if said is None or part in report.errors else ""
        line(console, f"{part}: {path}" + (f" ({mark})" if mark else ""), style="bold")
        for sentence in () if said is None else SENTENCES[part](said):
            line(console, f"  {sentence}")
    if "trial" in report.parts:
        _arms(console, report.parts["trial"]["arms"])
    if "offers" in report.parts:
        _coupons(console, report.parts["offers"]["coupons"])
    if report.funnel:
        table = table_of("Who can get a coupon", console, "users who")
        for name in ("remain", "lost"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("because")
        for step in report.funnel:
            table.add_row(
                Text(step.rule),
                f"{step.users:,}",
                f"{step.lost:,}" if step.lost else "",
                Text(step.why if step.lost else ""),
            )
        console.print(table)
    for number, warning in enumerate(report.warnings, start=1):
        line(console, f"warning {number}: {warning}", style="yellow")
    line(console, verdict(report), style="bold red" if report.errors else "bold green")


def verdict(report: Report) -> str:
    """Say in one sentence how it stands."""
    if report.errors:
        return (
            f"Not sound: {len(report.errors)} of {len(report.inputs.given)} parts have errors; see above."
            if len(report.errors) == 1
            else f"Not sound: errors in {', '.join(report.errors)}."
        )
    if report.warnings:
        return f"Sound, with {len(report.warnings)} warning{'s' if len(report.warnings) > 1 else ''}."
    return "Sound."


def _campaign(said: Mapping[str, Any]) -> list[str]:
    budget = (
        "no budget (give --budget)" if said["budget"] is None else f"budget {said['budget']:,.2f} {said['currency']}"
    )
    coupons = _listed(said["coupons"]) if said["coupons"] else "those of the offers"
    return [
        f"{said['name']}: {budget}; at most {said['max_per_user']} a user",
        f"coupons: {coupons}",
        f"limits: {_listed(said['limits']) if said['limits'] else 'none'}",
    ]


def _terms(said: Mapping[str, Any]) -> list[str]:
    return [f"coupons of the trial: {_listed(said['coupons']) if said['coupons'] else 'none'}"]


def _transactions(said: Mapping[str, Any]) -> list[str]:
    about = "" if said["visits_exact"] else "about "
    found = [
        f"{said['rows']:,} rows, {said['sound']:,} sound: {said['users']:,} users, {said['items']:,} items, "
        f"{about}{said['visits']:,} visits",
        f"from {said['first']} to {said['last']}{'' if said['has_clock'] else ' (days, without a time of day)'}; "
        f"paid {said['money']:,.2f}"
        + ("" if said["discount"] is None else f" after {said['discount']:,.2f} of discounts"),
    ]
    if not said["has_baskets"]:
        found.append("no basket_id: rows of a user at the same time are one visit")
    if "unknown_items" in said:
        lost = said["unknown_items"]
        found.append(
            "every item is in the products"
            if not lost["items"]
            else f"{lost['items']:,} items ({lost['rows']:,} rows, {lost['money']:,.2f}) are not in the products"
        )
        found += [
            f"{number:,} users bought from the scope of {name!r}"
            for name, number in list(said["bought_from_scope"].items())[:MOST]
        ]
    return found


def _products(said: Mapping[str, Any]) -> list[str]:
    found = [f"{said['rows']:,} products; attributes: {_listed(said['attributes']) if said['attributes'] else 'none'}"]
    if said["category"] is not None:
        found.append(f"profiles take shares by {said['category']!r}")
    found += [
        f"the scope of {name!r} covers {number:,} products" for name, number in list(said["scopes"].items())[:MOST]
    ]
    return found


def _users(said: Mapping[str, Any]) -> list[str]:
    found = [f"{said['rows']:,} users; attributes: {_listed(said['attributes']) if said['attributes'] else 'none'}"]
    if said.get("have_bought") is not None:
        found.append(
            f"{said['have_bought']:,} have bought before; the other {said['rows'] - said['have_bought']:,} are predicted from "
            "attributes and terms alone"
        )
    found += [f"{number:,} may get {name!r}" for name, number in list(said["coupons"].items())[:MOST]]
    return found + [f"limit {name!r} covers {number:,} users" for name, number in list(said["limits"].items())[:MOST]]


def _trial(said: Mapping[str, Any]) -> list[str]:
    when = "" if said["first"] is None else f", from {said['first']} to {said['last']}"
    chance = {
        None: "by design the same for all (no propensity column)",
        "one": "that of the arm each user got",
        "each arm": "that of every arm",
    }
    found = [
        f"{said['rows']:,} rows, {len(said['arms'])} arms{when}; features: {_listed(said['features']) if said['features'] else 'none'}",
        f"chances: {chance[said['propensity']]}",
    ]
    tested = [item for item in said["balance"] if item["largest"]]
    if tested and not any(item["suspect"] for item in tested):
        found.append("the arms were alike before the trial, as far as the features tell")
    return found


def _sent(said: Mapping[str, Any]) -> list[str]:
    return [
        f"{said['rows']:,} users were sent a coupon, {said['others']:,} others of the same days stand for control; "
        "what is learned of them is observational",
        *(f"{name}: {number:,}" for name, number in list(said["coupons"].items())[:MOST]),
    ]


def _offers(said: Mapping[str, Any]) -> list[str]:
    return [f"{said['rows']:,} offers for {said['users']:,} users"]


SENTENCES = {
    "campaign": _campaign,
    "transactions": _transactions,
    "products": _products,
    "users": _users,
    "trial": _trial,
    "trial_campaign": _terms,
    "sent": _sent,
    "offers": _offers,
}


def _arms(console: Any, arms: Sequence[Mapping[str, Any]]) -> None:
    table = table_of("Arms of the trial", console, "arm")
    outcomes = [name for name in ("purchased", "spend", "redeemed", "visited") if name in arms[0]]
    for name in ("users", "share", *outcomes):
        table.add_column(name, justify="right", no_wrap=True)
    for arm in arms:
        cells = [f"{arm['users']:,}", percent(arm["share"])]
        for name in outcomes:
            number = arm[name]
            cells.append("" if number is None else f"{number:,.2f}" if name == "spend" else percent(number, 2))
        table.add_row(Text(arm["arm"]), *cells)
    console.print(table)


def _coupons(console: Any, coupons: Sequence[Mapping[str, Any]]) -> None:
    table = table_of("Offers by coupon", console, "coupon")
    for name in ("offers", "value above 0", "mean value", "mean cost"):
        table.add_column(name, justify="right", no_wrap=True)
    for item in coupons[:MOST]:
        means = ["" if item[name] is None else f"{item[name]:,.2f}" for name in ("mean_value", "mean_cost")]
        table.add_row(Text(item["coupon"]), f"{item['offers']:,}", f"{item['above_zero']:,}", *means)
    if len(coupons) > MOST:
        table.add_row(f"and {len(coupons) - MOST} more")
    console.print(table)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST]) + (f" and {len(names) - MOST} more" if len(names) > MOST else "")
