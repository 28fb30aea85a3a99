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
    absent = np.isnan(problem.offers.value[offers])
    absent = absent if absent.any() else None
    cost = _present(problem.column("cost", offers), absent)
    chance, liability = _known(problem, "redeem_probability", offers, absent), _liability(problem, offers, absent)
    unknown = None if liability is None else np.isnan(liability)
    if chance is None and (unknown is None or unknown.any()):
        raise UsageError(UNKNOWN)
    if chance is None:
        chance = np.ones(cost.shape)
    amount = np.full(cost.shape, np.nan) if liability is None else liability
    if unknown is None or unknown.any():
        amount = np.divide(cost, chance, out=amount.copy(), where=np.isnan(amount) & (chance > 0))
        amount[np.isnan(amount)] = 0.0
    ratio = np.divide(cost, amount, out=np.ones(cost.shape), where=amount > 0)
    chance = np.minimum(chance, ratio, out=ratio)
    fixed = amount * chance
    return SpendParts(np.maximum(np.subtract(cost, fixed, out=fixed), 0.0, out=fixed), amount, chance)


def is_known(problem: Problem) -> bool:
    """Tell whether every offer's parts can be read."""
    if "redeem_probability" in problem.offers.columns or "liability" in problem.offers.columns:
        return True
    faces = problem.face_value
    if faces is None:
        return False
    issued = np.unique(problem.offers.coupons_of(np.arange(problem.offers.n_offers)))
    return not np.isnan(faces[issued]).any()


def _liability(problem: Problem, offers: np.ndarray | slice, absent: np.ndarray | None) -> np.ndarray | None:
    """Return what each offer costs if it is redeemed, NaN where that is not known; `None`: of none."""
    known = _known(problem, "liability", offers, absent)
    if known is not None or problem.face_value is None:
        return known
    source = problem.offers
    if offers == slice(None) if isinstance(offers, slice) else False:
        every = source.coupon is None
        return np.tile(problem.face_value, source.n_users) if every else problem.face_value[source.coupon]
    return problem.face_value[source.coupons_of(np.arange(source.n_offers)[offers])]


def _known(problem: Problem, name: str, offers: np.ndarray | slice, absent: np.ndarray | None) -> np.ndarray | None:
    column = problem.offers.columns.get(name)
    return None if column is None else _present(column[offers], absent)


def _present(column: np.ndarray, absent: np.ndarray | None) -> np.ndarray:
    """Return a column with 0 for pairs that are absent."""
    return column if absent is None else np.where(absent, 0.0, column)
