"""Known ways to estimate effects, behind the same Protocol: a planner must see whether a network earns its keep.

S, T and X learners: Kuenzel et al. (2019, 10.1073/pnas.1804597116). DR: Kennedy (2023, 10.1214/23-EJS2157). R: Nie and
Wager (2021, 10.1093/biomet/asaa076). Nuisances are cross-fitted where the method asks for it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from uplift.effects import Effects
from uplift.pairs import Schemas, Users
from uplift.splitting import assign_folds
from uplift.trial import OutcomeKind, Trial

_FOLDS = 5


@dataclass(frozen=True)
class Boosting:
    """scikit-learn's histogram gradient boosting."""

    rounds: int = 150
    rate: float = 0.05
    leaves: int = 15
    least_in_leaf: int = 200

    def outcome(self, binary: bool, seed: int, monotone: list[int] | None = None) -> Any:
        """Return an unfitted model of an outcome."""
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

        kind = HistGradientBoostingClassifier if binary else HistGradientBoostingRegressor
        return kind(
            max_iter=self.rounds,
            learning_rate=self.rate,
            max_leaf_nodes=self.leaves,
            min_samples_leaf=self.least_in_leaf,
            early_stopping=False,
            monotonic_cst=monotone,
            random_state=seed,
        )

    def effect(self, seed: int) -> Any:
        """Return an unfitted regression of an effect."""
        return self.outcome(False, seed)


@dataclass(frozen=True)
class Linear:
    """Logistic regression, or ridge for counts, money and effects, on the encoded features."""

    strength: float = 0.003  # scikit-learn's C: the smaller the more shrinkage

    def outcome(self, binary: bool, seed: int, monotone: list[int] | None = None) -> Any:
        """Return an unfitted model of an outcome; a line needs no constraint to be monotone."""
        from sklearn.linear_model import LogisticRegression, Ridge

        if binary:
            return LogisticRegression(C=self.strength, max_iter=500, random_state=seed)
        return Ridge(alpha=1.0 / self.strength)

    def effect(self, seed: int) -> Any:
        """Return an unfitted regression of an effect."""
        return self.outcome(False, seed)


Regression = Boosting | Linear


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out a warning of scikit-learn's that a few more iterations would change the last digits."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(lbfgs|converge).*")
        yield


def _mean(model: Any, x: np.ndarray) -> np.ndarray:
    return np.asarray(model.predict_proba(x)[:, 1] if hasattr(model, "predict_proba") else model.predict(x))


def _fit(model: Any, x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> Any:
    with _quiet():
        return model.fit(x, y, sample_weight=weight)


class _Outcome:
    """A model of an outcome that falls back on the average where a part of the users has only one outcome."""

    def __init__(self, regression: Regression, binary: bool, seed: int) -> None:
        self.regression, self.binary, self.seed = regression, binary, seed

    def fit(self, x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> _Outcome:
        self.constant = float(y[0]) if np.unique(y).size == 1 else None
        if self.constant is None:
            self.model = _fit(self.regression.outcome(self.binary, self.seed), x, y, weight)
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.full(x.shape[0], self.constant) if self.constant is not None else _mean(self.model, x)


@dataclass(frozen=True, eq=False)
class _Fitted:
    """A schema, models, and how they are asked."""

    schema: Schemas
    ask: Any  # encoded users -> (control, treated)

    def predict(self, features: Any, *, pair_features: Any = None) -> Effects:
        """Estimate effects; `pair_features` `(n, coupons, d)` where the trial had them."""
        control, treated = self.ask(self.schema.encode(features, pair_features))
        return Effects.create(np.asarray(control, dtype=np.float64), np.asarray(treated, dtype=np.float64))


def _start(trial: Trial) -> tuple[Schemas, Users, bool]:
    schema = Schemas.fit(trial)
    return schema, schema.encode(trial.features), trial.kind is OutcomeKind.BINARY


def _weights(trial: Trial) -> np.ndarray:
    """Users weighted as if everybody had the average chances of the arms."""
    return np.asarray(trial.weight * trial.propensities().mean(axis=0)[trial.arm] / trial.received())


@dataclass(frozen=True)
class NoDifference:
    """No coupon changes anything: the outcome's average. What a placebo deserves."""

    name: str = "no difference"

    def fit(self, trial: Trial, *, seed: int) -> _Fitted:
        """Remember the average."""
        schema = Schemas.fit(trial)
        average, coupons = float(np.average(trial.outcome, weights=trial.weight)), trial.n_coupons
        return _Fitted(schema, lambda x: (np.full(len(x), average), np.full((len(x), coupons), average)))


@dataclass(frozen=True)
class AverageEffect:
    """Everybody reacts alike: the difference of averages of each coupon."""

    name: str = "average effect"

    def fit(self, trial: Trial, *, seed: int) -> _Fitted:
        """Remember the averages of the arms."""
        schema, weight = Schemas.fit(trial), _weights(trial)
        means = np.array(
            [np.average(trial.outcome[trial.arm == k], weights=weight[trial.arm == k]) for k in range(trial.n_arms)]
        )
        return _Fitted(schema, lambda x: (np.full(len(x), means[0]), np.tile(means[1:], (len(x), 1))))


@dataclass(frozen=True)
class ResponseModel:
    """Target the likely buyers: uplift in proportion to the chance to buy, as much in all as the averages say."""

    regression: Regression = Boosting()
    name: str = "response model"

    def fit(self, trial: Trial, *, seed: int) -> _Fitted:
        """Fit the outcome whatever the arm, and each arm's average ratio to control."""
        schema, x, binary = _start(trial)
        weight = _weights(trial)
        model = _Outcome(self.regression, binary, seed).fit(x.plain, trial.outcome, weight)
        predicted = model.predict(x.plain)
        ratio = np.array(
            [
                np.average(trial.outcome[trial.arm == k], weights=weight[trial.arm == k])
                / max(np.average(predicted[trial.arm == k], weights=weight[trial.arm == k]), 1e-12)
                for k in range(trial.n_arms)
            ]
        )

        def ask(z: Users) -> tuple[np.ndarray, np.ndarray]:
            means = model.predict(z.plain)
            return means * ratio[0], means[:, None] * ratio[1:]

        return _Fitted(schema, ask)


@dataclass(frozen=True)
class SLearner:
    """One model with the arm among the features; with `Linear` also its products with every feature.

    With terms, gradient boosting also sees depth and group, and with `monotone` the outcome never falls in depth.
    """

    regression: Regression = Boosting()
    monotone: bool = False
    name: str = "S-learner"

    def fit(self, trial: Trial, *, seed: int) -> _Fitted:
        """Fit one model."""
        schema, x, binary = _start(trial)
        codes = np.eye(trial.n_arms)[:, 1:]
        linear = isinstance(self.regression, Linear)
        constraint = None
        if not linear and trial.terms is not None:
            depth = np.append(0.0, trial.terms.depth)
            groups = np.vstack(
                [np.zeros(trial.terms.group.max() + 1), np.eye(trial.terms.group.max() + 1)[trial.terms.group]]
            )
            codes = np.column_stack([codes.max(axis=1, initial=0.0), depth, groups, np.arange(trial.n_arms)])
            constraint = (
                [0] * x.plain.shape[1] + [0, 1] + [0] * (codes.shape[1] - 2 + x.own(trial.arm).shape[1])
                if self.monotone
                else None
            )

        def table(z: Users, arm: np.ndarray) -> np.ndarray:
            code = codes[arm]
            products = [z.plain * code[:, [k]] for k in range(code.shape[1])] if linear else []
            return np.column_stack([z.plain, code, z.own(arm), *products])

        model = self.regression.outcome(binary, seed, constraint)
        _fit(model, table(x, trial.arm), trial.outcome, _weights(trial))

        def ask(z: Users) -> tuple[np.ndarray, np.ndarray]:
            means = [_mean(model, table(z, np.full(len(z), k))) for k in range(trial.n_arms)]
            return means[0], np.column_stack(means[1:])

        return _Fitted(schema, ask)


@dataclass(frozen=True)
class TLearner:
    """One model an arm."""

    regression: Regression = Boosting()
    name: str = "T-learner"

    def fit(self, trial: Trial, *, seed: int) -> _Fitted:
        """Fit one model an arm."""
        schema, x, binary = _start(trial)
        models = _by_arm(self.regression, trial, x, binary, seed, np.arange(len(trial)))
        return _Fitted(
            schema,
            lambda z: (
                models[0].predict(z.plain),
                np.column_stack([model.predict(z.of(k)) for k, model in enumerate(models[1:], 1)]),
            ),
        )


def _by_arm(
    regression: Regression, trial: Trial, x: Users, binary: bool, seed: int, rows: np.ndarray
) -> list[_Outcome]:
    models = []
    weight = _weights(trial)
    for k in range(trial.n_arms):
        mine = rows[trial.arm[rows] == k]
        models.append(_Outcome(regression, binary, seed).fit(x.of(k)[mine], trial.outcome[mine], weight[mine]))
    return models


def _with_effects(schema: Schemas, control: _Outcome, effects: list[Any], binary: bool) -> _Fitted:
    def ask(z: Users) -> tuple[np.ndarray, np.ndarray]:
        start = control.predict(z.plain)
        treated = start[:, None] + np.column_stack([effect.predict(z.of(k)) for k, effect in enumerate(effects, 1)])
        return start, np.clip(treated, 0.0, 1.0 if binary else None)

    return _Fitted(schema, ask)


@dataclass(frozen=True)
class XLearner:
    """Impute each user's effect from the other arm's model, and regress it."""

    regression: Regression = Boosting()
    name: str = "X-learner"

    def fit(self, trial: Trial, *, seed: int) -> _Fitted:
        """Fit the arms, then the two regressions of each coupon, weighted by the propensity (equation 9)."""
        schema, x, binary = _start(trial)
        models = _by_arm(self.regression, trial, x, binary, seed, np.arange(len(trial)))
        share, weight = trial.propensities().mean(axis=0), _weights(trial)
        base = models[0].predict(x.plain)
        effects = []
        for k in range(1, trial.n_arms):
            mine, control, own = trial.arm == k, trial.arm == 0, x.of(k)
            treated = _fit(self.regression.effect(seed), own[mine], trial.outcome[mine] - base[mine], weight[mine])
            imputed = models[k].predict(own[control]) - trial.outcome[control]
            untreated = _fit(self.regression.effect(seed), own[control], imputed, weight[control])
            effects.append(_Mix(treated, untreated, float(share[0] / (share[0] + share[k]))))
        return _with_effects(schema, models[0], effects, binary)


@dataclass(frozen=True, eq=False)
class _Mix:
    first: Any
    second: Any
    part: float

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(self.part * self.first.predict(x) + (1.0 - self.part) * self.second.predict(x))


@dataclass(frozen=True)
class DRLearner:
    """Regress doubly robust scores of each coupon on the features; the arms' models are cross-fitted."""

    regression: Regression = Boosting()
    name: str = "DR-learner"

    def fit(self, trial: Trial, *, seed: int) -> _Fitted:
        """Fit arms out of fold, then the scores."""
        schema, x, binary = _start(trial)
        fold = assign_folds(trial, _FOLDS, np.random.default_rng([seed, 9]))
        mu = np.empty((len(trial), trial.n_arms))
        for f in range(_FOLDS):
            models = _by_arm(self.regression, trial, x, binary, seed, np.flatnonzero(fold != f))
            mu[fold == f] = np.column_stack([model.predict(x.of(k)[fold == f]) for k, model in enumerate(models)])
        rows = np.arange(len(trial))
        scores = mu.copy()
        scores[rows, trial.arm] += (trial.outcome - mu[rows, trial.arm]) / trial.received()
        effects = [
            _fit(self.regression.effect(seed), x.of(k), scores[:, k] - scores[:, 0], trial.weight)
            for k in range(1, trial.n_arms)
        ]
        control = _by_arm(self.regression, trial, x, binary, seed, rows)[0]
        return _with_effects(schema, control, effects, binary)


@dataclass(frozen=True)
class RLearner:
    """Regress the residual outcome on the residual arm, one coupon against control at a time."""

    regression: Regression = Boosting()
    name: str = "R-learner"

    def fit(self, trial: Trial, *, seed: int) -> _Fitted:
        """Fit outcomes out of fold, then each coupon's residual regression."""
        schema, x, binary = _start(trial)
        weight = _weights(trial)
        chances = trial.propensities()
        effects = []
        for k in range(1, trial.n_arms):
            rows, own = np.flatnonzero((trial.arm == 0) | (trial.arm == k)), x.of(k)
            fold = assign_folds(trial.take(rows), _FOLDS, np.random.default_rng([seed, 10, k]))
            outcome = np.empty(rows.size)
            for f in range(_FOLDS):
                rest = rows[fold != f]
                model = _Outcome(self.regression, binary, seed).fit(own[rest], trial.outcome[rest], weight[rest])
                outcome[fold == f] = model.predict(own[rows[fold == f]])
            arm = (trial.arm[rows] == k) - chances[rows, k] / (chances[rows, 0] + chances[rows, k])
            target = (trial.outcome[rows] - outcome) / arm
            effects.append(_fit(self.regression.effect(seed), own[rows], target, trial.weight[rows] * arm**2))
        control = _by_arm(self.regression, trial, x, binary, seed, np.arange(len(trial)))[0]
        return _with_effects(schema, control, effects, binary)


def standard_baselines() -> tuple[Any, ...]:
    """Return every baseline once, with its default regression."""
    return (
        NoDifference(),
        AverageEffect(),
        ResponseModel(),
        SLearner(name="S-learner, boosting"),
        SLearner(monotone=True, name="S-learner, boosting, monotone depth"),
        SLearner(Linear(), name="S-learner, logistic"),
        TLearner(name="T-learner, boosting"),
        TLearner(Linear(), name="T-learner, logistic"),
        XLearner(name="X-learner, boosting"),
        DRLearner(name="DR-learner, boosting"),
        DRLearner(Linear(), name="DR-learner, linear"),
        RLearner(name="R-learner, boosting"),
    )
