"""How an outcome's average hangs on a sum of effects: log odds for purchases, logarithm for counts and money."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uplift.trial import OutcomeKind

_LIMIT = 30.0  # beyond it exp() says nothing more in float64 sums


@dataclass(frozen=True)
class Link:
    """A link with its (quasi-)likelihood.

    Attributes
    ----------
    binary
        Bernoulli with log odds; else Poisson with the logarithm, as quasi-likelihood for money too.
    """

    binary: bool

    @classmethod
    def of(cls, kind: OutcomeKind) -> Link:
        """Return the link for a kind of outcome."""
        return cls(kind is OutcomeKind.BINARY)

    def mean(self, x: np.ndarray) -> np.ndarray:
        """Expected outcome at the linear predictor."""
        clipped = np.clip(x, -_LIMIT, _LIMIT)
        return 1.0 / (1.0 + np.exp(-clipped)) if self.binary else np.exp(clipped)

    def inverse(self, mean: float) -> float:
        """Linear predictor of an expected outcome."""
        safe = min(max(mean, 1e-6), 1.0 - 1e-6) if self.binary else max(mean, 1e-6)
        return float(np.log(safe / (1.0 - safe)) if self.binary else np.log(safe))

    def curvature(self, mean: np.ndarray) -> np.ndarray:
        """Second derivative of the loss in the linear predictor; also d mean / d x."""
        return mean * (1.0 - mean) if self.binary else mean

    def loss(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Negative (quasi-)log-likelihood, up to a constant of y."""
        if self.binary:
            return np.logaddexp(0.0, x) - y * x
        return np.exp(np.clip(x, -_LIMIT, _LIMIT)) - y * x
