"""Made-up logs in the shapes of known data sets, for what cannot be downloaded: films rated once, a shop seen rarely.

Only their sizes and habits are alike: `films` has MovieLens-1M's numbers of users, items and ratings and no repeats;
`gifts` has few baskets a customer, long gaps and some repeats, as UCI Online Retail has.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

import cf


def tastes(rng: np.random.Generator, users: int, items: int, fame: float, strength: float) -> npt.NDArray[np.float32]:
    """Return utilities, `(users, items)`: Zipf popularity, and tastes in eight hidden dimensions."""
    known = -np.log(np.arange(items) + 12.0)[rng.permutation(items)]
    hidden = rng.normal(size=(users, 8)) @ rng.normal(size=(8, items)) / np.sqrt(8)
    return np.asarray(fame * known + strength * hidden, np.float32)


def films(users: int = 6_040, items: int = 3_706, ratings: int = 1_000_000, seed: int = 0) -> cf.Interactions:
    """Each user rates films once, most in one evening, at a time of their own; tastes decide which."""
    rng = np.random.default_rng(seed)
    utility = tastes(rng, users, items, 1.3, 1.2)
    number = np.minimum(20 + rng.lognormal(0.0, 1.2, users) * 80, items // 2)
    number = np.maximum(number * ratings / number.sum(), 10).astype(int)
    joined = rng.uniform(0, 1_000, users)
    user, item, day = [], [], []
    for u in range(users):
        chosen = np.argpartition(-(utility[u] + rng.gumbel(size=items)), number[u])[: number[u]]
        user.append(np.full(chosen.size, u))
        item.append(rng.permutation(chosen))
        day.append(joined[u] + np.arange(chosen.size) * 20 / 86_400)
    return cf.Interactions.of(cf.Events(np.concatenate(user), np.concatenate(item), np.concatenate(day)), now=1_010)


def gifts(users: int = 4_300, items: int = 3_600, days: float = 374.0, seed: int = 0) -> cf.Interactions:
    """Customers come a few times a year with large baskets, a part of which they have had before."""
    rng = np.random.default_rng(seed)
    utility = tastes(rng, users, items, 0.7, 0.8)
    first = rng.uniform(0, days * 0.9, users)
    gap = rng.lognormal(4.0, 0.8, users)
    user, item, day = [], [], []
    for u in range(users):
        had = np.zeros(items, np.float32)
        now, size = first[u], int(rng.lognormal(2.7, 0.7)) + 1
        while now < days:
            count = min(int(rng.poisson(size)) + 1, items - 1)
            basket = np.argpartition(-(utility[u] + 1.6 * np.log1p(had) + rng.gumbel(size=items)), count)[:count]
            had[basket] += 1.0
            user.append(np.full(count, u))
            item.append(basket)
            day.append(np.full(count, now))
            now += rng.exponential(gap[u]) + 1.0
    return cf.Interactions.of(cf.Events(np.concatenate(user), np.concatenate(item), np.concatenate(day)), now=days)
