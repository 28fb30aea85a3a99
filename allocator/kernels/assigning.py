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
def settle(user_start, user_item, limit, use, alive, left, fixed, room, settled, n):  # type: ignore[no-untyped-def]
    """Fix all users with one item left; return how many are fixed then, or -1 where one has none or it does not fit."""
    for j in range(left.size):
        if fixed[j] >= 0 or left[j] > 1:
            continue
        if left[j] == 0:
            return -1
        for t in range(user_start[j], user_start[j + 1]):
            k = user_item[t]
            if alive[k]:
                if use[k] > room[limit[k]]:
                    return -1
                room[limit[k]] -= use[k]
                fixed[j] = k
                settled[n] = j
                n += 1
                break
    return n


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
        `(1,)` what a solution in hand is worth, currency; others may raise it meanwhile, and what is found does.
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
    price, best_price = prices.copy(), prices.copy()
    p_start = np.empty(n_limits + 1, np.int64)
    p_item, p_user, p_use = np.empty(n_items, np.int64), np.empty(n_items, np.int64), np.empty(n_items, np.int64)
    p_value, taken = np.empty(n_items), np.empty(n_items, np.uint8)
    within, without, loss = np.empty(n_items), np.empty(n_items), np.zeros(n_items)
    out = np.empty(n_users)
    n_trail, level, sound = 0, 0, True
    known[0] = price
    n_settled = settle(user_start, user_item, limit, use, alive, left, fixed, room, settled, 0)
    if n_settled < 0:
        return True, work
    while True:
        work -= 10.0 * n_items
        if stop[0] or work <= 0.0:
            return False, work
        cutoff = least[0] + gain - SPECK
        bound = np.inf
        for turn in range(ROUNDS):
            if not sound or n_settled == n_users:
                break
            held = 0.0
            for j in range(n_users):
                if fixed[j] >= 0:
                    held += value[fixed[j]]
            n = packed(start, user, use, value, alive, fixed, p_start, p_item, p_user, p_use, p_value)
            cost = 0.0
            for i in range(n_limits):
                cost += (p_start[i + 1] - p_start[i]) * (room[i] + 1.0)
            steps = STEPS if turn == 0 else STEPS // 3
            work -= (steps + 3) * cost
            bound = lowered(
                price,
                best_price,
                fixed,
                held,
                p_start,
                p_user[:n],
                p_use[:n],
                p_value[:n],
                room,
                taken[:n],
                cutoff,
                steps,
            )
            if bound < cutoff:
                sound = False
                break
            forced(price, p_start, p_user[:n], p_use[:n], p_value[:n], room, within, without)
            out[:] = 0.0
            for k in range(n):
                out[p_user[k]] += without[k]
            before, k = n_trail, 0
            while k < n:
                # With an item in, all others of its user are out; those in the same knapsack are not counted twice.
                same, last = without[k], k + 1
                while last < n and p_user[last] == p_user[k] and limit[p_item[last]] == limit[p_item[k]]:
                    same += without[last]
                    last += 1
                for t in range(k, last):
                    loss[p_item[t]] = within[t] + out[p_user[t]] - same
                    if bound - loss[p_item[t]] < cutoff:
                        n_trail = rule_out(p_item[t], user, alive, left, trail, n_trail)
                k = last
            if n_trail == before:
                break
            count = settle(user_start, user_item, limit, use, alive, left, fixed, room, settled, n_settled)
            if count < 0:
                sound = False
                # What was fixed before it failed stands in `settled` up to the first user who is not.
                for j in range(n_users):
                    if fixed[j] >= 0:
                        known_before = False
                        for t in range(n_settled):
                            known_before = known_before or settled[t] == j
                        if not known_before:
                            settled[n_settled] = j
                            n_settled += 1
                break
            n_settled = count
        if sound and n_settled == n_users:
            total = 0.0
            for j in range(n_users):
                total += value[fixed[j]]
            if total >= cutoff:
                least[0] = max(least[0], total)
                for j in range(n_users):
                    solution[j] = fixed[j]
            sound = False
        if sound:
            # The user whose choice costs most, whichever it is.
            margin = 0.01 * (bound - cutoff) + SPECK
            most, item = -1.0, -1
            for j in range(n_users):
                if fixed[j] >= 0:
                    continue
                one, two, first = np.inf, np.inf, -1
                for t in range(user_start[j], user_start[j + 1]):
                    k = user_item[t]
                    if not alive[k]:
                        continue
                    if loss[k] < one:
                        one, two, first = loss[k], one, k
                    elif loss[k] < two:
                        two = loss[k]
                score = (one + margin) * (min(two, 100.0 * margin) + margin)
                if score > most:
                    most, item = score, first
            branch[level] = item
            known[level] = price
            level += 1
            marks[level, 0], marks[level, 1] = n_trail, n_settled
            j = user[item]
            for t in range(user_start[j], user_start[j + 1]):
                k = user_item[t]
                if k != item and alive[k]:
                    n_trail = rule_out(k, user, alive, left, trail, n_trail)
            if use[item] > room[limit[item]]:
                sound = False
            else:
                room[limit[item]] -= use[item]
                fixed[j] = item
                settled[n_settled] = j
                n_settled += 1
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
            j = settled[n_settled]
            room[limit[fixed[j]]] += use[fixed[j]]
            fixed[j] = -1
        level -= 1
        price[:] = known[level]
        n_trail = rule_out(branch[level], user, alive, left, trail, n_trail)
        sound = left[user[branch[level]]] > 0
        if sound and left[user[branch[level]]] == 1:
            j = user[branch[level]]
            for t in range(user_start[j], user_start[j + 1]):
                k = user_item[t]
                if alive[k]:
                    if use[k] > room[limit[k]]:
                        sound = False
                    else:
                        room[limit[k]] -= use[k]
                        fixed[j] = k
                        settled[n_settled] = j
                        n_settled += 1
                    break
