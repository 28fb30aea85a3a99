"""Did the campaign work? Outcomes of users with coupons against the random control group that was held out.

Everybody is compared by what was drawn, not by what happened later: by the coupon that was planned before the draw, and
by whether the user was held out ("intention to treat"). So who redeemed, who got a coupon against the plan, and whose
coupon changed in the last solve cannot bias a number; where many did, the number speaks of the campaign as it was run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from allocator.campaign.reading import parse_campaign
from allocator.campaign.terms import Header
from allocator.errors import DataError, UsageError, counted
from allocator.shares import percent
from allocator.simulation.assignment import PROPENSITIES, Assignment, read_assignment, users_of_offers
from allocator.simulation.effects import LEAST_SHOWN, Cell, Effects, Money, Sample, cells
from allocator.simulation.lift import Estimate, check_confidence, difference
from allocator.simulation.naming import Remark, few
from allocator.simulation.other import OtherPlan, other_plan
from allocator.simulation.outcomes import Absent, Outcomes, examples_of, read_outcomes
from allocator.simulation.targeting import Bin, PublicScores, Qini, by_score, public_scores, qini
from allocator.tables.files import read_users, same_ids
from allocator.tables.frames import one_chunk, to_arrow
from allocator.tables.output import MANIFEST
from allocator.tables.plan_folder import PlanFolder, read_plan_folder
from allocator.tables.user_columns import user_columns

SEGMENT = "segment"  # the users' column that is looked at where none is named


@dataclass(frozen=True, eq=False)
class Measurement:
    """What a campaign did.

    Attributes
    ----------
    campaign, currency
        As in the plan.
    overall
        All users who were planned to get a coupon.
    coupons, segments
        The same by planned coupon, and by the value of each users' column asked for.
    planned_redemptions
        How many of the coupons issued to the treated the plan expected to be redeemed; NaN where it has no
        redeem_probability.
    balance
        Difference of pre-period spend between the arms: near 0 where the draw was random; `None` without it.
    answered
        Share of the treated and of the held-out users whose outcome is known, and the p-value that both are the same
        (NaN where all are known). A small one: who is missing depends on the coupon, and the lift is biased.
    contaminated
        Held-out users who got or redeemed a coupon anyway. They stay in the control group.
    corrected
        Lift of spend per user who got a coupon because of the campaign (Wald's ratio), where outcomes tell who got one.
    moved, left_out
        Users whose coupon in the plan is another than planned before the draw; of these, the ones with a coupon now and
        none before, who have no counterpart and are left out.
    qini
        How well the planned value ranks users by what they gained; `None` with too few users.
    public_scores
        The same in CausalML's numbers, of the net gain as it came (not adjusted by the pre-period), so that anyone can
        compute them from plan and outcomes.
    fifths
        Promised and measured gain by planned value, best fifth first.
    other
        Value of another plan on this campaign's outcomes; `None` where none is asked for.
    """

    campaign: str
    currency: str
    confidence: float
    money: Money
    overall: Effects
    coupons: tuple[Cell, ...]
    segments: tuple[Cell, ...]
    planned_redemptions: float
    balance: Estimate | None
    answered: tuple[float, float, float]
    contaminated: int
    corrected: Estimate | None
    moved: int
    left_out: int
    qini: Qini | None
    public_scores: PublicScores | None
    fifths: tuple[Bin, ...]
    other: OtherPlan | None
    notes: tuple[str, ...]


def measure(
    plan: str | Path | PlanFolder,
    outcomes: Any,
    *,
    users: Any = None,
    by: Sequence[str] | None = None,
    other: str | Path | PlanFolder | None = None,
    absent: Absent | str = Absent.REFUSE,
    margin: float | None = None,
    start: Any = None,
    confidence: float = 0.95,
    seed: int = 0,
    columns: Mapping[str, str] | None = None,
    control: str | None = None,
) -> Measurement:
    """Measure a campaign that was planned with a holdout.

    Parameters
    ----------
    plan
        The plan folder, written with `--holdout`.
    outcomes
        A file or a table with `user_id` and `spend` (currency paid in the campaign's window, after discounts), one row
        a user. Optional: `purchased` (0/1), `redeemed` (number of coupons), `discount` (currency that coupons took
        off), `pre_spend` (spend of the same user in a window before; takes noise out), `coupon` (what the user really
        got), `time`.
    users, by
        A users table, and the columns of it to show effects by; by default `segment` where it is there.
    other
        Another plan folder, whose value is estimated from these outcomes.
    absent
        What it means that a user of the campaign has no row: `refuse`, `zero` (bought nothing) or `drop` (not known).
    margin
        Share of the price that is earned before discounts; by default the campaign file's, else that file's default.
    start
        First day of the campaign; by default the campaign file's.
    confidence
        Of every interval.
    seed
        Of the folds of the reward model (`other` only).
    columns, control
        Other names of the outcomes' columns, and the word for no coupon there; see `read_outcomes`.

    Raises
    ------
    UsageError
        Where an argument makes no sense.
    DataError
        Where the plan has no holdout, or the outcomes cannot be used; see `read_outcomes`.
    """
    check_confidence(confidence)
    folder = plan if isinstance(plan, PlanFolder) else read_plan_folder(plan)
    assignment = read_assignment(folder)
    terms = campaign_terms(folder)
    given = _absent(absent)
    use = (assignment.planned > 0) & assignment.randomised
    found = read_outcomes(
        outcomes,
        assignment.user_ids,
        start=start or terms.start,
        wanted=use,
        absent=given,
        columns=columns,
        control=control,
    )
    money = Money.of(terms, margin, "discount" in found.columns)
    notes = [*found.notes, *money.notes]
    rows = np.flatnonzero(use & found.known)
    _refuse_few(assignment, rows, folder)
    if not found.columns["spend"][rows].any():
        notes.append("Nobody of the campaign spent anything: are these the outcomes of its days?")
    sample = Sample.of(found.columns, rows, assignment, money)
    contaminated, corrected = _contamination(sample, found, assignment, rows, confidence, notes)
    moved, left_out = _moved(assignment, notes)
    score, gain = assignment.value[rows], sample.adjusted_net()
    enough = sample.arms()[1] >= LEAST_SHOWN
    return Measurement(
        campaign=str(folder.summary.get("campaign", "campaign")),
        currency=str(folder.summary.get("currency", "")),
        confidence=confidence,
        money=money,
        overall=sample.effects(confidence=confidence),
        coupons=tuple(cells(sample, "coupon", assignment.planned[rows], assignment.planned_names, confidence)),
        segments=tuple(_segments(sample, users, by, assignment, rows, confidence)),
        planned_redemptions=_planned_redemptions(folder, assignment, rows),
        balance=sample.balance(confidence),
        answered=_answered(assignment, use, found.known, notes),
        contaminated=contaminated,
        corrected=corrected,
        moved=moved,
        left_out=left_out,
        qini=qini(gain, score, sample.treated, confidence=confidence) if enough else None,
        public_scores=public_scores(sample.net(), score, sample.treated) if enough else None,
        fifths=tuple(by_score(gain, score, sample.treated, confidence=confidence)) if enough else (),
        other=None if other is None else other_plan(other, assignment, found, money, confidence, seed),
        notes=tuple(notes),
    )


def campaign_terms(folder: PlanFolder) -> Header:
    """Return the [campaign] table of the campaign file that a plan was made with; its defaults where there was none."""
    text = folder.campaign_text
    return Header() if text is None else parse_campaign(text, f"{folder.path}/{MANIFEST}").campaign


def _absent(word: Absent | str) -> Absent:
    try:
        return Absent(word)
    except ValueError as error:
        raise UsageError(f"absent is {word!r}; it must be one of {', '.join(Absent)}") from error


def _refuse_few(assignment: Assignment, rows: np.ndarray, folder: PlanFolder) -> None:
    held = int(assignment.held[rows].sum())
    if min(held, rows.size - held) < 2:
        raise DataError(
            f"{folder.path}: outcomes are known of {counted(held, 'held-out user', 'held-out users')} and "
            f"{counted(rows.size - held, 'user', 'users')} with a planned coupon; two of each are needed to compare"
        )


def _contamination(
    sample: Sample, found: Outcomes, assignment: Assignment, rows: np.ndarray, confidence: float, notes: list[str]
) -> tuple[int, Estimate | None]:
    """Count held-out users who got a coupon anyway, and correct for it where outcomes tell who got one."""
    signs = np.zeros(rows.size, bool)
    if "redeemed" in found.columns:
        signs |= found.columns["redeemed"][rows] > 0
    corrected = None
    if found.received is not None:
        # Of users who bought nothing and have no row it is not known what they got: what was drawn for them.
        here = found.received[rows]
        got = np.where(here == np.array(None), sample.treated, here != "").astype(bool)
        signs |= got
        both = difference(
            np.column_stack([sample.adjusted("spend"), got.astype(np.float64)]), sample.treated, sample.stratum
        )
        corrected = both.ratio(0, 1, confidence)
    bad = np.flatnonzero(signs & ~sample.treated)
    if bad.size:
        share = bad.size / max(int((~sample.treated).sum()), 1)
        many, public = (
            f"{of(bad.size, 'held-out user', 'held-out users')} ({percent(share)} of the control group"
            for of in (counted, few)
        )
        rest = (
            ") got a coupon anyway. They stay in the control group, since taking them out would compare unlike users; the "
            "lift is that of the campaign as it was run, and understates that of a coupon."
        )
        notes.append(Remark(f"{many}; e.g. {examples_of(assignment.user_ids, rows[bad])}{rest}", f"{public}{rest}"))
    return int(bad.size), corrected


def _planned_redemptions(folder: PlanFolder, assignment: Assignment, rows: np.ndarray) -> float:
    """Return how many of what was issued to these users the plan expected to be redeemed; NaN where it does not say."""
    if "redeem_probability" not in folder.plan.column_names:
        return float("nan")
    measured = np.zeros(assignment.held.size, bool)
    measured[rows] = ~assignment.held[rows]
    place = users_of_offers(folder, assignment.user_ids, PROPENSITIES)
    chance = folder.plan["redeem_probability"].to_numpy().astype(np.float64)
    return float(chance[(place >= 0) & measured[place]].sum())


def _moved(assignment: Assignment, notes: list[str]) -> tuple[int, int]:
    index = {name: code for code, name in enumerate(assignment.planned_names)}
    here = np.array([index.get(name, -1) for name in assignment.issued_names])[assignment.issued]
    moved = (here != assignment.planned) & ~assignment.held
    left_out = int((moved & (assignment.planned == 0)).sum())
    if moved.any():
        rest = " got another coupon than was planned before the draw"
        end = "Users are compared by what was planned; those planned for none are left out."
        words = f"{counted(int(moved.sum()), 'user', 'users')}{rest}, {left_out:,} of them one instead of none. {end}"
        notes.append(Remark(words, f"{few(int(moved.sum()), 'user', 'users').capitalize()}{rest}. {end}"))
    return int(moved.sum()), left_out


def _answered(
    assignment: Assignment, use: np.ndarray, known: np.ndarray, notes: list[str]
) -> tuple[float, float, float]:
    """Return the shares of known outcomes in both arms, and the p-value that they are the same."""
    held = assignment.held[use]
    here = known[use].astype(np.float64)
    shares = float(here[~held].mean()), float(here[held].mean())
    if here.all():
        return (*shares, float("nan"))
    found = difference(here, ~held).estimate(0)
    if found.p_value < 0.01:
        notes.append(
            f"Outcomes are known of {percent(shares[0])} of the treated but {percent(shares[1])} of the held-out users (p = "
            f"{found.p_value:.2g}): who is missing depends on the coupon, and the lift may be biased by it."
        )
    return (*shares, found.p_value)


def _segments(
    sample: Sample, users: Any, by: Sequence[str] | None, assignment: Assignment, rows: np.ndarray, confidence: float
) -> list[Cell]:
    """Return the effects by the values of users' columns."""
    if users is None:
        if by:
            raise UsageError(f"effects by {by[0]!r} need a users table; give --users")
        return []
    source = str(users) if isinstance(users, (str, Path)) else "users"
    table = read_users(users) if isinstance(users, (str, Path)) else to_arrow(users, source)
    table, ids = same_ids(table, pa.table({"user_id": assignment.user_ids}))
    columns, _ = user_columns(table, one_chunk(ids["user_id"]), source)
    named = list(by) if by else [name for name in (SEGMENT,) if name in columns]
    found: list[Cell] = []
    for name in named:
        if name not in columns:
            raise UsageError(f"{source}: there is no column {name!r}; found {', '.join(columns)}")
        attribute = columns[name]
        found += cells(
            sample, name, attribute.code[rows].astype(np.int64), [str(v) for v in attribute.values], confidence
        )
    return found
