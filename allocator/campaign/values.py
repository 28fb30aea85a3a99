"""Checks of single values of a campaign file; each says what is wrong in words that follow the key's name."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import PlainValidator

from allocator.chance import DEFAULT_SHOCK, check_confidence, check_shock
from allocator.errors import nearest

MOST = 1e12  # as for the amounts of offers
NEVER_NEGATIVE = ("count", "cost", "liability", "redeem_probability")
Kind = Literal["fixed", "percent", "free_shipping"]


def plain_float(value: int | float) -> float:
    """Return a number as a float; integers beyond its range become infinite."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _number(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"must be a number, not {in_words(value)}")
    number = plain_float(value)
    if not abs(number) <= MOST:  # NaN fails too
        raise ValueError(f"is {number:g}; it must be finite and at most 10^12")
    return number


def _amount(value: Any) -> float | None:
    number = _number(value)
    if number is not None and number < 0:
        raise ValueError(f"is {number:g}; it cannot be negative")
    return number


def budget_of(value: Any) -> float | None:
    """Check a budget."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and not 0.0 < plain_float(value) <= MOST:
        raise ValueError(budget_words(value))
    return _number(value)


def whole(least: int) -> Callable[[Any], int | None]:
    """Return a check for whole numbers from `least` up."""

    def check(value: Any) -> int | None:
        number = _number(value)
        if number is None:
            return None
        if not number.is_integer() or number < least:
            raise ValueError(f"is {number:g}; it must be a whole number, {least} or more")
        return int(number)

    return check


def cap_of(value: Any) -> int | str:
    """Check max_per_user."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"must be a whole number or the name of a users column, not {in_words(value)}")
    number = whole(1)(value)
    assert number is not None
    return number


def confidence_of(value: Any) -> float | None:
    """Check the probability with which the budget must hold."""
    number = _number(value)
    return None if number is None else check_confidence(number)


def shock_of(value: Any) -> float:
    """Check the coefficient of variation of the factor common to all redemptions."""
    number = _number(value)
    return DEFAULT_SHOCK if number is None else check_shock(number)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be text in quotation marks, not {in_words(value)}")
    if not value.strip():
        raise ValueError("is empty; give it a text")
    return value


def kind_of(value: Any) -> str | None:
    """Check a coupon's kind."""
    kinds = get_args(Kind)
    if value is not None and value not in kinds:
        raise ValueError(f"is {in_words(value)}; it must be one of {', '.join(kinds)}{nearest(value, kinds)}")
    return value if value is None else str(value)


def cost_of(value: Any) -> float:
    """Check an amount that must be there."""
    number = _amount(value)
    if number is None:
        raise ValueError("must be a number")
    return number


def share_of(value: Any) -> float:
    """Check a share."""
    number = _number(value)
    if number is None or not 0.0 <= number <= 1.0:
        raise ValueError(f"is {in_words(value)}; it must be a share from 0 to 1, such as 0.3")
    return number


def day_of(value: Any) -> datetime.date:
    """Check a day: a TOML date, or the same in quotation marks."""
    if isinstance(value, datetime.datetime):
        return value.date()
    if isinstance(value, datetime.date):
        return value
    try:
        return datetime.date.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError(f"must be a day such as 2026-01-31, not {in_words(value)}") from None


def one_of(words: tuple[str, ...]) -> Callable[[Any], str]:
    """Return a check for one of a few words."""

    def check(value: Any) -> str:
        if value not in words:
            raise ValueError(f"is {in_words(value)}; it must be one of {', '.join(words)}{nearest(value, words)}")
        return str(value)

    return check


def _positive(value: Any) -> float | None:
    number = _number(value)
    if number is not None and number <= 0:
        raise ValueError(f"is {number:g}; it must be above 0")
    return number


def _coupons(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        raise ValueError(f'must be a list of coupon ids such as ["10off"], not {in_words(value)}')
    if not value:
        raise ValueError("names no coupon; leave it out where the limit covers all")
    return tuple(value)


def groups_of(value: Any) -> tuple[tuple[str, ...], ...]:
    """Check exclusive groups."""
    if not isinstance(value, (list, tuple)) or any(not isinstance(group, (list, tuple)) for group in value):
        raise ValueError('must be a list of groups such as [["10off", "15off"]]')
    return tuple(_coupons(group) or () for group in value)


def _conditions(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise ValueError(f'must be a table such as {{ segment = "new" }}, not {in_words(value)}')
    for name, wanted in value.items():
        for item in wanted if isinstance(wanted, list) else [wanted]:
            if not isinstance(item, (str, int, float)) or (isinstance(item, float) and not math.isfinite(item)):
                raise ValueError(f"{name!r} must be a text, a number, true/false, or a list of these")
        if wanted == []:
            raise ValueError(f"{name!r} lists no value; leave it out where all are meant")
    return dict(value)


def measure_of(value: Any) -> str | dict[str, float]:
    """Check a limit's measure."""
    if isinstance(value, str):
        return _text(value)
    if not isinstance(value, Mapping) or not value:
        raise ValueError(
            f"must be a measure's name, or weights such as {{ value = 1.0, cost = -0.5 }}, not {in_words(value)}"
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
Positive = Annotated[float | None, PlainValidator(_positive)]
Share = Annotated[float, PlainValidator(share_of)]
Day = Annotated[datetime.date | None, PlainValidator(day_of)]
Number = Annotated[float | None, PlainValidator(_number)]
Quantity = Annotated[int | None, PlainValidator(whole(0))]
Coupons = Annotated[tuple[str, ...] | None, PlainValidator(_coupons)]
Conditions = Annotated[dict[str, Any] | None, PlainValidator(_conditions)]


def budget_words(number: float) -> str:
    """Say what is wrong with a budget."""
    return f"the budget is {plain_float(number):g}; it must be above 0 and at most 10^12"


def in_words(value: Any) -> str:
    """Describe a TOML value of the wrong type."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"the text {value[:60]!r}"
    if isinstance(value, (int, float)):
        return f"the number {plain_float(value):g}"
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, (list, tuple)):
        return "a list"
    return "a date or time" if isinstance(value, (datetime.date, datetime.time)) else f"a {type(value).__name__}"
