"""What it would lose to flip an offer: to take it in, or to leave it out (see `passes` for the tables)."""

from __future__ import annotations

import numpy as np

from allocator.kernels.compiling import njit
from allocator.kernels.passes import CHUNK, gains, longest_chunk, pick_many


@njit(nogil=True, cache=True)
def losses_of_one(gain, lost, chosen):  # type: ignore[no-untyped-def]
    """Fill the loss of each flip, and which offer is chosen, of a user who gets at most one offer."""
    best, second, pick = 0.0, 0.0, -1
    for t in range(gain.size):
        if gain[t] > best:
            best, second, pick = gain[t], best, t
        elif gain[t] > second:
            second = gain[t]
    for t in range(gain.size):
        chosen[t] = t == pick
        lost[t] = best - (second if t == pick else gain[t])


@njit(nogil=True, cache=True)
def losses_of_several(low, coupon, width, gain, most, exclusive, best_of_group, lost, chosen):  # type: ignore[no-untyped-def]
    """Fill the loss of each flip, and which offers are chosen, of a user who gets at most `most`.

    `best_of_group` holds -1 for each exclusive group, and is left so. An absent offer's loss is NaN.
    """
    size = gain.size
    count, least = pick_many(low, low + size, coupon, width, gain, most, exclusive, best_of_group, chosen)
    full = count >= most
    for t in range(size):
        if chosen[t]:
            k = t if width > 0 else coupon[low + t]
            if exclusive[k] >= 0:
                best_of_group[exclusive[k]] = t
    # The best offer that could step in for a dropped one: of another group, or of the dropped one's group.
    outside = 0.0
    for t in range(size):
        if not chosen[t] and gain[t] > outside and full:
            k = t if width > 0 else coupon[low + t]
            if exclusive[k] < 0 or best_of_group[exclusive[k]] < 0:
                outside = gain[t]
    for t in range(size):
        k = t if width > 0 else coupon[low + t]
        x = exclusive[k]
        held = best_of_group[x] if x >= 0 else -1
        if chosen[t]:
            substitute = outside
            if x >= 0:
                for s in range(size):
                    j = s if width > 0 else coupon[low + s]
                    if s != t and exclusive[j] == x and gain[s] > substitute:
                        substitute = gain[s]
            lost[t] = gain[t] - substitute
        elif held >= 0:
            lost[t] = gain[held] - gain[t]
        elif full:
            lost[t] = least - gain[t]
        else:
            lost[t] = -gain[t]
    for t in range(size):
        if chosen[t]:
            k = t if width > 0 else coupon[low + t]
            if exclusive[k] >= 0:
                best_of_group[exclusive[k]] = -1


@njit(nogil=True, cache=True)
def flip_losses(  # type: ignore[no-untyped-def]
    first, last, start, width, coupon, value, cost, extra, group, cap, caps, exclusive, wide, narrow, class_of, most, wanted,
):  # fmt: skip
    """List the offers whose flip (taking it in, or leaving it out) loses at most `most` of the user's reduced value.

    Only those of coupons that are `wanted` `(n_coupons,)` bool, of all where that is empty.

    The loss of a flip is the least that the user's part of the dual falls by in any choice with that offer flipped.

    Returns
    -------
    offer, loss, chosen
        The offers found, the loss of flipping each, and whether each is in the user's best choice.
    """
    size = 1024
    offer, loss, flag = np.empty(size, np.int64), np.empty(size), np.empty(size, np.uint8)
    n, base = 0, 0
    longest = longest_chunk(first, last, start, width)
    buffer, lost, chosen = np.empty(longest), np.empty(longest), np.zeros(longest, np.uint8)
    best_of_group = np.full(exclusive.size + 1, -1, np.int64)
    for i in range(first, last):
        low = i * width if width > 0 else start[i]
        high = low + width if width > 0 else start[i + 1]
        if (i - first) % CHUNK == 0:
            base = low
            upto = min(i + CHUNK, last)
            gains(i, upto, start, width, coupon, value, cost, extra, group, wide, narrow, class_of, buffer)
        gain = buffer[low - base : high - base]
        m = caps[i] if caps.size else cap
        if m == 0:
            continue
        if m == 1:  # exclusive groups mean nothing then
            losses_of_one(gain, lost, chosen)
        else:
            losses_of_several(low, coupon, width, gain, m, exclusive, best_of_group, lost, chosen)
        for t in range(high - low):
            # NaN, of an absent offer, is never at most anything.
            if lost[t] <= most and (wanted.size == 0 or wanted[t if width > 0 else coupon[low + t]]):
                if n == size:
                    size *= 2
                    offer = np.append(offer, np.empty(n, np.int64))
                    loss = np.append(loss, np.empty(n))
                    flag = np.append(flag, np.empty(n, np.uint8))
                offer[n], loss[n], flag[n] = low + t, max(lost[t], 0.0), chosen[t]
                n += 1
    return offer[:n].copy(), loss[:n].copy(), flag[:n].copy()
