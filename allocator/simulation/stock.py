"""Reads what is on hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from allocator.errors import DataError, counted
from allocator.tables.frames import decoded
from allocator.tables.named import Column, Holds, layout_of, read_layout

UNITS = Column("units", Holds.NUMBER, ("stock", "on_hand", "quantity", "available", "inventory"), True)
BY_COUPON = (Column("coupon", Holds.TEXT, ("coupon_id",), True), UNITS)


def read_coupon_stock(path: str | Path) -> tuple[dict[str, float], tuple[str, ...]]:
    """Read `coupon` and `units`, what can be handed out by redeeming it; return them and what was taken for what.

    Raises
    ------
    DataError
        Where the file cannot be read, a coupon is there twice, or units are missing or negative.
    """
    layout = layout_of(path, BY_COUPON)
    table = read_layout(layout, BY_COUPON, others=False)
    names = decoded(table["coupon"]).cast(pa.string()).to_pylist()
    units = table["units"].cast(pa.float64()).to_numpy(zero_copy_only=False)
    refuse_units(str(path), [str(name) for name in names], units)
    if len(set(names)) < len(names) or None in names:
        twice = sorted({str(name) for name in names if names.count(name) > 1})[:3]
        raise DataError(f"{path}: column 'coupon' must name each coupon once; twice or empty: {', '.join(twice)}")
    return dict(zip(names, units.tolist(), strict=True)), layout.notes


def refuse_units(path: str, names: list[str], units: np.ndarray) -> None:
    """Raise `DataError` where units are not finite or negative."""
    wrong = np.flatnonzero(~(np.isfinite(units) & (units >= 0)))
    if wrong.size:
        shown = "; ".join(f"{names[row]}: {units[row]:g}" for row in wrong[:3].tolist())
        raise DataError(f"{path}: column 'units' must be 0 or more, but is not in {counted(int(wrong.size), 'row', 'rows')} ({shown}); write what is on hand")  # fmt: skip
