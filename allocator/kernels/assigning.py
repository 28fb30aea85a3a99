"""Branch and bound where every user takes one item and every limit is a knapsack, by prices of users.

Each node lowers the bound by a few steps along subgradients, then rules out every item whose place in a plan would cost too
much, and branches on the user whose choice costs most (Posta, Ferland & Michelon, *An exact method with variable fixing
for solving the generalized assignment problem*, Comput. Optim. Appl. 52, 2012, doi:10.1007/s10589-011-9432-0).
"""

from __future__ import annotations

import numpy as np

from allocator.kernels.compiling import njit
from allocator.kernels.knapsacks import forced, relaxed

STEPS = 16  # along subgradients in a node
FEWER = 0.5  # of the step, after so many steps without a better bound:
WAITING = 3
ROUNDS = 3  # of bounding and ruling out in a node
SPECK = 1e-7  # currency: rounding


@njit(nogil=True, cache=True)
def packed(start, user, use, value, alive, fixed, p_start, p_item, p_user, p_use, p_value):  # type: ignore[no-untyped-def]
    """Copy the items that are alive and whose users are not fixed; return how many there are."""
    n = 0
    for i in range(start.size - 1):
        p_start[i] = n
        for k in range(start[i], start[i + 1]):
            if alive[k] and fixed[user[k]] < 0:
                p_item[n], p_user[n], p_use[n], p_value[n] = k, user[k], use[k], value[k]
                n += 1
    p_start[start.size - 1] = n
    return n


@njit(nogil=True, cache=True)
def lowered(price, best_price, fixed, held, start, user, use, value, room, taken, cutoff, steps):  # type: ignore[no-untyped-def]
    """Lower the bound by steps from `price`; leave the best prices in `best_price` and return their bound.

    `held` is what fixed users earn. Ends early below `cutoff`.
    """
    n_users = price.size
    lacking, direction = np.empty(n_users), np.zeros(n_users)
    best, share, waited = np.inf, 1.0, 0
    for _ in range(steps):
        reached = held + relaxed(price, start, user, use, value, room, taken)
        lacking[:] = 1.0
        for j in range(n_users):
            if fixed[j] >= 0:
                lacking[j] = 0.0
            else:
                reached += price[j]
        for k in range(user.size):
            if taken[k]:
                lacking[user[k]] -= 1.0
        waited += 1
        if reached < best:
            best, waited = reached, 0
            best_price[:] = price
            if best < cutoff:
                break
        elif waited >= WAITING:
            share, waited = share * FEWER, 0
            price[:] = best_price
            direction[:] = 0.0
            continue
        length = 0.0
        for j in range(n_users):
            direction[j] = lacking[j] + 0.5 * direction[j]
            length += direction[j] * direction[j]
        if length == 0.0:
            break
        step = share * max(reached - cutoff, SPECK) / length
        for j in range(n_users):
            price[j] -= step * direction[j]
    price[:] = best_price
    return best


@njit(nogil=True, cache=True)
def rule_out(k, user, alive, left, trail, n):  # type: ignore[no-untyped-def]
    """Rule an item out; return how long the trail is then."""
    alive[k] = 0
    left[user[k]] -= 1
    trail[n] = k
    return n + 1


@njit(nogil=True, cache=True)
def take(j, k, limit, use, fixed, room, settled, n):  # type: ignore[no-untyped-def]
    """Fix a user's item; return how many users are fixed then, and whether it fits."""
    if use[k] > room[limit[k]]:
        return n, False
    room[limit[k]] -= use[k]
    fixed[j] = k
    settled[n] = j
    return n + 1, True


@njit(nogil=True, cache=True)
def settle(user_start, user_item, limit, use, alive, left, fixed, room, settled, n):  # type: ignore[no-untyped-def]
    """Fix all users with one item left; return how many are fixed then, and whether everyone has one that fits."""
    for j in range(left.size):
        if fixed[j] >= 0 or left[j] > 1:
            continue
        if left[j] == 0:
            return n, False
        for t in range(user_start[j], user_start[j + 1]):
            if alive[user_item[t]]:
                n, fits = take(j, user_item[t], limit, use, fixed, room, settled, n)
                if not fits:
                    return n, False
                break
    return n, True


@njit(nogil=True, cache=True)
def losses(p_item, p_user, n, limit, within, without, out, loss):  # type: ignore[no-untyped-def]
    """Set what each of the packed items loses: with one in, all others of its user are out."""
    out[:] = 0.0
    for k in range(n):
        out[p_user[k]] += without[k]
    k = 0
    while k < n:
        # Items of one user in the same knapsack are not counted twice.
        same, last = without[k], k + 1
        while last < n and p_user[last] == p_user[k] and limit[p_item[last]] == limit[p_item[k]]:
            same += without[last]
            last += 1
        for t in range(k, last):
            loss[p_item[t]] = within[t] + out[p_user[t]] - same
        k = last


@njit(nogil=True, cache=True)
def dearest(user_start, user_item, alive, fixed, loss, margin):  # type: ignore[no-untyped-def]
    """Return the best item of the user whose choice costs most, whichever it is: the product of the least two losses."""
    most, item = -1.0, -1
    for j in range(fixed.size):
        if fixed[j] >= 0:
            continue
        one, two, first = np.inf, np.inf, -1
        for t in range(user_start[j], user_start[j + 1]):
            k = user_item[t]
            if alive[k]:
                if loss[k] < one:
                    one, two, first = loss[k], one, k
                elif loss[k] < two:
                    two = loss[k]
        score = (one + margin) * (min(two, 100.0 * margin) + margin)
        if score > most:
            most, item = score, first
    return item


@njit(nogil=True, cache=True)
def worth(value, fixed):  # type: ignore[no-untyped-def]
    """Return what the fixed users earn."""
    total = 0.0
    for k in fixed:
        if k >= 0:
            total += value[k]
    return total


@njit(nogil=True, cache=True)
def tree(  # type: ignore[no-untyped-def]
    start, user, use, value, limit, user_start, user_item, capacity, prices, least, gain, solution, work, stop
):  # fmt: skip
    """Search for the choice of one item a user that is worth the most, depth first.

    Parameters
    ----------
    start, user, use, value, capacity
        As in `knapsacks.relaxed`; in each knapsack users ascend.
    limit
        `(n_items,)` of each item.
    user_start, user_item
        The items of each user, as CSR.
    prices
        `(n_users,)` to begin with.
    least
        `(1,)` what a solution in hand is worth, currency; what is found raises it.
    gain
        How much more a better one is worth at least, currency.
    solution
        `(n_users,)` each user's item in the best solution found; unchanged where there is none.
    work
        Table entries to look at, about, before the search is cut.
    stop
        `(1,)` uint8 that another thread sets to cut the search.

    Returns
    -------
    done
        Whether nothing better is left.
    work
        What is left of it.
    """
    n_users, n_items, n_limits = prices.size, user.size, capacity.size
    alive, left = np.ones(n_items, np.uint8), np.diff(user_start)
    fixed, room = np.full(n_users, -1, np.int64), capacity.copy()
    trail, settled = np.empty(n_items, np.int64), np.empty(n_users, np.int64)
    marks, branch = np.zeros((n_users + 2, 2), np.int64), np.empty(n_users + 2, np.int64)
    known = np.empty((n_users + 2, n_users))
    price, best_price, out = prices.copy(), prices.copy(), np.empty(n_users)
    p_start = np.empty(n_limits + 1, np.int64)
    p_item, p_user, p_use = np.empty(n_items, np.int64), np.empty(n_items, np.int64), np.empty(n_items, np.int64)
    p_value, taken = np.empty(n_items), np.empty(n_items, np.uint8)
    within, without, loss = np.empty(n_items), np.empty(n_items), np.zeros(n_items)
    n_trail, level = 0, 0
    n_settled, sound = settle(user_start, user_item, limit, use, alive, left, fixed, room, settled, 0)
    while True:
        work -= 10.0 * n_items
        if stop[0] or work <= 0.0:
            return False, work
        cutoff, bound = least[0] + gain - SPECK, np.inf
        for turn in range(ROUNDS):
            if not sound or n_settled == n_users:
                break
            n = packed(start, user, use, value, alive, fixed, p_start, p_item, p_user, p_use, p_value)
            steps = STEPS if turn == 0 else STEPS // ROUNDS
            for i in range(n_limits):
                work -= (steps + 3.0) * (p_start[i + 1] - p_start[i]) * (room[i] + 1.0)
            bound = lowered(
                price, best_price, fixed, worth(value, fixed), p_start, p_user[:n], p_use[:n], p_value[:n], room, taken[:n],
                cutoff, steps,
            )  # fmt: skip
            if bound < cutoff:
                sound = False
                break
            forced(price, p_start, p_user[:n], p_use[:n], p_value[:n], room, within, without)
            losses(p_item, p_user, n, limit, within, without, out, loss)
            before = n_trail
            for k in p_item[:n]:
                if bound - loss[k] < cutoff:
                    n_trail = rule_out(k, user, alive, left, trail, n_trail)
            if n_trail == before:
                break
            n_settled, sound = settle(user_start, user_item, limit, use, alive, left, fixed, room, settled, n_settled)
        if sound and n_settled == n_users:
            total = worth(value, fixed)
            if total >= cutoff:
                least[0] = max(least[0], total)
                solution[:] = fixed
            sound = False
        if sound:
            item = dearest(user_start, user_item, alive, fixed, loss, 0.01 * (bound - cutoff) + SPECK)
            branch[level] = item
            known[level] = price
            level += 1
            marks[level, 0], marks[level, 1] = n_trail, n_settled
            for k in user_item[user_start[user[item]] : user_start[user[item] + 1]]:
                if k != item and alive[k]:
                    n_trail = rule_out(k, user, alive, left, trail, n_trail)
            n_settled, sound = take(user[item], item, limit, use, fixed, room, settled, n_settled)
            continue
        # Back: undo this level, and rule out what it began with.
        if level == 0:
            return True, work
        while n_trail > marks[level, 0]:
            n_trail -= 1
            alive[trail[n_trail]] = 1
            left[user[trail[n_trail]]] += 1
        while n_settled > marks[level, 1]:
            n_settled -= 1
            k = fixed[settled[n_settled]]
            room[limit[k]] += use[k]
            fixed[settled[n_settled]] = -1
        level -= 1
        price[:] = known[level]
        n_trail = rule_out(branch[level], user, alive, left, trail, n_trail)
        n_settled, sound = settle(user_start, user_item, limit, use, alive, left, fixed, room, settled, n_settled)
