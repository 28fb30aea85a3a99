"""A small network of two hidden layers that tells a probability from a row of features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cf.relevance import kernels
from cf.relevance.descent import chance_of, descend

Floats = npt.NDArray[np.float32]
MOST = 5.0  # deviations; features further out count as so far
BLOCK = 4_096  # rows to foretell at a time, that stay in cache
LEAST_SCALE = 1e-6
SCALE_ROWS = 100_000  # that means and deviations are taken from


@dataclass(frozen=True)
class Network:
    """Rectified units in two layers, fitted to log-loss by Adam.

    Features are brought to mean 0 and deviation 1; one that is missing counts as its mean, and whether it is missing is a
    feature of its own.

    Attributes
    ----------
    hidden
        Units of the two layers.
    epochs, batch, rate, decay
        Passes over the rows, rows of a step at most, and the rate and the decay of `cf.relevance.descent.Adam`.
    """

    hidden: tuple[int, int] = (64, 32)
    epochs: int = 10
    batch: int = 1_024
    rate: float = 0.003
    decay: float = 0.1

    def fit(
        self, features: Floats, target: npt.NDArray[np.bool_], rows: npt.NDArray[np.integer[Any]], seed: int
    ) -> Perceptron:
        """Fit to some `rows` (numbers) of `(n, columns)` features, NaN allowed, and `(n,)` targets."""
        rng = np.random.default_rng(seed)
        middle, scale, missing = scaled(features[rows[:: max(1, rows.size // SCALE_ROWS)]])
        share = (target[rows].sum() + 0.5) / (rows.size + 1.0)
        found = Perceptron(middle, scale, missing, self._first(middle.size + missing.size, share, rng))
        descend(
            found.weights,
            rows,
            lambda some: found.slopes(features[some], target[some]),
            rng,
            epochs=self.epochs,
            batch=self.batch,
            rate=self.rate,
            decay=self.decay,
        )
        return found

    def _first(self, inputs: int, share: float, rng: np.random.Generator) -> tuple[Floats, ...]:
        """Return weights to begin with: He et al. 2015, doi:10.1109/ICCV.2015.123, and the base rate as the last intercept."""
        weights: list[Floats] = []
        for before, after in ((inputs, self.hidden[0]), self.hidden, (self.hidden[1], 1)):
            weights.append((rng.normal(size=(before, after)) * np.sqrt(2.0 / before)).astype(np.float32))
            weights.append(np.zeros(after, np.float32))
        weights[-2] *= np.float32(0.1)
        weights[-1] += np.float32(np.log(share / (1.0 - share)))
        return tuple(weights)


@dataclass(frozen=True)
class Perceptron:
    """A fitted network.

    Attributes
    ----------
    middle, scale
        `(columns,)` means and deviations of the features.
    missing
        Numbers of the columns that may be NaN.
    weights
        Weights and intercepts of the three layers in turn.
    """

    middle: Floats
    scale: Floats
    missing: npt.NDArray[np.int64]
    weights: tuple[Floats, ...]

    def odds(self, rows: Floats) -> npt.NDArray[np.float64]:
        """Return the log-odds of each row of features, `(rows,)`."""
        out = np.empty(len(rows))
        for begin in range(0, len(rows), BLOCK):
            out[begin : begin + BLOCK] = self._layers(rows[begin : begin + BLOCK])[-1][:, 0]
        return out

    def _layers(self, rows: Floats) -> list[Floats]:
        """Return the inputs, both hidden layers and the log-odds of rows."""
        inputs = np.empty((len(rows), self.middle.size + self.missing.size), np.float32)
        kernels.standard(rows, self.middle, self.scale, np.float32(MOST), self.missing, inputs)
        out = [inputs]
        for place in range(0, len(self.weights), 2):
            layer = out[-1] @ self.weights[place]
            layer += self.weights[place + 1]
            out.append(layer if place == len(self.weights) - 2 else np.maximum(layer, 0.0, out=layer))
        return out

    def slopes(self, rows: Floats, target: npt.NDArray[np.bool_]) -> list[Floats]:
        """Return the slopes of the mean log-loss of rows by each of the weights."""
        *layers, odds = self._layers(rows)
        wrong = chance_of(odds)
        wrong -= target[:, None]
        wrong /= np.float32(len(rows))
        out: list[Floats] = []
        for place in range(len(layers) - 1, -1, -1):
            out[:0] = [layers[place].T @ wrong, wrong.sum(axis=0)]
            if place:
                wrong = wrong @ self.weights[2 * place].T
                wrong *= layers[place] > 0
        return out


def scaled(some: Floats) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
    """Return means and deviations of what is not NaN in rows of features, `(columns,)`, and the numbers of columns with NaN."""
    absent = np.isnan(some)
    known = np.maximum((~absent).sum(axis=0), 1)
    middle = np.nansum(some, axis=0, dtype=np.float64) / known
    spread = np.sqrt(np.nansum((some - middle) ** 2, axis=0) / known)
    # a column without spread says nothing, and must not say much of a row that differs by a rounding
    scale = np.where(spread > LEAST_SCALE, spread, 1.0)
    missing = np.flatnonzero(absent.any(axis=0)).astype(np.int64)
    return middle.astype(np.float32), scale.astype(np.float32), missing
