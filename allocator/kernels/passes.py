"""One pass over offers at given prices: each user's best choice, and who might choose otherwise nearby.

Reduced values come from two small tables, so that a pass costs the same for 2 limits as for 200:
`row = wide[k] + narrow[g, class_of[k]]` holds the multipliers of (value, cost, further columns ..., 1) for an offer of
coupon k to a user of group g. NaN values (absent pairs) lose every comparison and so are never chosen.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def reduced(e, k, g, wide, narrow, class_of, value, cost, extra):  # type: ignore[no-untyped-def]
    """Return the table's multipliers applied to offer e."""
    row = wide[k]
    last = row.size - 1
    total = row[0] * value[e] + row[1] * cost[e] + row[last]
    for j in range(last - 2):
        total += row[2 + j] * extra[j, e]
    if narrow.size:
        second = narrow[g, class_of[k]]
        total += second[0] * value[e] + second[1] * cost[e] + second[last]
        for j in range(last - 2):
            total += second[2 + j] * extra[j, e]
    return total


@njit(nogil=True, cache=True)
def span(e, k, g, wide, narrow, class_of, value, cost, extra):  # type: ignore[no-untyped-def]
    """Return how far the reduced value of offer e can move inside the box, from tables of radii (all >= 0)."""
    row = wide[k]
    last = row.size - 1
    total = row[0] * abs(value[e]) + row[1] * cost[e] + row[last]
    for j in range(last - 2):
        total += row[2 + j] * abs(extra[j, e])
    if narrow.size:
        second = narrow[g, class_of[k]]
        total += second[0] * abs(value[e]) + second[1] * cost[e] + second[last]
        for j in range(last - 2):
            total += second[2 + j] * abs(extra[j, e])
    return total


@njit(nogil=True, cache=True)
def add_offer(e, k, g, weight, value, cost, extra, class_of, used_wide, used_narrow):  # type: ignore[no-untyped-def]
    """Add the columns of a chosen offer to the usage tables."""
    last = used_wide.shape[1] - 1
    row = used_wide[k]
    row[0] += weight * value[e]
    row[1] += weight * cost[e]
    for j in range(last - 2):
        row[2 + j] += weight * extra[j, e]
    row[last] += weight
    if used_narrow.size:
        second = used_narrow[g, class_of[k]]
        second[0] += weight * value[e]
        second[1] += weight * cost[e]
        for j in range(last - 2):
            second[2 + j] += weight * extra[j, e]
        second[last] += weight


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
    used_wide = np.zeros(wide.shape)
    used_narrow = np.zeros(narrow.shape)
    picked = np.empty(last - first, np.int64)
    n_picked = 0
    active = np.empty(last - first if screening else 0, np.int64)
    n_active = 0
    total = 0.0
    longest = width
    if width == 0:
        for i in range(first, last):
            longest = max(longest, start[i + 1] - start[i])
    gain = np.empty(longest)
    chosen = np.zeros(longest, np.uint8)
    best_of_group = np.full(exclusive.size + 1, -1, np.int64)
    for i in range(first, last):
        low = i * width if width > 0 else start[i]
        high = low + width if width > 0 else start[i + 1]
        g = group[i] if group.size else 0
        m = caps[i] if caps.size else cap
        if m == 1:
            best, pick = 0.0, -1
            if screening:
                top, second, top_pick, best_span = 0.0, -np.inf, -1, 0.0
                for e in range(low, high):
                    k = e - low if width > 0 else coupon[e]
                    r = reduced(e, k, g, wide, narrow, class_of, value, cost, extra)
                    w = span(e, k, g, radius_wide, radius_narrow, class_of, value, cost, extra)
                    if r > best:
                        best, pick, best_span = r, e, w
                    if r + w > top:
                        top, second, top_pick = r + w, top, e
                    elif r + w > second:
                        second = r + w
                rival = second if top_pick == pick else top
                if best - best_span <= rival:
                    active[n_active] = i
                    n_active += 1
                    continue
            else:
                for e in range(low, high):
                    k = e - low if width > 0 else coupon[e]
                    r = reduced(e, k, g, wide, narrow, class_of, value, cost, extra)
                    if r > best:
                        best, pick = r, e
            if pick >= 0:
                k = pick - low if width > 0 else coupon[pick]
                total += best
                add_offer(pick, k, g, 1.0, value, cost, extra, class_of, used_wide, used_narrow)
                picked[n_picked] = pick
                n_picked += 1
            continue
        if m == 0:
            continue
        for e in range(low, high):
            k = e - low if width > 0 else coupon[e]
            gain[e - low] = reduced(e, k, g, wide, narrow, class_of, value, cost, extra)
        count, least = pick_many(low, high, coupon, width, gain, m, exclusive, best_of_group, chosen)
        if screening and not steady(
            low, high, g, count >= m, coupon, width, gain, chosen, exclusive, best_of_group,
            radius_wide, radius_narrow, class_of, value, cost, extra,
        ):  # fmt: skip
            active[n_active] = i
            n_active += 1
            continue
        if n_picked + count > picked.size:
            larger = np.empty(2 * picked.size + count, np.int64)
            larger[:n_picked] = picked[:n_picked]
            picked = larger
        for t in range(high - low):
            if chosen[t]:
                k = t if width > 0 else coupon[low + t]
                total += gain[t]
                add_offer(low + t, k, g, 1.0, value, cost, extra, class_of, used_wide, used_narrow)
                picked[n_picked] = low + t
                n_picked += 1
    return total, used_wide, used_narrow, picked[:n_picked].copy(), active[:n_active].copy()


@njit(nogil=True, cache=True)
def steady(  # type: ignore[no-untyped-def]
    low, high, g, full, coupon, width, gain, chosen, exclusive, best_of_group,
    radius_wide, radius_narrow, class_of, value, cost, extra,
):  # fmt: skip
    """Tell whether a user's choice of several offers is the same everywhere inside the box."""
    least = np.inf  # the lowest that a chosen offer can fall to
    safe = True
    for t in range(high - low):
        if chosen[t]:
            k = t if width > 0 else coupon[low + t]
            floor = gain[t] - span(low + t, k, g, radius_wide, radius_narrow, class_of, value, cost, extra)
            least = min(least, floor)
            if exclusive[k] >= 0:
                best_of_group[exclusive[k]] = t
    if least <= 0.0:
        safe = False
    for t in range(high - low):
        if not safe:
            break
        if chosen[t] or np.isnan(gain[t]):
            continue
        k = t if width > 0 else coupon[low + t]
        ceiling = gain[t] + span(low + t, k, g, radius_wide, radius_narrow, class_of, value, cost, extra)
        held = best_of_group[exclusive[k]] if exclusive[k] >= 0 else -1
        if held >= 0:
            j = held if width > 0 else coupon[low + held]
            floor = gain[held] - span(low + held, j, g, radius_wide, radius_narrow, class_of, value, cost, extra)
            safe = ceiling < floor
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


@njit(nogil=True, cache=True)
def flip_losses(  # type: ignore[no-untyped-def]
    first, last, start, width, coupon, value, cost, extra, group, cap, caps, exclusive, wide, narrow, class_of, most,
):  # fmt: skip
    """List the offers whose flip (taking it in, or leaving it out) loses at most `most` of the user's reduced value.

    The loss of a flip is the least that the user's part of the dual falls by in any choice with that offer flipped.

    Returns
    -------
    offer, loss, chosen
        The offers found, the loss of flipping each, and whether each is in the user's best choice.
    """
    size = 1024
    offer = np.empty(size, np.int64)
    loss = np.empty(size)
    flag = np.empty(size, np.uint8)
    n = 0
    longest = width
    if width == 0:
        for i in range(first, last):
            longest = max(longest, start[i + 1] - start[i])
    gain = np.empty(longest)
    chosen = np.zeros(longest, np.uint8)
    best_of_group = np.full(exclusive.size + 1, -1, np.int64)
    for i in range(first, last):
        low = i * width if width > 0 else start[i]
        high = low + width if width > 0 else start[i + 1]
        g = group[i] if group.size else 0
        m = caps[i] if caps.size else cap
        if m == 0:
            continue
        for e in range(low, high):
            k = e - low if width > 0 else coupon[e]
            gain[e - low] = reduced(e, k, g, wide, narrow, class_of, value, cost, extra)
        count, least = pick_many(low, high, coupon, width, gain, m, exclusive, best_of_group, chosen)
        full = count >= m
        # The best offer that could step in for a dropped one: of another group, or of the dropped one's group.
        outside = 0.0
        for t in range(high - low):
            if chosen[t]:
                k = t if width > 0 else coupon[low + t]
                if exclusive[k] >= 0:
                    best_of_group[exclusive[k]] = t
        for t in range(high - low):
            if not chosen[t] and gain[t] > outside and full:
                k = t if width > 0 else coupon[low + t]
                if exclusive[k] < 0 or best_of_group[exclusive[k]] < 0:
                    outside = gain[t]
        for t in range(high - low):
            if np.isnan(gain[t]):
                continue
            k = t if width > 0 else coupon[low + t]
            x = exclusive[k]
            held = best_of_group[x] if x >= 0 else -1
            if chosen[t]:
                substitute = outside
                if x >= 0:
                    for s in range(high - low):
                        j = s if width > 0 else coupon[low + s]
                        if s != t and exclusive[j] == x and gain[s] > substitute:
                            substitute = gain[s]
                lost = gain[t] - substitute
            elif held >= 0:
                lost = gain[held] - gain[t]
            elif full:
                lost = least - gain[t]
            else:
                lost = -gain[t]
            if lost <= most:
                if n == size:
                    size *= 2
                    offer = np.append(offer, np.empty(n, np.int64))
                    loss = np.append(loss, np.empty(n))
                    flag = np.append(flag, np.empty(n, np.uint8))
                offer[n], loss[n], flag[n] = low + t, max(lost, 0.0), chosen[t]
                n += 1
        for t in range(high - low):
            if chosen[t]:
                k = t if width > 0 else coupon[low + t]
                if exclusive[k] >= 0:
                    best_of_group[exclusive[k]] = -1
    return offer[:n].copy(), loss[:n].copy(), flag[:n].copy()
