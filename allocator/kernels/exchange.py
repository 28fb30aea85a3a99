"""Exchanges among a few users near indifference: the fast way from a rounded plan to one that uses every limit up.

At good prices the distance from the bound is the sum of what the users' choices lose and of price times what is left of
each limit. With thousands of users whose loss is next to nothing there are millions of pairs of changes; the best of them
fits the limits to the cent. A plan that breaks limits pays for it by weights far above the prices, so that the same
search repairs it.
"""

from __future__ import annotations

import numpy as np

from allocator.kernels.compiling import njit
from allocator.kernels.threes import apply, fit_kinds, grain_of

MOST_RAISES = 6  # of what broken limits cost
PATIENCE = 60  # shakes without a better plan
MOST_FITS = 3_000_000  # pairs of changes that one search for threes looks at


@njit(nogil=True, cache=True)
def list_choices(user, offer, chosen, loss, group, room, most):  # type: ignore[no-untyped-def]
    """List what each user may do instead of the best choice: drop one offer, add one, or swap one for another.

    `user` `(n,)` ascends from 0; `offer` holds positions, `chosen` whether each is in the best choice, `group` its
    exclusive group (-1: none), `room` `(n_users,)` how many more the user may get. Only offers of `loss` up to `most` take
    part.

    Returns
    -------
    owner, dropped, added
        One row a choice; `dropped` and `added` are positions in `offer`, or -1.
    """
    size = 4 * user.size + 16
    owner, dropped, added = np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size, np.int64)
    n = 0
    low = 0
    while low < user.size:
        high = low
        while high < user.size and user[high] == user[low]:
            high += 1
        for drop in range(low - 1, high):
            if drop >= low and not (chosen[drop] and loss[drop] <= most):
                continue
            for add in range(low - 1, high):
                if add >= low and (chosen[add] or loss[add] > most):
                    continue
                if drop < low and add < low:
                    continue
                if drop < low and room[user[low]] < 1:
                    continue
                clash = False
                if add >= low and group[add] >= 0:
                    for other in range(low, high):
                        if chosen[other] and other != drop and group[other] == group[add]:
                            clash = True
                if clash:
                    continue
                if n == size:
                    size *= 2
                    owner = np.append(owner, np.empty(n, np.int64))
                    dropped = np.append(dropped, np.empty(n, np.int64))
                    added = np.append(added, np.empty(n, np.int64))
                owner[n] = user[low]
                dropped[n] = drop if drop >= low else -1
                added[n] = add if add >= low else -1
                n += 1
        low = high
    return owner[:n].copy(), dropped[:n].copy(), added[:n].copy()


@njit(nogil=True, cache=True)
def shortfall(above, below, weight):  # type: ignore[no-untyped-def]
    """Return what the broken limits cost: weights times what each misses its numbers by."""
    total = 0.0
    for r in range(weight.size):
        if above[r] < 0.0:
            total -= weight[r] * above[r]
        if below[r] < 0.0:
            total -= weight[r] * below[r]
    return total


@njit(nogil=True, cache=True)
def gain_of(dv, du, above, below, weight, least):  # type: ignore[no-untyped-def]
    """Return value less shortfall after a change, or -inf as soon as it cannot exceed `least`."""
    total = dv
    for r in range(weight.size):
        if total <= least:
            return -np.inf
        left = above[r] - du[r]
        if left < 0.0:
            total += weight[r] * left
        left = below[r] + du[r]
        if left < 0.0:
            total += weight[r] * left
    return total


@njit(nogil=True, cache=True)
def sweep(moves, partners, owner, dv, du, current, above, below, weight, value, target, evaluations, stop):  # type: ignore[no-untyped-def]
    """Take improving single changes and pairs until there is none (or `value` reaches `target`).

    `moves` lists choices, and -1 - user for a user's best one; the first `partners` of them make pairs with each. Returns
    (value, evaluations left).
    """
    n_limits, grain = weight.size, grain_of(dv)
    n = moves.size
    first, second = np.empty(n_limits), np.empty(n_limits)
    vectors, values = np.empty((n, n_limits)), np.empty(n)
    users = np.empty(n, np.int64)
    for p in range(n):
        b = moves[p]
        users[p] = owner[b] if b >= 0 else -1 - b
    stale = np.ones(n, np.bool_)
    unchanged = 0
    p = -1
    while unchanged < n and evaluations > 0 and not stop[0]:
        p = (p + 1) % n
        unchanged += 1
        if unchanged == 1:  # something changed: bring the vectors up to date
            for q in range(n):
                if stale[q]:
                    b, old = moves[q], current[users[q]]
                    values[q] = (dv[b] if b >= 0 else 0.0) - (dv[old] if old >= 0 else 0.0)
                    for r in range(n_limits):
                        vectors[q, r] = (du[b, r] if b >= 0 else 0.0) - (du[old, r] if old >= 0 else 0.0)
                    stale[q] = False
        old = current[users[p]]
        if (moves[p] >= 0 and moves[p] == old) or (moves[p] < 0 and old < 0):
            continue
        now = -shortfall(above, below, weight)
        least = now + grain
        for r in range(n_limits):
            first[r] = above[r] - vectors[p, r]
            second[r] = below[r] + vectors[p, r]
        best, partner = gain_of(values[p], vectors[p], above, below, weight, least), -1
        if best > least:
            least = best
        evaluations -= 1
        for q in range(partners):
            if users[q] == users[p]:
                continue
            evaluations -= 1
            total = values[p] + values[q]
            for r in range(n_limits):
                if total <= least:
                    break
                left = first[r] - vectors[q, r]
                if left < 0.0:
                    total += weight[r] * left
                left = second[r] + vectors[q, r]
                if left < 0.0:
                    total += weight[r] * left
            if total > least:
                least, best, partner = total, total, q
        if best > now + grain:
            value += apply(moves[p], owner, dv, du, current, above, below)
            if partner >= 0:
                value += apply(moves[partner], owner, dv, du, current, above, below)
            for q in range(n):
                if users[q] == users[p] or (partner >= 0 and users[q] == users[partner]):
                    stale[q] = True
            unchanged = 0
            if value >= target and shortfall(above, below, weight) == 0.0:
                break
    return value, evaluations


@njit(nogil=True, cache=True)
def exchange(  # type: ignore[no-untyped-def]
    moves, everything, owner, dv, du, lost, start, above, below, weight, prices, whole, primary, keys, kind_of, covers,
    room, tolerance, evaluations, rng, stop,
):  # fmt: skip
    """Improve a plan by sweeps of pairs and by fits of three, shaken in between (iterated local search).

    Parameters
    ----------
    moves, everything
        Choices that sweeps of pairs and shakes try (-1 - user: the best one), closest first; and those of a first sweep
        of single changes.
    owner, dv, du, lost
        All choices: whose each is, its value and use less those of the user's best one, and what it loses.
    start
        The choice of each user to begin with, -1: the best one.
    above, below
        What is left of each limit when all take their best choice.
    kind_of, covers
        The kind of each user, and the priced limits that each kind uses, `(n_kinds, n_limits)` bool.
    room
        What the bound is above the value of all best choices.
    tolerance
        A distance from the bound to stop at.
    evaluations
        At most so many pairs are looked at.
    stop
        `(1,)` uint8: another thread ends the search by setting it.

    Returns
    -------
    current
        The choice of each user, -1: the best one.
    gap
        Its distance from the bound, infinite where no plan was found that keeps every limit.
    """
    full_above, full_below, grain = above, below, grain_of(dv)
    current, above, below = np.full(start.size, -1, np.int64), above.copy(), below.copy()
    value, stalled = 0.0, 0
    for i in range(start.size):
        if start[i] >= 0:
            value += apply(start[i], owner, dv, du, current, above, below)
    # A limit that is broken by less than one change mends can be worth less than that change loses: raise what it costs
    # until it is mended.
    weight = weight.copy()
    for _ in range(MOST_RAISES):
        for partners in (0, moves.size):
            value, evaluations = sweep(
                moves if partners else everything, partners, owner, dv, du, current, above, below, weight, value,
                room - tolerance, evaluations, stop,
            )  # fmt: skip
        if shortfall(above, below, weight) == 0.0 or evaluations <= 0 or stop[0]:
            break
        weight *= 4.0
    best, best_score, best_value = current.copy(), -np.inf, 0.0
    best_above, best_below = above.copy(), below.copy()
    kept, kept_gap = current.copy(), np.inf
    while True:
        value, evaluations = sweep(
            moves, moves.size, owner, dv, du, current, above, below, weight, value, room - tolerance, evaluations, stop,
        )  # fmt: skip
        missing = shortfall(above, below, weight)
        if missing == 0.0:
            gap, left = fit_kinds(
                owner, dv, du, lost, current, above, below, prices, whole, primary, keys, kind_of, covers, room - value,
                tolerance, min(evaluations, MOST_FITS), stop,
            )  # fmt: skip
            evaluations -= min(evaluations, MOST_FITS) - left
            value = room - gap
            if gap < kept_gap:
                stalled = stalled if gap > kept_gap - grain else 0
                kept_gap = gap
                kept[:] = current
        if value - missing >= best_score:
            best_score, best_value = value - missing, value
            best[:], best_above[:], best_below[:] = current, above, below
        else:
            value = best_value
            current[:], above[:], below[:] = best, best_above, best_below
        stalled += 1
        if kept_gap <= tolerance or evaluations <= 0 or stalled > PATIENCE or stop[0]:
            return kept, kept_gap
        for _ in range(2 + rng.integers(0, 4)):
            # Closest changes first: the square of a uniform number prefers the beginning of the list.
            b = moves[int(moves.size * rng.random() ** 2)]
            i = owner[b] if b >= 0 else -1 - b
            if (b >= 0 and current[i] != b) or (b < 0 and current[i] >= 0):
                apply(b, owner, dv, du, current, above, below)
        # Afresh, or rounding would add up over many shakes.
        value, above[:], below[:] = 0.0, full_above, full_below
        for i in range(current.size):
            b = current[i]
            if b >= 0:
                value += dv[b]
                for r in range(above.size):
                    above[r] -= du[b, r]
                    below[r] += du[b, r]
