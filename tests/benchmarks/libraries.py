"""The field's own libraries, CausalML and EconML, on the same trials: incremental spend of users, for the same solver.

Both are optional: `pip install causalml econml lightgbm` (beside the project, where their versions allow). What is not
installed is left out, with a message. Each learner is used as its documentation shows it, with LightGBM where it wants a
regression, the known chances of the trial, and no tuning.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Learner = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int], np.ndarray]


def learners() -> Iterator[tuple[str, Learner]]:
    """Yield names and functions of `(x, arm, spend, users, seed)` to uplift `(users, coupons)`, of what is installed."""
    for library, found in (("causalml", _causalml), ("econml", _econml)):
        try:
            yield from list(found())
        except ImportError as error:
            print(f"{library} is not there and is left out ({error}); pip install {library} lightgbm", file=sys.stderr)


def _boosting(seed: int) -> Any:
    from lightgbm import LGBMRegressor

    return LGBMRegressor(
        n_estimators=150, learning_rate=0.05, num_leaves=15, min_child_samples=200, random_state=seed, verbose=-1
    )


def _causalml() -> Iterator[tuple[str, Learner]]:
    from causalml.inference.meta import BaseDRRegressor, BaseRRegressor, BaseTRegressor, BaseXRegressor

    def learner(kind: Any, knows: bool) -> Learner:
        def run(x: np.ndarray, arm: np.ndarray, spend: np.ndarray, users: np.ndarray, seed: int) -> np.ndarray:
            arms = int(arm.max()) + 1
            # Of one coupon against control alone: in halves.
            chances = {k: np.full(len(x), 0.5) for k in range(1, arms)}
            model = kind(_boosting(seed), control_name=0)
            if kind is BaseDRRegressor:
                # Out of fold by itself; it estimates the chances from the arms' shares.
                chances = {k: np.full(len(x), 1.0 / arms) for k in range(arms)}
            model.fit(x, arm, spend, **({"p": chances} if knows else {}))
            return np.asarray(model.predict(users, **({"p": _of(chances, len(users))} if knows else {})))

        return run

    yield "CausalML T, LightGBM", learner(BaseTRegressor, False)
    yield "CausalML X, LightGBM", learner(BaseXRegressor, True)
    yield "CausalML R, LightGBM", learner(BaseRRegressor, True)
    yield "CausalML DR, LightGBM", learner(BaseDRRegressor, True)


def _of(chances: dict[int, np.ndarray], n: int) -> dict[int, np.ndarray]:
    return {k: np.full(n, p[0]) for k, p in chances.items()}


def _econml() -> Iterator[tuple[str, Learner]]:
    from econml.dml import CausalForestDML
    from econml.dr import DRLearner, LinearDRLearner
    from sklearn.dummy import DummyClassifier

    def learner(make: Callable[[int], Any]) -> Learner:
        def run(x: np.ndarray, arm: np.ndarray, spend: np.ndarray, users: np.ndarray, seed: int) -> np.ndarray:
            model = make(seed).fit(spend, arm, X=x)
            return np.asarray(model.const_marginal_effect(users)).reshape(len(users), -1)

        return run

    lots = DummyClassifier(strategy="prior")  # the arms were drawn without regard to users

    def dr(kind: Any, **more: Any) -> Callable[[int], Any]:
        return lambda seed: kind(model_propensity=lots, model_regression=_boosting(seed), random_state=seed, **more)

    yield "EconML LinearDR", learner(dr(LinearDRLearner))
    yield (
        "EconML DR, LightGBM",
        learner(
            lambda seed: DRLearner(
                model_propensity=lots, model_regression=_boosting(seed), model_final=_boosting(seed), random_state=seed
            )
        ),
    )
    yield (
        "EconML CausalForestDML",
        learner(
            lambda seed: CausalForestDML(
                model_y=_boosting(seed),
                model_t=lots,
                discrete_treatment=True,
                n_estimators=200,
                min_samples_leaf=50,
                random_state=seed,
                n_jobs=1,
            )
        ),
    )
