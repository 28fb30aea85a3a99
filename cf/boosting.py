"""Gradient boosting of trees, by LightGBM; the rest of the package sees arrays only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cf.errors import FileError, UsageError
from cf.forest import forest_of

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Boosting:
    """Histogram gradient boosting: Ke et al., *LightGBM*, NIPS 2017.

    Attributes
    ----------
    rounds, leaves, rate
        Trees, leaves of each, and the step they are added with.
    least_rows
        Rows of a leaf at least.
    share_of_columns, share_of_rows
        What each tree sees.
    ridge
        Penalty on leaves' squared values.
    threads
        Of training; 0 for all cores. One by default: more are faster on idle cores, and many times slower on busy ones,
        where LightGBM's threads wait for each other. The trees do not depend on it. Prediction takes all cores.
    """

    rounds: int = 300
    leaves: int = 31
    rate: float = 0.04
    least_rows: int = 500
    share_of_columns: float = 0.35
    share_of_rows: float = 0.7
    ridge: float = 5.0
    threads: int = 1

    def fit(self, features: Floats, target: npt.NDArray[Any], objective: str, seed: int) -> Trees:
        """Fit to `(rows, columns)` features, NaN allowed; `objective` is LightGBM's (`binary`, `gamma`)."""
        lightgbm = imported()
        parameters = {
            "objective": objective,
            "num_leaves": self.leaves,
            "learning_rate": self.rate,
            "max_bin": 127,
            "min_data_in_leaf": self.least_rows,
            "feature_fraction": self.share_of_columns,
            "bagging_fraction": self.share_of_rows,
            "bagging_freq": 1,
            "lambda_l2": self.ridge,
            "seed": seed,
            "num_threads": self.threads,
            "verbosity": -1,
            "deterministic": True,
            "force_row_wise": True,
        }
        data = lightgbm.Dataset(features, np.asarray(target, np.float32), free_raw_data=True)
        return Trees(lightgbm.train(parameters, data, self.rounds).model_to_string())


def imported() -> Any:
    """Return LightGBM, or say how to get it."""
    try:
        import lightgbm
    except ImportError as error:
        raise UsageError("boosted trees need LightGBM: pip install 'coupon-allocator[learn]'") from error
    return lightgbm


class Trees:
    """Fitted trees, as LightGBM's text."""

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            self._booster = imported().Booster(model_str=text)
        except imported().basic.LightGBMError as error:
            raise FileError(f"the trees cannot be read: {error}") from error
        self._forest = forest_of(text)

    def predict(self, features: Floats, threads: int = 0) -> npt.NDArray[np.float64]:
        """Return predictions on the objective's scale (probabilities, means), `(rows,)`."""
        if self._forest is not None:
            return self._forest.predict(features)
        return np.asarray(self._booster.predict(features, num_threads=threads), np.float64)
