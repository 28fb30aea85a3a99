"""The independent check of a result. It shares no code with the solver: plain NumPy and exact sums."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from allocator.errors import VerificationError
from allocator.problem import Problem
from allocator.result import Proof, Result, Status

CHUNK = 1_000_000  # offers looked at together
CENT = 0.01
SLACK = 1e-12  # relative: what the solver's plain sums may lack; far below a cent at ten million users


@dataclass(frozen=True)
class Certificate:
    """What was verified.

    Attributes
    ----------
    price_bound
        The bound recomputed from the prices, rounded outward, currency; NaN without a plan. Where the prices prove that
        no plan exists: what the limits leave of each weighted sum less what any choice of offers takes, below 0.
    rests_on_search
        How much of the claimed bound's tightness rests on branch and bound rather than on prices, currency.
    """

    objective: float
    price_bound: float
    rests_on_search: float
    statement: str


def verify(problem: Problem, result: Result, *, gap: float = 1e-9) -> Certificate:
    """Check a plan's rules, limits, sums and bound, or the proof that none exists, against the problem alone.

    Raises
    ------
    VerificationError
        Lists everything that is wrong.
    """
    if result.status in (Status.INFEASIBLE, Status.NO_PLAN):
        if len(result.plan):
            raise VerificationError(f"the status is {result.status} but {len(result.plan):,} offers are issued")
        return _nothing_issued(problem, result)
    faults = [*_rule_faults(problem, result), *_sum_faults(problem, result)]
    price_bound = math.inf
    if not faults:
        prices = np.asarray(result.prices, dtype=np.float64)
        faults += _sign_faults(problem, prices)
        if not faults:
            price_bound = recompute_bound(problem, prices)
            faults += _bound_faults(result, price_bound, gap)
    if faults:
        raise VerificationError("the result does not hold:\n- " + "\n- ".join(faults))
    resting = max(0.0, price_bound - result.bound) if result.proof is Proof.BRANCH_AND_BOUND else 0.0
    words = (
        f"The plan keeps every rule and limit and earns {result.objective:,.2f}; "
        f"by the prices no plan earns more than {price_bound:,.2f}."
    )
    if resting:
        words += f" That none earns more than {result.bound:,.2f} rests on branch and bound."
    return Certificate(result.objective, price_bound, resting, words)


def _nothing_issued(problem: Problem, result: Result) -> Certificate:
    """Check the proof that no plan exists, where one is claimed that can be checked."""
    words = f"No plan was issued (status {result.status}); nothing to check."
    if result.status is Status.INFEASIBLE and result.proof is Proof.FARKAS:
        prices = np.asarray(result.prices, dtype=np.float64)
        faults = _sign_faults(problem, prices)
        left = math.nan if faults else _dual(problem, prices, of_value=0.0)
        if not faults and not left < 0:
            faults = [f"the prices do not show that the limits conflict: they leave {left!r}, which must be below 0"]
        if faults:
            raise VerificationError("the result does not hold:\n- " + "\n- ".join(faults))
        words = "The prices of the limits prove that no choice of offers keeps them all."
        return Certificate(math.nan, left, 0.0, words)
    if result.status is Status.INFEASIBLE and result.proof is Proof.RULES:
        if not _required_break_rules(problem):
            raise VerificationError("the result does not hold:\n- the required offers keep the rules of every user")
        words = "The required offers of a user break the rules."
    elif result.status is Status.INFEASIBLE:
        words = "That no plan keeps the limits rests on branch and bound; no prices prove it."
    return Certificate(math.nan, math.nan, 0.0, words)


def _required_break_rules(problem: Problem) -> bool:
    user, coupon = problem.offers.users_of(problem.required), problem.offers.coupons_of(problem.required)
    if (np.bincount(user, minlength=problem.n_users) > problem.max_per_user).any():
        return True
    group = problem.exclusive[coupon]
    pairs = list(zip(user[group >= 0].tolist(), group[group >= 0].tolist(), strict=True))
    return len(set(pairs)) < len(pairs)


def recompute_bound(problem: Problem, prices: np.ndarray) -> float:
    """Return a number that no feasible plan can exceed, from prices alone, rounded outward. Currency.

    Weak duality: for prices with the right signs, value <= sum_r y_r b_r + sum over users of the best reduced value.
    Each reduced value is a sum of t terms, whose rounding error is below t * eps * (sum of their sizes); the sums over
    users are exact (`math.fsum`). The bound adds the errors of all offers that could be chosen.
    """
    return _dual(problem, prices, of_value=1.0)


def _dual(problem: Problem, prices: np.ndarray, *, of_value: float) -> float:
    """Return the dual function with the offers' value times `of_value`, rounded outward.

    With 0 every plan that keeps the limits earns 0, so that a number below 0 proves that there is none (Farkas' lemma).
    """
    parts = []
    for y, limit in zip(prices.tolist(), problem.limits, strict=True):
        number = limit.at_most if y > 0 else limit.at_least
        if y and number is not None:
            parts += [y * number, abs(y * number) * 2.3e-16]
    for users, offers in _chunks(problem):
        reduced, error = _reduced(problem, offers, prices, of_value)
        parts.append(_best(problem, users, offers, reduced))
        parts.append(error)
    total = math.fsum(parts)
    return total + abs(total) * 1e-15


def _chunks(problem: Problem) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    offers = problem.offers
    low = 0
    while low < offers.n_users:
        if offers.start is None:
            high = min(offers.n_users, low + max(1, CHUNK // offers.n_coupons))
            first, last = low * offers.n_coupons, high * offers.n_coupons
        else:
            high = int(np.searchsorted(offers.start, offers.start[low] + CHUNK, side="right")) - 1
            high = min(offers.n_users, max(high, low + 1))
            first, last = int(offers.start[low]), int(offers.start[high])
        yield np.arange(low, high), np.arange(first, last)
        low = high


def _coefficients(problem: Problem, r: int, offers: np.ndarray, coupon: np.ndarray, user: np.ndarray) -> np.ndarray:
    total: np.ndarray | None = None
    for name, weight in problem.limits[r].weights.items():
        column = problem.column(name, offers)
        term = column if weight == 1.0 else weight * column
        total = term if total is None else total + term
    assert total is not None
    inside = problem.limit_coupons[r][coupon]
    if problem.user_group is not None:
        inside = inside & problem.limit_groups[r][problem.user_group[user]]
    return np.where(inside, total, 0.0)


def _reduced(problem: Problem, offers: np.ndarray, prices: np.ndarray, of_value: float) -> tuple[np.ndarray, float]:
    """Return each offer's reduced value, and a bound on the rounding error of any user's choice summed over users."""
    coupon, user = problem.offers.coupons_of(offers), problem.offers.users_of(offers)
    reduced = problem.offers.value[offers] * of_value  # an absent pair stays NaN
    size = np.abs(reduced)
    terms = 2
    for r in np.flatnonzero(prices).tolist():
        part = prices[r] * _coefficients(problem, r, offers, coupon, user)
        reduced -= part
        size += np.abs(part)
        terms += 2 + len(problem.limits[r].weights)
    matters = size[reduced > -1e-9 * size]
    return reduced, float(np.nansum(matters)) * terms * 2.3e-16


def _best(problem: Problem, users: np.ndarray, offers: np.ndarray, reduced: np.ndarray) -> float:
    """Return the sum of these users' best choices under the local rules."""
    user = problem.offers.users_of(offers) - users[0]
    coupon = problem.offers.coupons_of(offers)
    caps = (
        problem.max_per_user[users].copy()
        if isinstance(problem.max_per_user, np.ndarray)
        else np.full(users.size, problem.max_per_user)
    )
    forced = 0.0
    if problem.required.size:
        mine = (
            problem.required[(problem.required >= offers[0]) & (problem.required <= offers[-1])]
            if offers.size
            else problem.required[:0]
        )
        place = mine - (offers[0] if offers.size else 0)
        forced = math.fsum(reduced[place])
        np.subtract.at(caps, user[place], 1)
        group = problem.exclusive[coupon[place]]
        closed = set(zip(user[place][group >= 0].tolist(), group[group >= 0].tolist(), strict=True))
        if closed:
            shut = np.array(
                [pair in closed for pair in zip(user.tolist(), problem.exclusive[coupon].tolist(), strict=True)]
            )
            reduced = np.where(shut, -np.inf, reduced)
        reduced[place] = -np.inf
    if problem.forbidden.size and offers.size:
        banned = problem.forbidden[(problem.forbidden >= offers[0]) & (problem.forbidden <= offers[-1])] - offers[0]
        reduced[banned] = -np.inf
    keep = np.flatnonzero(reduced > 0)  # NaN (absent) fails too
    user, group, gain = user[keep], problem.exclusive[coupon[keep]], reduced[keep]
    order = np.lexsort((-gain, user))
    user, group, gain = user[order], group[order], gain[order]
    if (group >= 0).any():
        # Of each exclusive group only the first, and largest, of a user's offers counts.
        key = np.where(group >= 0, user * (int(problem.exclusive.max()) + 1) + group, -1 - np.arange(group.size))
        _, first = np.unique(key, return_index=True)
        first.sort()
        user, gain = user[first], gain[first]
    begin = np.searchsorted(user, np.arange(users.size))
    rank = np.arange(user.size) - begin[user]
    return math.fsum(gain[rank < caps[user]]) + forced


def _rule_faults(problem: Problem, result: Result) -> list[str]:
    plan, offers = result.plan, problem.offers
    index = plan.offer
    if index.size and (index.min() < 0 or index.max() >= offers.n_offers):
        return ["the plan holds offers that do not exist"]
    faults = []
    if np.unique(index).size != index.size:
        faults.append("the plan holds an offer twice")
    if np.isnan(offers.value[index]).any():
        faults.append("the plan holds pairs that are not eligible")
    user, coupon = offers.users_of(index), offers.coupons_of(index)
    shown = user if problem.user_row is None else problem.user_row[user]
    if not (np.array_equal(shown, plan.user) and np.array_equal(coupon, plan.coupon)):
        faults.append("the plan's users or coupons are not those of its offers")
    count = np.bincount(user, minlength=offers.n_users)
    over = np.flatnonzero(count > problem.max_per_user)
    if over.size:
        faults.append(f"{over.size:,} users get more than max_per_user offers (e.g. user {int(over[0])})")
    group = problem.exclusive[coupon]
    pairs = user[group >= 0] * (int(problem.exclusive.max(initial=0)) + 1) + group[group >= 0]
    if np.unique(pairs).size != pairs.size:
        faults.append("a user gets two coupons of one exclusive group")
    if not np.isin(problem.required, index).all():
        faults.append("a required offer is missing")
    if np.isin(problem.forbidden, index).any():
        faults.append("a forbidden offer is chosen")
    return faults


def _sum_faults(problem: Problem, result: Result) -> list[str]:
    index = result.plan.offer
    if index.size and (index.min() < 0 or index.max() >= problem.offers.n_offers):
        return []
    faults = []
    coupon, user = problem.offers.coupons_of(index), problem.offers.users_of(index)
    for r, limit in enumerate(problem.limits):
        used = math.fsum(_coefficients(problem, r, index, coupon, user))
        if limit.at_most is not None and used > limit.at_most:
            faults.append(f"limit {limit.name!r}: {used!r} exceeds at_most {limit.at_most!r}")
        if limit.at_least is not None and used < limit.at_least:
            faults.append(f"limit {limit.name!r}: {used!r} is below at_least {limit.at_least!r}")
        if r < len(result.limits) and result.limits[r].used != used:
            faults.append(f"limit {limit.name!r}: the result says {result.limits[r].used!r} is used, it is {used!r}")
    for name, claimed, column in (("objective", result.objective, "value"), ("spend", result.spend, "cost")):
        true = math.fsum(problem.column(column, index))
        if claimed != true:
            faults.append(f"{name} is given as {claimed!r}; the plan's is {true!r}")
    return faults


def _sign_faults(problem: Problem, prices: np.ndarray) -> list[str]:
    faults = []
    if prices.shape != (len(problem.limits),):
        return [f"there are {prices.size} prices for {len(problem.limits)} limits"]
    for y, limit in zip(prices.tolist(), problem.limits, strict=True):
        if not math.isfinite(y) or (y > 0 and limit.at_most is None) or (y < 0 and limit.at_least is None):
            faults.append(f"limit {limit.name!r}: the price {y} has no number to act on")
    return faults


def _bound_faults(result: Result, price_bound: float, gap: float) -> list[str]:
    faults = []
    slack = SLACK * max(1.0, abs(price_bound))
    if result.price_bound < price_bound - slack:
        faults.append(f"price_bound is given as {result.price_bound!r}; the prices prove {price_bound!r}")
    if result.proof is Proof.PRICES and result.bound < price_bound - slack:
        faults.append(f"bound is given as {result.bound!r}, but the prices prove only {price_bound!r}")
    if result.bound < result.objective:
        faults.append("the bound lies below the plan's own value")
    if result.status is Status.OPTIMAL and not (result.gap < CENT or result.gap <= gap * abs(result.objective)):
        faults.append(f"the status is optimal, but the gap is {result.gap}")
    return faults
