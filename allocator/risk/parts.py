"""What each offer spends for sure, what it spends if it is redeemed, and how likely that is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocator.errors import UsageError
from allocator.problem import Problem

UNKNOWN = (
    "what these offers may really spend is unknown: some have neither a redeem_probability nor a liability (nor a coupon "
    "with a face value); add one of these columns"
)


@dataclass(frozen=True, eq=False)
class SpendParts:
    """An offer spends `fixed`, and `amount` more where it is redeemed.

    Attributes
    ----------
    fixed, amount
        `(n,)` float64, currency, >= 0.
    chance
        `(n,)` float64: the probability of redemption that is expected (with the common factor at 1). So an offer's
        expected spend, fixed + amount x chance, is its cost.
    """

    fixed: np.ndarray
    amount: np.ndarray
    chance: np.ndarray

    @property
    def worst(self) -> float:
        """What is spent where every offer is redeemed, currency."""
        return float(self.fixed.sum() + self.amount.sum())


def spend_parts(problem: Problem, offers: np.ndarray | slice = slice(None)) -> SpendParts:
    """Read the parts of these offers (indices; all by default) from cost, liability and redeem_probability.

    The three must fit together: cost = fixed + redeem_probability x liability. Where redeem_probability x liability
    exceeds the cost, a redemption takes less than the liability on average; how it spreads below it is not known, and of
    all spreads the widest is taken: all or nothing, with probability cost / liability (Bhatia and Davis, "A better bound
    on the variance", 2000, doi:10.1080/00029890.2000.12005203). The same is taken where the probability is not known.
    Where the liability is not known, all of the cost is taken to be spent on redemption.

    Raises
    ------
    UsageError
        Where an offer has neither a probability nor a liability.
    """
    cost = _present(problem, problem.column("cost", offers), offers)
    chance = _known(problem, "redeem_probability", offers)
    liability = _liability(problem, offers)
    if chance is None and (liability is None or np.isnan(liability).any()):
        raise UsageError(UNKNOWN)
    if chance is None:
        chance = np.ones(cost.shape)
    amount = np.full(cost.shape, np.nan) if liability is None else liability.copy()
    open_ended = np.isnan(amount)
    np.divide(cost, chance, out=amount, where=open_ended & (chance > 0))
    amount[np.isnan(amount)] = 0.0
    ratio = np.ones(cost.shape)
    np.divide(cost, amount, out=ratio, where=amount > 0)
    chance = np.minimum(chance, ratio)
    return SpendParts(np.maximum(cost - amount * chance, 0.0), amount, chance)


def is_known(problem: Problem) -> bool:
    """Tell whether every offer's parts can be read."""
    if "redeem_probability" in problem.offers.columns or "liability" in problem.offers.columns:
        return True
    faces = problem.face_value
    if faces is None:
        return False
    issued = np.unique(problem.offers.coupons_of(np.arange(problem.offers.n_offers)))
    return not np.isnan(faces[issued]).any()


def _liability(problem: Problem, offers: np.ndarray | slice) -> np.ndarray | None:
    """Return what each offer costs if it is redeemed, NaN where that is not known; `None`: of none."""
    known = _known(problem, "liability", offers)
    if known is not None or problem.face_value is None:
        return known
    index = np.arange(problem.offers.n_offers)[offers]
    return problem.face_value[problem.offers.coupons_of(index)]


def _known(problem: Problem, name: str, offers: np.ndarray | slice) -> np.ndarray | None:
    column = problem.offers.columns.get(name)
    return None if column is None else _present(problem, column[offers], offers)


def _present(problem: Problem, column: np.ndarray, offers: np.ndarray | slice) -> np.ndarray:
    """Return a column with 0 for pairs that are absent."""
    absent = np.isnan(problem.offers.value[offers])
    return np.where(absent, 0.0, column) if absent.any() else column
