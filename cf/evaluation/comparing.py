"""Recommenders compared on one split."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from cf.errors import UsageError
from cf.evaluation.metrics import Interval, bootstrap, bootstrap_ratio, coverage, novelty, rank_metrics
from cf.evaluation.splits import RandomSplit, Split, TemporalSplit
from cf.ids import Ids
from cf.interactions import Interactions
from cf.model import Model, Recommender
from cf.progress import Progress, silent
from cf.recommending import Rules, recommend

METRICS = ("ndcg", "precision", "recall", "f1", "map", "hit_rate")


@dataclass(frozen=True)
class Evaluation:
    """One recommender on one split.

    Attributes
    ----------
    name, n
        Its name, and how many items it recommended.
    metrics
        Each metric's value for each user, `(users,)`; users as in the split.
    segment
        `(users,)`: `warm`, `few-shot` or `new`.
    coverage
        Share of the catalogue recommended.
    fit_seconds, score_seconds
        CPU time of this process, all threads.
    """

    name: str
    n: int
    metrics: Mapping[str, npt.NDArray[np.float64]]
    segment: npt.NDArray[Any]
    coverage: float
    fit_seconds: float
    score_seconds: float

    def mean(self, metric: str, segment: str | None = None, seed: int = 0) -> Interval:
        """Return a metric's mean and interval over all users or one segment."""
        return bootstrap(self._of(metric, segment), seed=seed)

    def ratio(self, other: Evaluation, metric: str = "ndcg", segment: str | None = None, seed: int = 0) -> Interval:
        """Return this mean over the other's, with the paired interval over users."""
        return bootstrap_ratio(self._of(metric, segment), other._of(metric, segment), seed=seed)

    def _of(self, metric: str, segment: str | None) -> npt.NDArray[np.float64]:
        if metric not in self.metrics:
            raise UsageError(f"no metric {metric!r}; there are {', '.join(self.metrics)}")
        values = self.metrics[metric]
        chosen = values if segment is None else values[self.segment == segment]
        if not chosen.size:
            raise UsageError(f"no user is in segment {segment!r}; there are {sorted(set(self.segment))}")
        return chosen


def evaluate(name: str, model: Model, split: Split, n: int = 10, rules: Rules | None = None) -> Evaluation:
    """Evaluate a fitted model on a split."""
    began = time.process_time()
    known = split.known.aligned(model.items)
    made = recommend(model, known.only(split.users), n=n, rules=rules)
    spent = time.process_time() - began
    holders = np.asarray((known.matrix() > 0).sum(axis=0)).ravel()
    metrics = rank_metrics(made.items, renumbered(split.targets[split.users], split.known.items, model.items))
    metrics["novelty"] = novelty(made.items, holders, known.n_users)
    return Evaluation(name, n, metrics, split.segment, coverage(made.items, len(model.items)), 0.0, spent)


def renumbered(targets: sparse.csr_matrix, items: Ids, others: Ids) -> sparse.csr_matrix:
    """Return targets with the columns of other items; those that are not there stay as columns at the end, never hit."""
    if items is others or items == others:
        return targets
    column = others.find(items.values)
    unknown = column < 0
    column[unknown] = len(others) + np.arange(unknown.sum())
    width = len(others) + int(unknown.sum())
    return sparse.csr_matrix((targets.data, column[targets.indices], targets.indptr), shape=(targets.shape[0], width))


@dataclass(frozen=True)
class Comparison:
    """Recommenders on one split, in the order given."""

    evaluations: tuple[Evaluation, ...]

    def __getitem__(self, name: str) -> Evaluation:
        for evaluation in self.evaluations:
            if evaluation.name == name:
                return evaluation
        raise UsageError(f"no recommender {name!r}; there are {', '.join(e.name for e in self.evaluations)}")

    def best(self, metric: str = "ndcg") -> Evaluation:
        """Return the one with the highest mean."""
        return max(self.evaluations, key=lambda evaluation: evaluation._of(metric, None).mean())

    def to_pandas(self) -> Any:
        """Return a table with a row for each recommender and segment (`all` first)."""
        import pandas as pd

        rows = []
        for e in self.evaluations:
            for segment in [None, *(s for s in ("warm", "few-shot", "new") if (e.segment == s).any())]:
                inside = np.ones(e.segment.size, bool) if segment is None else e.segment == segment
                interval = e.mean("ndcg", segment)
                means = {metric: values[inside].mean() for metric, values in e.metrics.items()}
                rows.append(
                    {
                        "recommender": e.name,
                        "segment": segment or "all",
                        "users": int(inside.sum()),
                        **means,
                        "ndcg_low": interval.low,
                        "ndcg_high": interval.high,
                        "coverage": e.coverage,
                        "fit_seconds": e.fit_seconds,
                        "score_seconds": e.score_seconds,
                    }
                )
        return pd.DataFrame(rows)

    def __str__(self) -> str:
        table = self.to_pandas().round(4)
        return str(table.to_string(index=False))


def compare(
    recommenders: Mapping[str, Recommender],
    interactions: Interactions,
    split: TemporalSplit | RandomSplit | None = None,
    n: int = 10,
    rules: Rules | None = None,
    progress: Progress = silent,
) -> Comparison:
    """Fit each recommender on what a split knows and evaluate it; by default the last 28 days are foretold."""
    if not recommenders:
        raise UsageError("there is nothing to compare; give a mapping from names to recommenders")
    parts = (split or TemporalSplit()).of(interactions)
    results = []
    for done, (name, recommender) in enumerate(recommenders.items()):
        progress("comparing", done, len(recommenders))
        began = time.process_time()
        model = recommender.fit(parts.known)
        fitted = time.process_time() - began
        found = evaluate(name, model, parts, n, rules)
        results.append(Evaluation(name, n, found.metrics, found.segment, found.coverage, fitted, found.score_seconds))
    progress("comparing", len(recommenders), len(recommenders))
    return Comparison(tuple(results))
