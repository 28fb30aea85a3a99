"""How many users remain after each rule, and why the others do not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from allocator.campaign import Campaign
from allocator.errors import DataError
from allocator.history import Transactions, Users
from allocator.history.inspecting import Inspection
from allocator.history.numbering import Numbering
from allocator.problem import Problem
from allocator.tables.files import files_of, format_of
from allocator.tables.frames import is_text, one_chunk


@dataclass(frozen=True)
class Step:
    """A rule, and how many users it leaves.

    Attributes
    ----------
    rule
        In a few words.
    users
        Who remain.
    lost
        Who do not.
    why
        What became of those.
    """

    rule: str
    users: int
    lost: int
    why: str

    def document(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {"rule": self.rule, "users": self.users, "lost": self.lost, "why": self.why}


@dataclass(frozen=True, eq=False)
class Ids:
    """A table's users: int64, or string; integers from CSV could be text as well."""

    path: str
    ids: pa.Array
    from_csv: bool


def funnel(
    users: Users | None,
    transactions: Transactions | None,
    seen: Inspection | None,
    offers: tuple[str, Problem] | None,
    campaign: Campaign | None,
    may_get: Mapping[str, np.ndarray],
) -> list[Step]:
    """Follow the users through the rules, one after the other.

    They begin as those of the users table, else of the transactions, else of the offers. `may_get` says for coupons that
    are for some users only who may get them, `(n_users,)` bool in the order of the users table.

    Raises
    ------
    DataError
        Where ids are text in one table and integers in another.
    """
    problem = None if offers is None else offers[1]
    sources: list[Ids] = []
    if users is not None:
        sources.append(Ids(users.path, users.user_ids, users.from_csv))
    if seen is not None and transactions is not None:
        sources.append(Ids(transactions.path, seen.users.ids, transactions.layout.is_csv))
    if offers is not None:
        sources.append(_offered(*offers))
    if not sources:
        return []
    ids = _same_type(sources)
    everybody = ids[0]
    numbering = Numbering(is_text(everybody.type))
    numbering.add(everybody)
    left = np.ones(len(everybody), dtype=bool)
    steps = [Step(f"in {sources[0].path}", len(everybody), 0, "")]

    def keep(rule: str, mask: np.ndarray, why: str) -> None:
        nonlocal left
        before = int(left.sum())
        left = left & mask
        steps.append(Step(rule, int(left.sum()), before - int(left.sum()), why))

    if may_get and campaign is not None and set(may_get) == set(campaign.coupon_ids):
        keep("may get a coupon", np.any(list(may_get.values()), axis=0), "no coupon is for them: see `users` of each")
    if problem is not None:
        offered = ids[-1]
        keep("have an offer", _members(numbering, offered, len(everybody)), "no row in the offers")
        worth = offered.filter(pa.array(_best(problem) > 0))
        keep(
            "have an offer worth more than nothing",
            _members(numbering, worth, len(everybody)),
            "every offer has value 0 or less",
        )
        budget = None if campaign is None else campaign.budget
        if budget is not None:
            fits = offered.filter(pa.array(_cheapest(problem) <= budget))
            keep(
                "have one that the budget can pay",
                _members(numbering, fits, len(everybody)),
                "each costs more than the whole budget",
            )
    return steps


def known_users(users: Users, transactions: Transactions, seen: Inspection) -> int:
    """Return how many users of a table have bought before; raises as `funnel`."""
    mine, theirs = _same_type(
        [
            Ids(users.path, users.user_ids, users.from_csv),
            Ids(transactions.path, seen.users.ids, transactions.layout.is_csv),
        ]
    )
    numbering = Numbering(is_text(mine.type))
    numbering.add(mine)
    return int(_members(numbering, theirs, len(mine)).sum())


def _offered(path: str, problem: Problem) -> Ids:
    ids = problem.user_ids
    column = one_chunk(ids) if isinstance(ids, pa.Array | pa.ChunkedArray) else pa.array(ids)
    is_csv = format_of(files_of(path)[0]) == "csv"
    return Ids(path, column.cast(pa.string() if is_text(column.type) else pa.int64()), is_csv)


def _same_type(sources: list[Ids]) -> list[pa.Array]:
    """Give all ids one type: integers that CSV alone made so become text where another table has text."""
    texts = [source for source in sources if is_text(source.ids.type)]
    if not texts:
        return [source.ids for source in sources]
    for source in sources:
        if not is_text(source.ids.type) and not source.from_csv:
            raise DataError(
                f"user_id is text in {texts[0].path} but integers in {source.path}; write both the same way"
            )
    return [source.ids.cast(pa.string()) for source in sources]


def _members(numbering: Numbering, ids: pa.Array, n: int) -> np.ndarray:
    mask = np.zeros(n, dtype=bool)
    found = numbering.find(ids)
    mask[found[found >= 0]] = True
    return mask


def _best(problem: Problem) -> np.ndarray:
    """Return each user's largest value, `(n_users,)`; minus infinity without an offer."""
    value = np.where(np.isnan(problem.offers.value), -np.inf, problem.offers.value)
    return _by_user(problem, value, np.maximum, -np.inf)


def _cheapest(problem: Problem) -> np.ndarray:
    """Return the least cost of each user's offers that are worth something, `(n_users,)`."""
    with np.errstate(invalid="ignore"):  # NaN: no offer
        cost = np.where(problem.offers.value > 0, problem.offers.cost, np.inf)
    return _by_user(problem, cost, np.minimum, np.inf)


def _by_user(problem: Problem, numbers: np.ndarray, what: np.ufunc, start: float) -> np.ndarray:
    out = np.full(problem.n_users, start)
    what.at(out, problem.offers.users_of(np.arange(problem.offers.n_offers)), numbers)
    return out
