"""Columns of a table as features that a rule can be written in: bins with their words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from allocator.tables.frames import decoded, is_text, one_chunk, values_type

MOST_BINS = 64  # of a number: cuts at every 1.6 % of the users
MOST_LEVELS = 40  # of a text; rarer ones are put together
MOST_NAMED = 4  # levels that a rule lists
SAMPLE = 100_000  # values that the cuts of a number are taken from
DAY = 86_400e6  # microseconds
UNKNOWN = "unknown"
REST = "(others)"


@dataclass(frozen=True, eq=False)
class Feature:
    """A column, cut into bins.

    Attributes
    ----------
    bins
        `(n,)` uint8: the bin of each row; 0 where nothing is known.
    n_bins
        Number of bins, that of the unknown counted.
    ordered
        Whether only neighbouring bins go together (numbers, dates); else any (levels).
    words
        Says which rows lie in some bins: given `(n_bins,)` bool and the rows looked at, returns `age <= 40`.
    """

    name: str
    bins: np.ndarray
    n_bins: int
    ordered: bool
    words: Callable[[np.ndarray, np.ndarray], str]


def features(table: pa.Table) -> tuple[list[Feature], list[str]]:
    """Return a table's columns as features, and the names of those that no rule can be written in.

    These are texts that are nearly all different, lists, and columns that say the same of everybody.
    """
    found, left = [], []
    for name in table.column_names:
        feature = _feature(name, table[name])
        if feature is None:
            left.append(name)
        else:
            found.append(feature)
    return found, left


def _feature(name: str, column: pa.ChunkedArray) -> Feature | None:
    kind = values_type(column.type)
    if pa.types.is_temporal(kind) and not pa.types.is_time(kind) and not pa.types.is_duration(kind):
        moments = decoded(column).cast(pa.timestamp("us"), safe=False).cast(pa.int64()).cast(pa.float64())
        return _numeric(name, _floats(moments), _round_day, _day_text)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return _numeric(name, _floats(decoded(column)), _round_number, _number_text)
    if is_text(kind) or pa.types.is_boolean(kind):
        return _levels(name, column)
    return None


def _floats(column: pa.ChunkedArray) -> np.ndarray:
    return column.cast(pa.float64(), safe=False).to_numpy().astype(np.float64, copy=False)


def _numeric(
    name: str, numbers: np.ndarray, rounded: Callable[[np.ndarray], np.ndarray], as_text: Callable[[float], str]
) -> Feature | None:
    known = np.isfinite(numbers)
    values = numbers[known]
    if not values.size:
        return None
    # Evenly spaced rows, not the first: tables are often sorted.
    cuts = np.unique(values[:: max(1, values.size // SAMPLE)])
    if cuts.size > MOST_BINS:
        # Cuts at round numbers, so that a rule says exactly where it cuts.
        quantiles = np.quantile(cuts if values.size == cuts.size else values, np.linspace(0.0, 1.0, MOST_BINS)[1:-1])
        cuts = np.unique(rounded(quantiles))
    cuts = cuts[cuts < values.max()]
    bins = (np.searchsorted(cuts, numbers, side="left") + 1).astype(np.uint8)
    bins[~known] = 0
    if bins.min() == bins.max():
        return None

    def words(inside: np.ndarray, rows: np.ndarray) -> str:
        filled = np.flatnonzero(np.bincount(bins[rows], minlength=inside.size))
        unknown = " or unknown" if inside[0] and filled[0] == 0 else ""
        filled = filled[filled > 0]
        within = inside[filled]
        if not within.any() or within.all():
            return f"{name} {'known' if within.any() else 'unknown'}"
        low = filled[within] if within[0] else filled[~within]
        cut = as_text(float(cuts[low[-1] - 1]))
        return f"{name} {'<=' if within[0] else '>'} {cut}{unknown}"

    return Feature(name, bins, cuts.size + 2, True, words)


def _levels(name: str, column: pa.ChunkedArray) -> Feature | None:
    coded = one_chunk(
        (column if pa.types.is_dictionary(column.type) else column.dictionary_encode()).unify_dictionaries()
    )
    code = coded.indices.fill_null(len(coded.dictionary)).to_numpy().astype(np.int64)
    counts = np.bincount(code, minlength=len(coded.dictionary) + 1)
    filled = int((counts[:-1] > 0).sum())
    if filled > max(MOST_LEVELS, code.size // 10) or np.count_nonzero(counts) < 2:
        return None
    common = np.argsort(-counts[:-1], kind="stable")[: MOST_LEVELS if filled > MOST_LEVELS else filled]
    bin_of = np.full(counts.size, common.size + 1, np.uint8)
    bin_of[common] = np.arange(1, common.size + 1)
    bin_of[-1] = 0
    named = [UNKNOWN, *(_level(coded.dictionary[int(c)].as_py()) for c in common), REST]
    bins = bin_of[code]

    def words(inside: np.ndarray, rows: np.ndarray) -> str:
        filled = np.bincount(bins[rows], minlength=inside.size) > 0
        chosen = [named[b] for b in np.flatnonzero(inside & filled)]
        left = [named[b] for b in np.flatnonzero(~inside & filled)]
        if len(chosen) > MOST_NAMED >= len(left):
            return f"{name} is {'not' if len(left) == 1 else 'neither'} {' nor '.join(left)}"
        more = f" or {len(chosen) - MOST_NAMED} more" if len(chosen) > MOST_NAMED else ""
        return f"{name} is {' or '.join(chosen[:MOST_NAMED])}{more}"

    return Feature(name, bins, len(named), False, words)


def _level(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _round_number(numbers: np.ndarray) -> np.ndarray:
    return np.array([float(f"{number:.3g}") for number in numbers])


def _number_text(number: float) -> str:
    return f"{number:,.0f}" if number.is_integer() and abs(number) < 1e15 else f"{number:.15g}"


def _round_day(moments: np.ndarray) -> np.ndarray:
    return np.ceil(moments / DAY) * DAY - 1.0  # the last microsecond of the day


def _day_text(moment: float) -> str:
    stamp = np.datetime64(int(moment), "us")
    day = stamp.astype("datetime64[D]")
    return str(day) if (int(moment) + 1) % int(DAY) == 0 or stamp == day else str(stamp.astype("datetime64[s]"))
