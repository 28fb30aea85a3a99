"""One network of three profiles: user, item and coupon in, purchase and redemption probability out.

    python examples/combined_network.py

It trains with Keras on a made-up trial, is saved, read back, served as a SavedModel, and fills the offers that `solve`
plans. It shows how to bring a model of your own; `uplift` and `cf` estimate the same with calibration and intervals.

Redemption is the product of two heads, purchase x P(redeem | purchase), so that it can never exceed purchase (as in
Ma et al., 2018, https://doi.org/10.1145/3209978.3210104). Without a coupon nothing is redeemed.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from allocator import Problem, solve, verify
from uplift import Schema

USERS, ITEMS = 30_000, 40
CATEGORIES, REGIONS = ("dairy", "bakery", "drinks", "household"), ("north", "south", "east", "west")
FACES = np.array([0.0, 1.0, 2.0, 4.0])  # currency; the first is no coupon
MARGIN, CONTACT_COST = 0.35, 0.02  # of the price; currency an offer

Profile = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Shop:
    """Profiles of users and items, and what is true of them: taste, pace, and how much a coupon moves each."""

    user: Profile
    item: Profile
    taste: np.ndarray  # (users, categories)
    pull: np.ndarray  # (users,)

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Shop:
        """Draw a shop."""
        visits, age = rng.gamma(2.0, 2.0, USERS), rng.integers(18, 80, USERS)
        taste = rng.normal(0.0, 1.0, (USERS, len(CATEGORIES)))
        user = {"visits": visits, "age": age.astype(float), "region": rng.choice(REGIONS, USERS)}
        user |= {f"bought {name}": np.exp(taste[:, j]) for j, name in enumerate(CATEGORIES)}
        item = {"category": rng.choice(CATEGORIES, ITEMS), "price": rng.uniform(2.0, 15.0, ITEMS).round(2)}
        return cls(user, item, taste, 0.5 * (age < 40) + 0.3 * (user["region"] == "north"))

    def chances(self, who: np.ndarray, what: np.ndarray, face: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """True P(purchase) and P(redemption) of users `who`, items `what` and face values."""
        category = np.array([CATEGORIES.index(name) for name in self.item["category"]])[what]
        deal = face / self.item["price"][what]
        score = -3.0 + 0.15 * self.user["visits"][who] + 0.7 * self.taste[who, category] + (1.5 + self.pull[who]) * deal
        purchase = 1.0 / (1.0 + np.exp(-score))
        return purchase, purchase * np.where(face > 0, 0.3 + 0.5 * np.minimum(deal, 1.0), 0.0)


@dataclass(frozen=True)
class Encoders:
    """How each profile becomes numbers, remembered from training."""

    user: Schema
    item: Schema
    coupon: Schema

    def __call__(self, shop: Shop, who: np.ndarray, what: np.ndarray, face: np.ndarray) -> dict[str, np.ndarray]:
        """Inputs of the network for rows (user, item, face value)."""
        coupon = {"face value": face, "share of the price": face / shop.item["price"][what]}
        return {
            "user": self.user.encode({name: column[who] for name, column in shop.user.items()}),
            "item": self.item.encode({name: column[what] for name, column in shop.item.items()}),
            "coupon": self.coupon.encode(coupon),
            "given": (face > 0).astype(np.float32)[:, None],
        }


def network(encoders: Encoders) -> Any:
    """Three towers that meet in a trunk with two heads."""
    import keras
    from keras import layers

    widths = {"user": encoders.user.width, "item": encoders.item.width, "coupon": encoders.coupon.width, "given": 1}
    inputs = {name: keras.Input((width,), name=name) for name, width in widths.items()}
    towers = [layers.Dense(32, "relu", name=f"{name}_tower")(inputs[name]) for name in ("user", "item", "coupon")]
    trunk = layers.Dense(64, "relu")(layers.Concatenate()([*towers, inputs["given"]]))
    trunk = layers.Dense(32, "relu")(trunk)
    purchase = layers.Dense(1, "sigmoid", name="purchase")(trunk)
    if_bought = layers.Dense(1, "sigmoid", name="redeem_if_bought")(trunk)
    redemption = layers.Multiply(name="redemption")([purchase, if_bought, inputs["given"]])
    model = keras.Model(inputs, {"purchase": purchase, "redemption": redemption})
    model.compile("adam", {"purchase": "binary_crossentropy", "redemption": "binary_crossentropy"})
    return model


def log_loss(truth: np.ndarray, chance: np.ndarray) -> float:
    """Mean over rows."""
    chance = np.clip(chance, 1e-6, 1 - 1e-6)
    return float(-(truth * np.log(chance) + (1 - truth) * np.log(1 - chance)).mean())


def main() -> None:
    """Train, judge on new rows, save, read back, serve, plan."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    shop = Shop.draw(rng)
    who, what = np.tile(np.arange(USERS), 3), rng.integers(0, ITEMS, 3 * USERS)
    face = rng.choice(FACES, 3 * USERS)  # at random: a trial
    purchase, redemption = shop.chances(who, what, face)
    bought = rng.random(who.size) < purchase
    redeemed = bought & (rng.random(who.size) < redemption / purchase)

    train = rng.random(USERS)[who] < 0.8  # users, not rows: nobody is in both parts
    deal = {"face value": face[train], "share of the price": face[train] / shop.item["price"][what[train]]}
    user, item = Schema.fit(_features(shop.user)), Schema.fit(_features(shop.item))
    encoders = Encoders(user, item, Schema.fit(_features(deal)))
    inputs = encoders(shop, who, what, face)
    truths = {"purchase": bought.astype(np.float32)[:, None], "redemption": redeemed.astype(np.float32)[:, None]}
    model = network(encoders)
    model.fit(
        {name: rows[train] for name, rows in inputs.items()},
        {name: rows[train] for name, rows in truths.items()},
        batch_size=512,
        epochs=6,
        verbose=0,
    )

    held = {name: rows[~train] for name, rows in inputs.items()}
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "network.keras")
        model.export(Path(folder) / "served", verbose=False)
        again = keras.models.load_model(Path(folder) / "network.keras")
        served = tf.saved_model.load(Path(folder) / "served")
        foretold = {name: np.ravel(rows) for name, rows in again.predict(held, batch_size=8192, verbose=0).items()}
        answer = served.serve({name: tf.constant(rows, tf.float32) for name, rows in held.items()})
        apart = max(float(np.abs(np.ravel(answer[name]) - foretold[name]).max()) for name in foretold)

    for name, chance in (("purchase", purchase), ("redemption", redemption)):
        truth = np.ravel(truths[name][~train])
        print(
            f"{name:11} held-out log-loss {log_loss(truth, foretold[name]):.4f}; the rate alone "
            f"{log_loss(truth, np.full(truth.size, np.ravel(truths[name][train]).mean())):.4f}, "
            f"the true chances {log_loss(truth, chance[~train]):.4f}"
        )
    print(f"read back and served: answers within {apart:.0e} of each other")

    # Offers: every held-out user with the item that they would most like, and each coupon on it.
    users = np.flatnonzero(np.bincount(who[~train], minlength=USERS))[:2_000]
    choice = shop.taste[users][:, [CATEGORIES.index(name) for name in shop.item["category"]]].argmax(axis=1)
    chances = [again.predict(encoders(shop, users, choice, np.full(users.size, f)), verbose=0) for f in FACES]
    bought_by = np.hstack([answer["purchase"] for answer in chances])
    redeemed_by = np.hstack([answer["redemption"] for answer in chances])[:, 1:]
    cost = redeemed_by * FACES[1:] + CONTACT_COST
    value = MARGIN * shop.item["price"][choice][:, None] * (bought_by[:, 1:] - bought_by[:, :1]) - cost
    problem = Problem.from_arrays(value.astype(np.float64), cost.astype(np.float64), budget=100.0)
    result = solve(problem)
    verify(problem, result)
    print(f"plan for {users.size:,} users: {result.status}, earns {result.objective:.2f}, gap {result.gap:.4f}")


def _features(profile: Profile) -> Any:
    from uplift import Features

    return Features.create(dict(profile))


if __name__ == "__main__":
    main()
