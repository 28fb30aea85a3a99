"""What each user has in two plans, as numbers that compare quickly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from allocator.tables.frames import decoded, is_text


@dataclass(frozen=True, eq=False)
class Holdings:
    """What each user who has a coupon in one of two plans has in each.

    Attributes
    ----------
    ids
        `(n_users,)` their ids.
    sets
        Sets of coupons that occur; the first is empty.
    before, after
        `(n_users,)` int64: index into `sets`.
    value, cost
        `(2, n_users)` float64: sums over each user's offers in each plan, currency.
    revalued
        Change in value and in cost over the offers that both plans issue, currency.
    """

    ids: pa.Array
    sets: tuple[tuple[str, ...], ...]
    before: np.ndarray
    after: np.ndarray
    value: np.ndarray
    cost: np.ndarray
    revalued: tuple[float, float]

    @property
    def n_users(self) -> int:
        """Users who have a coupon in one of the plans."""
        return len(self.ids)


def held(one: pa.Table, two: pa.Table) -> Holdings:
    """Bring two plans together, user by user.

    Parameters
    ----------
    one, two
        Issued offers: `user_id`, `coupon`, `value`, `cost`. Where only one has ids of text, numbers count as text.
    """
    ids, user = _codes([one["user_id"], two["user_id"]])
    names, coupon = _codes([one["coupon"], two["coupon"]])
    n = len(ids)
    side = np.repeat([0, 1], [one.num_rows, two.num_rows])
    value, cost = (
        np.concatenate([table[name].cast(pa.float64()).to_numpy() for table in (one, two)])
        for name in ("value", "cost")
    )
    owner = side * n + user  # each user counts once a plan
    sets, which = _sets(owner, coupon, 2 * n, [str(name) for name in names.to_pylist()])
    sums = [np.bincount(owner, weights=column, minlength=2 * n).reshape(2, n) for column in (value, cost)]
    return Holdings(ids, sets, which[:n], which[n:], sums[0], sums[1], _revalued(user, coupon, side, value, cost))


def _codes(columns: list[pa.ChunkedArray]) -> tuple[pa.Array, np.ndarray]:
    """Return the distinct entries of two columns, and each row's index among them."""
    plain = [decoded(column) for column in columns]
    texts = [is_text(column.type) for column in plain]
    kind = pa.large_string() if any(texts) or any(column.type == pa.uint64() for column in plain) else pa.int64()
    joined = pa.chunked_array([chunk.cast(kind) for column in plain for chunk in column.chunks], type=kind)
    coded = joined.dictionary_encode().unify_dictionaries().combine_chunks()
    return coded.dictionary, coded.indices.to_numpy().astype(np.int64)


def _sets(
    owner: np.ndarray, coupon: np.ndarray, n_owners: int, names: list[str]
) -> tuple[tuple[tuple[str, ...], ...], np.ndarray]:
    """Return the sets of coupons that occur (the empty one first), and each owner's.

    A set grows coupon by coupon: in round r each owner's r-th coupon joins what it had, and pairs are numbered anew.
    """
    order = np.lexsort((coupon, owner))
    owner, coupon = owner[order], coupon[order]
    first = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]]) if owner.size else np.empty(0, np.int64)
    rank = np.arange(owner.size) - np.repeat(first, np.diff(np.r_[first, owner.size]))
    sets: list[tuple[str, ...]] = [()]
    state = np.zeros(n_owners, np.int64)
    for r in range(int(rank.max(initial=-1)) + 1):
        rows = np.flatnonzero(rank == r)
        key = state[owner[rows]] * len(names) + coupon[rows]
        fresh, place = np.unique(key, return_inverse=True)
        state[owner[rows]] = len(sets) + place
        sets += [(*sets[k // len(names)], names[k % len(names)]) for k in fresh.tolist()]
    return tuple(sets), state


def _revalued(
    user: np.ndarray, coupon: np.ndarray, side: np.ndarray, value: np.ndarray, cost: np.ndarray
) -> tuple[float, float]:
    pair = user * (int(coupon.max(initial=0)) + 1) + coupon
    one, two = np.flatnonzero(side == 0), np.flatnonzero(side == 1)
    _, here, there = np.intersect1d(pair[one], pair[two], assume_unique=True, return_indices=True)
    return tuple(float((column[two[there]] - column[one[here]]).sum()) for column in (value, cost))  # type: ignore[return-value]
