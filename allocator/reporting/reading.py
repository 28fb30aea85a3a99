"""Reads summary.json back, so that a report can be made from a plan folder alone."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any

from allocator.errors import DataError
from allocator.reporting.summary import Summary


def summary_of(document: Mapping[str, Any], source: str = "summary.json") -> Summary:
    """Return the summary that a document of summary.json tells; keys that this version does not know are left out.

    Raises
    ------
    DataError
        Names the key that is missing or not of its kind.
    """
    found: Summary = _record(Summary, {**document, "findings": document}, source)
    return found


def _record(kind: type, document: Any, place: str) -> Any:
    if not isinstance(document, Mapping):
        raise DataError(f"{place} is no object; make the plan again with `allocate -o`")
    hints, values = typing.get_type_hints(kind), {}
    for field in dataclasses.fields(kind):
        if field.name in document:
            values[field.name] = _value(hints[field.name], document[field.name], f"{place}: {field.name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise DataError(f"{place}: {field.name} is missing; make the plan again with `allocate -o`")
    return kind(**values)


def _value(kind: Any, value: Any, place: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        (other,) = (item for item in arguments if item is not type(None))
        return None if value is None else _value(other, value, place)
    if dataclasses.is_dataclass(kind):
        return _record(typing.cast(type, kind), value, place)
    if origin is tuple and isinstance(value, list):
        return tuple(_value(arguments[0], item, f"{place}[{number}]") for number, item in enumerate(value))
    if origin is not None and issubclass(origin, Mapping) and isinstance(value, Mapping):
        return {str(key): _value(arguments[1], item, f"{place}.{key}") for key, item in value.items()}
    if kind is float and value is None:
        return math.nan
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if isinstance(kind, type) and isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    raise DataError(f"{place} is {value!r}, which does not fit; make the plan again with `allocate -o`")
