"""Value of a plan on a trial: users who were given coupons by lot, with known chances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from allocator.errors import DataError, counted
from allocator.history.trial import COLUMNS
from allocator.history.trial_door import PROPENSITY_OF
from allocator.simulation import offpolicy
from allocator.simulation.assignment import coupons_of, in_order
from allocator.simulation.lift import Estimate, check_confidence, student_mean
from allocator.simulation.naming import renamed, without_coupon
from allocator.simulation.offpolicy import Log, PolicyValue
from allocator.simulation.outcomes import examples_of
from allocator.tables.files import read_plain, same_ids
from allocator.tables.frames import decoded, one_chunk, refuse_nulls, to_arrow
from allocator.tables.origin import MOST_EXAMPLES, Origin
from allocator.tables.plan_folder import PlanFolder, read_plan_folder

MOST_NAMED = 5  # arms in a message
SUSPECT = 4.0  # standard errors by which weights may miss their mean of 1 before it is said
LEAST_EFFECTIVE = 100.0  # users that the log is worth, below which its normal intervals are not to be trusted
ALIASES = {column.name: column.aliases for column in COLUMNS}
NOT_FEATURES = {*ALIASES, "discount"}


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
    ours = coupons_of(folder, ids, source)
    if not (ours != "").any():
        raise DataError(f"{source}: no user of the trial gets a coupon by the plan; are these the same users?")
    got = decoded(table["coupon"]).cast(pa.string()).fill_null("").to_numpy(zero_copy_only=False).astype(object)
    got[without_coupon(got, control, source)] = ""
    got = in_order(got)
    reward, chance = _floats(table, outcome, source), _chances(table, got, source)
    arms, code = np.unique(np.concatenate([got, ours]).astype(str), return_inverse=True)
    arm, want = code[: got.size], code[got.size :]
    _refuse_unmatched(folder, arms, arm, want, source)
    predicted = offpolicy.fit_rewards(_trial_features(table, source), arm, reward, arms.size, seed=seed)
    index = np.arange(got.size)
    log = Log.of(reward, chance, (arm == want).astype(float), predicted[index, arm], predicted[index, want])
    values = [estimator(log, confidence=confidence) for estimator in offpolicy.ESTIMATORS]
    if clip is not None:
        values += [offpolicy.ips(log, clip=clip, confidence=confidence)]
        values += [offpolicy.switch_dr(log, threshold=clip, confidence=confidence)]
    weight = log.weight
    mean = student_mean(weight, confidence)
    return LoggedValue(
        outcome=outcome,
        users=reward.size,
        matched=int((arm == want).sum()),
        values=tuple(values),
        logged=student_mean(reward, confidence),
        weight_mean=mean,
        notes=(*notes, *_doubts(folder, arms, arm, want, mean, values)),
    )


def _refuse_unmatched(folder: PlanFolder, arms: np.ndarray, arm: np.ndarray, want: np.ndarray, source: str) -> None:
    """Refuse a trial in which nobody got what the plan gives: it says nothing of the plan."""
    if (arm == want).any():
        return
    drawn, wanted = (", ".join(_named(arms[np.unique(code)])) for code in (arm, want))
    raise DataError(
        f"{source}: no user got what the plan in {folder.path} gives, so that the trial says nothing of it; the trial gave "
        f"{drawn}, the plan gives {wanted}. Are the coupons written the same way?"
    )


def _named(arms: np.ndarray) -> list[str]:
    """Return the first few arms in words."""
    names = [str(arm) or "no coupon" for arm in arms[:MOST_NAMED]]
    return names + (["..."] if arms.size > MOST_NAMED else [])


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
    try:
        return np.column_stack([_floats(table, name, source) for name in names])
    except DataError as error:
        raise DataError(f"{error}, or leave the column out: features only make intervals narrower") from error


def _doubts(
    folder: PlanFolder,
    arms: np.ndarray,
    arm: np.ndarray,
    want: np.ndarray,
    mean: Estimate,
    values: Sequence[PolicyValue],
) -> list[str]:
    """Say what speaks against the estimates."""
    notes = []
    never = np.setdiff1d(want, arm)
    if never.size:
        users = int(np.isin(want, never).sum())
        notes.append(
            f"{counted(users, 'user gets', 'users get')} {', '.join(_named(arms[never]))} by the plan, which the trial gave "
            "nobody: IPS counts them as 0, SNIPS passes over them, DR takes the mean of all. No estimate speaks of them."
        )
    if mean.standard_error > 0 and abs(mean.value - 1.0) > SUSPECT * mean.standard_error:
        notes.append(
            f"The weights' mean is {mean.value:.3f} (standard error {mean.standard_error:.3f}) and should be 1: the propensities "
            "are wrong, or the plan gives some users what the trial could not have given them."
        )
    if any(value.capped for value in values):
        notes.append(
            "Where weights are cut, the estimate leans to the reward model or to 0: a bias that is in no interval. Compare with "
            "the same estimator uncut."
        )
    if values[0].effective < LEAST_EFFECTIVE:
        notes.append(
            f"The log is worth {values[0].effective:,.0f} users for {folder.path.name}: too few for these intervals to be trusted."
        )
    return notes
