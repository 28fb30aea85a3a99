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
from allocator.kernels.covering import (
    Cover,
    add_outer,
    add_row,
    append_row,
    coefficients,
    filled,
    new_rows,
    new_tally,
    settle,
)
from allocator.kernels.passes import CHUNK, add_offers, gains, longest_chunk

VANISHING = 30.0  # temperatures below the best: exp(-30) = 1e-13
CERTAIN = 1e-9  # a choice surer than this adds nothing to the curvature
TINY = 1e-14  # a share below this adds nothing at all
HALVINGS = 60  # of theta, at most


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
def soften_within(n, gain, unit, n_units, tau, most, share, peak, mass):  # type: ignore[no-untyped-def]
    """Fill `share[t]` with the soft choice of at most `most` in all; return (the smoothed dual of this user, theta)."""
    taken, logs = soften(n, gain, unit, n_units, tau, 0.0, share, peak, mass)
    if most == 1 or taken <= most:  # one unit holds one at most
        return logs, 0.0
    below, above = 0.0, 0.0
    for t in range(n):
        above = max(above, gain[t])
    above += tau * math.log(n + 1.0) + tau
    theta = 0.0
    for _ in range(HALVINGS):
        theta = 0.5 * (below + above)
        taken, logs = soften(n, gain, unit, n_units, tau, theta, share, peak, mass)
        if taken > most:
            below = theta
        else:
            above = theta
        if above - below < 1e-3 * tau:
            break
    return most * theta + logs, theta


@njit(nogil=True, cache=True)
def possible(low, width, coupon, exclusive, reduced, least, single, unit_of_group, gain, offer, unit):  # type: ignore[no-untyped-def]
    """List a user's offers whose share would not vanish, and the unit of each; return (how many, units).

    Parameters
    ----------
    low
        The user's first offer; `reduced` holds the reduced value of each of them, `least` is what counts as vanishing.
    single
        Whether all are one unit, because the user gets at most one offer.
    unit_of_group
        -1 for each exclusive group; left so.
    """
    n, n_units, top = 0, 1 if single else 0, 0.0
    for t in range(reduced.size):
        if not reduced[t] > least:  # NaN ends here too
            continue
        gain[n], offer[n], unit[n] = reduced[t], low + t, 0
        top = max(top, reduced[t])
        if not single:
            x = exclusive[t if width > 0 else coupon[low + t]]
            if x < 0 or unit_of_group[x] < 0:
                unit[n] = n_units
                n_units += 1
            else:
                unit[n] = unit_of_group[x]
            if x >= 0:
                unit_of_group[x] = unit[n]
        n += 1
    if single:
        kept = 0
        for t in range(n):
            if gain[t] > top + least:
                gain[kept], offer[kept] = gain[t], offer[t]
                kept += 1
        return kept, n_units
    for t in range(n):
        x = exclusive[offer[t] - low if width > 0 else coupon[offer[t]]]
        if x >= 0:
            unit_of_group[x] = -1
    return n, n_units


@njit(nogil=True, cache=True)
def soft_choices(  # type: ignore[no-untyped-def]
    first, last, start, width, coupon, value, cost, extra, group, cap, caps, exclusive,
    wide, narrow, class_of, tau, weights, wide_start, wide_limit, pair_start, pair_limit, n_classes, n_shared,
    spread, listed,
):  # fmt: skip
    """Return (smoothed value, used_wide, used_narrow, shared, own, terms) for users first..last.

    Beside value and usage it sums up a matrix: the Hessian, or with `spread` the second moment, the outer products of each
    user's expected usage, which tells the error of prices that are found on a sample. It is in levers (`folding.Levers`),
    whose usage moves together: `shared`, `(S, S)`, has the `n_shared` first, which are the same for all users; `own`,
    `(groups, L, S + L)`, the `L` others, which are each user group's own, with the shared ones and with each other.

    Where `listed`, both stay empty: what is asked for is the sum of weight * outer(z, z) over the rows z of a sparse matrix,
    and `terms` are (start, limit, number, weight) of those rows. With thousands of limits, of which each user touches few,
    the sums would be mostly zeros.
    """
    n_limits = weights.shape[0]
    cover = Cover(weights, wide_start, wide_limit, pair_start, pair_limit, class_of, n_classes)
    used_wide = np.zeros(wide.shape)
    used_narrow = np.zeros(narrow.shape)
    shared = np.zeros((0, 0) if listed else (n_shared, n_shared))
    own = np.zeros((0, 0, 0) if listed else (max(1, narrow.shape[0]), n_limits - n_shared, n_limits))
    rows = new_rows(1024)
    longest = longest_chunk(first, last, start, width)
    reduced, base = np.empty(longest), 0
    taken_offer, taken_owner = np.empty(longest, np.int64), np.empty(longest, np.int64)
    taken_share, n_taken = np.empty(longest), 0
    gain, share = np.empty(longest), np.empty(longest)
    offer, unit = np.empty(longest, np.int64), np.empty(longest, np.int64)
    peak, mass = np.empty(longest), np.empty(longest)
    unit_of_group = np.full(exclusive.size + 1, -1, np.int64)
    found, number = np.empty(n_limits, np.int64), np.empty(n_limits)
    of_unit, of_user = new_tally(n_limits), new_tally(n_limits)
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
            gains(i, upto, start, width, coupon, value, cost, extra, group, wide, narrow, class_of, reduced)
        g = group[i] if group.size else 0
        m = caps[i] if caps.size else cap
        if m == 0:
            continue
        n, n_units = possible(
            low, width, coupon, exclusive, reduced[low - base : high - base], -VANISHING * tau, m == 1, unit_of_group,
            gain, offer, unit,
        )  # fmt: skip
        if n == 0:
            continue
        if m == 1 and n == 1 and gain[0] > VANISHING * tau and not spread:
            # The common case: a sure choice, with no curvature.
            total += gain[0]
            taken_offer[n_taken], taken_owner[n_taken], taken_share[n_taken] = offer[0], i, 1.0
            n_taken += 1
            continue
        dual, theta = soften_within(n, gain, unit, n_units, tau, m, share, peak, mass)
        total += dual
        n_user, slack = 0, 0.0
        for u in range(n_units):
            held, sure, n_unit = 0.0, 0.0, 0
            for t in range(n):
                if unit[t] == u:
                    held += share[t]
                    sure = max(sure, share[t])
            uncertain = not spread and held > CERTAIN and sure < 1.0 - CERTAIN
            for t in range(n):
                if unit[t] != u or share[t] < TINY:
                    continue
                e = offer[t]
                taken_offer[n_taken], taken_owner[n_taken], taken_share[n_taken] = e, i, share[t]
                n_taken += 1
                if not (uncertain or spread):
                    continue
                k = e - low if width > 0 else coupon[e]
                count = coefficients(e, k, g, value, cost, extra, cover, found, number)
                n_unit = add_row(n_unit, of_unit, count, found, number, share[t])
                if uncertain and listed:
                    rows = append_row(rows, count, found, number, share[t] / tau)
                elif uncertain:
                    add_outer(count, found, number, share[t] / tau, g, shared, own)
            settle(n_unit, of_unit, number)
            if uncertain and listed:
                rows = append_row(rows, n_unit, of_unit.limit, number, -1.0 / tau)
            elif uncertain:
                add_outer(n_unit, of_unit.limit, number, -1.0 / tau, g, shared, own)
            if uncertain:
                slack += held * (1.0 - held)
            if spread or (uncertain and theta > 0.0):
                n_user = add_row(n_user, of_user, n_unit, of_unit.limit, number, 1.0 if spread else 1.0 - held)
        settle(n_user, of_user, number)
        if spread or (theta > 0.0 and slack > 1e-12):
            weight = 1.0 if spread else -1.0 / (slack * tau)
            if listed:
                rows = append_row(rows, n_user, of_user.limit, number, weight)
            else:
                add_outer(n_user, of_user.limit, number, weight, g, shared, own)
    add_offers(
        n_taken, taken_offer, taken_owner, taken_share, width, coupon, value, cost, extra, group, class_of,
        used_wide, used_narrow,
    )  # fmt: skip
    return total, used_wide, used_narrow, shared, own, filled(rows)
