"""A search over the network's settings with a budget that is known before it starts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from uplift.errors import UpliftError
from uplift.metrics.policy import dr_scores, policy_curve
from uplift.network.model import UpliftNetwork
from uplift.network.settings import Settings
from uplift.splitting import split_halves
from uplift.trial import Trial


@dataclass(frozen=True)
class Attempt:
    """One setting that was tried.

    Attributes
    ----------
    value
        Area under the doubly robust policy curve on users that it was not trained on, unit of the outcome a user.
    standard_error
        Of that area, unpaired.
    """

    settings: Settings
    value: float
    standard_error: float


@dataclass(frozen=True)
class Tuning:
    """What a search found.

    Attributes
    ----------
    best
        The default settings unless another attempt beats them by more than one standard error of the paired difference:
        the best of many attempts looks better than it is.
    attempts
        In the order tried; the first is the default.
    """

    best: Settings
    attempts: tuple[Attempt, ...]


def tune(
    trial: Trial,
    *,
    attempts: int = 10,
    seed: int = 0,
    start: Settings | None = None,
    on_attempt: Callable[[Attempt], None] | None = None,
) -> Tuning:
    """Try `attempts` settings on one half of the users and mark them on the other; the default is always the first.

    Further attempts are proposed by Optuna's tree-structured Parzen estimator (Bergstra et al. 2011).

    Raises
    ------
    UpliftError
        Where `attempts` is below 1, or Optuna is not installed and more than one attempt is asked for.
    """
    if attempts < 1:
        raise UpliftError(f"attempts must be at least 1, not {attempts}")
    first = Settings() if start is None else start
    train, held = split_halves(trial, np.random.default_rng([seed, 14]))
    known, unknown = trial.take(train), trial.take(held)
    made: list[Attempt] = []
    shares: list[np.ndarray] = []

    def attempt(settings: Settings) -> float:
        effects = UpliftNetwork(settings).fit(known, seed=seed).predict(unknown.features)
        area = policy_curve(unknown, effects).area
        best = effects.uplift.argmax(axis=1)
        rows = np.arange(len(unknown))
        scores = dr_scores(unknown, effects)
        rank = np.empty(rows.size)
        rank[np.argsort(-effects.uplift[rows, best], kind="stable")] = (rows + 0.5) / rows.size
        shares.append((1.0 - rank) * (scores[rows, best + 1] - scores[:, 0]))
        tried = Attempt(settings, area, float(shares[-1].std(ddof=1) / np.sqrt(rows.size)))
        made.append(tried)
        if on_attempt:
            on_attempt(tried)
        return area

    attempt(first)
    if attempts > 1:
        _search(attempt, first, attempts - 1, seed)
    winner = int(np.argmax([tried.value for tried in made]))
    gap = shares[winner] - shares[0]
    surely = gap.mean() > gap.std(ddof=1) / np.sqrt(gap.size)
    return Tuning(made[winner].settings if surely else first, tuple(made))


def _search(attempt: Callable[[Settings], float], first: Settings, attempts: int, seed: int) -> None:
    try:
        import optuna
    except ImportError:
        raise UpliftError("more than one attempt needs Optuna: pip install 'coupon-allocator[learn]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(lambda draw: attempt(_proposed(draw, first)), n_trials=attempts)


def _proposed(draw: Any, first: Settings) -> Settings:
    """Settings near the default: what matters is how hard effects are shrunk and how large the towers are."""
    width = draw.suggest_categorical("effect_width", [16, 32, 64])
    return dataclasses.replace(
        first,
        effect_hidden=(width,) if draw.suggest_categorical("effect_layers", [1, 2]) == 1 else (width, width // 2),
        effect=dataclasses.replace(
            first.effect,
            rate=draw.suggest_float("effect_rate", 1e-3, 6e-3, log=True),
            decay=draw.suggest_float("effect_decay", 0.5, 8.0, log=True),
        ),
        base=dataclasses.replace(first.base, decay=draw.suggest_float("base_decay", 0.05, 0.8, log=True)),
        growth=dataclasses.replace(
            first.growth,
            prior=draw.suggest_float("tree_prior", 0.005, 0.1, log=True),
            depth=draw.suggest_int("tree_depth", 2, 4),
        ),
    )
