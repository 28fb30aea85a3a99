"""A table of a past trial: who was given which coupon, what they did, and what was known of them before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from allocator.errors import DataError, counted, nearest
from allocator.history.trial import COLUMNS
from allocator.tables.frames import decoded, is_text, one_chunk, to_arrow
from allocator.tables.named import layout_of, read_layout
from allocator.tables.origin import MOST_EXAMPLES, Origin

CONTROL = ("", "control", "none")
ALIASES = {column.name: column.aliases for column in COLUMNS}
OUTCOMES = ("purchased", "spend", "redeemed", "visited")
KNOWN = tuple(ALIASES)


@dataclass(frozen=True, eq=False)
class TrialTable:
    """A trial, checked.

    Attributes
    ----------
    source
        What messages call it.
    coupons
        Ids of the arms beside control, in order of their names.
    arm
        `(n,)` int64: 0 control, k the k-th of `coupons`.
    purchased
        `(n,)` float64, 0 or 1.
    spend
        `(n,)` float64, currency, or `None`.
    redeemed, visited
        `(n,)` float64, 0 or 1, or `None`.
    propensity
        `(n, arms)` or `(1, arms)` chances by design; `None` where the table has none.
    weight
        `(n,)` or `None`.
    user_ids
        `(n,)` int64 or string; `None` where the table has no ids.
    time
        `(n,)` when the offer was made, or `None`.
    features
        `(n,)` float64 (NaN: missing) or object (text; `None`: missing) by name: every other column.
    notes
        What was taken for what.
    """

    source: str
    coupons: tuple[str, ...]
    arm: np.ndarray
    purchased: np.ndarray
    spend: np.ndarray | None
    redeemed: np.ndarray | None
    visited: np.ndarray | None
    propensity: np.ndarray | None
    weight: np.ndarray | None
    user_ids: pa.Array | None
    time: pa.ChunkedArray | None
    features: dict[str, np.ndarray]
    notes: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of users."""
        return int(self.arm.size)

    @property
    def n_arms(self) -> int:
        """Number of arms, control among them."""
        return len(self.coupons) + 1


def read_trial(
    source: Any,
    *,
    columns: Mapping[str, str] | None = None,
    control: str | None = None,
    ignore: Sequence[str] = (),
) -> TrialTable:
    """Read and check a trial.

    Parameters
    ----------
    source
        A path (Parquet or CSV; a file, a folder or a glob), or a pandas, polars or pyarrow table.
    columns
        For a column of the trial its name in the table, where it differs: `{"coupon": "segment"}`.
    control
        What stands in `coupon` for those who were given none; by default empty, `control` or `none`.
    ignore
        Columns that are no features.

    Raises
    ------
    DataError
        Names the column, the number of rows and examples, and says what to do; where nobody was given nothing, it
        says how to get a control group.
    """
    named = isinstance(source, str | Path)
    name = str(source) if named else "trial"
    table = read_layout(layout_of(source, ()), ()) if named else to_arrow(source, name)
    place, notes = _places(name, table.column_names, dict(columns or {}))
    for column in ignore:
        if column not in table.column_names:
            raise DataError(
                f"{name}: there is no column {column!r}{nearest(column, table.column_names, 0.6)} to ignore"
            )
    origin = Origin.of(table)
    coupons, arm = _arms(name, table[place["coupon"]], control, origin)
    outcomes = {key: _outcome(name, table, place, key, origin) for key in OUTCOMES}
    spend, purchased = outcomes["spend"], outcomes["purchased"]
    if purchased is None:
        if spend is None:
            raise DataError(
                f"{name}: no outcome; give a column 'purchased' (0/1) or 'spend' (currency). Found: "
                f"{', '.join(table.column_names)}. Is it there under another name? Say so: --column purchased=NAME"
            )
        purchased, notes = (spend > 0).astype(np.float64), [*notes, f"{name}: purchased is taken as spend > 0"]
    _consistent(name, arm, purchased, outcomes, origin)
    taken = {*place.values(), *ignore}
    propensity, used = _propensity(name, table, place, coupons, arm, origin)
    taken |= used
    features = {column: feature(table[column], column, name) for column in table.column_names if column not in taken}
    return TrialTable(
        source=name,
        coupons=coupons,
        arm=arm,
        purchased=purchased,
        spend=spend,
        redeemed=outcomes["redeemed"],
        visited=outcomes["visited"],
        propensity=propensity,
        weight=None if "weight" not in place else _numbers(name, table[place["weight"]], place["weight"], origin),
        user_ids=None if "user_id" not in place else one_chunk(decoded(table[place["user_id"]])),
        time=None if "time" not in place else table[place["time"]],
        features=features,
        notes=tuple(notes),
    )


def feature(column: pa.ChunkedArray | pa.Array, name: str, source: str) -> np.ndarray:
    """`(n,)` float64 with NaN where missing, or object with text and `None`; raises `DataError` for other types."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if is_text(kind) or pa.types.is_boolean(kind):
        texts = np.asarray(decoded_any(column).cast(pa.string()).to_numpy(zero_copy_only=False), dtype=object)
        texts[texts == ""] = None
        return texts
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan)
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise DataError(
            f"{source}: column {name!r} is {kind}; features are numbers or text (write a date as a number of days), "
            f"or leave the column out: --ignore {name}"
        )
    numbers = decoded_any(column).cast(pa.float64(), safe=False)
    values = np.asarray(numbers.to_numpy(zero_copy_only=False), dtype=np.float64)
    endless = np.isinf(values)
    if endless.any():
        raise DataError(f"{source}: column {name!r} is infinite in {endless.sum():,} rows; leave such entries empty")
    return values


def decoded_any(column: Any) -> Any:
    """Return a column or array without codes."""
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _places(name: str, found: list[str], columns: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return the table's name for each of the trial's columns that is there, and notes of aliases."""
    place: dict[str, str] = {}
    notes = []
    for key, there in columns.items():
        if key not in KNOWN:
            raise DataError(f"{name}: a trial has no column {key!r}{nearest(key, KNOWN)}; known: {', '.join(KNOWN)}")
        if there not in found:
            raise DataError(
                f"{name}: there is no column {there!r}{nearest(there, found, 0.6)}; found: {', '.join(found)}"
            )
        place[key] = there
    lower = {column.strip().lower(): column for column in reversed(found)}
    for key, aliases in ALIASES.items():
        if key in place:
            continue
        word = next((word for word in (key, *aliases) if word in lower), None)
        if word is None or lower[word] in place.values():
            continue
        place[key] = lower[word]
        if lower[word] != key:
            notes.append(f"{name}: column {lower[word]!r} is read as {key!r}")
    for key in OUTCOMES:
        others = [lower[word] for word in (key, *ALIASES[key]) if word in lower and lower[word] not in place.values()]
        notes += [
            f"{name}: column {other!r} is taken for a feature known before; if it came after, as {key!r} did: --ignore {other}"
            for other in others
        ]
    if "coupon" not in place:
        raise DataError(
            f"{name}: column 'coupon' is missing; found: {', '.join(found)}. It says who was given which coupon "
            "(empty, 'control' or 'none': nobody's). Is it there under another name? Say so: --column coupon=NAME"
        )
    return place, notes


def _arms(
    name: str, column: pa.ChunkedArray, control: str | None, origin: Origin
) -> tuple[tuple[str, ...], np.ndarray]:
    plain = decoded_any(column)
    if not is_text(plain.type) and not pa.types.is_integer(plain.type) and not pa.types.is_null(plain.type):
        raise DataError(f"{name}: column 'coupon' must hold the coupons' ids, not {plain.type}")
    texts = pc.fill_null(pc.utf8_trim_whitespace(plain.cast(pa.string())), "")
    coded = one_chunk(texts.dictionary_encode())
    ids = coded.dictionary.to_pylist()
    none = [control] if control is not None else [word for word in ids if word.lower() in CONTROL]
    coupons = tuple(sorted(word for word in ids if word not in none))
    given = ", ".join(repr(word) for word in ids[:8])
    if not coupons:
        raise DataError(f"{name}: nobody was given a coupon; column 'coupon' holds only {given}")
    if not any(word in ids for word in none):
        wanted = f"{control!r}" if control is not None else "empty, 'control' or 'none'"
        raise DataError(
            f"{name}: there is no control group: no row has coupon {wanted}; it holds {given}. Without people who were "
            "given nothing, nobody can tell what a coupon changed. If the control group has another name, say so with "
            "--control NAME; if it was left out of the file, add those users with an empty coupon. Was there none? "
            "Keep a random tenth of the users without a coupon next time, and train on that; until then, users who "
            "were not sent a coupon can be compared with care: list them with an empty coupon and add --observational"
        )
    number = {word: k for k, word in enumerate(coupons, start=1)}
    index = np.array([number.get(word, 0) for word in ids], dtype=np.int64)
    return coupons, index[coded.indices.to_numpy(zero_copy_only=False)]


def _numbers(name: str, column: pa.ChunkedArray, label: str, origin: Origin) -> np.ndarray:
    kind = values = decoded_any(column)
    kind = values.type
    if not (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_boolean(kind)
    ):
        raise DataError(f"{name}: column {label!r} must hold numbers, not {kind}")
    if pa.types.is_boolean(kind):
        values = values.cast(pa.int8())
    numbers = np.asarray(values.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(numbers))
    if bad.size:
        raise DataError(
            f"{name}: column {label!r} is empty or not a number in {counted(bad.size, 'row', 'rows')} "
            f"({origin.rows(bad)}); fill them in or drop those rows"
        )
    return numbers


def _outcome(name: str, table: pa.Table, place: Mapping[str, str], key: str, origin: Origin) -> np.ndarray | None:
    if key not in place:
        return None
    numbers = _numbers(name, table[place[key]], place[key], origin)
    bad = np.flatnonzero(numbers < 0 if key == "spend" else ~np.isin(numbers, (0.0, 1.0)))
    if bad.size:
        what = "below 0" if key == "spend" else "neither 0 nor 1"
        raise DataError(
            f"{name}: column {place[key]!r} is {what} in {counted(bad.size, 'row', 'rows')} "
            f"({origin.rows(bad)}: {', '.join(f'{numbers[row]:g}' for row in bad[:MOST_EXAMPLES])}); correct them"
        )
    return numbers


def _consistent(
    name: str, arm: np.ndarray, purchased: np.ndarray, outcomes: Mapping[str, np.ndarray | None], origin: Origin
) -> None:
    def refuse(bad: np.ndarray, words: str) -> None:
        rows = np.flatnonzero(bad)
        if rows.size:
            raise DataError(f"{name}: {counted(rows.size, 'row', 'rows')} {words} ({origin.rows(rows)}); correct them")

    spend, redeemed, visited = outcomes["spend"], outcomes["redeemed"], outcomes["visited"]
    if spend is not None:
        refuse((spend > 0) & (purchased == 0), "spent something without a purchase")
    if redeemed is not None:
        refuse((redeemed > 0) & (arm == 0), "redeemed a coupon that they were not given")
    if visited is not None:
        refuse((purchased > 0) & (visited == 0), "purchased without a visit")
    if not purchased.any() or purchased.all():
        raise DataError(f"{name}: 'purchased' is the same for everybody; there is nothing to learn from")


def _propensity(
    name: str, table: pa.Table, place: Mapping[str, str], coupons: tuple[str, ...], arm: np.ndarray, origin: Origin
) -> tuple[np.ndarray | None, set[str]]:
    """`(n, arms)` chances by `propensity[coupon]` columns or one `propensity`, and the columns that were used."""
    by_arm = {
        column[len("propensity[") : -1]: column for column in table.column_names if column.startswith("propensity[")
    }
    if by_arm:
        absent = [coupon for coupon in coupons if coupon not in by_arm]
        if absent:
            raise DataError(f"{name}: column 'propensity[{absent[0]}]' is missing; give one for each coupon, or none")
        chances = np.column_stack([_numbers(name, table[by_arm[k]], by_arm[k], origin) for k in coupons])
        chances = np.column_stack([1.0 - chances.sum(axis=1), chances])
        bad = np.flatnonzero((chances < -1e-6).any(axis=1))
        if bad.size:
            raise DataError(f"{name}: the propensities are not chances in {bad.size:,} rows ({origin.rows(bad)})")
        chances = np.maximum(chances, 0.0)
        return chances / chances.sum(axis=1, keepdims=True), set(by_arm.values())
    if "propensity" not in place:
        return None, set()
    got = _numbers(name, table[place["propensity"]], place["propensity"], origin)
    bad = np.flatnonzero((got <= 0) | (got > 1))
    if bad.size:
        raise DataError(
            f"{name}: 'propensity' must be above 0 and at most 1; it is not in {bad.size:,} rows ({origin.rows(bad)})"
        )
    # Of the arms that the user did not get only the sum is known: they share it as the arms' averages do.
    share = np.bincount(arm, 1.0 / got, minlength=len(coupons) + 1)
    others = np.tile(share / share.sum(), (arm.size, 1))
    rows = np.arange(arm.size)
    others[rows, arm] = 0.0
    chances = others / others.sum(axis=1, keepdims=True) * (1.0 - got)[:, None]
    chances[rows, arm] = got
    return chances, set()
