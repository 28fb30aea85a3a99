"""Which models of the purchase are tried, and which is kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from allocator.learning.logistic import Logistic, LogisticLearner
from allocator.learning.members import Members
from allocator.learning.pooled import PooledLearner
from allocator.progress import Progress as Told
from uplift import Comparison, Effects, FittedNetwork, Progress, Settings, Trial, UpliftNetwork, assign_folds, rank

SPLITS = 3


@dataclass(frozen=True, eq=False)
class Network:
    """A trained uplift network as an `Ensemble`."""

    fitted: FittedNetwork

    def predict_members(self, features: Any) -> Members:
        """Estimate; the parts are the folds' members and the averages' errors, not what is each user's own (`Stage.hidden`)."""
        effects, parts = self.fitted.predict_members(features)
        return Members(effects.control, effects.treated, parts)

    def predict(self, features: Any) -> Effects:
        """Estimate."""
        return self.fitted.predict(features)


Fitted = Network | Logistic


class Candidate(Protocol):
    """A way to train a model of the purchase."""

    @property
    def name(self) -> str:
        """What the model card calls it."""
        ...

    def fit(self, trial: Trial, seed: int, told: Told, on_epoch: Callable[[Progress], None] | None) -> Fitted:
        """Train on a whole trial."""
        ...

    def try_out(self, trial: Trial, seed: int) -> Fitted:
        """Train to be marked: the same or a little less, never more."""
        ...


@dataclass(frozen=True)
class NetworkCandidate:
    """The TensorFlow network of `uplift`; it is tried out with one member a fold instead of two."""

    settings: Settings = dataclasses.field(default_factory=Settings)
    name: str = "network"

    def fit(self, trial: Trial, seed: int, told: Told, on_epoch: Callable[[Progress], None] | None) -> Network:
        """Train on a whole trial."""

        def heard(progress: Progress) -> None:
            told(f"network, {progress.stage}", progress.epoch / progress.epochs)
            if on_epoch is not None:
                on_epoch(progress)

        return Network(UpliftNetwork(self.settings).fit(trial, seed=seed, on_epoch=heard))

    def try_out(self, trial: Trial, seed: int) -> Network:
        """Train with half the members."""
        return Network(UpliftNetwork(dataclasses.replace(self.settings, repeats=1)).fit(trial, seed=seed))


@dataclass(frozen=True)
class PooledCandidate:
    """A logistic model whose coupons learn from one another; the trial says how much."""

    name: str = "pooled logistic"

    def fit(self, trial: Trial, seed: int, told: Told, on_epoch: Callable[[Progress], None] | None) -> Logistic:
        """Train on a whole trial, with the parts of the jackknife."""
        told(self.name, 0.0)
        return PooledLearner(self.name).fit(trial, seed=seed)

    def try_out(self, trial: Trial, seed: int) -> Logistic:
        """Train without the jackknife."""
        return PooledLearner(self.name).fit(trial, seed=seed, groups=0)


@dataclass(frozen=True)
class LogisticCandidate:
    """A logistic S-learner, or the arms' averages."""

    strength: float | None
    name: str

    def fit(self, trial: Trial, seed: int, told: Told, on_epoch: Callable[[Progress], None] | None) -> Logistic:
        """Train on a whole trial, with the parts of the jackknife."""
        told(self.name, 0.0)
        return LogisticLearner(self.strength, self.name).fit(trial, seed=seed)

    def try_out(self, trial: Trial, seed: int) -> Logistic:
        """Train without the jackknife."""
        return LogisticLearner(self.strength, self.name).fit(trial, seed=seed, groups=0)


def default_candidates(settings: Settings | None = None) -> tuple[Candidate, ...]:
    """Return the models that `train` tries, in order of preference should they come out alike."""
    return (
        NetworkCandidate(settings or Settings()),
        PooledCandidate(),
        LogisticCandidate(0.01, "logistic"),
        LogisticCandidate(None, "average effects"),
    )


def quick_candidates() -> tuple[Candidate, ...]:
    """Return the models of `default_candidates` that train in seconds: all but the network."""
    return default_candidates()[1:]


@dataclass(frozen=True, eq=False)
class Tried:
    """What the candidates were worth on users they did not see.

    Attributes
    ----------
    comparison
        Their marks.
    effects
        By candidate: effects of all users of the trial, each by a model of the other parts.
    fold
        `(n,)` part of each user.
    """

    comparison: Comparison
    effects: Mapping[str, Effects]
    fold: np.ndarray


def cross_fitted(n: int, coupons: int, fold: np.ndarray, fit: Callable[[np.ndarray, np.ndarray], Effects]) -> Effects:
    """Put together what `fit(rest, held)` says of each part's users `held` from the others, `rest` (rows)."""
    control, treated = np.empty(n), np.empty((n, coupons))
    for f in range(int(fold.max()) + 1):
        held = np.flatnonzero(fold == f)
        made = fit(np.flatnonzero(fold != f), held)
        control[held], treated[held] = made.control, made.treated
    return Effects.create(control, treated)


def try_candidates(trial: Trial, candidates: Sequence[Candidate], seed: int, told: Told, splits: int = SPLITS) -> Tried:
    """Cross-fit every candidate on the same parts and mark it (`uplift.rank`)."""
    fold = assign_folds(trial, splits, np.random.default_rng([seed, 11]))
    effects: dict[str, Effects] = {}
    for candidate in candidates:
        told(f"trying {candidate.name}", 0.0)

        def unseen(rest: np.ndarray, held: np.ndarray, candidate: Candidate = candidate) -> Effects:
            return candidate.try_out(trial.take(rest), seed).predict(trial.features.take(held))

        effects[candidate.name] = cross_fitted(len(trial), trial.n_coupons, fold, unseen)
    return Tried(rank(trial, effects), effects, fold)
