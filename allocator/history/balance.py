"""Whether the arms of a trial were alike before it: what a coin toss makes so, and a hand-picked list does not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import stats

from allocator.history.trial import TrialTable
from allocator.tables.frames import decoded, one_chunk

MOST_LEVELS = 20  # of a text feature
MOST_ROWS = 500_000  # more tell nothing new of balance
ALARM = 1e-3  # chance, under a coin toss, of a difference this large
LARGE = 0.1  # standard deviations; the rule of thumb where chances differ by user (Austin 2009, doi:10.1002/sim.3697)
TELLTALE = 0.8  # correlation with the outcome above which a feature was hardly known before


@dataclass(frozen=True)
class Difference:
    """A feature's mean in one arm less that in control, in standard deviations."""

    feature: str
    size: float


@dataclass(frozen=True)
class ArmBalance:
    """How alike a coupon's users and the control's were.

    Attributes
    ----------
    coupon
        The arm.
    chance
        How often a coin toss makes the arms differ as much, over all features together; `None` where each user's
        chances are given, since the test does not hold there.
    largest
        The features that differ most, most first.
    noise
        Standard error of these differences under a coin toss.
    """

    coupon: str
    chance: float | None
    largest: tuple[Difference, ...]
    noise: float = 0.0

    @property
    def is_suspect(self) -> bool:
        """Whether this is more than chance explains."""
        if self.chance is not None:
            return self.chance < ALARM
        return bool(self.largest) and abs(self.largest[0].size) > max(LARGE, 4.0 * self.noise)


def balance(trial: TrialTable, more: Mapping[str, np.ndarray] | None = None) -> list[ArmBalance]:
    """Compare each coupon's users with the control's, by the trial's features.

    The omnibus test of Hansen and Bowers (Covariate balance in simple, stratified and clustered comparative studies,
    *Statistical Science* 23, 2008, doi:10.1214/08-STS254): the squared Mahalanobis length of the difference of means is
    chi-squared under random assignment. Where each user's chance is given, means are weighted by its inverse.

    Parameters
    ----------
    more
        Further features by name, `(n,)` numbers, such as profiles.
    """
    names, matrix = _matrix(trial.features, more or {}, len(trial))
    if not names or trial.counts[0] == 0:
        return []
    rows = np.arange(len(trial))
    if rows.size > MOST_ROWS:
        rows = np.random.default_rng(0).choice(rows, MOST_ROWS, replace=False)
    arm, matrix = trial.arm[rows], matrix[rows]
    weight = np.ones(rows.size) if trial.propensity is None else 1.0 / trial.propensity[rows]
    found = []
    for number, coupon in enumerate(trial.coupons, start=1):
        pair = (arm == 0) | (arm == number)
        found.append(_compare(coupon, names, matrix[pair], arm[pair] == number, weight[pair], trial.propensity is None))
    return found


def wrong_shares(trial: TrialTable) -> list[tuple[str, int, float]]:
    """Return arms whose size does not fit the chances given: (arm, rows, rows expected).

    Such a mismatch means that users were lost, or that the chances are not those of the design (Fabijan et al., KDD
    2019, doi:10.1145/3292500.3330722).
    """
    if trial.propensities is None:
        return []
    expected = trial.propensities.sum(axis=0)
    noise = np.sqrt((trial.propensities * (1.0 - trial.propensities)).sum(axis=0))
    odd = np.abs(trial.counts - expected) > 5.0 * noise + 0.5
    return [(trial.arms[k], int(trial.counts[k]), float(expected[k])) for k in np.flatnonzero(odd)]


def telltales(trial: TrialTable) -> list[Difference]:
    """Return numeric features that go with an outcome so closely that they were hardly known before it."""
    names, matrix = _matrix(trial.features, {}, len(trial))
    outcomes = [trial.purchased.astype(float)] + ([] if trial.spend is None else [trial.spend])
    found = []
    for name, column in zip(names, matrix.T, strict=True):
        if column.std() == 0:
            continue
        sizes = [float(np.corrcoef(column, outcome)[0, 1]) for outcome in outcomes if outcome.std() > 0]
        largest = max(sizes, key=abs, default=0.0)
        if abs(largest) > TELLTALE:
            found.append(Difference(name, largest))
    return sorted(found, key=lambda item: -abs(item.size))


def _compare(
    coupon: str, names: list[str], matrix: np.ndarray, treated: np.ndarray, weight: np.ndarray, test: bool
) -> ArmBalance:
    if treated.all() or not treated.any():
        return ArmBalance(coupon, None, ())
    means = [np.average(matrix[side], axis=0, weights=weight[side]) for side in (treated, ~treated)]
    spread = matrix.std(axis=0)
    difference = means[0] - means[1]
    size = np.divide(difference, spread, out=np.zeros_like(difference), where=spread > 0)
    order = np.argsort(-np.abs(size), kind="stable")[:3]
    chance = _chance(matrix, treated, difference) if test else None
    # Weights that differ make a sample worth fewer rows (Kish 1965): the sum squared over the sum of squares.
    worth = [weight[side].sum() ** 2 / (weight[side] ** 2).sum() for side in (treated, ~treated)]
    noise = float(np.sqrt(sum(1.0 / number for number in worth)))
    return ArmBalance(coupon, chance, tuple(Difference(names[j], float(size[j])) for j in order), noise)


def _chance(matrix: np.ndarray, treated: np.ndarray, difference: np.ndarray) -> float:
    """Return P(a difference this large) under random assignment: (n1 n0 / n) d' S^-1 d is chi-squared (equation 6)."""
    n, n1 = treated.size, int(treated.sum())
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(matrix, rowvar=False)))
    kept = values > 1e-9 * max(values.max(), 1e-300)  # dummies of one feature add up to 1
    along = (difference @ vectors[:, kept]) ** 2 / values[kept]
    return float(stats.chi2.sf(n1 * (n - n1) / n * along.sum(), int(kept.sum())))


def _matrix(features: pa.Table, more: Mapping[str, np.ndarray], n: int) -> tuple[list[str], np.ndarray]:
    """Return features as numbers of unit spread, `(n, p)`: gaps filled with the mean and marked, texts by level."""
    names, columns = [], []
    for name in features.column_names:
        for label, column in _numeric(name, one_chunk(decoded(features[name]))):
            names.append(label)
            columns.append(column)
    for name, values in more.items():
        for label, column in _filled(name, np.asarray(values, np.float64)):
            names.append(label)
            columns.append(column)
    spread = [column.std() for column in columns]
    kept = [j for j, s in enumerate(spread) if s > 0]
    matrix = np.column_stack([(columns[j] - columns[j].mean()) / spread[j] for j in kept]) if kept else np.empty((n, 0))
    return [names[j] for j in kept], matrix


def _numeric(name: str, column: pa.Array) -> Iterator[tuple[str, np.ndarray]]:
    kind = column.type
    if (
        pa.types.is_boolean(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
    ):
        whole = column.cast(pa.int8()) if pa.types.is_boolean(kind) else column
        yield from _filled(name, np.array(whole.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)))
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        counts = pc.value_counts(column).to_pylist()
        ordered = sorted(counts, key=lambda item: (-item["counts"], str(item["values"])))
        if len(ordered) == len(column):
            return  # a name, not a feature
        for item in ordered[:MOST_LEVELS]:
            same = column.is_null() if item["values"] is None else pc.fill_null(pc.equal(column, item["values"]), False)
            yield f"{name} = {item['values']}", np.asarray(same).astype(float)


def _filled(name: str, values: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    gaps = ~np.isfinite(values)
    if gaps.all():
        return
    if gaps.any():
        values = np.where(gaps, values[~gaps].mean(), values)
        yield f"{name} missing", gaps.astype(float)
    yield name, values
