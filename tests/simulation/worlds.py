"""Campaigns whose truth is known: small, skewed, with effects that differ between users."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from allocator.simulation.assignment import Assignment
from allocator.simulation.effects import Money

COUPONS = ("", "5off", "10off", "20off")
FACE = np.array([0.0, 2.0, 4.0, 8.0])
MARGIN, CONTACT = 0.4, 0.05


@dataclass(frozen=True, eq=False)
class World:
    """One simulated campaign: potential outcomes of every user, and the draw.

    Attributes
    ----------
    spend, discount
        `(n_users, 2)` held out and treated, currency.
    columns
        The outcomes that were observed, as `read_outcomes` gives them.
    """

    assignment: Assignment
    spend: np.ndarray
    discount: np.ndarray
    columns: dict[str, np.ndarray]
    money: Money

    @property
    def treated(self) -> np.ndarray:
        return ~self.assignment.held

    def gain(self) -> np.ndarray:
        """Return each user's true margin with the coupon less that without."""
        return MARGIN * (self.spend[:, 1] + self.discount[:, 1] - self.spend[:, 0])

    def cost(self) -> np.ndarray:
        return self.discount[:, 1] + CONTACT


def campaign(n_users: int, share: float, rng: np.random.Generator, *, observed: bool = True) -> World:
    """Draw users, their potential outcomes and a control group; spend is skewed with many zeros."""
    coupon = rng.choice([1, 2, 3], n_users, p=[0.5, 0.3, 0.2])
    taste = rng.gamma(1.5, 12.0, n_users)
    habit = taste * rng.gamma(1.0, 1.0, n_users)  # what the period before tells, and strata do not
    before = habit * rng.gamma(4.0, 0.25, n_users) * (rng.random(n_users) < 0.9)
    base = habit * rng.gamma(4.0, 0.25, n_users) * (rng.random(n_users) < 0.8)
    uplift = 0.15 * taste * coupon * rng.gamma(1.0, 1.0, n_users)
    redeemed = rng.random(n_users) < 0.2 + 0.1 * coupon
    discount = np.where(redeemed, FACE[coupon], 0.0)
    spend = np.column_stack([base, base + uplift * redeemed - discount * 0.5])
    score = 0.15 * taste * coupon * 0.3 + rng.normal(0.0, 1.0, n_users)
    stratum = coupon * 4 + np.minimum((taste / 10).astype(np.int64), 3) - 4
    held = np.zeros(n_users, bool)
    for s in np.unique(stratum):
        rows = np.flatnonzero(stratum == s)
        take = int(rows.size * share + rng.random())
        held[rng.choice(rows, take, replace=False)] = True
    arm = (~held).astype(int)
    at = np.arange(n_users)
    both = np.column_stack([np.zeros(n_users), discount])
    columns = {
        "spend": spend[at, arm],
        "discount": both[at, arm],
        "purchased": (spend[at, arm] > 0).astype(float),
        "redeemed": (redeemed & ~held).astype(float),
        "pre_spend": before,
    }
    if not observed:
        del columns["discount"]
    assignment = Assignment(
        pa.array(at),
        coupon,
        COUPONS,
        np.where(held, 0, coupon),
        COUPONS,
        stratum,
        tuple(map(str, range(12))),
        held,
        np.ones(n_users, bool),
        score,
        np.full(n_users, 2.0),
        share,
    )
    return World(assignment, spend, both, columns, Money(MARGIN, CONTACT if observed else 0.0, observed))


@dataclass(frozen=True, eq=False)
class Logs:
    """A log with known propensities, and what another policy wants."""

    features: np.ndarray
    arm: np.ndarray
    propensity: np.ndarray
    reward: np.ndarray
    want: np.ndarray


def logs(n: int, rng: np.random.Generator) -> Logs:
    """Draw contexts, three arms with chances that depend on them, and skewed rewards."""
    x = rng.normal(size=(n, 2))
    utility = np.column_stack([np.zeros(n), 0.5 * x[:, 0], 0.5 * x[:, 1]])
    chance = np.exp(utility) / np.exp(utility).sum(axis=1, keepdims=True)
    arm = (rng.random((n, 1)) > np.cumsum(chance, axis=1)).sum(axis=1).clip(0, 2)
    mean = _mean_rewards(x)
    want = mean_policy(x)
    reward = mean[np.arange(n), arm] * rng.gamma(2.0, 0.5, n)
    return Logs(x, arm, chance[np.arange(n), arm], reward, want)


def _mean_rewards(x: np.ndarray) -> np.ndarray:
    return np.column_stack([np.full(x.shape[0], 2.0), 2.0 + np.exp(0.5 * x[:, 0]), 2.5 + 0.5 * np.abs(x[:, 1])])


def mean_policy(x: np.ndarray) -> np.ndarray:
    """Return the arm of the policy that is evaluated."""
    return np.where(x[:, 0] > 0.3, 1, np.where(x[:, 1] > 0, 2, 0))


@functools.cache
def truth() -> float:
    """Return the true mean reward of the policy: of 4 M contexts, to about 0.0005."""
    x = np.random.default_rng(0).normal(size=(4_000_000, 2))
    return float(_mean_rewards(x)[np.arange(x.shape[0]), mean_policy(x)].mean())
