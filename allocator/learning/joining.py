"""Joins a trial with what was known of its users: profiles from transactions, and attributes from a users table."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from allocator.errors import DataError
from allocator.history import Faults, ProfileSchema, Users
from allocator.learning.past import Past, as_moment
from allocator.learning.trials import TrialArrays, feature
from allocator.progress import Progress, silent
from allocator.tables.frames import is_text
from allocator.tables.origin import Origin

MOST_NAMED = 8  # columns in a note
MOST_MOMENTS = 60  # each is a pass over the transactions


def joined(
    table: TrialArrays, users: Users | None, past: Past | None, start: Any, ignore: tuple[str, ...], progress: Progress
) -> tuple[TrialArrays, ProfileSchema | None]:
    """Join attributes and profiles, as far as they are there; see `with_users` and `with_history`."""
    profile = None
    if users is not None:
        table = with_users(table, users, ignore)
    if past is not None:
        table, profile = with_history(table, past, start, progress)
    return table, profile


def with_history(
    table: TrialArrays, past: Past, start: Any, progress: Progress = silent
) -> tuple[TrialArrays, ProfileSchema]:
    """Add profiles, each of what was known before the user's offer.

    Raises
    ------
    DataError
        Where the trial has no ids, a time is missing, or a profile's name is taken.
    UsageError
        Where nobody says when the trial began.
    """
    if table.user_ids is None:
        raise DataError(f"{table.source}: column 'user_id' is missing; profiles are joined by it")
    ids = table.user_ids
    if table.from_csv and "user_id" in past.transactions.text_ids:
        ids = ids.cast(pa.string())  # in a CSV file an id is a number only where all of its neighbours are
    when = _moments(table, start)
    schema: ProfileSchema | None = None
    faults = Faults()
    made: dict[str, np.ndarray] = {}
    moments = np.unique(when)
    # The latest first: its categories are the ones that a future campaign will see.
    for at in moments[::-1]:
        rows = np.flatnonzero(when == at)
        profiles = past.profiles(ids.take(pa.array(rows)), int(at), schema, progress)
        schema = profiles.schema
        faults = profiles.faults if profiles.faults.rows > faults.rows else faults
        for name, values in profiles.columns().items():
            made.setdefault(name, np.empty(len(table)))[rows] = values
    assert schema is not None
    whole = _joined(table, made, "profiles")
    notes = (*table.notes, *past.notes, *faults.told(past.transactions.path))
    return dataclasses.replace(whole, notes=notes), schema


def with_users(table: TrialArrays, users: Users, ignore: tuple[str, ...] = ()) -> TrialArrays:
    """Add the attributes of a users table; raises `DataError` where a user of the trial is not there.

    An attribute that the trial has too stays the trial's: that was known then, the users table may be of today.
    """
    both = [name for name in users.attributes if name in table.features]
    fresh = [name for name in users.attributes if name not in both and name not in ignore]
    notes = (*table.notes, *users.notes)
    if both:
        words = f"{table.source} and {users.path} both have {', '.join(both[:MOST_NAMED])}"
        more = f" and {len(both) - MOST_NAMED} more" if len(both) > MOST_NAMED else ""
        notes = (*notes, f"{words}{more}: those of the trial are learned from")
    table = dataclasses.replace(table, notes=notes)
    if not fresh:
        return table
    if table.user_ids is None:
        raise DataError(f"{table.source}: column 'user_id' is missing; {users.path} is joined by it")
    ids, theirs = table.user_ids, users.user_ids
    if is_text(theirs.type) and table.from_csv:
        ids = ids.cast(pa.string())
    if is_text(ids.type) and users.from_csv:
        theirs = theirs.cast(pa.string())
    if is_text(ids.type) != is_text(theirs.type):
        raise DataError(
            f"{users.path}: user_id is {theirs.type} here but {ids.type} in {table.source}; write both alike"
        )
    row = pc.index_in(ids.cast(theirs.type), value_set=theirs)
    if row.null_count:
        missing = ids.filter(pc.is_null(row))[:3].to_pylist()
        raise DataError(
            f"{users.path}: {row.null_count:,} users of {table.source} are not there (e.g. {', '.join(map(str, missing))})"
        )
    origin = Origin.of(users.table)
    rows = {name: feature(users.table[name], name, users.path, origin) for name in fresh}
    place = row.to_numpy(zero_copy_only=False)
    found = {name: values[place] for name, values in rows.items()}
    return _joined(table, found, users.path)


def _joined(table: TrialArrays, columns: dict[str, np.ndarray], source: str) -> TrialArrays:
    taken = sorted(set(columns) & set(table.features))
    if taken:
        raise DataError(
            f"{table.source}: column {taken[0]!r} is also a column of {source}; leave one out: --ignore {taken[0]}"
        )
    return dataclasses.replace(table, features={**table.features, **columns})


def _moments(table: TrialArrays, start: Any) -> np.ndarray:
    """`(n,)` seconds: when each user's campaign began."""
    if table.time is None:
        return np.full(len(table), as_moment(start, table.source), dtype=np.int64)
    day = table.time // 86_400 * 86_400  # offers of one day see what was known before that day
    if np.unique(day).size > MOST_MOMENTS:
        raise DataError(
            f"{table.source}: offers began on {np.unique(day).size:,} days; profiles are made for up to {MOST_MOMENTS}: "
            "give the first day of each wave as its time"
        )
    return day
