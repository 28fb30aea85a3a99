"""The wide candidate: effects linear in the features, shrunk by how related the coupons prove to be.

Coefficients of feature j over the coupons are N(0, v_j S): S says how coupons go together and v_j whether a feature
matters; both are learned from the trial by expectation-maximisation of the marginal likelihood (empirical Bayes; MacKay
1992, 10.1162/neco.1992.4.3.415, with the matrix-normal prior of Bonilla, Chai and Williams 2007, "Multi-task Gaussian
Process Prediction"). The likelihood is expanded to second order at no effect, which effects of coupons deserve: with
arms centred on their propensity (Robinson 1988; Nie and Wager 2021, 10.1093/biomet/asaa076) it needs two moments.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uplift.links import Link

_ITERATIONS = 30
_FORGET = 1e-3  # features whose variance falls below this share of the largest are left out


@dataclass(frozen=True, eq=False)
class Wide:
    """Coefficients of the effects.

    Attributes
    ----------
    coefficients
        `(1 + width, coupons)`; the first row is the intercept.
    relation
        `(coupons, coupons)` how coupons go together, with trace `coupons`.
    """

    coefficients: np.ndarray
    relation: np.ndarray

    def predict(self, users: np.ndarray) -> np.ndarray:
        """`(n, width)` encoded users -> `(n, coupons)` effects on the linear predictor."""
        return self.coefficients[0] + users @ self.coefficients[1:]


@dataclass(frozen=True, eq=False)
class Moments:
    """All that the fit needs of some users; moments of disjoint users add up.

    Attributes
    ----------
    gram
        `(1 + width, 1 + width)` of the features, weighted by the curvature of the loss.
    score
        `(1 + width, coupons)` features times residual times centred arm.
    """

    gram: np.ndarray
    score: np.ndarray

    @classmethod
    def of(
        cls, users: np.ndarray, residual: np.ndarray, curvature: np.ndarray, design: np.ndarray, weight: np.ndarray
    ) -> Moments:
        """Sum over users: `residual` `(n,)` outcome less its average, `design` `(n, coupons)` the centred arms."""
        x = np.column_stack([np.ones(users.shape[0], dtype=np.float32), users])
        gram = (x * (curvature * weight)[:, None].astype(np.float32)).T @ x
        score = x.T @ (design * (residual * weight)[:, None]).astype(np.float32)
        return cls(gram.astype(np.float64), score.astype(np.float64))

    def __add__(self, other: Moments) -> Moments:
        """Sum of the moments of disjoint users."""
        return Moments(self.gram + other.gram, self.score + other.score)


def fold_moments(
    users: np.ndarray,
    outcome: np.ndarray,
    offset: np.ndarray,
    design: np.ndarray,
    weight: np.ndarray,
    fold: np.ndarray,
    link: Link,
) -> list[Moments]:
    """Return the moments of each fold's users."""
    mean = link.mean(offset)
    parts = []
    for f in range(int(fold.max()) + 1):
        r = fold == f
        residual = outcome[r] - mean[r]
        parts.append(Moments.of(users[r], residual, _safe(link.curvature(mean[r])), design[r], weight[r]))
    return parts


def _safe(curvature: np.ndarray) -> np.ndarray:
    return np.maximum(curvature, 1e-9)


def arm_variance(share: np.ndarray) -> np.ndarray:
    """`(coupons, coupons)` variance of the centred arms, by the `(arms,)` chances."""
    treated = share[1:]
    return np.asarray(np.diag(treated) - np.outer(treated, treated))


def diagonal_basis(share: np.ndarray, relation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the basis `(coupons, coupons)` in which arms have unit variance and their prior is diagonal, and `spread`.

    An effect c in the basis is basis @ c on the coupons, with prior precision `spread` `(coupons,)`.
    """
    factor = np.linalg.inv(np.linalg.cholesky(arm_variance(share)))
    spread, rotation = np.linalg.eigh(factor @ np.linalg.inv(relation) @ factor.T)
    return np.asarray(factor.T @ rotation), np.asarray(spread)


def fit_wide(moments: Moments, share: np.ndarray, dispersion: float = 1.0) -> Wide:
    """Fit by expectation-maximisation.

    Parameters
    ----------
    share
        `(arms,)` chances of the arms, control first.
    dispersion
        Variance of the outcome over the one that the link implies: 1 for purchases, estimated for money.
    """
    arms = arm_variance(share) / dispersion
    gram, score = moments.gram, moments.score / dispersion
    width, coupons = score.shape
    factor = np.linalg.inv(np.linalg.cholesky(arms))  # whitens the arms
    relation = 0.5 * np.eye(coupons) + 0.5
    variance = np.full(width, 1e-2)
    active = np.arange(width)
    coefficients = np.zeros((width, coupons))
    for iteration in range(_ITERATIONS + 1):
        # In the basis that diagonalises both the arms and their prior the coupons fall apart into independent fits.
        spread, rotation = np.linalg.eigh(factor @ np.linalg.inv(relation) @ factor.T)
        basis = factor.T @ rotation
        rotated = score[active] @ basis
        means, variances = np.zeros_like(rotated), np.zeros_like(rotated)
        inner = gram[np.ix_(active, active)]
        for k in range(coupons):
            inverse = np.linalg.inv(inner + np.diag(spread[k] / variance[active]))
            means[:, k] = inverse @ rotated[:, k]
            variances[:, k] = np.diag(inverse)
        if iteration == _ITERATIONS:
            coefficients[active] = means @ basis.T
            break
        # MacKay's update of v_j: size of the coefficients over the number of them that the data determine.
        determined = (1.0 - spread * variances / variance[active][:, None]).sum(axis=1)
        size = (means**2 * spread).sum(axis=1)
        variance[active] = np.clip(size / np.maximum(determined, 1e-6), 1e-8, 10.0)
        scaled = means @ basis.T
        relation = (scaled.T / variance[active]) @ scaled
        relation += (basis * (variances / variance[active][:, None]).sum(axis=0)) @ basis.T
        relation *= coupons / np.trace(relation)
        relation += 1e-4 * np.eye(coupons)
        if iteration > 5:
            active = active[variance[active] > _FORGET * variance[active].max()]
    return Wide(coefficients, relation)
