"""Why a user is thought to want what a coupon is good for: the chance split over the user's own purchases, to the last bit.

Each item is given its Shapley value (Shapley 1953): what its purchases add to the chance, averaged over all orders in
which the purchases could have become known. With few parts all orders are gone through, so that the sum is exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import cf
from allocator.campaign import Coupon
from allocator.history import Products, moment
from allocator.history.transactions import as_numpy
from allocator.learning.past import Past
from allocator.tables.frames import decoded

MOST_ITEMS = 6  # told apart; the others of a scope count together
NAMED = ("name", "title", "description", "product_type", "product_name")  # attributes that tell what an item is


@dataclass(frozen=True)
class Bought:
    """What a user bought of one item of a coupon's scope before the campaign.

    Attributes
    ----------
    amount
        Currency.
    last
        A date.
    adds
        What these purchases add to the relevance; `None` where that is not told apart.
    """

    item: str
    times: int
    amount: float
    last: str
    adds: float | None = None


@dataclass(frozen=True)
class Because:
    """What makes a user's relevance to a coupon's scope what it is.

    Attributes
    ----------
    relevance
        P(buys from the scope in the window).
    base
        That of a user of whom no purchase is known. With all `adds` and the two that follow it sums to `relevance`.
    others
        What the purchases of the scope's further items add.
    elsewhere
        What purchases outside the scope add.
    days
        Of the window.
    """

    relevance: float
    base: float
    others: float
    elsewhere: float
    days: float


@dataclass(frozen=True, eq=False)
class Purchases:
    """A user's lines before a moment: ids of items, seconds, quantity, amount (currency), `(lines,)` each."""

    item: np.ndarray
    time: np.ndarray
    quantity: np.ndarray
    amount: np.ndarray

    @classmethod
    def of(cls, past: Past, user: Any, start: Any) -> Purchases:
        """Read a user's lines before the campaign."""
        wanted = pa.scalar(str(user), pa.large_string())
        limit = None if start is None else moment(start)
        parts = []
        for lines, _ in past.transactions.batches({"user_id", "item_id", "quantity", "amount"}, before=limit):
            mine = np.flatnonzero(pc.equal(as_text(lines.user), wanted).to_numpy(zero_copy_only=False))
            if mine.size:
                items = as_numpy(lines.item.take(pa.array(mine)))
                parts.append((items, lines.time[mine], lines.quantity[mine], lines.amount[mine]))
        if not parts:
            return cls(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0), np.empty(0))
        return cls(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def by_item(self, inside: np.ndarray) -> list[tuple[Any, int, float, int]]:
        """Return id, times, amount and last moment of the items of these lines, the most frequent first."""
        found: dict[Any, tuple[int, float, int]] = {}
        for row in np.flatnonzero(inside).tolist():
            times, amount, last = found.get(self.item[row], (0, 0.0, 0))
            found[self.item[row]] = times + 1, amount + float(self.amount[row]), max(last, int(self.time[row]))
        return sorted(((item, *entry) for item, entry in found.items()), key=lambda it: (-it[1], -it[2], str(it[0])))


def told(
    products: Products, bought: list[tuple[Any, int, float, int]], adds: Sequence[float] = ()
) -> tuple[Bought, ...]:
    """Put what was bought in words; `adds` of the first of them."""
    rows = pc.index_in(
        pa.array([str(item) for item, *_ in bought], pa.large_string()),
        value_set=products.item_ids.cast(pa.large_string()),
    ).to_pylist()
    return tuple(
        Bought(
            _label(products, str(item), row),
            times,
            amount,
            str(np.datetime64(last, "s").astype("datetime64[D]")),
            adds[place] if place < len(adds) else None,
        )
        for place, ((item, times, amount, last), row) in enumerate(zip(bought, rows, strict=True))
    )


def because(
    model: cf.RelevanceModel, known: cf.Interactions, coupon: Coupon, purchases: Purchases, inside: np.ndarray
) -> tuple[Because, list[float]]:
    """Split a user's relevance to a coupon's scope over the user's purchases.

    Parameters
    ----------
    inside
        `(lines,)` bool: of the scope.

    Returns
    -------
    because
        The sum and its parts.
    adds
        Of the items of the scope, in the order of `Purchases.by_item`, at most `MOST_ITEMS`.
    """
    top = [item for item, *_ in purchases.by_item(inside)][:MOST_ITEMS]
    part = np.full(purchases.item.size, MOST_ITEMS + 1)  # everything else
    part[inside] = MOST_ITEMS  # further items of the scope
    for number, item in enumerate(top):
        part[purchases.item == item] = number
    players = np.unique(part).tolist()
    chance = _of_subsets(model, known, coupon.id, purchases, part, players)
    adds = dict.fromkeys(range(MOST_ITEMS + 2), 0.0) | dict(zip(players, _shapley(chance, len(players)), strict=True))
    made = Because(float(chance[-1]), float(chance[0]), adds[MOST_ITEMS], adds[MOST_ITEMS + 1], model.parameters.window)
    return made, [adds[number] for number in range(len(top))]


def as_text(ids: pa.Array) -> pa.Array:
    """Return ids, coded or not, as text."""
    plain = ids.cast(ids.type.value_type) if pa.types.is_dictionary(ids.type) else ids
    return plain.cast(pa.large_string())


def _of_subsets(
    model: cf.RelevanceModel,
    known: cf.Interactions,
    scope: str,
    purchases: Purchases,
    part: np.ndarray,
    players: list[int],
) -> np.ndarray:
    """Return the relevance of users who bought only some parts, `(2^players,)`: bit p set where part p is known."""
    subsets = np.arange(2 ** len(players))
    rows = [np.flatnonzero(np.isin(part, [p for bit, p in enumerate(players) if s >> bit & 1])) for s in subsets]
    line = np.concatenate(rows) if rows else np.empty(0, np.int64)
    user = np.repeat(subsets, [r.size for r in rows])
    column = model.scopes.names.index(scope)
    events = cf.Events(
        user,
        purchases.item[line],
        purchases.time[line].astype("datetime64[s]"),
        purchases.quantity[line],
        purchases.amount[line],
    )
    history = cf.Interactions.of(events, now=np.datetime64(int(known.now), "s"), items=known.items, users=subsets)
    return np.asarray(model.predict(history, subsets).probability[:, column], np.float64)


def _shapley(value: np.ndarray, players: int) -> list[float]:
    """Return each player's Shapley value of a game, `(2^players,)` by the bits of who takes part."""
    subsets = np.arange(value.size)
    size = np.array([int(s).bit_count() for s in subsets])
    weight = np.array([math.factorial(k) * math.factorial(max(players - k - 1, 0)) for k in range(players + 1)])
    found = []
    for p in range(players):
        without = subsets[(subsets >> p & 1) == 0]
        gain = value[without | (1 << p)] - value[without]
        found.append(float((weight[size[without]] * gain).sum() / math.factorial(players)))
    return found


def _label(products: Products, item: str, row: int | None) -> str:
    name = next((name for name in NAMED if name in products.attributes), products.category_column())
    if name is None or row is None:
        return item
    words = decoded(products.table[name])[row].as_py()
    return item if words is None else f"{words} ({item})"
