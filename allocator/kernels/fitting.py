"""Plans that use up what several overlapping limits leave, by sets of changes in many kinds of users at once.

Users of a kind use the same limits, so all that a set of changes among them does to the limits on money is one number. How
much some kinds should use follows from what the others use: a linear system. Sets are listed once for each kind, sorted by
what they use; each draw takes sets of some kinds at random, and looks up in all others the sets next below what is left
for them. Which of these go together is told by the limits that count whole offers: their sums must come out right, which
dynamic programming over hashes of the counts sees to.
"""

from __future__ import annotations

import numpy as np

from allocator.kernels.compiling import njit

MOST_STATES = 20_000  # sums of counts that are kept, of the least cost
A_DRAW = 10  # work, for each kind


@njit(nogil=True, cache=True)
def list_sets(user, loss, most, size):  # type: ignore[no-untyped-def]
    """List all sets of choices of different users that lose at most `most` together; the first is empty.

    `user` and `loss` `(n,)`, losses ascending from 0 or more.

    Returns
    -------
    before, last
        `(sets,)` int32: a set is the one at `before` and the choice `last`; -1 of the empty one.
    total
        `(sets,)`: what it loses.
    fits
        Whether there are no more than `size`; if not, the lists are not all.
    """
    before, last, total = np.full(size, -1, np.int32), np.full(size, -1, np.int32), np.zeros(size)
    n, i = 1, 0
    while i < n:
        for f in range(last[i] + 1, user.size):
            if total[i] + loss[f] > most:
                break
            at, apart = i, True
            while at > 0 and apart:
                apart = user[last[at]] != user[f]
                at = before[at]
            if not apart:
                continue
            if n == size:
                return before, last, total, False
            before[n], last[n], total[n] = i, f, total[i] + loss[f]
            n += 1
        i += 1
    return before[:n].copy(), last[:n].copy(), total[:n].copy(), True


@njit(nogil=True, cache=True)
def sum_sets(before, last, own):  # type: ignore[no-untyped-def]
    """Return for each set of `list_sets` the sum of `own`, which has a number for each choice."""
    total = np.zeros(before.size, own.dtype)
    for i in range(1, before.size):
        total[i] = total[before[i]] + own[last[i]]
    return total


@njit(nogil=True, cache=True)
def look_up(use, loss, key, target, worth, most, keys, costs, items):  # type: ignore[no-untyped-def]
    """Find the sets of a kind that use `target` or a little less; return how many, and the least cost.

    A set costs what it loses and `worth` for each unit that it falls short; those of less than `most` are written to
    `keys`, `costs` and `items`, as long as there is room.
    """
    n, least = 0, most
    t = np.searchsorted(use, target, side="right") - 1
    while t >= 0 and n < keys.size:
        short = worth * (target - use[t])
        if short >= most:
            break
        cost = short + loss[t]
        if cost < most:
            keys[n], costs[n], items[n] = key[t], cost, t
            least = min(least, cost)
            n += 1
        t -= 1
    return n, least


@njit(nogil=True, cache=True)
def cheapest_of_keys(keys, costs, items, n, most):  # type: ignore[no-untyped-def]
    """Keep the cheapest of each key among the first `n` that cost less than `most`, keys ascending; return how many."""
    m = 0
    for t in range(n):
        if costs[t] < most:
            keys[m], costs[m], items[m] = keys[t], costs[t], items[t]
            m += 1
    order = np.argsort(keys[:m], kind="mergesort")
    sorted_keys, sorted_costs, sorted_items = keys[:m][order], costs[:m][order], items[:m][order]
    n, m = m, 0
    for t in range(n):
        if m and keys[m - 1] == sorted_keys[t]:
            if sorted_costs[t] < costs[m - 1]:
                costs[m - 1], items[m - 1] = sorted_costs[t], sorted_items[t]
        else:
            keys[m], costs[m], items[m] = sorted_keys[t], sorted_costs[t], sorted_items[t]
            m += 1
    return m


@njit(nogil=True, cache=True)
def cheapest_states(keys, costs):  # type: ignore[no-untyped-def]
    """Return where the cheapest of each key is; of very many keys only the cheapest."""
    order = np.argsort(costs, kind="mergesort")
    order = order[np.argsort(keys[order], kind="mergesort")]
    m = 0
    for t in range(order.size):
        if t == 0 or keys[order[t]] != keys[order[m - 1]]:
            order[m] = order[t]
            m += 1
    order = order[:m]
    if m > MOST_STATES:
        order = order[np.argsort(costs[order], kind="mergesort")[:MOST_STATES]]
    return order


@njit(nogil=True, cache=True)
def together(keys, costs, counts, least, wanted, most, backs, entries, chosen):  # type: ignore[no-untyped-def]
    """Choose one entry of each row so that keys add up to `wanted` at the least cost, below `most`.

    `keys`, `costs` `(rows, width)`, of which `counts` `(rows,)` are filled, keys ascending; `least` `(rows,)` of the
    costs. `backs` and `entries` are scratch, `(rows, MOST_STATES)`; `chosen` `(rows,)` is written where something is found.

    Returns (the cost, `most` where nothing is found; how many sums were looked at).
    """
    last = counts.size - 1
    state_key, state_cost = np.zeros(1, np.int64), np.zeros(1)
    rest = least.sum()
    work = 0
    for j in range(last):
        rest -= least[j]
        size = state_key.size * counts[j]
        work += size
        key, cost = np.empty(size, np.int64), np.empty(size)
        back, entry = np.empty(size, np.int64), np.empty(size, np.int64)
        n = 0
        for s in range(state_key.size):
            for e in range(counts[j]):
                total = state_cost[s] + costs[j, e]
                if total + rest < most:
                    key[n], cost[n], back[n], entry[n] = state_key[s] + keys[j, e], total, s, e
                    n += 1
        order = cheapest_states(key[:n], cost[:n])
        state_key, state_cost = key[order], cost[order]
        backs[j, : order.size], entries[j, : order.size] = back[order], entry[order]
    best, at = most, -1
    for s in range(state_key.size):
        place = np.searchsorted(keys[last, : counts[last]], wanted - state_key[s])
        if place == counts[last] or keys[last, place] != wanted - state_key[s]:
            continue
        if state_cost[s] + costs[last, place] < best:
            best, at, chosen[last] = state_cost[s] + costs[last, place], s, place
    if at >= 0:
        for j in range(last - 1, -1, -1):
            chosen[j] = entries[j, at]
            at = backs[j, at]
    return best, work + state_key.size


@njit(nogil=True, cache=True)
def draw_others(loss, by_loss, first, basis, most, rng, chosen):  # type: ignore[no-untyped-def]
    """Choose a set of each kind that is not in the basis, each as likely as any other that loses at most `most`."""
    in_basis = np.zeros(first.size - 1, np.bool_)
    in_basis[basis] = True
    for k in range(in_basis.size):
        if in_basis[k]:
            continue
        low, high = first[k] + 1, first[k + 1]
        while low < high:
            middle = (low + high + 1) // 2
            if loss[by_loss[middle - 1]] <= most:
                low = middle
            else:
                high = middle - 1
        chosen[k] = by_loss[first[k] + int((low - first[k]) * rng.random())]


@njit(nogil=True, cache=True)
def draw_and_fit(  # type: ignore[no-untyped-def]
    use, loss, key, by_loss, first, way, worth, left, wanted, apart, bases, inverses, gap, share, width, work, rng, stop,
    chosen,
):  # fmt: skip
    """Draw sets of some kinds until all, with those that are looked up for the other kinds, come to less than `gap`.

    Parameters
    ----------
    use, loss, key, by_loss
        `(sets,)`: all sets, those of a kind together, by what they use; and where those of a kind are by what they lose.
    first
        `(n_kinds + 1,)`: where each kind's sets begin.
    way, worth
        `(n_kinds, rows)` what a unit of use is of each limit, and `(n_kinds,)` at their prices, above 0.
    left, wanted
        `(rows,)` what can be used of each limit, and the key of the counts that are.
    apart
        Gap that nothing here can change.
    bases, inverses
        `(n, rows)` kinds that are looked up, and `(n, rows, rows)` what each should use for what is left of each limit.
    share
        Of the gap, at most, that the drawn sets may lose together.
    width, work
        So many sets of a kind are looked at for a draw, and so many of all kinds in total, about.
    chosen
        `(n_kinds,)`: written, the set of each.

    Returns (what it comes to, `gap` where nothing was found; work left).
    """
    n_kinds, rows = way.shape
    counts, least, entry = np.zeros(rows, np.int64), np.zeros(rows), np.zeros(rows, np.int64)
    keys, items = np.zeros((rows, width), np.int64), np.zeros((rows, width), np.int64)
    costs = np.zeros((rows, width))
    backs, entries = np.zeros((rows, MOST_STATES), np.int64), np.zeros((rows, MOST_STATES), np.int64)
    while work > 0 and not stop[0]:
        b = rng.integers(0, bases.shape[0])
        most = share * rng.random() * (gap - apart) / max(1, n_kinds - rows)
        chosen[bases[b]] = -1
        draw_others(loss, by_loss, first, bases[b], most, rng, chosen)
        rest, rest_key, drawn = left.copy(), wanted, apart
        for k in range(n_kinds):
            if chosen[k] >= 0:
                drawn += loss[chosen[k]]
                rest_key -= key[chosen[k]]
                rest -= use[chosen[k]] * way[k]
        total = drawn
        work -= A_DRAW * n_kinds
        for j in range(rows):
            k = bases[b, j]
            part = slice(first[k], first[k + 1])
            target = (inverses[b, j] * rest).sum()
            counts[j], least[j] = look_up(
                use[part], loss[part], key[part], target, worth[k], gap - total, keys[j], costs[j], items[j]
            )
            work -= counts[j] + 1
            total += least[j]  # as much as is missing to the gap, where nothing is found
            if total >= gap:
                break
        if total >= gap:
            continue
        for j in range(rows):
            counts[j] = cheapest_of_keys(keys[j], costs[j], items[j], counts[j], gap - total + least[j])
        cost, looked = together(keys, costs, counts, least, rest_key, gap - drawn, backs, entries, entry)
        work -= looked
        if cost < gap - drawn:
            for j in range(rows):
                chosen[bases[b, j]] = first[bases[b, j]] + items[j, entry[j]]
            return drawn + cost, work
    return gap, work
