"""Writes a market as the files that the other commands read."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from allocator.kernels import history as past
from allocator.kernels.blocks import available_threads
from allocator.simulation.catalogue import BRANDS
from allocator.simulation.drawn import NOTHING, TRIAL, DrawnMarket
from allocator.simulation.settings import PERIOD_DAYS, calibration
from allocator.tables.output import Content, write_folder

BLOCK = 1 << 15  # users whose lines are in memory at a time
CODED = ["item_id", "time", "quantity"]  # columns with few different numbers
QUANTITY_SHARE = 0.25  # of the users whose best offer is of the scarcest coupon
BUDGET_SHARE = 0.5  # of what every user's best offer would cost
NEW_DAYS, LAPSED_DAYS, LOYAL_VISITS = 84, 56, 2.0  # segments: tenure, idle days, visits a period
EPOCH = datetime.date(1970, 1, 1)


def write_market(market: DrawnMarket, folder: Path, *, force: bool) -> None:
    """Write the market whole or not at all.

    Files: `transactions.parquet`, `products.parquet`, `users.parquet`, `trial.parquet`, `truth.parquet`,
    `campaign.toml`, and `manifest.json` with what it was drawn from.

    Raises
    ------
    UsageError, OutputError
        As `allocator.tables.output.write_folder`.
    """

    def table(made: pa.Table) -> Content:
        return lambda path: parquet.write_table(made, path)

    contents: dict[str, Content] = {
        "manifest.json": json.dumps(_manifest(market), indent=2) + "\n",
        "campaign.toml": campaign_text(market),
        "products.parquet": table(products_table(market)),
        "users.parquet": table(users_table(market)),
        "trial.parquet": table(trial_table(market)),
        "truth.parquet": table(truth_table(market)),
        "transactions.parquet": lambda path: _write_transactions(market, path),
    }
    write_folder(folder, contents, force=force)


def users_table(market: DrawnMarket) -> pa.Table:
    """Return users as of the campaign's start: profile, segment, and what the history shows."""
    return pa.table(
        {"user_id": np.arange(market.n_users, dtype=np.int64), **_known(market, slice(None), market.seen_now, 0)}
    )


def trial_table(market: DrawnMarket) -> pa.Table:
    """Return the trial: user, coupon, what was known at its start, outcomes, propensity. `spend` is before the coupon."""
    trial = market.trial
    words = pa.array([*market.coupon_ids, "control"])
    codes = pa.array(np.where(trial.arm == NOTHING, len(market.coupons), trial.arm).astype(np.int32))
    return pa.table(
        {
            "user_id": trial.user,
            "coupon": pa.DictionaryArray.from_arrays(codes, words).cast(pa.string()),
            "time": pa.array(np.full(trial.user.size, _days(trial.time), np.int32)).cast(pa.date32()),
            **_known(market, trial.user, trial.seen, _trial_period(market)),
            "purchased": trial.outcomes.purchased.astype(np.int8),
            "spend": np.round(trial.outcomes.spend, 2),
            "redeemed": trial.outcomes.redeemed.astype(np.int8),
            "discount": np.round(trial.outcomes.discount, 2),
            "propensity": np.full(trial.user.size, trial.propensity),
        }
    )


def products_table(market: DrawnMarket) -> pa.Table:
    """Return the items that are sold: category, department, brand and price."""
    categories, items = calibration()["categories"], market.catalogue
    names = {key: pa.array([category[key] for category in categories]) for key in ("name", "department")}
    codes = pa.array(items.category.astype(np.int32))
    return pa.table(
        {
            "item_id": items.item_id,
            "category": pa.DictionaryArray.from_arrays(codes, names["name"]).cast(pa.string()),
            "department": pa.DictionaryArray.from_arrays(codes, names["department"]).cast(pa.string()),
            "brand": pa.DictionaryArray.from_arrays(pa.array(items.brand), pa.array(BRANDS)).cast(pa.string()),
            "price": items.price,
        }
    )


def truth_table(market: DrawnMarket) -> pa.Table:
    """Return every pair's truth in the form of the offers file, so that it can be planned: the oracle's plan."""
    truth, (n, k) = market.truth, market.affinity.shape

    def pairs(array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(array).ravel()

    codes = pa.array(np.tile(np.arange(k, dtype=np.int32), n))
    return pa.table(
        {
            "user_id": np.repeat(np.arange(n, dtype=np.int64), k),
            "coupon": pa.DictionaryArray.from_arrays(codes, pa.array(market.coupon_ids)).cast(pa.string()),
            "value": pairs(truth.value),
            "cost": pairs(truth.cost),
            "liability": pairs(truth.liability),
            "redeem_probability": pairs(truth.redeem_probability),
            "purchase_without": np.repeat(truth.purchase_without, k),
            "purchase_with": pairs(truth.purchase_with),
            "spend_without": np.repeat(truth.spend_without, k),
            "spend_with": pairs(truth.spend_with),
            "value_later": pairs(truth.value_later),
        }
    )


def transactions(market: DrawnMarket, *, block: int = BLOCK) -> Iterator[pa.Table]:
    """Yield the history's lines, the users' blocks in order; memory does not grow with the market."""
    known, items = market.population, market.catalogue
    catalogue = (
        known.tastes,
        market.masks,
        known.deal,
        float(calibration()["promotion"]["depth"]),
        items.start,
        items.chance,
        items.price,
    )
    first = _days(market.first_day(market.first_period))
    begin = np.concatenate([[0], np.cumsum(market.n_lines)])
    walk = market.history_arguments()

    def lines(low: int) -> pa.Table:
        high = min(low + block, market.n_users)
        n = int(begin[high] - begin[low])
        owner, basket, item = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
        day, quantity = np.empty(n, np.int32), np.empty(n, np.int32)
        paid, off = np.empty(n), np.empty(n)
        past.write_lines(*walk, *catalogue, begin, owner, basket, item, day, quantity, paid, off, low, high)
        return pa.table(
            {
                "user_id": owner,
                "item_id": items.item_id[item],
                "time": pa.array(day + np.int32(first)).cast(pa.date32()),
                "quantity": quantity,
                "amount": np.round(paid, 2),
                "discount": np.round(off, 2),
                "basket_id": basket,
            }
        )

    yield from _ahead(lines, range(0, market.n_users, block))


def _ahead(make: Callable[[int], pa.Table], places: Iterable[int]) -> Iterator[pa.Table]:
    """Yield `make(place)` in order while threads make the next few."""
    waiting: deque[Future[pa.Table]] = deque()
    with ThreadPoolExecutor(available_threads()) as pool:
        for place in places:
            waiting.append(pool.submit(make, place))
            if len(waiting) > available_threads():
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def campaign_text(market: DrawnMarket) -> str:
    """Return campaign.toml: the coupons' terms, a budget and a quantity that bind, and what the market assumes.

    The budget is half of what everyone's best offer would cost, and the coupon that most users would get is scarce.
    """
    truth = market.truth
    rows, best = np.arange(market.n_users), truth.value.argmax(axis=1)
    earning = truth.value[rows, best] > 0
    budget = max(1.0, float(np.round(BUDGET_SHARE * truth.cost[rows, best][earning].sum())))
    wanted = np.bincount(best[earning], minlength=len(market.coupons))
    known = market.settings
    keys: dict[str, object] = {
        "name": f"market {market.seed}",
        "currency": "USD",
        "budget": budget,
        "max_per_user": 1,
        "start": market.settings.start,
        "margin": known.margin,
        "contact_cost": known.contact_cost,
        "spend_is": "before_discount",
        "redemption_shock": known.shock,
    }
    lines = ["[campaign]", *(f"{key} = {_toml(item)}" for key, item in keys.items())]
    for k, coupon in enumerate(market.coupons):
        terms = coupon.model_dump(exclude_none=True)
        if k == wanted.argmax() and "quantity" not in terms:
            terms["quantity"] = max(1, int(QUANTITY_SHARE * wanted[k]))
        lines += ["", "[[coupon]]", *(f"{key} = {_toml(item)}" for key, item in terms.items())]
    return "\n".join(lines) + "\n"


def _toml(item: object) -> str:
    if isinstance(item, dict):
        return "{ " + ", ".join(f"{key} = {_toml(part)}" for key, part in item.items()) + " }"
    if isinstance(item, (list, tuple)):
        return "[" + ", ".join(map(_toml, item)) + "]"
    if isinstance(item, float):
        return repr(int(item)) if item.is_integer() else repr(item)
    return item.isoformat() if isinstance(item, datetime.date) else json.dumps(item, ensure_ascii=False)


def _known(market: DrawnMarket, rows: slice | np.ndarray, seen: np.ndarray, period: int) -> dict[str, object]:
    """Return what the shop knows of some users at a period's start; `seen` is of those users."""
    people = market.population
    columns: dict[str, object] = {}
    for name, (codes, words) in people.profile.items():
        columns[name] = pa.DictionaryArray.from_arrays(pa.array(codes[rows]), pa.array(words)).cast(pa.string())
    tenure = np.maximum(people.tenure_days[rows] + PERIOD_DAYS * period, 0)
    visits, spend, idle = seen.T
    window = market.settings.periods + TRIAL  # periods that the shop looks back, at the trial as at the campaign
    often = visits >= LOYAL_VISITS * window
    place = np.select([(idle < 0) | (idle > LAPSED_DAYS), tenure <= NEW_DAYS, often], [0, 1, 2], 3).astype(np.int8)
    place[(tenure <= NEW_DAYS) & (idle < 0)] = 1
    words = pa.array(["lapsed", "new", "loyal", "active"])
    return columns | {
        "household_size": people.household_size[rows],
        "tenure_days": tenure.astype(np.int32),
        "coupons_recent": people.contacts[rows].astype(np.int32),
        "visits_before": visits.astype(np.int32),
        "spend_before": np.round(spend, 2),
        # A user who was not seen has been away longer than the shop looks back.
        "days_since_visit": np.where(idle < 0, PERIOD_DAYS * window + 1, idle).astype(np.int32),
        "segment": pa.DictionaryArray.from_arrays(pa.array(place), words).cast(pa.string()),
    }


def _write_transactions(market: DrawnMarket, path: Path) -> None:
    writer = None
    for part in transactions(market):
        if writer is None:
            writer = parquet.ParquetWriter(path, part.schema, use_dictionary=CODED)
        writer.write_table(part)
    assert writer is not None
    writer.close()


def _trial_period(market: DrawnMarket) -> int:
    return (market.trial.time - market.settings.start).days // PERIOD_DAYS


def _days(day: datetime.date) -> int:
    return (day - EPOCH).days


def _manifest(market: DrawnMarket) -> dict[str, object]:
    known = dataclasses.asdict(market.settings)
    return {
        "kind": "market",
        "seed": market.seed,
        "users": market.n_users,
        "settings": {
            name: item.isoformat() if isinstance(item, datetime.date) else item for name, item in known.items()
        },
        "calibration": calibration()["source"],
    }
