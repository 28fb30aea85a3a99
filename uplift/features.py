"""Features of users as named columns, and the schema that turns them into numbers and remembers how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.special import ndtri

from uplift.errors import TrialError

MAX_LEVELS = 30  # levels of a categorical feature that get a column of their own; the rest share one
_KNOTS = 65  # quantiles that a numeric feature is ranked by
_DRIFT_BINS = 10
DRIFT_ALARM = 0.2  # population stability index that practice calls a shift


@dataclass(frozen=True, eq=False)
class Features:
    """Named columns of equal length.

    Attributes
    ----------
    columns
        One `(n,)` array a feature: float64 with NaN where missing, or object (text) with `None` where missing.
    pairs
        `(n, coupons, d)` float64, NaN where missing: what is known of each user together with each coupon, such as how
        likely the user is to buy from the coupon's scope anyway. `None` without.
    """

    names: tuple[str, ...]
    columns: tuple[np.ndarray, ...]
    pairs: np.ndarray | None = None

    @classmethod
    def create(cls, source: Any, names: Sequence[str] | None = None, pairs: Any = None) -> Features:
        """Take an `(n, p)` array of numbers, or a mapping (or data frame) of names to `(n,)` columns.

        Columns of text, bools or categories are categorical; numbers may be missing (NaN). `pairs` `(n, coupons, d)` are
        numbers; by default those of `source` where it is `Features` that have them.

        Raises
        ------
        TrialError
            Where shapes differ, a column is no column, or a number is infinite.
        """
        if isinstance(source, Features):
            return source if pairs is None else cls(source.names, source.columns, _clean_pairs(pairs, len(source)))
        if isinstance(source, Mapping) or hasattr(source, "items"):
            named = [(str(name), _as_array(column)) for name, column in source.items()]
        else:
            table = np.asarray(source)
            if table.ndim != 2:
                raise TrialError(f"features have {table.ndim} dimensions; give an (n, p) array or a mapping of columns")
            titles = [f"x{j}" for j in range(table.shape[1])] if names is None else [str(name) for name in names]
            if len(titles) != table.shape[1]:
                raise TrialError(f"{len(titles)} names for {table.shape[1]} features")
            named = [(title, table[:, j]) for j, title in enumerate(titles)]
        if not named:
            raise TrialError("there are no features; give at least one column")
        if len({name for name, _ in named}) != len(named):
            raise TrialError("two features have the same name")
        columns = tuple(_clean(name, column) for name, column in named)
        sizes = {column.size for column in columns}
        if len(sizes) > 1:
            raise TrialError(f"features differ in length: {sorted(sizes)}")
        return cls(tuple(name for name, _ in named), columns, _clean_pairs(pairs, columns[0].size))

    def __len__(self) -> int:
        """Return the number of users."""
        return int(self.columns[0].size)

    def take(self, rows: np.ndarray | slice) -> Features:
        """Return these rows (indices, mask or slice)."""
        pairs = None if self.pairs is None else self.pairs[rows]
        return Features(self.names, tuple(column[rows] for column in self.columns), pairs)

    def replace(self, name: str, column: np.ndarray) -> Features:
        """Return the same features with one column exchanged."""
        j = self.names.index(name)
        columns = (*self.columns[:j], _clean(name, column), *self.columns[j + 1 :])
        return Features(self.names, columns, self.pairs)

    def paired(self, coupons: int) -> np.ndarray:
        """Return `pairs` of so many coupons; raises `TrialError` where there are none or of another number."""
        if self.pairs is None:
            raise TrialError(
                "the model was trained with pair features: give pair_features, (users, coupons, d), to predict too"
            )
        if self.pairs.shape[1] != coupons:
            raise TrialError(f"pair_features are of {self.pairs.shape[1]} coupons; there are {coupons}")
        return self.pairs


def _clean_pairs(pairs: Any, n: int) -> np.ndarray | None:
    if pairs is None:
        return None
    values = np.asarray(pairs)
    if values.ndim != 3 or values.shape[0] != n or values.shape[2] == 0 or values.dtype.kind not in "iufb":
        raise TrialError(
            f"pair_features have shape {values.shape} and type {values.dtype}; give numbers, ({n}, coupons, d)"
        )
    numbers = values.astype(np.float64)
    if np.isinf(numbers).any():
        row = int(np.isinf(numbers).any(axis=(1, 2)).argmax())
        raise TrialError(f"pair_features: infinite values (first in row {row}); use NaN where a number is missing")
    return numbers


def _as_array(column: Any) -> np.ndarray:
    """A column as NumPy has it; what pandas marks as missing is no number and no text."""
    kind = getattr(getattr(column, "dtype", None), "kind", "O")
    if not hasattr(column, "isna") or kind in "mM":
        return np.asarray(column)
    if kind in "iuf":
        return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
    texts = np.array(column, dtype=object)
    texts[np.asarray(column.isna(), dtype=bool)] = None
    return texts


def _clean(name: str, column: np.ndarray) -> np.ndarray:
    if column.ndim != 1:
        raise TrialError(f"feature {name!r} has {column.ndim} dimensions; give one number or text a user")
    if column.dtype.kind in "iuf":
        numbers = column.astype(np.float64)
        bad = np.isinf(numbers)
        if bad.any():
            raise TrialError(
                f"feature {name!r}: {bad.sum():,} infinite values (first in row {int(bad.argmax())}); "
                "use NaN where a number is missing"
            )
        return numbers
    if column.dtype.kind in "OUSb":
        # NaN is the only value that differs from itself: pandas marks a missing text with it.
        missing = np.array([value is None or value != value for value in column], dtype=bool)
        texts = np.array([str(value) for value in column], dtype=object)
        texts[missing] = None
        return texts
    raise TrialError(f"feature {name!r} has type {column.dtype}; give numbers or text (dates as numbers of days)")


@dataclass(frozen=True)
class NumericColumn:
    """How a numeric feature becomes normal scores: `knots` are quantiles, `scores` the normal scores of their ranks."""

    name: str
    knots: tuple[float, ...]
    scores: tuple[float, ...]
    shares: tuple[float, ...]  # of the training users between the deciles, then missing: for drift
    edges: tuple[float, ...]
    missing: bool

    @property
    def width(self) -> int:
        """Number of encoded columns."""
        return 1 + self.missing

    @classmethod
    def fit(cls, name: str, column: np.ndarray) -> NumericColumn:
        """Remember the ranks of a column."""
        present = np.sort(column[~np.isnan(column)])
        if present.size == 0:
            return cls(name, (0.0,), (0.0,), (0.0, 1.0), (), True)
        levels, first, counts = np.unique(present, return_index=True, return_counts=True)
        if levels.size > _KNOTS:
            positions = np.unique(np.linspace(0, levels.size - 1, _KNOTS).round().astype(int))
            # Equal shares of users between knots, not equal numbers of levels.
            quantiles = np.quantile(present, np.linspace(0.0, 1.0, _KNOTS), method="nearest")
            positions = np.unique(np.searchsorted(levels, np.unique(quantiles)))
        else:
            positions = np.arange(levels.size)
        ranks = (first[positions] + counts[positions] / 2.0) / present.size
        scores = ndtri(np.clip(ranks, 0.5 / present.size, 1.0 - 0.5 / present.size))
        mean = np.interp(present, levels[positions], scores)
        scores = (scores - mean.mean()) / (mean.std() or 1.0)
        edges = np.unique(np.quantile(present, np.linspace(0.0, 1.0, _DRIFT_BINS + 1)[1:-1]))
        shares = _shares(column, edges)
        return cls(
            name,
            tuple(levels[positions].tolist()),
            tuple(np.clip(scores, -3.0, 3.0).tolist()),
            tuple(shares.tolist()),
            tuple(edges.tolist()),
            bool(present.size < column.size),
        )

    def encode(self, column: np.ndarray) -> np.ndarray:
        """`(n,)` -> `(n, width)` float32; a missing number is the average, and says so where training had any."""
        missing = np.isnan(column)
        values = np.where(missing, 0.0, np.interp(np.where(missing, self.knots[0], column), self.knots, self.scores))
        parts = [values, missing.astype(np.float64)] if self.missing else [values]
        return np.column_stack(parts).astype(np.float32)

    def drift(self, column: np.ndarray) -> float:
        """Return the population stability index against the training users."""
        return _stability(np.array(self.shares), _shares(column, np.array(self.edges)))

    def unseen(self, column: np.ndarray) -> float:
        """Return the share of users below or above everything that training saw, or missing where it saw none."""
        low, high = self.knots[0], self.knots[-1]
        strange = (column < low) | (column > high)
        if not self.missing:
            strange |= np.isnan(column)
        return float(strange.mean())


@dataclass(frozen=True)
class CategoricalColumn:
    """How a categorical feature becomes indicators: one a level, one for all rarer or unseen, one for missing."""

    name: str
    levels: tuple[str, ...]
    shares: tuple[float, ...]  # of the levels, then others, then missing
    rare: tuple[str, ...]  # levels that training saw but pooled

    @property
    def width(self) -> int:
        """Number of encoded columns."""
        return len(self.levels) + 2

    @classmethod
    def fit(cls, name: str, column: np.ndarray) -> CategoricalColumn:
        """Remember the most frequent levels of a column."""
        values, counts = np.unique(column[column != None].astype(str), return_counts=True)  # noqa: E711 (elementwise)
        order = np.lexsort((values, -counts))
        levels = tuple(str(value) for value in values[order[:MAX_LEVELS]])
        rare = tuple(sorted(str(value) for value in values[order[MAX_LEVELS:]]))
        blank = cls(name, levels, (), rare)
        return cls(name, levels, tuple(blank.encode(column).mean(axis=0).tolist()), rare)

    def encode(self, column: np.ndarray) -> np.ndarray:
        """`(n,)` -> `(n, width)` float32 indicators."""
        index = {level: j for j, level in enumerate(self.levels)}
        others, missing = len(self.levels), len(self.levels) + 1
        codes = np.array([missing if value is None else index.get(value, others) for value in column], dtype=np.int64)
        out = np.zeros((column.size, self.width), dtype=np.float32)
        out[np.arange(column.size), codes] = 1.0
        return out

    def drift(self, column: np.ndarray) -> float:
        """Return the population stability index against the training users."""
        return _stability(np.array(self.shares), self.encode(column).mean(axis=0))

    def unseen(self, column: np.ndarray) -> float:
        """Return the share of users with a level that training never saw."""
        known = {*self.levels, *self.rare, None}
        return float(np.mean([value not in known for value in column])) if column.size else 0.0


def _shares(column: np.ndarray, edges: np.ndarray) -> np.ndarray:
    missing = np.isnan(column)
    bins = np.bincount(np.searchsorted(edges, column[~missing], side="right"), minlength=edges.size + 1)
    return np.append(bins, missing.sum()) / max(column.size, 1)


def _stability(expected: np.ndarray, actual: np.ndarray) -> float:
    floor = 1e-4
    p, q = np.maximum(expected, floor), np.maximum(actual, floor)
    return float(((q - p) * np.log(q / p)).sum())


@dataclass(frozen=True)
class DriftReport:
    """How users at prediction differ from those of training.

    Attributes
    ----------
    names
        Features.
    index
        Population stability index of each; above 0.2 is a shift.
    unseen
        Share of users with a level or a range that training never saw.
    """

    names: tuple[str, ...]
    index: tuple[float, ...]
    unseen: tuple[float, ...]

    def warnings(self) -> tuple[str, ...]:
        """Return one sentence a feature that has moved."""
        lines = []
        for name, index, unseen in zip(self.names, self.index, self.unseen, strict=True):
            if index > DRIFT_ALARM:
                lines.append(f"feature {name!r} has shifted since training (stability index {index:.2f})")
            if unseen > 0.01:
                lines.append(f"feature {name!r}: {100 * unseen:.1f} % of users have values that training never saw")
        return tuple(lines)


@dataclass(frozen=True)
class Schema:
    """How every feature is encoded; made from the training users, kept with the model."""

    columns: tuple[NumericColumn | CategoricalColumn, ...]

    @classmethod
    def fit(cls, features: Features) -> Schema:
        """Remember ranks and levels."""
        made: list[NumericColumn | CategoricalColumn] = []
        for name, column in zip(features.names, features.columns, strict=True):
            kind = NumericColumn if column.dtype.kind == "f" else CategoricalColumn
            made.append(kind.fit(name, column))
        return cls(tuple(made))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features."""
        return tuple(column.name for column in self.columns)

    @property
    def width(self) -> int:
        """Number of encoded columns."""
        return sum(column.width for column in self.columns)

    def encode(self, source: Any) -> np.ndarray:
        """Features -> `(n, width)` float32 of order 1.

        Raises
        ------
        TrialError
            Where a feature is missing or of another kind than in training.
        """
        return np.hstack([column.encode(values) for column, values in self._matched(source)])

    def drift(self, source: Any) -> DriftReport:
        """Compare users with those of training."""
        matched = self._matched(source)
        return DriftReport(
            self.names,
            tuple(column.drift(values) for column, values in matched),
            tuple(column.unseen(values) for column, values in matched),
        )

    def table(self, source: Any, pairs: Any = None) -> Features:
        """Features as they come, an array's columns under the names of training."""
        is_table = isinstance(source, Features | Mapping) or hasattr(source, "items")
        return Features.create(source, None if is_table else self.names, pairs)

    def _matched(self, source: Any) -> list[tuple[Any, np.ndarray]]:
        features = self.table(source)
        given = dict(zip(features.names, features.columns, strict=True))
        absent = [name for name in self.names if name not in given]
        if absent:
            raise TrialError(f"the model was trained with features that are not given: {', '.join(absent[:5])}")
        matched = []
        for column in self.columns:
            values = given[column.name]
            numeric = values.dtype.kind == "f"
            if not numeric and isinstance(column, NumericColumn) and all(value is None for value in values):
                values, numeric = np.full(values.size, np.nan), True
            if numeric != isinstance(column, NumericColumn):
                wanted = "numbers" if isinstance(column, NumericColumn) else "text"
                raise TrialError(f"feature {column.name!r} was {wanted} in training")
            matched.append((column, values))
        return matched

    def to_json(self) -> list[dict[str, Any]]:
        """Return plain lists and numbers."""
        return [{"kind": type(column).__name__, **asdict(column)} for column in self.columns]

    @classmethod
    def from_json(cls, document: list[dict[str, Any]]) -> Schema:
        """Read what `to_json` wrote; raises `KeyError` or `TypeError` on anything else."""
        kinds: dict[str, Any] = {kind.__name__: kind for kind in (NumericColumn, CategoricalColumn)}
        made = []
        for entry in document:
            fields: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()
            }
            made.append(kinds[str(fields.pop("kind"))](**fields))
        return cls(tuple(made))
