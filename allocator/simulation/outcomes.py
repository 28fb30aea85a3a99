"""What users did after a campaign, checked at the door and brought into the order of the plan's users."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from allocator.errors import DataError, UsageError, counted
from allocator.simulation.naming import Remark, few, renamed, without_coupon
from allocator.tables.files import read_plain, same_ids
from allocator.tables.frames import decoded, is_text, one_chunk, refuse_nulls, to_arrow
from allocator.tables.origin import MOST_EXAMPLES, Origin

ALIASES: dict[str, tuple[str, ...]] = {
    "user_id": ("household_id", "customer_id"),
    "spend": ("amount", "revenue", "sales_value"),
    "time": ("timestamp", "date"),
    "pre_spend": ("spend_before",),
    "purchased": (),
    "redeemed": (),
    "discount": (),
    "coupon": (),
}
NUMBERS = ("spend", "purchased", "redeemed", "discount", "pre_spend")
YES_OR_NO = ("purchased", "redeemed")  # may be written as truth values


class Absent(StrEnum):
    """What it means that a user has no row of outcomes."""

    REFUSE = "refuse"
    ZERO = "zero"  # bought nothing: the table lists buyers only
    DROP = "drop"  # not known: set aside, and counted by arm


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Outcomes in the order of the plan's users.

    Attributes
    ----------
    known
        `(n_users,)` bool: has an outcome.
    columns
        `spend` and those of `purchased`, `redeemed`, `discount`, `pre_spend` that the table has: `(n_users,)` float64,
        0 where not known.
    received
        `(n_users,)` objects: the coupon that the user really got (`""`: none; `None`: not known), or `None` without a
        column `coupon`.
    unknown
        Number of rows of users that the campaign does not know; they are set aside.
    notes
        What was set aside or taken as something else, in words.
    """

    known: np.ndarray
    columns: dict[str, np.ndarray]
    received: np.ndarray | None
    unknown: int
    notes: tuple[str, ...]


def read_outcomes(
    table: Any,
    user_ids: pa.Array,
    *,
    start: datetime.date | datetime.datetime | None = None,
    wanted: np.ndarray | None = None,
    absent: Absent = Absent.REFUSE,
    columns: Mapping[str, str] | None = None,
    control: str | None = None,
) -> Outcomes:
    """Read outcomes: a file, a folder, a glob, or a pandas, polars or pyarrow table.

    Parameters
    ----------
    user_ids
        `(n_users,)` distinct ids of the plan's users.
    start
        First day of the campaign: outcomes dated before it are refused.
    wanted
        `(n_users,)` bool: whose outcomes are needed; all by default.
    absent
        What to make of needed users without a row.
    columns
        For a column its name in the table, where that differs: `{"spend": "sales_28d"}`.
    control
        What stands in `coupon` for users who got none; by default empty, `control` or `none`.

    Raises
    ------
    DataError
        Where a column is missing or not a number, a user is there twice, a row is dated before the start, no user is
        known, or a needed one is absent.
    """
    source = str(table) if isinstance(table, (str, Path)) else "outcomes"
    arrow = read_plain(table) if isinstance(table, (str, Path)) else to_arrow(table, source)
    arrow, notes = _renamed(arrow, source, columns)
    origin = Origin.of(arrow)
    arrow, users = same_ids(arrow, pa.table({"user_id": user_ids}))
    place, unknown = _places(arrow["user_id"], users["user_id"], source, origin, notes)
    _refuse_early(arrow, start, source, origin, notes)
    n_users, here = len(user_ids), place >= 0
    known = np.zeros(n_users, bool)
    known[place[here]] = True
    numbers_of = {}
    for name in (name for name in NUMBERS if name in arrow.column_names):
        numbers = _number(arrow[name], name, source, origin)
        if name == "spend":
            notes += _returns(numbers, source, origin)
        numbers_of[name] = np.zeros(n_users)
        numbers_of[name][place[here]] = numbers[here]
    received = None
    if "coupon" in arrow.column_names:
        got = decoded(arrow["coupon"]).cast(pa.string()).fill_null("").to_numpy(zero_copy_only=False)
        received = np.full(n_users, None, object)
        received[place[here]] = np.where(without_coupon(got, control, source), "", got)[here]
    known = _with_absent(known, np.ones(n_users, bool) if wanted is None else wanted, absent, user_ids, source, notes)
    return Outcomes(known, numbers_of, received, unknown, tuple(notes))


def _renamed(arrow: pa.Table, source: str, columns: Mapping[str, str] | None) -> tuple[pa.Table, list[str]]:
    """Give columns their names of the schema; refuse a table without users or spend."""
    arrow, notes = renamed(arrow, source, ALIASES, columns)
    names = arrow.column_names
    for name in ("user_id", "spend"):
        if names.count(name) != 1:
            found = "is missing" if name not in names else f"occurs {names.count(name)} times"
            raise DataError(
                f"{source}: column {name!r} {found}; the columns found are {', '.join(names) or '(none)'}. "
                f"Needed: user_id, spend; optional: purchased, redeemed, discount, pre_spend, coupon, time. Is it there under "
                f"another name? Say so: --column {name}=NAME"
            )
    return arrow, notes


def _places(
    ids: pa.ChunkedArray, user_ids: pa.ChunkedArray, source: str, origin: Origin, notes: list[str]
) -> tuple[np.ndarray, int]:
    """Return each row's user, `(n_rows,)` int64, -1 for users that the campaign does not know, and how many those are."""
    ids = decoded(ids)
    refuse_nulls(ids, "user_id", source, origin)
    if is_text(ids.type) != is_text(user_ids.type):
        raise DataError(
            f"{source}: user_id is {ids.type} here but {user_ids.type} in the plan; write both the same way"
        )
    kind = pa.large_string() if is_text(ids.type) or pa.uint64() in (ids.type, user_ids.type) else pa.int64()
    rows, users = one_chunk(ids.cast(kind)), one_chunk(user_ids.cast(kind))
    codes = rows.dictionary_encode()
    first = np.full(len(codes.dictionary), -1, np.int64)
    order = np.arange(len(rows))
    code = codes.indices.to_numpy()
    first[code[::-1]] = order[::-1]
    again = np.flatnonzero(first[code] != order)
    if again.size:
        examples = ", ".join(repr(item) for item in rows.take(pa.array(again[:MOST_EXAMPLES])).to_pylist())
        raise DataError(
            f"{source}: {counted(again.size, 'row repeats', 'rows repeat')} a user_id ({origin.rows(again)}: users {examples}); "
            "sum each user's rows to one"
        )
    place = pc.index_in(rows, value_set=users).fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    strange = np.flatnonzero(place < 0)
    if strange.size:
        examples = ", ".join(repr(item) for item in rows.take(pa.array(strange[:MOST_EXAMPLES])).to_pylist())
        told = [
            f"{of(strange.size, 'row is of a user', 'rows are of users')} that the campaign does not know"
            for of in (counted, few)
        ]
        words = f"{told[0]} ({origin.rows(strange)}: {examples})"
        if strange.size == len(rows):
            raise DataError(f"{source}: all {words}; are these the outcomes of this plan, with the same ids?")
        notes.append(Remark(f"{source}: {words}; set aside.", f"{source}: {told[1]}; set aside."))
    return place, int(strange.size)


def _refuse_early(arrow: pa.Table, start: Any, source: str, origin: Origin, notes: list[str]) -> None:
    """Refuse outcomes dated before the campaign: a purchase before it cannot come of it, and tells against the rest."""
    begin = None if start is None else pa.scalar(_moment(start), pa.timestamp("us"))
    if "time" not in arrow.column_names:
        return
    if begin is None:
        notes.append(f"{source}: column 'time' was not checked, since the campaign's start is not known (--start).")
        return
    column = decoded(arrow["time"])
    try:
        times = _times(column)
    except (pa.ArrowException, ValueError) as error:
        words = str(error).splitlines()[0]
        raise DataError(
            f"{source}: column 'time' holds no dates ({words}); write them as 2026-03-01 or 2026-03-01 12:30"
        ) from error
    undated = np.flatnonzero(pc.is_null(times).to_numpy())
    if undated.size:
        words = "not checked against the campaign's start"
        notes.append(
            Remark(
                f"{source}: column 'time' is empty in {counted(undated.size, 'row', 'rows')} ({origin.rows(undated)}); {words}.",
                f"{source}: column 'time' is empty in {few(undated.size, 'row', 'rows')}; {words}.",
            )
        )
    early = np.flatnonzero(pc.less(times, begin).fill_null(False).to_numpy())
    if early.size:
        dates = ", ".join(str(item.as_py()) for item in times.take(pa.array(early[:MOST_EXAMPLES])))
        raise DataError(
            f"{source}: {counted(early.size, 'row is', 'rows are')} dated before the campaign's start {start} "
            f"({origin.rows(early)}: {dates}); leave out what came before, or put it into pre_spend"
        )


def _moment(start: Any) -> datetime.datetime:
    """Read a campaign's start, a date or its text."""
    try:
        return datetime.datetime.fromisoformat(str(start)).replace(tzinfo=None)
    except ValueError as error:
        raise UsageError(f"the campaign's start is {str(start)!r}; write it as 2026-03-01") from error


def _times(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return times as they are written, in the clock of their own zone; raises `ValueError` for numbers."""
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        raise ValueError(f"its type is {kind}")
    if is_text(kind):
        return _parsed(column)
    zoned = pa.types.is_timestamp(kind) and kind.tz is not None
    return (pc.local_timestamp(column) if zoned else column).cast(pa.timestamp("us"))


def _parsed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Read texts as times; a zone is read and dropped, so that times are compared as they are written."""
    plain = pc.replace_substring_regex(column.cast(pa.string()), r"(Z|[+-]\d{2}:?\d{2})$", "")
    dated = pc.match_substring_regex(column.cast(pa.string()), r"^\d{4}-\d{2}-\d{2}$")
    return pc.if_else(dated, column.cast(pa.string()), plain).cast(pa.timestamp("us"))


def _returns(spend: np.ndarray, source: str, origin: Origin) -> list[str]:
    """Say how many users brought back more than they bought: their spend is negative, and counts as it is."""
    rows = np.flatnonzero(spend < 0)
    if not rows.size:
        return []
    shown = ", ".join(f"{number:g}" for number in spend[rows[:MOST_EXAMPLES]])
    told = [f"{source}: column 'spend' is negative in {of(rows.size, 'row', 'rows')}" for of in (counted, few)]
    return [
        Remark(
            f"{told[0]} ({origin.rows(rows)}: {shown}); counted as returns of goods.",
            f"{told[1]}; counted as returns of goods.",
        )
    ]


def _number(column: pa.ChunkedArray, name: str, source: str, origin: Origin) -> np.ndarray:
    refuse_nulls(column, name, source, origin)
    kind = column.type
    truth = kind == pa.bool_() and name in YES_OR_NO
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind) or truth):
        raise DataError(f"{source}: column {name!r} must hold numbers, not {kind}{_not_numbers(column, origin)}")
    numbers = np.asarray(column.cast(pa.float64(), safe=False).to_numpy(), np.float64)
    faults = {"is not a finite number": ~np.isfinite(numbers)}
    if name == "purchased":
        faults["is neither 0 nor 1"] = (numbers != 0) & (numbers != 1)
    if name in ("redeemed", "discount"):
        faults["is negative"] = numbers < 0
    for words, bad in faults.items():
        rows = np.flatnonzero(bad)
        if rows.size:
            shown = ", ".join(f"{number:g}" for number in numbers[rows[:MOST_EXAMPLES]])
            raise DataError(
                f"{source}: column {name!r} {words} in {counted(rows.size, 'row', 'rows')} ({origin.rows(rows)}: {shown}); "
                "correct or drop those rows"
            )
    return numbers


def _not_numbers(column: pa.ChunkedArray, origin: Origin) -> str:
    """Name entries of a column of text that are no numbers; empty where it holds something else."""
    if not is_text(column.type):
        return ""
    texts = column.cast(pa.string())
    bad = np.flatnonzero(
        ~np.asarray(pc.match_substring_regex(texts, r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$").fill_null(False))
    )
    if not bad.size:
        return "; they are numbers written as text: write them as numbers"
    shown = ", ".join(repr(item) for item in texts.take(pa.array(bad[:MOST_EXAMPLES])).to_pylist())
    return f": {counted(bad.size, 'row is', 'rows are')} none ({origin.rows(bad)}: {shown}); correct or drop those rows"


def _with_absent(
    known: np.ndarray, wanted: np.ndarray, absent: Absent, user_ids: pa.Array, source: str, notes: list[str]
) -> np.ndarray:
    missing = np.flatnonzero(wanted & ~known)
    if not missing.size:
        return known
    examples = ", ".join(repr(item) for item in user_ids.take(pa.array(missing[:MOST_EXAMPLES])).to_pylist())
    many = counted(missing.size, "user", "users")
    words = f"{many} of the campaign (e.g. {examples}) {'has' if missing.size == 1 else 'have'} no row"
    if absent is Absent.REFUSE:
        # Where ids were written in two ways, the notes tell of users that nobody knows.
        others = "".join(
            f" {note.removeprefix(f'{source}: ').capitalize()}" for note in notes if isinstance(note, Remark)
        )
        raise DataError(
            f"{source}: {words}; say what that means: --absent zero (they bought nothing) or --absent drop (not known).{others}"
        )
    meaning = "set aside as not known" if absent is Absent.DROP else "counted as having bought nothing"
    notes.append(
        Remark(
            f"{source}: {words}; {meaning}.",
            f"{source}: {few(missing.size, 'user', 'users')} of the campaign without a row; {meaning}.",
        )
    )
    return known if absent is Absent.DROP else known | wanted


def examples_of(ids: pa.Array, users: np.ndarray | Sequence[int]) -> str:
    """Name up to three users."""
    return ", ".join(repr(item) for item in ids.take(pa.array(users[:MOST_EXAMPLES])).to_pylist())
