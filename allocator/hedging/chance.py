"""A limit that must hold with a probability: a plan that keeps it, and a bound on all that do.

The percentile of spend is a function of three sums over the plan (`allocator.risk.surrogate`), linear in one of them and
curved in D and V. A linear limit that touches it at some (D, V) gives plans; moved until their true percentile is the
budget, it gives a good one. The bound covers the plane of D and V with boxes (`allocator.hedging.covering`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from allocator.clock import working_time
from allocator.hedging.covering import Cover, Dual, Leaf
from allocator.hedging.standins import MEAN, StandIns
from allocator.plan import Plan
from allocator.problem import Problem
from allocator.result import ChancePiece, ChanceProof, Diagnosis, LimitUse, Prices, Proof, Result, Status
from allocator.risk.surrogate import Box, Stand, stand_below, tangent

CENT = 0.01  # currency
PLANS = 8  # solves at most, in which the stand-in is moved until the percentile is the budget
FIRST_SHARE = 0.6  # of the time that is left for plans, for the next one
CLOSE = 1e-7  # of the budget; a percentile as near to it counts as on it
LITTLE = 0.1  # of the gap asked for: what the rest of the budget would earn; less is not worth another solve
PATIENCE = 0.5  # of the time, for the plan; the rest for the bound
NEARLY = 1.05  # times what no box goes below; the rest would take many small ones
CLEARLY = 0.05  # of the plan's value; a box whose plans earn so much less is not looked at any closer


@dataclass(frozen=True, eq=False)
class Priced:
    """Prices for a problem's limits, the bound that they prove (currency), and the offers chosen at them."""

    prices: np.ndarray
    bound: float
    hopeless: bool  # below the value of any plan: there is none
    chosen: np.ndarray


@dataclass(frozen=True)
class Tools:
    """What the search needs of the solver.

    Attributes
    ----------
    solve
        `solve(problem, seconds, start)`: a plan; `start` are prices of a problem much like it, or `None`.
    price
        `price(problem, start, deadline, enough)`: prices alone; a bound below `enough` need not be any tighter.
    dual
        The dual of a problem as a function of prices.
    """

    solve: Callable[[Problem, float, np.ndarray | None], Result]
    price: Callable[[Problem, np.ndarray | None, float, float], Priced]
    dual: Callable[[Problem], Dual]


@dataclass(frozen=True, eq=False)
class Found:
    """A plan that keeps the limit, the stand-in under which it was found, and its percentile (currency)."""

    result: Result
    stand: Stand
    percentile: float


def solve_with_chance(problem: Problem, tools: Tools, time_limit: float, gap: float) -> Result:
    """Return the best plan found that keeps the limit with the asked probability, and a bound on all that do."""
    begin = working_time()
    standins = StandIns.of(problem)
    root = tools.price(standins.with_stand(standins.loosest, standins.budget), None, begin + time_limit, -math.inf)
    found, last = _plan(standins, root, tools, begin, time_limit, gap)
    if found is None and last.status is Status.INFEASIBLE:
        return _explained(problem, standins, tools, last, time_limit - (working_time() - begin))
    best = None if found is None else found.result
    least = -math.inf if best is None else best.objective
    enough = least - CLEARLY * abs(least) if best is not None else -math.inf
    worst = tools.price(standins.with_worst(), None, begin + time_limit, enough)
    if worst.bound > least:
        sure = tools.solve(standins.with_worst(), max(0.1, time_limit - (working_time() - begin)), worst.prices)
        if sure.status in (Status.OPTIMAL, Status.FEASIBLE) and sure.objective > least:
            best = sure
        worst = dataclasses.replace(worst, bound=min(worst.bound, sure.price_bound)) if sure.plan else worst
    if best is None:
        return _without_plan(problem, last)
    whole = Leaf(standins.largest, standins.loosest, np.append(root.prices, [0.0, 0.0]), root.bound)
    leaves = _leaves(standins, whole, found, best, tools, gap, begin + time_limit)
    if found is None or best is not found.result:
        found = Found(best, standins.loosest, standins.percentile(standins.covered(best.plan)))
    return _result(problem, standins, found, leaves, worst, gap, begin)


def _plan(
    standins: StandIns, root: Priced, tools: Tools, begin: float, time_limit: float, gap: float
) -> tuple[Found | None, Result]:
    """Move a stand-in until the plan that it gives has its percentile at the budget; return the best plan that keeps it.

    Also returns a result; infeasible where what every plan keeps leaves none.
    """
    stand, number, start = standins.loosest, standins.budget, root.prices
    if not root.hopeless:
        stand = tangent(standins.surrogate, standins.point(standins.covered(Plan.of(standins.plain, root.chosen))))
    best, number_kept, before = None, -math.inf, math.nan
    for turn in range(PLANS):
        left = PATIENCE * time_limit - (working_time() - begin)
        if turn and left <= 0:
            break
        found = tools.solve(standins.with_stand(stand, number), max(0.1, FIRST_SHARE * left), start)
        if found.status not in (Status.OPTIMAL, Status.FEASIBLE):
            if stand is standins.loosest:
                return best, found
            if best is None:
                # A stand-in that leaves no plan says nothing of others; what every plan keeps does.
                stand, number = standins.loosest, standins.budget
            else:  # The stand-in asks for more than there is; go half of the way back.
                number = 0.5 * (number + number_kept)
            continue
        covered, start = standins.covered(found.plan), np.asarray(found.prices)
        percentile = standins.percentile(covered)
        over, price = percentile - standins.budget, float(start[-1])
        again = found.objective == before
        if over <= 0 and (best is None or found.objective > best.result.objective):
            best, number_kept = Found(found, stand, percentile), number
        worthless = -over * price <= LITTLE * max(CENT, gap * abs(found.objective))
        if over <= 0 and (again or worthless or -over <= CLOSE * standins.budget):
            break
        before = found.objective
        touching = tangent(standins.surrogate, standins.point(covered))
        # What the new stand-in leaves between its own value at this plan and the percentile is no part of it.
        value = _value(standins, touching, covered)
        stand, number = touching, standins.budget - (percentile - value) - 0.1 * CLOSE * standins.budget
    return best, found


def _leaves(
    standins: StandIns, whole: Leaf, found: Found | None, best: Result, tools: Tools, gap: float, deadline: float
) -> list[Leaf]:
    """Return boxes and their bounds.

    They need not be better than the plan's value, the gap asked for, and what the budget left beside the surrogate's
    percentile of the plan would earn: no box is bounded below that, however small. Nor is one that holds the plan's own
    sums bounded below what prices prove of these.
    """
    covered = standins.covered(best.plan)
    beside = max(0.0, standins.budget - standins.surrogate_percentile(covered))
    tolerance = max(0.9 * CENT, gap * abs(best.objective))
    price_of_it = max(float(whole.prices[-3]), 0.0 if found is None else float(found.result.prices[-1]))
    target = best.objective + tolerance + NEARLY * price_of_it * beside
    enough = best.objective - CLEARLY * abs(best.objective)
    if whole.bound <= target:
        return [whole]

    def price(box: Box, near: tuple[float, float], start: np.ndarray | None) -> Leaf:
        stand = stand_below(standins.surrogate, box, near)
        priced = tools.price(standins.with_stand(stand, standins.budget, box), start, deadline, enough)
        return Leaf(box, stand, priced.prices, priced.bound)

    cover = Cover(standins, tools.dual(standins.with_sums()), price, target, deadline)
    cover.add(cover.of_sums(whole))
    if found is not None:
        prices = np.append(np.asarray(found.result.prices), [0.0, 0.0])
        cover.add(cover.of_sums(dataclasses.replace(whole, stand=found.stand, prices=prices)))
    if not cover.supports:
        return [whole]
    if found is not None:
        own = standins.most(*standins.point(covered))
        least = min(support.bound(own) for support in cover.supports)
        cover.target = max(target, best.objective + tolerance + NEARLY * (least - best.objective))
    return cover.branch(whole)


def _value(standins: StandIns, stand: Stand, offers: np.ndarray) -> float:
    """Return what a stand-in takes for the percentile of these offers, currency."""
    d, v = standins.point(offers)
    mean = float(standins.plain.column(MEAN, offers).sum())
    return mean - standins.surrogate.level * d + stand.offset + stand.per_growing * d + stand.per_variance * v


def _result(
    problem: Problem, standins: StandIns, found: Found, leaves: list[Leaf], worst: Priced, gap: float, begin: float
) -> Result:
    """Bring plan and proof together. The prices told are those at the plan: of a stand-in that touches the percentile there."""
    n, best = len(problem.limits), found.result
    pieces = tuple(
        ChancePiece(
            leaf.box.growing,
            leaf.box.variance,
            leaf.stand.offset,
            leaf.stand.per_growing,
            leaf.stand.per_variance,
            leaf.prices,
            leaf.bound,
        )
        for leaf in leaves
    )
    pieces = (*pieces, ChancePiece(None, None, 0.0, 0.0, 0.0, worst.prices, worst.bound))
    bound = max(best.objective, *(piece.bound for piece in pieces))
    distance = bound - best.objective
    optimal = distance < CENT or distance <= gap * abs(best.objective)
    plan = Plan.of(problem, best.plan.offer)
    prices = np.asarray(best.prices)[: n + 1]
    names = (*(limit.name for limit in problem.limits), standins.chance.name)
    uses = [dataclasses.replace(use, price=float(prices[r])) for r, use in enumerate(best.limits[:n])]
    uses.append(
        LimitUse(
            standins.chance.name,
            _measure(standins.chance.name),
            found.percentile,
            None,
            standins.budget,
            float(prices[n]),
        )
    )
    seconds = {**best.seconds, "total": working_time() - begin}
    seconds["prices"] = max(0.0, seconds["total"] - seconds["integer"])
    return Result(
        status=Status.OPTIMAL if optimal else Status.FEASIBLE,
        objective=best.objective,
        bound=bound,
        price_bound=bound,
        prices=Prices(names, prices),
        proof=Proof.PRICES,
        plan=plan,
        passes=best.passes,
        seconds=seconds,
        limits=tuple(uses),
        spend=best.spend,
        chance=ChanceProof(found.percentile, pieces),
    )


def _explained(problem: Problem, standins: StandIns, tools: Tools, found: Result, seconds: float) -> Result:
    """Say why there is no plan: without the chance already, or else by a limit that every plan under it keeps."""
    plain = tools.solve(dataclasses.replace(problem, chance=None), max(1.0, seconds), None)
    if plain.status is Status.INFEASIBLE or found.diagnosis is None:
        return plain if plain.status is Status.INFEASIBLE else found
    note = (
        f"What `{standins.chance.name}` needs is given without the chance of single redemptions, so that a little more may be "
        "needed."
    )
    return dataclasses.replace(found, diagnosis=_in_words(found.diagnosis, standins.chance.name), notes=(note,))


def _in_words(diagnosis: Diagnosis, name: str) -> Diagnosis:
    """Name the stand-in's measure as a planner knows it."""
    conflicts = tuple(
        dataclasses.replace(conflict, measure=_measure(name)) if conflict.name == name else conflict
        for conflict in diagnosis.conflicts
    )
    further = tuple(_in_words(other, name) for other in diagnosis.further)
    return dataclasses.replace(diagnosis, conflicts=conflicts, further=further)


def _measure(name: str) -> str:
    return f"cost at {name.split(' at ')[-1]}"


def _without_plan(problem: Problem, last: Result) -> Result:
    """Return that no plan was found, in the problem's own terms."""
    names = tuple(limit.name for limit in problem.limits)
    return dataclasses.replace(
        last,
        status=Status.NO_PLAN,
        objective=math.nan,
        bound=math.nan,
        price_bound=math.nan,
        prices=Prices(names, np.zeros(len(names))),
        proof=Proof.NONE,
        plan=Plan.of(problem, np.empty(0, np.int64)),
        limits=(),
        spend=0.0,
        diagnosis=None,
    )


def comparable(problem: Problem, result: Result) -> Problem:
    """Return a problem without chance whose linear limit touches the chance limit at the result's plan.

    Simpler strategies can keep it, which know nothing of probabilities.
    """
    standins = StandIns.of(problem)
    covered = standins.covered(result.plan)
    touching = tangent(standins.surrogate, standins.point(covered))
    return standins.with_stand(touching, _value(standins, touching, covered))
