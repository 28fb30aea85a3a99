"""A trial: who was put in which arm, and what came of it. The one reader of it, whoever asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from allocator.errors import DataError, nearest
from allocator.history.people import is_from_csv
from allocator.history.trial_door import CONTROL_WORDS, PROPENSITY_OF, TrialDoor
from allocator.tables.named import USER_NAMES, Column, Holds, layout_of, name_frame, read_layout

CONTROL = "control"
COLUMNS = (
    Column("user_id", Holds.ID, USER_NAMES, True, "who took part"),
    Column(
        "coupon",
        Holds.TEXT,
        ("coupon_id", "arm", "treatment", "group"),
        True,
        "which one the user got; empty, control or none: no coupon",
    ),
    Column("time", Holds.TIME, ("timestamp", "date", "start_date"), False, "when the user's campaign began"),
    Column(
        "purchased",
        Holds.FLAG,
        ("conversion", "converted", "purchase", "bought"),
        True,
        "1 if the user bought afterwards, else 0",
    ),
    Column(
        "spend",
        Holds.NUMBER,
        ("amount", "revenue", "sales_value"),
        False,
        "currency paid afterwards; 0 without a purchase",
    ),
    Column("redeemed", Holds.FLAG, ("redemption",), False, "1 if the coupon was redeemed, else 0"),
    Column(
        "discount",
        Holds.NUMBER,
        ("discount_amount",),
        False,
        "currency that the redeemed coupon took off; 0 where none was redeemed",
    ),
    Column("visited", Holds.FLAG, ("visit",), False, "1 if the user came, else 0"),
    Column(
        "propensity",
        Holds.NUMBER,
        (),
        False,
        "the chance of what the user got, where chances differed; or propensity[COUPON] for each coupon",
    ),
    Column("weight", Holds.NUMBER, ("sample_weight",), False, "how many users the row stands for"),
)
OUTCOMES = ("purchased", "spend", "redeemed", "visited")
# What a trial should have and what it cannot do without differ: ids are needed to join by, and spend tells of purchases.
_READ = tuple(replace(column, required=False) for column in COLUMNS)


@dataclass(frozen=True, eq=False)
class TrialTable:
    """A trial, checked.

    Attributes
    ----------
    path
        Where it was read; `trial` for a table in memory.
    user_ids
        `(n,)` int64 or string; `None` where the table has none.
    coupons
        The arms beside control, sorted.
    arm
        `(n,)` int64: 0 control, k the k-th of `coupons`.
    purchased
        `(n,)` bool.
    spend
        `(n,)` float64, currency; `None` where the trial does not tell.
    redeemed, visited
        `(n,)` bool, or `None`.
    discount
        `(n,)` float64, currency that the coupon took off; `None` where the trial does not tell.
    time
        `(n,)` int64, seconds since 1970: when each row's campaign began; `None` where the trial does not tell.
    propensity
        `(n,)` float64: the chance of the arm that each row got; `None`: by design the same for all.
    propensities
        `(n, arms)` float64, control first; `None` where the files do not give every arm's.
    weight
        `(n,)` float64 > 0, or `None`: all alike.
    features
        The columns that were known before, as in the file.
    notes
        What was taken for what.
    """

    path: str
    user_ids: pa.Array | None
    coupons: tuple[str, ...]
    arm: np.ndarray
    purchased: np.ndarray
    spend: np.ndarray | None
    redeemed: np.ndarray | None
    discount: np.ndarray | None
    visited: np.ndarray | None
    time: np.ndarray | None
    propensity: np.ndarray | None
    propensities: np.ndarray | None
    weight: np.ndarray | None
    features: pa.Table
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return int(self.arm.size)

    @property
    def from_csv(self) -> bool:
        """Whether ids that are integers could be text as well."""
        return is_from_csv(self.features)

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of the arms: control, then the coupons."""
        return (CONTROL, *self.coupons)

    @property
    def counts(self) -> np.ndarray:
        """Rows of each arm, `(arms,)` int64."""
        return np.bincount(self.arm, minlength=len(self.arms))


def read_trial(
    source: Any,
    *,
    columns: Mapping[str, str] | None = None,
    control: str | None = None,
    ignore: Sequence[str] = (),
) -> TrialTable:
    """Read and check a trial; see `TrialTable` for its columns.

    Parameters
    ----------
    source
        A path (Parquet or CSV; a file, a folder or a glob), or a pandas, polars or pyarrow table.
    columns
        For a column of the trial its name in the table, where it differs: `{"coupon": "segment"}`.
    control
        What stands in `coupon` for those who were given none; by default empty, `control` or `none`.
    ignore
        Columns that are passed over, as if they were not there.

    Raises
    ------
    DataError
        Where it cannot be read, or nothing can be learned from it: no outcome, no coupon, no control arm, the same
        outcome everywhere; or where it says something impossible: outcomes other than 0 and 1, negative spend, spend
        without a purchase, chances outside 0 to 1, a user twice at one time.
    """
    name, table, notes = _named(source, dict(columns or {}), tuple(ignore))
    if table.num_rows == 0:
        raise DataError(f"{name}: no rows; write one row for each user of the trial")
    door = TrialDoor(name, table)
    users = door.ids()
    arms, arm = door.arms(control)
    spend = door.amount("spend")
    redeemed, visited, discount = door.flag("redeemed"), door.flag("visited"), door.amount("discount")
    purchased = door.flag("purchased")
    if purchased is None:
        assert spend is not None
        purchased, notes = spend > 0, (*notes, f"{name}: purchased is taken as spend > 0")
    door.refuse_impossible(purchased, spend, redeemed, visited, arm)
    door.refuse_discounts(discount, redeemed, arm)
    time = door.time()
    door.refuse_twice(users, time)
    propensities = door.propensities(arms)
    named = {column.name for column in COLUMNS}
    features = table.select([n for n in table.column_names if n not in named and not PROPENSITY_OF.fullmatch(n)])
    return TrialTable(
        path=name,
        user_ids=users,
        coupons=arms,
        arm=arm,
        purchased=purchased,
        spend=spend,
        redeemed=redeemed,
        discount=discount,
        visited=visited,
        time=time,
        propensity=door.chance("propensity", arm, propensities),
        propensities=propensities,
        weight=door.weight(),
        features=features,
        notes=(*notes, *_doubtful(name, features.column_names)),
    )


def _named(source: Any, columns: dict[str, str], ignore: tuple[str, ...]) -> tuple[str, pa.Table, tuple[str, ...]]:
    """Return what messages call the source, its table under the project's names, and notes of what was taken for what."""
    unknown = next((key for key in columns if key not in {column.name for column in COLUMNS}), None)
    if unknown is not None:
        known = [column.name for column in COLUMNS]
        raise DataError(f"a trial has no column {unknown!r}{nearest(unknown, known)}; known: {', '.join(known)}")
    if isinstance(source, str | Path):
        layout = layout_of(source, _READ, chosen=columns, ignored=ignore)
        _refuse_lacking(str(source), layout.names, layout.others)
        said = replace(layout, names={key: there for key, there in layout.names.items() if key not in columns})
        return str(source), read_layout(layout, _READ), said.notes
    name = "trial"
    table, notes = name_frame(source, _READ, name, chosen=columns, ignored=ignore)
    _refuse_lacking(name, table.column_names, table.column_names)
    return name, table, notes


def _refuse_lacking(name: str, there: Mapping[str, str] | Sequence[str], others: Sequence[str]) -> None:
    """Raise `DataError` where a column that nothing can be learned without is missing."""
    found = ", ".join([*(there.values() if isinstance(there, Mapping) else ()), *others])
    for column, wanted, meaning in (
        (
            "coupon",
            ("coupon",),
            "'coupon' is missing. It says who was given which coupon (empty, 'control' or 'none': nobody's)",
        ),
        (
            "purchased",
            ("purchased", "spend"),
            "'purchased' (0/1) is missing, and 'spend' (currency) too: there is no outcome",
        ),
    ):
        if not any(key in there for key in wanted):
            raise DataError(
                f"{name}: column {meaning}. Found: {found}. Is it there under another name? Say so: --column {column}=NAME"
            )


def _doubtful(name: str, features: Sequence[str]) -> list[str]:
    """Say which features are called like outcomes."""
    plain = {feature.strip().lower(): feature for feature in features}
    return [
        f"{name}: column {plain[word]!r} is taken for a feature known before; if it came after, as {column.name!r} did: "
        f"--ignore {plain[word]}"
        for column in COLUMNS
        if column.name in OUTCOMES
        for word in (column.name, *column.aliases)
        if word in plain
    ]


__all__ = ["COLUMNS", "CONTROL", "CONTROL_WORDS", "TrialTable", "read_trial"]
