"""campaign.toml: coupon terms and limits, checked key by key.

Messages name the file, the key with its place (`coupon[2].amount`: the second [[coupon]], counted from 1 as rows are),
what is wrong, and the nearest known key or coupon. Every fault of a file is told at once.
"""

from __future__ import annotations

import datetime
import math
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, PlainValidator, ValidationError

from allocator.errors import CampaignError, UsageError, nearest
from allocator.limit import Limit

MOST = 1e12  # as for the amounts of offers
NEVER_NEGATIVE = ("count", "cost", "liability", "redeem_probability")
Kind = Literal["fixed", "percent", "free_shipping"]


def _float(value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _number(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"must be a number, not {_in_words(value)}")
    number = _float(value)
    if not abs(number) <= MOST:  # NaN fails too
        raise ValueError(f"is {number:g}; it must be finite and at most 10^12")
    return number


def _amount(value: Any) -> float | None:
    number = _number(value)
    if number is not None and number < 0:
        raise ValueError(f"is {number:g}; it cannot be negative")
    return number


def _budget(value: Any) -> float | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and not 0.0 < _float(value) <= MOST:
        raise ValueError(_budget_words(value))
    return _number(value)


def _whole(least: int) -> Callable[[Any], int | None]:
    def check(value: Any) -> int | None:
        number = _number(value)
        if number is None:
            return None
        if not number.is_integer() or number < least:
            raise ValueError(f"is {number:g}; it must be a whole number, {least} or more")
        return int(number)

    return check


def _cap(value: Any) -> int | str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"must be a whole number or the name of a users column, not {_in_words(value)}")
    number = _whole(1)(value)
    assert number is not None
    return number


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be text in quotation marks, not {_in_words(value)}")
    if not value.strip():
        raise ValueError("is empty; give it a text")
    return value


def _kind(value: Any) -> str | None:
    kinds = get_args(Kind)
    if value is not None and value not in kinds:
        raise ValueError(f"is {_in_words(value)}; it must be one of {', '.join(kinds)}{nearest(value, kinds)}")
    return value if value is None else str(value)


def _coupons(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        raise ValueError(f'must be a list of coupon ids such as ["10off"], not {_in_words(value)}')
    if not value:
        raise ValueError("names no coupon; leave it out where the limit covers all")
    return tuple(value)


def _groups(value: Any) -> tuple[tuple[str, ...], ...]:
    if not isinstance(value, (list, tuple)) or any(not isinstance(group, (list, tuple)) for group in value):
        raise ValueError('must be a list of groups such as [["10off", "15off"]]')
    return tuple(_coupons(group) or () for group in value)


def _conditions(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise ValueError(f'must be a table such as {{ segment = "new" }}, not {_in_words(value)}')
    for name, wanted in value.items():
        for item in wanted if isinstance(wanted, list) else [wanted]:
            if not isinstance(item, (str, int, float)) or (isinstance(item, float) and not math.isfinite(item)):
                raise ValueError(f"{name!r} must be a text, a number, true/false, or a list of these")
        if wanted == []:
            raise ValueError(f"{name!r} lists no value; leave it out where all are meant")
    return dict(value)


def _measure(value: Any) -> str | dict[str, float]:
    if isinstance(value, str):
        return _text(value)
    if not isinstance(value, Mapping) or not value:
        raise ValueError(
            f"must be a measure's name, or weights such as {{ value = 1.0, cost = -0.5 }}, not {_in_words(value)}"
        )
    weights = {}
    for name, weight in value.items():
        try:
            number = _number(weight)
        except ValueError as error:
            raise ValueError(f"the weight of {name!r} {error}") from error
        weights[name] = math.nan if number is None else number
    return weights


Text = Annotated[str, PlainValidator(_text)]
Amount = Annotated[float | None, PlainValidator(_amount)]
Number = Annotated[float | None, PlainValidator(_number)]
Quantity = Annotated[int | None, PlainValidator(_whole(0))]
Coupons = Annotated[tuple[str, ...] | None, PlainValidator(_coupons)]
Conditions = Annotated[dict[str, Any] | None, PlainValidator(_conditions)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Coupon(_Strict):
    """Terms of one coupon type; amounts in currency, or percent where `kind` says so."""

    id: Text
    kind: Annotated[Kind | None, PlainValidator(_kind)] = None
    amount: Amount = None
    max_discount: Amount = None
    min_spend: Amount = None
    scope: Conditions = None
    quantity: Quantity = None
    min_quantity: Quantity = None
    valid_days: Annotated[int | None, PlainValidator(_whole(1))] = None

    @property
    def face_value(self) -> float | None:
        """What the coupon costs if redeemed, where its terms alone tell. Currency."""
        return self.max_discount if self.kind == "percent" else self.amount

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield each key that does not fit the others, and why."""
        if self.kind in ("fixed", "percent") and self.amount is None:
            yield "amount", f"is missing; a {self.kind} coupon needs it"
        if self.kind is None and self.amount is not None:
            yield "kind", f"is missing; say what the amount is: one of {', '.join(get_args(Kind))}"
        if self.kind == "percent" and self.amount is not None and self.amount > 100:
            yield "amount", f"is {self.amount:g} percent; at most 100"
        if self.quantity is not None and self.min_quantity is not None and self.min_quantity > self.quantity:
            yield "min_quantity", f"is {self.min_quantity:,}, above the quantity {self.quantity:,}"


class LimitTerms(_Strict):
    """One [[limit]]."""

    name: Text
    measure: Annotated[str | dict[str, float], PlainValidator(_measure)] = "cost"
    users: Conditions = None
    coupons: Coupons = None
    at_least: Number = None
    at_most: Number = None

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield each key that does not fit the others, and why."""
        if self.at_least is None and self.at_most is None:
            yield "at_most", "is missing; give at_least or at_most"
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            yield "at_least", f"is {self.at_least:,}, above at_most {self.at_most:,}"
        if isinstance(self.measure, str) and self.measure in NEVER_NEGATIVE:
            for key in ("at_least", "at_most"):
                number = getattr(self, key)
                if number is not None and number < 0:
                    yield key, f"is {number:g}; a sum of {self.measure} cannot be negative"


class Header(_Strict):
    """The [campaign] table."""

    name: Text = "campaign"
    currency: Text = "EUR"
    budget: Annotated[float | None, PlainValidator(_budget)] = None
    max_per_user: Annotated[int | str, PlainValidator(_cap)] = 1
    exclusive: Annotated[tuple[tuple[str, ...], ...], PlainValidator(_groups)] = ()


class Campaign(_Strict):
    """A campaign file, understood. Its fields are named as its tables are."""

    campaign: Header = Header()
    coupon: tuple[Coupon, ...] = ()
    limit: tuple[LimitTerms, ...] = ()

    @property
    def name(self) -> str:
        """How reports call the campaign."""
        return self.campaign.name

    @property
    def currency(self) -> str:
        """The unit of all amounts."""
        return self.campaign.currency

    @property
    def budget(self) -> float | None:
        """At most this sum of cost, currency; `None`: not given here."""
        return self.campaign.budget

    @property
    def max_per_user(self) -> int | str:
        """How many offers a user may get: a number, or the name of a users column."""
        return self.campaign.max_per_user

    @property
    def exclusive(self) -> tuple[tuple[str, ...], ...]:
        """Groups of coupons of which a user gets at most one."""
        return self.campaign.exclusive

    @property
    def coupon_ids(self) -> list[str]:
        """Ids in the file's order; empty where the file lists no coupons (then those of the offers count)."""
        return [coupon.id for coupon in self.coupon]

    @property
    def face_values(self) -> dict[str, float]:
        """Face value by coupon, currency, where the terms tell one: the default liability of its offers."""
        return {coupon.id: coupon.face_value for coupon in self.coupon if coupon.face_value is not None}

    def limits(self, budget: float | None = None) -> list[Limit]:
        """Return the budget (`budget` overrides the file's), quantities, minimum quantities and further limits.

        Raises
        ------
        UsageError
            Where `budget` is not above 0 and at most 10^12.
        """
        if budget is not None and not 0.0 < _float(budget) <= MOST:
            raise UsageError(_budget_words(budget))
        amount = self.budget if budget is None else float(budget)
        limits = [] if amount is None else [Limit("budget", "cost", at_most=amount)]
        limits += [
            Limit(f"quantity[{coupon.id}]", "count", at_most=float(coupon.quantity), coupons=[coupon.id])
            for coupon in self.coupon
            if coupon.quantity is not None
        ]
        limits += [
            Limit(f"min_quantity[{coupon.id}]", "count", at_least=float(coupon.min_quantity), coupons=[coupon.id])
            for coupon in self.coupon
            if coupon.min_quantity  # at least 0 is no limit
        ]
        for terms in self.limit:
            coupons = None if terms.coupons is None else list(terms.coupons)
            limits.append(Limit(terms.name, terms.measure, terms.at_least, terms.at_most, coupons, terms.users))
        return limits


TABLES: dict[str, type[_Strict]] = {"campaign": Header, "coupon": Coupon, "limit": LimitTerms}


def load_campaign(path: str | Path) -> Campaign:
    """Read campaign.toml.

    Raises
    ------
    CampaignError
        Names the file, the key, what is wrong with it, and the nearest known one.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")  # Windows editors begin with a byte-order mark
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise CampaignError(f"{path}: line {line} is not UTF-8 text; save the file as UTF-8") from error
    except (OSError, ValueError) as error:
        words = getattr(error, "strerror", None) or str(error)
        raise CampaignError(f"{path}: cannot be read ({words}); give a campaign.toml that exists") from error
    return parse_campaign(text, str(path))


def parse_campaign(text: str, source: str = "campaign.toml") -> Campaign:
    """Understand the text of a campaign file, which messages call `source`; raises as `load_campaign`."""
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a syntax error; a number or a nesting beyond Python's limits
        raise CampaignError(f"{source}: not a TOML file: {error}{_syntax_hint(text)}") from error
    try:
        campaign = Campaign.model_validate(document)
    except ValidationError as error:
        faults = [_fault(item, document) for item in error.errors(include_url=False)]
    else:
        faults = list(_faults(campaign))
    if len(faults) > 1:
        raise CampaignError(f"{source}: {len(faults)} faults:\n" + "\n".join(f"  {fault}" for fault in faults))
    if faults:
        raise CampaignError(f"{source}: {faults[0]}")
    return campaign


def _syntax_hint(text: str) -> str:
    """Name the two slips that TOML's own messages do not explain."""
    number = re.search(r"=\s*(\d{1,3}(?:,\d{3})+)\b", text)
    if number:
        return f"; a number has no commas: write {number[1].replace(',', '_')}"
    table = re.search(r"^\s*\[(coupon|limit)\]\s*$", text, re.MULTILINE)
    return f"; write [[{table[1]}]] above each {table[1]}" if table else ""


def _fault(item: Any, document: Mapping[str, Any]) -> str:
    """Put one of pydantic's findings in words."""
    loc, kind = item["loc"], item["type"]
    place = _place(loc, document)
    if kind == "extra_forbidden":
        key = str(loc[-1])
        known = list((TABLES[str(loc[0])] if len(loc) > 1 else Campaign).model_fields)
        homes = [f" (it belongs under {_head(name)})" for name, table in TABLES.items() if key in table.model_fields]
        hint = nearest(key, known, 0.8) or (homes[0] if homes else nearest(key, known))
        return f"{place}: unknown key{hint}; known: {', '.join(known)}"
    if kind == "missing":
        return f"{place} is missing"
    if kind in ("model_type", "tuple_type"):
        return f"{place} must be given under a line {_head(str(loc[0]))}, not as {_in_words(item['input'])}"
    words = str(item.get("ctx", {}).get("error", item["msg"]))
    return f"{place}: {words}" if words.startswith(("the ", "'")) else f"{place} {words}"


def _place(loc: Iterable[str | int], document: Mapping[str, Any]) -> str:
    """Write a place as `coupon[2].amount`, with the id or name of what is there."""
    words, here, label = "", document, ""
    for part in loc:
        words += f"[{part + 1}]" if isinstance(part, int) else f"{'.' if words else ''}{part}"
        try:
            here = here[part]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            here = {}
        if isinstance(part, int) and isinstance(here, Mapping):
            name = here.get("id", here.get("name"))
            label = f" ({name!r})" if isinstance(name, str) and name else ""
    return words + label


def _faults(campaign: Campaign) -> Iterator[str]:
    """Yield what does not fit together, where each key for itself is fine."""
    known = campaign.coupon_ids
    taken = {"budget": "campaign.budget"}
    taken |= {f"{word}[{name}]": f"the coupon's {word}" for name in known for word in ("quantity", "min_quantity")}
    tables: list[tuple[str, str, dict[str, str], tuple[Coupon | LimitTerms, ...]]] = [
        ("coupon", "id", {}, campaign.coupon),
        ("limit", "name", taken, campaign.limit),
    ]
    for table, key, names, entries in tables:
        for number, entry in enumerate(entries, start=1):
            name = getattr(entry, key)
            for odd, words in entry.faults():
                yield f"{table}[{number}].{odd} ({name!r}) {words}"
            if name in names:
                yield f"{table}[{number}].{key}: {name!r} is taken by {names[name]}; choose another"
            names.setdefault(name, f"{table}[{number}]")
    named = [(f"campaign.exclusive[{number}]", group) for number, group in enumerate(campaign.exclusive, start=1)]
    named += [(f"limit[{number}].coupons", terms.coupons or ()) for number, terms in enumerate(campaign.limit, start=1)]
    for place, group in named:
        for name in group:
            if known and name not in known:
                yield f"{place}: unknown coupon {name!r}{nearest(name, known)}; known: {', '.join(known[:12])}"


def _head(table: str) -> str:
    return f"[{table}]" if table == "campaign" else f"[[{table}]]"


def _budget_words(number: float) -> str:
    return f"the budget is {_float(number):g}; it must be above 0 and at most 10^12"


def _in_words(value: Any) -> str:
    """Describe a TOML value of the wrong type."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"the text {value[:60]!r}"
    if isinstance(value, (int, float)):
        return f"the number {_float(value):g}"
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, (list, tuple)):
        return "a list"
    return "a date or time" if isinstance(value, (datetime.date, datetime.time)) else f"a {type(value).__name__}"
