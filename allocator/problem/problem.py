"""The allocation problem of a campaign (DESIGN: maximise value under limits and local rules)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from allocator.chance import Chance
from allocator.errors import UsageError, nearest
from allocator.limit import Limit
from allocator.problem import intake, scopes
from allocator.problem.offers import Offers
from allocator.tables.user_columns import Attribute

UNITS = ("value", "cost", "liability", "count")


@dataclass(frozen=True, eq=False)
class Problem:
    """Offers to choose from, and the rules a plan must keep.

    Build one with `from_arrays` or `from_offers`, which check everything; the constructor trusts its arguments.

    Attributes
    ----------
    limits
        The global rules; `limit_coupons` `(n_limits, n_coupons)` and `limit_groups` `(n_limits, n_groups)`, bool,
        say what each covers, with `user_group` `(n_users,)` int32 the group of each user (`None`: all in group 0).
    max_per_user
        How many offers a user may get at most: one number, or `(n_users,)` int32.
    exclusive
        `(n_coupons,)` int32: a user gets at most one coupon of each group >= 0; -1: in no group.
    required, forbidden
        Sorted offer indices whose x_e is fixed to 1 or to 0.
    coupon_ids
        Names of the coupons.
    user_ids
        Ids of the users in the order of `offers` (`None`: users are numbered from 0).
    user_row
        `(n_users,)` row of the users table for each user (`None`: users count in order of first appearance).
    face_value
        `(n_coupons,)` currency: the default liability of an offer; NaN: its cost.
    chance
        With which probability one of the limits must hold; `None`: all hold for expected spend alone.
    """

    offers: Offers
    limits: tuple[Limit, ...]
    limit_coupons: np.ndarray
    limit_groups: np.ndarray
    user_group: np.ndarray | None
    max_per_user: int | np.ndarray
    exclusive: np.ndarray
    required: np.ndarray
    forbidden: np.ndarray
    coupon_ids: tuple[str, ...]
    user_ids: Any
    user_row: np.ndarray | None
    face_value: np.ndarray | None
    chance: Chance | None = None

    @classmethod
    def from_arrays(
        cls,
        value: np.ndarray,
        cost: np.ndarray,
        *,
        budget: float | None = None,
        quantities: Sequence[float | None] | np.ndarray | None = None,
        min_quantities: Sequence[float | None] | np.ndarray | None = None,
        limits: Sequence[Limit] = (),
        max_per_user: int | Sequence[int] | np.ndarray = 1,
        exclusive: Sequence[Sequence[str | int]] = (),
        required: np.ndarray | None = None,
        forbidden: np.ndarray | None = None,
        columns: Mapping[str, np.ndarray] | None = None,
        users: Any = None,
        coupons: Sequence[str] | None = None,
        face_value: Sequence[float] | np.ndarray | None = None,
    ) -> Problem:
        """Build a problem from a grid of users by coupons; arrays that are C-contiguous float64 are not copied.

        Parameters
        ----------
        value, cost
            `(n_users, n_coupons)` float, currency. NaN in `value` marks an ineligible pair.
        budget
            At most this sum of `cost`; the limit is named `budget`.
        quantities, min_quantities
            For each coupon at most / at least so many offers (`None` or NaN: no limit); the limits are named
            `quantity[<coupon>]` and `min_quantity[<coupon>]`.
        limits
            Further limits.
        max_per_user
            A number, or one for each user, `(n_users,)`.
        exclusive
            Groups of coupons (names or indices) of which a user gets at most one.
        required, forbidden
            `(n_users, n_coupons)` bool: pairs that must, or must not, be chosen.
        columns
            Further measures, `(n_users, n_coupons)` each; `liability` among them if known.
        users
            Attributes of the users for limits: a mapping or table of `(n_users,)` columns, in order.
        coupons
            Names of the coupons; by default `"0"`, `"1"`, ...
        face_value
            `(n_coupons,)` currency; the default of liability.

        Raises
        ------
        DataError
            Where shapes differ, a value is infinite, a cost negative or not finite, an amount beyond 10^12.
        CampaignError
            Where a limit cannot be understood.
        """
        offers = intake.dense_offers(value, cost, columns or {})
        names = intake.coupon_names(coupons, offers.n_coupons)
        attributes = intake.attribute_arrays(users, offers.n_users)
        grid = (offers.n_users, offers.n_coupons)
        return cls._assemble(
            offers,
            [*intake.standard_limits(budget, quantities, min_quantities, names), *limits],
            attributes=attributes,
            max_per_user=max_per_user,
            exclusive=exclusive,
            required=intake.fixed_offers(required, grid, offers, "required"),
            forbidden=intake.fixed_offers(forbidden, grid, offers, "forbidden"),
            coupon_ids=names,
            user_ids=None,
            user_row=None,
            face_value=face_value,
        )

    @classmethod
    def from_offers(
        cls,
        offers: Any,
        *,
        limits: Sequence[Limit] = (),
        users: Any = None,
        max_per_user: int | str | Sequence[int] | np.ndarray = 1,
        exclusive: Sequence[Sequence[str]] = (),
        required: str | np.ndarray | Sequence[bool] | None = None,
        forbidden: str | np.ndarray | Sequence[bool] | None = None,
        coupons: Sequence[str] | None = None,
        face_value: Mapping[str, float] | None = None,
        source: str = "offers",
    ) -> Problem:
        """Build a problem from a table with one row for each eligible (user, coupon) pair.

        Parameters
        ----------
        offers
            A pandas, polars or pyarrow table with `user_id`, `coupon`, `value`, `cost` and further measures. Columns
            that neither the schema nor a limit names are not looked at.
        limits
            All limits, the budget among them.
        users
            A table with `user_id` and the attributes that limits refer to.
        max_per_user
            A number; the name of a column of `users`; or one number for each user, in the order of `users`
            (without `users`: in the order of their first appearance in the offers).
        exclusive
            Groups of coupons of which a user gets at most one.
        required, forbidden
            The name of a bool column of the offers, or `(n_rows,)` bool.
        coupons
            The coupons known to the campaign; others in the offers are an error. By default those of the offers, in
            order of first appearance.
        face_value
            Currency by coupon; the default of liability.
        source
            What error messages call the table.

        Raises
        ------
        DataError
            Where a column is missing or of the wrong type, a number unusable, a pair doubled, a coupon unknown.
        CampaignError
            Where a limit cannot be understood.
        """
        wanted = {name for limit in limits for name in limit.weights}
        wanted |= {flags for flags in (required, forbidden) if isinstance(flags, str)}
        table = intake.read_table(offers, source, coupons, wanted)
        scopes.check_measures(limits, sorted({*UNITS, *table.numbers}))
        attributes, user_row = intake.read_users(users, table.user.ids)
        names = tuple(table.coupon_ids)
        grid = (table.n_rows,)
        flags = {
            "required": intake.flag_rows(required, table, source),
            "forbidden": intake.flag_rows(forbidden, table, source),
        }
        sparse = intake.sparse_offers(table, source)
        if isinstance(max_per_user, str):
            max_per_user = intake.attribute(attributes, max_per_user, "max_per_user")
        elif user_row is not None and np.ndim(max_per_user) == 1:
            max_per_user = intake.aligned(max_per_user, user_row, users)
        faces = None if face_value is None else np.array([face_value.get(name, np.nan) for name in names])
        return cls._assemble(
            sparse,
            list(limits),
            attributes=attributes,
            max_per_user=max_per_user,
            exclusive=exclusive,
            required=intake.fixed_offers(flags["required"], grid, sparse, "required"),
            forbidden=intake.fixed_offers(flags["forbidden"], grid, sparse, "forbidden"),
            coupon_ids=names,
            user_ids=table.user.ids,
            user_row=user_row,
            face_value=faces,
        )

    @classmethod
    def _assemble(
        cls,
        offers: Offers,
        limits: list[Limit],
        *,
        attributes: Mapping[str, Attribute] | None,
        max_per_user: Any,
        exclusive: Sequence[Sequence[str | int]],
        required: np.ndarray,
        forbidden: np.ndarray,
        coupon_ids: tuple[str, ...],
        user_ids: Any,
        user_row: np.ndarray | None,
        face_value: Any,
    ) -> Problem:
        scopes.check_names(limits)
        scopes.check_measures(limits, sorted({*UNITS, *offers.columns}))
        both = np.intersect1d(required, forbidden)
        if both.size:
            raise UsageError(f"{both.size:,} offers are both required and forbidden; decide for one")
        user_group, limit_groups = scopes.user_groups(limits, offers.n_users, attributes)
        return cls(
            offers=offers,
            limits=tuple(limits),
            limit_coupons=scopes.coupon_masks(limits, coupon_ids),
            limit_groups=limit_groups,
            user_group=user_group,
            max_per_user=intake.per_user(max_per_user, offers.n_users),
            exclusive=intake.exclusive_groups(exclusive, coupon_ids),
            required=required,
            forbidden=forbidden,
            coupon_ids=coupon_ids,
            user_ids=user_ids,
            user_row=user_row,
            face_value=intake.faces(face_value, len(coupon_ids)),
        )

    @property
    def n_users(self) -> int:
        """Number of users, with or without offers."""
        return self.offers.n_users

    @property
    def n_coupons(self) -> int:
        """Number of coupon types."""
        return self.offers.n_coupons

    def limit_index(self, name: str) -> int:
        """Return the position of a limit by its name; raises `UsageError` where there is none."""
        for r, limit in enumerate(self.limits):
            if limit.name == name:
                return r
        known = [limit.name for limit in self.limits]
        raise UsageError(f"the problem has no limit {name!r}{nearest(name, known)}")

    def with_bounds(self, name: str, *, at_least: float | None, at_most: float | None) -> Problem:
        """Return the same problem with other numbers on one limit; shares all arrays."""
        r = self.limit_index(name)
        limits = list(self.limits)
        limits[r] = dataclasses.replace(limits[r], at_least=at_least, at_most=at_most)
        return dataclasses.replace(self, limits=tuple(limits))

    def with_chance(self, chance: Chance | None) -> Problem:
        """Return the same problem with a limit on cost that must hold with a probability; shares all arrays.

        Raises
        ------
        UsageError
            Where there is no such limit, or it is not an at-most limit of measure cost.
        """
        if chance is not None:
            limit = self.limits[self.limit_index(chance.limit)]
            if limit.weights != {"cost": 1.0} or limit.at_most is None:
                raise UsageError(
                    f"limit {limit.name!r} is not an at-most limit of measure cost; only what is spent can be kept with a "
                    "probability"
                )
        return dataclasses.replace(self, chance=chance)

    def keeping_limits(self, keep: Sequence[int]) -> Problem:
        """Return the same problem with only these limits (by position); shares all arrays."""
        index = list(keep)
        return dataclasses.replace(
            self,
            limits=tuple(self.limits[r] for r in index),
            limit_coupons=self.limit_coupons[index],
            limit_groups=self.limit_groups[index],
        )

    def column(self, name: str, offers: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Return a measure's column for these offer indices (all by default), float64."""
        source = self.offers
        if name == "value":
            return source.value[offers]
        if name == "cost":
            return source.cost[offers]
        if name in source.columns:
            return source.columns[name][offers]
        if name == "count":
            ones = np.broadcast_to(1.0, source.value.shape)  # a view of one number
            return ones[offers] if isinstance(offers, slice) else np.broadcast_to(1.0, offers.shape)
        if name == "liability":
            cost = source.cost[offers]
            if self.face_value is None:
                return cost
            index = np.arange(source.n_offers)[offers]
            face = self.face_value[source.coupons_of(index)]
            return np.where(np.isnan(face), cost, face)
        raise UsageError(f"the offers have no numeric column {name!r}")

    def measures(self, offers: np.ndarray) -> Iterator[np.ndarray]:
        """Yield for each limit in turn its numbers for those of these offers that it covers, float64.

        The same numbers as `measure` gives, without the zeros, not to be written to; what the limits share is looked up once.
        """
        columns: dict[str, np.ndarray] = {}
        coupon = self.offers.coupons_of(offers)
        group = None if self.user_group is None else self.user_group[self.offers.users_of(offers)]
        for r, limit in enumerate(self.limits):
            covered: np.ndarray | slice = slice(None)
            if not self.limit_coupons[r].all():
                covered = self.limit_coupons[r][coupon]
            if group is not None and not self.limit_groups[r].all():
                narrow = self.limit_groups[r][group]
                covered = narrow if isinstance(covered, slice) else covered & narrow
            total = None
            if limit.weights == {"count": 1.0}:  # a view of one number: nothing to add up
                size = offers.size if isinstance(covered, slice) else int(np.count_nonzero(covered))
                yield np.broadcast_to(1.0, size)
                continue
            for name, weight in limit.weights.items():
                if name not in columns:
                    columns[name] = self.column(name, offers)
                term = columns[name][covered]
                term = term if weight == 1.0 else weight * term
                total = term if total is None else total + term
            assert total is not None  # a limit's measure names a column
            yield total

    def measure(self, r: int, offers: np.ndarray) -> np.ndarray:
        """Return limit r's number for each of these offers, 0 where the limit does not cover it, float64."""
        total = np.zeros(offers.shape)
        for position, (name, weight) in enumerate(self.limits[r].weights.items()):
            term = self.column(name, offers)
            term = term if weight == 1.0 else weight * term
            total = term if position == 0 else total + term
        covered = self.limit_coupons[r][self.offers.coupons_of(offers)]
        if self.user_group is not None:
            covered = covered & self.limit_groups[r][self.user_group[self.offers.users_of(offers)]]
        return np.where(covered, total, 0.0)
