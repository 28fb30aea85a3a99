"""The path that prices take as one limit's number changes, told from a sample of the users."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from allocator.solvers import boxes, newton
from allocator.solvers.piece import Piece
from allocator.solvers.prices import ERRORS, Search

SAMPLE = 4_000  # users
ANCHORS = 5  # numbers that the sample is searched at, the others lie between them
LOOKED_AT = 9  # numbers, where the path is held against a straight line
SEEN = 0.1  # of the users' error is left where the sample is all of them: what smoothing adds


@dataclass(frozen=True, eq=False)
class Path:
    """A sample's prices at two numbers or more.

    Attributes
    ----------
    numbers
        `(n,)`, ascending.
    prices
        `(n, n_limits)`: the sample's prices.
    error
        `(2, n_limits)`: by how much the first and the last may differ from those of all users, all but surely.
    likely
        A box around the first and the last prices that holds those of all users, all but surely.
    """

    numbers: np.ndarray
    prices: np.ndarray
    error: np.ndarray
    likely: tuple[boxes.Box, boxes.Box]

    def at(self, number: float) -> np.ndarray:
        """Return the sample's prices at a number, `(n_limits,)`."""
        found: np.ndarray = self._cubic(np.array([number]))[0]
        return found

    def error_at(self, number: float) -> np.ndarray:
        """Return the error at a number, `(n_limits,)`."""
        share = (number - self.numbers[0]) / (self.numbers[-1] - self.numbers[0])
        error: np.ndarray = self.error[0] + share * (self.error[1] - self.error[0])
        return error

    def bent(self, low: float, high: float) -> np.ndarray:
        """Return how far the path strays from the straight line between two of its numbers, `(n_limits,)`."""
        found = self._cubic(np.linspace(low, high, LOOKED_AT))
        straight = np.linspace(found[0], found[-1], LOOKED_AT)
        strayed: np.ndarray = np.abs(found - straight).max(axis=0)
        return strayed

    @cached_property
    def _slopes(self) -> np.ndarray:
        """By number, `(n, n_limits)`: slopes of a cubic that leaves no neighbours' range (Fritsch & Carlson, 1980)."""
        rise = np.diff(self.prices, axis=0) / np.diff(self.numbers)[:, None]
        before, after = rise[:-1], rise[1:]
        # At an inner number the harmonic mean of those beside it, none where they have not the same sign.
        same = before * after > 0
        inner = np.where(same, 2.0 * before * after / np.where(same, before + after, 1.0), 0.0)
        return np.concatenate([rise[:1], inner, rise[-1:]])

    def _cubic(self, numbers: np.ndarray) -> np.ndarray:
        """Return the sample's prices at some numbers, `(k, n_limits)`."""
        place = np.clip(np.searchsorted(self.numbers, numbers) - 1, 0, self.numbers.size - 2)
        h = (self.numbers[place + 1] - self.numbers[place])[:, None]
        t = (numbers - self.numbers[place])[:, None] / h
        rows, slopes = self.prices, self._slopes
        cubic: np.ndarray = (
            (1 + 2 * t) * (1 - t) ** 2 * rows[place]
            + t * (1 - t) ** 2 * h * slopes[place]
            + t**2 * (3 - 2 * t) * rows[place + 1]
            + t**2 * (t - 1) * h * slopes[place + 1]
        )
        return cubic


def sampled_path(search: Search, at: int, numbers: Sequence[float], prices: np.ndarray, tau: float) -> Path | None:
    """Follow limit `at` of a sample from the greatest number down, from `prices` at temperature `tau` on.

    `numbers` ascends to the one that the search has. `None` where the limits are too many for a few users to tell, or no plan exists.
    """
    whole = search.whole
    if whole.folding.is_listed or not whole.shard.n_users:
        return None
    many = whole.shard.n_users > 3 * SAMPLE
    sample = whole.sample(SAMPLE, search.rng) if many else whole
    share = sample.shard.n_users / whole.shard.n_users
    floor, signs = search.floor * share, search.signs
    anchors = np.unique(np.linspace(0, len(numbers) - 1, ANCHORS).round().astype(np.int64))
    anchors = np.array([numbers[anchor] for anchor in anchors])
    spread = max(1.0 - share, SEEN**2) ** 0.5 * ERRORS / sample.shard.n_users**0.5
    error, found, ends = np.zeros(prices.size), [], []
    for place, number in enumerate(anchors[::-1].tolist()):
        piece = _with_number(sample, at, share * (number - numbers[-1]))
        if place in (0, anchors.size - 1):  # between the ends the error changes little
            survey = search.cool(piece, signs, prices, tau, floor, error)
            prices, tau, error, value = survey.prices, survey.tau, survey.error, survey.value
            ends.append((spread * error, search.likely_box(piece, prices, survey, signs, share)))
        else:
            descent = newton.minimise(
                piece, prices, tau, search.scale, signs.low, signs.high, floor=floor, deadline=search.deadline
            )
            prices, value = descent.prices, descent.value
        if value < floor:
            return None
        found.append(prices)
    (last_error, last), (first_error, first) = ends[0], ends[-1]
    return Path(anchors, np.array(found[::-1]), np.stack([first_error, last_error]), (first, last))


def _with_number(piece: Piece, at: int, more: float) -> Piece:
    """Return a piece with so much more in its limit `at`."""
    at_most = piece.folding.at_most.copy()
    at_most[at] += more
    return dataclasses.replace(piece, folding=piece.folding.with_bounds(piece.folding.at_least, at_most))
