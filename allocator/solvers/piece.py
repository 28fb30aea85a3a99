"""A part of the dual: some users whose choices may still change, and a linear rest.

The dual is D(y) = sum over limits of y_r b_r + sum over users of the best reduced value (DESIGN, section 3). Inside a box
of prices where a user's choice is constant, that user's term is linear; so inside the box D is a constant, plus prices
times what is left of the limits, plus the terms of the few other users. Being convex, D is at its global minimum where a
minimum over the box lies in the box's interior.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from allocator.executors.local import Choices, LocalExecutor, SoftChoices
from allocator.executors.shard import Shard
from allocator.executors.terms import Terms
from allocator.solvers.folding import Folding

LEVELS = np.array([1.0, 6.0, 36.0, 216.0])  # widths within which near ties are counted
BLURRED = 6.0  # times its own width, that a limit's ties may be from
Curvature = np.ndarray | Terms  # (n_limits, n_limits), symmetric


@dataclass(frozen=True, eq=False)
class Piece:
    """Users whose choices may change, and what the others' fixed choices add.

    Attributes
    ----------
    folding
        The limits, with what the fixed choices use taken off their numbers.
    value
        Value of the fixed choices, currency.
    picked
        The fixed choices: the problem's offer indices.
    """

    shard: Shard
    folding: Folding
    executor: LocalExecutor
    value: float
    picked: tuple[np.ndarray, ...]

    def rhs(self, prices: np.ndarray) -> float:
        """Return the sum of prices times the numbers they act on."""
        up, down = prices > 0, prices < 0
        folding = self.folding
        return float(prices[up] @ folding.at_most[up] + prices[down] @ folding.at_least[down])

    @property
    def gets_one(self) -> bool:
        """Whether users get at most one offer each."""
        return self.shard.gets_one

    def exact(self, prices: np.ndarray) -> tuple[float, np.ndarray, Choices]:
        """Return the dual at these prices, each limit's usage (fixed choices not counted), and the choices."""
        choices = self.executor.choose(self.shard, self.folding.tables(prices))
        used = self.folding.usage(choices.used_wide, choices.used_narrow)
        return self.value + self.rhs(prices) + choices.total, used, choices

    def soft(self, prices: np.ndarray, tau: float) -> tuple[float, np.ndarray, Curvature]:
        """Return the smoothed dual at temperature `tau`, expected usage, and curvature `(n_limits, n_limits)`."""
        soft = self._softened(prices, tau, spread=False)
        used = self.folding.usage(soft.used_wide, soft.used_narrow)
        curvature = soft.matrix if isinstance(soft.matrix, Terms) else self.folding.by_limit(soft.matrix)
        return self.value + self.rhs(prices) + soft.total, used, curvature

    def bend(self, prices: np.ndarray, widths: np.ndarray, enough: float) -> tuple[float, np.ndarray, np.ndarray]:
        """Return the dual, its curvature `(n_limits, n_limits)`, and which prices that tells about.

        The curvature is how many users change their choice as prices move, from those whose choices are within about
        `widths` `(n_limits,)` (currency) of a tie, or within more where those are not `enough`: then it tells little. Users
        get at most one offer each.
        """
        levels = float(widths.min()) * LEVELS
        tables = self.folding.tables(prices)
        total, ties, counts = self.executor.near_ties(self.shard, tables, levels, self.folding.cover)
        ties, counts = ties.cumsum(axis=0), counts.cumsum(axis=0)
        plenty = counts >= enough
        level = np.where(plenty.any(axis=0), plenty.argmax(axis=0), LEVELS.size - 1)
        told = plenty.any(axis=0) & (levels[level] <= BLURRED * widths)
        pair = np.maximum(level[:, None], level[None, :])
        curvature = np.take_along_axis(ties, pair[None], axis=0)[0] / (2.0 * levels[pair])
        curvature[level[:, None] != level[None, :]] = 0.0  # or it might not be convex
        return self.value + self.rhs(prices) + total, curvature, told

    def spread(self, prices: np.ndarray, tau: float) -> np.ndarray | sp.dia_array:
        """Return the covariance of one user's usage at temperature `tau`, `(n_limits, n_limits)`.

        Where there are very many limits, each one's variance is on the diagonal and nothing beside it.
        """
        soft = self._softened(prices, tau, spread=True)
        used, n = self.folding.usage(soft.used_wide, soft.used_narrow), self.shard.n_users
        if isinstance(soft.matrix, Terms):
            return sp.diags_array(soft.matrix.diagonal() / n - (used / n) ** 2)
        covariance: np.ndarray = (self.folding.by_limit(soft.matrix) - np.outer(used, used) / n) / n
        return covariance

    def _softened(self, prices: np.ndarray, tau: float, *, spread: bool) -> SoftChoices:
        cover = self.folding.levers.cover
        tables = self.folding.tables(prices)
        return self.executor.soften(self.shard, tables, tau, cover, spread=spread, listed=self.folding.is_listed)

    def inside(self, prices: np.ndarray, radius: np.ndarray) -> Piece:
        """Fix every user whose choice is constant in the box `prices` +- `radius`; return the piece that is left."""
        return self._without(self.executor.choose(self.shard, self.folding.tables(prices), self.folding.radii(radius)))

    def between(self, first: tuple[np.ndarray, np.ndarray], last: tuple[np.ndarray, np.ndarray]) -> Piece:
        """Fix every user who chooses the same in two boxes, and so between them: see `tubes`; boxes as in `inside`."""
        folding = self.folding
        ends = [(folding.tables(prices), folding.radii(radius)) for prices, radius in (first, last)]
        return self._without(self.executor.choose_between(self.shard, *ends))

    def _without(self, choices: Choices) -> Piece:
        """Return the piece of the users that these choices set aside, the others fixed."""
        used = self.folding.usage(choices.used_wide, choices.used_narrow)
        # Sums by coupon are kept apart from the total of reduced values, so that no price enters the fixed value.
        value = float(choices.used_wide[:, 0].sum())
        return Piece(
            shard=self.shard.take(choices.active, self.executor.threads),
            folding=self.folding.with_bounds(self.folding.at_least - used, self.folding.at_most - used),
            executor=self.executor,
            value=self.value + value,
            picked=(*self.picked, self.shard.originals(choices.picked)),
        ).with_own_groups()

    def with_own_groups(self) -> Piece:
        """Leave groups without users out of the tables, where they are the most of them."""
        folding, group = self.folding, self.shard.group
        if not self.shard.n_users or not folding.narrow.size or 2 * self.shard.n_users > folding.groups.shape[1]:
            return self
        own, renumbered = np.unique(group, return_inverse=True)
        shard = dataclasses.replace(self.shard, group=renumbered.reshape(-1).astype(np.int32))
        return dataclasses.replace(self, shard=shard, folding=folding.with_groups(own))

    def sample(self, n_users: int, rng: np.random.Generator) -> Piece:
        """Return a random sample of the users, one from each of `n_users` equal strata, limits scaled with it."""
        total = self.shard.n_users
        edges = np.arange(n_users) * (total / n_users)
        users = np.minimum((edges + rng.random(n_users) * (total / n_users)).astype(np.int64), total - 1)
        users = np.unique(users)
        share = users.size / total
        piece = dataclasses.replace(
            self,
            shard=self.shard.take(users, self.executor.threads),
            value=self.value * share,
            folding=self.folding.with_bounds(self.folding.at_least * share, self.folding.at_most * share),
        )
        self.executor.counter.offers += piece.shard.n_offers
        return piece.with_own_groups()
