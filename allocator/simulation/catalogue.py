"""The items that a market sells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocator.simulation.settings import calibration

MOST_ITEMS = 120  # of a category; the rest sell too rarely to matter
FIRST_ITEM = 1000
BRANDS = ("own", "national", "premium")


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Items, category by category.

    Attributes
    ----------
    category
        `(n_items,)` int16 index into the calibration's categories.
    start
        `(n_categories + 1,)` int64: where each category's items begin.
    chance
        `(n_items,)` float64: cumulated share of an item within its category (Zipf).
    price
        `(n_items,)` float64, currency for one.
    brand
        `(n_items,)` int8 index into `BRANDS`.
    """

    category: np.ndarray
    start: np.ndarray
    chance: np.ndarray
    price: np.ndarray
    brand: np.ndarray

    @property
    def item_id(self) -> np.ndarray:
        """Return `(n_items,)` int64 ids."""
        return FIRST_ITEM + np.arange(self.category.size, dtype=np.int64)


def draw_catalogue(seed: int) -> Catalogue:
    """Draw items with the numbers, popularity and prices of Complete Journey's categories."""
    rng = np.random.default_rng([seed, 603])
    categories = calibration()["categories"]
    sizes = np.array([min(category["items"], MOST_ITEMS) for category in categories])
    start = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    chance, price = np.empty(start[-1]), np.empty(start[-1])
    for c, category in enumerate(categories):
        part = slice(start[c], start[c + 1])
        weight = np.arange(1.0, sizes[c] + 1.0) ** -category["zipf"]
        chance[part] = np.cumsum(weight) / weight.sum()
        price[part] = category["price"] * np.exp(category["price_spread"] * rng.standard_normal(sizes[c]))
    brand = rng.choice(len(BRANDS), start[-1], p=[0.3, 0.5, 0.2]).astype(np.int8)
    price = np.maximum(np.round(price * np.array([0.85, 1.0, 1.4])[brand], 2), 0.19)
    return Catalogue(np.repeat(np.arange(sizes.size, dtype=np.int16), sizes), start, chance, price, brand)
