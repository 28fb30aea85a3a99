"""Looks at one part after the other, and gathers what was understood, what is odd and what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from allocator.campaign import Campaign, load_campaign
from allocator.checking import parts
from allocator.checking.files import Inputs
from allocator.checking.funnel import Step, funnel, known_users
from allocator.errors import AllocatorError
from allocator.history import (
    Products,
    Transactions,
    TrialTable,
    Users,
    read_products,
    read_transactions,
    read_trial,
    read_users,
)
from allocator.history.inspecting import MOST_SCOPES, Inspection, inspect
from allocator.history.transactions import refuse_empty
from allocator.learning.observed import read_sent
from allocator.learning.past import WINDOW, Past
from allocator.learning.preparing import Prepared, eligible, prepare, refuse_unscorable
from allocator.learning.trials import TrialArrays, arrays_of
from allocator.problem import Problem
from allocator.progress import Progress, silent
from allocator.tables.blocks import UserBlocks, open_users

SCHEMA_VERSION = 1
Found = TypeVar("Found")


@dataclass
class Report:
    """What a check found.

    Attributes
    ----------
    inputs
        What was looked at.
    parts
        For each part that could be read, what was understood: numbers and texts that JSON can hold.
    funnel
        How many users remain after each rule.
    notes
        What was taken for what.
    warnings
        What is odd, and what to do.
    errors
        For each part that is wrong, what is.
    """

    inputs: Inputs
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)
    funnel: list[Step] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    errors: dict[str, AllocatorError] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0, or the code of the worst error: bad data (3) before a bad campaign file (2)."""
        return max((error.exit_code for error in self.errors.values()), default=0)

    def document(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {
            "schema_version": SCHEMA_VERSION,
            "sound": not self.errors,
            "files": self.inputs.given,
            **self.parts,
            "funnel": [step.document() for step in self.funnel],
            "notes": self.notes,
            "warnings": self.warnings,
            "errors": {part: str(error) for part, error in self.errors.items()},
        }


def check(inputs: Inputs, progress: Progress = silent) -> Report:
    """Check every file, and what they say of one another; wrong files are told in the report, not raised."""
    return _Check(inputs, progress).run()


class _Check:
    """One run: each step is tried, whatever became of the others.

    What files must be is not said here: they go through the readers of `train`, `score` and `allocate`, and through
    all that these do before they begin to work.
    """

    def __init__(self, inputs: Inputs, progress: Progress) -> None:
        self._report = Report(inputs)
        self._progress = progress

    def run(self) -> Report:
        """Look at all parts."""
        given, report = self._report.inputs.given, self._report
        campaign = self._try("campaign", lambda: load_campaign(given["campaign"])) if "campaign" in given else None
        tried = campaign
        if "trial_campaign" in given:
            tried = self._try("trial_campaign", lambda: load_campaign(given["trial_campaign"]))
            if tried is not None:
                report.parts["trial_campaign"] = parts.of_campaign(tried)
        products = self._try("products", lambda: read_products(given["products"])) if "products" in given else None
        users = self._try("users", lambda: read_users(given["users"])) if "users" in given else None
        trial = self._try("trial", lambda: read_trial(given["trial"])) if "trial" in given else None
        if campaign is not None:
            report.parts["campaign"] = parts.of_campaign(campaign)
        scopes = self._products(products, campaign)
        transactions, seen = self._transactions(products, scopes)
        if campaign is not None and seen is not None:
            report.warnings += parts.odd_start(campaign, seen)
        past = None if transactions is None or seen is None else Past(transactions, products)
        may_get: dict[str, np.ndarray] = {}
        opened = None
        if users is not None:
            opened = self._try("users", lambda: open_users(given["users"]), noted=False)
            may_get = self._users(users, opened, campaign)
            if transactions is not None and seen is not None:
                both = (users, transactions, seen)
                report.parts["users"]["have_bought"] = self._try("users", lambda: known_users(*both))
        prepared = self._learnable(trial, users, past, tried)
        if trial is not None:
            self._trial(trial, prepared, campaign)
        self._sent(users, past, tried)
        if prepared is not None and opened is not None and campaign is not None and "offers" not in given:
            ready = (prepared, opened, campaign, past)
            self._try("score", lambda: refuse_unscorable(*ready))
        problem = self._offers(users, campaign)
        offers = None if problem is None else (given["offers"], problem)
        report.funnel = self._try("funnel", lambda: funnel(users, transactions, seen, offers, campaign, may_get)) or []
        return report

    def _try(self, part: str, job: Callable[[], Found], *, noted: bool = True) -> Found | None:
        """Do a job; an error is noted under its part."""
        try:
            found = job()
        except AllocatorError as error:
            if str(error) not in map(str, self._report.errors.values()):  # a file that two readers refuse alike
                self._report.errors.setdefault(part, error)
            return None
        self._report.notes += getattr(found, "notes", ()) if noted else ()
        return found

    def _products(self, products: Products | None, campaign: Campaign | None) -> dict[str, np.ndarray]:
        """Return which products each coupon with a scope covers."""
        if products is None:
            scoped = [] if campaign is None else [coupon.id for coupon in campaign.coupon if coupon.scope]
            if scoped and "products" not in self._report.errors:
                self._warn(
                    f"{len(scoped)} coupons have a scope ({', '.join(scoped[:3])}), but no products are given to check it"
                )
            return {}
        scopes: dict[str, np.ndarray] = {}
        for number, coupon in enumerate(() if campaign is None else campaign.coupon, start=1):
            if coupon.scope:
                what = f"{self._report.inputs.campaign}: coupon[{number}].scope ({coupon.id!r})"
                found = self._try("scopes", lambda what=what, scope=coupon.scope: products.in_scope(scope, what))  # type: ignore[misc]
                if found is not None:
                    scopes[coupon.id] = found
        self._report.parts["products"] = parts.of_products(products, scopes)
        return scopes

    def _transactions(
        self, products: Products | None, scopes: Mapping[str, np.ndarray]
    ) -> tuple[Transactions | None, Inspection | None]:
        path = self._report.inputs.transactions
        if path is None:
            return None, None
        table = self._try("transactions", lambda: read_transactions(path))
        if table is None:
            return None, None

        def look() -> tuple[Transactions, Inspection]:
            fitting = Past.of(table, products).transactions
            found = inspect(fitting, products, dict(list(scopes.items())[:MOST_SCOPES]), self._progress)
            refuse_empty(fitting, found.faults)
            return fitting, found

        found = self._try("transactions", look)
        if found is None:
            return table, None
        self._report.parts["transactions"] = parts.of_transactions(*found, products is not None)
        self._report.warnings += parts.odd_transactions(*found, products)
        return found

    def _users(self, users: Users, opened: UserBlocks | None, campaign: Campaign | None) -> dict[str, np.ndarray]:
        """Return who may get each coupon that is for some users only."""
        covered = None
        if self._report.inputs.offers is None:
            covered = self._try("limits", lambda: parts.covered(users, campaign))
        may_get: dict[str, np.ndarray] = {}
        for_some = () if campaign is None else tuple(coupon for coupon in campaign.coupon if coupon.users)
        if opened is not None and for_some:
            found = self._try("eligibility", lambda: eligible(opened, for_some))
            if found is not None:
                may_get = {coupon.id: found[0][:, k] for k, coupon in enumerate(for_some)}
                self._report.warnings += found[1]
        self._report.parts["users"] = parts.of_users(users, covered or {}, may_get)
        return may_get

    def _learnable(
        self, trial: TrialTable | None, users: Users | None, past: Past | None, campaign: Campaign | None
    ) -> Prepared | None:
        """Do what `train` does before it fits anything, with all files that are there."""
        if trial is None or self._failed("campaign", "trial_campaign", "products", "users", "transactions"):
            return None
        table = self._try("train", lambda: arrays_of(trial), noted=False)
        return None if table is None else self._prepared(table, users, past, campaign)

    def _prepared(
        self, table: TrialArrays, users: Users | None, past: Past | None, campaign: Campaign | None
    ) -> Prepared | None:
        return self._try("train", lambda: prepare(table, users, past, campaign, self._progress))

    def _sent(self, users: Users | None, past: Past | None, campaign: Campaign | None) -> None:
        """Look at a list of who was sent what, as `train` does."""
        path = self._report.inputs.sent
        if path is None or self._failed("campaign", "trial_campaign", "products", "users", "transactions"):
            return
        if past is None:
            self._warn(f"{path} tells nothing without what users bought: give transactions too")
            return
        table = self._try("sent", lambda: read_sent(path, past, WINDOW, 0, self._progress))
        if table is not None:
            self._report.parts["sent"] = parts.of_sent(table)
            self._prepared(table, users, past, campaign)

    def _failed(self, *names: str) -> bool:
        return any(name in self._report.errors for name in names)

    def _trial(self, trial: TrialTable, prepared: Prepared | None, campaign: Campaign | None) -> None:
        before = {} if prepared is None else parts.habits_before(trial, prepared)
        self._report.parts["trial"] = parts.of_trial(trial, before)
        self._report.warnings += parts.odd_trial(trial, before, campaign)

    def _offers(self, users: Users | None, campaign: Campaign | None) -> Problem | None:
        path = self._report.inputs.offers
        if path is None:
            return None
        failed = "users" in self._report.errors
        problem = self._try("offers", lambda: parts.problem(path, users, campaign or Campaign(), failed))
        if problem is not None:
            self._report.parts["offers"] = parts.of_offers(problem)
            self._report.warnings += parts.odd_offers(problem)
        return problem

    def _warn(self, text: str) -> None:
        self._report.warnings.append(text)
