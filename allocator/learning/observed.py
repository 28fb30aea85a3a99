"""Past campaigns without a control group by lot: who was sent what, set beside others of the same days.

Users who were not sent anything around the time stand for control, outcomes are what the transactions show in the window
after, and the chances of being sent each coupon are estimated from profiles (Rosenbaum and Rubin 1983,
10.1093/biomet/70.1.41). What the targeting knew and the profiles do not stays in the effects: they are observational.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from allocator.errors import DataError, counted
from allocator.history.numbering import Numbering
from allocator.history.people import COLUMNS as USER
from allocator.learning.joining import MOST_MOMENTS
from allocator.learning.past import Past
from allocator.learning.trials import TrialArrays
from allocator.progress import Progress, silent
from allocator.tables.frames import decoded, is_text, one_chunk
from allocator.tables.named import Column, Holds, layout_of, read_layout
from allocator.tables.streams import MISSING_TIME, times_of

COLUMNS = (
    *USER,
    Column("coupon", Holds.TEXT, ("coupon_id", "campaign", "campaign_type"), True),
    Column("time", Holds.TIME, ("timestamp", "date", "start_date"), True),
)
DAY = 86_400
MOST_CONTROLS = 200_000  # over all waves


@dataclass(frozen=True, eq=False)
class _Sent:
    """Who was sent what, `(rows,)` each: number of the user, of the coupon (from 1), and the day in seconds."""

    user: np.ndarray
    coupon: np.ndarray
    day: np.ndarray
    coupons: tuple[str, ...]
    notes: tuple[str, ...]


def read_sent(path: str | Path, past: Past, window: int, seed: int, progress: Progress = silent) -> TrialArrays:
    """Make a table like a trial's from a list of who was sent which coupon when (`user_id`, `coupon`, `time`).

    Parameters
    ----------
    window
        Days after `time` in which purchases count.

    Raises
    ------
    DataError
        Where the list cannot be read, has too many waves, or no wave's window is in the transactions.
    """
    layout = layout_of(path, COLUMNS)
    table = read_layout(layout, COLUMNS)
    ids = one_chunk(decoded(table["user_id"]))
    if is_text(ids.type) and "user_id" not in past.transactions.text_ids and past.transactions.layout.is_csv:
        past = Past(past.transactions.with_text_users(), past.products)
    if is_text(ids.type) != ("user_id" in past.transactions.text_ids):
        raise DataError(f"{path}: user_id is {ids.type} here and of another type in {past.transactions.path}")
    numbering = Numbering(is_text(ids.type))
    first, last = _survey(past, numbering, progress)
    known = len(numbering)
    sent = _understood(str(path), table, numbering.add(ids))
    first = np.append(first, np.full(len(numbering) - known, np.iinfo(np.int64).max))
    waves = [int(day) for day in np.unique(sent.day) if day + window * DAY <= last + 1]
    if not waves:
        raise DataError(
            f"{path}: no campaign's {window} days are all in {past.transactions.path}; give later transactions, or a "
            "shorter --window"
        )
    rows = _rows(sent, first, waves, window, np.random.default_rng([seed, 18]))
    spend, bought = _outcomes(past, numbering, rows, waves, window)
    dropped = np.unique(sent.day).size - len(waves)
    notes = [*layout.notes, *sent.notes]
    if dropped:
        notes.append(
            f"{path}: {counted(dropped, 'campaign is', 'campaigns are')} left out: {window} days had not passed"
        )
    return TrialArrays(
        source=str(path),
        coupons=sent.coupons,
        arm=rows[1],
        purchased=bought.astype(np.float64),
        spend=spend,
        redeemed=None,
        visited=None,
        propensity=None,
        weight=None,
        user_ids=numbering.ids.take(pa.array(rows[0])),
        time=rows[2].astype(np.int64),
        features={},
        notes=tuple(notes),
    )


def _survey(past: Past, numbering: Numbering, progress: Progress) -> tuple[np.ndarray, int]:
    """Number everybody who bought; return when each did first, and the last line of all."""
    first = np.empty(0, np.int64)
    last, done = 0, 0
    for lines in past.transactions.lines():
        numbers = numbering.add(lines.user)
        if len(numbering) > first.size:
            first = np.append(first, np.full(len(numbering) - first.size, np.iinfo(np.int64).max))
        np.minimum.at(first, numbers, lines.time)
        last = max(last, int(lines.time.max(initial=0)))
        done += len(lines)
        progress("who bought when", past.transactions.share(done))
    return first, last


def _understood(path: str, table: pa.Table, users: np.ndarray) -> _Sent:
    seconds, _ = times_of(one_chunk(table["time"]))
    bad = np.flatnonzero(seconds == MISSING_TIME)
    if bad.size:
        raise DataError(f"{path}: column 'time' is missing or no date in {bad.size:,} rows (first: row {bad[0] + 1:,})")
    names = pc.fill_null(one_chunk(decoded(table["coupon"])).cast(pa.string()), "").dictionary_encode()
    coupons = tuple(sorted(str(name) for name in names.dictionary.to_pylist() if name))
    index = {name: k for k, name in enumerate(coupons, start=1)}
    codes = np.array([index.get(name, 0) for name in names.dictionary.to_pylist()], np.int64)
    coupon = codes[names.indices.to_numpy(zero_copy_only=False)]
    if (coupon == 0).any():
        raise DataError(f"{path}: column 'coupon' is empty in {(coupon == 0).sum():,} rows; list only who was sent one")
    day = seconds // DAY * DAY
    if np.unique(day).size > MOST_MOMENTS:
        raise DataError(
            f"{path}: coupons were sent on {np.unique(day).size:,} days; give the first day of each campaign as its "
            f"time (at most {MOST_MOMENTS})"
        )
    order = np.lexsort((coupon, day, users))
    users, coupon, day = users[order].astype(np.int64), coupon[order], day[order]
    again = np.append(False, (np.diff(users) == 0) & (np.diff(day) == 0))
    notes: tuple[str, ...] = ()
    if again.any():
        notes = (f"{path}: {again.sum():,} rows are of users sent several coupons at once; the first by name counts",)
    return _Sent(users[~again], coupon[~again], day[~again], coupons, notes)


def _rows(
    sent: _Sent, first: np.ndarray, waves: list[int], window: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """User, arm and day of each row: those sent a coupon, and a sample of those who were sent none around that day."""
    parts = []
    for day in waves:
        mine = sent.day == day
        near = np.abs(sent.day - day) < window * DAY
        free = first < day
        free[sent.user[near]] = False
        others = np.flatnonzero(free)
        most = MOST_CONTROLS // len(waves)
        if others.size > most:
            others = np.sort(rng.choice(others, most, replace=False))
        user = np.append(sent.user[mine], others)
        arm = np.append(sent.coupon[mine], np.zeros(others.size, np.int64))
        parts.append((user, arm, np.full(user.size, day)))
    users, arms, days = (np.concatenate(column) for column in zip(*parts, strict=True))
    if not (arms == 0).any():
        raise DataError(
            "everybody who bought was sent a coupon around the same days: there is nobody to compare with. Keep a random "
            "tenth of the users without a coupon next time, and train on that"
        )
    return users, arms, days


def _outcomes(
    past: Past, numbering: Numbering, rows: tuple[np.ndarray, np.ndarray, np.ndarray], waves: list[int], window: int
) -> tuple[np.ndarray, np.ndarray]:
    """`(rows,)` spend in the window, and whether anything was bought."""
    spend, count = (np.zeros((len(waves), len(numbering))) for _ in range(2))
    for lines in past.transactions.lines():
        numbers = numbering.find(lines.user)
        for w, day in enumerate(waves):
            inside = (lines.time >= day) & (lines.time < day + window * DAY) & (numbers >= 0)
            spend[w] += np.bincount(numbers[inside], lines.amount[inside], len(numbering))
            count[w] += np.bincount(numbers[inside], minlength=len(numbering))
    place = np.searchsorted(waves, rows[2])
    return spend[place, rows[0]], (count[place, rows[0]] > 0)
