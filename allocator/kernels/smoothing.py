"""The smoothed dual: value, gradient and curvature in one pass over offers.

Each user's best choice is replaced by a soft one at temperature tau (entropic smoothing: Nesterov, *Smooth minimization
of non-smooth functions*, Math. Program. 103, 2005, doi:10.1007/s10107-004-0552-5). Offers of one exclusive group, or
all offers of a user with `max_per_user` 1, form a unit of which one or none is taken:
p_e = exp((r_e - theta) / tau) / (1 + sum over the unit of exp((r - theta) / tau)), and theta >= 0 is the least number at
which at most m are taken in all. The smoothed dual is tau * sum of log(...) + m * theta; it is convex and lies above the
dual by at most tau * log(1 + offers) for each unit.
"""

from __future__ import annotations

import math

import numpy as np

from allocator.kernels.compiling import njit
from allocator.kernels.passes import CHUNK, add_offers, gains, longest_chunk

VANISHING = 30.0  # temperatures below the best: exp(-30) = 1e-13
CERTAIN = 1e-9  # a choice surer than this adds nothing to the curvature


@njit(nogil=True, cache=True)
def soften(n, gain, unit, n_units, tau, theta, share, peak, mass):  # type: ignore[no-untyped-def]
    """Fill `share[t]` with the soft choice at `theta`; return (sum of shares, sum of logs)."""
    for u in range(n_units):
        peak[u] = 0.0
        mass[u] = 0.0
    for t in range(n):
        if gain[t] - theta > peak[unit[t]]:
            peak[unit[t]] = gain[t] - theta
    for t in range(n):
        share[t] = math.exp((gain[t] - theta - peak[unit[t]]) / tau)
        mass[unit[t]] += share[t]
    logs = 0.0
    for u in range(n_units):
        mass[u] += math.exp(-peak[u] / tau)
        logs += math.log(mass[u]) * tau + peak[u]
    total = 0.0
    for t in range(n):
        share[t] /= mass[unit[t]]
        total += share[t]
    return total, logs


@njit(nogil=True, cache=True)
def coefficients(e, k, g, value, cost, extra, weights, wide_start, wide_limit, pair_start, pair_limit, class_of, n_classes, found, number):  # type: ignore[no-untyped-def]  # fmt: skip
    """List the limits (or levers) that cover offer e and its number in each; return how many."""
    last = weights.shape[1] - 1
    n = 0
    for source in range(2):
        if source == 0:
            begin, end = wide_start[k], wide_start[k + 1]
        elif pair_start.size:
            cell = g * n_classes + class_of[k]
            begin, end = pair_start[cell], pair_start[cell + 1]
        else:
            begin, end = 0, 0
        for position in range(begin, end):
            r = wide_limit[position] if source == 0 else pair_limit[position]
            a = weights[r, 0] * value[e] + weights[r, 1] * cost[e] + weights[r, last]
            for j in range(last - 2):
                a += weights[r, 2 + j] * extra[j, e]
            found[n], number[n] = r, a
            n += 1
    return n


@njit(nogil=True, cache=True)
def with_room(rows, start, limit, number, weight, more):  # type: ignore[no-untyped-def]
    """Return the arrays of a list of sparse rows with room for another one of up to `more` entries."""
    if rows + 2 > start.size:
        start = np.append(start, np.zeros(start.size, np.int64))
    if rows + 1 > weight.size:
        weight = np.append(weight, np.empty(weight.size))
    if start[rows] + more > limit.size:
        room = limit.size + more
        limit, number = np.append(limit, np.empty(room, np.int64)), np.append(number, np.empty(room))
    return start, limit, number, weight


@njit(nogil=True, cache=True)
def soft_choices(  # type: ignore[no-untyped-def]
    first, last, start, width, coupon, value, cost, extra, group, cap, caps, exclusive,
    wide, narrow, class_of, tau, weights, wide_start, wide_limit, pair_start, pair_limit, n_classes, n_shared,
    curve, spread, listed,
):  # fmt: skip
    """Return (smoothed value, used_wide, used_narrow, hessian, hessian_own, moment, moment_own, terms) for users first..last.

    The Hessian, filled where `curve`, is in levers (`folding.Levers`), whose usage moves together: `(S, S)` of the
    `n_shared` first, which are the same for all users; `(groups, L, S + L)` of the `L` others, which are each user
    group's own, with the shared ones and with each other. The second moment sums the outer product of each user's
    expected usage in the same form, filled where `spread`: with it, the error of prices found on a sample can be told.

    Where `listed`, both stay empty: what is asked for is the sum of weight * outer(z, z) over the rows z of a sparse matrix,
    and `terms` are (start, limit, number, weight) of those rows. With thousands of limits, of which each user touches few,
    the sums would be mostly zeros.
    """
    n_limits = weights.shape[0]
    n_groups, n_own = max(1, narrow.shape[0]), n_limits - n_shared
    used_wide = np.zeros(wide.shape)
    used_narrow = np.zeros(narrow.shape)
    summed = not listed
    hessian = np.zeros((n_shared, n_shared) if curve and summed else (0, 0))
    hessian_own = np.zeros((n_groups, n_own, n_limits) if curve and summed else (0, 0, 0))
    moment = np.zeros((n_shared, n_shared) if spread and summed else (0, 0))
    moment_own = np.zeros((n_groups, n_own, n_limits) if spread and summed else (0, 0, 0))
    rows, row_start, row_weight = 0, np.zeros(1024, np.int64), np.empty(1024)
    row_limit, row_number = np.empty(1024, np.int64), np.empty(1024)
    longest = longest_chunk(first, last, start, width)
    buffer, base = np.empty(longest), 0
    taken_offer, taken_owner = np.empty(longest, np.int64), np.empty(longest, np.int64)
    taken_share, n_taken = np.empty(longest), 0
    gain, share = np.empty(longest), np.empty(longest)
    offer, unit = np.empty(longest, np.int64), np.empty(longest, np.int64)
    peak, mass = np.empty(longest), np.empty(longest)
    unit_of_group = np.full(exclusive.size + 1, -1, np.int64)
    found, number = np.empty(n_limits, np.int64), np.empty(n_limits)
    usage, whole, mixed = np.zeros(n_limits), np.zeros(n_limits), np.zeros(n_limits)
    in_unit, in_user = np.empty(n_limits, np.int64), np.empty(n_limits, np.int64)
    seen_unit, seen_user = np.zeros(n_limits, np.bool_), np.zeros(n_limits, np.bool_)
    total = 0.0
    for i in range(first, last):
        low = i * width if width > 0 else start[i]
        high = low + width if width > 0 else start[i + 1]
        if (i - first) % CHUNK == 0:
            add_offers(
                n_taken, taken_offer, taken_owner, taken_share, width, coupon, value, cost, extra, group, class_of,
                used_wide, used_narrow,
            )  # fmt: skip
            n_taken, base = 0, low
            upto = min(i + CHUNK, last)
            gains(i, upto, start, width, coupon, value, cost, extra, group, wide, narrow, class_of, buffer)
        g = group[i] if group.size else 0
        m = caps[i] if caps.size else cap
        if m == 0:
            continue
        n, n_units = 0, 1 if m == 1 else 0
        top = 0.0
        for e in range(low, high):
            k = e - low if width > 0 else coupon[e]
            r = buffer[e - base]
            if not r > -VANISHING * tau:  # its share would vanish; NaN ends here too
                continue
            gain[n], offer[n] = r, e
            if m == 1:
                unit[n] = 0
                top = max(top, r)
            elif exclusive[k] < 0:
                unit[n] = n_units
                n_units += 1
            else:
                if unit_of_group[exclusive[k]] < 0:
                    unit_of_group[exclusive[k]] = n_units
                    n_units += 1
                unit[n] = unit_of_group[exclusive[k]]
            n += 1
        if m == 1 and n > 0:
            kept = 0
            for t in range(n):
                if gain[t] > top - VANISHING * tau:
                    gain[kept], offer[kept] = gain[t], offer[t]
                    kept += 1
            n = kept
            if n == 1 and gain[0] > VANISHING * tau and not spread:
                # The common case: a sure choice, with no curvature.
                e = offer[0]
                total += gain[0]
                taken_offer[n_taken], taken_owner[n_taken], taken_share[n_taken] = e, i, 1.0
                n_taken += 1
                continue
        if m > 1:
            for t in range(n):
                x = exclusive[offer[t] - low if width > 0 else coupon[offer[t]]]
                if x >= 0:
                    unit_of_group[x] = -1
        if n == 0:
            continue
        theta = 0.0
        taken, logs = soften(n, gain, unit, n_units, tau, 0.0, share, peak, mass)
        if m > 1 and taken > m:
            below, above = 0.0, 0.0
            for t in range(n):
                above = max(above, gain[t])
            above += tau * math.log(n + 1.0) + tau
            for _ in range(60):
                theta = 0.5 * (below + above)
                taken, logs = soften(n, gain, unit, n_units, tau, theta, share, peak, mass)
                if taken > m:
                    below = theta
                else:
                    above = theta
                if above - below < 1e-3 * tau:
                    break
            total += m * theta
        total += logs
        n_user = 0
        slack_sum = 0.0
        for u in range(n_units):
            held, sure, n_unit = 0.0, 0.0, 0
            for t in range(n):
                if unit[t] == u:
                    held += share[t]
                    sure = max(sure, share[t])
            uncertain = curve and held > CERTAIN and sure < 1.0 - CERTAIN
            for t in range(n):
                if unit[t] != u or share[t] < 1e-14:
                    continue
                e = offer[t]
                k = e - low if width > 0 else coupon[e]
                taken_offer[n_taken], taken_owner[n_taken], taken_share[n_taken] = e, i, share[t]
                n_taken += 1
                if not (uncertain or spread):
                    continue
                if listed and uncertain:
                    row_start, row_limit, row_number, row_weight = with_room(
                        rows, row_start, row_limit, row_number, row_weight, n_limits
                    )
                count = coefficients(
                    e, k, g, value, cost, extra, weights, wide_start, wide_limit,
                    pair_start, pair_limit, class_of, n_classes, found, number,
                )  # fmt: skip
                for a in range(count):
                    r = found[a]
                    if not seen_unit[r]:
                        seen_unit[r] = True
                        in_unit[n_unit] = r
                        n_unit += 1
                    usage[r] += share[t] * number[a]
                    if uncertain and listed:
                        row_limit[row_start[rows] + a], row_number[row_start[rows] + a] = r, number[a]
                    elif uncertain:
                        for b in range(count):
                            s = found[b]
                            if r >= n_shared:
                                hessian_own[g, r - n_shared, s] += share[t] * number[a] * number[b] / tau
                            elif s < n_shared:
                                hessian[r, s] += share[t] * number[a] * number[b] / tau
                if listed and uncertain:
                    row_weight[rows] = share[t] / tau
                    row_start[rows + 1] = row_start[rows] + count
                    rows += 1
            if listed and uncertain:
                row_start, row_limit, row_number, row_weight = with_room(
                    rows, row_start, row_limit, row_number, row_weight, n_limits
                )
                for a in range(n_unit):
                    row_limit[row_start[rows] + a], row_number[row_start[rows] + a] = in_unit[a], usage[in_unit[a]]
                row_weight[rows] = -1.0 / tau
                row_start[rows + 1] = row_start[rows] + n_unit
                rows += 1
            for a in range(n_unit):
                r = in_unit[a]
                if not seen_user[r]:
                    seen_user[r] = True
                    in_user[n_user] = r
                    n_user += 1
                if uncertain:
                    mixed[r] += (1.0 - held) * usage[r]
                    for b in range(n_unit if summed else 0):
                        s = in_unit[b]
                        if r >= n_shared:
                            hessian_own[g, r - n_shared, s] -= usage[r] * usage[s] / tau
                        elif s < n_shared:
                            hessian[r, s] -= usage[r] * usage[s] / tau
            if uncertain:
                slack_sum += held * (1.0 - held)
            for a in range(n_unit):
                whole[in_unit[a]] += usage[in_unit[a]]
                usage[in_unit[a]] = 0.0
                seen_unit[in_unit[a]] = False
        bent = curve and theta > 0.0 and slack_sum > 1e-12
        if listed and (bent or spread):
            row_start, row_limit, row_number, row_weight = with_room(
                rows, row_start, row_limit, row_number, row_weight, n_limits
            )
            for a in range(n_user):
                r = in_user[a]
                row_limit[row_start[rows] + a], row_number[row_start[rows] + a] = r, whole[r] if spread else mixed[r]
            row_weight[rows] = 1.0 if spread else -1.0 / (slack_sum * tau)
            row_start[rows + 1] = row_start[rows] + n_user
            rows += 1
        for a in range(n_user if summed else 0):
            r = in_user[a]
            for b in range(n_user):
                s = in_user[b]
                if r < n_shared <= s:
                    continue
                if bent:
                    less = mixed[r] * mixed[s] / (slack_sum * tau)
                    if r >= n_shared:
                        hessian_own[g, r - n_shared, s] -= less
                    else:
                        hessian[r, s] -= less
                if spread:
                    if r >= n_shared:
                        moment_own[g, r - n_shared, s] += whole[r] * whole[s]
                    else:
                        moment[r, s] += whole[r] * whole[s]
        for a in range(n_user):
            whole[in_user[a]] = 0.0
            mixed[in_user[a]] = 0.0
            seen_user[in_user[a]] = False
    add_offers(
        n_taken, taken_offer, taken_owner, taken_share, width, coupon, value, cost, extra, group, class_of,
        used_wide, used_narrow,
    )  # fmt: skip
    end = row_start[rows]
    terms = (row_start[: rows + 1].copy(), row_limit[:end].copy(), row_number[:end].copy(), row_weight[:rows].copy())
    return total, used_wide, used_narrow, hessian, hessian_own, moment, moment_own, terms
