"""Rank offers, and take them in a given order while the rules allow it."""

from __future__ import annotations

import numpy as np

from allocator.kernels.compiling import njit

FEW = 48  # offers of a user that are sorted by insertion
NEVER = 255  # the block of offers that no one would issue
TINY = 1e-12  # currency; a smaller cost counts as this where value is divided by it


@njit(nogil=True, cache=True)
def best_values(start, width, value, best):  # type: ignore[no-untyped-def]
    """Write each user's largest value, or 0 where none is above it, into `best`."""
    for i in range(best.size):
        low, high = (i * width, (i + 1) * width) if width > 0 else (start[i], start[i + 1])
        top = 0.0
        for e in range(low, high):
            if value[e] > top:  # NaN, an absent pair, is not
                top = value[e]
        best[i] = top


@njit(nogil=True, cache=True)
def blocks_of(value, cost, by_cost, edges, block):  # type: ignore[no-untyped-def]
    """Write the block of each offer, the best keys in block 0; return how many offers each block has.

    The key is the value or, with `by_cost`, the value per cost. Block b holds keys at or below `edges[b - 1]` and above
    `edges[b]`; `edges` fall. Offers without a positive value are in block `NEVER`.
    """
    count = np.zeros(edges.size + 1, np.int64)
    for e in range(value.size):
        v = value[e]
        if not v > 0:  # NaN, an absent pair, neither
            block[e] = NEVER
            continue
        key = v / max(cost[e], TINY) if by_cost else v
        low, high = 0, edges.size
        while low < high:
            middle = (low + high) // 2
            if key > edges[middle]:
                high = middle
            else:
                low = middle + 1
        block[e] = low
        count[low] += 1
    return count


@njit(nogil=True, cache=True)
def by_block(block, start, grouped):  # type: ignore[no-untyped-def]
    """Write the offers of each block, in their order, from `start[b]` on."""
    cursor = start.copy()
    for e in range(block.size):
        b = block[e]
        if b != NEVER:
            grouped[cursor[b]] = e
            cursor[b] += 1


@njit(nogil=True, cache=True)
def still_open(  # type: ignore[no-untyped-def]
    offers, owner, width, value, cost, extra, cap, caps, count, growing, weights, used, at_most, by_cost, kept, keys
):
    """Write those offers that may still be issued, and their keys as in `blocks_of`; return how many.

    Left out are offers of users who have all that they may get, and those that do not fit into one of the `growing`
    limits: limits on all offers whose sum never falls, so that what does not fit now never will.
    """
    last = weights.shape[1] - 1
    n = 0
    for e in offers:
        i = e // width if width > 0 else owner[e]
        if count[i] >= cap or (caps.size and count[i] >= caps[i]):
            continue
        fits = True
        for r in growing:
            a = weights[r, 0] * value[e] + weights[r, 1] * cost[e] + weights[r, last]
            for j in range(last - 2):
                a += weights[r, 2 + j] * extra[j, e]
            if used[r, 0] + a > at_most[r]:
                fits = False
        if fits:
            kept[n] = e
            keys[n] = value[e] / max(cost[e], TINY) if by_cost else value[e]
            n += 1
    return n


@njit(nogil=True, cache=True)
def cheapest_first(start, width, value, cost, low, high, order):  # type: ignore[no-untyped-def]
    """Write the offers of users `low..high` into `order`, user by user, the cheapest first; return how many."""
    n = 0
    for i in range(low, high):
        first, last = (i * width, (i + 1) * width) if width > 0 else (start[i], start[i + 1])
        begin = n
        for e in range(first, last):
            if not np.isnan(value[e]):
                order[n] = e
                n += 1
        if n - begin > FEW:
            mine = order[begin:n].copy()
            keys = np.empty(mine.size)
            for j in range(mine.size):
                keys[j] = cost[mine[j]]
            rank = np.argsort(keys, kind="mergesort")
            for j in range(mine.size):
                order[begin + j] = mine[rank[j]]
        else:
            for j in range(begin + 1, n):
                e = order[j]
                at = j
                while at > begin and cost[order[at - 1]] > cost[e]:
                    order[at] = order[at - 1]
                    at -= 1
                order[at] = e
    return n


@njit(nogil=True, cache=True)
def take_in_order(  # type: ignore[no-untyped-def]
    order, owner, width, coupon, value, cost, extra, group, cap, caps, exclusive, weights, wide_start, wide_limit,
    pair_start, pair_limit, class_of, n_classes, used, at_least, at_most, least_use, several, count, held, n_groups,
    taken, needed_only,
):  # fmt: skip
    """Mark in `taken` the offers of `order` that fit, one after the other; return whether any later one still may.

    `used` is `(n_limits, 3)`: each limit's sum as an unevaluated pair of floats, which is exact but for bits that no
    sum of money has, and the sum of its terms' sizes. With `needed_only`, take only offers that bring an unmet
    at-least limit closer.

    `least_use` is the smallest number that any offer has on a limit that covers all offers, and -inf for other limits:
    once so much is not left, nothing fits any more. `several` marks limits whose number is a sum of three terms or
    more, which another order of adding may round otherwise.
    """
    last = weights.shape[1] - 1
    found, number, size = np.empty(used.shape[0], np.int64), np.empty(used.shape[0]), np.empty(used.shape[0])
    unmet = 0
    for r in range(used.shape[0]):
        if used[r, 0] + used[r, 1] < at_least[r]:
            unmet += 1
        if least_use[r] > 0 and used[r, 0] + used[r, 1] + least_use[r] > at_most[r]:
            return False
    if needed_only and unmet == 0:
        return False
    for position in range(order.size):
        e = order[position]
        i = e // width if width > 0 else owner[e]
        k = e % width if width > 0 else coupon[e]
        if count[i] >= cap or (caps.size and count[i] >= caps[i]) or taken[e] or np.isnan(value[e]):
            continue
        x = exclusive[k]
        if x >= 0 and held[i * n_groups + x]:
            continue
        g = group[i] if group.size else 0
        # `smoothing.coefficients` word for word: a call for each candidate costs a quarter more time.
        n = 0
        for source in range(2):
            if source == 0:
                begin, end = wide_start[k], wide_start[k + 1]
            elif pair_start.size:
                begin, end = pair_start[g * n_classes + class_of[k]], pair_start[g * n_classes + class_of[k] + 1]
            else:
                begin, end = 0, 0
            for at in range(begin, end):
                r = wide_limit[at] if source == 0 else pair_limit[at]
                a = weights[r, 0] * value[e] + weights[r, 1] * cost[e] + weights[r, last]
                for j in range(last - 2):
                    a += weights[r, 2 + j] * extra[j, e]
                found[n], number[n], size[n] = r, a, abs(a)
                if several[r]:
                    size[n] = abs(weights[r, 0] * value[e]) + abs(weights[r, 1] * cost[e]) + abs(weights[r, last])
                    for j in range(last - 2):
                        size[n] += abs(weights[r, 2 + j] * extra[j, e])
                n += 1
        fits, helps = True, False
        for t in range(n):
            r, a = found[t], number[t]
            if a == 0.0:
                continue
            total = used[r, 0] + a
            back = total - used[r, 0]
            rest = (used[r, 0] - (total - back)) + (a - back) + used[r, 1]  # two-sum: total + rest is exact
            slack = 2e-15 * (used[r, 2] + size[t]) if several[r] else 0.0
            if a > 0:
                if used[r, 0] + used[r, 1] < at_least[r]:
                    helps = True
                if (
                    total + slack > at_most[r]
                    or (total + slack == at_most[r] and rest > 0)
                    or (rest > 0 and total + (rest + slack) > at_most[r])
                ):
                    fits = False
            elif (
                total - slack < at_least[r]
                or (total - slack == at_least[r] and rest < 0)
                or (rest < 0 and total + (rest - slack) < at_least[r])
            ):
                fits = False
        if not fits or (needed_only and not helps):
            continue
        taken[e] = True
        count[i] += 1
        if x >= 0:
            held[i * n_groups + x] = True
        full = False
        for t in range(n):
            r, a = found[t], number[t]
            short = used[r, 0] + used[r, 1] < at_least[r]
            total = used[r, 0] + a
            back = total - used[r, 0]
            rest = (used[r, 0] - (total - back)) + (a - back) + used[r, 1]
            used[r, 0] = total + rest
            used[r, 1] = rest - (used[r, 0] - total)
            used[r, 2] += size[t]
            if short and used[r, 0] + used[r, 1] >= at_least[r]:
                unmet -= 1
            if least_use[r] > 0 and used[r, 0] + used[r, 1] + least_use[r] > at_most[r]:
                full = True
        if full or (needed_only and unmet == 0):
            return False
    return True


@njit(nogil=True, cache=True)
def offers_by_coupon(coupon, value, cost, count, spend):  # type: ignore[no-untyped-def]
    """Add up, for each coupon, how many offers are worth something and what they cost."""
    for e in range(value.size):
        if value[e] > 0:
            k = coupon[e] if coupon.size else e % count.size
            count[k] += 1
            spend[k] += cost[e]


@njit(nogil=True, cache=True)
def offers_of_coupon(start, width, coupon, value, users, wanted, order):  # type: ignore[no-untyped-def]
    """Write the offers of one coupon that are worth something to these users into `order`; return how many."""
    n = 0
    for i in users:
        low, high = (i * width, (i + 1) * width) if width > 0 else (start[i], start[i + 1])
        for e in range(low, high):
            if (e - low if width > 0 else coupon[e]) == wanted and value[e] > 0:
                order[n] = e
                n += 1
                break
    return n
