"""A trial of the past: who got which coupon by design, and what they did. Checked once, here."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from uplift.errors import TrialError
from uplift.features import Features


class OutcomeKind(StrEnum):
    """What an outcome counts."""

    BINARY = "binary"  # bought or not
    COUNT = "count"  # number of purchases
    MONEY = "money"  # spend: many zeros and a long tail


@dataclass(frozen=True, eq=False)
class Terms:
    """What the coupons of a trial promise, so that what one teaches can serve another.

    Attributes
    ----------
    depth
        `(coupons,)` how much a coupon gives, > 0: face value in currency, or percent.
    group
        `(coupons,)` int, 0, 1, ...: coupons with the same number differ in depth alone (same kind and scope).
    """

    depth: np.ndarray
    group: np.ndarray

    @classmethod
    def create(cls, depth: Any, group: Any = None) -> Terms:
        """Check terms; without `group` all coupons are of one kind.

        Raises
        ------
        TrialError
            Where shapes differ or a depth is not above 0.
        """
        depths = np.asarray(depth, dtype=np.float64)
        if depths.ndim != 1 or depths.size == 0:
            raise TrialError(f"terms: depth has shape {depths.shape}; give one number a coupon (none for control)")
        if not (np.isfinite(depths) & (depths > 0)).all():
            raise TrialError("terms: every depth must be a number above 0")
        labels = np.zeros(depths.size) if group is None else np.asarray(group)
        if labels.shape != depths.shape:
            raise TrialError(f"terms: {labels.size} groups for {depths.size} depths")
        return cls(depths, np.unique(labels, return_inverse=True)[1].astype(np.int64))

    def __len__(self) -> int:
        """Return the number of coupons."""
        return int(self.depth.size)


@dataclass(frozen=True, eq=False)
class Trial:
    """Users, the arm each was put in, and the outcome.

    Build one with `create`, which checks everything; the constructor trusts its arguments.

    Attributes
    ----------
    features
        Of the users before the campaign.
    arm
        `(n,)` int64: 0 control, k the k-th coupon.
    outcome
        `(n,)` float64.
    kind
        What the outcome counts.
    propensity
        `(n, arms)` or `(1, arms)` float64: the chance of each arm by design.
    weight
        `(n,)` float64: how many users a row stands for.
    terms
        Of the coupons; `None` where nothing is known of them.
    steps
        `(n,)` bool each: what must happen first, and is seen, before the outcome can be above 0 (a visit before a
        purchase), in order. Models may learn the outcome step by step.
    """

    features: Features
    arm: np.ndarray
    outcome: np.ndarray
    kind: OutcomeKind
    propensity: np.ndarray
    weight: np.ndarray
    terms: Terms | None
    steps: tuple[np.ndarray, ...] = ()

    @classmethod
    def create(
        cls,
        features: Any,
        arm: Any,
        outcome: Any,
        *,
        kind: OutcomeKind | str | None = None,
        propensity: Any = None,
        weight: Any = None,
        terms: Terms | None = None,
        steps: Sequence[Any] = (),
        names: Sequence[str] | None = None,
        pair_features: Any = None,
    ) -> Trial:
        """Check a trial.

        Parameters
        ----------
        features
            `(n, p)` numbers, or a mapping or data frame of columns (text is categorical; NaN or `None` is missing).
        arm
            `(n,)` whole numbers: 0 control, 1 ... the coupons.
        outcome
            `(n,)` numbers >= 0.
        kind
            By default read off the outcome: 0 and 1 alone are binary, whole numbers up to 100 a count, else money.
        propensity
            `(arms,)` by design, or `(n, arms)` for each user. By default the shares of the arms, which is right
            where everybody had the same chances; for logged data see `uplift.estimate_propensity`.
        weight
            `(n,)` > 0; 1 by default.
        terms
            Of the coupons, without control.
        steps
            `(n,)` 0 and 1 each, in order: what happens before the outcome can.
        pair_features
            `(n, coupons, d)` numbers, NaN where missing: what is known of each user together with each coupon (not only
            the one that they got), such as the relevance of its scope; `predict` then asks for them too.

        Raises
        ------
        TrialError
            Says which array is wrong, where, and what to do.
        """
        table = Features.create(features, names, pair_features)
        n = len(table)
        arms, codes = _check_arm(arm, n, terms)
        if table.pairs is not None:
            table.paired(arms - 1)
        values = _check_outcome(outcome, n)
        return cls(
            table,
            codes,
            values,
            _check_kind(kind, values),
            _check_propensity(propensity, codes, arms),
            _check_weight(weight, n),
            terms,
            _check_steps(steps, values),
        )

    def __len__(self) -> int:
        """Return the number of users."""
        return int(self.arm.size)

    @property
    def n_arms(self) -> int:
        """Number of arms, control among them."""
        return int(self.propensity.shape[1])

    @property
    def n_coupons(self) -> int:
        """Number of arms without control."""
        return self.n_arms - 1

    def take(self, rows: np.ndarray) -> Trial:
        """Return the trial of these rows alone (indices or mask); keeps every arm's number."""
        propensity = self.propensity if self.propensity.shape[0] == 1 else self.propensity[rows]
        return Trial(
            self.features.take(rows),
            self.arm[rows],
            self.outcome[rows],
            self.kind,
            propensity,
            self.weight[rows],
            self.terms,
            tuple(step[rows] for step in self.steps),
        )

    def with_outcome(self, outcome: Any, kind: OutcomeKind | str | None = None, steps: Sequence[Any] = ()) -> Trial:
        """Return the same users and arms with another outcome, checked."""
        values = _check_outcome(outcome, len(self))
        return dataclasses.replace(
            self, outcome=values, kind=_check_kind(kind, values), steps=_check_steps(steps, values)
        )

    def propensities(self) -> np.ndarray:
        """`(n, arms)` chances, one row a user (a read-only view where all are the same)."""
        return np.broadcast_to(self.propensity, (len(self), self.n_arms))

    def received(self) -> np.ndarray:
        """`(n,)` the chance of the arm that each user was in fact put in."""
        return np.asarray(self.propensities()[np.arange(len(self)), self.arm])


def _check_arm(arm: Any, n: int, terms: Terms | None) -> tuple[int, np.ndarray]:
    codes = np.asarray(arm)
    if codes.shape != (n,):
        raise TrialError(f"arm has shape {codes.shape}; there are {n:,} users in features")
    if codes.dtype.kind not in "iu" and not (codes.dtype.kind == "f" and np.equal(codes, np.round(codes)).all()):
        raise TrialError("arm must be whole numbers: 0 for control, 1 ... for the coupons")
    codes = codes.astype(np.int64)
    if codes.size == 0:
        raise TrialError("the trial has no users")
    if codes.min() < 0:
        raise TrialError(f"arm {codes.min()} is below 0; control is 0 and the coupons are 1, 2, ...")
    arms = int(codes.max()) + 1 if terms is None else len(terms) + 1
    if codes.max() >= arms:
        raise TrialError(f"arm {codes.max()} is beyond the {arms - 1} coupons that terms describe")
    counts = np.bincount(codes, minlength=arms)
    if arms < 2:
        raise TrialError("every user is in arm 0: without a coupon there is nothing to compare")
    if (counts == 0).any():
        empty = np.flatnonzero(counts == 0)[0]
        what = "control (arm 0)" if empty == 0 else f"arm {empty}"
        raise TrialError(f"{what} has no users; number the arms without gaps, control first")
    return arms, codes


def _check_outcome(outcome: Any, n: int) -> np.ndarray:
    values = np.asarray(outcome, dtype=np.float64)
    if values.shape != (n,):
        raise TrialError(f"outcome has shape {values.shape}; there are {n:,} users in features")
    bad = ~np.isfinite(values) | (values < 0)
    if bad.any():
        row = int(bad.argmax())
        raise TrialError(f"outcome: {bad.sum():,} rows are missing or below 0 (first: row {row}, {values[row]})")
    return values


def _check_kind(kind: OutcomeKind | str | None, values: np.ndarray) -> OutcomeKind:
    binary = bool(np.isin(values, (0.0, 1.0)).all())
    if kind is None:
        if binary:
            return OutcomeKind.BINARY
        whole = bool((values == np.round(values)).all()) and values.max() <= 100
        return OutcomeKind.COUNT if whole else OutcomeKind.MONEY
    try:
        chosen = OutcomeKind(kind)
    except ValueError:
        raise TrialError(f"kind {kind!r} is not known; use {', '.join(OutcomeKind)}") from None
    if chosen is OutcomeKind.BINARY and not binary:
        raise TrialError("a binary outcome must be 0 or 1 for everybody; leave `kind` out for counts and money")
    return chosen


def _check_propensity(propensity: Any, codes: np.ndarray, arms: int) -> np.ndarray:
    if propensity is None:
        return np.bincount(codes, minlength=arms)[None, :] / codes.size
    chances = np.asarray(propensity, dtype=np.float64)
    if chances.shape == (arms,):
        chances = chances[None, :]
    if chances.shape not in ((codes.size, arms), (1, arms)):
        raise TrialError(f"propensity has shape {chances.shape}; give ({arms},) or ({codes.size}, {arms})")
    if not (np.isfinite(chances) & (chances >= 0)).all():
        raise TrialError("propensity: every chance must be a number of at least 0")
    if np.abs(chances.sum(axis=1) - 1.0).max() > 1e-6:
        row = int(np.abs(chances.sum(axis=1) - 1.0).argmax())
        raise TrialError(f"propensity: the chances of the arms add up to {chances[row].sum():.6g} in row {row}, not 1")
    received = np.broadcast_to(chances, (codes.size, arms))[np.arange(codes.size), codes]
    if (received <= 0).any():
        row = int((received <= 0).argmax())
        raise TrialError(f"propensity: row {row} is in arm {codes[row]}, whose chance is given as 0")
    return chances


def _check_weight(weight: Any, n: int) -> np.ndarray:
    if weight is None:
        return np.ones(n)
    values = np.asarray(weight, dtype=np.float64)
    if values.shape != (n,) or not (np.isfinite(values) & (values > 0)).all():
        raise TrialError("weight must be one number above 0 a user")
    return values


def _check_steps(steps: Sequence[Any], outcome: np.ndarray) -> tuple[np.ndarray, ...]:
    checked: list[np.ndarray] = []
    for position, step in enumerate(steps):
        values = np.asarray(step, dtype=np.float64)
        if values.shape != outcome.shape or not np.isin(values, (0.0, 1.0)).all():
            raise TrialError(f"step {position} must be 0 or 1 for each of the {outcome.size:,} users")
        done = values > 0
        before = checked[-1] if checked else np.ones(outcome.shape, dtype=bool)
        if (done & ~before).any():
            raise TrialError(f"step {position} happened to {(done & ~before).sum():,} users without the step before it")
        checked.append(done)
    if checked and ((outcome > 0) & ~checked[-1]).any():
        skipped = ((outcome > 0) & ~checked[-1]).sum()
        raise TrialError(f"{skipped:,} users have an outcome above 0 without the last step; list the steps in order")
    return tuple(checked)
