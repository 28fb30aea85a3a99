"""Profiles: what a user's purchases before a moment tell, one row a user.

Lines stream by; memory holds about 500 bytes a user, whatever the number of lines. Where each user's lines come in order
of time (or in the reverse order), visits are counted exactly with the last few baskets of each user in mind. In any
other order the baskets seen are kept too: 8 to 22 bytes a visit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from allocator.errors import DataError, UsageError, nearest
from allocator.history.adding import add_up, features
from allocator.history.faults import Faults
from allocator.history.numbering import Numbering, ids_array, numbering_of
from allocator.history.people import Users
from allocator.history.products import Products
from allocator.history.schema import ProfileSchema
from allocator.history.survey import choose_schema, survey
from allocator.history.transactions import Transactions, moment, refuse_empty
from allocator.history.trial import TrialTable
from allocator.kernels import profiles as kernels
from allocator.progress import Progress, silent
from allocator.tables.frames import is_text


@dataclass(frozen=True, eq=False)
class Profiles:
    """Features of users, from what was known before `as_of`.

    Attributes
    ----------
    user_ids
        `(n,)` Arrow int64 or string.
    schema
        Names, units and meanings of the features.
    matrix
        `(features, n)` float32; NaN where a number would be made up.
    as_of
        Seconds since 1970: nothing from then on was looked at. `(n,)` where each user has a moment of its own.
    known
        `(n,)` bool: has at least one line before `as_of`.
    faults
        What was left out of the transactions.
    unknown_items
        Lines of items that the products lack; they count as `category_other`.
    """

    user_ids: pa.Array
    schema: ProfileSchema
    matrix: np.ndarray
    as_of: int | np.ndarray
    known: np.ndarray
    faults: Faults
    unknown_items: int

    def __len__(self) -> int:
        return len(self.user_ids)

    def __getitem__(self, name: str) -> np.ndarray:
        """Return one feature, `(n,)` float32; raises `UsageError` for an unknown name."""
        if name not in self.schema.names:
            raise UsageError(f"there is no feature {name!r}{nearest(name, self.schema.names)}")
        return self.matrix[self.schema.names.index(name)]

    def columns(self) -> dict[str, np.ndarray]:
        """Return every feature by name, `(n,)` float32 each; views, not copies."""
        return dict(zip(self.schema.names, self.matrix, strict=True))

    def to_arrow(self) -> pa.Table:
        """Return `user_id` and a float32 column a feature."""
        return pa.table(
            {"user_id": self.user_ids, **{name: pa.array(column) for name, column in self.columns().items()}}
        )

    def take(self, ids: Any) -> Profiles:
        """Return the profiles of these users, in this order; raises `DataError` for one that is not here."""
        wanted = ids_array(ids, "ids")
        numbering = Numbering(is_text(self.user_ids.type))
        numbering.add(self.user_ids)
        rows = numbering.find(wanted)
        if (rows < 0).any():
            missing = wanted.filter(pa.array(rows < 0))
            raise DataError(f"{len(missing):,} users have no profile, such as {missing[0].as_py()!r}")
        as_of = self.as_of if isinstance(self.as_of, int) else self.as_of[rows]
        return Profiles(
            wanted, self.schema, self.matrix[:, rows], as_of, self.known[rows], self.faults, self.unknown_items
        )


def profiles(
    transactions: Transactions,
    products: Products | None = None,
    users: Any = None,
    as_of: Any = None,
    *,
    schema: ProfileSchema | None = None,
    category: str | None = None,
    progress: Progress = silent,
) -> Profiles:
    """Make one row of features a user.

    Parameters
    ----------
    products
        For shares by category; without them there are none.
    users
        Who is wanted, in this order: `Users`, a `TrialTable`, or distinct ids (Arrow, NumPy, a sequence). By default everybody with a
        line before `as_of`, sorted by id. Users without history get 0 where something is counted and NaN where a
        number would be made up.
    as_of
        A moment (see `history.moment`), or `(n_users,)` datetime64 or seconds, one for each of `users`. Only what
        happened before counts. By default just after the last line.
    schema
        Of earlier profiles: makes the same columns. By default chosen from the data: the biggest categories before
        `as_of` (the latest, where there are many), hours and discounts where there are any.
    category
        The products' column whose values are the categories; by default `Products.category_column`.
    progress
        Called with a stage and a share of the rows.

    Raises
    ------
    DataError
        Where files are damaged, no line is sound, ids are of different types, or the schema does not fit the data.
    UsageError
        Where `as_of` is no moment.
    """
    transactions, wanted = _who(transactions, users)
    if products is not None:
        transactions = same_kind(transactions, "item_id", is_text(products.item_ids.type), products.path)
    limits = _limits(as_of, None if wanted is None else len(wanted))
    if schema is not None:
        _check_schema(schema, products, category)
    if wanted is None or limits is None or schema is None:
        found = survey(transactions, products, None if limits is None else int(limits.max(initial=0)), progress)
        refuse_empty(transactions, found.faults)
        wanted = wanted or found.users
        schema = schema or choose_schema(found, transactions, products, category)
        limits = np.array([found.last + 1], np.int64) if limits is None else limits
    limit = np.ascontiguousarray(np.broadcast_to(limits, len(wanted)))
    sums = add_up(transactions, products, schema, wanted, limit, progress)
    refuse_empty(transactions, sums.faults)
    return Profiles(
        user_ids=wanted.ids,
        schema=schema,
        matrix=features(sums, schema, limit),
        as_of=limit if np.ndim(as_of) else int(limits[0]),
        known=sums.table[:, kernels.LINES] > 0,
        faults=sums.faults,
        unknown_items=sums.unknown_items,
    )


def _who(transactions: Transactions, users: Any) -> tuple[Transactions, Numbering | None]:
    """Number the users that are asked for; transactions whose CSV ids could be either are read as these are."""
    if users is None:
        return transactions, None
    known = isinstance(users, Users | TrialTable)
    ids = users.user_ids if known else users
    source = users.path if known else "users"
    if known and users.from_csv and "user_id" in transactions.text_ids:
        ids = ids.cast(pa.string())
    numbering = numbering_of(ids, source)
    return same_kind(transactions, "user_id", numbering.is_text, source), numbering


def same_kind(transactions: Transactions, name: str, is_text_there: bool, source: str) -> Transactions:
    """Return transactions whose ids `name` are of the kind that another table has; raises `DataError` otherwise."""
    here = name in transactions.text_ids
    if here == is_text_there:
        return transactions
    if is_text_there and transactions.layout.is_csv:
        return transactions.with_text_users() if name == "user_id" else transactions.with_text_items()
    words = ("text", "integers") if here else ("integers", "text")
    raise DataError(
        f"{transactions.path}: {name} holds {words[0]} here but {words[1]} in {source}; write both the same way"
    )


def _limits(as_of: Any, n_users: int | None) -> np.ndarray | None:
    """Return the moment(s) from which on nothing is known, `(1,)` or `(n_users,)` int64 seconds."""
    if as_of is None:
        return None
    if np.ndim(as_of) == 0:
        return np.array([moment(as_of)], np.int64)
    many = np.asarray(as_of)
    if n_users is None:
        raise UsageError("as_of has a moment for each user, but users is not given; pass both")
    if many.shape != (n_users,):
        raise UsageError(f"as_of has shape {many.shape}; there are {n_users:,} users")
    if many.dtype.kind == "M":
        if np.isnat(many).any():
            raise UsageError(f"as_of is missing for {int(np.isnat(many).sum()):,} users")
        return many.astype("datetime64[s]").astype(np.int64)
    if many.dtype.kind not in "iu":
        many = pd.to_datetime(pd.Series(many)).to_numpy().astype("datetime64[s]")
    return many.astype(np.int64)


def _check_schema(schema: ProfileSchema, products: Products | None, category: str | None) -> None:
    if schema.category_column is None:
        return
    if products is None:
        raise DataError(
            f"the profiles' schema has shares of {schema.category_column!r}, but no products are given; pass products"
        )
    if category is not None and category != schema.category_column:
        raise UsageError(f"category is {category!r}, but the schema's is {schema.category_column!r}; leave it out")
    products.column(schema.category_column)
