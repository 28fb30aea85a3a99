"""Why a model expects an effect: which features move it, for whom, and along which amount."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from uplift.effects import Effects
from uplift.errors import TrialError
from uplift.features import Features, Schema
from uplift.models import Fitted
from uplift.network.model import FittedNetwork
from uplift.trial import Terms


@dataclass(frozen=True)
class Importance:
    """How much a feature moves the uplift.

    Attributes
    ----------
    moved
        Root of the mean squared change of the uplift when the feature is shuffled among users, unit of the outcome.
    standard_error
        Over the shuffles.
    """

    name: str
    moved: float
    standard_error: float


def importance(model: Fitted, features: Any, *, repeats: int = 3, seed: int = 0) -> tuple[Importance, ...]:
    """Permutation importance on the uplift (Breiman 2001, 10.1023/A:1010933404324), largest first."""
    table = Features.create(features)
    before = model.predict(table).uplift
    rng = np.random.default_rng(seed)
    rows = []
    for name, column in zip(table.names, table.columns, strict=True):
        moved = []
        for _ in range(repeats):
            after = model.predict(table.replace(name, column[rng.permutation(len(table))])).uplift
            moved.append(float(np.sqrt(np.mean((after - before) ** 2))))
        error = float(np.std(moved, ddof=1) / np.sqrt(repeats)) if repeats > 1 else float("nan")
        rows.append(Importance(name, float(np.mean(moved)), error))
    return tuple(sorted(rows, key=lambda row: -row.moved))


@dataclass(frozen=True, eq=False)
class Contributions:
    """What each feature of each user adds to their uplift.

    Attributes
    ----------
    names
        Features.
    average
        `(coupons,)` uplift averaged over the users that were compared with.
    values
        `(n, features, coupons)`; a user's sum over features plus `average` is their predicted uplift.
    """

    names: tuple[str, ...]
    average: np.ndarray
    values: np.ndarray


def contributions(model: Fitted, features: Any, background: Any, *, samples: int = 32, seed: int = 0) -> Contributions:
    """Shapley values of the uplift by sampled orders (Strumbelj and Kononenko 2014, 10.1007/s10115-013-0679-x).

    In each sample a user's features take the place of a random background user's one by one, in a random order; the
    changes of the uplift add up exactly, and what the samples' starting points missed of the average is spread evenly.
    Meant for tens or hundreds of users: it predicts `samples` x (features + 1) times.
    """
    users, others = Features.create(features), Features.create(background)
    if users.names != others.names:
        raise TrialError("features and background must have the same columns in the same order")
    rng = np.random.default_rng(seed)
    predicted = model.predict(users).uplift
    average = model.predict(others).uplift.mean(axis=0)
    values = np.zeros((len(users), len(users.names), predicted.shape[1]))
    for _ in range(samples):
        mixed = others.take(rng.integers(0, len(others), len(users)))
        before = model.predict(mixed).uplift
        for j in rng.permutation(len(users.names)):
            mixed = mixed.replace(users.names[j], users.columns[j])
            after = model.predict(mixed).uplift
            values[:, j] += (after - before) / samples
            before = after
    missing = predicted - average - values.sum(axis=1)
    values += missing[:, None, :] / len(users.names)
    return Contributions(users.names, average, values)


@dataclass(frozen=True, eq=False)
class DepthCurve:
    """Average effect along the amount of a coupon.

    Attributes
    ----------
    depth
        `(points,)` amounts.
    uplift, standard_error
        `(points,)` average over users, and the average of the users' standard errors: an upper bound on the error of
        the average, since users' errors go together only in part.
    """

    depth: np.ndarray
    uplift: np.ndarray
    standard_error: np.ndarray


def depth_curve(model: FittedNetwork, features: Any, depths: np.ndarray, *, group: int = 0) -> DepthCurve:
    """Partial dependence of the uplift on the depth of coupons of one group (Friedman 2001, section 8.2)."""
    amounts = np.asarray(depths, dtype=np.float64)
    table = model.stages[0].schema.table(features)
    if table.pairs is not None and model.terms is not None:
        # A coupon of any depth is to each user what the group's coupons are on average.
        mine = np.nanmean(table.pairs[:, model.terms.group == group], axis=1, keepdims=True)
        table = Features.create(table, pairs=np.repeat(mine, amounts.size, axis=1))
    # What is hidden of each user's own is not in an average.
    shared = replace(model, stages=tuple(replace(stage, hidden=None) for stage in model.stages))
    effects: Effects = shared.predict(table, terms=Terms(amounts, np.full(amounts.size, group, dtype=np.int64)))
    return DepthCurve(amounts, effects.uplift.mean(axis=0), effects.standard_error.mean(axis=0))


@dataclass(frozen=True)
class Segment:
    """Users that a small tree puts together.

    Attributes
    ----------
    rule
        In words.
    share
        Of the users.
    uplift
        Average predicted uplift of each coupon.
    """

    rule: str
    share: float
    uplift: tuple[float, ...]


def segments(model: Fitted, features: Any, *, leaves: int = 6, seed: int = 0) -> tuple[Segment, ...]:
    """Distil the uplift of all coupons into a small regression tree; segments from the highest uplift down."""
    from sklearn.tree import DecisionTreeRegressor

    table = Features.create(features)
    matrix, titles = _readable(table)
    uplift = model.predict(table).uplift
    tree = DecisionTreeRegressor(
        max_leaf_nodes=leaves, min_samples_leaf=max(1, len(table) // 50), random_state=seed
    ).fit(matrix, uplift)
    where = tree.apply(matrix)
    rules = _rules(tree.tree_, titles)
    found = [
        Segment(rules[int(leaf)], float(np.mean(where == leaf)), tuple(uplift[where == leaf].mean(axis=0).tolist()))
        for leaf in np.unique(where)
    ]
    return tuple(sorted(found, key=lambda s: -max(s.uplift)))


def _readable(table: Features) -> tuple[np.ndarray, list[str]]:
    """Numbers as they are (missing: the median), texts as indicators: a rule must be in the user's own units."""
    columns, titles = [], []
    schema = Schema.fit(table)
    for name, column, coded in zip(table.names, table.columns, schema.columns, strict=True):
        if column.dtype.kind == "f":
            middle = float(np.nanmedian(column)) if np.isfinite(column).any() else 0.0
            columns.append(np.where(np.isnan(column), middle, column))
            titles.append(name)
        else:
            indicators = coded.encode(column)
            for j, level in enumerate([*coded.levels, "(rare)", "(missing)"]):  # type: ignore[union-attr]
                columns.append(indicators[:, j].astype(np.float64))
                titles.append(f"{name} is {level}")
    return np.column_stack(columns), titles


def _rules(tree: Any, titles: list[str]) -> dict[int, str]:
    rules: dict[int, str] = {}

    def walk(node: int, path: tuple[str, ...]) -> None:
        if tree.children_left[node] < 0:
            rules[node] = " and ".join(path) or "everybody"
            return
        title, threshold = titles[tree.feature[node]], float(tree.threshold[node])
        if " is " in title:
            low, high = title.replace(" is ", " is not ", 1), title
        else:
            low, high = f"{title} <= {threshold:.4g}", f"{title} > {threshold:.4g}"
        walk(int(tree.children_left[node]), (*path, low))
        walk(int(tree.children_right[node]), (*path, high))

    walk(0, ())
    return rules
