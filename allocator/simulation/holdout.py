"""A random control group, held out of a plan so that the plan can be measured afterwards.

Who is compared with whom? An offer's effect can only be read off users who would have got the same coupon and did not.
So everyone is planned for first, under limits that are scaled up by 1 / (1 - share); the control group is drawn at
random *within* what that plan gives (coupons x attributes x value), and the rest is then solved under the limits as
they stand. This has three properties that neither withholding from a finished plan nor removing users before planning
has together:

- users held out and users kept are exchangeable within a stratum, because strata were fixed before the draw: the
  difference of their outcomes is an unbiased estimate, coupon by coupon, with no model of the targeting;
- the budget and every other limit are used in full and kept exactly by those who do get coupons;
- each held-out user's coupon is known, and not guessed from prices, so ties and limits on few offers do no harm.

The second solve changes the coupon of few users, near indifference; they are compared by the coupon they were planned
for ("intention to treat"), counted, and the count is part of the summary.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from allocator.errors import UsageError
from allocator.limit import Limit
from allocator.plan import Plan
from allocator.problem import Problem
from allocator.result import Status
from allocator.shares import percent
from allocator.solving import Progress, solve
from allocator.tables.user_columns import Attribute

MOST_VALUE_BINS = 5
PER_BIN = 10  # held-out users that a bin of values is worth
LEAST_CONTROLS = 2  # held-out users with a planned coupon, below which there is no variance and no interval


@dataclass(frozen=True, eq=False)
class Holdout:
    """Who was held out, of whom, and what they would have got.

    Attributes
    ----------
    share
        Chance of being held out, the same for every user that was randomised.
    held
        `(n_users,)` bool, in the order of the problem's users.
    randomised
        `(n_users,)` bool; not so: users with required offers, who must get them.
    stratum
        `(n_users,)` int32 index into `strata`.
    planned
        `(n_users,)` int32 index into `coupons`: what the user was planned to get before the draw.
    value, cost
        `(n_users,)` currency: what the planned coupons were expected to earn and to cost; 0 for none.
    strata, coupons
        Names; coupons of one user are joined by `+`, and `coupons[0]` is empty: none.
    """

    share: float
    seed: int
    held: np.ndarray
    randomised: np.ndarray
    stratum: np.ndarray
    planned: np.ndarray
    value: np.ndarray
    cost: np.ndarray
    strata: tuple[str, ...]
    coupons: tuple[str, ...]

    @property
    def controls(self) -> int:
        """Number of held-out users who would have got a coupon: the control group."""
        return int((self.held & (self.planned > 0)).sum())

    def moved(self, plan: Plan) -> int:
        """Count the users not held out whose coupons in the final plan are not those they were planned for."""
        codes, names = bundles(plan)
        index = {name: code for code, name in enumerate(self.coupons)}
        here = np.array([index.get(name, -1) for name in names])[codes]
        return int(((here != self.planned) & ~self.held).sum())

    def control_table(self, problem: Problem) -> pa.Table:
        """Return holdout.parquet: `user_id`, `stratum`, `propensity` (of being held out), `coupon` (that was withheld)."""
        rows = np.flatnonzero(self.held)
        return pa.table(
            {
                "user_id": _ids(problem, rows),
                "stratum": _coded(self.stratum[rows], self.strata),
                "propensity": np.full(rows.size, self.share),
                "coupon": _coded(self.planned[rows], self.coupons),
            }
        )

    def propensity_table(self, problem: Problem, plan: Plan) -> pa.Table:
        """Return propensities.parquet, one row a user.

        `user_id`, `stratum`, `planned` (coupon before the draw, empty: none) with `planned_value` and `planned_cost`,
        `issued` (coupon in the plan), `held_out`, and `propensity`: the chance of the arm, held out or not, that the
        user is in.
        """
        codes, names = bundles(plan)
        chance = np.where(self.held, self.share, 1.0 - self.share)
        return pa.table(
            {
                "user_id": _ids(problem, np.arange(problem.n_users)),
                "stratum": _coded(self.stratum, self.strata),
                "planned": _coded(self.planned, self.coupons),
                "planned_value": self.value,
                "planned_cost": self.cost,
                "issued": _coded(codes, names),
                "held_out": self.held,
                "propensity": np.where(self.randomised, chance, 1.0),
            }
        )


def hold_out(
    problem: Problem,
    share: float,
    *,
    seed: int = 0,
    attributes: Mapping[str, Attribute] | None = None,
    time_limit: float = 60.0,
    gap: float = 1e-9,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Holdout | None:
    """Draw a control group; `without_held` then gives the problem of those who may get coupons.

    Parameters
    ----------
    share
        Of the users, above 0 and at most 0.5.
    attributes
        Of the users, `(n_users,)` each in the order of the problem's users: they divide the strata.
    time_limit, gap, threads, progress
        As for `solve`, of the plan that the strata are made from.

    Returns
    -------
    holdout
        `None` where there is no plan for everyone in the first place: `solve` says why.

    Raises
    ------
    UsageError
        Where the share makes no sense, or leaves fewer than two users to compare with.
    """
    check_share(share)
    efforts: dict[str, Any] = {"gap": gap, "threads": threads, "seed": seed, "progress": progress}
    everyone = solve(_scaled(problem, share), time_limit / 2, **efforts)
    if everyone.status not in (Status.OPTIMAL, Status.FEASIBLE):
        # At-least limits that hold for all users may not hold scaled up; strata of the plan as it stands do as well.
        everyone = solve(problem, time_limit / 2, **efforts)
    if everyone.status not in (Status.OPTIMAL, Status.FEASIBLE):
        return None
    planned, coupons = bundles(everyone.plan)
    randomised = np.ones(problem.n_users, bool)
    randomised[problem.offers.users_of(problem.required)] = False
    user, n = problem.offers.users_of(everyone.plan.offer), problem.n_users
    value, cost = (np.bincount(user, weights=part, minlength=n) for part in (everyone.plan.value, everyone.plan.cost))
    worth = np.where(planned > 0, value, _best_value(problem))
    stratum, strata = _strata(planned, coupons, worth, attributes or {}, share)
    held = _draw(stratum, randomised, len(strata), share, seed)
    drawn = Holdout(share, seed, held, randomised, stratum, planned, value, cost, strata, coupons)
    if drawn.controls < LEAST_CONTROLS:
        raise UsageError(
            f"a holdout of {percent(share, None)} of {problem.n_users:,} users leaves {drawn.controls} to compare with those who get "
            f"one of the {int((planned > 0).sum()):,} planned coupons; hold out more (`allocate design` says how many)"
        )
    return drawn


def check_share(share: float) -> None:
    """Raise `UsageError` unless the share is above 0 and at most 0.5."""
    if not 0.0 < share <= 0.5:
        raise UsageError(
            f"the holdout is {percent(share, None)} of the users; it must be above 0 and at most 50 %, such as 5%"
        )


def without_held(problem: Problem, holdout: Holdout) -> Problem:
    """Return the problem in which nobody who is held out can get an offer; limits stay, arrays are shared."""
    offers = problem.offers
    if offers.start is None:
        blocked = np.flatnonzero(np.repeat(holdout.held, offers.n_coupons))
        blocked = blocked[~np.isnan(offers.value[blocked])]
    else:
        blocked = np.flatnonzero(np.repeat(holdout.held, np.diff(offers.start)))
    return dataclasses.replace(problem, forbidden=np.union1d(problem.forbidden, blocked))


def bundles(plan: Plan) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return each user's coupons as a code `(n_users,)` int32, and the names of the codes; 0 is none."""
    problem = plan.problem
    user, coupon = problem.offers.users_of(plan.offer), problem.offers.coupons_of(plan.offer)
    order = np.lexsort((coupon, user))
    user, coupon = user[order], coupon[order]
    code, names = np.zeros(problem.n_users, np.int64), [""]
    first = np.flatnonzero(np.diff(user, prepend=-1))
    nth = np.arange(user.size) - np.repeat(first, np.diff(first, append=user.size))
    for n in range(int(nth.max(initial=-1)) + 1):
        now = nth == n
        code[user[now]] = code[user[now]] * problem.n_coupons + coupon[now] + len(names)
        found, inverse = np.unique(code, return_inverse=True)
        names = [_joined(value, names, problem) for value in found.tolist()]
        if names[0]:  # everyone has a coupon: 0 stays the code of none
            names, inverse = ["", *names], inverse + 1
        code = inverse.astype(np.int64)
    return code.astype(np.int32), tuple(names)


def _joined(code: int, names: Sequence[str], problem: Problem) -> str:
    """Return the name of a code in which a further coupon may have been folded in."""
    if code < len(names):
        return names[code]
    before, coupon = divmod(code - len(names), problem.n_coupons)
    return f"{names[before]}+{problem.coupon_ids[coupon]}" if names[before] else problem.coupon_ids[coupon]


def _scaled(problem: Problem, share: float) -> Problem:
    """Return the problem whose plan, less the holdout, uses the limits as they stand, about."""
    scale = 1.0 / (1.0 - share)

    def side(limit: Limit, number: float | None, rounded: Any) -> float | None:
        if number is None:
            return None
        # Counts are whole: an at-most of 1 stays reachable, and so does an at-least of 1.
        return float(rounded(number * scale)) if limit.measure == "count" else number * scale

    limits = tuple(
        dataclasses.replace(
            limit,
            at_least=side(limit, limit.at_least, math.floor),
            at_most=side(limit, limit.at_most, math.ceil),
        )
        for limit in problem.limits
    )
    return dataclasses.replace(problem, limits=limits)


def _best_value(problem: Problem) -> np.ndarray:
    """Return the value of each user's best offer, `(n_users,)` currency; 0 where there is none."""
    offers = problem.offers
    if offers.start is None:
        best = np.fmax.reduce(offers.value.reshape(-1, offers.n_coupons), axis=1)
    else:
        best = np.full(offers.n_users, np.nan)
        some = np.flatnonzero(np.diff(offers.start))
        best[some] = np.fmax.reduceat(offers.value, offers.start[some])
    return np.nan_to_num(best, nan=0.0)


def _strata(
    planned: np.ndarray, coupons: Sequence[str], worth: np.ndarray, attributes: Mapping[str, Attribute], share: float
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Cross planned coupons with attributes, then cut each cell by value into as many bins as its holdout can fill."""
    cell, names = planned.astype(np.int64), [name or "no coupon" for name in coupons]
    for title, attribute in attributes.items():
        width = attribute.values.size
        found, cell = np.unique(cell * width + attribute.code, return_inverse=True)
        names = [f"{names[code // width]} / {title} {attribute.values[code % width]}" for code in found.tolist()]
    sizes = np.bincount(cell, minlength=len(names))
    bins = np.clip((sizes * share / PER_BIN).astype(np.int64), 1, MOST_VALUE_BINS)
    order = np.lexsort((worth, cell))
    rank = np.empty(cell.size, np.int64)
    rank[order] = np.arange(cell.size) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    found, stratum = np.unique(
        cell * MOST_VALUE_BINS + rank * bins[cell] // np.maximum(sizes[cell], 1), return_inverse=True
    )
    labels = []
    for code in found.tolist():
        base, place = divmod(code, MOST_VALUE_BINS)
        labels.append(names[base] if bins[base] == 1 else f"{names[base]} / value {place + 1} of {bins[base]}")
    return stratum.astype(np.int32), tuple(labels)


def _draw(stratum: np.ndarray, randomised: np.ndarray, n_strata: int, share: float, seed: int) -> np.ndarray:
    """Draw within each stratum so that every randomised user is held out with exactly the chance `share`.

    Numbers of users are rounded along the cumulated strata with one random start (systematic sampling: Sarndal,
    Swensson and Wretman 1992, section 3.4), so that their sum is right to one user and no stratum is favoured.
    """
    rng = np.random.default_rng([seed, 0x401D])
    users = np.flatnonzero(randomised)
    sizes = np.bincount(stratum[users], minlength=n_strata)
    ends = np.floor(np.cumsum(sizes) * share + rng.random())
    take = np.diff(ends, prepend=0.0).astype(np.int64)
    order = np.lexsort((rng.random(users.size), stratum[users]))
    rank = np.arange(users.size) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    held = np.zeros(randomised.size, bool)
    held[users[order[rank < np.repeat(take, sizes)]]] = True
    return held


def _ids(problem: Problem, users: np.ndarray) -> Any:
    """Return users' ids, or their numbers where the problem was made from arrays."""
    if problem.user_ids is None:
        return pa.array(users)
    ids = problem.user_ids.take(pa.array(users))
    return ids.cast(ids.type.value_type) if pa.types.is_dictionary(ids.type) else ids


def _coded(code: np.ndarray, names: Sequence[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(code, pa.int32()), pa.array(list(names), pa.string()))
