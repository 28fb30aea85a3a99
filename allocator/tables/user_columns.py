"""A table of users: their attributes, in the order of the offers' users."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from allocator.errors import DataError, counted
from allocator.tables.frames import decoded, is_text, one_chunk, refuse_nulls, to_arrow
from allocator.tables.origin import MOST_EXAMPLES, Origin


@dataclass(frozen=True)
class Attribute:
    """What is known of each user, as an index into the distinct values.

    Attributes
    ----------
    values
        `(n_values,)` numbers, true/false, or objects: text, and `None` where nothing is known.
    code
        `(n_users,)` integer index into `values`.
    """

    values: np.ndarray
    code: np.ndarray

    @classmethod
    def of(cls, column: Any, name: str) -> Attribute:
        """Factorise an array of any kind; raises `DataError` where an entry cannot be compared."""
        array = np.asarray(column)
        try:
            return cls._of_arrow(pa.chunked_array([pa.array(array)]))
        except (pa.ArrowException, TypeError):  # entries of several types, such as 1 and "x"
            pass
        index: dict[Any, int] = {}
        try:
            code = np.array([index.setdefault(item, len(index)) for item in array.tolist()], np.int32)
        except TypeError as error:
            raise DataError(f"users: column {name!r} holds entries that are no plain values ({error})") from error
        values = np.empty(len(index), object)
        values[:] = list(index)
        return cls(values, code)

    @classmethod
    def _of_arrow(cls, column: pa.ChunkedArray) -> Attribute:
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if pa.types.is_decimal(kind):
            column = decoded(column).cast(pa.float64())
        elif pa.types.is_temporal(kind):
            column = decoded(column).cast(pa.string())  # campaign.toml writes a day as text: "2026-01-31"
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        coded = one_chunk(column.unify_dictionaries())
        code = coded.indices.fill_null(len(coded.dictionary)).to_numpy().astype(np.int32, copy=False)
        if coded.dictionary.null_count or coded.indices.null_count:
            values = np.empty(len(coded.dictionary) + 1, object)
            values[:-1] = coded.dictionary.to_pylist()
            values[-1] = None
        else:
            values = coded.dictionary.to_numpy(zero_copy_only=False)
        return cls(values, code)

    def array(self) -> np.ndarray:
        """Return each user's value, `(n_users,)`."""
        return self.values[self.code]


class UserColumns(Mapping[str, Attribute]):
    """The attributes of a users table by name, each looked at only when a limit refers to it.

    Parameters
    ----------
    table
        A table without `user_id`.
    row
        `(n_users,)` row of the table for each user, or `None` where they are in the same order.
    """

    def __init__(self, table: pa.Table, row: np.ndarray | None) -> None:
        self._table, self._row = table, row
        self._known: dict[str, Attribute] = {}

    def __getitem__(self, name: str) -> Attribute:
        """Return an attribute, in the order of the offers' users."""
        if name not in self._known:
            if name not in self._table.column_names:
                raise KeyError(name)
            if self._table.column_names.count(name) > 1:
                raise DataError(f"users: column {name!r} is there more than once; keep one")
            try:
                found = Attribute._of_arrow(self._table[name])
            except pa.ArrowException:  # lists and the like
                found = Attribute.of(self._table[name].to_numpy(), name)
            code = found.code if self._row is None else found.code[self._row]
            self._known[name] = Attribute(found.values, code)
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the columns' names."""
        return iter(self._table.column_names)

    def __len__(self) -> int:
        """Return the number of columns."""
        return self._table.num_columns


def user_columns(table: Any, user_ids: pa.Array, source: str = "users") -> tuple[UserColumns, np.ndarray]:
    """Align a users table with the users of the offers.

    Returns
    -------
    attributes
        What the other columns say of each of `user_ids`.
    row
        `(n_users,)` int64: the row of the users table that describes each user.

    Raises
    ------
    DataError
        Where `user_id` is missing, of another type than in the offers, doubled, or where a user is not described.
    """
    arrow = to_arrow(table, source)
    if arrow.column_names.count("user_id") != 1:
        found = f"column 'user_id' occurs {arrow.column_names.count('user_id')} times; keep one"
        if "user_id" not in arrow.column_names:
            found = f"column 'user_id' is missing; found {', '.join(arrow.column_names) or '(none)'}"
        raise DataError(f"{source}: {found}")
    others = arrow.drop_columns(["user_id"])
    ids = decoded(arrow["user_id"])
    refuse_nulls(ids, "user_id", source, Origin.of(arrow))
    if not is_text(ids.type) and not pa.types.is_integer(ids.type):
        raise DataError(f"{source}: column 'user_id' must hold integers or strings, not {ids.type}")
    if is_text(ids.type) != is_text(user_ids.type):
        raise DataError(
            f"{source}: user_id is {ids.type} here but {user_ids.type} in the offers; write both the same way"
        )
    kind = pa.large_string() if is_text(ids.type) else _integers(ids.type, user_ids.type)
    values, wanted = one_chunk(ids.cast(kind)), user_ids.cast(kind)
    if values.equals(wanted):  # the offers' users are distinct: so are these
        return UserColumns(others, None), np.arange(len(wanted))
    distinct = pc.count_distinct(values).as_py()
    if distinct != len(values):
        counts = pc.value_counts(values)
        double = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
        raise DataError(
            f"{source}: {len(values) - distinct:,} user_id are there more than once "
            f"(e.g. {_examples(double)}); keep one row a user"
        )
    found = pc.index_in(wanted, value_set=values)
    if found.null_count:
        missing = user_ids.filter(pc.is_null(found))
        raise DataError(
            f"{source}: {counted(found.null_count, 'user of the offers has', 'users of the offers have')} no row here (e.g. {_examples(missing)}); add them"
        )
    row = found.to_numpy(zero_copy_only=False).astype(np.int64)
    return UserColumns(others, row), row


def _integers(one: pa.DataType, two: pa.DataType) -> pa.DataType:
    """Return a type in which integer ids of two tables can be compared."""
    if one == two:
        return one
    # No integer type holds both signed and unsigned 64 bits; as text each number has one form.
    return pa.large_string() if pa.uint64() in (one, two) else pa.int64()


def _examples(values: pa.Array) -> str:
    return ", ".join(str(value) for value in values[:MOST_EXAMPLES].to_pylist())
