"""The checks of a trial's columns; messages name the file, the column, the rows, and what to do."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from allocator.errors import DataError, counted
from allocator.history.transactions import AMOUNT_LIMIT, numbers
from allocator.tables import streams
from allocator.tables.frames import decoded, is_text, one_chunk
from allocator.tables.origin import MOST_EXAMPLES, Origin
from allocator.tables.user_ids import missing_ids

CONTROL_WORDS = ("", "control", "none")  # how files write that a user got no coupon, in any case
PROPENSITY_OF = re.compile(r"propensity\[(.*)\]")
NO_CONTROL = (
    "Without people who were given nothing, nobody can tell what a coupon changed. If the control group has another name, "
    "say so with --control NAME; if it was left out of the file, add those users with an empty coupon. Was there none? "
    "Keep a random tenth of the users without a coupon next time, and train on that; until then, users who "
    "were not sent a coupon can be compared with care: list them with an empty coupon and add --observational"
)


@dataclass(frozen=True, eq=False)
class TrialDoor:
    """Takes the columns of a trial's table, which has the project's names, one by one."""

    path: str
    table: pa.Table

    def ids(self) -> pa.Array | None:
        """Return who took part, int64 or string; `None` where the table does not tell."""
        if "user_id" not in self.table.column_names:
            return None
        ids = one_chunk(decoded(self.table["user_id"]))
        ids = ids.cast(pa.string() if is_text(ids.type) else pa.int64())
        self.refuse("user_id", missing_ids(ids), "is empty", "fill them in or drop those rows")
        return ids

    def arms(self, control: str | None) -> tuple[tuple[str, ...], np.ndarray]:
        """Return the coupons, and each row's arm; raises `DataError` where there is no coupon, or no control."""
        column = one_chunk(decoded(self.table["coupon"])).cast(pa.string())
        coded = pc.utf8_trim_whitespace(pc.fill_null(column, "")).dictionary_encode()
        words = [str(word) for word in coded.dictionary.to_pylist()]
        free = {word for word in words if (word.lower() in CONTROL_WORDS if control is None else word == control)}
        coupons = sorted(set(words) - free)
        shown = ", ".join(repr(word) for word in words[:8])
        if not coupons:
            raise DataError(f"{self.path}: nobody was given a coupon; column 'coupon' holds only {shown}")
        if not free:
            wanted = "empty, 'control' or 'none'" if control is None else repr(control)
            raise DataError(
                f"{self.path}: there is no control group: no row has coupon {wanted}; it holds {shown}. {NO_CONTROL}"
            )
        number = {name: place for place, name in enumerate(coupons, start=1)}
        codes = np.array([number.get(word, 0) for word in words], np.int64)
        return tuple(coupons), codes[coded.indices.to_numpy()]

    def flag(self, name: str) -> np.ndarray | None:
        """Return a column of 0 and 1 as `(n,)` bool."""
        if name not in self.table.column_names:
            return None
        values = self._numbers(name)
        bad = ~np.isin(values, (0.0, 1.0))
        self.refuse(name, bad, "is neither 0 nor 1", "write 1 where it happened and 0 where not")
        return values > 0

    def amount(self, name: str) -> np.ndarray | None:
        """Return a column of amounts, `(n,)` float64 >= 0."""
        if name not in self.table.column_names:
            return None
        values = self._numbers(name)
        bad = ~((values >= 0) & (values <= AMOUNT_LIMIT))
        self.refuse(name, bad, "is missing, negative or not finite", "write what was paid, 0 where nothing was")
        return values

    def weight(self) -> np.ndarray | None:
        """Return the weights, `(n,)` float64 > 0."""
        if "weight" not in self.table.column_names:
            return None
        values = self._numbers("weight")
        bad = ~((values > 0) & (values <= AMOUNT_LIMIT))
        self.refuse(
            "weight", bad, "is missing, 0, negative or not finite", "give the number of users that the row stands for"
        )
        return values

    def time(self) -> np.ndarray | None:
        """Return when each row's campaign began, `(n,)` int64 seconds since 1970."""
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
        chances = np.maximum(chances, 0.0)
        return chances / chances.sum(axis=1, keepdims=True)

    def chance(self, name: str, arm: np.ndarray, every: np.ndarray | None) -> np.ndarray | None:
        """Return the chance of the arm that each row got."""
        values = self._chances(name) if name in self.table.column_names else None
        if values is None and every is not None:
            values = every[np.arange(arm.size), arm]
        if values is not None:
            self.refuse(name, values <= 0, "is 0 for the arm that the user got", "give the chance by design, above 0")
        return values

    def _chances(self, name: str) -> np.ndarray:
        values = self._numbers(name)
        self.refuse(name, ~((values >= 0) & (values <= 1)), "is missing or outside 0 to 1", "give a chance")
        return values

    def refuse_impossible(
        self,
        purchased: np.ndarray,
        spend: np.ndarray | None,
        redeemed: np.ndarray | None,
        visited: np.ndarray | None,
        arm: np.ndarray,
    ) -> None:
        """Raise where columns contradict one another, or nothing can be learned from them."""
        one = "correct one of the two"
        if spend is not None:
            self.refuse("spend", (spend > 0) & ~purchased, "is above 0 where purchased is 0", one)
        if visited is not None:
            self.refuse("visited", purchased & ~visited, "is 0 where purchased is 1", f"{one}, or leave it out")
        if redeemed is not None:
            words = "nobody redeems a coupon that was not given"
            self.refuse("redeemed", redeemed & (arm == 0), "is 1 in the control arm", words)
            self.refuse("redeemed", redeemed & ~purchased, "is 1 where purchased is 0", one)
        if purchased.all() or not purchased.any():
            raise DataError(
                f"{self.path}: 'purchased' is {int(purchased[0])} in every row; there is nothing to learn from"
            )

    def refuse_discounts(self, discount: np.ndarray | None, redeemed: np.ndarray | None, arm: np.ndarray) -> None:
        """Raise where a discount was given without a redemption."""
        if discount is None:
            return
        advice = "give what the coupon of the trial took off, 0 where none was redeemed; other discounts are no outcome"
        self.refuse("discount", (discount > 0) & (arm == 0), "is above 0 in the control arm", advice)
        if redeemed is not None:
            self.refuse("discount", (discount > 0) & ~redeemed, "is above 0 where redeemed is 0", advice)

    def refuse_twice(self, users: pa.Array | None, time: np.ndarray | None) -> None:
        """Raise where a user is there more than once at one time."""
        if users is None:
            return
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
