"""Small named worlds for the tests of cf."""

from __future__ import annotations

import numpy as np

from cf.events import Events
from cf.interactions import Interactions


def tiny() -> Events:
    """Three users, four items, days 0 to 40; `ann` buys milk again and again."""
    rows = [
        ("ann", "milk", 1),
        ("ann", "bread", 1),
        ("ann", "milk", 8),
        ("ann", "milk", 15),
        ("ann", "bread", 30),
        ("bob", "milk", 3),
        ("bob", "eggs", 3),
        ("bob", "bread", 20),
        ("cat", "tea", 40),
        ("cat", "milk", 40),
    ]
    user, item, day = zip(*rows, strict=True)
    price = {"milk": 1.0, "bread": 2.0, "eggs": 3.0, "tea": 5.0}
    return Events(
        np.array(user, object), np.array(item, object), np.array(day, float), money=np.array([price[i] for i in item])
    )


def market(seed: int = 0, users: int = 300, items: int = 60, days: float = 200.0) -> Events:
    """Users with tastes: each prefers one of six groups of items and comes at a rate of its own; numbers as ids."""
    rng = np.random.default_rng(seed)
    rate = rng.gamma(2.0, 0.05, users)
    taste = rng.integers(0, 6, users)
    base = rng.gamma(1.0, 1.0, items)
    group = np.arange(items) % 6
    rows = []
    for user in range(users):
        favour = base * np.where(group == taste[user], 8.0, 1.0)
        for day in np.sort(rng.uniform(0, days, rng.poisson(rate[user] * days))):
            basket = np.unique(rng.choice(items, rng.integers(1, 6), p=favour / favour.sum()))
            rows.extend((user + 1_000, item + 10, round(day, 4)) for item in basket)
    user_id, item_id, day = (np.array(column) for column in zip(*rows, strict=True))
    return Events(user_id, item_id, day, money=1.0 + (item_id % 7), quantity=np.ones(user_id.size))


def log(events: Events, now: float | None = None) -> Interactions:
    """Return the interactions of events, numbers of days being times."""
    return Interactions.of(events, now=now)
