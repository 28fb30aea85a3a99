"""A trial as arrays: what `allocator.history` reads and checks, ready to be learned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from allocator import history
from allocator.errors import DataError, counted
from allocator.tables.frames import is_text
from allocator.tables.origin import Origin


@dataclass(frozen=True, eq=False)
class TrialArrays:
    """A trial, checked.

    Attributes
    ----------
    source
        What messages call it.
    coupons
        Ids of the arms beside control, in order of their names.
    arm
        `(n,)` int64: 0 control, k the k-th of `coupons`.
    purchased
        `(n,)` float64, 0 or 1.
    spend
        `(n,)` float64, currency, or `None`.
    redeemed, visited
        `(n,)` float64, 0 or 1, or `None`.
    discount
        `(n,)` float64, currency that the coupon took off, or `None`.
    propensity
        `(n, arms)` or `(1, arms)` chances by design; `None` where the table has none.
    weight
        `(n,)` or `None`.
    user_ids
        `(n,)` int64 or string; `None` where the table has no ids.
    time
        `(n,)` int64, seconds since 1970: when the offer was made; `None` where the table does not tell.
    features
        `(n,)` float64 (NaN: missing) or object (text; `None`: missing) by name: every other column.
    notes
        What was taken for what.
    from_csv
        Whether ids that are integers could be text as well.
    """

    source: str
    coupons: tuple[str, ...]
    arm: np.ndarray
    purchased: np.ndarray
    spend: np.ndarray | None
    redeemed: np.ndarray | None
    visited: np.ndarray | None
    propensity: np.ndarray | None
    weight: np.ndarray | None
    user_ids: pa.Array | None
    time: np.ndarray | None
    features: dict[str, np.ndarray]
    notes: tuple[str, ...]
    from_csv: bool = False
    discount: np.ndarray | None = None

    def __len__(self) -> int:
        return int(self.arm.size)

    @property
    def n_arms(self) -> int:
        """Number of arms, control among them."""
        return len(self.coupons) + 1


def read_trial(
    source: Any,
    *,
    columns: Mapping[str, str] | None = None,
    control: str | None = None,
    ignore: Sequence[str] = (),
) -> TrialArrays:
    """Read a trial as `allocator.history.read_trial` does, and turn it into arrays; raises `DataError`."""
    return arrays_of(history.read_trial(source, columns=columns, control=control, ignore=ignore))


def arrays_of(trial: history.TrialTable) -> TrialArrays:
    """Turn a trial into arrays; raises `DataError` where a column is no feature."""
    origin = Origin.of(trial.features)
    return TrialArrays(
        source=trial.path,
        coupons=trial.coupons,
        arm=trial.arm,
        purchased=trial.purchased.astype(np.float64),
        spend=trial.spend,
        redeemed=None if trial.redeemed is None else trial.redeemed.astype(np.float64),
        visited=None if trial.visited is None else trial.visited.astype(np.float64),
        propensity=_chances(trial),
        weight=trial.weight,
        user_ids=trial.user_ids,
        time=trial.time,
        features={n: feature(trial.features[n], n, trial.path, origin) for n in trial.features.column_names},
        notes=trial.notes,
        from_csv=trial.from_csv,
        discount=trial.discount,
    )


def feature(column: pa.ChunkedArray | pa.Array, name: str, source: str, origin: Origin | None = None) -> np.ndarray:
    """`(n,)` float64 with NaN where missing, or object with text and `None`; raises `DataError` for other types."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if is_text(kind) or pa.types.is_boolean(kind):
        texts = np.asarray(decoded_any(column).cast(pa.string()).to_numpy(zero_copy_only=False), dtype=object)
        texts[texts == ""] = None
        return texts
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan)
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise DataError(
            f"{source}: column {name!r} is {kind}; features are numbers or text (write a date as a number of days), "
            f"or leave the column out: --ignore {name}"
        )
    numbers = decoded_any(column).cast(pa.float64(), safe=False)
    values = np.asarray(numbers.to_numpy(zero_copy_only=False), dtype=np.float64)
    endless = np.flatnonzero(np.isinf(values))
    if endless.size:
        where = f" ({(origin or Origin()).rows(endless)})"
        raise DataError(
            f"{source}: column {name!r} is infinite in {counted(endless.size, 'row', 'rows')}{where}; leave such entries empty"
        )
    return values


def decoded_any(column: Any) -> Any:
    """Return a column or array without codes."""
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _chances(trial: history.TrialTable) -> np.ndarray | None:
    """`(n, arms)` chances of every arm."""
    if trial.propensities is not None or trial.propensity is None:
        return trial.propensities
    got, arm = trial.propensity, trial.arm
    # Of the arms that the user did not get only the sum is known: they share it as the arms' averages do.
    share = np.bincount(arm, 1.0 / got, minlength=len(trial.arms))
    others = np.tile(share / share.sum(), (arm.size, 1))
    rows = np.arange(arm.size)
    others[rows, arm] = 0.0
    chances = others / others.sum(axis=1, keepdims=True) * (1.0 - got)[:, None]
    chances[rows, arm] = got
    return chances
