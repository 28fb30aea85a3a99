"""A plan's rules, limits, sums and bound, or the proof that none exists, against the problem alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from allocator.errors import VerificationError
from allocator.problem import Problem
from allocator.result import Proof, Result, Status
from allocator.verification.bounding import dual, rounded_dual
from allocator.verification.chancing import chance_faults, infeasible_left, without_chance
from allocator.verification.exact import exact_parts, exact_sum

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
        return _nothing_issued(problem, result)
    if problem.chance is not None:
        return _verify_chance(problem, result, gap)
    faults = _index_faults(problem, result)
    if not faults:
        faults = [*_rule_faults(problem, result), *_sum_faults(problem, result)]
    faults += _claim_faults(problem, result)
    _refuse(faults)
    price_bound, rounding = rounded_dual(problem, np.asarray(result.prices, dtype=np.float64), of_value=1.0)
    whole = problem.whole_values  # then so is what any plan earns
    _refuse(_bound_faults(result, price_bound, rounding, gap, whole=whole))
    resting = max(0.0, price_bound - result.bound) if result.proof is Proof.BRANCH_AND_BOUND else 0.0
    words = (
        f"The plan keeps every rule and limit and earns {result.objective:,.2f}; "
        f"by the prices no plan earns more than {price_bound:,.2f}."
    )
    if whole and result.bound < price_bound and not resting:
        words += f" All values are whole numbers, so that none earns more than {result.bound:,.2f}."
    if resting:
        words += f" That none earns more than {result.bound:,.2f} rests on branch and bound."
    return Certificate(result.objective, price_bound, resting, words)


def _verify_chance(problem: Problem, result: Result, gap: float) -> Certificate:
    """Check a plan of which a limit must hold with a probability."""
    plain, told = without_chance(problem, result)
    faults = _index_faults(plain, told)
    if not faults:
        faults = [*_rule_faults(plain, told), *_sum_faults(plain, told), *_claim_faults(plain, told)]
    _refuse(faults)
    faults, bound, rounding = chance_faults(problem, result)
    _refuse(faults)
    _refuse(_bound_faults(result, bound, rounding, gap))
    assert problem.chance is not None
    words = (
        f"The plan keeps every rule and limit, {problem.chance.limit!r} with a probability of {problem.chance.confidence:g}, "
        f"and earns {result.objective:,.2f}; by the prices no plan earns more than {bound:,.2f}."
    )
    return Certificate(result.objective, bound, 0.0, words)


def _refuse(faults: list[str]) -> None:
    if faults:
        raise VerificationError("the result does not hold:\n- " + "\n- ".join(faults))


def _nothing_issued(problem: Problem, result: Result) -> Certificate:
    """Check the proof that no plan exists, where one is claimed that can be checked."""
    if len(result.plan):
        _refuse([f"the status is {result.status}, but {len(result.plan):,} offers are issued"])
    if not math.isnan(result.objective):
        _refuse([f"the status is {result.status}, but the objective is given as {result.objective!r}"])
    if result.status is Status.NO_PLAN:
        return Certificate(math.nan, math.nan, 0.0, f"No plan was issued (status {result.status}); nothing to check.")
    left = math.nan
    if result.proof is Proof.FARKAS:
        by_chance = problem.chance is not None and len(result.prices) > len(problem.limits)
        faults = [] if by_chance else _price_faults(problem, result)
        if not faults:
            weights = np.asarray(result.prices, dtype=np.float64)
            left = infeasible_left(problem, result) if by_chance else dual(problem, weights, of_value=0.0)
            if not left < 0:
                faults = [
                    f"the prices do not show that the limits conflict: they leave {left!r}, which must be below 0"
                ]
        _refuse(faults)
        words = "The prices of the limits prove that no choice of offers keeps them all."
    elif result.proof is Proof.RULES:
        if not _required_break_rules(problem):
            _refuse(["the required offers keep the rules of every user"])
        words = "The required offers of a user break the rules."
    elif result.proof is Proof.BRANCH_AND_BOUND:
        words = "That no plan keeps the limits rests on branch and bound; no prices prove it."
    else:
        _refuse([f"the status is {result.status}, but the proof is given as {result.proof}, which shows no conflict"])
    return Certificate(math.nan, left, 0.0, words)


def _required_break_rules(problem: Problem) -> bool:
    user, coupon = problem.offers.users_of(problem.required), problem.offers.coupons_of(problem.required)
    if (np.bincount(user, minlength=problem.n_users) > problem.max_per_user).any():
        return True
    return _doubled_groups(problem, user, coupon)


def _doubled_groups(problem: Problem, user: np.ndarray, coupon: np.ndarray) -> bool:
    """Return whether a user has two of these coupons from one exclusive group."""
    group = problem.exclusive[coupon].astype(np.int64)
    pairs = user[group >= 0] * (int(problem.exclusive.max(initial=0)) + 1) + group[group >= 0]
    return np.unique(pairs).size != pairs.size


def _index_faults(problem: Problem, result: Result) -> list[str]:
    """Check that the plan's offers exist; nothing else can be checked before."""
    index = np.asarray(result.plan.offer)
    if index.ndim != 1 or index.dtype.kind not in "iu":
        return [f"the plan's offers are no indices: {index.dtype} of shape {index.shape}"]
    if index.size and (index.min() < 0 or index.max() >= problem.offers.n_offers):
        return ["the plan holds offers that do not exist"]
    return []


def _rule_faults(problem: Problem, result: Result) -> list[str]:
    plan, offers = result.plan, problem.offers
    index = plan.offer
    faults = []
    if not (np.diff(index) > 0).all() and np.unique(index).size != index.size:
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
    if (problem.exclusive >= 0).any() and _doubled_groups(problem, user, coupon):
        faults.append("a user gets two coupons of one exclusive group")
    if problem.required.size and not np.isin(problem.required, index).all():
        faults.append("a required offer is missing")
    if problem.forbidden.size and np.isin(problem.forbidden, index).any():
        faults.append("a forbidden offer is chosen")
    return faults


def _sum_faults(problem: Problem, result: Result) -> list[str]:
    index = result.plan.offer
    faults = []
    for r, (limit, used) in enumerate(zip(problem.limits, _uses(problem, index), strict=True)):
        if limit.at_most is not None and used > limit.at_most:
            faults.append(f"limit {limit.name!r}: {used!r} exceeds at_most {limit.at_most!r}")
        if limit.at_least is not None and used < limit.at_least:
            faults.append(f"limit {limit.name!r}: {used!r} is below at_least {limit.at_least!r}")
        if r < len(result.limits) and result.limits[r].used != used:
            faults.append(f"limit {limit.name!r}: the result says {result.limits[r].used!r} is used, it is {used!r}")
    for name, claimed, column in (("objective", result.objective, "value"), ("spend", result.spend, "cost")):
        true = exact_sum(problem.column(column, index))
        if claimed != true:
            faults.append(f"{name} is given as {claimed!r}; the plan's is {true!r}")
    return faults


def _uses(problem: Problem, index: np.ndarray) -> list[float]:
    """Return each limit's exact sum over these offers, rounded once.

    Offers that the same limits cover are one cell. Each measure is added up once for each cell, without any rounding;
    a limit's sum is that of its cells, so that 200 limits cost little more than one.
    """
    offers = problem.offers
    if not index.size or not problem.limits:
        return [0.0] * len(problem.limits)
    class_of = np.unique(problem.limit_coupons, axis=1, return_inverse=True)[1].reshape(-1)
    typical = np.unique(class_of, return_index=True)[1]  # a coupon of each class
    cell = class_of[offers.coupons_of(index)]
    if problem.user_group is not None:
        cell = cell + typical.size * problem.user_group[offers.users_of(index)].astype(np.int64)
    order = np.argsort(cell, kind="stable")
    cells, start = np.unique(cell[order], return_index=True)
    group, coupon = cells // typical.size, typical[cells % typical.size]
    columns: dict[str, np.ndarray] = {}
    parts: dict[tuple[tuple[str, float], ...], np.ndarray] = {}
    uses = []
    for r, limit in enumerate(problem.limits):
        key = tuple(limit.weights.items())
        if key not in parts:
            for name in limit.weights:
                if name not in columns:
                    columns[name] = problem.column(name, index)[order]
            terms = [columns[name] if weight == 1.0 else weight * columns[name] for name, weight in key]
            total = terms[0]
            for term in terms[1:]:
                total = total + term
            parts[key] = exact_parts(total, start)
        covered = problem.limit_coupons[r][coupon] & problem.limit_groups[r][group]
        uses.append(exact_sum(parts[key][:, covered].reshape(-1)))
    return uses


def _claim_faults(problem: Problem, result: Result) -> list[str]:
    """Check what the result says of its limits, prices and proof, beside the sums."""
    faults = _price_faults(problem, result)
    if len(result.limits) != len(problem.limits):
        faults.append(f"the result tells the use of {len(result.limits)} limits; the problem has {len(problem.limits)}")
    for y, limit, use in zip(np.asarray(result.prices).tolist(), problem.limits, result.limits, strict=False):
        told = (use.name, use.measure, use.at_least, use.at_most)
        if told != (limit.name, limit.measure_name, limit.at_least, limit.at_most):
            faults.append(f"limit {limit.name!r}: the result tells other terms: {told}")
        if use.price != y:
            faults.append(f"limit {limit.name!r}: its price is told as {use.price!r} and as {y!r}")
    if result.proof not in (Proof.PRICES, Proof.BRANCH_AND_BOUND):
        faults.append(f"the proof is given as {result.proof}, which bounds no plan")
    if result.status not in (Status.OPTIMAL, Status.FEASIBLE):
        faults.append(f"the status {result.status!r} is not known")
    return faults


def _price_faults(problem: Problem, result: Result) -> list[str]:
    prices = np.asarray(result.prices, dtype=np.float64)
    if prices.shape != (len(problem.limits),):
        return [f"there are {prices.size} prices for {len(problem.limits)} limits"]
    if tuple(result.prices) != tuple(limit.name for limit in problem.limits):
        return ["the prices are not named as the limits are"]
    return [
        f"limit {limit.name!r}: the price {y} has no number to act on"
        for y, limit in zip(prices.tolist(), problem.limits, strict=True)
        if not math.isfinite(y) or (y > 0 and limit.at_most is None) or (y < 0 and limit.at_least is None)
    ]


def _bound_faults(result: Result, price_bound: float, rounding: float, gap: float, *, whole: bool = False) -> list[str]:
    """Compare so that a NaN, wherever it stands, is a fault."""
    faults = []
    # The recomputed bound makes room for all rounding; the solver's plain sum may lie below it by twice that.
    slack = SLACK * max(1.0, abs(price_bound)) + 2.0 * rounding
    if not price_bound - slack <= result.price_bound < math.inf:
        faults.append(f"price_bound is given as {result.price_bound!r}; the prices prove {price_bound!r}")
    proven = math.floor(price_bound) if whole else price_bound - slack
    if result.proof is Proof.PRICES and not result.bound >= proven:
        faults.append(f"bound is given as {result.bound!r}, but the prices prove only {price_bound!r}")
    if not result.objective <= result.bound < math.inf:
        faults.append(f"bound is given as {result.bound!r}; the plan's own value is {result.objective!r}")
    elif result.status is Status.OPTIMAL and not (result.gap < CENT or result.gap <= gap * abs(result.objective)):
        faults.append(f"the status is optimal, but the gap is {result.gap}")
    return faults
