"""The door: turns what a caller has into checked arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from allocator.errors import CampaignError, DataError, UsageError, counted, nearest
from allocator.kernels import intake as kernels
from allocator.kernels.blocks import map_blocks
from allocator.limit import Limit
from allocator.problem.offers import Offers
from allocator.tables import frames
from allocator.tables.origin import MOST_EXAMPLES
from allocator.tables.user_columns import Attribute, user_columns

FAULTS = {
    kernels.BAD_VALUE: ("value", "is not a finite number"),
    kernels.BAD_COST: ("cost", "is not a finite number"),
    kernels.NEGATIVE_COST: ("cost", "is negative"),
    kernels.TOO_LARGE: ("value or cost", "is beyond 10^12; check the unit"),
}


def dense_offers(value: Any, cost: Any, columns: Mapping[str, Any]) -> Offers:
    """Check a grid of offers; keeps views of C-contiguous float64 arrays."""
    value, cost = _grid(value, "value"), _grid(cost, "cost")
    if value.shape != cost.shape:
        raise DataError(f"value has shape {value.shape} but cost has {cost.shape}; both are (users, coupons)")
    n_users, n_coupons = value.shape
    if n_users == 0 or n_coupons == 0:
        raise DataError(f"value has shape {value.shape}: there is no offer to choose")
    present = _check_amounts(
        value.reshape(-1),
        cost.reshape(-1),
        n_users,
        lambda e: f"user {e // n_coupons}, coupon {e % n_coupons}",
        "value",
    )
    absent = np.isnan(value) if present < value.size else None
    checked = {}
    for name, column in columns.items():
        grid = _grid(column, name)
        if grid.shape != value.shape:
            raise DataError(f"column {name!r} has shape {grid.shape}, not {value.shape}")
        if absent is not None and not np.isfinite(grid).all():
            grid = np.where(absent, 0.0, grid)
        checked[name] = _measure_column(
            grid.reshape(-1), name, lambda e: f"user {e // n_coupons}, coupon {e % n_coupons}"
        )
    return Offers(
        n_users=n_users,
        n_coupons=n_coupons,
        start=None,
        coupon=None,
        value=value.reshape(-1),
        cost=cost.reshape(-1),
        columns=checked,
        row=None,
        present=present,
    )


def read_table(
    offers: Any, source: str, coupons: Sequence[str] | None, wanted: Collection[str] = ()
) -> frames.OfferColumns:
    """Read an offers table; with `coupons`, number coupons as there and refuse others."""
    table = frames.offer_columns(offers, source, wanted)
    if coupons is None:
        return table
    known = coupon_names(coupons, len(coupons))
    index = {name: k for k, name in enumerate(known)}
    for code, name in enumerate(table.coupon_ids):
        if name not in index:
            rows = np.flatnonzero(table.coupon == code)
            raise DataError(
                f"{source}: column 'coupon': unknown coupon {name!r} in {counted(rows.size, 'row', 'rows')} "
                f"({table.origin.rows(rows)}){nearest(name, known)}; the campaign has {', '.join(known[:12])}"
            )
    renumber = np.array([index[name] for name in table.coupon_ids], np.int32)
    coupon = table.coupon if np.array_equal(renumber, np.arange(renumber.size)) else renumber[table.coupon]
    return dataclasses.replace(table, coupon=coupon, coupon_ids=list(known))


def read_users(users: Any, user_ids: Any) -> tuple[Mapping[str, Attribute] | None, np.ndarray | None]:
    """Align a users table with the users of the offers; (None, None) without one."""
    return (None, None) if users is None else user_columns(users, user_ids)


def sparse_offers(table: frames.OfferColumns, source: str) -> Offers:
    """Bring a table's offers into user order and check them; where every user has every coupon, as a grid."""
    start, row, grid = _user_order(table)

    def ordered(column: np.ndarray) -> np.ndarray:
        return column if row is None else column[row]

    def where(e: int) -> str:
        return table.origin.row(e if row is None else int(row[e]))

    value, cost = ordered(table.measures["value"]), ordered(table.measures["cost"])
    present = _check_amounts(value, cost, table.n_rows, where, None, source)
    coupon = None if grid else ordered(table.coupon)
    if coupon is not None:
        _refuse_duplicates(table, start, coupon, row, source)
    columns = {
        name: _measure_column(ordered(column), name, where, source)
        for name, column in table.measures.items()
        if name not in ("value", "cost")
    }
    return Offers(
        n_users=len(table.user.ids),
        n_coupons=len(table.coupon_ids),
        start=None if grid else start,
        coupon=coupon,
        value=value,
        cost=cost,
        columns=columns,
        row=row,
        present=present,
    )


def _user_order(table: frames.OfferColumns) -> tuple[np.ndarray, np.ndarray | None, bool]:
    """Return each user's first position, the row at each position (`None`: as in the table), and whether it is a grid.

    A grid needs neither positions nor coupons: 12 bytes an offer less, and quicker passes.
    """
    n_users, n_rows, n_coupons = len(table.user.ids), table.n_rows, len(table.coupon_ids)
    start, complete = table.user.start, n_rows == n_users * n_coupons
    if start is not None and (not complete or kernels.is_grid(start, table.coupon, n_coupons)):
        return start, None, complete
    row = np.empty(n_rows, np.int32 if n_rows < 2**31 else np.int64)
    if complete and kernels.grid_rows(table.user.code, _or_none(start), table.coupon, n_coupons, row):
        return np.arange(n_users + 1) * n_coupons, row, True
    if start is not None:  # some pair is there twice
        return start, None, False
    start = np.zeros(n_users + 1, np.int64)
    kernels.counting_order(table.user.code, start, row)
    return start, row, False


def _or_none(start: np.ndarray | None) -> np.ndarray:
    return np.empty(0, np.int64) if start is None else start


def _refuse_duplicates(
    table: frames.OfferColumns, start: np.ndarray, coupon: np.ndarray, row: np.ndarray | None, source: str
) -> None:
    count, examples = kernels.first_duplicates(start, coupon, len(table.coupon_ids), MOST_EXAMPLES)
    if count:
        rows = examples if row is None else row[examples]
        first = int(rows[0])
        raise DataError(
            f"{source}: {counted(count, 'row repeats', 'rows repeat')} a (user_id, coupon) pair ({table.origin.rows(rows)}; the first is "
            f"user {table.user.of_row(first)!r}, coupon {table.coupon_ids[table.coupon[first]]!r}); keep one row a pair"
        )


def coupon_names(coupons: Sequence[str] | None, n_coupons: int) -> tuple[str, ...]:
    """Check the coupons' names, or make some."""
    if coupons is None:
        return tuple(str(k) for k in range(n_coupons))
    names = tuple(str(name) for name in coupons)
    if len(names) != n_coupons:
        raise UsageError(f"{len(names)} coupon names for {n_coupons} coupons")
    if len(set(names)) != len(names):
        raise UsageError("two coupons share a name; give each its own")
    return names


def standard_limits(budget: float | None, quantities: Any, min_quantities: Any, names: tuple[str, ...]) -> list[Limit]:
    """Return the limits `budget`, `quantity[<coupon>]` and `min_quantity[<coupon>]`."""
    limits = [] if budget is None else [Limit("budget", measure="cost", at_most=positive_budget(budget))]
    for label, side, numbers in (("quantity", "at_most", quantities), ("min_quantity", "at_least", min_quantities)):
        if numbers is None:
            continue
        if len(numbers) != len(names):
            raise UsageError(f"{len(numbers)} {label} numbers for {len(names)} coupons; give one for each, or None")
        for name, number in zip(names, numbers, strict=True):
            if number is None or np.isnan(number):
                continue
            if number < 0:
                raise UsageError(f"{label}[{name}] is {number}; it cannot be negative")
            least, most = (float(number), None) if side == "at_least" else (None, float(number))
            limits.append(Limit(f"{label}[{name}]", "count", at_least=least, at_most=most, coupons=[name]))
    return limits


def positive_budget(budget: float) -> float:
    """Return the budget; raises `UsageError` unless it is a finite number above 0 and at most 10^12."""
    if not 0.0 < float(budget) <= kernels.AMOUNT_LIMIT:
        raise UsageError(f"the budget is {budget}; it must be above 0 and at most 10^12")
    return float(budget)


def attribute_arrays(users: Any, n_users: int) -> Mapping[str, Attribute] | None:
    """Return the users' attributes, given in user order."""
    if users is None:
        return None
    if isinstance(users, Mapping):
        columns = {name: np.asarray(column) for name, column in users.items()}
    else:
        arrow = frames.to_arrow(users, "users")
        columns = {name: arrow[name].to_numpy() for name in arrow.column_names}
    for name, column in columns.items():
        if column.shape != (n_users,):
            raise DataError(f"users: column {name!r} has shape {column.shape}; there are {n_users} users")
    return {name: Attribute.of(column, name) for name, column in columns.items()}


def attribute(attributes: Mapping[str, Attribute] | None, name: str, purpose: str) -> np.ndarray:
    """Return one attribute column, or say that it is missing."""
    if attributes is None:
        raise CampaignError(f"{purpose} names the users' column {name!r}, but no users table is given; pass one")
    if name not in attributes:
        raise CampaignError(f"{purpose}: the users table has no column {name!r}{nearest(name, attributes)}")
    return attributes[name].array()


def aligned(numbers: Any, user_row: np.ndarray, users: Any) -> np.ndarray:
    """Bring one number a row of the users table into the order of the offers' users."""
    array = np.asarray(numbers)
    if array.size != len(users):
        raise UsageError(f"max_per_user has {array.size} numbers for {len(users)} rows of the users table")
    return array[user_row]


def per_user(max_per_user: Any, n_users: int) -> int | np.ndarray:
    """Check `max_per_user`: a whole number >= 1, or `(n_users,)` whole numbers >= 0."""
    array = np.asarray(max_per_user)
    if array.ndim == 0:
        if not float(array).is_integer() or array < 1:
            raise UsageError(f"max_per_user is {max_per_user}; it must be a whole number, 1 or more")
        return min(int(array), int(np.iinfo(np.int32).max))
    if array.shape != (n_users,):
        raise UsageError(f"max_per_user has shape {array.shape}; there are {n_users} users")
    try:
        numbers = array.astype(np.float64)  # of objects too, where every one is a number
    except (TypeError, ValueError) as error:
        raise UsageError(f"max_per_user must hold whole numbers, 0 or more ({error})") from error
    if not (np.isfinite(numbers).all() and (numbers >= 0).all() and (numbers == np.floor(numbers)).all()):
        raise UsageError("max_per_user must hold whole numbers, 0 or more")
    return np.minimum(numbers, np.iinfo(np.int32).max).astype(np.int32)


def exclusive_groups(groups: Sequence[Sequence[str | int]], coupon_ids: tuple[str, ...]) -> np.ndarray:
    """Return `(n_coupons,)` int32 group of each coupon, -1 for none.

    A group inside another adds nothing and is dropped. Groups that overlap otherwise are refused: with them a
    user's best choice would no longer be found by taking the best offers in turn.
    """
    index = {name: k for k, name in enumerate(coupon_ids)}
    sets: list[set[int]] = []
    for group in groups:
        members = set()
        for coupon in [group] if isinstance(group, str) else group:
            k = index.get(coupon) if isinstance(coupon, str) else int(coupon)
            if k is None or not 0 <= k < len(coupon_ids):
                raise CampaignError(f"exclusive: unknown coupon {coupon!r}{nearest(coupon, coupon_ids)}")
            members.add(k)
        sets.append(members)
    result = np.full(len(coupon_ids), -1, np.int32)
    for number, members in enumerate(sorted(sets, key=len, reverse=True)):
        taken = {int(result[k]) for k in members}
        if taken == {-1}:
            result[list(members)] = number
        elif len(taken) > 1:
            names = ", ".join(sorted(coupon_ids[k] for k in members))
            raise CampaignError(f"exclusive: the group {names} overlaps another; merge them or make them disjoint")
    return result


def flag_rows(flags: Any, table: frames.OfferColumns, source: str) -> np.ndarray | None:
    """Return `(n_rows,)` bool from a column's name or an array."""
    if flags is None:
        return None
    if isinstance(flags, str):
        if flags not in table.flags:
            raise DataError(f"{source}: no true/false column {flags!r}{nearest(flags, table.flags)}")
        return table.flags[flags]
    return np.asarray(flags)


def fixed_offers(flags: Any, shape: tuple[int, ...], offers: Offers, word: str) -> np.ndarray:
    """Return the sorted offer indices that a bool array marks."""
    if flags is None:
        return np.empty(0, np.int64)
    array = np.asarray(flags)
    if array.dtype != np.bool_ or array.shape != shape:
        raise UsageError(f"{word} must be bool of shape {shape}, not {array.dtype} of shape {array.shape}")
    marked = array.reshape(-1)
    if offers.row is not None:
        marked = marked[offers.row]
    chosen = np.flatnonzero(marked)
    absent = np.isnan(offers.value[chosen])
    if word == "required" and absent.any():
        e = int(chosen[absent][0])
        raise UsageError(
            f"{int(absent.sum()):,} required pairs are not eligible (e.g. user {e // offers.n_coupons}, "
            f"coupon {e % offers.n_coupons}); give them a value, or do not require them"
        )
    return chosen[~absent]


def faces(face_value: Any, n_coupons: int) -> np.ndarray | None:
    """Check the coupons' face values."""
    if face_value is None:
        return None
    array = np.asarray(face_value, dtype=np.float64)
    if array.shape != (n_coupons,):
        raise UsageError(f"face_value has shape {array.shape}; there are {n_coupons} coupons")
    if np.isinf(array).any() or (array < 0).any():
        raise UsageError("face_value must hold numbers, 0 or more; NaN where a coupon has none")
    return array


def _grid(array: Any, name: str) -> np.ndarray:
    try:
        grid = np.ascontiguousarray(array, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} must be a (users, coupons) array of numbers: {error}") from error
    if grid.ndim != 2:
        raise DataError(f"{name} must have two dimensions, (users, coupons); it has shape {grid.shape}")
    return grid


def _check_amounts(
    value: np.ndarray, cost: np.ndarray, n_blocks: int, where: Any, absent: str | None, source: str = "offers"
) -> int:
    width = value.size // n_blocks
    parts = map_blocks(
        lambda low, high: kernels.check_amounts(value, cost, absent is not None, low * width, high * width), n_blocks
    )
    faults = sum(part[2] for part in parts)
    if faults:
        kind, first = next((part[0], part[1]) for part in parts if part[2])
        column, words = FAULTS[kind]
        number = value[first] if column == "value" else cost[first]
        if kind == kernels.TOO_LARGE:
            column, number = (
                ("value", value[first]) if abs(value[first]) > kernels.AMOUNT_LIMIT else ("cost", cost[first])
            )
        raise DataError(
            f"{source}: column {column!r} {words} at {where(first)} ({number}); "
            f"{counted(faults, 'row has', 'rows have')} an unusable value or cost: correct them or drop those rows"
        )
    present = sum(part[3] for part in parts)
    if present == 0:
        raise DataError(f"{source}: no eligible (user, coupon) pair")
    return int(present)


def _measure_column(column: np.ndarray, name: str, where: Any, source: str = "offers") -> np.ndarray:
    low, high = float(np.min(column)), float(np.max(column))  # NaN travels through both
    floor = 0.0 if name in ("liability", "redeem_probability") else -kernels.AMOUNT_LIMIT
    ceiling = 1.0 if name == "redeem_probability" else kernels.AMOUNT_LIMIT
    if low >= floor and high <= ceiling:
        return column
    bad = np.flatnonzero(~((column >= floor) & (column <= ceiling)))
    raise DataError(
        f"{source}: column {name!r} has {counted(bad.size, 'unusable number', 'unusable numbers')} (first at {where(int(bad[0]))}: "
        f"{column[bad[0]]}); they must be finite and between {floor:g} and {ceiling:g}"
    )
