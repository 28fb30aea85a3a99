"""How good a ranking is, user by user; and how good probabilities are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse, stats

Floats = npt.NDArray[np.float64]


def rank_metrics(items: npt.NDArray[np.integer[Any]], targets: sparse.csr_matrix) -> dict[str, Floats]:
    """Return the metrics of each user's ranked items, `(users, N)` with -1 for none, against its targets.

    precision, recall, f1, ndcg, map and hit_rate at N, each `(users,)`. NDCG has binary gains and the ideal of min(N,
    targets) hits (Järvelin & Kekäläinen 2002, doi:10.1145/582415.582418); MAP divides by min(N, targets) too.
    """
    n_users, n = items.shape
    row = np.repeat(np.arange(n_users), n)
    place = np.maximum(items, 0).ravel()
    hit = np.asarray(targets[row, place]).reshape(n_users, n).astype(bool) & (items >= 0)
    number = np.diff(targets.indptr).astype(float)
    found = hit.sum(axis=1)
    discount = 1.0 / np.log2(np.arange(2, n + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discount)])[np.minimum(number, n).astype(int)]
    precision, recall = found / n, found / np.maximum(number, 1)
    at_hits = np.cumsum(hit, axis=1) / np.arange(1, n + 1) * hit
    return {
        "ndcg": (hit @ discount) / np.maximum(ideal, 1e-12),
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / np.maximum(precision + recall, 1e-12),
        "map": at_hits.sum(axis=1) / np.maximum(np.minimum(number, n), 1),
        "hit_rate": (found > 0).astype(float),
    }


def coverage(items: npt.NDArray[np.integer[Any]], n_items: int) -> float:
    """Return the share of the catalogue that is recommended to anyone."""
    return float(np.unique(items[items >= 0]).size / max(n_items, 1))


def novelty(items: npt.NDArray[np.integer[Any]], holders: npt.NDArray[np.integer[Any]], n_users: int) -> Floats:
    """Return each user's mean of -log2(share of users who have the item): Zhou et al. 2010, doi:10.1073/pnas.1000488107."""
    bits = -np.log2(np.maximum(holders, 1) / max(n_users, 1))
    said = items >= 0
    return np.where(said, bits[np.maximum(items, 0)], 0.0).sum(axis=1) / np.maximum(said.sum(axis=1), 1)


@dataclass(frozen=True)
class Interval:
    """A mean over users, with the percentile bootstrap's interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.4f} [{self.low:.4f}, {self.high:.4f}]"


def resampled(values: Floats, repeats: int, rng: np.random.Generator) -> Floats:
    """Return means over users drawn with replacement, `(repeats, columns)`; `values` is `(users, columns)`."""
    weights = rng.multinomial(len(values), np.full(len(values), 1.0 / len(values)), size=repeats)
    return weights @ values / len(values)


def bootstrap(values: Floats, repeats: int = 1_000, level: float = 0.95, seed: int = 0) -> Interval:
    """Return the mean of a value a user and its interval (Efron 1979, doi:10.1214/aos/1176344552)."""
    means = resampled(np.asarray(values, float)[:, None], repeats, np.random.default_rng(seed)).ravel()
    tail = (1.0 - level) / 2.0
    return Interval(float(np.mean(values)), *(float(v) for v in np.quantile(means, [tail, 1.0 - tail])))


def bootstrap_ratio(values: Floats, base: Floats, repeats: int = 1_000, level: float = 0.95, seed: int = 0) -> Interval:
    """Return the ratio of two means over the same users and its paired interval: users are drawn once for both."""
    both = np.column_stack([values, base]).astype(float)
    means = resampled(both, repeats, np.random.default_rng(seed))
    tail = (1.0 - level) / 2.0
    ratio = means[:, 0] / np.maximum(means[:, 1], 1e-12)
    whole = float(np.mean(values)) / max(float(np.mean(base)), 1e-12)
    return Interval(whole, *(float(v) for v in np.quantile(ratio, [tail, 1.0 - tail])))


def log_loss(happened: npt.NDArray[Any], probability: npt.NDArray[Any]) -> float:
    """Return the mean of -log of the probability given to what happened."""
    sure = np.clip(np.asarray(probability, float), 1e-7, 1 - 1e-7)
    return float(-np.mean(np.where(happened, np.log(sure), np.log1p(-sure))))


def brier(happened: npt.NDArray[Any], probability: npt.NDArray[Any]) -> float:
    """Return the mean squared error of the probability."""
    return float(np.mean((np.asarray(probability, float) - np.asarray(happened, float)) ** 2))


def auc(happened: npt.NDArray[Any], score: npt.NDArray[Any]) -> float:
    """Return the chance that what happened scores above what did not (ties count half); NaN where there is but one."""
    yes = np.asarray(happened, bool).ravel()
    n_yes, n_no = int(yes.sum()), int((~yes).sum())
    if not n_yes or not n_no:
        return float("nan")
    rank = stats.rankdata(np.asarray(score).ravel())
    return float((rank[yes].sum() - n_yes * (n_yes + 1) / 2) / (n_yes * n_no))


@dataclass(frozen=True)
class CalibrationRow:
    """Pairs of about the same probability: how many, what was foretold, what happened, and its 95 % interval (Wilson)."""

    pairs: int
    foretold: float
    happened: float
    low: float
    high: float


def calibration(happened: npt.NDArray[Any], probability: npt.NDArray[Any], rows: int = 10) -> list[CalibrationRow]:
    """Return the calibration table: pairs cut into `rows` parts of equal size by probability.

    Intervals by Wilson (1927), doi:10.1080/01621459.1927.10502953. They take pairs as independent; pairs of one user are
    not quite, so they are a little narrow.
    """
    yes, sure = np.asarray(happened, float).ravel(), np.asarray(probability, float).ravel()
    table = []
    z = 1.959964
    for part in np.array_split(np.argsort(sure, kind="stable"), rows):
        if not part.size:
            continue
        n, share = part.size, float(yes[part].mean())
        middle = (share + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
        table.append(
            CalibrationRow(
                n, float(sure[part].mean()), share, float(max(middle - half, 0.0)), float(min(middle + half, 1.0))
            )
        )
    return table


def calibration_error(happened: npt.NDArray[Any], probability: npt.NDArray[Any], rows: int = 20) -> float:
    """Return the mean of |foretold - happened| over parts of equal size (expected calibration error)."""
    table = calibration(happened, probability, rows)
    pairs = sum(row.pairs for row in table)
    return sum(abs(row.foretold - row.happened) * row.pairs for row in table) / max(pairs, 1)
