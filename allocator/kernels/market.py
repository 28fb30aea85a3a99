"""How users of a made-up market behave in one period of 28 days, as closed forms and as draws.

A user visits at a Poisson rate; a coupon changes the rate, and is redeemed in the first basket where the user means to
and the basket, stretched a little, reaches the minimum spend. Baskets are lognormal, so every expectation below is
exact; `draw` simulates the same law.
"""

from __future__ import annotations

import math

from allocator.kernels.compiling import njit
from allocator.kernels.draws import key_of, normal, poisson, uniform

# Columns of `traits`, one row a user.
RATE, BASKET, ATTRACT, ANNOY, PRONE, REACH, HIDDEN = range(7)
N_TRAITS = 7
# Columns of `terms`, one row a coupon: the discount is `SLOPE` of the scope's spend up to `CAP`, or `CAP` flat.
SLOPE, CAP, FLOOR, FLAT, SIGN = range(5)
N_TERMS = 5
# Places of `law`, the market's constants.
SPREAD, STRETCH, LINES, FATIGUE, HABIT, FORWARD, APPEAL, ODD, IDLE = range(9)
N_LAW = 9
# What `expect` and `draw` fill in for each user (and coupon).
P_BUY, P_REDEEM, SPEND, DISCOUNT, LATER = range(5)
N_EXPECTED = 5
MOST_VISITS = 200
LARGEST_EFFECT = 1.5  # on the log of the rate
# Streams of a user's uniforms in a period; baskets take two each from `BASKETS` on.
VISITS, INTENT, BASKETS = 0, 1, 8


@njit(nogil=True, cache=True, inline="always")
def _above(log_low, mean, spread):  # type: ignore[no-untyped-def]
    """P(X >= low) of a lognormal X with `mean` of its log."""
    return 0.5 * math.erfc((log_low - mean) / (spread * 1.4142135623730951))


@njit(nogil=True, cache=True)
def scoped(affinity, lines):  # type: ignore[no-untyped-def]
    """Return P(a basket holds something of the scope) and the scope's share of such a basket."""
    if affinity >= 1.0:
        return 1.0, 1.0
    has = 1.0 - math.exp(-lines * affinity)
    return has, min(1.0, affinity / max(has, 1e-12))


@njit(nogil=True, cache=True)
def redemption(mean, spread, stretch, term):  # type: ignore[no-untyped-def]
    """Return of a basket whose scope spend X has this log mean: P(it can be redeemed), E[discount], E[stretch].

    X from `stretch` times the minimum spend M is raised to M. The last two are 0 where it cannot be redeemed.
    """
    floor, cap, slope = term[FLOOR], term[CAP], term[SLOPE]
    whole = math.exp(mean + 0.5 * spread * spread)
    shifted = mean + spread * spread  # of the log under the size-biased law: E[X; X >= a] = E[X] P(X' >= a)
    if floor > 0.0:
        low, high = math.log(stretch * floor), math.log(floor)
        able, reaches = _above(low, mean, spread), _above(high, mean, spread)
        gain = floor * (able - reaches) - whole * (_above(low, shifted, spread) - _above(high, shifted, spread))
    else:
        able, reaches, gain = 1.0, 1.0, 0.0
    if term[FLAT] > 0.0 or slope * floor >= cap:
        return able, able * cap, gain
    top = math.log(cap / slope)
    most = _above(top, mean, spread)
    between = whole * (1.0 - _above(top, shifted, spread))
    if floor > 0.0:
        between = whole * (_above(math.log(floor), shifted, spread) - _above(top, shifted, spread))
    return able, slope * (floor * (able - reaches) + between) + cap * most, gain


@njit(nogil=True, cache=True)
def response(trait, term, law, affinity, contacts, tired, shock):  # type: ignore[no-untyped-def]
    """Return what a coupon does to a user.

    Returns
    -------
    effect, intent, able, discount, gain
        Change of the log rate; P(means to redeem, and the basket holds the scope); and per purchase with that intent
        P(can redeem), E[discount], E[stretch], currency. `tired` is the factor of drift on the coupon's appeal.
    """
    has, part = scoped(affinity, law[LINES])
    spread = law[SPREAD]
    mean = math.log(trait[BASKET] * part) - 0.5 * spread * spread
    able, discount, gain = redemption(mean, spread, law[STRETCH], term)
    depth = discount / max(able, 1e-12) / trait[BASKET]
    depth = depth / (depth + law[APPEAL])
    appeal = depth * math.sqrt(has) * able
    if law[ODD] > 0.0:
        # Mis-specified: an unseen taste for or against each coupon, and deep discounts that put some users off.
        appeal *= 1.0 + law[ODD] * math.tanh(trait[HIDDEN] * term[SIGN])
        if depth > 0.5 and trait[HIDDEN] > 0.5:
            appeal *= -law[ODD] * 0.5
    weary = math.exp(-law[FATIGUE] * contacts)
    appeal *= law[IDLE] + (1.0 - law[IDLE]) * trait[PRONE]  # who never redeems is moved less
    effect = trait[REACH] * (trait[ATTRACT] * tired * appeal * weary - trait[ANNOY] * (1.0 + law[FATIGUE] * contacts))
    effect = min(max(effect, -LARGEST_EFFECT), LARGEST_EFFECT)
    intent = min(1.0, trait[REACH] * trait[PRONE] * has * weary * (0.5 + 0.5 * depth) * shock)
    return effect, intent, able, discount, gain


@njit(nogil=True, cache=True, inline="always")
def rate_now(trait, law, season, lively, bought, stocked):  # type: ignore[no-untyped-def]
    """Return the visits that a period expects without a coupon, after what the period before left behind."""
    rate = trait[RATE] * season * lively
    if bought:
        rate *= math.exp(law[HABIT])
    if stocked:
        rate *= 1.0 - law[FORWARD]
    return rate


@njit(nogil=True, cache=True)
def expect(traits, terms, law, affinity, contacts, lively, bought, stocked, season, tired, without, with_, low, high):  # type: ignore[no-untyped-def]
    """Fill `without` `(n, 5)` and `with_` `(n, coupons, 5)` with expectations over all luck but the shock (1 here).

    Places: P(purchase), P(redemption), E[basket spend before the coupon], E[discount given], E[spend in the next
    period]. `season` holds the factors of this period and the next.
    """
    habit, forward = math.exp(law[HABIT]), 1.0 - law[FORWARD]
    for i in range(low, high):
        trait = traits[i]
        rate = rate_now(trait, law, season[0], lively[i], bought[i], stocked[i])
        after = trait[RATE] * season[1] * lively[i] * trait[BASKET]
        buys = 1.0 - math.exp(-rate)
        without[i, P_BUY], without[i, P_REDEEM] = buys, 0.0
        without[i, SPEND], without[i, DISCOUNT] = rate * trait[BASKET], 0.0
        without[i, LATER] = after * (1.0 - buys + buys * habit)
        for k in range(terms.shape[0]):
            effect, intent, able, discount, gain = response(
                trait, terms[k], law, affinity[i, k], contacts[i], tired, 1.0
            )
            raised = rate * math.exp(effect)
            buys = 1.0 - math.exp(-raised)
            redeems = buys * intent * able
            with_[i, k, P_BUY], with_[i, k, P_REDEEM] = buys, redeems
            with_[i, k, SPEND] = raised * trait[BASKET] + buys * intent * gain
            with_[i, k, DISCOUNT] = buys * intent * discount
            with_[i, k, LATER] = after * (1.0 - buys + (buys - redeems) * habit + redeems * habit * forward)


@njit(nogil=True, cache=True)
def first_basket(trait, term, law, affinity, intent, key):  # type: ignore[no-untyped-def]
    """Draw the first basket of a period: its spend before the coupon, and the discount (-1: not redeemed)."""
    spread = law[SPREAD]
    basket = trait[BASKET] * math.exp(spread * normal(key, BASKETS) - 0.5 * spread * spread)
    if uniform(key, INTENT) >= intent:
        return basket, -1.0
    _, part = scoped(affinity, law[LINES])
    spend, floor = basket * part, term[FLOOR]
    if spend < law[STRETCH] * floor:
        return basket, -1.0
    if spend < floor:
        basket += floor - spend
        spend = floor
    if term[FLAT] > 0.0:
        return basket, term[CAP]
    return basket, min(term[SLOPE] * spend, term[CAP])


@njit(nogil=True, cache=True, inline="always")
def further_basket(trait, law, key, number):  # type: ignore[no-untyped-def]
    """Draw basket `number` (from 1) of a period."""
    spread = law[SPREAD]
    return trait[BASKET] * math.exp(spread * normal(key, BASKETS + 2 * number) - 0.5 * spread * spread)


@njit(nogil=True, cache=True)
def draw(  # type: ignore[no-untyped-def]
    traits, terms, law, affinity, contacts, lively, bought, stocked, season, tired, shock, arm, key, period, users,
    visits, spend, discount, later, low, high,
):  # fmt: skip
    """Draw what users `low..high` do in a period under `arm` (-1: no coupon): visits, spend, discount, later spend.

    `discount` is -1 where nothing is redeemed. `users` are the numbers that luck hangs on: the same user has the same
    luck under every arm, so a change of arm changes only what the coupon changes.
    """
    for i in range(low, high):
        trait, k = traits[i], arm[i]
        person = key_of(key, users[i])
        own = key_of(person, period)
        rate = rate_now(trait, law, season[0], lively[i], bought[i], stocked[i])
        intent = 0.0
        if k >= 0:
            effect, intent, _, _, _ = response(trait, terms[k], law, affinity[i, k], contacts[i], tired, shock)
            rate *= math.exp(effect)
        n = poisson(rate, uniform(own, VISITS), MOST_VISITS)
        total, given = 0.0, -1.0
        if n > 0:
            total, given = first_basket(trait, terms[max(k, 0)], law, affinity[i, max(k, 0)], intent, own)
            for number in range(1, n):
                total += further_basket(trait, law, own, number)
        visits[i], spend[i], discount[i] = n, total, given
        after = rate_now(trait, law, season[1], lively[i], n > 0, given >= 0.0)
        later[i] = poisson(after, uniform(key_of(person, period + 1), VISITS), MOST_VISITS) * trait[BASKET]
