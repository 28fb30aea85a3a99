"""What every key of a campaign file means, and a campaign file that says so."""

from __future__ import annotations

import json
import shlex
import textwrap
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from allocator.campaign.terms import Coupon, Header, LimitTerms, Strict

WIDTH = 100  # of a comment
# For each key an example in TOML, and what it means.
HEADER: Mapping[str, tuple[str, str]] = {
    "name": ('"spring"', "How reports call the campaign."),
    "currency": ('"EUR"', "The unit of all amounts in this file and in the tables."),
    "budget": ("50000", "What the plan may cost at most: the sum of the offers' expected cost. --budget overrides it."),
    "max_per_user": ("1", "How many offers a user may get: a number, or the name of a users column that holds one."),
    "exclusive": (
        '[["10off", "15off"]]',
        "Groups of coupons of which a user gets at most one, where max_per_user is above 1.",
    ),
    "margin": ("0.3", "Gross margin, as a share of the goods' full price. What a purchase earns before coupons."),
    "contact_cost": (
        "0.0",
        "What it costs to issue one offer (printing, postage, a message), redeemed or not. Currency.",
    ),
    "basket": (
        "40.0",
        "Mean spend of a purchase without a coupon, currency. Left out: what the model learned of spend.",
    ),
    "basket_spread": (
        "0.6",
        "How much the spend of one purchase varies: standard deviation of its logarithm. Left out: as learned.",
    ),
    "redeem_share": (
        "1.0",
        "Where redemption was not learned: the share of the purchases that could redeem a coupon and do.",
    ),
    "shipping_cost": ("5.0", "What a free_shipping coupon without an amount gives. Currency."),
    "spend_is": (
        '"after_discount"',
        "Whether the trial's spend is what was paid after the coupon, or the goods' price before it.",
    ),
    "start": (
        "2026-03-01",
        "First day of the campaign: only what happened before it is looked at. Left out: the day after the last purchase.",
    ),
    "redemption_shock": (
        "0.1",
        "How far all redemptions of a campaign may move together: 0.1 is about a tenth. 0: each user alone.",
    ),
    "confidence": (
        "0.95",
        "With which probability the budget shall hold for what is really spent. Left out: it holds for the expected spend.",
    ),
}
COUPON: Mapping[str, tuple[str, str]] = {
    "id": ('"10off"', "The coupon's name in every table."),
    "kind": ('"fixed"', 'What it gives: "fixed" (an amount), "percent", or "free_shipping".'),
    "amount": ("10", "Currency where kind is fixed, percent of the purchase where it is percent."),
    "max_discount": ("30", "Caps what a percent coupon gives. Currency."),
    "min_spend": ("50", "Below this purchase it cannot be redeemed. Currency."),
    "scope": (
        '{ department = "GROCERY" }',
        "Which items it is good for: values of columns of products; a list allows several. Left out: all.",
    ),
    "users": ('{ segment = "new" }', "Who may get it: values of columns of users. Left out: everybody."),
    "quantity": ("3000", "How many may be issued at most."),
    "min_quantity": ("0", "How many must be issued at least."),
    "valid_days": ("14", "Days from issue until it expires."),
}
LIMIT: Mapping[str, tuple[str, str]] = {
    "name": ('"new users"', "How results, prices and messages call it."),
    "measure": (
        '"count"',
        "What is added up: count, cost, value, liability, a column of offers, or weights such as { value = 1.0, cost = -0.5 }.",
    ),
    "users": ('{ segment = "new" }', "Whose offers: values of columns of users. Left out: everybody's."),
    "coupons": ('["10off"]', "Of which coupons. Left out: of all."),
    "at_least": ("2000", "The sum must reach this."),
    "at_most": ("9000", "The sum must not exceed this. One of the two is needed."),
}
TOP = """\
# A campaign: who may get which coupon, and what it may cost.
# A line that begins with # is a comment. A key that is commented out is left out: what it shows is its default where it
# has one, an example otherwise.
# Check this file and your tables with: allocate check {folder}
"""

INTRO = """\
# A limit is a rule over many offers: at most, or at least, so much of a measure. Write one table for each: take
# the first # away from the lines you need.
"""


@dataclass(frozen=True)
class Proposal:
    """A coupon to write into the file: its keys, and why it is proposed."""

    terms: Mapping[str, Any]
    why: str


@dataclass(frozen=True)
class Proposals:
    """Keys of [campaign] with a reason each (or an empty text), coupons, and what was odd about the data behind them."""

    values: Mapping[str, tuple[Any, str]]
    coupons: Sequence[Proposal]
    notes: Sequence[str] = ()


# What a file begins with where no data tell more; the README's example in small.
FIRST = Proposals(
    {"name": ("spring", ""), "currency": ("EUR", ""), "budget": (50_000, ""), "max_per_user": (1, "")},
    (
        Proposal({"id": "10off", "kind": "fixed", "amount": 10, "min_spend": 50, "valid_days": 14}, ""),
        Proposal({"id": "15percent", "kind": "percent", "amount": 15, "max_discount": 30, "valid_days": 14}, ""),
        Proposal(
            {"id": "freeship", "kind": "free_shipping", "amount": 5, "valid_days": 14},
            "What shipping costs is its amount.",
        ),
    ),
)


def campaign_text(folder: str, proposals: Proposals) -> str:
    """Return a campaign file in which every key is explained.

    Parameters
    ----------
    folder
        Where it will lie, for the command that checks it.
    proposals
        What is set; the first coupon explains every key of [[coupon]].
    """
    parts = [TOP.format(folder=shlex.quote(folder)), _table("[campaign]", Header, HEADER, proposals.values)]
    for number, proposal in enumerate(proposals.coupons):
        said = {key: (value, "") for key, value in proposal.terms.items()}
        head = _comment(proposal.why) + "[[coupon]]"
        parts.append(_table(head, Coupon, COUPON, said) if number == 0 else head + "\n" + _lines(said))
    examples = {key: (tomllib.loads(f"it = {example}")["it"], "") for key, (example, _) in LIMIT.items()}
    rule = _table("[[limit]]", LimitTerms, LIMIT, examples)
    # Explanations get a second sign, so that a table works once the first is taken away.
    parts.append(INTRO + "".join(f"#{line}" if line.startswith("#") else f"# {line}" for line in rule.splitlines(True)))
    return "\n".join(parts)


def _table(
    head: str, table: type[Strict], known: Mapping[str, tuple[str, str]], values: Mapping[str, tuple[Any, str]]
) -> str:
    """Write a table: every key that this version knows, explained; those without a value are commented out."""
    text = head + "\n"
    for key in table.model_fields:
        example, meaning = known.get(key, ("", ""))
        value, why = values.get(key, (None, ""))
        text += _comment(" ".join(part for part in (meaning, why) if part))
        if key in values:
            text += f"{key} = {toml(value)}\n"
        else:
            text += f"# {key} = {example}\n" if example else f"# {key}\n"
    return text


def _lines(values: Mapping[str, tuple[Any, str]]) -> str:
    return "".join(f"{key} = {toml(value)}\n" for key, (value, _) in values.items())


def _comment(text: str) -> str:
    return "".join(f"# {line}\n" for line in textwrap.wrap(text, WIDTH))


def toml(value: Any) -> str:
    """Write a value as TOML: texts, numbers, true/false, dates, lists and tables of these."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        # JSON escapes as TOML's basic strings do, but for the one sign that JSON lets stand.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, int | float):
        return f"{value:g}" if float(value).is_integer() and abs(value) < 1e6 else repr(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(str(key))} = {toml(item)}" for key, item in value.items()) + " }"
    return "[" + ", ".join(toml(item) for item in value) + "]"


def _key(name: str) -> str:
    bare = name.isascii() and name.replace("_", "").replace("-", "").isalnum()
    return name if bare else toml(name)
