"""What a plan folder's summary promises, as checked numbers: the same for every explanation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from allocator.errors import DataError, UsageError
from allocator.result import LimitUse
from allocator.tables.plan_folder import SUMMARY, PlanFolder

AGAIN = "it was written by another version, or changed by hand; make the plan again with `allocate -o`"
OBSERVATIONAL = (
    "{}: the effects are observational: nobody drew lots for the coupons that the model learned from, so that what they earn "
    "is a guess until a control group shows it (--holdout)."
)
WITH_PLAN = ("optimal", "feasible")


@dataclass(frozen=True)
class Facts:
    """A plan's headline.

    Attributes
    ----------
    objective, bound, price_bound, spend, budget
        Currency. `price_bound` follows from the limits' prices alone; `bound` may be tighter.
    users, offers, issued
        Users and candidate offers of the problem, and offers issued.
    limits
        Use, numbers and price of each limit.
    coupons
        Names of all coupons, in the campaign's order.
    observational
        Whether the effects behind the offers were learned where nobody drew lots.
    """

    path: str
    campaign: str
    currency: str
    status: str
    objective: float
    bound: float
    price_bound: float
    spend: float
    budget: float
    users: int
    offers: int
    issued: int
    limits: tuple[LimitUse, ...]
    coupons: tuple[str, ...]
    observational: bool = False

    @property
    def warnings(self) -> tuple[str, ...]:
        """What whoever reads of the plan must know."""
        return (OBSERVATIONAL.format(self.path),) if self.observational else ()

    @property
    def gap(self) -> float:
        """How much better another plan could be at most, currency."""
        return max(0.0, self.bound - self.objective)

    @property
    def price_gap(self) -> float:
        """What the plan earns less than its limits' prices allow, currency."""
        return max(0.0, self.price_bound - self.objective)


def facts(folder: PlanFolder) -> Facts:
    """Read the headline of a plan folder.

    Raises
    ------
    UsageError
        Where the folder holds no plan, as after an infeasible problem.
    DataError
        Where the summary lacks a key or holds something else than it should.
    """
    read = _Document(folder.summary, f"{folder.path / SUMMARY}")
    status = read.text("status")
    if status not in WITH_PLAN:
        raise UsageError(
            f"{folder.path}: the status is {status!r}: no offer was issued, so there is nothing to explain"
        )
    issued = read.whole("issued")
    if issued != folder.plan.num_rows:
        raise DataError(
            f"{folder.path}: the summary tells of {issued:,} offers issued, the plan has {folder.plan.num_rows:,} rows; {AGAIN}"
        )
    for name in ("user_id", "coupon", "value", "cost"):
        if folder.plan.column_names.count(name) != 1:
            raise DataError(f"{folder.path}: plan.parquet does not have one column {name!r}; {AGAIN}")
    return Facts(
        path=str(folder.path),
        campaign=read.text("campaign"),
        currency=read.text("currency"),
        status=status,
        objective=read.number("objective"),
        bound=read.number("bound"),
        price_bound=read.number("price_bound"),
        spend=read.number("spend"),
        budget=read.number("budget"),
        users=read.whole("users"),
        offers=read.whole("offers"),
        issued=issued,
        limits=tuple(_limit(item) for item in read.items("limits")),
        coupons=tuple(item.text("name") for item in read.items("coupons")),
        observational=bool((folder.summary.get("model") or {}).get("observational")),
    )


def _limit(item: _Document) -> LimitUse:
    return LimitUse(
        item.text("name"),
        item.text("measure"),
        item.number("used"),
        item.number_or_none("at_least"),
        item.number_or_none("at_most"),
        item.number("price"),
    )


@dataclass(frozen=True)
class _Document:
    """A JSON object whose entries are checked as they are taken."""

    content: dict[str, Any]
    place: str

    def text(self, key: str) -> str:
        return str(self._entry(key, (str,)))

    def number(self, key: str) -> float:
        return float(self._entry(key, (int, float)))

    def number_or_none(self, key: str) -> float | None:
        return None if self.content.get(key) is None else self.number(key)

    def whole(self, key: str) -> int:
        return int(self._entry(key, (int,)))

    def items(self, key: str) -> list[_Document]:
        entries = self._entry(key, (list,))
        found = []
        for number, entry in enumerate(entries):
            place = f"{self.place}: {key}[{number}]"
            if not isinstance(entry, dict):
                raise DataError(f"{place} is no object; {AGAIN}")
            found.append(_Document(entry, place))
        return found

    def _entry(self, key: str, kinds: tuple[type, ...]) -> Any:
        entry = self.content.get(key)
        if not isinstance(entry, kinds) or isinstance(entry, bool):
            found = f"is {entry!r}" if key in self.content else "is missing"
            raise DataError(f"{self.place}: {key} {found}; {AGAIN}")
        return entry
