"""Trials in Parquet files that are too large for memory: read chunk by chunk, with one random sample that is held."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from uplift.errors import TrialError
from uplift.features import Features
from uplift.trial import OutcomeKind, Terms, Trial

CHUNK = 131_072  # rows in memory at once


@dataclass(frozen=True)
class Rows:
    """Some rows of the files.

    Attributes
    ----------
    number
        `(n,)` int64 position among all rows of all files.
    features, arm, outcome, weight
        As in `Trial`.
    """

    number: np.ndarray
    features: Features
    arm: np.ndarray
    outcome: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True)
class TrialFiles:
    """A randomised trial in Parquet files. Build one with `create`, which reads the files once and checks every row.

    Attributes
    ----------
    paths
        In order.
    features, arm, outcome, weight
        Columns; `weight` may be `None`.
    kind
        Binary or count.
    propensity
        `(arms,)` chances by design.
    terms
        Of the coupons; `None` where nothing is known of them.
    users
        Number of rows.
    """

    paths: tuple[Path, ...]
    features: tuple[str, ...]
    arm: str
    outcome: str
    weight: str | None
    kind: OutcomeKind
    propensity: tuple[float, ...]
    terms: Terms | None
    users: int

    @classmethod
    def create(
        cls,
        paths: str | Path | Sequence[str | Path],
        *,
        features: Sequence[str],
        arm: str,
        outcome: str,
        kind: OutcomeKind | str | None = None,
        propensity: Sequence[float] | None = None,
        weight: str | None = None,
        terms: Terms | None = None,
    ) -> TrialFiles:
        """Check a trial in files; a folder stands for all `*.parquet` files in it.

        Parameters
        ----------
        arm
            Column of whole numbers: 0 control, 1 ... the coupons.
        outcome
            Column of numbers >= 0: purchases or counts. Money is not learned from files.
        propensity
            `(arms,)` by design; by default the shares of the arms.

        Raises
        ------
        TrialError
            Says which file and column is wrong, and what to do; also where the rows come sorted by arm, since a chunk
            of one arm teaches nothing.
        """
        found = _listed(paths)
        blank = cls(found, tuple(features), arm, outcome, weight, OutcomeKind.COUNT, (), terms, 0)
        counts, whole, largest, users = np.zeros(0, dtype=np.int64), True, 0.0, 0
        seen: list[np.ndarray] = []
        for rows in blank.read():
            mine = np.bincount(rows.arm)
            counts = np.pad(counts, (0, max(0, mine.size - counts.size)))
            counts[: mine.size] += mine
            whole = whole and bool((rows.outcome == np.round(rows.outcome)).all())
            largest, users = max(largest, float(rows.outcome.max())), users + rows.arm.size
            seen.append(mine)
        _in_no_order(seen, counts, found)
        arms = counts.size if terms is None else len(terms) + 1
        chances = tuple(counts / counts.sum()) if propensity is None else tuple(float(p) for p in propensity)
        # The checks of a trial in memory, on one row an arm.
        one = np.arange(arms)
        if counts.size > arms or (np.pad(counts, (0, arms - counts.size)) == 0).any():
            raise TrialError(
                f"the files have users in arms {np.flatnonzero(counts).tolist()}; there must be {arms} arms"
            )
        Trial.create(np.zeros((arms, 1)), one, np.zeros(arms), propensity=chances, terms=terms)
        return cls(found, tuple(features), arm, outcome, weight, _kind(kind, whole, largest), chances, terms, users)

    @property
    def key(self) -> str:
        """Hash of names, sizes and times of the files, and of what is read from them."""
        stamps = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in self.paths]
        columns = (self.features, self.arm, self.outcome, self.weight, str(self.kind), self.propensity)
        return hashlib.sha256(repr((stamps, columns)).encode()).hexdigest()

    def read(self, order: np.random.Generator | None = None, size: int = CHUNK) -> Iterator[Rows]:
        """Yield all rows once, at most `size` at a time; with `order` row groups come in a random order."""
        import pyarrow as pa

        groups = self._groups()
        turns = np.arange(len(groups)) if order is None else order.permutation(len(groups))
        parts: list[Any] = []
        numbers: list[np.ndarray] = []
        held = 0
        for turn in turns:
            path, group, first = groups[turn]
            for batch in self._open(path).iter_batches(size, row_groups=[group], columns=self._columns):
                position = 0
                while position < batch.num_rows:
                    piece = batch.slice(position, size - held)
                    parts.append(piece)
                    numbers.append(first + position + np.arange(piece.num_rows))
                    position, held = position + piece.num_rows, held + piece.num_rows
                    if held == size:
                        yield self._rows(pa.Table.from_batches(parts), np.concatenate(numbers))
                        parts, numbers, held = [], [], 0
                first += batch.num_rows
        if parts:
            yield self._rows(pa.Table.from_batches(parts), np.concatenate(numbers))

    def sample(self, users: int, seed: int) -> tuple[Trial, np.ndarray]:
        """Draw about `users` users at random, always the same with a seed; also return their row numbers."""
        share = min(1.0, users / self.users)
        kept: list[Rows] = []
        for rows in self.read():
            mine = np.flatnonzero(drawn(rows.number, seed) < share)
            kept.append(
                Rows(rows.number[mine], rows.features.take(mine), rows.arm[mine], rows.outcome[mine], rows.weight[mine])
            )
        columns = tuple(np.concatenate(parts) for parts in zip(*(rows.features.columns for rows in kept), strict=True))
        trial = Trial.create(
            Features(self.features, columns),
            np.concatenate([rows.arm for rows in kept]),
            np.concatenate([rows.outcome for rows in kept]),
            kind=self.kind,
            propensity=self.propensity,
            weight=np.concatenate([rows.weight for rows in kept]),
            terms=self.terms,
        )
        return trial, np.concatenate([rows.number for rows in kept])

    @property
    def _columns(self) -> list[str]:
        return list(dict.fromkeys([*self.features, self.arm, self.outcome, *([self.weight] if self.weight else [])]))

    def _open(self, path: Path) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            file = pq.ParquetFile(path)
        except (OSError, pa.ArrowInvalid) as error:
            raise TrialError(f"{path} cannot be read as Parquet: {error}") from error
        absent = [name for name in self._columns if name not in file.schema_arrow.names]
        if absent:
            raise TrialError(f"{path} has no column {absent[0]!r}; it has {', '.join(file.schema_arrow.names[:12])}")
        return file

    def _groups(self) -> list[tuple[Path, int, int]]:
        """Row groups: file, number in it, and number of its first row among all rows."""
        found, first = [], 0
        for path in self.paths:
            about = self._open(path).metadata
            for group in range(about.num_row_groups):
                found.append((path, group, first))
                first += about.row_group(group).num_rows
        return found

    def _rows(self, table: Any, number: np.ndarray) -> Rows:
        columns = {name: _column(table[name]) for name in self._columns}
        arm, outcome = columns[self.arm], columns[self.outcome]
        weight = np.ones(number.size) if self.weight is None else columns[self.weight]
        self._check(self.arm, arm, lambda x: np.equal(x, np.round(x)) & (x >= 0), "whole numbers from 0", number)
        self._check(self.outcome, outcome, lambda x: np.isfinite(x) & (x >= 0), "numbers of at least 0", number)
        if self.weight is not None:
            self._check(self.weight, weight, lambda x: np.isfinite(x) & (x > 0), "numbers above 0", number)
        for name in self.features:
            if columns[name].dtype.kind == "f":
                self._check(name, columns[name], lambda x: ~np.isinf(x), "finite numbers (or none)", number)
        features = Features.create({name: columns[name] for name in self.features})
        return Rows(number, features, arm.astype(np.int64), outcome, weight)

    def _check(
        self, name: str, column: np.ndarray, good: Callable[[np.ndarray], np.ndarray], what: str, number: np.ndarray
    ) -> None:
        bad = np.ones(number.size, dtype=bool) if column.dtype.kind != "f" else ~good(column)
        if not bad.any():
            return
        first = int(number[bad][0])
        path, start = max(((p, f) for p, g, f in self._groups() if g == 0 and f <= first), key=lambda found: found[1])
        rows = ", ".join(f"{row - start:,} ({column[number == row][0]})" for row in number[bad][:3])
        raise TrialError(
            f"{path}: column {name!r} must hold {what}; {bad.sum():,} rows of a chunk do not, such as row {rows}. "
            "Correct the file or leave these rows out"
        )


def _listed(paths: str | Path | Sequence[str | Path]) -> tuple[Path, ...]:
    given = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    found = [file for path in given for file in (sorted(path.glob("*.parquet")) if path.is_dir() else [path])]
    absent = [path for path in found if not path.is_file()]
    if absent or not found:
        raise TrialError(
            f"{(absent or given)[0]} holds no Parquet file" if not absent else f"{absent[0]} does not exist"
        )
    return tuple(found)


def _column(column: Any) -> np.ndarray:
    """Numbers as float64 with NaN, all else as text with `None`."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False))
    return np.array(column.cast(pa.string()).to_pylist(), dtype=object)


def _in_no_order(chunks: list[np.ndarray], counts: np.ndarray, paths: tuple[Path, ...]) -> None:
    overall = counts / max(counts.sum(), 1)
    for chunk in chunks:
        users = max(chunk.sum(), 1)
        apart = np.abs(np.pad(chunk, (0, overall.size - chunk.size)) / users - overall)
        # Half of the arm's share, and far beyond chance.
        if (apart > np.maximum(0.5 * overall, 8.0 * np.sqrt(overall / users))).any():
            raise TrialError(f"{paths[0].parent}: rows are sorted by arm or nearly so; write them in a random order")


def _kind(kind: OutcomeKind | str | None, whole: bool, largest: float) -> OutcomeKind:
    if not whole:
        raise TrialError("the outcome is money; from files, purchases and counts can be learned. Sample it into memory")
    if kind is None:
        return OutcomeKind.BINARY if largest <= 1 else OutcomeKind.COUNT
    asked = OutcomeKind(kind)
    if asked is OutcomeKind.MONEY or (asked is OutcomeKind.BINARY and largest > 1):
        raise TrialError(f"kind {asked.value!r} does not fit an outcome of whole numbers up to {largest:g} from files")
    return asked


def drawn(number: np.ndarray, seed: int) -> np.ndarray:
    """`(n,)` numbers from 0 to 1 that depend on the row number and the seed alone (SplitMix64: Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        z = number.astype(np.uint64) + np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return np.asarray((z >> np.uint64(11)).astype(np.float64) * 2.0**-53)
