"""Pair features: what is known of a user together with a coupon, encoded for networks and for other learners."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from uplift.errors import TrialError
from uplift.features import NumericColumn, Schema
from uplift.trial import Trial


@dataclass(frozen=True)
class PairSchema:
    """How pair features are encoded: each number by its rank among all users and coupons of training."""

    columns: tuple[NumericColumn, ...]

    @classmethod
    def fit(cls, pairs: np.ndarray) -> PairSchema:
        """Remember the ranks of `(n, coupons, d)` numbers."""
        return cls(tuple(NumericColumn.fit(f"pair{j}", pairs[..., j].ravel()) for j in range(pairs.shape[2])))

    @property
    def width(self) -> int:
        """Number of encoded columns."""
        return sum(column.width for column in self.columns)

    def encode(self, pairs: np.ndarray) -> np.ndarray:
        """`(n, coupons, d)` -> `(n, coupons, width)` float32 of order 1; raises `TrialError` for another d."""
        if pairs.shape[2] != len(self.columns):
            raise TrialError(f"pair_features have {pairs.shape[2]} numbers a pair; training had {len(self.columns)}")
        parts = [column.encode(pairs[..., j].ravel()) for j, column in enumerate(self.columns)]
        return np.hstack(parts).reshape(*pairs.shape[:2], self.width)

    def to_json(self) -> list[dict[str, Any]]:
        """Return plain lists and numbers."""
        return [asdict(column) for column in self.columns]

    @classmethod
    def from_json(cls, document: list[dict[str, Any]]) -> PairSchema:
        """Read what `to_json` wrote."""
        made = []
        for entry in document:
            fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}
            made.append(NumericColumn(**fields))
        return cls(tuple(made))


@dataclass(frozen=True, eq=False)
class Users:
    """Encoded users, float64: `plain` `(n, width)`, and `pairs` `(n, coupons, d)` where there are pair features."""

    plain: np.ndarray
    pairs: np.ndarray | None

    def __len__(self) -> int:
        """Return the number of users."""
        return int(self.plain.shape[0])

    def of(self, arm: int) -> np.ndarray:
        """Return what an arm's model sees: pair features are of its own coupon, control has none."""
        return self.plain if self.pairs is None or arm == 0 else np.hstack([self.plain, self.pairs[:, arm - 1]])

    def own(self, arm: np.ndarray) -> np.ndarray:
        """`(n, d)` pair features of each user's arm; 0, the average, for control."""
        if self.pairs is None:
            return np.empty((len(self), 0))
        mine = self.pairs[np.arange(len(self)), np.maximum(arm, 1) - 1]
        return np.asarray(np.where(arm[:, None] > 0, mine, 0.0))


@dataclass(frozen=True)
class Schemas:
    """How users and their pair features are encoded."""

    users: Schema
    pairs: PairSchema | None
    coupons: int

    @classmethod
    def fit(cls, trial: Trial) -> Schemas:
        """Remember how a trial's users are encoded."""
        pairs = trial.features.pairs
        return cls(Schema.fit(trial.features), None if pairs is None else PairSchema.fit(pairs), trial.n_coupons)

    def encode(self, features: Any, pair_features: Any = None) -> Users:
        """Encode users; raises `TrialError` where pair features are missing or of another shape."""
        table = self.users.table(features, pair_features)
        pairs = None if self.pairs is None else self.pairs.encode(table.paired(self.coupons)).astype(np.float64)
        return Users(self.users.encode(table).astype(np.float64), pairs)
