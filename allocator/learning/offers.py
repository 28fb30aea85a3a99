"""Users x coupons -> a table of offers: predict, value, and leave out who may not get a coupon."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from allocator.campaign import Campaign, Coupon
from allocator.errors import DataError, UsageError
from allocator.history import Profiles
from allocator.learning.asking import who_may
from allocator.learning.model import Model, Prediction
from allocator.learning.past import Past
from allocator.learning.wanting import Wants, why_anew
from allocator.learning.wanting import wants as foretell
from allocator.progress import Progress, silent
from allocator.scoring import Assumptions, Expected, Valued, check_basket, value_offers
from allocator.tables.behind import EFFECTS, MODEL
from allocator.tables.frames import decoded, is_text, one_chunk, to_arrow

FLOAT = pa.float32()
COLUMNS = (
    "value",
    "cost",
    "liability",
    "redeem_probability",
    "purchase_without",
    "purchase_with",
    "relevance",
    "incremental_sales",
    "value_error",
)
OBSERVATIONAL = (
    "the effects are observational: nobody drew lots for the coupons that the model learned from, so what the targeting "
    "knew and the features do not is counted as the coupons' effect; keep a random control group this time"
)
MONEY = ("value", "cost", "liability")


@dataclass(frozen=True, eq=False)
class Memory:
    """What past purchases say of users.

    Attributes
    ----------
    columns
        `(n,)` float32 by name of a profile's feature.
    wants
        What the users want of the coupons' scopes; `None` where no coupon has one.
    notes
        As of when, and how many users have no past.
    """

    columns: Mapping[str, np.ndarray]
    wants: Wants | None
    notes: tuple[str, ...] = ()

    def joined(self, table: pa.Table, first: int, source: str) -> pa.Table:
        """Add the profiles of a block of users that begins at `first`; raises `DataError` where a name is taken."""
        for name, values in self.columns.items():
            if name in table.column_names:
                raise DataError(f"{source}: column {name!r} is also a feature made of transactions; rename it")
            table = table.append_column(name, pa.array(values[first : first + table.num_rows]))
        return table

    def without_columns(self) -> Memory:
        """Return the same for users whose profiles were joined already."""
        return Memory({}, self.wants)

    def wants_of(self, first: int, rows: int) -> Wants | None:
        """Return what a block of users wants."""
        return None if self.wants is None else self.wants.block(first, rows)


@dataclass(frozen=True, eq=False)
class Scorer:
    """A model and a campaign, ready to score users, a block at a time.

    Attributes
    ----------
    draws
        How many `value_draw_j` columns to make: values as they would be if the model's errors were so and so. An
        error is the same for all users and blocks: sums over many users vary as they should.
    """

    model: Model
    campaign: Campaign
    draws: int = 0
    seed: int = 0
    past: Past | None = None
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Refuse what cannot be scored before any user is read."""
        header = self.campaign.campaign
        check_basket(self.model.baskets is not None, header.basket)
        if self.model.profile is not None and self.past is None:
            what = "--transactions" + ("" if self.model.profile.category_column is None else " and --products")
            raise UsageError(f"the model's features are made of past purchases: give {what}")
        if self.past is None and any(coupon.scope for coupon in self.coupons):
            self.notes.append(
                "coupons with a scope are valued as if they were good for everything: without --transactions and "
                "--products nobody knows who buys from their scope anyway"
            )
        if self.model.observational:
            self.notes.append(OBSERVATIONAL)
        self.notes.extend(self.model.relate(self.coupons).notes)

    @property
    def coupons(self) -> tuple[Coupon, ...]:
        """The campaign's coupons."""
        return self.model.asked(self.campaign)

    @property
    def assumptions(self) -> Assumptions:
        """What offers are valued with."""
        learned = None if self.model.baskets is None else self.model.baskets.spread
        return Assumptions.of(self.campaign.campaign, learned)

    @property
    def effects(self) -> str:
        """Return `randomised` or `observational`: how far the effects can be trusted."""
        return "observational" if self.model.observational else "randomised"

    def schema(self, ids: pa.DataType) -> pa.Schema:
        """Return the columns of the offers; the metadata say how far they can be trusted."""
        kinds = [(name, pa.float64() if name in MONEY else FLOAT) for name in COLUMNS]
        kinds += [(f"value_draw_{j}", FLOAT) for j in range(self.draws)]
        said = json.dumps(self.model.card.findings())
        metadata = {EFFECTS: self.effects.encode(), b"allocate.seed": str(self.seed).encode(), MODEL: said.encode()}
        return pa.schema([("user_id", ids), ("coupon", pa.dictionary(pa.int32(), pa.string())), *kinds], metadata)

    def own(self, ids: pa.Array, from_csv: bool) -> pa.Array:
        """Return users' ids as past purchases have them; see `Past.own`."""
        return ids if self.past is None else self.past.own(ids, from_csv)

    def remember(self, ids: pa.Array, progress: Progress = silent) -> Memory:
        """Look up what past purchases say of all users that will be scored, in their order."""
        if self.past is None:
            return Memory({}, None)
        start = self.campaign.campaign.start
        columns: dict[str, np.ndarray] = {}
        notes = self.past.notes
        if self.model.profile is not None:
            made = self.past.profiles(ids, start, self.model.profile, progress)
            columns, notes = made.columns(), (*notes, *_of_profiles(made, start is not None))
        wants = None
        if any(coupon.scope for coupon in self.coupons):
            learned = self.model.relevance
            notes = (*notes, *_of_relevance(self.coupons, self.model))
            wants = foretell(
                self.past,
                self.coupons,
                self.model.kin(self.coupons),
                ids,
                start,
                learned=learned,
                seed=self.seed,
                progress=progress,
            )
        faults = self.past.faults if self.model.profile is None else made.faults
        if columns or wants is not None:
            notes = (*notes, *faults.told(self.past.transactions.path))
        return Memory(columns, wants, notes)

    def score(self, users: Any, source: str = "users", memory: Memory | None = None, first: int = 0) -> pa.Table:
        """Return the offers of a block of users, in their order, coupons in the campaign's.

        Parameters
        ----------
        memory
            What past purchases say, of users from the `first` of these on; looked up where left out.

        Raises
        ------
        DataError
            Where columns are missing or of the wrong kind.
        """
        table = to_arrow(users, source)
        ids = user_ids(table, source)
        memory = self.remember(ids) if memory is None else memory
        table = memory.joined(table, first, source)
        prediction = self.model.predict(
            self.model.features_of(table, source), self.coupons, memory.wants_of(first, table.num_rows)
        )
        expected = self._with_baskets(prediction.expected)
        valued = value_offers(expected, self.coupons, self.assumptions)
        kept = np.flatnonzero(who_may(table, self.coupons, source).ravel())
        columns = self._columns(prediction, expected, valued)
        width = len(self.coupons)
        names = pa.array([coupon.id for coupon in self.coupons], pa.string())
        coupon = pa.DictionaryArray.from_arrays(pa.array((kept % width).astype(np.int32)), names)
        schema = self.schema(ids.type)
        arrays = [ids.take(pa.array(kept // width)), coupon]
        arrays += [pa.array(columns[name].reshape(-1)[kept], schema.field(name).type) for name in columns]
        return pa.Table.from_arrays(arrays, schema=schema)

    def _with_baskets(self, expected: Expected) -> Expected:
        """The file's `basket` stands for what was not learned, and overrides the level of what was."""
        basket = self.campaign.campaign.basket
        if basket is None:
            return expected
        without, with_coupon = expected.basket_without, expected.basket_with
        if self.model.baskets is None:
            without, with_coupon = np.full_like(without, basket), np.full_like(with_coupon, basket)
        else:
            scale = basket / self.model.baskets.mean
            without, with_coupon = without * scale, with_coupon * scale
        return Expected(
            expected.purchase_without,
            expected.purchase_with,
            without,
            with_coupon,
            expected.redeem,
            expected.relevance,
            expected.scope_basket,
            expected.taken,
        )

    def _columns(self, prediction: Prediction, expected: Expected, valued: Valued) -> Mapping[str, np.ndarray]:
        if prediction.sales_deviations is None:
            parts = prediction.deviations * valued.per_purchase.astype(np.float32)
        else:
            parts = prediction.sales_deviations * np.float32(self.assumptions.margin)
        shared = valued.per_basket * prediction.basket_errors
        error = np.sqrt(np.square(parts, dtype=np.float64).sum(axis=0) + shared**2)
        without = np.broadcast_to(expected.purchase_without[:, None], valued.value.shape)
        made = {
            "value": valued.value,
            "cost": valued.cost,
            "liability": valued.liability,
            "redeem_probability": valued.redeem,
            "purchase_without": without,
            "purchase_with": expected.purchase_with,
            # Of a coupon for everything: whoever buys at all buys from its scope.
            "relevance": np.where(np.isnan(expected.relevance), without, expected.relevance),
            "incremental_sales": valued.sales,
            "value_error": error,
        }
        if self.draws:
            rng = np.random.default_rng([self.seed, 17])
            ours = rng.standard_normal((self.draws, len(parts)), dtype=np.float32)
            baskets = rng.standard_normal((self.draws, len(self.coupons)))
            for j in range(self.draws):
                moved = np.tensordot(ours[j], parts, axes=1)
                made[f"value_draw_{j}"] = valued.value + moved + shared * baskets[j]
        return made


def _of_relevance(coupons: Sequence[Coupon], model: Model) -> Iterator[str]:
    """Say where relevance was not learned in training, and what it does to borrowed effects."""
    anew = why_anew(coupons, model.relevance)
    if anew is not None:
        yield anew
    elif model.relevance is None:
        yield "relevance is learned now, from these purchases: the model has none of its training"
    lent = [coupon.id for coupon, near in zip(coupons, model.kin(coupons), strict=True) if near and coupon.scope]
    if lent:
        yield (
            f"{', '.join(lent)}: their effect on each user is taken to be less in proportion as the user is less likely to buy "
            "from their scope than from that of the coupons that it is borrowed from"
        )


def _of_profiles(made: Profiles, dated: bool) -> Iterator[str]:
    """Say as of when profiles are, and how many users they know nothing of."""
    assert isinstance(made.as_of, int)
    when = np.datetime_as_string(np.datetime64(made.as_of, "s"), unit="D" if made.as_of % 86_400 == 0 else "s")
    yield f"profiles are as of {when.replace('T', ' ')}, " + (
        "the campaign's start"
        if dated
        else "just after the last purchase (start = 2026-01-31 under [campaign] sets a day)"
    )
    without = int((~made.known).sum())
    if without:
        yield (
            f"{without:,} of {len(made):,} users have no purchase before then: what a profile counts is 0 for them, and "
            "averages are taken as not known"
        )


def user_ids(table: pa.Table, source: str) -> pa.Array:
    """Return the ids of a block of users; raises `DataError` where there are none."""
    if "user_id" not in table.column_names:
        raise DataError(f"{source}: column 'user_id' is missing; found: {', '.join(table.column_names[:20])}")
    ids = one_chunk(decoded(table["user_id"]))
    if not is_text(ids.type) and not pa.types.is_integer(ids.type):
        raise DataError(f"{source}: column 'user_id' must hold integers or strings, not {ids.type}")
    if ids.null_count:
        raise DataError(f"{source}: column 'user_id' is empty in {ids.null_count:,} rows; fill them in or drop them")
    return ids.cast(pa.string()) if is_text(ids.type) else ids


def score(
    model: Model,
    users: Any,
    campaign: Campaign | Sequence[Coupon],
    *,
    transactions: str | Path | None = None,
    products: str | Path | None = None,
    draws: int = 0,
    seed: int = 0,
) -> pa.Table:
    """Return a table of offers, for `Problem.from_offers`.

    Parameters
    ----------
    users
        A pandas, polars or pyarrow table: `user_id`, the model's features, and columns that coupons' `users` refer to.
    campaign
        The campaign, or coupons alone: then every assumption has its default.
    transactions, products
        Past purchases: needed where the model's features are made of them, and for coupons with a scope. By default
        those that the model was trained with, where they still lie there unchanged.
    draws
        Number of `value_draw_j` columns.

    Raises
    ------
    DataError
        Where columns are missing or of the wrong kind.
    UsageError
        Where the campaign lists no coupons, or says nothing of baskets that the model does not know either.
    """
    whole = campaign if isinstance(campaign, Campaign) else Campaign(coupon=tuple(campaign))
    history = model.history(transactions, products)
    past = None if history.transactions is None else Past.read(history.transactions, history.products)
    return Scorer(model, whole, draws, seed, past).score(users)
