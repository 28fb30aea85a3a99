"""The periods before a campaign: the same behaviour as `kernels.market`, written out as lines of baskets."""

from __future__ import annotations

import math

import numpy as np

from allocator.kernels.compiling import njit
from allocator.kernels.draws import key_of, poisson, uniform
from allocator.kernels.market import (
    LINES,
    MOST_VISITS,
    VISITS,
    first_basket,
    further_basket,
    rate_now,
    response,
    scoped,
)

# Columns of `seen`, what the shop knows of a user at a cut: visits, spend, days since the last visit (-1: none).
SEEN_VISITS, SEEN_SPEND, SEEN_DAYS = range(3)
N_SEEN = 3
MOST_LINES = 24  # of one basket
BASKET_KEY = 1000  # sub-keys of a period's baskets begin here
SIZE, DAY, FIRST_LINE, PER_LINE = 0, 1, 8, 4  # streams of a basket
PERIOD_DAYS = 28


@njit(nogil=True, cache=True, inline="always")
def lively_at(period, joined, left, lapsed):  # type: ignore[no-untyped-def]
    """Return the factor on the rate of a user who joined in a period and may have lapsed in another."""
    if period < joined:
        return 0.0
    return lapsed if period >= left else 1.0


@njit(nogil=True, cache=True, inline="always")
def lines_of(basket, law):  # type: ignore[no-untyped-def]
    """Return how many lines a basket has."""
    return 1 + poisson(law[LINES] - 1.0, uniform(basket, SIZE), MOST_LINES - 1)


@njit(nogil=True, cache=True, inline="always")
def day_of(basket, days):  # type: ignore[no-untyped-def]
    """Return the day of its period on which a basket is bought; `days` cumulates their shares."""
    return min(np.searchsorted(days, uniform(basket, DAY)), PERIOD_DAYS - 1)


@njit(nogil=True, cache=True)
def visits_in(i, period, trait, law, terms, affinity, contacts, season, lively, state, arm, own):  # type: ignore[no-untyped-def]
    """Return a user's visits in a period and P(means to redeem); `arm` is -1 without a coupon."""
    rate = rate_now(trait, law, season, lively, state & 1, state & 2)
    intent = 0.0
    if arm >= 0:
        effect, intent, _, _, _ = response(trait, terms[arm], law, affinity[i, arm], contacts[i], 1.0, 1.0)
        rate *= math.exp(effect)
    return poisson(rate, uniform(own, VISITS), MOST_VISITS), intent


@njit(nogil=True, cache=True)
def walk(  # type: ignore[no-untyped-def]
    traits, terms, law, affinity, contacts, joined, left, lapsed, season, days, trial, arm, key, users,
    first, n_lines, seen_before, seen_now, state_now, outcome, low, high,
):  # fmt: skip
    """Walk users `low..high` through the periods `first..-1`; count lines, and note what the shop sees.

    `season` and `days` have a row a period. `seen_before` is as of the start of period `trial`, `seen_now` as of the
    campaign's, each of as many periods: what a shop knows of its users must mean the same in both. `state_now` has bit 0 where the user bought and bit 1 where they redeemed in the last period; `outcome`
    `(n, 3)`: visits, spend before the coupon and discount (-1: none) in the trial's period.
    """
    for i in range(low, high):
        trait, person = traits[i], key_of(key, users[i])
        state, lines, visits, spend, last, early_visits, early_spend = 0, 0, 0, 0.0, -1, 0, 0.0
        for period in range(first, 0):
            if period == trial:
                seen_before[i, SEEN_VISITS], seen_before[i, SEEN_SPEND] = visits, spend
                seen_before[i, SEEN_DAYS] = (trial - first) * PERIOD_DAYS - last if last >= 0 else -1
            if period == first - trial:  # before these periods nobody looks at the campaign's start
                early_visits, early_spend = visits, spend
            own, k = key_of(person, period), arm[i] if period == trial else -1
            n, intent = visits_in(
                i, period, trait, law, terms, affinity, contacts, season[period - first],
                lively_at(period, joined[i], left[i], lapsed), state, k, own,
            )  # fmt: skip
            total, given = 0.0, -1.0
            for number in range(n):
                basket = key_of(own, BASKET_KEY + number)
                if number == 0:
                    amount, given = first_basket(trait, terms[max(k, 0)], law, affinity[i, max(k, 0)], intent, own)
                else:
                    amount = further_basket(trait, law, own, number)
                total += amount
                lines += lines_of(basket, law)
                last = max(last, (period - first) * PERIOD_DAYS + day_of(basket, days[period - first]))
            visits, spend = visits + n, spend + total
            state = (1 if n > 0 else 0) | (2 if given >= 0.0 else 0)
            if period == trial:
                outcome[i, 0], outcome[i, 1], outcome[i, 2] = n, total, given
        n_lines[i], state_now[i] = lines, state
        seen_now[i, SEEN_VISITS], seen_now[i, SEEN_SPEND] = visits - early_visits, spend - early_spend
        seen_now[i, SEEN_DAYS] = -first * PERIOD_DAYS - last if last >= -trial * PERIOD_DAYS else -1


@njit(nogil=True, cache=True)
def item_of(taste, within, mask, item_start, item_chance, u, v):  # type: ignore[no-untyped-def]
    """Return a category of the user's taste (only those in `mask` where `within`) and an item of it."""
    total = 0.0
    for c in range(taste.size):
        if not within or mask[c]:
            total += taste[c]
    reached, category = 0.0, -1
    for c in range(taste.size):
        if within and not mask[c]:
            continue
        category = c
        reached += taste[c]
        if u * total < reached:
            break
    begin, end = item_start[category], item_start[category + 1]
    return category, min(begin + np.searchsorted(item_chance[begin:end], v), end - 1)


@njit(nogil=True, cache=True)
def fill_basket(  # type: ignore[no-untyped-def]
    basket, n, amount, given, part, whole, taste, mask, deal, depth, item_start, item_chance, price,
    item, quantity, paid, off, at,
):  # fmt: skip
    """Write a basket's lines at `at..at + n`; `given` (-1: none) comes off, from the scope's line unless `whole`."""
    scoped_line = given >= 0.0 and not whole
    total = 0.0
    for line in range(n):
        stream = FIRST_LINE + PER_LINE * line
        within = scoped_line and line == 0
        _, chosen = item_of(taste, within, mask, item_start, item_chance, uniform(basket, stream), uniform(basket, stream + 1))  # fmt: skip
        item[at + line] = chosen
        paid[at + line] = price[chosen] * (0.5 + uniform(basket, stream + 2))
        if not (scoped_line and line == 0):
            total += paid[at + line]
    for line in range(n):
        place = at + line
        if scoped_line and n > 1:
            share = part if line == 0 else (1.0 - part) * paid[place] / total
        elif scoped_line:
            share = 1.0
        else:
            share = paid[place] / total
        spend = amount * share
        quantity[place] = max(1, int(spend / price[item[place]] + 0.5))
        off[place] = 0.0
        if uniform(basket, FIRST_LINE + PER_LINE * line + 3) < deal:
            off[place] = spend * depth / (1.0 - depth)
        if given > 0.0:
            cut = min(spend, (given if line == 0 else 0.0) if scoped_line else given * share)
            spend -= cut
            off[place] += cut
        paid[place] = spend


@njit(nogil=True, cache=True)
def write_lines(  # type: ignore[no-untyped-def]
    traits, terms, law, affinity, contacts, joined, left, lapsed, season, days, trial, arm, key, users,
    first, tastes, masks, deal, depth, item_start, item_chance, price, begin,
    owner, basket_id, item, day, quantity, paid, off, low, high,
):  # fmt: skip
    """Walk users `low..high` again as `walk` does and write their lines from `begin[i] - begin[low]` on."""
    for i in range(low, high):
        trait, person = traits[i], key_of(key, users[i])
        state, at = 0, begin[i] - begin[low]
        for period in range(first, 0):
            own, k = key_of(person, period), arm[i] if period == trial else -1
            n, intent = visits_in(
                i, period, trait, law, terms, affinity, contacts, season[period - first],
                lively_at(period, joined[i], left[i], lapsed), state, k, own,
            )  # fmt: skip
            redeemed = False
            for number in range(n):
                basket, given, part, whole = key_of(own, BASKET_KEY + number), -1.0, 1.0, True
                if number == 0:
                    amount, given = first_basket(trait, terms[max(k, 0)], law, affinity[i, max(k, 0)], intent, own)
                    redeemed = given >= 0.0
                    if redeemed:
                        part = scoped(affinity[i, k], law[LINES])[1]
                        whole = affinity[i, k] >= 1.0
                else:
                    amount = further_basket(trait, law, own, number)
                size = lines_of(basket, law)
                fill_basket(
                    basket, size, amount, given, part, whole, tastes[i], masks[max(k, 0)], deal[i], depth,
                    item_start, item_chance, price, item, quantity, paid, off, at,
                )  # fmt: skip
                when = (period - first) * PERIOD_DAYS + day_of(basket, days[period - first])
                for place in range(at, at + size):
                    owner[place], day[place] = i, when
                    basket_id[place] = (users[i] << 14) | ((period - first) << 8) | number
                at += size
            state = (1 if n > 0 else 0) | (2 if redeemed else 0)
