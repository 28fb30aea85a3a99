"""Draws the users of a market: what the shop may know of them, and what only the market knows."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy import special

from allocator.kernels import market as law
from allocator.kernels.blocks import available_threads
from allocator.simulation.settings import Settings, calibration

BLOCK = 1 << 16  # users drawn from one generator; user i is the same however many there are
REGIONS = ("north", "south", "east", "west")
CHANNELS = ("app", "email", "post")
INCOMES = ("low", "middle", "high")
AGES = ("18-29", "30-44", "45-59", "60+")
READS = np.array([0.9, 0.6, 0.4])  # of a channel's users read what they get
DEAL, OPEN = 0.45, 0.25  # how much the love of deals, and habit, tell of a coupon's appeal


@dataclass(frozen=True, eq=False)
class Population:
    """Users in arrays of `(n_users,)` or `(n_users, ...)`.

    Attributes
    ----------
    traits
        `(n_users, N_TRAITS)` float64, the columns of `kernels.market`; hidden from planners.
    tastes
        `(n_users, n_categories)` float32: share of each category in a user's lines.
    deal
        float32: share of lines that a user buys discounted.
    contacts
        float64: coupons received lately.
    joined, left
        int16: period in which a user joined, and lapsed (far in the past or future where never).
    profile
        What the shop knows from the registration, text codes: name -> (int8 codes, words).
    household_size, tenure_days
        int16; known too.
    """

    traits: np.ndarray
    tastes: np.ndarray
    deal: np.ndarray
    contacts: np.ndarray
    joined: np.ndarray
    left: np.ndarray
    household_size: np.ndarray
    tenure_days: np.ndarray
    profile: Mapping[str, tuple[np.ndarray, tuple[str, ...]]]

    def __len__(self) -> int:
        """Return the number of users."""
        return len(self.traits)


def draw_population(n: int, seed: int, settings: Settings, threads: int | None = None) -> Population:
    """Draw `n` users; the first m are the same whatever `n` is."""
    pieces = [(block, min(BLOCK, n - block * BLOCK)) for block in range(-(-n // BLOCK))]
    with ThreadPoolExecutor(threads or available_threads()) as pool:
        blocks = list(pool.map(lambda piece: _block(piece[0], piece[1], seed, settings), pieces))

    def joined_up(name: str) -> np.ndarray:
        return np.concatenate([getattr(block, name) for block in blocks])

    profile = {
        name: (np.concatenate([block.profile[name][0] for block in blocks]), words)
        for name, (_, words) in blocks[0].profile.items()
    }
    return Population(
        joined_up("traits"),
        joined_up("tastes"),
        joined_up("deal"),
        joined_up("contacts"),
        joined_up("joined"),
        joined_up("left"),
        joined_up("household_size"),
        joined_up("tenure_days"),
        profile,
    )


def _block(block: int, n: int, seed: int, settings: Settings) -> Population:
    """Draw one block: always whole, then cut, so that its users do not depend on how many are wanted."""
    rng = np.random.default_rng([seed, 601, block])
    known = calibration()

    def normal() -> np.ndarray:
        return rng.standard_normal(BLOCK)

    def cut(array: np.ndarray) -> np.ndarray:
        return array[:n]

    income, age, size, past, open_ = normal(), normal(), normal(), normal(), normal()
    shape = known["visits"]["shape"]
    gamma = rng.standard_gamma(shape, BLOCK) / shape
    # The score of a Gamma number: its log, centred and scaled.
    activity = (np.log(np.maximum(gamma, 1e-12)) + np.log(shape) - special.digamma(shape)) / np.sqrt(
        special.polygamma(1, shape)
    )
    deals = -0.5 * income + np.sqrt(0.75) * normal()
    rho, between = known["basket"]["correlation_with_visits"], known["basket"]["between"]
    rest = 0.6 * income + 0.5 * size + np.sqrt(1 - 0.61) * normal()
    basket = known["basket"]["mean"] * np.exp(
        between * (rho * activity + np.sqrt(1 - rho**2) * rest) - 0.5 * between**2
    )
    channel = np.where(age + 0.8 * normal() < 0.0, 0, np.where(normal() < 0.6, 1, 2)).astype(np.int8)
    prone = _proneness(rng, settings, deals)
    attract = settings.attract * np.exp(0.7 * (DEAL * deals + OPEN * open_ - 0.3 * activity + 0.8 * normal()) - 0.25)
    attract *= np.where(size > 0.7, 1.4, 0.9)  # a step: families
    annoyed = rng.random(BLOCK) < special.expit(special.logit(settings.annoyed + 1e-12) + 0.8 * (age - 0.3 * deals))
    annoy = np.where(annoyed, settings.annoy * rng.standard_gamma(2.0, BLOCK) / 2.0, 0.0)
    traits = np.empty((BLOCK, law.N_TRAITS))
    traits[:, law.RATE], traits[:, law.BASKET] = settings.visits * gamma, basket
    traits[:, law.ATTRACT], traits[:, law.ANNOY], traits[:, law.PRONE] = attract, annoy, prone
    traits[:, law.REACH], traits[:, law.HIDDEN] = READS[channel], normal()
    share = np.array([category["share"] for category in known["categories"]])
    tastes = rng.standard_gamma(
        (known["taste_concentration"] * share).astype(np.float32), (BLOCK, share.size), dtype=np.float32
    )
    tastes += np.float32(1e-6)
    tastes /= tastes.sum(axis=1, keepdims=True)
    deal = _on_deal(deals)
    contacts = rng.poisson(np.exp(0.3 * deals + 0.2 * activity)).astype(np.float64)
    joined, left = _lives(rng, settings)
    tenure = np.where(
        joined > -settings.periods, -28 * joined.astype(np.int32), 28 * settings.periods + np.exp(5.5 + 0.8 * past)
    )
    codes = {
        "region": ((rng.integers(0, 4, BLOCK)).astype(np.int8), REGIONS),
        "channel": (channel, CHANNELS),
        "income": (np.digitize(income + 0.5 * normal(), [-0.5, 0.6]).astype(np.int8), INCOMES),
        "age": (np.digitize(age, [-0.8, 0.1, 0.9]).astype(np.int8), AGES),
    }
    return Population(
        cut(traits),
        cut(tastes),
        cut(deal),
        cut(contacts),
        cut(joined),
        cut(left),
        cut(np.clip(np.rint(2.2 + 1.2 * size), 1, 6).astype(np.int16)),
        cut(np.minimum(tenure, 9000).astype(np.int16)),
        {name: (cut(code), words) for name, (code, words) in codes.items()},
    )


def _on_deal(deals: np.ndarray) -> np.ndarray:
    """Return the share of lines that users buy on promotion, float32, as it varies between households of Complete Journey."""
    promotion = calibration()["promotion"]
    mean = promotion["share"]
    deviation = np.sqrt(mean * (1 - mean) / (promotion["concentration"] + 1)) / (mean * (1 - mean))
    return special.expit(special.logit(mean) + deviation * deals).astype(np.float32)


def _proneness(rng: np.random.Generator, settings: Settings, deals: np.ndarray) -> np.ndarray:
    """Draw P(means to redeem), skewed as in Complete Journey: most hardly ever, few nearly always.

    There a household's redemptions are a Gamma mixture. Its squared variation is that of visits and that of proneness,
    (1 + 1/shape) = (1 + 1/visits) (1 + 1/proneness); what visits do not explain is left to proneness.
    """
    known = calibration()
    ratio = (1 + 1 / known["redeeming"]["shape"]) / (1 + 1 / known["visits"]["shape"])
    shape = 1 / (ratio - 1)
    gamma = rng.standard_gamma(shape, BLOCK)  # scale follows: 1 - E[exp(-c g)] is to be the mean
    gamma *= np.exp(0.5 * deals - 0.125)
    scale = (1 - settings.redeeming) ** (-1 / shape) - 1
    return -np.expm1(-scale * gamma)


def _lives(rng: np.random.Generator, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Draw in which period each user joined, and lapsed: -1000 and 1000 stand for before and never."""
    fate = rng.random(BLOCK)
    when = rng.integers(-settings.periods + 1, 0, BLOCK)
    joined = np.where(fate < settings.joined, when, -1000).astype(np.int16)
    lapsed = (fate >= settings.joined) & (fate < settings.joined + settings.lapsed)
    return joined, np.where(lapsed, when, 1000).astype(np.int16)
