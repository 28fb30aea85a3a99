"""The columns of events, checked at the door."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cf.errors import EventsError
from cf.ids import plain, whole

DAY = 86_400.0  # seconds
KINDS = ("purchase", "cart", "click", "view")


def seconds(time: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return times as whole seconds since 1970, NaN where missing.

    Parameters
    ----------
    time
        `(n,)` datetimes, or numbers of *days* since 1970 (or since any day, as long as it is the same throughout). Those
        with a time zone are brought to UTC; those without are taken as they are.
    """
    array = np.asarray(time)
    if array.dtype.kind == "M":
        whole = array.astype("datetime64[s]")
        return np.where(np.isnat(whole), np.nan, whole.astype(np.int64))
    if array.dtype.kind in "iuf":
        return np.round(array.astype(np.float64) * DAY)
    if array.dtype.kind == "O":  # a pandas column of timestamps
        try:
            stamps = pd.to_datetime(pd.Series(array), utc=True)
        except (TypeError, ValueError) as error:
            raise EventsError(f"times must be datetimes, or numbers of days: {error}") from error
        return seconds(stamps.dt.tz_localize(None).to_numpy())
    raise EventsError(
        f"times must be datetimes, or numbers of days; got {array.dtype}: pandas.to_datetime makes them of text"
    )


def moment(time: Any) -> int:
    """Return one time, a datetime or a number of days, as whole seconds since 1970."""
    if isinstance(time, int | float | np.integer | np.floating):
        value = seconds(np.array([time]))
    else:
        try:
            value = seconds(np.array([pd.Timestamp(time).to_datetime64()]))
        except (TypeError, ValueError) as error:
            raise EventsError(f"{time!r} is no time; give a datetime or a number of days: {error}") from error
    if not np.isfinite(value[0]):
        raise EventsError("a time is missing")
    return int(value[0])


@dataclass(frozen=True)
class Events:
    """Events that happened, one an entry of each column, in any order.

    Attributes
    ----------
    user, item
        `(n,)` ids, integers or text (or any one hashable type).
    time
        `(n,)` datetime64, or numbers of days. Events of one user at the same time are one visit (a basket).
    quantity
        `(n,)` units, > 0; 1 where left out.
    money
        `(n,)` currency paid, >= 0; where left out, expected spend cannot be learned.
    kind
        `(n,)` one of `KINDS` each; purchases where left out.
    """

    user: npt.NDArray[Any]
    item: npt.NDArray[Any]
    time: npt.NDArray[Any]
    quantity: npt.NDArray[Any] | None = None
    money: npt.NDArray[Any] | None = None
    kind: npt.NDArray[Any] | None = None

    def __post_init__(self) -> None:
        for name in ("user", "item"):
            object.__setattr__(self, name, plain_or_missing(getattr(self, name), name))
        for name in ("time", "quantity", "money", "kind"):
            column = getattr(self, name)
            if column is None:
                if name == "time":
                    raise EventsError("events need a time")
                continue
            held = np.asarray(column)
            if held.shape != self.user.shape:
                raise EventsError(f"{name} has shape {held.shape}, user has {self.user.shape}: one entry an event")
            object.__setattr__(self, name, held)
        if len(self.item) != len(self.user):
            raise EventsError(f"item has {len(self.item):,} entries, user has {len(self.user):,}")

    def __len__(self) -> int:
        return len(self.user)

    @classmethod
    def from_table(cls, table: Any, columns: Mapping[str, str] | None = None) -> Events:
        """Take a pandas, polars or pyarrow table (anything whose columns are found by name).

        `columns` maps a field of this class to the table's name for it; by default the names are the fields' own,
        `user_id` and `item_id` are understood, and optional columns may be absent.
        """
        names = list(getattr(table, "column_names", None) or table.columns)
        chosen = choose_columns(names, columns)
        return cls(**{field: to_numpy(table[name]) for field, name in chosen.items()})


def to_numpy(column: Any) -> npt.NDArray[Any]:
    """Return a table's column as an array."""
    return np.asarray(column.to_numpy() if hasattr(column, "to_numpy") else column)


def plain_or_missing(ids: npt.ArrayLike, name: str) -> npt.NDArray[Any]:
    """Return ids as int64 or object; floats that hold missing values become objects with None."""
    array = np.asarray(ids)
    if array.ndim != 1:
        raise EventsError(f"{name} must be one-dimensional; got shape {array.shape}")
    if array.dtype.kind == "f" and np.isnan(array).any():
        held = np.empty(array.size, object)
        good = ~np.isnan(array)
        held[good] = whole(array[good])
        return held
    return plain(array)


def choose_columns(names: Sequence[str], columns: Mapping[str, str] | None) -> dict[str, str]:
    """Return which column holds each field; a required one that is absent is an error that names what is there."""
    fields = ("user", "item", "time", "quantity", "money", "kind")
    given = dict(columns or {})
    unknown = set(given) - set(fields)
    if unknown:
        raise EventsError(f"columns names {sorted(unknown)[0]!r}; the fields are {', '.join(fields)}")
    chosen: dict[str, str] = {}
    for field in fields:
        for name in [given[field]] if field in given else [field, f"{field}_id"]:
            if name in names:
                chosen[field] = name
                break
        else:
            if field in given or field in ("user", "item", "time"):
                raise EventsError(
                    f"no column {given.get(field, field)!r} for {field}; there are {', '.join(map(str, names))}"
                )
    return chosen
