"""Why a model expects of a user what it does: which features move the effect of each coupon, and what the user bought."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from allocator.campaign import Campaign, Coupon
from allocator.errors import DataError
from allocator.history import Products, moment
from allocator.learning.model import Model
from allocator.learning.offers import Memory
from allocator.learning.past import Past
from allocator.tables.frames import decoded, one_chunk
from uplift import Features

ORDERS = 48  # in which features are taken over, each with another user to compare with
NAMED = ("name", "title", "description", "product_type", "product_name")  # attributes that tell what an item is


@dataclass(frozen=True)
class Mover:
    """What a feature of a user adds to the effect of a coupon.

    Attributes
    ----------
    value
        The user's; `None` where it is not known.
    adds
        To P(purchase with the coupon) - P(purchase without), beside what it is for users on average.
    error
        Standard error of `adds`, of the random orders alone.
    """

    feature: str
    value: float | str | None
    adds: float
    error: float


@dataclass(frozen=True)
class Bought:
    """What a user bought of one item of a coupon's scope before the campaign; `amount` in currency, `last` a date."""

    item: str
    times: int
    amount: float
    last: str


@dataclass(frozen=True)
class CouponReasons:
    """Why a model expects of a coupon what it does with one user.

    Attributes
    ----------
    uplift, average
        P(purchase with) - P(purchase without): the user's, and that of the users compared with.
    movers
        All features, the one that moves most first; their `adds` are the difference between the two.
    bought
        Items of the coupon's scope that the user bought, the most frequent first; `None` without transactions, or where
        the coupon is good for everything.
    """

    coupon: str
    uplift: float
    average: float
    movers: tuple[Mover, ...]
    bought: tuple[Bought, ...] | None


def reasons(
    model: Model, campaign: Campaign, user: pa.Table, others: pa.Table, past: Past | None, *, seed: int = 0
) -> tuple[CouponReasons, ...]:
    """Say for each coupon of a campaign which features of a user move its effect, and what the user bought of its scope.

    Parameters
    ----------
    user
        The user's row of the users table, `user_id` among its columns.
    others
        Rows of users to compare with, `user_id` too; some hundred are enough. The user's own row among them is passed over.
    past
        Transactions, and products for coupons with a scope.

    Raises
    ------
    DataError
        Where features are missing or of another kind than in training, or there is nobody else to compare with.
    """
    start = campaign.campaign.start
    # A user who was drawn to be compared with themself would tell nothing, and profiles are made of distinct users.
    others = others.filter(pc.invert(pc.equal(_as_text(one_chunk(others["user_id"])), str(user["user_id"][0]))))
    if not others.num_rows:
        raise DataError("users: there is only one user; reasons tell one from others, so give more users")
    table = pa.concat_tables([user, others], promote_options="permissive")
    if model.profile is not None and past is not None:
        ids = one_chunk(decoded(table["user_id"]))
        columns = past.profiles(ids, start, model.profile).columns()
        table = Memory(columns, None).joined(table, 0, "users")
    features = model.features_of(table, "users")
    coupons = model.asked(campaign)
    uplift, average, adds, errors = _contributions(model, coupons, features, seed)
    bought = _bought(coupons, past, user["user_id"][0].as_py(), start)
    order = np.argsort(-np.abs(adds), axis=0)
    values = [_value(column[0]) for column in features.columns]
    return tuple(
        CouponReasons(
            coupon.id,
            float(uplift[k]),
            float(average[k]),
            tuple(Mover(features.names[j], values[j], float(adds[j, k]), float(errors[j, k])) for j in order[:, k]),
            bought[k],
        )
        for k, coupon in enumerate(coupons)
    )


def _contributions(
    model: Model, coupons: Sequence[Coupon], features: Features, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Shapley values of the first user's uplift by sampled orders (Strumbelj and Kononenko 2014, 10.1007/s10115-013-0679-x).

    All mixtures of the user with others are predicted in one go: a network takes as long for one user as for thousands.

    Returns
    -------
    uplift, average
        `(coupons,)`.
    adds, errors
        `(features, coupons)`; `adds` sum to `uplift - average`.
    """
    rng = np.random.default_rng(seed)
    n = len(features.names)
    orders = np.array([rng.permutation(n) for _ in range(ORDERS // 2)])
    orders = np.concatenate([orders, orders[:, ::-1]])  # an order and its reverse: their errors partly cancel
    other = rng.integers(1, len(features), ORDERS // 2)
    other = np.concatenate([other, other])
    rank = np.argsort(orders, axis=1)
    taken = rank[:, None, :] < np.arange(n + 1)[None, :, None]  # (orders, steps, features): already the user's
    from_row = np.where(taken, 0, other[:, None, None]).reshape(-1, n)
    mixed = Features(features.names, tuple(column[from_row[:, j]] for j, column in enumerate(features.columns)))
    predicted = model.predict(mixed, coupons).uplift.reshape(ORDERS, n + 1, -1)
    steps = np.diff(predicted, axis=1)
    each = np.take_along_axis(steps, rank[:, :, None], axis=1)  # (orders, features, coupons)
    pairs = (each[: ORDERS // 2] + each[ORDERS // 2 :]) / 2
    adds, errors = pairs.mean(axis=0), pairs.std(axis=0, ddof=1) / np.sqrt(len(pairs))
    average = model.predict(features.take(slice(1, None)), coupons).uplift.mean(axis=0)
    uplift = predicted[0, -1]
    # The users drawn are not all users: what that misses is spread evenly.
    return uplift, average, adds + (uplift - average - adds.sum(axis=0)) / n, errors


def _value(value: Any) -> float | str | None:
    if isinstance(value, str) or value is None:
        return value
    return None if value != value else float(value)


def _bought(coupons: Sequence[Coupon], past: Past | None, user: Any, start: Any) -> list[tuple[Bought, ...] | None]:
    if past is None or past.products is None or not any(coupon.scope for coupon in coupons):
        return [None for _ in coupons]
    found = _purchases(past, user, start)
    ids = past.products.item_ids.cast(pa.large_string())
    rows = pc.index_in(pa.array(list(found), pa.large_string()), value_set=ids).to_pylist()
    made: list[tuple[Bought, ...] | None] = []
    for coupon in coupons:
        if not coupon.scope:
            made.append(None)
            continue
        covered = past.products.in_scope(coupon.scope, f"coupon {coupon.id!r}")
        inside = [
            Bought(
                _label(past.products, item, row), times, amount, str(np.datetime64(last, "s").astype("datetime64[D]"))
            )
            for (item, (times, amount, last)), row in zip(found.items(), rows, strict=True)
            if row is not None and covered[row]
        ]
        made.append(tuple(sorted(inside, key=lambda entry: (-entry.times, -entry.amount, entry.item))))
    return made


def _purchases(past: Past, user: Any, start: Any) -> dict[str, tuple[int, float, int]]:
    """Return how often, for how much and when last a user bought each item, by the item's id as text."""
    wanted = pa.scalar(str(user), pa.large_string())
    found: dict[str, tuple[int, float, int]] = {}
    limit = None if start is None else moment(start)
    for lines, _ in past.transactions.batches({"user_id", "item_id", "amount"}, before=limit):
        mine = np.flatnonzero(pc.equal(_as_text(lines.user), wanted).to_numpy(zero_copy_only=False))
        items = _as_text(lines.item.take(pa.array(mine))).to_pylist()
        for item, row in zip(items, mine.tolist(), strict=True):
            times, amount, last = found.get(item, (0, 0.0, 0))
            found[item] = times + 1, amount + float(lines.amount[row]), max(last, int(lines.time[row]))
    return found


def _as_text(ids: pa.Array) -> pa.Array:
    """Return ids, coded or not, as text."""
    plain = ids.cast(ids.type.value_type) if pa.types.is_dictionary(ids.type) else ids
    return plain.cast(pa.large_string())


def _label(products: Products, item: str, row: int) -> str:
    name = next((name for name in NAMED if name in products.attributes), products.category_column())
    if name is None:
        return item
    told = decoded(products.table[name])[row].as_py()
    return item if told is None else f"{told} ({item})"
