"""A trained model: users and coupons in, what to expect of them out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from allocator.campaign import Campaign, Coupon
from allocator.errors import UsageError
from allocator.learning.asking import features_for
from allocator.learning.kinship import Kinship, kinship
from allocator.learning.logistic import Logistic
from allocator.learning.members import Members
from allocator.learning.parts import Parts
from allocator.learning.writing import save
from allocator.scoring import Expected
from allocator.tables.frames import to_arrow
from allocator.tables.model_folder import PRODUCTS, TRANSACTIONS, History, history_of
from uplift import DriftReport, Effects, Features

if TYPE_CHECKING:
    from allocator.learning.wanting import Wants

LEAST_CHANCE = 1e-9  # of a purchase, to divide by


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model expects of n users and K asked coupons, with what is not sure about it.

    Attributes
    ----------
    coupons
        The asked coupons.
    expected
        Purchases, baskets, redemption, relevance: what `allocator.scoring.value_offers` takes.
    deviations
        `(parts, n, K)` float32: errors of the chance of a purchase, as `Members` has them.
    basket_errors
        `(K,)` of the logarithm of the basket with the coupon; 0 where `sales_deviations` tell.
    sales_deviations
        `(parts, n, K)` float32: errors of incremental sales, currency; `None` where the trial had no spend.
    kinship
        How coupons that were not in the trial were related to it.
    """

    coupons: tuple[Coupon, ...]
    expected: Expected
    deviations: np.ndarray
    basket_errors: np.ndarray
    sales_deviations: np.ndarray | None
    kinship: Kinship

    @property
    def purchase_without(self) -> np.ndarray:
        """`(n,)` P(purchase) without a coupon."""
        return self.expected.purchase_without

    @property
    def purchase_with(self) -> np.ndarray:
        """`(n, K)` P(purchase) with each coupon."""
        return self.expected.purchase_with

    @property
    def uplift(self) -> np.ndarray:
        """`(n, K)` what each coupon changes of it."""
        return self.purchase_with - self.purchase_without[:, None]

    @property
    def standard_error(self) -> np.ndarray:
        """`(n, K)` of the uplift."""
        return np.asarray(np.sqrt(np.square(self.deviations, dtype=np.float64).sum(axis=0)))


@dataclass(frozen=True, eq=False)
class Model(Parts):
    """A trained model; see `Parts` for what it is made of."""

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features that users must have."""
        return tuple(self.schema.names)

    @property
    def schema(self) -> Any:
        """How `uplift` encodes the features, and what it saw of them."""
        return self.purchase.schema if isinstance(self.purchase, Logistic) else self.purchase.fitted.stages[0].schema

    @property
    def growing(self) -> frozenset[str]:
        """Names of the features that grow by the calendar alone."""
        return frozenset(f.name for f in (() if self.profile is None else self.profile.features) if f.grows)

    def history(self, transactions: str | Path | None = None, products: str | Path | None = None) -> History:
        """Return the past purchases to use: those given, else those of the training; raises `UsageError`."""
        wanted: tuple[str, ...] = ()
        if self.profile is not None:
            wanted = (TRANSACTIONS,) if self.profile.category_column is None else (TRANSACTIONS, PRODUCTS)
        lines, items = (None if path is None else str(path) for path in (transactions, products))
        return history_of(self.manifest.get("history", {}), wanted, lines, items, self.home)

    def features_of(self, users: Any, source: str = "users") -> Features:
        """Take the model's features from a table of users.

        Raises
        ------
        DataError
            Where columns are missing or of another kind than in training.
        """
        numeric = {column.name: type(column).__name__ == "NumericColumn" for column in self.schema.columns}
        return features_for(to_arrow(users, source), source, numeric, self.profile)

    def predict(
        self,
        users: Any,
        coupons: Sequence[Coupon] | Campaign | None = None,
        wants: Wants | None = None,
    ) -> Prediction:
        """Predict purchases, baskets and redemption of users for coupons.

        Parameters
        ----------
        users
            A table with the model's features (pandas, polars or pyarrow), or `Features` already.
        coupons
            Terms of the coupons asked for, or a campaign; by default those of the trial.
        wants
            What the users want of the coupons' scopes; see `allocator.learning.wanting`.

        Raises
        ------
        DataError
            Where features are missing or of another kind.
        """
        features = users if isinstance(users, Features) else self.features_of(users)
        asked = self.asked(coupons)
        kin = self.relate(asked)
        members = self.calibration.apply(self.purchase.predict_members(features))
        reach = np.ones((len(features), len(asked))) if wants is None else wants.reach
        uplift, errors = _of_asked(members, kin, reach)
        with_coupon = np.clip(members.control[:, None] + uplift, 0.0, 1.0)
        spend, spend_errors = None, None
        if self.spending is not None:
            made = self.calibration.apply_to_sales(self.spending.predict_members(features))
            further, spend_errors = _of_asked(made, kin, reach)
            spend = Effects.create(made.control, np.maximum(made.control[:, None] + further, 0.0))
        return Prediction(
            asked,
            self._expected(features, members, with_coupon, spend, kin, wants),
            errors,
            np.zeros(len(asked)) if spend is not None else self._basket_errors(kin),
            spend_errors,
            kin,
        )

    def effects(self, users: Any) -> Effects:
        """Return calibrated effects of the trial's coupons, as `uplift` has them: `Model` is one of its `Fitted`."""
        features = users if isinstance(users, Features) else self.features_of(users)
        return self.calibration.apply(self.purchase.predict_members(features)).effects()

    def drift(self, users: Any) -> DriftReport:
        """Compare users with those of the trial."""
        return self.schema.drift(users if isinstance(users, Features) else self.features_of(users))

    def asked(self, coupons: Sequence[Coupon] | Campaign | None) -> tuple[Coupon, ...]:
        """Return the coupons asked for; raises `UsageError` where there are none."""
        if coupons is None:
            return self.terms or tuple(Coupon(id=name) for name in self.coupons)
        asked = tuple(coupons.coupon if isinstance(coupons, Campaign) else coupons)
        if not asked:
            raise UsageError("the campaign lists no coupons: write one [[coupon]] for each that may be issued")
        return asked

    def relate(self, coupons: Sequence[Coupon]) -> Kinship:
        """Relate asked coupons to the trial's."""
        basket = 50.0 if self.baskets is None else self.baskets.mean
        return kinship(
            coupons, self.coupons, self.terms, self.calibration.level.used * np.array(self.calibration.averages), basket
        )

    def kin(self, coupons: Sequence[Coupon]) -> list[list[tuple[float, Coupon]]]:
        """Return for each coupon whose effect is borrowed from ones of another scope these, with weights."""
        found = self.relate(coupons)
        if self.terms is None:
            return [[] for _ in coupons]
        near = [
            [(float(weight), term) for weight, term in zip(found.weights[:, j], self.terms, strict=True) if weight > 0]
            for j in range(len(coupons))
        ]
        return [
            [] if own or all(term.scope == coupon.scope for _, term in of) else of
            for coupon, own, of in zip(coupons, found.own.tolist(), near, strict=True)
        ]

    def _expected(
        self,
        features: Features,
        members: Members,
        with_coupon: np.ndarray,
        spend: Effects | None,
        kin: Kinship,
        wants: Wants | None,
    ) -> Expected:
        n, asked = with_coupon.shape
        unknown = np.full((n, asked), np.nan)
        without, with_each = np.full(n, np.nan), unknown
        if spend is not None:
            # Baskets that make the chances of a purchase into the expected spend.
            without = spend.control / np.maximum(members.control, LEAST_CHANCE)
            with_each = spend.treated / np.maximum(with_coupon, LEAST_CHANCE)
        redeem = unknown
        if self.redemption is not None:
            made = self.redemption.predict(features)
            learned = np.column_stack([made.control, made.treated])[:, : len(self.coupons)] @ kin.weights
            redeem = np.where(kin.own, learned, np.nan)
        taken = unknown
        if self.discounts is not None:
            # Of its own coupons alone: other terms take off what they say.
            own = kin.weights.argmax(axis=0)
            seen = self.discounts.of(None if spend is None else spend.control, n)
            taken = np.where(kin.own, seen[:, own], np.nan)
        relevance, scope = (unknown, unknown) if wants is None else (wants.relevance, wants.spend)
        return Expected(members.control, with_coupon, without, with_each, redeem, relevance, scope, taken)

    def _basket_errors(self, kin: Kinship) -> np.ndarray:
        if self.baskets is None:
            return np.zeros(kin.weights.shape[1])
        return np.asarray(self.baskets.errors(len(self.coupons)) @ kin.weights)

    def save(self, folder: str | Path, *, force: bool = False) -> None:
        """Write a model folder, whole or not at all; raises `UsageError` and `OutputError`."""
        save(self, Path(folder), force=force)


def _of_asked(members: Members, kin: Kinship, reach: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the effects of the coupons asked for, `(n, asked)`, and the parts of their errors, `(parts, n, asked)`."""
    uplift = members.uplift @ kin.weights * reach
    parts = members.deviations @ kin.weights.astype(np.float32) * reach.astype(np.float32)
    return uplift, np.concatenate([parts, kin.borrowed(uplift)])
