"""A limit that must hold with a probability: a plan that keeps it, and a bound on all that do.

The percentile of spend is a function of three sums over the plan (`allocator.risk.surrogate`), linear in one of them and
curved in D and V. A linear limit that touches it at some (D, V) gives plans; moved until their true percentile is the
budget, it gives a good one. The bound is a branch and bound in the plane of D and V: in a box of both, a linear function
below the percentile gives a limit that all plans of the box keep, and prices for that limit bound them. The box with
the largest bound is cut around the sums that its own solution has, until the bound meets the plan.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

import numpy as np

from allocator.hedging.standins import MEAN, StandIns
from allocator.plan import Plan
from allocator.problem import Problem
from allocator.result import ChancePiece, ChanceProof, Diagnosis, LimitUse, Prices, Proof, Result, Status
from allocator.risk.surrogate import Box, Stand, stand_below, tangent

CENT = 0.01  # currency
PLANS = 8  # solves at most, in which the stand-in is moved until the percentile is the budget
FIRST_SHARE = 0.6  # of the time that is left for plans, for the next one
CLOSE = 1e-7  # of the budget; a percentile as near to it counts as on it
PATIENCE = 0.5  # of the time, for the plan; the rest for the bound
CLEARLY = 0.05  # of the plan's value; a box whose plans earn so much less is not looked at any closer
MOST_PIECES = 60
FIRST_WIDTH = 0.1  # of D and V: the middle part where a wide box is cut in three
EDGE = 0.02  # of a range
NARROWER = 0.1  # how much narrower the middle part is than the box, where that is less


@dataclass(frozen=True, eq=False)
class Priced:
    """Prices for a problem's limits, the bound that they prove (currency), and the offers chosen at them."""

    prices: np.ndarray
    bound: float
    hopeless: bool  # below the value of any plan: there is none
    chosen: np.ndarray


@dataclass(frozen=True)
class Tools:
    """What the search needs of the solver: `solve(problem, seconds)` and `price(problem, start, deadline, enough)`.

    A bound below `enough` need not be any tighter.
    """

    solve: Callable[[Problem, float], Result]
    price: Callable[[Problem, np.ndarray | None, float, float], Priced]


@dataclass(frozen=True, eq=False)
class Leaf:
    """A box, its stand-in, and the prices for that."""

    box: Box
    stand: Stand
    priced: Priced


def solve_with_chance(problem: Problem, tools: Tools, time_limit: float, gap: float) -> Result:
    """Return the best plan found that keeps the limit with the asked probability, and a bound on all that do."""
    begin = monotonic()
    standins = StandIns.of(problem)
    best, last = _plan(standins, tools, begin, time_limit)
    if best is None and last.status is Status.INFEASIBLE:
        return _explained(problem, standins, tools, last, time_limit - (monotonic() - begin))
    least = -math.inf if best is None else best.objective
    enough = least - CLEARLY * abs(least) if best is not None else -math.inf
    root = _leaf(standins, standins.largest, None, tools, begin + time_limit, enough)
    worst = tools.price(standins.with_worst(), None, begin + time_limit, enough)
    if worst.bound > least:
        sure = tools.solve(standins.with_worst(), max(0.1, time_limit - (monotonic() - begin)))
        if sure.status in (Status.OPTIMAL, Status.FEASIBLE) and sure.objective > least:
            best, least = sure, sure.objective
        worst = dataclasses.replace(worst, bound=min(worst.bound, sure.price_bound)) if sure.plan else worst
    if best is None:
        return _without_plan(problem, last)
    leaves = _branch(standins, root, tools, best, gap, begin + time_limit)
    return _result(problem, standins, best, leaves, worst, gap, begin)


def _plan(standins: StandIns, tools: Tools, begin: float, time_limit: float) -> tuple[Result | None, Result]:
    """Move a stand-in until the plan that it gives has its percentile at the budget; return the best plan that keeps it.

    Also returns the first result: its stand-in is a limit that every plan keeps, so that where it is infeasible, all is.
    """
    stand, number = Stand(0.0, standins.surrogate.level, 0.0), standins.budget
    best, first, number_kept = None, None, -math.inf
    for turn in range(PLANS):
        left = PATIENCE * time_limit - (monotonic() - begin)
        if turn and left <= 0:
            break
        found = tools.solve(standins.with_stand(stand, number), max(0.1, FIRST_SHARE * left))
        first = first or found
        if found.status not in (Status.OPTIMAL, Status.FEASIBLE):
            if turn == 0:
                break
            # The stand-in asks for more than there is; go half of the way back.
            number = 0.5 * (number + number_kept) if math.isfinite(number_kept) else 0.5 * (number + standins.budget)
            continue
        covered = standins.covered(found.plan)
        percentile = standins.percentile(covered)
        over = percentile - standins.budget
        if over <= 0 and (best is None or found.objective > best.objective):
            best, number_kept = found, number
        slack = found.limits[-1].at_most
        assert slack is not None
        if (over <= 0 and -over <= CLOSE * standins.budget) or (over <= 0 and found.limits[-1].price == 0.0):
            break
        touching = tangent(standins.surrogate, standins.point(covered))
        # What the new stand-in leaves between its own value at this plan and the percentile is no part of it.
        value = _value(standins, touching, covered)
        stand, number = touching, standins.budget - (percentile - value) - 0.1 * CLOSE * standins.budget
    assert first is not None
    return best, first


def _value(standins: StandIns, stand: Stand, offers: np.ndarray) -> float:
    """Return what a stand-in takes for the percentile of these offers, currency."""
    d, v = standins.point(offers)
    mean = float(standins.plain.column(MEAN, offers).sum())
    return mean - standins.surrogate.level * d + stand.offset + stand.per_growing * d + stand.per_variance * v


def _leaf(standins: StandIns, box: Box, near: Leaf | None, tools: Tools, deadline: float, enough: float) -> Leaf:
    point = (0.0, 0.0) if near is None else _point(standins, near)
    stand = stand_below(standins.surrogate, box, point)
    problem = standins.with_stand(stand, standins.budget, box)
    return Leaf(box, stand, tools.price(problem, None if near is None else near.priced.prices, deadline, enough))


def _point(standins: StandIns, leaf: Leaf) -> tuple[float, float]:
    """Return D and V of what is chosen at a leaf's prices, inside its box."""
    d, v = standins.point(standins.covered(Plan.of(standins.plain, leaf.priced.chosen)))
    return min(max(d, leaf.box.growing[0]), leaf.box.growing[1]), min(
        max(v, leaf.box.variance[0]), leaf.box.variance[1]
    )


def _branch(standins: StandIns, root: Leaf, tools: Tools, best: Result, gap: float, deadline: float) -> list[Leaf]:
    """Cut boxes until none is left whose bound is above the plan's value by more than counts.

    That is the gap asked for, and what the budget left beside the surrogate's percentile of the plan would earn: no box
    is bounded below that, however small.
    """
    order = itertools.count()
    heap = [(-root.priced.bound, next(order), root)]
    tolerance = max(0.9 * CENT, gap * abs(best.objective))
    beside = max(0.0, standins.budget - standins.surrogate_percentile(standins.covered(best.plan)))
    price = float(root.priced.prices[-3])
    done: list[Leaf] = []
    while heap and len(heap) + len(done) < MOST_PIECES and monotonic() < deadline:
        leaf = heap[0][2]
        if leaf.priced.bound <= best.objective + tolerance + 1.02 * price * beside:
            break
        heapq.heappop(heap)
        parts = [] if price * _short(standins, leaf) < 0.2 * tolerance else _cut(standins, leaf)
        if len(parts) < 2:
            done.append(leaf)
            continue
        for box in parts:
            part = _leaf(standins, box, leaf, tools, deadline, best.objective - CLEARLY * abs(best.objective))
            # A bound of the whole box is one of its parts too.
            heapq.heappush(heap, (-part.priced.bound, next(order), part))
    return [*done, *(leaf for _, _, leaf in heap)]


def _short(standins: StandIns, leaf: Leaf) -> float:
    """Return by how much a leaf's stand-in may fall short of H near what is chosen at its prices, currency."""
    d, v = _point(standins, leaf)
    if d <= 0 and standins.surrogate.spread:
        return math.inf
    height = float(standins.surrogate.height(np.array([d]), np.array([v]))[0])
    return height - leaf.stand.offset - leaf.stand.per_growing * d - leaf.stand.per_variance * v


def _cut(standins: StandIns, leaf: Leaf) -> list[Box]:
    """Cut a box in up to three along the side that keeps the stand-in further from the percentile."""
    d, v = _point(standins, leaf)
    box = leaf.box
    if not standins.surrogate.spread:
        return [Box(box.growing, part) for part in _thirds(box.variance, v)]
    if box.growing[0] <= 0:
        return [Box(part, box.variance) for part in _thirds(box.growing, d)]
    gains = []
    for flat in (Box((d, d), box.variance), Box(box.growing, (v, v))):
        stand = stand_below(standins.surrogate, flat, (d, v))
        gains.append(stand.offset + stand.per_growing * d + stand.per_variance * v)
    if gains[0] >= gains[1]:
        return [Box(part, box.variance) for part in _thirds(box.growing, d)]
    return [Box(box.growing, part) for part in _thirds(box.variance, v)]


def _thirds(ends: tuple[float, float], at: float) -> list[tuple[float, float]]:
    """Cut a range around a point: the middle part is a tenth of the point, or a tenth of the range where that is less.

    A point next to an end says little: it may have been moved there. The range is halved then.
    """
    low, high = ends
    if not low + EDGE * (high - low) < at < high - EDGE * (high - low):
        middle = 0.5 * (low + high)
        return [(low, middle), (middle, high)] if high - low > 1e-9 * high else []
    half = 0.5 * min(FIRST_WIDTH * at, NARROWER * (high - low))
    if half <= 1e-9 * high:
        return []
    marks = [low, *(mark for mark in (at - half, at + half) if low + 0.2 * half < mark < high - 0.2 * half), high]
    return list(itertools.pairwise(marks))


def _result(
    problem: Problem, standins: StandIns, best: Result, leaves: list[Leaf], worst: Priced, gap: float, begin: float
) -> Result:
    """Bring plan and proof together."""
    n = len(problem.limits)
    pieces = tuple(
        ChancePiece(
            leaf.box.growing, leaf.box.variance, leaf.stand.offset, leaf.stand.per_growing, leaf.stand.per_variance,
            leaf.priced.prices, leaf.priced.bound,
        )
        for leaf in leaves
    )  # fmt: skip
    pieces = (*pieces, ChancePiece(None, None, 0.0, 0.0, 0.0, worst.prices, worst.bound))
    top = max(pieces, key=lambda piece: piece.bound)
    bound = max(top.bound, best.objective)
    distance = bound - best.objective
    optimal = distance < CENT or distance <= gap * abs(best.objective)
    plan = Plan.of(problem, best.plan.offer)
    percentile = standins.percentile(standins.covered(plan))
    prices = top.prices[: n + 1]
    names = (*(limit.name for limit in problem.limits), standins.chance.name)
    uses = [dataclasses.replace(use, price=float(prices[r])) for r, use in enumerate(best.limits[:n])]
    uses.append(
        LimitUse(
            standins.chance.name,
            _measure(standins.chance.name),
            percentile,
            None,
            standins.budget,
            float(prices[n]),
        )
    )
    seconds = {**best.seconds, "total": monotonic() - begin}
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
        chance=ChanceProof(percentile, pieces),
    )


def _explained(problem: Problem, standins: StandIns, tools: Tools, found: Result, seconds: float) -> Result:
    """Say why there is no plan: without the chance already, or else by a limit that every plan under it keeps."""
    plain = tools.solve(dataclasses.replace(problem, chance=None), max(1.0, seconds))
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
