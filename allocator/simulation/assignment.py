"""Who was planned what, and who was held out: what a plan folder says for measurement."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as parquet

from allocator.errors import DataError, counted
from allocator.simulation.outcomes import examples_of
from allocator.tables.faults import in_words
from allocator.tables.files import same_ids
from allocator.tables.frames import decoded, is_text, one_chunk
from allocator.tables.plan_folder import PlanFolder

PROPENSITIES = "propensities.parquet"
NEEDED = ("user_id", "stratum", "planned", "planned_value", "planned_cost", "issued", "held_out", "propensity")


@dataclass(frozen=True, eq=False)
class Assignment:
    """What a plan folder says of every user: what was planned, and who was held out.

    Attributes
    ----------
    user_ids
        `(n_users,)`.
    planned, issued, stratum
        `(n_users,)` codes into `planned_names`, `issued_names`, `strata`; name `""`: no coupon.
    held, randomised
        `(n_users,)` bool.
    value, cost
        `(n_users,)` currency, of the planned coupons.
    share
        Chance of being held out.
    """

    user_ids: pa.Array
    planned: np.ndarray
    planned_names: tuple[str, ...]
    issued: np.ndarray
    issued_names: tuple[str, ...]
    stratum: np.ndarray
    strata: tuple[str, ...]
    held: np.ndarray
    randomised: np.ndarray
    value: np.ndarray
    cost: np.ndarray
    share: float


def read_assignment(folder: PlanFolder) -> Assignment:
    """Read propensities.parquet of a plan folder; raises `DataError` where there is none, or it does not fit the plan."""
    path = folder.path / PROPENSITIES
    if not path.is_file():
        raise DataError(
            f"{folder.path}: the plan has no control group ({PROPENSITIES} is missing), and without one nothing tells what "
            "would have happened anyway; plan the next campaign with --holdout 5%"
        )
    with in_words(path):
        table = parquet.read_table(path)
    missing = [name for name in NEEDED if name not in table.column_names]
    if missing:
        raise DataError(f"{path}: column {missing[0]!r} is missing; make the plan again with `allocate --holdout`")
    planned, planned_names = _codes(table["planned"])
    issued, issued_names = _codes(table["issued"])
    stratum, strata = _codes(table["stratum"], blank_first=False)
    held = np.asarray(one_chunk(table["held_out"]).to_numpy(zero_copy_only=False), bool)
    propensity = table["propensity"].to_numpy()
    randomised = propensity < 1.0
    shares = np.unique(np.round(np.where(held, propensity, 1.0 - propensity)[randomised], 9))
    ids = one_chunk(table["user_id"])
    if shares.size > 1:
        raise DataError(
            f"{path}: chances of being held out differ between users ({shares[0]:g} to {shares[-1]:g}); measure users of each "
            "chance by themselves"
        )
    both = np.flatnonzero(held & (issued > 0))
    if both.size:
        raise DataError(
            f"{path}: {counted(both.size, 'user is', 'users are')} held out and issued a coupon at once (e.g. "
            f"{examples_of(ids, both)}); the folder was changed by hand: make the plan again"
        )
    return Assignment(
        ids,
        planned,
        planned_names,
        issued,
        issued_names,
        stratum,
        strata,
        held,
        randomised,
        table["planned_value"].to_numpy(),
        table["planned_cost"].to_numpy(),
        float(shares[0]) if shares.size else 0.0,
    )


def _codes(column: pa.ChunkedArray, blank_first: bool = True) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return codes and names in the order of the alphabet, so that strata's neighbours are alike.

    With `blank_first` code 0 is the empty name, whether it occurs or not.
    """
    coded = one_chunk(column if pa.types.is_dictionary(column.type) else column.dictionary_encode())
    names = [str(name) for name in coded.dictionary.to_pylist()]
    ordered = sorted({*names, *([""] if blank_first else [])})
    index = {name: place for place, name in enumerate(ordered)}
    code = coded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return np.array([index[name] for name in names], np.int64)[code], tuple(ordered)


def users_of_offers(folder: PlanFolder, user_ids: pa.Array, source: str) -> np.ndarray:
    """Return the place of each issued offer's user among these ids, `(n_offers,)` int64; -1: not among them.

    `source` is where the users come from. Raises `DataError` where it writes them in another way than the plan.
    """
    plan, users = same_ids(folder.plan.select(["user_id"]), pa.table({"user_id": user_ids}))
    if is_text(plan["user_id"].type) != is_text(users["user_id"].type):
        raise DataError(
            f"{folder.path}: user_id is {plan['user_id'].type} there but {users['user_id'].type} in {source}; write both the same way"
        )
    ids = one_chunk(plan["user_id"].cast(users["user_id"].type))
    place = pc.index_in(ids, value_set=one_chunk(users["user_id"])).fill_null(-1)
    return place.to_numpy(zero_copy_only=False).astype(np.int64)


def coupons_of(folder: PlanFolder, user_ids: pa.Array, source: str) -> np.ndarray:
    """Return what a plan gives each of these users, `(n_users,)` objects: coupons as `in_order`, or an empty text.

    Raises `DataError` as `users_of_offers`.
    """
    place = users_of_offers(folder, user_ids, source)
    coupons = decoded(folder.plan["coupon"]).to_numpy(zero_copy_only=False)
    gives = np.full(len(user_ids), "", object)
    order = np.argsort(place, kind="stable")
    order = order[place[order] >= 0]
    repeated = np.diff(place[order], prepend=-1) == 0
    gives[place[order[~repeated]]] = coupons[order[~repeated]]
    for row in order[repeated].tolist():  # users with several coupons are the exception
        gives[place[row]] = f"{gives[place[row]]}+{coupons[row]}"
    return in_order(gives)


def in_order(names: np.ndarray) -> np.ndarray:
    """Return names of coupons, `(n,)` objects, in which several of one user stand in one order, whoever joined them by `+`."""
    distinct, code = np.unique(names.astype(str), return_inverse=True)
    return np.array(["+".join(sorted(name.split("+"))) for name in distinct.tolist()], object)[code]
