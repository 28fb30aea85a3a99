"""Value of a plan on data that another campaign logged: its own holdout, or a trial with known propensities."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from allocator.errors import DataError, counted
from allocator.history.trial import COLUMNS
from allocator.history.trial_door import PROPENSITY_OF
from allocator.shares import percent
from allocator.simulation import offpolicy
from allocator.simulation.assignment import Assignment
from allocator.simulation.effects import Money, Sample
from allocator.simulation.lift import Estimate, check_confidence, student
from allocator.simulation.naming import renamed, without_coupon
from allocator.simulation.offpolicy import Log, PolicyValue
from allocator.simulation.outcomes import Outcomes, examples_of
from allocator.tables.files import read_plain, same_ids
from allocator.tables.frames import decoded, is_text, one_chunk, refuse_nulls, to_arrow
from allocator.tables.origin import MOST_EXAMPLES, Origin
from allocator.tables.plan_folder import PlanFolder, read_plan_folder

MOST_INDICATORS = 30  # coupons that get a feature of their own in the reward model
SUSPECT = 4.0  # standard errors by which weights may miss their mean of 1 before it is said
INFORMED = 6.0  # standard errors between the arms that no plan made apart reaches by chance
LEAST_EFFECTIVE = 100.0  # users that the log is worth, below which its normal intervals are not to be trusted
ALIASES = {column.name: column.aliases for column in COLUMNS}
NOT_FEATURES = {*ALIASES, "discount"}


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


@dataclass(frozen=True)
class LoggedValue:
    """Value of a plan on a trial's log.

    Attributes
    ----------
    outcome
        Which column is the reward: `spend` or `purchased`.
    users, matched
        Rows of the trial, and those whose arm is the plan's.
    values
        Reward per user by estimator.
    logged
        Mean reward of the trial as it was run.
    weight_mean
        Mean importance weight; 1 where the propensities are right.
    """

    outcome: str
    users: int
    matched: int
    values: tuple[PolicyValue, ...]
    logged: Estimate
    weight_mean: Estimate
    notes: tuple[str, ...]


def other_plan(
    other: str | Path | PlanFolder, assignment: Assignment, found: Outcomes, money: Money, confidence: float, seed: int
) -> OtherPlan:
    """Estimate the net revenue of another plan from one that was run with a holdout.

    Raises `DataError` where the two plans have no common ground, or the other one depends on who was held out here.
    """
    folder = other if isinstance(other, PlanFolder) else read_plan_folder(other)
    theirs = _coupons_of(folder, assignment.user_ids)
    names = np.array(assignment.planned_names, object)
    ours = names[assignment.planned]
    planned = (assignment.planned > 0) & assignment.randomised & found.known
    agrees, nothing = theirs == ours, theirs == ""
    rows = np.flatnonzero(planned & (agrees | nothing))
    if min(int(assignment.held[rows].sum()), int((~assignment.held[rows]).sum())) < 2:
        raise DataError(
            f"{folder.path}: the other plan gives {rows.size:,} users what this one planned, or nothing; there is no common ground"
        )
    _refuse_informed(folder, nothing[rows], assignment.held[rows])
    sample = Sample.of(found.columns, rows, assignment, money)
    net, held = _net(sample), ~sample.treated
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
        difference=student(float(gap.mean()), float(gap.std(ddof=1)) / math.sqrt(gap.size), gap.size - 1.0, confidence),
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


def _net(sample: Sample) -> np.ndarray:
    """Return each user's margin less cost, as it came."""
    if sample.money.observed:
        return sample.columns["gain"] - sample.columns["paid"]
    return sample.columns["gain"] - np.where(sample.treated, sample.cost, 0.0)


def _features(sample: Sample, planned: np.ndarray) -> np.ndarray:
    """Return what was known of each user before: the plan's numbers, the coupon, the pre-period."""
    columns = [sample.value, sample.cost]
    columns += [] if sample.before is None else [sample.before]
    codes = np.unique(planned)
    if codes.size <= MOST_INDICATORS:
        columns += [(planned == code).astype(np.float64) for code in codes[1:]]
    return np.column_stack(columns)


def _coupons_of(folder: PlanFolder, user_ids: pa.Array) -> np.ndarray:
    """Return what a plan gives each of these users, `(n_users,)` objects: coupons joined by `+`, or an empty text."""
    plan, users = same_ids(folder.plan.select(["user_id", "coupon"]), pa.table({"user_id": user_ids}))
    if is_text(plan["user_id"].type) != is_text(users["user_id"].type):
        raise DataError(
            f"{folder.path}: user_id is {plan['user_id'].type} there but {users['user_id'].type} here; plans of the same users "
            "write them the same way"
        )
    kind = users["user_id"].type
    place = pc.index_in(one_chunk(plan["user_id"].cast(kind)), value_set=one_chunk(users["user_id"]))
    place = place.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    coupons = decoded(plan["coupon"]).to_numpy(zero_copy_only=False)
    gives = np.full(len(user_ids), "", object)
    order = np.argsort(place, kind="stable")
    order = order[place[order] >= 0]
    repeated = np.concatenate([[False], np.diff(place[order]) == 0])
    gives[place[order[~repeated]]] = coupons[order[~repeated]]
    for row in order[repeated].tolist():  # users with several coupons are the exception
        gives[place[row]] = f"{gives[place[row]]}+{coupons[row]}"
    return gives


def value_on_log(
    plan: str | Path | PlanFolder,
    trial: Any,
    *,
    clip: float | None = None,
    confidence: float = 0.95,
    seed: int = 0,
    columns: Mapping[str, str] | None = None,
    control: str | None = None,
) -> LoggedValue:
    """Estimate what a plan would have earned in a trial, from the users who happened to get what the plan gives.

    Parameters
    ----------
    plan
        A plan folder; users that it gives nothing count as having no coupon.
    trial
        A file or a table: `user_id`, `coupon` (empty, `control` or `none`: none), `propensity` (chance of the arm the user
        got, or `propensity[<coupon>]` for each coupon) and `spend` or `purchased`; further numeric columns are features
        of the reward model.
    clip
        Also give IPS with weights capped there, and DR without the users above it.
    columns
        For a column its name in the trial, where that differs: `{"coupon": "segment"}`.
    control
        What stands in `coupon` for users who got none; by default empty, `control` or `none`.

    Raises
    ------
    DataError
        Where a column is missing or unusable, or the plan and the trial share no user.
    """
    check_confidence(confidence)
    folder = plan if isinstance(plan, PlanFolder) else read_plan_folder(plan)
    source = str(trial) if isinstance(trial, (str, Path)) else "trial"
    table = read_plain(trial) if isinstance(trial, (str, Path)) else to_arrow(trial, source)
    table, notes = renamed(table, source, ALIASES, columns)
    outcome = _checked(table, source)
    table, _ = same_ids(table, folder.plan.select(["user_id"]))
    ids = one_chunk(decoded(table["user_id"]))
    _refuse_doubles(ids, source, Origin.of(table))
    ours = _coupons_of(folder, ids)
    if not (ours != "").any():
        raise DataError(f"{source}: no user of the trial gets a coupon by the plan; are these the same users?")
    got = decoded(table["coupon"]).cast(pa.string()).fill_null("").to_numpy(zero_copy_only=False).astype(object)
    got[without_coupon(got, control, source)] = ""
    reward, chance = _floats(table, outcome, source), _chances(table, got, source)
    arms, code = np.unique(np.concatenate([got, ours]).astype(str), return_inverse=True)
    arm, want = code[: got.size], code[got.size :]
    predicted = offpolicy.fit_rewards(_trial_features(table, source), arm, reward, arms.size, seed=seed)
    index = np.arange(got.size)
    log = Log.of(reward, chance, (arm == want).astype(float), predicted[index, arm], predicted[index, want])
    values = [estimator(log, confidence=confidence) for estimator in offpolicy.ESTIMATORS]
    if clip is not None:
        values += [offpolicy.ips(log, clip=clip, confidence=confidence)]
        values += [offpolicy.switch_dr(log, threshold=clip, confidence=confidence)]
    weight = log.weight
    mean = student(
        float(weight.mean()), float(weight.std(ddof=1)) / math.sqrt(weight.size), weight.size - 1.0, confidence
    )
    error = float(reward.std(ddof=1)) / math.sqrt(reward.size)
    return LoggedValue(
        outcome=outcome,
        users=reward.size,
        matched=int((arm == want).sum()),
        values=tuple(values),
        logged=student(float(reward.mean()), error, reward.size - 1.0, confidence),
        weight_mean=mean,
        notes=(*notes, *_doubts(folder, arms, arm, want, mean, values[0].effective)),
    )


def _checked(table: pa.Table, source: str) -> str:
    """Check a trial's columns; return the one that is the reward."""
    names = table.column_names
    hints = {"user_id": "", "coupon": "; it says what the user got (empty, control or none: nothing)"}
    if not _by_coupon(names):
        hints["propensity"] = (
            "; it is the chance with which the user got that arm, such as 0.5 (or give propensity[COUPON] for each coupon)"
        )
    for name, hint in hints.items():
        if names.count(name) != 1:
            raise DataError(
                f"{source}: column {name!r} {'is missing' if name not in names else 'is there twice'}{hint}; "
                f"found {', '.join(names)}. Is it there under another name? Say so: --column {name}=NAME"
            )
    refuse_nulls(table["user_id"], "user_id", source, Origin.of(table))
    for name in ("spend", "purchased"):
        if name in names:
            return name
    raise DataError(
        f"{source}: there is no outcome: neither 'spend' nor 'purchased'; found {', '.join(names)}. Is it there under another "
        "name? Say so: --column spend=NAME"
    )


def _by_coupon(names: list[str]) -> dict[str, str]:
    """Return the column of each coupon's chance, where there is one a coupon."""
    if "propensity" in names:
        return {}
    return {found[1]: name for name in names if (found := PROPENSITY_OF.fullmatch(name))}


def _chances(table: pa.Table, got: np.ndarray, source: str) -> np.ndarray:
    """Return the chance of what each user got, `(n,)`; raises `DataError` where that is none."""
    by_coupon = _by_coupon(table.column_names)
    if not by_coupon:
        chance, name = _floats(table, "propensity", source), "propensity"
    else:
        lacks = sorted({str(coupon) for coupon in got} - {"", *by_coupon})
        if lacks:
            raise DataError(
                f"{source}: column 'propensity[{lacks[0]}]' is missing; give one for each coupon, or 'propensity'"
            )
        each = {coupon: _floats(table, column, source) for coupon, column in by_coupon.items() if coupon}
        # Who got nothing had what the coupons leave.
        chance, name = 1.0 - np.sum(list(each.values()), axis=0), "propensity[...]"
        for coupon, column in each.items():
            chance = np.where(got == coupon, column, chance)
    bad = np.flatnonzero(~((chance > 0.0) & (chance <= 1.0)))
    if bad.size:
        shown = ", ".join(f"{number:g}" for number in chance[bad[:MOST_EXAMPLES]])
        raise DataError(
            f"{source}: column '{name}' must be above 0 and at most 1 for what the user got; it is not in "
            f"{counted(bad.size, 'row', 'rows')} ({Origin.of(table).rows(bad)}: {shown}); correct or drop those rows"
        )
    return chance


def _refuse_doubles(ids: pa.Array, source: str, origin: Origin) -> None:
    codes = ids.dictionary_encode()
    code = codes.indices.to_numpy()
    first = np.full(len(codes.dictionary), -1, np.int64)
    first[code[::-1]] = np.arange(code.size)[::-1]
    again = np.flatnonzero(first[code] != np.arange(code.size))
    if again.size:
        raise DataError(
            f"{source}: {counted(again.size, 'row repeats', 'rows repeat')} a user_id ({origin.rows(again)}: users "
            f"{examples_of(ids, again[:MOST_EXAMPLES])}); keep one row a user"
        )


def _floats(table: pa.Table, name: str, source: str) -> np.ndarray:
    column = table[name]
    refuse_nulls(column, name, source, Origin.of(table))
    if not _numeric(column.type):
        raise DataError(f"{source}: column {name!r} must hold numbers, not {column.type}")
    return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(), np.float64)


def _numeric(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _trial_features(table: pa.Table, source: str) -> np.ndarray:
    """Return the numeric columns known before, `(n, n_features)`."""
    names = [
        name
        for name, kind in zip(table.column_names, table.schema.types, strict=True)
        if name not in NOT_FEATURES and not name.startswith("propensity[") and _numeric(kind)
    ]
    if not names:
        return np.empty((table.num_rows, 0))
    return np.column_stack([_floats(table, name, source) for name in names])


def _doubts(
    folder: PlanFolder, arms: np.ndarray, arm: np.ndarray, want: np.ndarray, mean: Estimate, effective: float
) -> list[str]:
    """Say what speaks against the estimates."""
    notes = []
    never = np.setdiff1d(want, arm)
    if never.size:
        users = int(np.isin(want, never).sum())
        notes.append(
            f"{counted(users, 'user gets', 'users get')} {', '.join(map(str, arms[never][:3]))} by the plan, which the trial gave "
            "nobody: IPS counts them as 0, SNIPS passes over them, DR takes the mean of all. No estimate speaks of them."
        )
    if mean.standard_error > 0 and abs(mean.value - 1.0) > SUSPECT * mean.standard_error:
        notes.append(
            f"The weights' mean is {mean.value:.3f} (standard error {mean.standard_error:.3f}) and should be 1: the propensities "
            "are wrong, or the plan gives some users what the trial could not have given them."
        )
    if effective < LEAST_EFFECTIVE:
        notes.append(
            f"The log is worth {effective:,.0f} users for {folder.path.name}: too few for these intervals to be trusted."
        )
    return notes
