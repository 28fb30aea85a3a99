"""Stochastic descent of the small networks of relevance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
FIRST, SECOND = 0.9, 0.999  # what the running means of slopes and of their squares keep of a step
LEAST_BATCH = 32
STEPS = 80  # of a pass over the rows at least, where there are rows for it
TINY = np.float32(1e-8)


class Adam:
    """Adam (Kingma & Ba, ICLR 2015, arXiv:1412.6980) whose rate falls to 0 along half a cosine, with decay apart (arXiv:1711.05101).

    Parameters
    ----------
    weights
        Arrays of float32, changed in place.
    rate, steps
        The first step's rate; after so many steps it is 0.
    decay
        Share, of a rate of 1, that weights of two dimensions lose in a step.
    """

    def __init__(self, weights: Sequence[Floats], rate: float, steps: int, decay: float) -> None:
        self.weights = weights
        self._rate, self._steps, self._decay, self._step = rate, steps, decay, 0
        self._mean = [np.zeros_like(weight) for weight in weights]
        self._square = [np.zeros_like(weight) for weight in weights]

    def step(self, slopes: Sequence[Floats]) -> None:
        """Go down the slopes of the loss by the weights."""
        self._step += 1
        rate = self._rate * 0.5 * (1.0 + np.cos(np.pi * self._step / self._steps))
        size = np.float32(rate / (1.0 - FIRST**self._step))
        unbiased = np.float32(1.0 / (1.0 - SECOND**self._step))
        kept = np.float32(1.0 - rate * self._decay)
        for weight, slope, mean, square in zip(self.weights, slopes, self._mean, self._square, strict=True):
            mean += np.float32(1.0 - FIRST) * (slope - mean)
            square += np.float32(1.0 - SECOND) * (slope * slope - square)
            weight -= size * mean / (np.sqrt(square * unbiased) + TINY)
            if weight.ndim == 2:
                weight *= kept


def descend(
    weights: Sequence[Floats],
    rows: npt.NDArray[np.integer[Any]],
    slopes: Callable[[npt.NDArray[np.integer[Any]]], Sequence[Floats]],
    rng: np.random.Generator,
    *,
    epochs: int,
    batch: int,
    rate: float,
    decay: float,
) -> None:
    """Change weights in place by passes over `rows` (numbers) in random order, at most `batch` a step.

    `slopes` returns those of the loss of some rows by each of the weights; `rate` and `decay` are those of `Adam`.
    """
    batch = batch_of(batch, rows.size)
    adam = Adam(weights, rate, epochs * (rows.size // batch), decay)
    for _ in range(epochs):
        order = rng.permutation(rows)
        for begin in range(0, rows.size - batch + 1, batch):
            adam.step(slopes(order[begin : begin + batch]))


def batch_of(most: int, rows: int) -> int:
    """Return how many rows a step takes: `most`, and fewer where there are so few rows that a pass would be of few steps."""
    return max(1, min(rows, most, max(LEAST_BATCH, rows // STEPS)))


def chance_of(odds: Floats) -> Floats:
    """Return 1 / (1 + exp(-odds)), in place."""
    np.clip(odds, -30.0, 30.0, out=odds)
    np.negative(odds, out=odds)
    np.exp(odds, out=odds)
    odds += 1.0
    np.reciprocal(odds, out=odds)
    return odds
