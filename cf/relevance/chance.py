"""Trees and a network that tell the probability together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cf.boosting import Trees
from cf.relevance.network import Perceptron

Floats = npt.NDArray[np.float32]
TREES = 0.4  # share of the trees in the mean


@dataclass(frozen=True)
class Chance:
    """A mean of the log-odds by trees and by a network: they err differently, and their mean errs less than either.

    Attributes
    ----------
    trees, network
        Fitted to the same rows of features.
    """

    trees: Trees
    network: Perceptron

    def odds(self, rows: Floats) -> npt.NDArray[np.float64]:
        """Return the log-odds of each row of features, `(rows,)`."""
        return TREES * logit(self.trees.predict(rows)) + (1.0 - TREES) * self.network.odds(rows)


def logit(probability: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return log(p / (1 - p))."""
    sure = np.clip(probability, 1e-7, 1 - 1e-7)
    return np.log(sure) - np.log1p(-sure)
