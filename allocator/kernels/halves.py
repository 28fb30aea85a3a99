"""Exchanges among dozens of users at once: what one half of them may choose, met with what the other half may.

What a plan is below the bound is what its choices lose and what it leaves of the limits, at their prices. A better plan
loses less than the present one in all, so of the combinations of some users' choices few come into question, and of the
pairs of such combinations few leave as little of the limits. Where they are too many, those are left out that lose most.
(Horowitz & Sahni, *Computing partitions with applications to the knapsack problem*, J. ACM 21, 1974,
doi:10.1145/321812.321823, with prices for the one limit there; accepted as in Dueck & Scheuer, *Threshold accepting*, J.
Comput. Phys. 90, 1990, doi:10.1016/0021-9991(90)90201-B.)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from allocator.kernels.compiling import njit

FEWER = 0.8  # of what combinations may lose, as long as there are too many,
TRIES = 40  # so many times: where many lose nothing, some of them will do
DUST = 1e-9  # currency
MOST_NUMBERS = 2.0**62  # of the combinations of half of the users


class Half(NamedTuple):
    """Combinations of some users' states: what each loses, its use at the prices, its use `(size, n_limits)`, its number."""

    loss: np.ndarray
    priced: np.ndarray
    use: np.ndarray
    number: np.ndarray


@njit(nogil=True, cache=True)
def new_half(size, n_limits):  # type: ignore[no-untyped-def]
    """Return room for so many combinations."""
    return Half(np.empty(size), np.empty(size), np.empty((size, n_limits)), np.empty(size, np.int64))


@njit(nogil=True, cache=True)
def extend(half, source, target, state, place, width, loss, priced, use):  # type: ignore[no-untyped-def]
    """Write to `target` the combination at `source` with one more user's state, the `place`-th of `width`."""
    half.loss[target] = half.loss[source] + loss[state]
    half.priced[target] = half.priced[source] + priced[state]
    half.number[target] = half.number[source] * width + place
    for r in range(use.shape[1]):
        half.use[target, r] = half.use[source, r] + use[state, r]


@njit(nogil=True, cache=True)
def list_half(users, start, loss, priced, use, most, some, half):  # type: ignore[no-untyped-def]
    """List all combinations of these users' states that lose at most `most`, or `some` where they are too many.

    Returns how many, -1 where they are too many and not `some` are asked for.
    """
    half.loss[0], half.priced[0], half.number[0] = 0.0, 0.0, 0
    half.use[0] = 0.0
    n = 1
    for user in users:
        low, width = start[user], start[user + 1] - start[user]
        first, t = n, n
        for place in range(1, width):
            for i in range(first):
                if half.loss[i] + loss[low + place] <= most:
                    if t == half.loss.size and some:
                        break
                    if t == half.loss.size:
                        return -1
                    extend(half, i, t, low + place, place, width, loss, priced, use)
                    t += 1
        n = 0
        for i in range(t):  # those with the user's first state take the place of what they came from
            if i < first:
                if half.loss[i] + loss[low] <= most:
                    extend(half, i, n, low, 0, width, loss, priced, use)
                    n += 1
            else:
                half.loss[n], half.priced[n], half.number[n] = half.loss[i], half.priced[i], half.number[i]
                half.use[n] = half.use[i]
                n += 1
    return n


@njit(nogil=True, cache=True)
def best_pair(one, n_one, two, n_two, order, priced, kept_one, kept_two, least, room, rest, lower, upper):  # type: ignore[no-untyped-def]
    """Find the pair of combinations of most value, above `least`, that keeps every limit and is not the present one.

    Parameters
    ----------
    order, priced
        `(n_two,)` the second half's combinations by their use at the prices, and that use.
    kept_one, kept_two
        Numbers of the present combinations.
    least
        Value less worth, as priced use less loss tells it.
    room, rest
        What the users at hand may use of all limits at their prices, and `(n_limits,)` what the others use.

    Returns (the first's place or -1, the second's, pairs looked at).
    """
    found_one, found_two, looked = -1, -1, 0
    for i in range(n_one):
        need = least - one.priced[i] + one.loss[i]
        at = np.searchsorted(priced, room - one.priced[i], side="right") - 1
        while at >= 0 and priced[at] > need:
            j = order[at]
            looked += 1
            if priced[at] - two.loss[j] > need and not (one.number[i] == kept_one and two.number[j] == kept_two):
                keeps = True
                for r in range(rest.size):
                    load = rest[r] + one.use[i, r] + two.use[j, r]
                    if load > upper[r] or load < lower[r]:
                        keeps = False
                        break
                if keeps:
                    need = priced[at] - two.loss[j]
                    found_one, found_two = i, j
            at -= 1
        if found_one == i:
            least = need + one.priced[i] - one.loss[i]
    return found_one, found_two, looked


@njit(nogil=True, cache=True)
def numbered(users, start):  # type: ignore[no-untyped-def]
    """Return as many of the first users as have few enough combinations to be told apart by number."""
    n, numbers = 0, 1.0
    while n < users.size and numbers * (start[users[n] + 1] - start[users[n]]) <= MOST_NUMBERS:
        numbers *= start[users[n] + 1] - start[users[n]]
        n += 1
    return users[:n]


@njit(nogil=True, cache=True)
def number_of(users, start, current):  # type: ignore[no-untyped-def]
    """Return the number of the combination that these users have now."""
    number = 0
    for user in users:
        number = number * (start[user + 1] - start[user]) + current[user] - start[user]
    return number


@njit(nogil=True, cache=True)
def put(users, start, number, current):  # type: ignore[no-untyped-def]
    """Give these users the combination of this number."""
    for t in range(users.size - 1, -1, -1):
        user = users[t]
        width = start[user + 1] - start[user]
        current[user] = start[user] + number % width
        number //= width


@njit(nogil=True, cache=True)
def exchange_halves(  # type: ignore[no-untyped-def]
    rng, work, some, size, threshold, start, loss, priced, use, room, lower, upper, current, best, stop
):
    """Walk from `current` `(n_users,)`, which keeps every limit, and leave the best states on the way in `best`.

    Parameters
    ----------
    work
        Combinations and pairs to look at, about.
    some, size
        Users of an exchange, at most, and combinations of half of them that are looked at, those that lose least.
    threshold
        How much worse than the present a plan may be at first, currency; less and less, at last nothing.
    start, loss, priced, use
        `(n_users + 1,)` where each user's states begin; `(n_states,)` what each loses and uses at the prices, currency,
        and `(n_states, n_limits)` what it uses.
    room
        What all users may use at the prices, currency.
    stop
        `(1,)` uint8; another thread ends the search by setting it.
    """
    users = np.flatnonzero(np.diff(start) > 1)
    n_limits, left = upper.size, work
    one, two = new_half(size, n_limits), new_half(size, n_limits)
    value, reached = 0.0, 0.0  # above that of the beginning
    while left > 0 and not stop[0] and users.size > 1:
        users = rng.permutation(users)
        half = min(some, users.size) // 2
        first, second = numbered(users[:half], start), numbered(users[half : 2 * half], start)
        rest, free, lost, using = np.zeros(n_limits), room, 0.0, 0.0
        for state in current:
            rest += use[state]
            free -= priced[state]
        slack = free
        for some_users in (first, second):
            for user in some_users:
                rest -= use[current[user]]
                free += priced[current[user]]
                lost += loss[current[user]]
                using += priced[current[user]]
        worse = threshold * left / work
        most, n_one, n_two = lost + max(0.0, slack) + worse, -1, -1
        for tried in range(TRIES + 1):
            last = tried == TRIES
            n_one = list_half(first, start, loss, priced, use, most, last, one)
            n_two = list_half(second, start, loss, priced, use, most, last, two) if n_one >= 0 else -1
            left -= size
            if n_two >= 0:
                break
            most *= FEWER
        order = np.argsort(two.priced[:n_two])
        least = using - lost - worse + DUST
        i, j, looked = best_pair(
            one,
            n_one,
            two,
            n_two,
            order,
            two.priced[order],
            number_of(first, start, current),
            number_of(second, start, current),
            least,
            free + DUST,
            rest,
            lower,
            upper,
        )
        left -= looked
        if i < 0:
            continue
        value += one.priced[i] - one.loss[i] + two.priced[j] - two.loss[j] - using + lost
        put(first, start, one.number[i], current)
        put(second, start, two.number[j], current)
        if value > reached + DUST:
            reached = value
            best[:] = current
    return reached
