"""What every estimator of effects can do."""

from __future__ import annotations

from typing import Any, Protocol

from uplift.effects import Effects
from uplift.trial import Trial


class Fitted(Protocol):
    """A model that was trained."""

    def predict(self, features: Any) -> Effects:
        """Estimate the outcome of users without and with each coupon."""
        ...


class Learner(Protocol):
    """A way to train a model. Learners are small frozen objects; fitting one does not change it."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    def fit(self, trial: Trial, *, seed: int) -> Fitted:
        """Train; the same trial and seed give the same model."""
        ...
