"""What is asked of users before they are scored: the model's features, and who may get which coupon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from allocator.campaign import Coupon
from allocator.errors import DataError, nearest
from allocator.history import ProfileSchema
from allocator.learning.trials import feature
from allocator.tables.user_columns import Attribute
from uplift import Features


def features_for(table: pa.Table, source: str, numeric: Mapping[str, bool], profile: ProfileSchema | None) -> Features:
    """Take a model's features from a table of users.

    Parameters
    ----------
    numeric
        By feature, in order: whether it was numbers in training; text otherwise.
    profile
        Which of them are made of transactions.

    Raises
    ------
    DataError
        Where columns are missing or of another kind than in training.
    """
    absent = [name for name in numeric if name not in table.column_names]
    if absent:
        hint = nearest(absent[0], table.column_names, 0.7)
        if profile is not None and set(absent) <= set(profile.names):
            hint = "; they are made of purchases: give --transactions" + (
                "" if profile.category_column is None else " and --products"
            )
        raise DataError(
            f"{source}: {len(absent)} of the {len(numeric)} features that the model is trained with are "
            f"missing: {', '.join(absent[:8])}{hint}; found: {', '.join(table.column_names[:20])}"
        )
    columns = {name: feature(table[name], name, source) for name in numeric}
    for name, is_number in numeric.items():
        values = columns[name]
        if is_number and values.dtype.kind != "f":
            if all(value is None for value in values):
                columns[name] = np.full(values.size, np.nan)
                continue
            raise DataError(f"{source}: column {name!r} holds text; it was numbers in training")
        if not is_number and values.dtype.kind == "f":
            # A code such as a postcode reads as a number where all of its neighbours are.
            columns[name] = np.array([None if v != v else f"{v:g}" for v in values], dtype=object)
    return Features.create(columns)


def who_may(table: pa.Table, coupons: Sequence[Coupon], source: str) -> np.ndarray:
    """`(n, coupons)` bool: who may get which coupon by the coupons' `users` conditions.

    Raises
    ------
    DataError
        Where a condition names a column that is not there.
    """
    allowed = np.ones((table.num_rows, len(coupons)), dtype=bool)
    known: dict[str, Attribute] = {}
    for k, coupon in enumerate(coupons):
        for name, wanted in (coupon.users or {}).items():
            if name not in table.column_names:
                raise DataError(
                    f"{source}: coupon {coupon.id!r} is for users by {name!r}, but there is no such column"
                    f"{nearest(name, table.column_names)}; found: {', '.join(table.column_names[:20])}"
                )
            if name not in known:
                known[name] = Attribute._of_arrow(pa.chunked_array(table[name]))
            values = wanted if isinstance(wanted, list) else [wanted]
            hit = np.isin(known[name].values.astype(object), np.array(values, dtype=object))
            allowed[:, k] &= hit[known[name].code]
    return allowed


def for_nobody(coupon: Coupon) -> str:
    """Say that no user may get a coupon."""
    rule = " and ".join(f"{name} = {wanted!r}" for name, wanted in (coupon.users or {}).items())
    return (
        f"coupon {coupon.id!r} is for users with {rule}, and no user is: nobody can get it; check `users` of the coupon"
    )
