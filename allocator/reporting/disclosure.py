"""Which numbers the report must not show by themselves: they are about few users, or would give such a number away.

Every number by coupon, by segment and by limit is a sum over issued offers. A cell is one combination of what the page
breaks offers down by (the limits' user groups, the attributes shown, the coupon); each number shown is a sum over cells.
So what can be worked out from all of them is the span of their rows of zeros and ones. Where a number about few users lies
in that span, or the difference of two numbers shown is about few users, a further number is hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from allocator.problem import Problem
from allocator.reporting.findings import Suppressed, worth
from allocator.result import Result

FEW = 10  # users: fewer are not shown
MOST_ROWS = 200  # of coupons or limits; a page stays readable, and small
TOTAL, ALONE = -1, -2  # kinds of rows that stand in no table: the sum of all, and one on its own


@dataclass(frozen=True, eq=False)
class Partition:
    """The users by one attribute.

    Attributes
    ----------
    names
        Of the segments.
    code, issued
        `(n_users,)` and `(n_issued,)`: index into `names` of each user of the problem, and of each issued offer's user.
    """

    attribute: str
    names: tuple[str, ...]
    code: np.ndarray
    issued: np.ndarray


@dataclass(eq=False)
class Rows:
    """Numbers of the page that are sums over cells.

    Attributes
    ----------
    sums
        `(n_rows, n_cells)` sparse zeros and ones.
    size, people
        `(n_rows,)` offers (or users) summed, and the users behind them.
    table
        `(n_rows,)` rows with the same number here stand in one table and add up to the total; or `TOTAL`, `ALONE`.
    hidden
        `(n_rows,)` bool: not shown.
    each
        How many offers a user may have at most: so many times `FEW` offers are of enough users.
    """

    sums: sparse.csr_matrix
    size: np.ndarray
    people: np.ndarray
    table: np.ndarray
    hidden: np.ndarray
    each: int = 1

    @classmethod
    def of(cls, rows: Sequence[np.ndarray], counts: np.ndarray, table: Sequence[int], each: int = 1) -> Rows:
        """Make rows of the cells that each sums (bool, `(n_cells,)`) and of how many offers or users a cell holds."""
        members = [np.flatnonzero(row) for row in rows]
        ends = np.concatenate([[0], np.cumsum([member.size for member in members])])
        index = np.concatenate(members)
        sums = sparse.csr_matrix((np.ones(index.size), index, ends), shape=(len(rows), counts.size))
        size = np.rint(sums @ counts).astype(np.int64)
        return cls(sums, size, size.copy(), np.array(table), np.zeros(len(rows), bool), each)

    @property
    def secret(self) -> np.ndarray:
        """`(n_rows,)` bool: rows about few users."""
        return (self.people > 0) & (self.people < FEW)

    def protect(self) -> None:
        """Hide the rows about few users, then further ones until none of them can be worked out from what is shown."""
        self.hidden |= self.secret
        for table in np.unique(self.table[self.table >= 0]):
            self._complement(np.flatnonzero((self.table == table) & (self.people > 0)))
        overlap = (self.sums @ self.sums.T).toarray()
        while rows := self._telling(overlap):
            self.hidden[rows] = True

    def _complement(self, rows: np.ndarray) -> None:
        """Let the total less the rows shown be the sum of at least two rows, and of enough users."""
        for row in rows[np.argsort(self.people[rows], kind="stable")]:
            hidden = rows[self.hidden[rows]]
            if not self.secret[hidden].any() or (hidden.size > 1 and self.people[hidden].sum() >= FEW):
                return
            self.hidden[row] = True

    def _telling(self, overlap: np.ndarray) -> list[int]:
        """Return shown rows without which less is given away; empty where nothing is."""
        shown = np.flatnonzero(~self.hidden & (self.people > 0))
        free = shown[self.table[shown] != TOTAL]
        secret = np.flatnonzero(self.secret)
        if not free.size:
            return []
        cells = np.diag(overlap)
        inside = overlap[np.ix_(free, shown)] == cells[free][:, None]
        left = self.size[shown][None, :] - self.size[free][:, None]
        bare = (inside & (left > 0) & (left < FEW * self.each)).any(axis=1)
        if bare.any():
            return [self._fewest(free[bare])]
        if not secret.size:
            return []
        # The part of a secret row that the shown rows do not span (least squares).
        across = overlap[np.ix_(shown, secret)]
        weights = np.linalg.pinv(overlap[np.ix_(shown, shown)], hermitian=True, rcond=1e-10) @ across
        rest = cells[secret] - (across * weights).sum(axis=0)
        telling = set()
        for column in np.flatnonzero(rest < 1e-6 * cells[secret]):
            used = shown[(np.abs(weights[:, column]) > 1e-6) & (self.table[shown] != TOTAL)]
            telling.add(self._fewest(used if used.size else free))
        return sorted(telling)

    def _fewest(self, rows: np.ndarray) -> int:
        return int(rows[np.argmin(self.people[rows])])


def suppressed(problem: Problem, result: Result, partitions: Sequence[Partition]) -> Suppressed:
    """Return the coupons, limits and segments that the report must not show by themselves."""
    if not len(result.plan):
        return Suppressed()
    coupons, limits = _shown_coupons(problem, result), _shown_limits(problem, result)
    users, offers = _user_rows(partitions, problem.n_users), _offer_rows(problem, result, partitions, coupons, limits)
    ends = np.cumsum([1, *(len(part.names) for part in partitions)])
    both = slice(1, int(ends[-1]))  # the segments: what one of the two hides, the other does too
    while True:
        before = offers.hidden.sum() + users.hidden.sum()
        users.protect()
        offers.hidden[both] |= users.hidden[both]
        offers.protect()
        users.hidden[both] |= offers.hidden[both]
        if offers.hidden.sum() + users.hidden.sum() == before:
            break
    of_coupons = offers.hidden[ends[-1] : ends[-1] + coupons.size]
    of_limits = offers.hidden[-limits.size :] if limits.size else np.zeros(0, bool)
    segments = {
        part.attribute: tuple(np.array(part.names, object)[offers.hidden[low : low + len(part.names)]].tolist())
        for part, low in zip(partitions, ends[:-1], strict=True)
    }
    return Suppressed(
        tuple(problem.coupon_ids[k] for k in coupons[of_coupons]),
        tuple(problem.limits[r].name for r in limits[of_limits]),
        {attribute: names for attribute, names in segments.items() if names},
    )


def _user_rows(partitions: Sequence[Partition], n_users: int) -> Rows:
    """Return the rows that count users: all of them, then each segment."""
    code = np.zeros(n_users, np.int64)
    for part in partitions:
        code = np.unique(code * len(part.names) + part.code, return_inverse=True)[1]
    _, first, counts = np.unique(code, return_index=True, return_counts=True)
    rows, table = _segment_rows([part.code[first] for part in partitions], partitions)
    return Rows.of([np.ones(first.size, bool), *rows], counts, [TOTAL, *table])


def _offer_rows(
    problem: Problem, result: Result, partitions: Sequence[Partition], coupons: np.ndarray, limits: np.ndarray
) -> Rows:
    """Return the rows that sum issued offers: all, each segment, each coupon shown, all other coupons, each limit shown."""
    plan = result.plan
    group = np.zeros(len(plan), np.int64)
    if problem.user_group is not None:
        group = problem.user_group[problem.offers.users_of(plan.offer)].astype(np.int64)
    code = group
    for part in partitions:
        code = np.unique(code * len(part.names) + part.issued, return_inverse=True)[1]
    _, first, code, counts = np.unique(
        code * problem.n_coupons + plan.coupon, return_index=True, return_inverse=True, return_counts=True
    )
    coupon, group = plan.coupon[first], group[first]
    rows, table = _segment_rows([part.issued[first] for part in partitions], partitions)
    rows += [coupon == k for k in coupons]
    rows += [~np.isin(coupon, coupons)]
    table += [len(partitions)] * (coupons.size + 1)
    rows += [problem.limit_coupons[r][coupon] & problem.limit_groups[r][group] for r in limits]
    table += [ALONE] * limits.size
    each = int(min(np.max(problem.max_per_user, initial=1), problem.n_coupons))
    found = Rows.of([np.ones(first.size, bool), *rows], counts, [TOTAL, *table], each)
    found.hidden[len(rows) - limits.size] = True  # the other coupons stand with those that are hidden
    for row in np.flatnonzero((found.size > 0) & (found.size < FEW * each)) if each > 1 else ():
        cells = found.sums[row].indices
        found.people[row] = np.unique(plan.user[np.isin(code, cells)]).size
    return found


def _segment_rows(codes: Sequence[np.ndarray], partitions: Sequence[Partition]) -> tuple[list[np.ndarray], list[int]]:
    rows = [code == k for code, part in zip(codes, partitions, strict=True) for k in range(len(part.names))]
    return rows, [number for number, part in enumerate(partitions) for _ in part.names]


def _shown_coupons(problem: Problem, result: Result) -> np.ndarray:
    """Return the coupons that the page may show, those that earn most, and those of few users whose secret is at stake."""
    issued = np.bincount(result.plan.coupon, minlength=problem.n_coupons)
    value = np.bincount(result.plan.coupon, weights=result.plan.value, minlength=problem.n_coupons)
    order = np.argsort(-value, kind="stable")
    order = order[issued[order] > 0]
    few = order[issued[order] < FEW]
    many = order[issued[order] >= FEW]
    return np.concatenate([many[:MOST_ROWS], few[:MOST_ROWS]])


def _shown_limits(problem: Problem, result: Result) -> np.ndarray:
    """Return the limits that the page may show and that may give something away: not those over everything."""
    # Beyond the problem's own limits a result tells of a budget that holds with a probability: it is over everything.
    uses = result.limits[: len(problem.limits)]
    matter = np.argsort([-worth(use) for use in uses], kind="stable")[:MOST_ROWS]
    partial = ~(problem.limit_coupons[matter].all(axis=1) & problem.limit_groups[matter].all(axis=1))
    return np.sort(matter[partial])
