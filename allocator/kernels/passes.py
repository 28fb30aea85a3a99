"""One pass over offers at given prices: each user's best choice, and who might choose otherwise nearby.

Reduced values come from two small tables, so that a pass costs the same for 2 limits as for 200:
`row = wide[k] + narrow[g, class_of[k]]` holds the multipliers of (value, cost, further columns ..., 1) for an offer of
coupon k to a user of group g. NaN values (absent pairs) lose every comparison and so are never chosen.

Users are taken in chunks whose reduced values fit the cache. A call of one compiled function from another counts
references of every array that it passes, which costs more than an offer's arithmetic: so calls are made once a chunk.
"""

from __future__ import annotations

import numpy as np

from allocator.kernels.compiling import njit
from allocator.kernels.grid import choose_from_grid

CHUNK = 256  # users


@njit(nogil=True, cache=True)
def gains(first, last, start, width, coupon, value, cost, extra, group, wide, narrow, class_of, out):  # type: ignore[no-untyped-def]
    """Fill `out` with the tables' multipliers applied to the offers of users first..last."""
    end = wide.shape[1] - 1
    further = end - 2
    base = first * width if width > 0 else start[first]
    for i in range(first, last):
        low = i * width if width > 0 else start[i]
        high = low + width if width > 0 else start[i + 1]
        g = group[i] if group.size else 0
        for e in range(low, high):
            k = e - low if width > 0 else coupon[e]
            total = wide[k, 0] * value[e] + wide[k, 1] * cost[e] + wide[k, end]
            for j in range(further):
                total += wide[k, 2 + j] * extra[j, e]
            if narrow.shape[0]:
                c = class_of[k]
                total += narrow[g, c, 0] * value[e] + narrow[g, c, 1] * cost[e] + narrow[g, c, end]
                for j in range(further):
                    total += narrow[g, c, 2 + j] * extra[j, e]
            out[e - base] = total


@njit(nogil=True, cache=True)
def spans(first, last, start, width, coupon, value, cost, extra, group, wide, narrow, class_of, out):  # type: ignore[no-untyped-def]
    """Fill `out` with how far each reduced value can move inside the box, from tables of radii (all >= 0)."""
    end = wide.shape[1] - 1
    further = end - 2
    base = first * width if width > 0 else start[first]
    for i in range(first, last):
        low = i * width if width > 0 else start[i]
        high = low + width if width > 0 else start[i + 1]
        g = group[i] if group.size else 0
        for e in range(low, high):
            k = e - low if width > 0 else coupon[e]
            total = wide[k, 0] * abs(value[e]) + wide[k, 1] * cost[e] + wide[k, end]
            for j in range(further):
                total += wide[k, 2 + j] * abs(extra[j, e])
            if narrow.shape[0]:
                c = class_of[k]
                total += narrow[g, c, 0] * abs(value[e]) + narrow[g, c, 1] * cost[e] + narrow[g, c, end]
                for j in range(further):
                    total += narrow[g, c, 2 + j] * abs(extra[j, e])
            out[e - base] = total


@njit(nogil=True, cache=True)
def add_offers(n, offer, owner, share, width, coupon, value, cost, extra, group, class_of, used_wide, used_narrow):  # type: ignore[no-untyped-def]
    """Add the columns of chosen offers, each times its share, to the usage tables."""
    end = used_wide.shape[1] - 1
    further = end - 2
    for t in range(n):
        e, weight = offer[t], share[t]
        k = e % width if width > 0 else coupon[e]
        used_wide[k, 0] += weight * value[e]
        used_wide[k, 1] += weight * cost[e]
        for j in range(further):
            used_wide[k, 2 + j] += weight * extra[j, e]
        used_wide[k, end] += weight
        if used_narrow.shape[0]:
            g, c = group[owner[t]] if group.size else 0, class_of[k]
            used_narrow[g, c, 0] += weight * value[e]
            used_narrow[g, c, 1] += weight * cost[e]
            for j in range(further):
                used_narrow[g, c, 2 + j] += weight * extra[j, e]
            used_narrow[g, c, end] += weight


@njit(nogil=True, cache=True)
def longest_chunk(first, last, start, width):  # type: ignore[no-untyped-def]
    """Return the most offers that a chunk of users holds."""
    if width > 0:
        return CHUNK * width
    most = 0
    for i in range(first, last, CHUNK):
        most = max(most, start[min(i + CHUNK, last)] - start[i])
    return most


@njit(nogil=True, cache=True)
def choose_one(first, last, start, width, gain, span, screening, offer, owner, active):  # type: ignore[no-untyped-def]
    """Choose at most one offer for each user of a chunk: return (sum of gains, number chosen, number set aside)."""
    base = first * width if width > 0 else start[first]
    total, n, n_active = 0.0, 0, 0
    for i in range(first, last):
        low = i * width if width > 0 else start[i]
        high = low + width if width > 0 else start[i + 1]
        best, pick = 0.0, -1
        for e in range(low, high):
            if gain[e - base] > best:
                best, pick = gain[e - base], e
        if screening:
            rival = 0.0 if pick >= 0 else -np.inf
            for e in range(low, high):
                if e != pick and gain[e - base] + span[e - base] > rival:
                    rival = gain[e - base] + span[e - base]
            floor = best - span[pick - base] if pick >= 0 else 0.0
            if floor <= rival:
                active[n_active] = i
                n_active += 1
                continue
        if pick >= 0:
            total += best
            offer[n], owner[n] = pick, i
            n += 1
    return total, n, n_active


@njit(nogil=True, cache=True)
def pick_many(low, high, coupon, width, gain, cap, exclusive, best_of_group, chosen):  # type: ignore[no-untyped-def]
    """Choose for one user: mark in `chosen` (by position) up to `cap` offers of positive gain, one an exclusive group.

    Greedy is exact: the rules form a laminar matroid. Return (how many, the smallest gain taken).
    """
    n = high - low
    positive = np.empty(n, np.int64)
    count = 0
    for t in range(n):
        chosen[t] = 0
        if not gain[t] > 0.0:
            continue
        k = (low + t) % width if width > 0 else coupon[low + t]
        group = exclusive[k]
        if group >= 0:
            rival = best_of_group[group]
            if rival >= 0:
                if gain[t] > gain[positive[rival]]:
                    positive[rival] = t
                continue
            best_of_group[group] = count
        positive[count] = t
        count += 1
    for t in range(count):
        e = low + positive[t]
        group = exclusive[e % width if width > 0 else coupon[e]]
        if group >= 0:
            best_of_group[group] = -1
    # Too many: leave out the smallest, the later one of two equal gains first.
    while count > cap:
        worst = 0
        for t in range(1, count):
            here, there = gain[positive[t]], gain[positive[worst]]
            if here < there or (here == there and positive[t] > positive[worst]):
                worst = t
        count -= 1
        positive[worst] = positive[count]
    least = np.inf
    for t in range(count):
        chosen[positive[t]] = 1
        least = min(least, gain[positive[t]])
    return count, least


@njit(nogil=True, cache=True)
def choose_several(  # type: ignore[no-untyped-def]
    first, last, start, width, coupon, gain, span, cap, caps, exclusive, best_of_group, chosen, screening,
    offer, owner, active,
):  # fmt: skip
    """Choose several offers for each user of a chunk: return (sum of gains, number chosen, number set aside)."""
    base = first * width if width > 0 else start[first]
    total, n, n_active = 0.0, 0, 0
    for i in range(first, last):
        low = i * width if width > 0 else start[i]
        high = low + width if width > 0 else start[i + 1]
        m = caps[i] if caps.size else cap
        if m == 0:
            continue
        own = gain[low - base : high - base]
        count, _ = pick_many(low, high, coupon, width, own, m, exclusive, best_of_group, chosen)
        if screening and not steady(
            low, high, count >= m, coupon, width, own, span[low - base : high - base], chosen, exclusive, best_of_group
        ):
            active[n_active] = i
            n_active += 1
            continue
        for t in range(high - low):
            if chosen[t]:
                total += own[t]
                offer[n], owner[n] = low + t, i
                n += 1
    return total, n, n_active


@njit(nogil=True, cache=True)
def best_choices(  # type: ignore[no-untyped-def]
    first, last, start, width, coupon, value, cost, extra, group, cap, caps, exclusive,
    wide, narrow, class_of, radius_wide, radius_narrow, screening,
):  # fmt: skip
    """Choose for users `first..last`; with `screening`, set aside those whose choice may change inside the box.

    Returns
    -------
    total
        Sum of the reduced values of the choices of the users that are not set aside.
    used_wide, used_narrow
        Sums of the columns of their chosen offers, by coupon, and by user group and coupon class.
    picked
        Their chosen offers, in order.
    active
        The users set aside, in order.
    """
    used_wide, used_narrow = np.zeros(wide.shape), np.zeros(narrow.shape)
    if width > 0 and caps.size == 0 and cap == 1 and narrow.shape[0] == 0 and wide.shape[1] == 3:
        total, picked, active = choose_from_grid(first, last, value, cost, wide, radius_wide, screening, used_wide)
        return total, used_wide, used_narrow, picked, active
    longest = longest_chunk(first, last, start, width)
    gain, span = np.empty(longest), np.empty(longest if screening else 0)
    chosen = np.zeros(longest, np.uint8)
    best_of_group = np.full(exclusive.size + 1, -1, np.int64)
    offer, owner = np.empty(longest, np.int64), np.empty(longest, np.int64)
    share = np.ones(longest)
    picked, n_picked = np.empty(last - first, np.int64), 0
    active, n_active = np.empty(last - first if screening else 0, np.int64), 0
    total = 0.0
    for low in range(first, last, CHUNK):
        high = min(low + CHUNK, last)
        gains(low, high, start, width, coupon, value, cost, extra, group, wide, narrow, class_of, gain)
        if screening:
            spans(
                low, high, start, width, coupon, value, cost, extra, group, radius_wide, radius_narrow, class_of, span
            )
        if caps.size == 0 and cap == 1:
            part, n, aside = choose_one(low, high, start, width, gain, span, screening, offer, owner, active[n_active:])
        else:
            part, n, aside = choose_several(
                low, high, start, width, coupon, gain, span, cap, caps, exclusive, best_of_group, chosen, screening,
                offer, owner, active[n_active:],
            )  # fmt: skip
        total += part
        n_active += aside
        add_offers(n, offer, owner, share, width, coupon, value, cost, extra, group, class_of, used_wide, used_narrow)
        if n_picked + n > picked.size:
            larger = np.empty(2 * picked.size + n, np.int64)
            larger[:n_picked] = picked[:n_picked]
            picked = larger
        picked[n_picked : n_picked + n] = offer[:n]
        n_picked += n
    return total, used_wide, used_narrow, picked[:n_picked].copy(), active[:n_active].copy()


@njit(nogil=True, cache=True)
def steady(low, high, full, coupon, width, gain, span, chosen, exclusive, best_of_group):  # type: ignore[no-untyped-def]
    """Tell whether a user's choice of several offers is the same everywhere inside the box."""
    least = np.inf  # the lowest that a chosen offer can fall to
    for t in range(high - low):
        if chosen[t]:
            k = t if width > 0 else coupon[low + t]
            least = min(least, gain[t] - span[t])
            if exclusive[k] >= 0:
                best_of_group[exclusive[k]] = t
    safe = least > 0.0
    for t in range(high - low):
        if not safe:
            break
        if chosen[t] or np.isnan(gain[t]):
            continue
        k = t if width > 0 else coupon[low + t]
        ceiling = gain[t] + span[t]
        held = best_of_group[exclusive[k]] if exclusive[k] >= 0 else -1
        if held >= 0:
            safe = ceiling < gain[held] - span[held]
        elif full:
            safe = ceiling < least
        else:
            safe = ceiling < 0.0
    for t in range(high - low):
        if chosen[t]:
            k = t if width > 0 else coupon[low + t]
            if exclusive[k] >= 0:
                best_of_group[exclusive[k]] = -1
    return safe
