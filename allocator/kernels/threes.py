"""Three changes at a time among users near indifference: what `exchange` does once pairs gain nothing.

Of all changes the third is not tried but looked up: it has to use what two others leave.
"""

from __future__ import annotations

import numpy as np

from allocator.kernels.compiling import njit

FINEST = 1e-9  # currency: no gain below it counts
ROUNDING = 1e-12  # of the largest change
LOOKED_AT = 24  # thirds, for each pair of changes


@njit(nogil=True, cache=True)
def grain_of(dv):  # type: ignore[no-untyped-def]
    """Return a gain that is more than rounding of changes of this size: less would let a search go round in circles."""
    return FINEST + ROUNDING * np.abs(dv).max()


@njit(nogil=True, cache=True)
def apply(b, owner, dv, du, current, above, below):  # type: ignore[no-untyped-def]
    """Let a user take choice `b` (-1 - user: back to the best one); return the change of value."""
    i = owner[b] if b >= 0 else -1 - b
    change = 0.0
    old = current[i]
    if old >= 0:
        change -= dv[old]
        for r in range(above.size):
            above[r] += du[old, r]
            below[r] -= du[old, r]
    if b >= 0:
        change += dv[b]
        for r in range(above.size):
            above[r] -= du[b, r]
            below[r] += du[b, r]
        current[i] = b
    else:
        current[i] = -1
    return change


@njit(nogil=True, cache=True)
def list_moves(owner, dv, du, lost, current, prices, whole, keys, most, kind_of, kind):  # type: ignore[no-untyped-def]
    """List the changes from a plan, of users of a kind (-1: of all), that lose less than `most`; the first changes nothing.

    Returns
    -------
    choice, user, change, loss
        What each changes to (-1 - user: back to the best choice), whose it is (-1: nobody's), value and loss it adds.
    vector, key
        What it uses, `(moves, n_limits)`, and the sum of the `keys` of the priced limits that count whole offers.
    """
    n_users, n_limits = current.size, prices.size
    size = 1 + owner.size + n_users
    choice, user = np.zeros(size, np.int64), np.full(size, -1, np.int64)
    change, loss, key = np.zeros(size), np.zeros(size), np.zeros(size, np.int64)
    vector = np.zeros((size, n_limits))
    n = 1
    for b in range(-n_users, owner.size):
        i = owner[b] if b >= 0 else -1 - b
        if kind >= 0 and kind_of[i] != kind:
            continue
        old = current[i]
        added = (lost[b] if b >= 0 else 0.0) - (lost[old] if old >= 0 else 0.0)
        if b == old or (b < 0 and old < 0) or added >= most:
            continue
        choice[n], user[n], loss[n] = b, i, added
        change[n] = (dv[b] if b >= 0 else 0.0) - (dv[old] if old >= 0 else 0.0)
        for r in range(n_limits):
            vector[n, r] = (du[b, r] if b >= 0 else 0.0) - (du[old, r] if old >= 0 else 0.0)
            if whole[r] and prices[r] != 0.0:
                key[n] += keys[r] * np.int64(np.rint(vector[n, r]))
        n += 1
    return choice[:n], user[:n], change[:n], loss[:n], vector[:n], key[:n]


@njit(nogil=True, cache=True)
def sorted_classes(key, use):  # type: ignore[no-untyped-def]
    """Sort moves by key, then by use; return (order, each class' key, its first place in the order)."""
    inner = np.argsort(use, kind="mergesort")
    order = inner[np.argsort(key[inner], kind="mergesort")]
    class_key, first = np.empty(key.size, np.int64), np.empty(key.size + 1, np.int64)
    n = 0
    for place in range(key.size):
        if n == 0 or key[order[place]] != class_key[n - 1]:
            class_key[n], first[n] = key[order[place]], place
            n += 1
    first[n] = key.size
    return order, class_key[:n], first[: n + 1]


@njit(nogil=True, cache=True)
def fit(  # type: ignore[no-untyped-def]
    owner, dv, du, lost, current, above, below, prices, whole, primary, keys, kind_of, kind, apart, gap, target, evaluations,
    stop,
):  # fmt: skip
    """Improve a plan by the best three changes at a time, until its distance `gap` from the bound is at most `target`.

    Only users of one kind change (-1: all do); `apart` is what the limits cost that none of them uses.

    For every pair of changes the third, which uses up what they leave, is looked up: changes are sorted by their effect
    on the priced limits that count whole offers (`whole`; hashed by the random `keys`, which add up as the effects do),
    then by what they use of one priced limit, `primary` (-1: there is none). Changes `current`, `above` and `below`.

    Returns (the gap reached, evaluations left).
    """
    n_limits, grain = prices.size, grain_of(dv)
    trial = np.empty(n_limits)
    while gap > target and evaluations > 0 and not stop[0]:
        choice, user, change, loss, vector, key = list_moves(
            owner, dv, du, lost, current, prices, whole, keys, gap, kind_of, kind
        )
        wanted = wanted_key(above, below, prices, whole, keys)
        side = 0.0 if primary < 0 else (1.0 if prices[primary] > 0 else -1.0)
        use = side * vector[:, max(primary, 0)]
        worth = abs(prices[max(primary, 0)]) * abs(side)
        order, class_key, first = sorted_classes(key, use)
        sorted_use = use[order]
        held = apart  # and what the plan's own choices lose
        for i in range(current.size):
            if current[i] >= 0:
                held += lost[current[i]]
        held += min(0.0, loss.min())  # and what a third change may win back
        by_loss = np.argsort(loss, kind="mergesort")
        best, one, two, three = gap - grain, -1, -1, -1
        for a in range(by_loss.size):
            p = by_loss[a]
            if loss[p] > 0.0 and held + 2.0 * loss[p] >= best:
                break
            for c in range(a, by_loss.size):
                q = by_loss[c]
                if held + loss[p] + loss[q] >= best:
                    break
                if user[p] == user[q] and user[p] >= 0:
                    continue
                evaluations -= 1
                rest = wanted - key[p] - key[q]
                place = np.searchsorted(class_key, rest)
                if place == class_key.size or class_key[place] != rest:
                    continue
                for r in range(n_limits):
                    trial[r] = vector[p, r] + vector[q, r]
                room = np.inf
                if primary >= 0:
                    room = (above[primary] if side > 0 else below[primary]) - side * trial[primary]
                low, high = first[place], first[place + 1]
                t = low + np.searchsorted(sorted_use[low:high], room, side="right") - 1
                looked = 0
                while t >= low and looked < LOOKED_AT:
                    s = order[t]
                    if worth > 0.0 and held + loss[p] + loss[q] + worth * (room - sorted_use[t]) >= best:
                        break
                    t -= 1
                    looked += 1
                    total = gap - change[p] - change[q] - change[s]
                    if total >= best or (user[s] >= 0 and (user[s] == user[p] or user[s] == user[q])):
                        continue
                    sound = True
                    for r in range(n_limits):
                        used = trial[r] + vector[s, r]
                        if above[r] - used < 0.0 or below[r] + used < 0.0:
                            sound = False
                            break
                    if sound:
                        best, one, two, three = total, p, q, s
                evaluations -= looked // 4
                if best <= target:
                    break
            if evaluations < 0 or stop[0] or best <= target:
                break
        if one < 0:
            break
        for s in (one, two, three):
            if user[s] >= 0:
                apply(choice[s], owner, dv, du, current, above, below)
        gap = best
    return gap, evaluations


@njit(nogil=True, cache=True)
def wanted_key(above, below, prices, whole, keys):  # type: ignore[no-untyped-def]
    """Return the sum of the keys of what is left of the priced limits that count whole offers."""
    wanted = np.int64(0)
    for r in range(prices.size):
        if whole[r] and prices[r] != 0.0:
            left = np.floor(above[r] + 1e-6) if prices[r] > 0 else -np.floor(below[r] + 1e-6)
            wanted += keys[r] * np.int64(left)
    return wanted


@njit(nogil=True, cache=True)
def aim(owner, dv, du, lost, current, above, below, prices, whole, keys, kind_of, kind, along, target, worth, most, evaluations):  # type: ignore[no-untyped-def]  # fmt: skip
    """Change three users of a kind, so that together they use about `target` more of limit `along`.

    Of all threes that leave the counts used up, the one of the least loss plus `worth` times the distance from the target
    is taken, if that comes to less than `most`; whether other limits are kept is not looked at. Changes `current`,
    `above` and `below`.
    """
    choice, user, _, loss, vector, key = list_moves(
        owner, dv, du, lost, current, prices, whole, keys, most, kind_of, kind
    )
    wanted = wanted_key(above, below, prices, whole, keys)
    use = vector[:, along].copy()
    order, class_key, first = sorted_classes(key, use)
    sorted_use = use[order]
    by_loss = np.argsort(loss, kind="mergesort")
    least = min(0.0, loss.min())
    best, one, two, three = most, -1, -1, -1
    for a in range(by_loss.size):
        p = by_loss[a]
        if least + 2.0 * loss[p] >= best and loss[p] > 0.0:
            break
        for c in range(a, by_loss.size):
            q = by_loss[c]
            if least + loss[p] + loss[q] >= best:
                break
            if user[p] == user[q] and user[p] >= 0:
                continue
            evaluations -= 1
            rest = wanted - key[p] - key[q]
            place = np.searchsorted(class_key, rest)
            if place == class_key.size or class_key[place] != rest:
                continue
            low, high = first[place], first[place + 1]
            middle = low + np.searchsorted(sorted_use[low:high], target - use[p] - use[q])
            for step in (1, -1):
                t = middle if step > 0 else middle - 1
                looked = 0
                while low <= t < high and looked < LOOKED_AT:
                    s = order[t]
                    off = loss[p] + loss[q] + worth * abs(target - use[p] - use[q] - use[s])
                    if off + least >= best:
                        break
                    t += step
                    looked += 1
                    if off + loss[s] < best and (user[s] < 0 or (user[s] != user[p] and user[s] != user[q])):
                        best, one, two, three = off + loss[s], p, q, s
        if evaluations < 0:
            break
    if one >= 0:
        for s in (one, two, three):
            if user[s] >= 0:
                apply(choice[s], owner, dv, du, current, above, below)


@njit(nogil=True, cache=True)
def left_over(above, below, prices, r):  # type: ignore[no-untyped-def]
    """Return what is not used of a limit on the side that its price stands for."""
    return above[r] if prices[r] > 0.0 else below[r]


@njit(nogil=True, cache=True)
def fit_kinds(  # type: ignore[no-untyped-def]
    owner, dv, du, lost, current, above, below, prices, whole, primary, keys, kind_of, covers, gap, target, evaluations,
    stop,
):  # fmt: skip
    """Improve a plan by threes within each kind of users, then among all, until nothing is gained (see `fit`).

    Users of a kind use the same priced limits, `covers` `(n_kinds, n_limits)`. Where these overlap, three changes that
    leave the other limits as they are fit far more often than any three: what one kind can still use is told by the
    limit of which least is left.
    """
    nothing = np.int64(-1)  # a literal would have all that is called here compiled once more
    share = max(1, evaluations // (2 * covers.shape[0]))
    improved = covers.shape[0] > 1
    while improved and gap > target and evaluations > 0 and not stop[0]:
        improved = False
        for kind in range(covers.shape[0]):
            tightest, apart = nothing, 0.0
            for r in range(prices.size):
                if prices[r] == 0.0 or whole[r]:
                    continue
                left = left_over(above, below, prices, r)
                if not covers[kind, r]:
                    apart += abs(prices[r]) * left
                elif tightest < 0 or left < left_over(above, below, prices, tightest):
                    tightest = np.int64(r)
            if tightest < 0:
                continue
            given = min(share, evaluations)
            reached, rest = fit(
                owner, dv, du, lost, current, above, below, prices, whole, tightest, keys, kind_of, kind, apart, gap,
                target, given, stop,
            )  # fmt: skip
            evaluations -= given - rest
            improved = improved or reached < gap - 1e-6
            gap = reached
    return fit(
        owner, dv, du, lost, current, above, below, prices, whole, primary, keys, kind_of, nothing, 0.0, gap, target, evaluations,
        stop,
    )  # fmt: skip
