"""A limit that must hold with a probability: the plan's, and the bound piece by piece."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from allocator.limit import Limit
from allocator.problem import Problem
from allocator.result import ChancePiece, ChanceProof, Prices, Result
from allocator.verification.bounding import ROUNDING, dual, rounded_dual
from allocator.verification.exact import exact_sum
from allocator.verification.spending import Offered, Standing, offered, within

TOLERANCE = 1e-8  # of a probability: what two ways to integrate may differ by
NEAR = 1e-6  # relative, of a percentile
ALONG_D, ALONG_V = 33, 33
SLACK = 1e-12


def without_chance(problem: Problem, result: Result) -> tuple[Problem, Result]:
    """Return the problem and what the result says of it, without the chance limit."""
    n = len(problem.limits)
    names = tuple(limit.name for limit in problem.limits)
    plain = dataclasses.replace(
        result, limits=result.limits[:n], prices=Prices(names, np.asarray(result.prices)[:n]), chance=None
    )
    return dataclasses.replace(problem, chance=None), plain


def infeasible_left(problem: Problem, result: Result) -> float:
    """Return what weights on the limits and on one that every plan under the chance keeps leave; below 0: no plan."""
    stand = ChancePiece((0.0, math.inf), (0.0, math.inf), 0.0, Standing(_chance(problem)).level, 0.0, np.empty(0), 0.0)
    return dual(_with_stand(_prepared(problem), stand, box=False), np.asarray(result.prices), of_value=0.0)


def chance_faults(problem: Problem, result: Result) -> tuple[list[str], float, float]:
    """Return what is wrong, and the bound recomputed with its room for rounding."""
    proof, chance = result.chance, _chance(problem)
    if proof is None or not proof.pieces:
        return [f"limit {chance.limit!r} must hold with a probability; the result has no proof of that"], math.nan, 0.0
    prepared = _prepared(problem)
    faults = _plan_faults(problem, result, proof)
    faults += _cover_faults(prepared, proof)
    bound, room = -math.inf, 0.0
    known: dict[tuple[object, ...], tuple[float, float]] = {}
    for number, piece in enumerate(proof.pieces, start=1):
        if piece.growing is not None and not _stands_below(Standing(chance), piece):
            faults.append(f"piece {number} of the proof: its linear limit cuts off plans that keep the budget")
            continue
        limited = _with_stand(prepared, piece, box=piece.growing is not None)
        if piece.prices.shape != (len(limited.limits),) or not np.isfinite(piece.prices).all():
            faults.append(f"piece {number} of the proof: {piece.prices.size} prices for {len(limited.limits)} limits")
            continue
        if any(
            (y < 0 and limit.at_least is None) or (y > 0 and limit.at_most is None)
            for y, limit in zip(piece.prices.tolist(), limited.limits, strict=True)
        ):
            faults.append(f"piece {number} of the proof: a price has no number to act on")
            continue
        value, error = _dual(prepared, limited, piece, known)
        if value > bound:
            bound, room = value, error
        if not piece.bound >= value - SLACK * max(1.0, abs(value)) - 2.0 * error:
            faults.append(f"piece {number} of the proof: bound is given as {piece.bound!r}; the prices prove {value!r}")
    return faults, bound, room


def _dual(
    prepared: Problem, limited: Problem, piece: ChancePiece, known: dict[tuple[object, ...], tuple[float, float]]
) -> tuple[float, float]:
    """Return the dual of a piece, and its room for rounding.

    Pieces that have the same slopes and prices, and none for their boxes, differ in one number: they share a pass.
    """
    if piece.growing is None or piece.prices[-2:].any():
        return rounded_dual(limited, piece.prices, of_value=1.0)
    key = (piece.per_growing, piece.per_variance, piece.prices.tobytes())
    if key not in known:
        without = dataclasses.replace(piece, offset=_budget(prepared))  # the limit's number is then 0
        known[key] = rounded_dual(_with_stand(prepared, without, box=True), piece.prices, of_value=1.0)
    value, error = known[key]
    more = float(piece.prices[-3]) * (_budget(prepared) - piece.offset)
    error += (abs(value) + abs(more)) * ROUNDING
    return value + more + (abs(value) + abs(more)) * ROUNDING, error


def _chance(problem: Problem):  # type: ignore[no-untyped-def]
    assert problem.chance is not None
    return problem.chance


def _budget(problem: Problem) -> float:
    budget = problem.limits[problem.limit_index(_chance(problem).limit)].at_most
    assert budget is not None
    return budget


def _prepared(problem: Problem) -> Problem:
    """Return the problem with the columns that pieces measure."""
    columns = Standing(_chance(problem)).columns(offered(problem), problem.offers.value, _budget(problem))
    return dataclasses.replace(
        problem, offers=dataclasses.replace(problem.offers, columns={**problem.offers.columns, **columns})
    )


def _with_stand(prepared: Problem, piece: ChancePiece, *, box: bool) -> Problem:
    """Return the problem with a piece's limits."""
    budget, level = _budget(prepared), Standing(_chance(prepared)).level
    weights = {"[spend]": 1.0, "[redeemed]": piece.per_growing - level, "[variance]": piece.per_variance}
    if piece.growing is None:
        limits = [Limit("worst case", "[worst]", at_most=budget)]
    else:
        limits = [Limit("stand-in", weights, at_most=budget - piece.offset)]
    if box and piece.growing is not None and piece.variance is not None:
        limits.append(Limit("D", "[redeemed]", at_least=piece.growing[0], at_most=piece.growing[1]))
        limits.append(Limit("V", "[variance]", at_least=piece.variance[0], at_most=piece.variance[1]))
    at = [prepared.limit_index(_chance(prepared).limit)] * len(limits)
    return dataclasses.replace(
        prepared,
        chance=None,
        limits=(*prepared.limits, *limits),
        limit_coupons=np.concatenate([prepared.limit_coupons, prepared.limit_coupons[at]]),
        limit_groups=np.concatenate([prepared.limit_groups, prepared.limit_groups[at]]),
    )


def _plan_faults(problem: Problem, result: Result, proof: ChanceProof) -> list[str]:
    chance, budget, index = _chance(problem), _budget(problem), result.plan.offer
    r = problem.limit_index(chance.limit)
    covered = problem.limit_coupons[r][problem.offers.coupons_of(index)]
    if problem.user_group is not None:
        covered = covered & problem.limit_groups[r][problem.user_group[problem.offers.users_of(index)]]
    every = offered(problem)
    issued = index[covered]
    few = Offered(every.fixed[issued], every.amount[issued], every.chance[issued])
    worst = exact_sum(few.fixed + few.amount)
    standing = Standing(chance)
    columns = standing.columns(every, problem.offers.value, budget)
    mean, d, v = (float(columns[name][issued].sum()) for name in ("[spend]", "[redeemed]", "[variance]"))

    def probability(number: float) -> float:
        height = np.array([number - mean + standing.level * d])
        near = standing.within(height, np.array([max(d, 1e-300)]), np.array([v]))
        return min(within(few, chance, number), float(near[0]))

    faults = []
    if worst > budget and (issued.size and probability(budget) < chance.confidence - TOLERANCE):
        faults.append(
            f"limit {chance.limit!r}: {budget!r} is kept with probability {probability(budget)!r}, not {chance.confidence!r}"
        )
    told = proof.percentile
    if issued.size and told < worst * (1 - NEAR):
        low, high = probability(told * (1 - NEAR)), probability(told * (1 + NEAR))
        if not (low <= chance.confidence <= high):
            faults.append(
                f"the spend's percentile is given as {told!r}, which is kept with probability {probability(told)!r}"
            )
    if not result.limits or result.limits[-1].used != told:
        faults.append("the use of the chance limit is not the plan's percentile")
    return faults


def _stands_below(standing: Standing, piece: ChancePiece) -> bool:
    """Tell whether a piece's linear function lies below the percentile throughout its box.

    Looked at on a grid, whose points along D are not those of the solver; between them both are smooth.
    """
    assert piece.growing is not None and piece.variance is not None
    (low, high), (least, most) = piece.growing, piece.variance
    if not (low <= high and least <= most):
        return False
    d = np.linspace(max(low, 1e-9 * high), high, ALONG_D)
    v = np.concatenate(
        [[least], np.linspace(least, most, ALONG_V), np.geomspace(max(least, 1e-12 * most), most, ALONG_V)]
    )
    d, v = (grid.reshape(-1) for grid in np.meshgrid(d, np.clip(v, least, most)))
    height = piece.offset + piece.per_growing * d + piece.per_variance * v
    return bool((standing.within(height, d, v) <= standing.chance.confidence + TOLERANCE).all())


def _cover_faults(prepared: Problem, proof: ChanceProof) -> list[str]:
    """Check that the boxes, and the piece of plans whose worst case is within the budget, leave no plan out."""
    boxes = [(piece.growing, piece.variance) for piece in proof.pieces if piece.growing and piece.variance]
    faults = [] if len(boxes) < len(proof.pieces) else ["the proof says nothing of plans whose worst case is sure"]
    columns = prepared.offers.columns
    growing, variance = columns["[redeemed]"], columns["[variance]"]
    # The percentile is at least S_a D, so that D is at most the budget / S_a; and V is at most so many times D.
    most = _budget(prepared) / Standing(_chance(prepared)).level
    ratio = float(np.divide(variance, growing, out=np.zeros(growing.size), where=growing > 0).max(initial=0.0))
    ends = (most, ratio * most)
    marks = [
        np.unique(np.clip([0.0, ends[axis], *(end for box in boxes for end in box[axis])], 0.0, ends[axis]))
        for axis in (0, 1)
    ]
    middles = [0.5 * (mark[1:] + mark[:-1]) if mark.size > 1 else mark for mark in marks]
    covered = np.zeros((middles[0].size, middles[1].size), dtype=bool)
    for d, v in boxes:
        covered |= np.logical_and.outer(
            (middles[0] >= d[0]) & (middles[0] <= d[1]), (middles[1] >= v[0]) & (middles[1] <= v[1])
        )
    return faults if covered.all() else [*faults, "the pieces of the proof leave out plans that keep the budget"]
