"""Passes over a shard on the threads of this machine."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from allocator.executors.shard import Shard
from allocator.executors.terms import Terms
from allocator.kernels import grid, losses, passes, smoothing, ties
from allocator.kernels.blocks import map_blocks

ANY = np.empty(0, np.bool_)
PLAIN = 3  # columns of a table without further columns: value, cost, count


@dataclass(frozen=True, eq=False)
class Tables:
    """Multipliers by coupon (`wide`), and by user group and coupon class (`narrow`, may be empty)."""

    wide: np.ndarray
    narrow: np.ndarray
    class_of: np.ndarray


@dataclass(frozen=True, eq=False)
class Cover:
    """Which limits (or levers, `folding.Levers`) cover which offers, as lists, and each one's weights.

    The `n_shared` first of them are counted for all users together, the others for each user group.
    """

    weights: np.ndarray
    wide_start: np.ndarray
    wide_limit: np.ndarray
    pair_start: np.ndarray
    pair_limit: np.ndarray
    n_classes: int
    n_shared: int


@dataclass(frozen=True, eq=False)
class Choices:
    """The outcome of an exact pass (see `kernels.passes.best_choices`)."""

    total: float
    used_wide: np.ndarray
    used_narrow: np.ndarray
    picked: np.ndarray
    active: np.ndarray


@dataclass(frozen=True, eq=False)
class SoftChoices:
    """The outcome of a smoothed pass (see `kernels.smoothing.soft_choices`).

    Attributes
    ----------
    matrix
        The Hessian or, where `spread` was asked for, the second moment, in levers: (shared, own), or as a list.
    """

    total: float
    used_wide: np.ndarray
    used_narrow: np.ndarray
    matrix: tuple[np.ndarray, np.ndarray] | Terms


@dataclass
class PassCounter:
    """Counts offers read, for the figure of full passes."""

    offers: int = 0
    full: int = 1

    @property
    def passes(self) -> float:
        """Passes over all offers."""
        return self.offers / self.full


@dataclass(frozen=True)
class LocalExecutor:
    """Runs passes in blocks of users, on threads; results do not depend on their number."""

    threads: int | None = None
    counter: PassCounter = field(default_factory=PassCounter)

    def choose(self, shard: Shard, tables: Tables, radius: Tables | None = None) -> Choices:
        """Return every user's best choice; with `radius`, set aside users whose choice may change in the box."""
        self.counter.offers += shard.n_offers
        second = tables if radius is None else radius
        parts = map_blocks(
            lambda low, high: passes.best_choices(
                low,
                high,
                *shard.arrays(),
                tables.wide,
                tables.narrow,
                tables.class_of,
                second.wide,
                second.narrow,
                radius is not None,
            ),
            shard.n_users,
            self.threads,
        )
        return Choices(
            total=float(sum(part[0] for part in parts)),
            used_wide=_total(parts, 1, tables.wide.shape),
            used_narrow=_total(parts, 2, tables.narrow.shape),
            picked=_joined(parts, 3),
            active=_joined(parts, 4),
        )

    def choose_between(self, shard: Shard, first: tuple[Tables, Tables], last: tuple[Tables, Tables]) -> Choices:
        """Return the choices that are the same throughout two boxes (tables and radii each); set other users aside."""
        if shard.is_plain_grid and not first[0].narrow.size and first[0].wide.shape[1] == PLAIN:
            return self._choose_between_on_grid(shard, first, last)
        begin, end = self.choose(shard, *first), self.choose(shard, *last)
        seen = np.zeros(shard.n_offers, np.uint8)
        seen[begin.picked] = 1
        seen[end.picked] += 2
        open_ = np.zeros(shard.n_users, np.bool_)
        open_[begin.active] = True
        open_[end.active] = True
        open_[shard.users_of(begin.picked[seen[begin.picked] != 3])] = True
        open_[shard.users_of(end.picked[seen[end.picked] != 3])] = True
        owner = shard.users_of(begin.picked)
        opened = np.flatnonzero(open_[owner])
        offers = begin.picked[opened]
        passes.add_offers(
            offers.size,
            offers,
            owner[opened],
            np.full(offers.size, -1.0),
            shard.width,
            shard.coupon,
            shard.value,
            shard.cost,
            shard.extra,
            shard.group,
            first[0].class_of,
            begin.used_wide,
            begin.used_narrow,
        )
        return Choices(
            total=np.nan,  # between two prices it has no one value
            used_wide=begin.used_wide,
            used_narrow=begin.used_narrow,
            picked=np.delete(begin.picked, opened),
            active=np.flatnonzero(open_),
        )

    def _choose_between_on_grid(
        self, shard: Shard, first: tuple[Tables, Tables], last: tuple[Tables, Tables]
    ) -> Choices:
        self.counter.offers += shard.n_offers

        def block(low: int, high: int) -> tuple[np.ndarray, ...]:
            used = np.zeros(first[0].wide.shape)
            tables = first[0].wide, first[1].wide, last[0].wide, last[1].wide
            picked, active = grid.choose_between_on_grid(low, high, shard.value, shard.cost, *tables, used)
            return used, picked, active

        parts = map_blocks(block, shard.n_users, self.threads)
        return Choices(
            total=np.nan,
            used_wide=_total(parts, 0, first[0].wide.shape),
            used_narrow=first[0].narrow,
            picked=_joined(parts, 1),
            active=_joined(parts, 2),
        )

    def soften(
        self, shard: Shard, tables: Tables, tau: float, cover: Cover, *, spread: bool, listed: bool
    ) -> SoftChoices:
        """Return the smoothed dual's parts at temperature `tau` (currency)."""
        self.counter.offers += shard.n_offers
        parts = map_blocks(
            lambda low, high: smoothing.soft_choices(
                low,
                high,
                *shard.arrays(),
                tables.wide,
                tables.narrow,
                tables.class_of,
                tau,
                cover.weights,
                cover.wide_start,
                cover.wide_limit,
                cover.pair_start,
                cover.pair_limit,
                cover.n_classes,
                cover.n_shared,
                spread,
                listed,
            ),
            shard.n_users,
            self.threads,
        )
        shared, everything = cover.n_shared, cover.weights.shape[0]
        own = (max(1, tables.narrow.shape[0]), everything - shared, everything)
        return SoftChoices(
            total=float(sum(part[0] for part in parts)),
            used_wide=_total(parts, 1, tables.wide.shape),
            used_narrow=_total(parts, 2, tables.narrow.shape),
            matrix=(
                Terms.of([part[5] for part in parts], everything)
                if listed
                else (_total(parts, 3, (shared, shared)), _total(parts, 4, own))
            ),
        )

    def near_ties(
        self, shard: Shard, tables: Tables, widths: np.ndarray, cover: Cover
    ) -> tuple[float, np.ndarray, np.ndarray]:
        """Return (total, ties, counts) of users who get at most one offer: see `kernels.ties.near_ties`."""
        self.counter.offers += shard.n_offers
        n = cover.weights.shape[0]
        parts = map_blocks(
            lambda low, high: ties.near_ties(
                low,
                high,
                *shard.arrays()[:7],
                tables.wide,
                tables.narrow,
                tables.class_of,
                widths,
                cover.weights,
                cover.wide_start,
                cover.wide_limit,
                cover.pair_start,
                cover.pair_limit,
                cover.n_classes,
            ),
            shard.n_users,
            self.threads,
        )
        shape = widths.size, n
        return float(sum(part[0] for part in parts)), _total(parts, 1, (*shape, n)), _total(parts, 2, shape)

    def losses(
        self, shard: Shard, tables: Tables, most: float, wanted: np.ndarray = ANY
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the offers whose flip loses at most `most`, that loss, and whether each is chosen now.

        Only those of coupons that are `wanted` `(n_coupons,)` bool, of all where that is empty.
        """
        self.counter.offers += shard.n_offers
        parts = map_blocks(
            lambda low, high: losses.flip_losses(
                low, high, *shard.arrays(), tables.wide, tables.narrow, tables.class_of, most, wanted
            ),
            shard.n_users,
            self.threads,
        )
        return _joined(parts, 0), _joined(parts, 1), _joined(parts, 2).astype(bool)


def _total(parts: list[tuple[np.ndarray, ...]], position: int, shape: tuple[int, ...]) -> np.ndarray:
    total = np.zeros(shape)
    for part in parts:
        total += part[position]
    return total


def _joined(parts: list[tuple[np.ndarray, ...]], position: int) -> np.ndarray:
    return np.concatenate([part[position] for part in parts]) if parts else np.empty(0, np.int64)
