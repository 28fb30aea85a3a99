"""Works out what the report shows beside the plan itself."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.special import stdtrit

from allocator.campaign.terms import Campaign
from allocator.errors import counted
from allocator.kernels.best import best_offers
from allocator.kernels.sums import exact_sum
from allocator.problem import Problem
from allocator.reporting.disclosure import FEW, Partition, suppressed
from allocator.reporting.findings import Assumption, Findings, Interval, Segment, Segments, UpliftCurve
from allocator.result import Result, Status
from allocator.tables.user_columns import Attribute, UserColumns
from allocator.tracing import FrontierRow, frontier

ERROR, DRAW = "value_error", "value_draw_"
NORMAL_975 = 1.959963984540054
LEAST_DRAWS = 5
MOST_VALUES = 20  # of an attribute that is shown by segment
MOST_ATTRIBUTES = 8
PROBE = 10_000  # users whose values are counted before a column is looked at whole
POINTS = 60  # of the uplift curve
BUDGETS = (0.5, 0.75, 0.9, 1.1, 1.25, 1.5)  # of the frontier, as shares of the budget
MOST_OFFERS = 20_000_000  # for which a frontier is traced: about 20 seconds
BUDGET_SECONDS = 2.0  # for each budget of the frontier, beside its prices
UNKNOWN, OTHERS = "(not known)", "(all others)"


@dataclass(frozen=True, eq=False)
class Background:
    """What is known beside the problem.

    Attributes
    ----------
    offers
        The table that the problem was built from.
    users
        The users table; `None`: not given.
    campaign
        The campaign file, understood; `None`: not given.
    model
        What the model that made the offers says of itself, as `Findings.model`.
    """

    offers: pa.Table
    users: pa.Table | None = None
    campaign: Campaign | None = None
    model: Mapping[str, Any] | None = None


def quick_findings(problem: Problem, result: Result, background: Background) -> Findings:
    """Return what comes from the issued offers alone, hence at once: the interval, the assumptions."""
    if not len(result.plan):
        return Findings(model=background.model, assumptions=assumptions(problem, background))
    span, without = interval(result, background.offers)
    return Findings(
        reached=int(_first_offers(result).sum()),
        objective_interval=span,
        interval_note=without,
        model=background.model,
        assumptions=assumptions(problem, background),
    )


def full_findings(
    problem: Problem, result: Result, background: Background, budget: float, threads: int | None, seed: int
) -> Findings:
    """Return all that the report shows, the frontier of the budget among it."""
    rows, note = trace(problem, result, budget, threads, seed)
    found = findings_without_budgets(problem, result, background)
    return dataclasses.replace(found, frontier=rows, frontier_note=note)


def findings_without_budgets(problem: Problem, result: Result, background: Background) -> Findings:
    """Return all that the report shows but what other budgets would earn."""
    quick = quick_findings(problem, result, background)
    partitions = partition(problem, result, background.users)
    return dataclasses.replace(
        quick,
        segments=tuple(_segments(result, part) for part in partitions),
        uplift_curve=uplift_curve(problem),
        suppressed=suppressed(problem, result, partitions),
    )


def interval(result: Result, offers: pa.Table) -> tuple[Interval | None, str]:
    """Return a 95 % interval of the plan's value from the offers' draws or standard errors; or why there is none."""
    names = [name for name in offers.column_names if name.startswith(DRAW)]
    taken, at, faults = pa.array(result.plan.row), result.objective, []
    if len(names) >= LEAST_DRAWS:
        sums = np.array(
            [exact_sum(numbers) for name in names if (numbers := _numbers(offers[name].take(taken))) is not None]
        )
        if sums.size == len(names):
            # The spread of the draws around the plan's own value; few draws need the wider t distribution.
            half = float(stdtrit(len(names) - 1, 0.975) * sums.std(ddof=1))
            return Interval(at - half, at + half, None, None, "value_draw", len(names)), ""
        faults.append(f"a column {DRAW}... of the offers holds something that is no number")
    elif names:
        faults.append(f"{counted(len(names), 'draw is', 'draws are')} too few; {LEAST_DRAWS} are needed")
    if ERROR in offers.column_names:
        error = _numbers(offers[ERROR].take(taken))
        if error is not None and (error >= 0).all():
            apart, shared = NORMAL_975 * math.sqrt(exact_sum(error**2)), NORMAL_975 * exact_sum(error)
            return Interval(at - apart, at + apart, at - shared, at + shared, ERROR, 0), ""
        faults.append(f"{ERROR} of the offers holds something that is no number of 0 or more")
    return None, "; ".join(faults) or "the offers carry no standard error"


def partition(problem: Problem, result: Result, users: pa.Table | None) -> list[Partition]:
    """Return the users by each attribute that limits refer to, and by others of few values."""
    if users is None or problem.user_row is None:
        return []
    attributes = UserColumns(users.drop_columns(["user_id"]), None)
    named = [name for limit in problem.limits if isinstance(limit.users, Mapping) for name in limit.users]
    wanted = list(dict.fromkeys([*named, *(name for name in attributes if _few_values(users, name))]))
    found = []
    for name in wanted[:MOST_ATTRIBUTES]:
        names, code = _collapsed(attributes[name], problem.user_row)
        if len(names) > 1:
            found.append(Partition(name, names, code[problem.user_row], code[result.plan.user]))
    return found


def _collapsed(attribute: Attribute, rows: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the names of an attribute's values and each user's code; beyond the most values, the smallest are one."""
    names, code = _labels(attribute), attribute.code
    if len(names) <= MOST_VALUES:
        return names, code
    largest = np.argsort(-np.bincount(code[rows], minlength=len(names)), kind="stable")[: MOST_VALUES - 1]
    renumber = np.full(len(names), MOST_VALUES - 1)
    renumber[largest] = np.arange(largest.size)
    return (*(names[k] for k in largest), OTHERS), renumber[code]


def uplift_curve(problem: Problem) -> UpliftCurve | None:
    """Return what targeting more and more users would earn; `None` for fewer than twenty users."""
    offers = problem.offers
    start = np.empty(0, np.int64) if offers.start is None else offers.start
    best = best_offers(start, offers.value, offers.n_coupons, offers.n_users)
    best = best[best >= 0]
    if best.size < 2 * FEW:
        return None
    value, cost = offers.value[best], offers.cost[best]
    with np.errstate(divide="ignore", invalid="ignore"):  # an offer that costs nothing goes first, or last
        ratio = np.where(cost > 0, value / cost, np.copysign(np.inf, value))
    order = np.argsort(-ratio, kind="stable")
    steps = max(2, min(POINTS, best.size // FEW))
    ends = np.round(np.linspace(0, best.size, steps + 1)).astype(np.int64)
    return UpliftCurve(tuple(ends.tolist()), _running(value[order], ends), _running(cost[order], ends))


def trace(
    problem: Problem, result: Result, budget: float, threads: int | None, seed: int
) -> tuple[tuple[FrontierRow, ...], str]:
    """Return what other budgets would earn, and what has to be said of that."""
    own = next((use for use in result.limits if use.name == "budget"), None)
    if own is None:
        return (), "The plan has no limit named budget, so there are no other budgets to compare with."
    here = FrontierRow(budget, result.objective, result.bound, result.spend, len(result.plan), own.price)
    if result.status is not Status.OPTIMAL:
        return (here,), "Other budgets were left out: this plan itself needed all of its time. See `allocate frontier`."
    if problem.offers.present > MOST_OFFERS:
        return (
            here,
        ), f"Other budgets were left out: above {MOST_OFFERS:,} offers they take long. See `allocate frontier`."
    least = own.at_least or 0.0
    budgets = [number for share in BUDGETS if (number := round(share * budget, 2)) > least and number != budget]
    others = frontier(problem, budgets, time_limit=BUDGET_SECONDS, threads=threads, seed=seed).rows
    planned = [row for row in others if math.isfinite(row.objective) and not 0 < row.issued < FEW]
    without = len(others) - len(planned)
    note = ""
    if without:
        note = f"For {counted(without, 'other budget', 'other budgets')} there is no plan that keeps every limit, none was "
        note += f"found in time, or it issues fewer than {FEW} offers."
    return tuple(sorted([here, *planned], key=lambda row: row.budget)), note


def assumptions(problem: Problem, background: Background) -> tuple[Assumption, ...]:
    """Return what the plan takes for granted: keys of the campaign file with their defaults, and how offers were read."""
    found = []
    if background.campaign is not None:
        header = background.campaign.campaign
        for name, field in type(header).model_fields.items():
            if name not in ("name", "currency", "budget"):
                value, given = getattr(header, name), name in header.model_fields_set
                found.append(Assumption(name, _in_words(value), field.description or MEANINGS.get(name, ""), given))
    columns = problem.offers.columns
    if "liability" in columns:
        liability = "a column of the offers"
    elif problem.face_value is None or np.isnan(problem.face_value).all():
        liability = "not known; the offer's cost in limits"
    else:
        liability = "the coupon's face value"
    redeem = "a column of the offers" if "redeem_probability" in columns else "not known"
    found.append(Assumption("liability", liability, "what an offer costs if it is redeemed", "liability" in columns))
    chance, known = "the chance that an offer is redeemed, of each user on their own", "redeem_probability" in columns
    found.append(Assumption("redeem_probability", redeem, chance, known))
    return tuple(found)


MEANINGS = {
    "max_per_user": "how many offers a user may get",
    "exclusive": "coupons of which a user gets at most one",
}


def _segments(result: Result, part: Partition) -> Segments:
    plan, n = result.plan, len(part.names)
    users = np.bincount(part.code, minlength=n)
    issued = np.bincount(part.issued, minlength=n)
    reached = np.bincount(part.issued[_first_offers(result)], minlength=n)
    cost = np.bincount(part.issued, weights=plan.cost, minlength=n)
    value = np.bincount(part.issued, weights=plan.value, minlength=n)
    rows = [
        Segment(name, int(users[k]), int(reached[k]), int(issued[k]), float(cost[k]), float(value[k]))
        for k, name in enumerate(part.names)
        if users[k]
    ]
    return Segments(part.attribute, tuple(sorted(rows, key=lambda row: (-row.users, row.name))))


def _first_offers(result: Result) -> np.ndarray:
    """Return which issued offers are the first of their user, `(n_issued,)` bool; a plan is sorted by user."""
    first = np.ones(len(result.plan), bool)
    first[1:] = np.diff(result.plan.user) > 0
    return first


def _few_values(users: pa.Table, name: str) -> bool:
    """Return whether a column may be an attribute of few values, from its type and its first rows."""
    kind = users.schema.field(name).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    words = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_boolean(kind)
    if name == "user_id" or users.column_names.count(name) > 1 or not (words or pa.types.is_integer(kind)):
        return False
    return len(users[name].slice(0, PROBE).combine_chunks().unique()) <= MOST_VALUES


def _labels(attribute: Attribute) -> tuple[str, ...]:
    return tuple(
        UNKNOWN if value is None or value != value else _in_words(value) for value in attribute.values.tolist()
    )


def _in_words(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return "; ".join(_in_words(item) if isinstance(item, str) else " or ".join(map(str, item)) for item in value)
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def _numbers(column: pa.ChunkedArray) -> np.ndarray | None:
    """Return a column as finite numbers; `None` where it holds anything else."""
    try:
        numbers = column.cast(pa.float64()).to_numpy(zero_copy_only=False)  # nulls become NaN
    except pa.ArrowException:
        return None
    return numbers if np.isfinite(numbers).all() else None


def _running(numbers: np.ndarray, ends: np.ndarray) -> tuple[float, ...]:
    sums = np.concatenate([[0.0], np.cumsum(numbers)])
    return tuple(sums[ends].tolist())
