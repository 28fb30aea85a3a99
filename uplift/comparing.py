"""Which model to trust: cross-validated policy values with intervals, on the same splits for all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from uplift.effects import Effects
from uplift.errors import UpliftError
from uplift.metrics.curves import qini
from uplift.metrics.policy import dr_scores, policy_curve, recommended
from uplift.models import Fitted, Learner
from uplift.splitting import assign_folds
from uplift.trial import OutcomeKind, Trial

_Z95 = 1.959963984540054


@dataclass(frozen=True)
class Score:
    """One model's marks.

    Attributes
    ----------
    value, value_error
        Average outcome a user gains, over giving nothing, when every user gets the coupon with the highest predicted
        uplift above 0; doubly robust, on users that the model did not see.
    area, area_error
        The same averaged over all shares of users that could be given a coupon, best first.
    behind, behind_error
        How much `area` is below the best model's, on the same users: paired, so its error is far smaller.
    qini
        Qini coefficient of the recommended coupon against none.
    """

    name: str
    value: float
    value_error: float
    area: float
    area_error: float
    behind: float
    behind_error: float
    qini: float

    def interval(self) -> tuple[float, float]:
        """Return the 95 % interval of `area`."""
        return self.area - _Z95 * self.area_error, self.area + _Z95 * self.area_error


@dataclass(frozen=True)
class Comparison:
    """Models, best first.

    Attributes
    ----------
    scores
        In order of `area`.
    chosen
        Name of the model to use: the first in the order given whose `area` is within one standard error (paired) of
        the best. So put the model you would rather use first.
    """

    scores: tuple[Score, ...]
    chosen: str

    def __str__(self) -> str:
        """Return a table for people."""
        wide = max(len(score.name) for score in self.scores)
        lines = [
            f"{'model':<{wide}}  {'area':>10}  {'95 % interval':>24}  {'behind':>10}  {'+-':>9}  {'value':>10}  {'Qini':>8}"
        ]
        for s in self.scores:
            low, high = s.interval()
            lines.append(
                f"{s.name:<{wide}}  {s.area:>10.5g}  {f'{low:.5g} to {high:.5g}':>24}  {s.behind:>10.5g}  "
                f"{s.behind_error:>9.3g}  {s.value:>10.5g}  {s.qini:>8.4f}"
            )
        lines.append(f"chosen: {self.chosen}")
        return "\n".join(lines)


def cross_predict(trial: Trial, learner: Learner, fold: np.ndarray, seed: int) -> Effects:
    """Effects of all users of a trial, each from a model that was trained on the other folds."""
    shape = (len(trial), trial.n_coupons)
    control, treated, error = np.empty(shape[0]), np.empty(shape), np.empty(shape)
    for f in range(int(fold.max()) + 1):
        held = np.flatnonzero(fold == f)
        effects = learner.fit(trial.take(np.flatnonzero(fold != f)), seed=seed).predict(trial.features.take(held))
        control[held], treated[held], error[held] = effects.control, effects.treated, effects.standard_error
    return Effects(control, treated, error)


def compare(
    trial: Trial,
    models: Sequence[Learner],
    splits: int = 5,
    seed: int = 0,
    on_model: Callable[[str], None] | None = None,
) -> Comparison:
    """Train every model on the same `splits` folds and mark it on the users left out.

    Parameters
    ----------
    models
        In order of preference, should they come out alike.
    on_model
        Called with the name of each model before it is trained.

    Raises
    ------
    UpliftError
        Where there is no model or two have the same name.
    """
    names = [model.name for model in models]
    if not models or len(set(names)) < len(names):
        raise UpliftError("give at least one model, and no two with the same name")
    fold = assign_folds(trial, splits, np.random.default_rng([seed, 11]))
    effects = {}
    for model in models:
        if on_model:
            on_model(model.name)
        effects[model.name] = cross_predict(trial, model, fold, seed)
    return rank(trial, effects)


def rank(trial: Trial, effects: Mapping[str, Effects]) -> Comparison:
    """Mark models by their effects on users that they did not see.

    Parameters
    ----------
    effects
        By name of the model, in order of preference, should they come out alike.
    """
    names = list(effects)
    # One set of nuisances for all, so that no model is marked by its own predictions.
    nuisance = _average(list(effects.values()))
    scores = dr_scores(trial, nuisance)
    ranks = {name: _influence(trial, e, scores) for name, e in effects.items()}
    areas = {name: float(np.average(r, weights=trial.weight)) for name, r in ranks.items()}
    best = max(names, key=lambda name: areas[name])
    made = [_score(trial, name, effects[name], nuisance, scores, ranks[name], ranks[best]) for name in names]
    close = [s.name for s in made if s.behind <= s.behind_error]
    return Comparison(tuple(sorted(made, key=lambda s: -s.area)), close[0])


def _average(effects: list[Effects]) -> Effects:
    control = np.mean([e.control for e in effects], axis=0)
    return Effects.create(control, np.mean([e.treated for e in effects], axis=0))


def _influence(trial: Trial, effects: Effects, scores: np.ndarray) -> np.ndarray:
    """`(n,)` whose weighted average is the area under the policy curve: gain times the share of shares it is in.

    A user whose rank is the top share q is given a coupon at every share from q on: 1 - q of them.
    """
    best = effects.uplift.argmax(axis=1)
    rows = np.arange(len(trial))
    predicted = effects.uplift[rows, best]
    order = np.argsort(-predicted, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(predicted[order])), order.size - 1)
    reached = np.cumsum(trial.weight[order])[ends] / trial.weight.sum()
    middle = (np.append(0.0, reached[:-1]) + reached) / 2.0
    share = np.empty(order.size)
    share[order] = np.repeat(middle, np.diff(np.append(-1, ends)))
    return (1.0 - share) * (scores[rows, best + 1] - scores[:, 0])


def _score(
    trial: Trial,
    name: str,
    effects: Effects,
    nuisance: Effects,
    scores: np.ndarray,
    influence: np.ndarray,
    best: np.ndarray,
) -> Score:
    share = trial.weight / trial.weight.sum()

    def estimate(values: np.ndarray) -> tuple[float, float]:
        average = float(share @ values)
        return average, float(np.sqrt((share**2 * (values - average) ** 2).sum()))

    choice = np.where(effects.uplift.max(axis=1) > 0, effects.uplift.argmax(axis=1) + 1, 0)
    value = estimate(scores[np.arange(len(trial)), choice] - scores[:, 0])
    behind = estimate(best - influence)
    rows, score, got, weight = recommended(trial, effects)
    coefficient = float("nan")
    if got.any() and not got.all() and trial.kind is OutcomeKind.BINARY:
        coefficient = qini(trial.outcome[rows], score, got, weight)
    area = policy_curve(trial, effects, nuisance).area
    return Score(name, *value, area, estimate(influence)[1], *behind, coefficient)


@dataclass(frozen=True, eq=False)
class Choice:
    """The model that was kept, and why.

    Attributes
    ----------
    fitted
        Trained on the whole trial.
    """

    fitted: Fitted
    comparison: Comparison


def fit_best(trial: Trial, models: Sequence[Learner], splits: int = 5, seed: int = 0) -> Choice:
    """Compare models, then train the chosen one on all users."""
    comparison = compare(trial, models, splits, seed)
    chosen = next(model for model in models if model.name == comparison.chosen)
    return Choice(chosen.fit(trial, seed=seed), comparison)
