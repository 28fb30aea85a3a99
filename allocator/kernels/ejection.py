"""Ejection chains: one user's choice is changed at random, then whatever the limits need is changed with it.

The search runs over states, one a user (an offer, or none), and may leave the limits at a penalty for each unit:
Yagiura, Ibaraki & Glover, *An ejection chain approach for the generalized assignment problem*, INFORMS J. on Computing 16,
2004, doi:10.1287/ijoc.1030.0036; a chain that ends worse is kept as in simulated annealing.
"""

from __future__ import annotations

import numpy as np

from allocator.kernels.compiling import njit

BREATH = 64  # chains between looks at the stop flag
ADAPT = 10  # chains between changes of the penalties
HARDER, SOFTER = 1.02, 0.99  # penalty of a limit that is broken, or kept


@njit(nogil=True, cache=True, inline="always")
def outside(load, lower, upper):  # type: ignore[no-untyped-def]
    """Return how far a load is beyond its limit's bounds."""
    return max(load - upper, lower - load, 0.0)


@njit(nogil=True, cache=True)
def loads(current, use_start, use_limit, use_amount, load):  # type: ignore[no-untyped-def]
    """Sum what the current states use into `load`, `(n_limits,)`."""
    load[:] = 0.0
    for state in current:
        for t in range(use_start[state], use_start[state + 1]):
            load[use_limit[t]] += use_amount[t]


@njit(nogil=True, cache=True)
def move(old, new, use_start, use_limit, use_amount, load):  # type: ignore[no-untyped-def]
    """Let a user go from one state to another."""
    for t in range(use_start[old], use_start[old + 1]):
        load[use_limit[t]] -= use_amount[t]
    for t in range(use_start[new], use_start[new + 1]):
        load[use_limit[t]] += use_amount[t]


@njit(nogil=True, cache=True)
def best_move(  # type: ignore[no-untyped-def]
    current, moved, chain, start, value, use_start, use_limit, use_amount, lower, upper, penalty, load, held,
):  # fmt: skip
    """Return the change of one more user (not yet `moved` in this chain) that improves most, or (-1, -1)."""
    most, user, state = 1e-9, -1, -1
    for j in range(current.size):
        if moved[j] == chain:
            continue
        now = current[j]
        base = -value[now]
        first, last = use_start[now], use_start[now + 1]
        for t in range(first, last):
            r = use_limit[t]
            held[t - first] = load[r]
            load[r] -= use_amount[t]
            base += penalty[r] * (outside(held[t - first], lower[r], upper[r]) - outside(load[r], lower[r], upper[r]))
        for s in range(start[j], start[j + 1]):
            gain = base + value[s]
            if s == now or gain <= most:
                continue
            for t in range(use_start[s], use_start[s + 1]):
                r = use_limit[t]
                change = outside(load[r] + use_amount[t], lower[r], upper[r]) - outside(load[r], lower[r], upper[r])
                gain -= penalty[r] * change
            if gain > most:
                most, user, state = gain, j, s
        for t in range(last - 1, first - 1, -1):  # the saved loads, so that rounding does not add up
            load[use_limit[t]] = held[t - first]
    return user, state


@njit(nogil=True, cache=True)
def chains(  # type: ignore[no-untyped-def]
    rng, n_chains, depth, hot, cold, start, value, use_start, use_limit, use_amount, lower, upper, softest, hardest,
    current, best, stop,
):  # fmt: skip
    """Run so many chains from `current` `(n_users,)` and leave the best states that keep every limit in `best`.

    Parameters
    ----------
    rng
        A `numpy.random.Generator`.
    depth
        Changes that may follow a chain's first.
    hot, cold
        Temperature at the first and the last chain, currency.
    start
        `(n_users + 1,)` where each user's states begin.
    use_start, use_limit, use_amount
        What each state uses, as CSR over states; a limit appears at most once in a state.
    softest, hardest
        `(n_limits,)` least and greatest penalty, currency per unit beyond the limit.
    stop
        `(1,)` uint8; another thread ends the search by setting it.

    Returns
    -------
    float
        Value of `best`, or -inf where none was found.
    """
    n_users, n_limits = start.size - 1, upper.size
    load, before, held = np.empty(n_limits), np.empty(n_limits), np.empty(n_limits)
    loads(current, use_start, use_limit, use_amount, load)
    moved = np.full(n_users, -1, np.int64)
    users, olds = np.empty(depth + 1, np.int64), np.empty(depth + 1, np.int64)
    penalty = np.sqrt(softest * hardest)
    total, reached = 0.0, -np.inf
    for state in current:
        total += value[state]
    for chain in range(n_chains):
        if chain % BREATH == 0 and stop[0]:
            break
        user = int(rng.random() * n_users)
        if start[user + 1] - start[user] < 2:
            continue
        state = start[user] + int(rng.random() * (start[user + 1] - start[user] - 1))
        state += state >= current[user]
        before[:] = load
        gain, n = 0.0, 0
        while user >= 0:
            gain += value[state] - value[current[user]]
            move(current[user], state, use_start, use_limit, use_amount, load)
            users[n], olds[n] = user, current[user]
            n += 1
            moved[user] = chain
            current[user] = state
            if n > depth:
                break
            user, state = best_move(
                current, moved, chain, start, value, use_start, use_limit, use_amount, lower, upper, penalty, load, held
            )
        broken, change = 0.0, 0.0
        for r in range(n_limits):
            beyond = outside(load[r], lower[r], upper[r])
            broken += beyond
            change += penalty[r] * (beyond - outside(before[r], lower[r], upper[r]))
        temperature = hot * (cold / hot) ** (chain / n_chains)
        if gain >= change or rng.random() < np.exp((gain - change) / temperature):
            total += gain
            if broken == 0.0 and total > reached + 1e-9:
                loads(current, use_start, use_limit, use_amount, load)
                reached = total
                best[:] = current
        else:
            load[:] = before
            for m in range(n):
                current[users[m]] = olds[m]
        if chain % ADAPT == 0:
            for r in range(n_limits):
                if outside(load[r], lower[r], upper[r]) > 0.0:
                    penalty[r] = min(penalty[r] * HARDER, hardest[r])
                else:
                    penalty[r] = max(penalty[r] * SOFTER, softest[r])
    return reached
