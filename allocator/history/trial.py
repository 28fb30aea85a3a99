"""A trial: who was put in which arm, and what came of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from allocator.errors import DataError, counted
from allocator.history.people import is_from_csv
from allocator.history.transactions import AMOUNT_LIMIT, USER_NAMES, missing_ids, numbers
from allocator.tables import streams
from allocator.tables.frames import decoded, is_text, one_chunk
from allocator.tables.named import Column, Holds, layout_of, read_layout
from allocator.tables.origin import MOST_EXAMPLES, Origin

CONTROL = "control"
CONTROL_WORDS = ("", "control", "none")  # how files write that a user got no coupon, in any case
COLUMNS = (
    Column("user_id", Holds.ID, USER_NAMES, True, "who took part"),
    Column("coupon", Holds.TEXT, ("coupon_id", "arm", "treatment", "group"), True, "which one the user got; empty, control or none: no coupon"),
    Column("time", Holds.TIME, ("timestamp", "date", "start_date"), False, "when the user's campaign began"),
    Column("purchased", Holds.FLAG, ("conversion", "converted", "purchase", "bought"), True, "1 if the user bought afterwards, else 0"),
    Column("spend", Holds.NUMBER, ("amount", "revenue", "sales_value"), False, "currency paid afterwards; 0 without a purchase"),
    Column("redeemed", Holds.FLAG, ("redemption",), False, "1 if the coupon was redeemed, else 0"),
    Column("visited", Holds.FLAG, ("visit",), False, "1 if the user came, else 0"),
    Column("propensity", Holds.NUMBER, (), False, "the chance of what the user got, where chances differed; or propensity[COUPON] for each coupon"),
    Column("weight", Holds.NUMBER, ("sample_weight",), False, "how many users the row stands for"),
)  # fmt: skip
PROPENSITY_OF = re.compile(r"propensity\[(.*)\]")
FLAGS = ("purchased", "redeemed", "visited")


@dataclass(frozen=True, eq=False)
class TrialTable:
    """A trial, checked.

    Attributes
    ----------
    path
        Where it was read.
    user_ids
        `(n,)` int64 or string.
    coupons
        The arms beside control, sorted.
    arm
        `(n,)` int64: 0 control, k the k-th of `coupons`.
    purchased
        `(n,)` bool.
    spend
        `(n,)` float64, currency; `None` where the trial does not tell.
    redeemed, visited
        `(n,)` bool, or `None`.
    time
        `(n,)` int64, seconds since 1970: when each row's campaign began; `None` where the trial does not tell.
    propensity
        `(n,)` float64: the chance of the arm that each row got; `None`: by design the same for all.
    propensities
        `(n, arms)` float64, control first; `None` where the files do not give every arm's.
    weight
        `(n,)` float64 > 0, or `None`: all alike.
    features
        The columns that were known before, as in the file.
    notes
        What was taken for what.
    """

    path: str
    user_ids: pa.Array
    coupons: tuple[str, ...]
    arm: np.ndarray
    purchased: np.ndarray
    spend: np.ndarray | None
    redeemed: np.ndarray | None
    visited: np.ndarray | None
    time: np.ndarray | None
    propensity: np.ndarray | None
    propensities: np.ndarray | None
    weight: np.ndarray | None
    features: pa.Table
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return int(self.arm.size)

    @property
    def from_csv(self) -> bool:
        """Whether ids that are integers could be text as well."""
        return is_from_csv(self.features)

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of the arms: control, then the coupons."""
        return (CONTROL, *self.coupons)

    @property
    def counts(self) -> np.ndarray:
        """Rows of each arm, `(arms,)` int64."""
        return np.bincount(self.arm, minlength=len(self.arms))


def read_trial(path: str | Path) -> TrialTable:
    """Read a trial; see `TrialTable` for its columns.

    A trial without a control arm is read: whether one is needed is for the caller to say.

    Raises
    ------
    DataError
        Where it cannot be read, or says something impossible: outcomes other than 0 and 1, negative spend, spend
        without a purchase, chances outside 0 to 1, a user twice at one time.
    """
    layout = layout_of(path, COLUMNS)
    table = read_layout(layout, COLUMNS)
    if table.num_rows == 0:
        raise DataError(f"{path}: no rows; write one row for each user of the trial")
    door = _Door(str(path), table)
    users = door.ids()
    arms, arm = door.arms()
    flags = {name: door.flag(name) for name in FLAGS}
    spend = door.amount("spend")
    purchased = flags["purchased"]
    assert purchased is not None
    door.refuse_impossible(purchased, spend, flags, arm)
    time = door.time()
    door.refuse_twice(users, time)
    propensities = door.propensities(arms)
    named = {column.name for column in COLUMNS}
    features = table.select([n for n in table.column_names if n not in named and not PROPENSITY_OF.fullmatch(n)])
    return TrialTable(
        path=str(path),
        user_ids=users,
        coupons=arms,
        arm=arm,
        purchased=purchased,
        spend=spend,
        redeemed=flags["redeemed"],
        visited=flags["visited"],
        time=time,
        propensity=door.chance("propensity", arm, propensities),
        propensities=propensities,
        weight=door.weight(),
        features=features,
        notes=layout.notes,
    )


@dataclass(frozen=True, eq=False)
class _Door:
    """Checks the columns of a trial; messages name the file, the column and rows."""

    path: str
    table: pa.Table

    def ids(self) -> pa.Array:
        ids = one_chunk(decoded(self.table["user_id"]))
        ids = ids.cast(pa.string() if is_text(ids.type) else pa.int64())
        self.refuse("user_id", missing_ids(ids), "is empty", "fill them in or drop those rows")
        return ids

    def arms(self) -> tuple[tuple[str, ...], np.ndarray]:
        """Return the coupons and each row's arm."""
        column = one_chunk(decoded(self.table["coupon"])).cast(pa.string())
        coded = pc.utf8_trim_whitespace(pc.fill_null(column, "")).dictionary_encode()
        words = [str(word) for word in coded.dictionary.to_pylist()]
        coupons = sorted(word for word in words if word.lower() not in CONTROL_WORDS)
        number = {name: place for place, name in enumerate(coupons, start=1)}
        codes = np.array([number.get(word, 0) for word in words], np.int64)
        return tuple(coupons), codes[coded.indices.to_numpy()]

    def flag(self, name: str) -> np.ndarray | None:
        if name not in self.table.column_names:
            return None
        values = self._numbers(name)
        self.refuse(
            name, ~np.isin(values, (0.0, 1.0)), "is neither 0 nor 1", "write 1 where it happened and 0 where not"
        )
        return values > 0

    def amount(self, name: str) -> np.ndarray | None:
        if name not in self.table.column_names:
            return None
        values = self._numbers(name)
        bad = ~((values >= 0) & (values <= AMOUNT_LIMIT))
        self.refuse(name, bad, "is missing, negative or not finite", "write what was paid, 0 where nothing was")
        return values

    def weight(self) -> np.ndarray | None:
        values = self.amount("weight")
        if values is not None:
            self.refuse("weight", values <= 0, "is 0", "give the number of users that the row stands for")
        return values

    def time(self) -> np.ndarray | None:
        if "time" not in self.table.column_names:
            return None
        seconds, _ = streams.times_of(one_chunk(self.table["time"]))
        bad = (seconds < 0) | (seconds >= 2**32)
        self.refuse("time", bad, "is missing, no date, or not between 1970 and 2105", "write 2026-01-31")
        return seconds

    def propensities(self, coupons: tuple[str, ...]) -> np.ndarray | None:
        """Return every arm's chance; that of control is what the coupons leave, unless it is given too."""
        given = {match[1]: name for name in self.table.column_names if (match := PROPENSITY_OF.fullmatch(name))}
        if not given:
            return None
        control = next((name for name in given if name.lower() in CONTROL_WORDS), None)
        unknown = sorted(set(given) - set(coupons) - {control})
        lacking = sorted(set(coupons) - set(given))
        if unknown or lacking:
            found = (
                f"has column {given[unknown[0]]!r} but no such coupon"
                if unknown
                else f"lacks column 'propensity[{lacking[0]}]'"
            )
            raise DataError(f"{self.path}: the trial {found}; its coupons are {', '.join(coupons)}")
        columns = [self._chances(given[name]) for name in coupons]
        rest = 1.0 - np.sum(columns, axis=0) if control is None else self._chances(given[control])
        chances = np.column_stack([rest, *columns])
        wrong = (chances < -1e-6).any(axis=1) | (np.abs(chances.sum(axis=1) - 1.0) > 1e-6)
        self.refuse("propensity[...]", wrong, "does not add up to 1 over the arms", "give each arm's chance by design")
        return np.maximum(chances, 0.0)

    def chance(self, name: str, arm: np.ndarray, every: np.ndarray | None) -> np.ndarray | None:
        """Return the chance of the arm that each row got."""
        values = self._chances(name) if name in self.table.column_names else None
        if values is None and every is not None:
            values = every[np.arange(arm.size), arm]
        if values is not None:
            bad = values <= 0
            self.refuse(name, bad, "is 0 for the arm that the user got", "give the chance by design, above 0")
        return values

    def _chances(self, name: str) -> np.ndarray:
        values = self._numbers(name)
        self.refuse(name, ~((values >= 0) & (values <= 1)), "is missing or outside 0 to 1", "give a chance")
        return values

    def refuse_impossible(
        self, purchased: np.ndarray, spend: np.ndarray | None, flags: Mapping[str, np.ndarray | None], arm: np.ndarray
    ) -> None:
        """Raise where columns contradict one another."""
        if spend is not None:
            self.refuse("spend", (spend > 0) & ~purchased, "is above 0 where purchased is 0", "correct one of the two")
        visited, redeemed = flags["visited"], flags["redeemed"]
        if visited is not None:
            self.refuse(
                "visited", purchased & ~visited, "is 0 where purchased is 1", "correct one of the two, or leave it out"
            )
        if redeemed is not None:
            self.refuse(
                "redeemed",
                redeemed & (arm == 0),
                "is 1 in the control arm",
                "nobody redeems a coupon that was not given",
            )
            self.refuse("redeemed", redeemed & ~purchased, "is 1 where purchased is 0", "correct one of the two")

    def refuse_twice(self, users: pa.Array, time: np.ndarray | None) -> None:
        codes = users.dictionary_encode().indices.to_numpy(zero_copy_only=False).astype(np.int64)
        when = np.zeros(codes.size, np.int64) if time is None else time
        order = np.lexsort((when, codes))
        same = (np.diff(codes[order]) == 0) & (np.diff(when[order]) == 0)
        twice = np.zeros(codes.size, dtype=bool)
        twice[order[1:][same]] = True
        if twice.any():
            rows = np.flatnonzero(twice)
            examples = ", ".join(str(users[int(row)].as_py()) for row in rows[:MOST_EXAMPLES])
            raise DataError(
                f"{self.path}: {counted(rows.size, 'row repeats', 'rows repeat')} a user_id{'' if time is None else ' at the same time'} "
                f"({Origin.of(self.table).rows(rows)}: {examples}); keep one row a user, or give each campaign its time"
            )

    def refuse(self, name: str, bad: np.ndarray, what: str, advice: str) -> None:
        """Raise `DataError` where rows are bad."""
        rows = np.flatnonzero(bad)
        if rows.size:
            first = ""
            if name in self.table.column_names:
                first = f"; the first is {_shown(self.table[name][int(rows[0])])}"
            raise DataError(
                f"{self.path}: column {name!r} {what} in {counted(rows.size, 'row', 'rows')} "
                f"({Origin.of(self.table).rows(rows)}{first}); {advice}"
            )

    def _numbers(self, name: str) -> np.ndarray:
        column = one_chunk(self.table[name])
        if is_text(column.type):
            raise DataError(f"{self.path}: column {name!r} must hold numbers, not text")
        return numbers(column)


def _shown(value: pa.Scalar) -> str:
    try:
        return repr(value.as_py())
    except (OverflowError, ValueError):  # a time that Python's have no room for
        return str(value.cast(pa.int64()).as_py())
