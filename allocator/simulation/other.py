"""Value of another plan on the outcomes of one that was run with a holdout."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from allocator.errors import DataError
from allocator.shares import percent
from allocator.simulation import offpolicy
from allocator.simulation.assignment import Assignment, coupons_of, in_order
from allocator.simulation.effects import Money, Sample
from allocator.simulation.lift import Estimate, student_mean
from allocator.simulation.offpolicy import Log, PolicyValue
from allocator.simulation.outcomes import Outcomes
from allocator.tables.plan_folder import PlanFolder, read_plan_folder

MOST_INDICATORS = 30  # coupons that get a feature of their own in the reward model
INFORMED = 6.0  # standard errors between the arms that no plan made apart reaches by chance


@dataclass(frozen=True)
class OtherPlan:
    """Value of another plan on this campaign's outcomes.

    Attributes
    ----------
    users
        Users on whom both plans can be compared: the other plan gives them what this one planned, or nothing.
    different, new
        Users to whom the other plan gives another coupon than this one planned, and users to whom this one planned none:
        nobody like them got that coupon here, so no estimate can speak of them.
    net
        Net revenue per user by estimator, currency.
    own
        The same of this plan, doubly robust.
    difference
        Net of the other plan less that of this one, per user, doubly robust.
    """

    users: int
    different: int
    new: int
    net: tuple[PolicyValue, ...]
    own: PolicyValue
    difference: Estimate


def other_plan(
    other: str | Path | PlanFolder, assignment: Assignment, found: Outcomes, money: Money, confidence: float, seed: int
) -> OtherPlan:
    """Estimate the net revenue of another plan from one that was run with a holdout.

    Raises `DataError` where the two plans have no common ground, or the other one depends on who was held out here.
    """
    folder = other if isinstance(other, PlanFolder) else read_plan_folder(other)
    theirs = coupons_of(folder, assignment.user_ids, "the plan that is measured")
    ours = in_order(np.array(assignment.planned_names, object))[assignment.planned]
    planned = (assignment.planned > 0) & assignment.randomised & found.known
    agrees, nothing = theirs == ours, theirs == ""
    rows = np.flatnonzero(planned & (agrees | nothing))
    if not (planned & agrees).any():
        raise DataError(
            f"{folder.path}: no user gets the same coupon by the other plan as by this one; are these the same users?"
        )
    if min(int(assignment.held[rows].sum()), int((~assignment.held[rows]).sum())) < 2:
        raise DataError(
            f"{folder.path}: the other plan gives {rows.size:,} users what this one planned, or nothing; there is no common ground"
        )
    _refuse_informed(folder, nothing[rows], assignment.held[rows])
    sample = Sample.of(found.columns, rows, assignment, money)
    net, held = sample.net(), ~sample.treated
    chance = np.where(held, assignment.share, 1.0 - assignment.share)
    predicted = offpolicy.fit_rewards(
        _features(sample, assignment.planned[rows]), sample.treated.astype(np.int64), net, 2, seed=seed
    )
    arm = sample.treated.astype(np.int64)
    logged = predicted[np.arange(rows.size), arm]
    gives = agrees[rows] & ~nothing[rows]
    logs = [
        Log.of(
            net,
            chance,
            (policy == sample.treated).astype(float),
            logged,
            predicted[np.arange(rows.size), policy.astype(np.int64)],
        )
        for policy in (gives, np.ones(rows.size, bool))
    ]
    gap = offpolicy.dr_terms(logs[0]) - offpolicy.dr_terms(logs[1])
    values = tuple(estimator(logs[0], confidence=confidence) for estimator in offpolicy.ESTIMATORS)
    return OtherPlan(
        users=rows.size,
        different=int((planned & ~agrees & ~nothing).sum()),
        new=int(((assignment.planned == 0) & ~nothing).sum()),
        net=values,
        own=offpolicy.dr(logs[1], confidence=confidence),
        difference=student_mean(gap, confidence),
    )


def _refuse_informed(folder: PlanFolder, nothing: np.ndarray, held: np.ndarray) -> None:
    """Refuse a plan that depends on the draw: its choices would be compared with themselves.

    A plan made apart gives nothing to the held-out as often as to others.
    """
    shares, overall = (float(nothing[held].mean()), float(nothing[~held].mean())), float(nothing.mean())
    spread = math.sqrt(max(overall * (1 - overall), 1e-12) * (1 / held.sum() + 1 / (~held).sum()))
    if abs(shares[0] - shares[1]) > INFORMED * spread:
        raise DataError(
            f"{folder.path}: the plan knows who was held out here: it gives nothing to {percent(shares[0])} of them, and to "
            f"{percent(shares[1])} of the others; make it for the same users without --holdout, or with another --seed"
        )


def _features(sample: Sample, planned: np.ndarray) -> np.ndarray:
    """Return what was known of each user before: the plan's numbers, the coupon, the pre-period."""
    columns = [sample.value, sample.cost]
    columns += [] if sample.before is None else [sample.before]
    codes = np.unique(planned)
    if codes.size <= MOST_INDICATORS:
        columns += [(planned == code).astype(np.float64) for code in codes[1:]]
    return np.column_stack(columns)
