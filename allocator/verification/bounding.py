"""The bound, recomputed from the prices alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from allocator.problem import Problem
from allocator.verification.exact import exact_sum

CHUNK = 1 << 17  # offers looked at together: their arrays stay in the cache
MOST_USERS = (1 << 16) - 1  # looked at together; their numbers then fit 16 bits, which sort fast
ROUNDING = 2.3e-16  # above twice the relative error of one operation on doubles


def recompute_bound(problem: Problem, prices: np.ndarray) -> float:
    """Return a number that no feasible plan can exceed, from prices alone, rounded outward. Currency.

    Weak duality: for prices with the right signs, value <= sum_r y_r b_r + sum over users of the best reduced value.
    Each reduced value is a sum of t terms, whose rounding error is below t * eps * (sum of their sizes); the sums over
    users are exact. The bound adds the errors of all offers that could be chosen.
    """
    return dual(problem, prices, of_value=1.0)


def dual(problem: Problem, prices: np.ndarray, *, of_value: float) -> float:
    """Return the dual function with the offers' value times `of_value`, rounded outward.

    With 0 every plan that keeps the limits earns 0, so that a number below 0 proves that there is none (Farkas' lemma).
    """
    return rounded_dual(problem, prices, of_value=of_value)[0]


def rounded_dual(problem: Problem, prices: np.ndarray, *, of_value: float) -> tuple[float, float]:
    """Return `dual`, and how much of it is room for rounding: where terms cancel, far more than its own last digits."""
    parts, errors = [], []
    for y, limit in zip(prices.tolist(), problem.limits, strict=True):
        number = limit.at_most if y > 0 else limit.at_least
        if y and number is not None:
            parts.append(y * number)
            errors.append(abs(y * number) * ROUNDING)
    charges = _charges(problem, prices)
    for chunk in _chunks(problem):
        reduced, error = _reduced(problem, chunk, charges, of_value)
        parts.append(_best(problem, chunk, reduced))
        errors.append(error)
    total = math.fsum([*parts, *errors])
    return total + abs(total) * 1e-15, math.fsum(errors)


@dataclass(frozen=True)
class _Chunk:
    """Some users, one after the other, and their offers."""

    users: slice
    offers: slice
    starts: np.ndarray | None  # (n_users,) first offer of each, counted from the first of all; None: dense

    @property
    def n_users(self) -> int:
        return self.users.stop - self.users.start

    @property
    def n_offers(self) -> int:
        return self.offers.stop - self.offers.start

    def coupons(self, problem: Problem) -> np.ndarray:
        """Return each offer's coupon."""
        if problem.offers.coupon is None:
            return np.tile(np.arange(problem.n_coupons), self.n_users)
        return problem.offers.coupon[self.offers]

    def owners(self, problem: Problem) -> np.ndarray:
        """Return each offer's user, counted from the first of the chunk."""
        if self.starts is None:
            return np.repeat(np.arange(self.n_users), problem.n_coupons)
        return np.repeat(np.arange(self.n_users), np.diff(np.append(self.starts, self.n_offers)))


def _chunks(problem: Problem) -> Iterator[_Chunk]:
    offers, low = problem.offers, 0
    while low < offers.n_users:
        if offers.start is None:
            high = min(offers.n_users, low + max(1, min(MOST_USERS, CHUNK // offers.n_coupons)))
            yield _Chunk(slice(low, high), slice(low * offers.n_coupons, high * offers.n_coupons), None)
        else:
            first = int(offers.start[low])
            high = int(np.searchsorted(offers.start, first + CHUNK, side="right")) - 1
            high = min(offers.n_users, low + MOST_USERS, max(high, low + 1))
            yield _Chunk(slice(low, high), slice(first, int(offers.start[high])), offers.start[low:high] - first)
        low = high


@dataclass(frozen=True)
class _Charges:
    """What an offer pays for one unit of each column, by the user's group and the coupon's class.

    Attributes
    ----------
    by_column
        For each column that a priced limit measures: `(n_groups, n_classes)` what is charged, and the sum of the sizes
        of what adds up to it. Coupons that the same priced limits cover share a class.
    terms
        How many terms, at most, each is a sum of.
    """

    by_column: dict[str, tuple[np.ndarray, np.ndarray]]
    class_of: np.ndarray  # (n_coupons,)
    terms: int


def _charges(problem: Problem, prices: np.ndarray) -> _Charges:
    priced = np.flatnonzero(prices)
    if not priced.size:
        return _Charges({}, np.zeros(problem.n_coupons, np.int64), 0)
    classes, class_of = np.unique(problem.limit_coupons[priced], axis=1, return_inverse=True)
    covered = classes.astype(np.float64)
    groups = problem.limit_groups[priced].astype(np.float64)
    by_column = {}
    weights = [problem.limits[r].weights for r in priced.tolist()]
    for name in sorted({name for each in weights for name in each}):
        charge = prices[priced] * np.array([each.get(name, 0.0) for each in weights])
        by_column[name] = ((groups.T * charge) @ covered, (groups.T * np.abs(charge)) @ covered)
    return _Charges(by_column, class_of.reshape(-1), priced.size)


def _reduced(problem: Problem, chunk: _Chunk, charges: _Charges, of_value: float) -> tuple[np.ndarray, float]:
    """Return each offer's reduced value, and a bound on the rounding error of any user's choice summed over users."""
    value = problem.offers.value[chunk.offers]
    reduced = value * of_value  # an absent pair stays NaN
    size = np.abs(reduced)
    grid = problem.offers.start is None
    # On a grid a table's rows stand beside the users as they are; else each offer looks up its own cell.
    shape = (chunk.n_users, problem.n_coupons) if grid else (chunk.n_offers,)
    reduced, size = reduced.reshape(shape), size.reshape(shape)
    group: np.ndarray | slice = slice(0, 1)
    cell = charges.class_of
    if problem.user_group is not None:
        group = problem.user_group[chunk.users]
    if not grid and charges.by_column:
        cell = charges.class_of[chunk.coupons(problem)]
        if problem.user_group is not None:
            group = problem.user_group[chunk.users][chunk.owners(problem)]
    for name, (charge, most) in charges.by_column.items():
        if grid:
            paid, sizes = charge[:, cell][group], most[:, cell][group]
        elif isinstance(group, slice):
            paid, sizes = charge[0][cell], most[0][cell]
        else:
            paid, sizes = charge[group, cell], most[group, cell]
        if name != "count":
            column = problem.column(name, chunk.offers).reshape(shape)
            paid, sizes = paid * column, sizes * np.abs(column)
        reduced -= paid
        size += sizes
    reduced, size = reduced.reshape(-1), size.reshape(-1)
    matters = size[reduced > -1e-9 * size]
    terms = charges.terms + 2 * len(charges.by_column) + 6
    return reduced, float(matters.sum()) * (terms * ROUNDING)


def _best(problem: Problem, chunk: _Chunk, reduced: np.ndarray) -> float:
    """Return the sum of these users' best choices under the local rules."""
    low, high = chunk.offers.start, chunk.offers.stop
    required, forbidden = (
        fixed[np.searchsorted(fixed, low) : np.searchsorted(fixed, high)] - low
        for fixed in (problem.required, problem.forbidden)
    )
    reduced[forbidden] = -np.inf
    if not isinstance(problem.max_per_user, np.ndarray) and problem.max_per_user == 1 and not required.size:
        return exact_sum(_largest(problem, chunk, reduced))
    if isinstance(problem.max_per_user, np.ndarray):
        caps = problem.max_per_user[chunk.users].copy()
    else:
        caps = np.full(chunk.n_users, problem.max_per_user)
    owner, group = chunk.owners(problem), problem.exclusive[chunk.coupons(problem)]
    forced = exact_sum(reduced[required])
    if required.size:
        np.subtract.at(caps, owner[required], 1)
        n_groups = int(problem.exclusive.max()) + 1
        taken = required[group[required] >= 0]
        shut = np.zeros(chunk.n_users * n_groups, dtype=bool)
        shut[owner[taken] * n_groups + group[taken]] = True
        if n_groups:
            reduced[(group >= 0) & shut[owner * n_groups + group]] = -np.inf
        reduced[required] = -np.inf
    keep = np.flatnonzero(reduced > 0)  # NaN (absent) fails too
    owner, group, gain = owner[keep], group[keep], reduced[keep]
    order = np.argsort(-gain)
    order = order[np.argsort(owner[order].astype(np.uint16), kind="stable")]
    owner, group, gain = owner[order], group[order], gain[order]
    if (group >= 0).any():
        # Of each exclusive group only the first, and largest, of a user's offers counts.
        key = np.where(group >= 0, owner * (int(problem.exclusive.max()) + 1) + group, -1 - np.arange(group.size))
        first = np.sort(np.unique(key, return_index=True)[1])
        owner, gain = owner[first], gain[first]
    rank = np.arange(owner.size) - np.searchsorted(owner, np.arange(chunk.n_users))[owner]
    return math.fsum([forced, exact_sum(gain[rank < caps[owner]])])


def _largest(problem: Problem, chunk: _Chunk, reduced: np.ndarray) -> np.ndarray:
    """Return what each user's best offer brings, where one is above 0."""
    if chunk.starts is None:
        best = np.fmax.reduce(reduced.reshape(chunk.n_users, problem.n_coupons), axis=1)
    else:
        # Users without offers have no place of their own in `reduceat`.
        best = np.fmax.reduceat(reduced, chunk.starts[np.diff(np.append(chunk.starts, chunk.n_offers)) > 0])
    return best[best > 0]
