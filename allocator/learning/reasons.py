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
from allocator.history.transactions import as_numpy
from allocator.learning.because import Because, Bought, Purchases, as_text, because, told
from allocator.learning.model import Model
from allocator.learning.offers import Memory
from allocator.learning.past import Past
from allocator.learning.wanting import is_new_window, model_of, near_scopes, reach_of
from allocator.tables.frames import decoded, one_chunk
from uplift import Features

ORDERS = 48  # in which features are taken over, each with another user to compare with


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
    because
        How these and other purchases make up the relevance to the scope; `None` where the model learned none.
    reach
        What the uplift is multiplied with, where it is borrowed from coupons of another scope.
    """

    coupon: str
    uplift: float
    average: float
    movers: tuple[Mover, ...]
    bought: tuple[Bought, ...] | None
    because: Because | None = None
    reach: float = 1.0


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
    others = others.filter(pc.invert(pc.equal(as_text(one_chunk(others["user_id"])), str(user["user_id"][0]))))
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
    wanted = _wanted(model, coupons, past, one_chunk(decoded(user["user_id"])), start)
    order = np.argsort(-np.abs(adds), axis=0)
    values = [_value(column[0]) for column in features.columns]
    return tuple(
        CouponReasons(
            coupon.id,
            float(uplift[k]),
            float(average[k]),
            tuple(Mover(features.names[j], values[j], float(adds[j, k]), float(errors[j, k])) for j in order[:, k]),
            *wanted[k],
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


def _wanted(
    model: Model, coupons: Sequence[Coupon], past: Past | None, user: pa.Array, start: Any
) -> list[tuple[tuple[Bought, ...] | None, Because | None, float]]:
    """Return by coupon what the user bought of its scope, what that adds to the relevance, and the reach."""
    nothing: tuple[None, None, float] = (None, None, 1.0)
    if past is None or past.products is None or not any(coupon.scope for coupon in coupons):
        return [nothing for _ in coupons]
    products = past.products
    past = past.fitting(user, "users")
    purchases = Purchases.of(past, user[0].as_py(), start)
    kin = model.kin(coupons)
    asked = None
    # What was boosted in training answers at once; to boost anew takes longer than anyone waits for an answer.
    if model.relevance is not None and is_new_window(coupons, model.relevance) is None:
        asked = model_of(past, coupons, near_scopes(past, kin), start, model.relevance, 0)
    made: list[tuple[tuple[Bought, ...] | None, Because | None, float]] = []
    for coupon, near in zip(coupons, kin, strict=True):
        if not coupon.scope:
            made.append(nothing)
            continue
        inside = np.isin(purchases.item, past.items(coupon))
        bought = purchases.by_item(inside)
        if asked is None:
            made.append((told(products, bought), None, 1.0))
            continue
        found, adds = because(asked[0].apart_from(as_numpy(user)[0]), asked[1], coupon, purchases, inside)
        foretold = asked[0].predict(asked[1], as_numpy(user))
        made.append((told(products, bought, adds), found, float(reach_of(asked[0], foretold, coupon, near)[0])))
    return made
