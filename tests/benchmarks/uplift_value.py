"""What a plan made from estimated effects earns when the true effects decide, as a share of what the truth would earn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uplift.effects import Effects
from uplift.metrics import relative_pehe, slope
from uplift.synthetic import Truth

CONTACT = 0.5  # currency: what an issued coupon costs in the figure A8


@dataclass(frozen=True)
class Marks:
    """Figures of one model in one world; 100 is what true effects earn.

    Attributes
    ----------
    net_half, net_more
        Net revenue, with the face value paid at every purchase, under a budget of 0.5 % / 1.5 % of base revenue.
    missed
        True spend under the 0.5 % budget over the budget, less 1, in %.
    fixed
        Gain (A8) less a fixed cost an issued coupon, no budget.
    slope
        Of the true uplift on the predicted one, within coupons.
    error
        Relative PEHE.
    covered
        Share of true effects in the 90 % intervals; NaN without intervals.
    seconds
        CPU seconds of the fit.
    """

    net_half: float
    net_more: float
    missed: float
    fixed: float
    slope: float
    error: float
    covered: float
    seconds: float


def choose(value: np.ndarray, cost: np.ndarray, budget: float) -> np.ndarray:
    """Best coupon of each user (-1 none) at the price of budget at which all of them fit: Lagrange, by bisection.

    One user between two choices can be left on the dear side of the optimum: exact but for one offer in thousands.
    """

    def at(price: float) -> np.ndarray:
        reduced = value - price * cost
        best = reduced.argmax(axis=1)
        return np.where(reduced[np.arange(best.size), best] > 0, best, -1)

    if total(cost, at(0.0)) <= budget:
        return at(0.0)
    low, high = 0.0, 1.0
    while total(cost, at(high)) > budget:
        high *= 2.0
    for _ in range(50):
        middle = (low + high) / 2.0
        low, high = (middle, high) if total(cost, at(middle)) > budget else (low, middle)
    return at(high)


def total(numbers: np.ndarray, choice: np.ndarray) -> float:
    """Sum over the chosen offers."""
    rows = np.flatnonzero(choice >= 0)
    return float(numbers[rows, choice[rows]].sum())


def mark(effects: Effects, truth: Truth, face: np.ndarray, seconds: float) -> Marks:
    """Plan with the effects, value with the truth."""
    revenue = truth.revenue[:, None]
    value, cost = (truth.uplift * revenue - truth.treated * face), truth.treated * face
    guess, guessed_cost = (effects.uplift * revenue - effects.treated * face), effects.treated * face
    base = float(truth.control @ truth.revenue)
    nets, missed = [], []
    for share in (0.005, 0.015):
        plan = choose(guess, guessed_cost, share * base)
        nets.append(100.0 * total(value, plan) / total(value, choose(value, cost, share * base)))
        missed.append(100.0 * (total(cost, plan) / (share * base) - 1.0))
    gain = truth.uplift * revenue - CONTACT
    free = np.zeros_like(gain)
    best = total(gain, choose(gain, free, np.inf))
    fixed = total(gain, choose(effects.uplift * revenue - CONTACT, free, np.inf))
    low, high = effects.interval()
    known = np.isfinite(effects.standard_error).all()
    inside = float(np.mean((low <= truth.uplift) & (truth.uplift <= high))) if known else float("nan")
    constant = effects.uplift.std(axis=0).max() == 0
    return Marks(
        net_half=nets[0],
        net_more=nets[1],
        missed=missed[0],
        fixed=100.0 * fixed / best,
        slope=float("nan") if constant else slope(effects.uplift, truth.uplift),
        error=relative_pehe(effects.uplift, truth.uplift),
        covered=100.0 * inside,
        seconds=seconds,
    )
