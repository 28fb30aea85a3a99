"""Which coupons and which users each limit covers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from allocator.errors import CampaignError, nearest
from allocator.limit import Limit
from allocator.tables.user_columns import Attribute


def check_names(limits: Sequence[Limit]) -> None:
    """Raise `CampaignError` where two limits share a name."""
    seen: set[str] = set()
    for limit in limits:
        if limit.name in seen:
            raise CampaignError(f"two limits are named {limit.name!r}; give each its own name")
        seen.add(limit.name)


def check_measures(limits: Sequence[Limit], known: Sequence[str]) -> None:
    """Raise `CampaignError` where a limit's measure names no column of the offers."""
    for limit in limits:
        for column in limit.weights:
            if column not in known:
                raise CampaignError(
                    f"limit {limit.name!r}: the offers have no numeric column {column!r}{nearest(column, known)}; "
                    f"known measures: {', '.join(known)}"
                )


def coupon_masks(limits: Sequence[Limit], coupon_ids: Sequence[str]) -> np.ndarray:
    """Return `(n_limits, n_coupons)` bool: which coupons each limit covers."""
    index = {name: k for k, name in enumerate(coupon_ids)}
    masks = np.ones((len(limits), len(coupon_ids)), dtype=bool)
    for r, limit in enumerate(limits):
        if limit.coupons is None:
            continue
        masks[r] = False
        wanted = [limit.coupons] if isinstance(limit.coupons, str) else limit.coupons
        for coupon in wanted:
            k = index.get(coupon) if isinstance(coupon, str) else int(coupon)
            if k is None or not 0 <= k < len(coupon_ids):
                raise CampaignError(f"limit {limit.name!r}: unknown coupon {coupon!r}{nearest(coupon, coupon_ids)}")
            masks[r, k] = True
    return masks


def user_groups(
    limits: Sequence[Limit], n_users: int, attributes: Mapping[str, Attribute] | None
) -> tuple[np.ndarray | None, np.ndarray]:
    """Sort users into groups that every limit covers wholly or not at all.

    Users alike in all attributes that limits refer to are one cell; limits are then looked at by cell, so that each
    costs no pass over the users.

    Returns
    -------
    group
        `(n_users,)` int32, or `None` where all users are in group 0.
    limit_groups
        `(n_limits, n_groups)` bool: which groups each limit covers.
    """
    cell, values = _cells(_attributes_used(limits, n_users, attributes), n_users)
    n_cells = int(cell.max(initial=0)) + 1
    group = np.zeros(n_cells, np.int32)
    members = np.ones((len(limits), 1), dtype=bool)
    for r, limit in enumerate(limits):
        if limit.users is None:
            continue
        mask = values[r] if isinstance(limit.users, np.ndarray) else _mask(limit, n_cells, values)
        # Split each group in those the limit covers and the others; number the ones that occur anew.
        found, group = _compress(group * 2 + mask, 2 * members.shape[1])
        members = members[:, found // 2]
        members[r] = found % 2 == 1
    return (None if members.all() else group[cell]), members


def _attributes_used(
    limits: Sequence[Limit], n_users: int, attributes: Mapping[str, Attribute] | None
) -> dict[str | int, Attribute]:
    """Return what limits refer to: attributes by name, and bool arrays by the limit's position."""
    used: dict[str | int, Attribute] = {}
    for r, limit in enumerate(limits):
        if limit.users is None:
            continue
        if isinstance(limit.users, np.ndarray):
            if limit.users.dtype != np.bool_ or limit.users.shape != (n_users,):
                raise CampaignError(
                    f"limit {limit.name!r}: users must be a bool array of shape ({n_users},), "
                    f"not {limit.users.dtype} of shape {limit.users.shape}"
                )
            used[r] = Attribute(np.array([False, True]), limit.users.astype(np.int32))
            continue
        if not isinstance(limit.users, Mapping):
            raise CampaignError(f"limit {limit.name!r}: users must be a mapping of attributes or a bool array")
        for name in limit.users:
            if attributes is None:
                raise CampaignError(
                    f"limit {limit.name!r} refers to the users' {name!r}, but no users table is given; pass one"
                )
            if name not in attributes:
                raise CampaignError(
                    f"limit {limit.name!r}: the users table has no column {name!r}{nearest(name, attributes)}"
                )
            if name not in used:
                used[name] = attributes[name]
    return used


def _cells(used: Mapping[str | int, Attribute], n_users: int) -> tuple[np.ndarray, dict[str | int, np.ndarray]]:
    """Return each user's cell, `(n_users,)` int32, and each attribute's value by cell."""
    cell, n_cells = np.zeros(n_users, np.int32), 1
    digits: dict[str | int, np.ndarray] = {}
    for key, attribute in used.items():
        base = attribute.values.size
        found, cell = _compress(cell.astype(np.int64) * base + attribute.code, n_cells * base)
        digits = {other: digit[found // base] for other, digit in digits.items()}
        digits[key] = found % base
        n_cells = found.size
    return cell, {key: used[key].values[digit] for key, digit in digits.items()}


def _compress(code: np.ndarray, n_codes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the codes that occur, and each code's position among them, int32."""
    if n_codes > 4 * code.size + (1 << 20):
        found, inverse = np.unique(code, return_inverse=True)
        return found, inverse.astype(np.int32)
    found = np.flatnonzero(np.bincount(code, minlength=n_codes))
    if found.size == 0:  # no users at all
        return np.zeros(1, np.int64), code.astype(np.int32)
    renumber = np.zeros(n_codes, np.int32)
    renumber[found] = np.arange(found.size, dtype=np.int32)
    return found, renumber[code]


def _mask(limit: Limit, n_cells: int, values: Mapping[str | int, np.ndarray]) -> np.ndarray:
    """Return which cells a limit covers, `(n_cells,)` bool."""
    mask = np.ones(n_cells, dtype=bool)
    for attribute, wanted in dict(limit.users or {}).items():
        mask &= _matches(limit, attribute, values[attribute], wanted)
    return mask


def _matches(limit: Limit, attribute: str, column: np.ndarray, wanted: Any) -> np.ndarray:
    values = list(wanted) if isinstance(wanted, (list, tuple, set, frozenset, np.ndarray)) else [wanted]
    mask = np.zeros(column.shape, dtype=bool)
    for value in values:
        hit = np.asarray(column == value)
        if hit.shape != column.shape or not hit.any():
            known = sorted({str(item) for item in column[:10_000].tolist()})[:12]
            raise CampaignError(
                f"limit {limit.name!r}: no user has {attribute} = {value!r}{nearest(value, known)}; "
                f"values found: {', '.join(known)}"
            )
        mask |= hit
    return mask
