"""Some users' offers, as the arrays that kernels take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocator.kernels.taking import taken_lists, taken_rows
from allocator.problem import Problem

NONE = np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class Shard:
    """Offers of some users: all of a problem's (sharing its arrays), or a copy of a few users'.

    Attributes
    ----------
    start, coupon
        As in `Offers`; empty where `width` > 0 (dense).
    value, cost
        `(n_offers,)` float64, currency; NaN in `value`: absent.
    extra
        `(n_extra, n_offers)` float64: the further columns that limits measure.
    group
        `(n_users,)` int32 user group; empty: all in group 0.
    cap, caps
        At most so many offers a user: one number, or `(n_users,)` int32 (then `caps` is not empty).
    user
        `(n_users,)` the problem's index of each user, or `None` where the shard holds all.
    origin
        `(n_offers,)` the problem's index of each offer, or `None` where the shard holds all or is dense: see `originals`.
    """

    n_users: int
    width: int
    start: np.ndarray
    coupon: np.ndarray
    value: np.ndarray
    cost: np.ndarray
    extra: np.ndarray
    group: np.ndarray
    cap: int
    caps: np.ndarray
    exclusive: np.ndarray
    user: np.ndarray | None
    origin: np.ndarray | None

    def __post_init__(self) -> None:
        """Let no array be written to: a copy of few users is then of the same types as the whole, and kernels are compiled once."""
        for name in ("start", "coupon", "value", "cost", "extra", "group", "caps", "exclusive"):
            array = getattr(self, name).view()
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    @property
    def n_offers(self) -> int:
        """Number of offers, absent ones of a dense grid included."""
        return int(self.value.size)

    @property
    def index_type(self) -> type[np.signedinteger]:
        """The type of lists of its offers: the smaller one where it does."""
        return np.int32 if self.n_offers <= np.iinfo(np.int32).max else np.int64

    @property
    def gets_one(self) -> bool:
        """Whether users get at most one offer each."""
        return self.cap == 1 and not self.caps.size

    @property
    def is_plain_grid(self) -> bool:
        """Whether all users have the same number of offers, one for each coupon, and get at most one."""
        return self.width > 0 and self.gets_one

    def arrays(self) -> tuple[object, ...]:
        """Return the arguments that every pass shares, in the kernels' order."""
        return (
            self.start,
            self.width,
            self.coupon,
            self.value,
            self.cost,
            self.extra,
            self.group,
            self.cap,
            self.caps,
            self.exclusive,
        )

    def offers_of(self, users: np.ndarray) -> np.ndarray:
        """Return the offer indices of these users, user by user."""
        if self.width:
            return (users[:, None] * self.width + np.arange(self.width)).reshape(-1)
        counts = self.start[users + 1] - self.start[users]
        ends = np.cumsum(counts)
        return np.arange(ends[-1] if ends.size else 0) + np.repeat(self.start[users] - (ends - counts), counts)

    def take(self, users: np.ndarray, threads: int | None = None) -> Shard:
        """Return a copy of these users' offers (sorted, distinct shard indices)."""
        start, coupon, origin = NONE, self.coupon, None
        if self.width:

            def own(column: np.ndarray) -> np.ndarray:
                return taken_rows(column, users, self.width, threads)
        else:
            start = np.concatenate([[0], np.cumsum(self.start[users + 1] - self.start[users])])

            def own(column: np.ndarray) -> np.ndarray:
                return taken_lists(column, users, self.start, start, threads)

            coupon = own(self.coupon)
            origin = self.offers_of(users) if self.origin is None else own(self.origin)
        value = own(self.value)
        return Shard(
            n_users=users.size,
            width=self.width,
            start=start,
            coupon=coupon,
            value=value,
            cost=own(self.cost),
            extra=np.array([own(column) for column in self.extra]).reshape(self.extra.shape[0], value.size),
            group=self.group[users] if self.group.size else self.group,
            cap=self.cap,
            caps=self.caps[users] if self.caps.size else self.caps,
            exclusive=self.exclusive,
            user=users if self.user is None else self.user[users],
            origin=origin,
        )

    def originals(self, offers: np.ndarray) -> np.ndarray:
        """Return the problem's index of each of these offers."""
        if self.user is None:
            return offers
        if self.origin is not None:
            return self.origin[offers]
        user, k = np.divmod(offers, self.width)
        originals: np.ndarray = self.user[user] * self.width + k
        return originals

    def coupons_of(self, offers: np.ndarray) -> np.ndarray:
        """Return the coupon index of each of these offers."""
        return offers % self.width if self.width else self.coupon[offers]

    def users_of(self, offers: np.ndarray) -> np.ndarray:
        """Return the shard's user index of each of these offers."""
        if self.width:
            return offers // self.width
        return np.searchsorted(self.start, offers, side="right") - 1


def whole(problem: Problem, columns: tuple[str, ...]) -> Shard:
    """Return all of a problem's offers, sharing its arrays; fixed offers are taken out of play.

    Forbidden offers become absent. Required ones too: with them their exclusive group is closed and their user's cap
    shrinks, so that what is left is a problem of the same kind; the caller adds what they earn and use.
    """
    offers = problem.offers
    dense = offers.start is None
    value, caps = offers.value, np.empty(0, np.int32)
    if isinstance(problem.max_per_user, np.ndarray):
        caps = problem.max_per_user
    if problem.forbidden.size or problem.required.size:
        value = value.copy()
        value[problem.forbidden] = np.nan
    if problem.required.size:
        caps = caps.copy() if caps.size else np.full(offers.n_users, problem.max_per_user, np.int32)
        owners = offers.users_of(problem.required)
        np.subtract.at(caps, owners, 1)
        caps = np.maximum(caps, 0)
        value[problem.required] = np.nan
        _close_groups(problem, owners, value)
    extra = [problem.column(name) for name in columns]
    return Shard(
        n_users=offers.n_users,
        width=offers.n_coupons if dense else 0,
        start=NONE if offers.start is None else offers.start,
        coupon=np.empty(0, np.int32) if offers.coupon is None else offers.coupon,
        value=value,
        cost=offers.cost,
        extra=extra[0].reshape(1, -1) if len(extra) == 1 else np.array(extra).reshape(len(extra), offers.n_offers),
        group=np.empty(0, np.int32) if problem.user_group is None else problem.user_group,
        cap=problem.max_per_user if isinstance(problem.max_per_user, int) else 0,
        caps=caps,
        exclusive=problem.exclusive,
        user=None,
        origin=None,
    )


def _close_groups(problem: Problem, owners: np.ndarray, value: np.ndarray) -> None:
    offers = problem.offers
    groups = problem.exclusive[offers.coupons_of(problem.required)]
    for i, group in zip(owners[groups >= 0].tolist(), groups[groups >= 0].tolist(), strict=True):
        low = i * offers.n_coupons if offers.start is None else int(offers.start[i])
        high = low + offers.n_coupons if offers.start is None else int(offers.start[i + 1])
        index = np.arange(low, high)
        value[index[problem.exclusive[offers.coupons_of(index)] == group]] = np.nan
