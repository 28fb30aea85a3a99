"""What users want: recommendations with reasons, and the probability that each buys from a coupon's scope anyway.

    python examples/wants.py

A made-up shop of 500 users, so that it runs in seconds; `cf.EventFiles("events/")` reads real events from Parquet.
"""

from __future__ import annotations

import numpy as np

import cf


def events(rng: np.random.Generator) -> cf.Events:
    """Return a year of purchases: users come at their own pace and prefer one of five groups of items."""
    rate, taste = rng.gamma(2.0, 0.03, 500), rng.integers(0, 5, 500)
    rows = []
    for user in range(500):
        favour = np.where(np.arange(50) % 5 == taste[user], 8.0, 1.0)
        for day in rng.uniform(0, 365, rng.poisson(365 * rate[user])):
            basket = np.unique(rng.choice(50, rng.integers(1, 5), p=favour / favour.sum()))
            rows.extend((user, f"item {item}", day, 1.0 + item % 9) for item in basket)
    user, item, day, money = (np.array(column) for column in zip(*rows, strict=True))
    return cf.Events(user, item, day, money=money)


def main() -> None:
    """Build, compare, recommend, explain, foretell."""
    shop = cf.Interactions.of(events(np.random.default_rng(0)), now=365)
    print(shop.faults)

    parts = {"own": cf.Frequency(), "near": cf.UserKNN(), "habits": cf.TifuKNN(), "popular": cf.Popularity()}
    table = cf.compare(parts | {"blend": cf.Hybrid(parts)}, shop, cf.TemporalSplit(days=28, nothing=0.1)).to_pandas()
    print(table[["recommender", "segment", "users", "ndcg", "ndcg_low", "ndcg_high"]].round(3).to_string(index=False))

    model = cf.Hybrid(parts).fit(shop)  # cf.Hybrid() blends the usual parts; model.weights says which count
    best = cf.recommend(model, shop, users=[7], n=3)
    for item in best.ids():
        print(cf.explain(model, shop, 7, item))
    print("goes with item 3:", ", ".join(cf.goes_with(cf.ItemKNN().fit(shop), ["item 3"], n=3).ids()))

    scopes = cf.Scopes.of(
        shop.items, {"10off fives": [f"item {n}" for n in range(0, 50, 5)], "2off item 3": ["item 3"]}
    )
    known, later = shop.before(337), shop.between(337, 365)
    relevance = cf.Relevance(window=28.0, boosting=cf.Boosting(rounds=60, leaves=8, rate=0.1)).fit(known, scopes)
    foretold = relevance.predict(known)
    print(foretold.probability[:3].round(3), foretold.probability.shape)
    print(cf.judge(foretold, known, later, scopes))


if __name__ == "__main__":
    main()
