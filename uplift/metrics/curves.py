"""Curves over users ranked by their estimated uplift, for one treatment against control.

Everywhere: `outcome` `(n,)`, `score` `(n,)` (higher is treated sooner), `treated` `(n,)` bool, and an optional
`weight` `(n,)`, such as one over the propensity. For several coupons keep the users who got their recommended coupon or
none (`uplift.metrics.recommended`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uplift.errors import TrialError


@dataclass(frozen=True, eq=False)
class Curve:
    """Points of a curve from the origin on.

    Attributes
    ----------
    x, y
        `(points,)`; x never falls.
    """

    x: np.ndarray
    y: np.ndarray

    @property
    def area(self) -> float:
        """Area under the curve by trapezoids, unit of x times unit of y."""
        return float(np.trapezoid(self.y, self.x))


@dataclass(frozen=True, eq=False)
class _Blocks:
    """Cumulated sums after each block of tied scores, from the highest score down."""

    treated: np.ndarray
    control: np.ndarray
    outcome_treated: np.ndarray
    outcome_control: np.ndarray
    cost_treated: np.ndarray
    cost_control: np.ndarray


def _blocks(
    outcome: np.ndarray,
    score: np.ndarray,
    treated: np.ndarray,
    weight: np.ndarray | None,
    cost: np.ndarray | None = None,
) -> _Blocks:
    y = np.asarray(outcome, dtype=np.float64)
    s = np.asarray(score, dtype=np.float64)
    t = np.asarray(treated).astype(bool)
    w = np.ones(y.shape) if weight is None else np.asarray(weight, dtype=np.float64)
    c = np.zeros(y.shape) if cost is None else np.asarray(cost, dtype=np.float64)
    if not y.shape == s.shape == t.shape == w.shape == c.shape or y.ndim != 1:
        raise TrialError(
            f"outcome, score, treated and weight differ in shape: {y.shape}, {s.shape}, {t.shape}, {w.shape}"
        )
    if not t.any() or t.all():
        raise TrialError("a curve needs both treated and control users")
    if np.isnan(s).any():
        raise TrialError(f"score: {np.isnan(s).sum():,} values are NaN")
    order = np.argsort(-s, kind="stable")
    last = np.append(np.flatnonzero(np.diff(s[order])), s.size - 1)

    def total(values: np.ndarray) -> np.ndarray:
        return np.cumsum(values[order])[last]

    return _Blocks(
        treated=total(w * t),
        control=total(w * ~t),
        outcome_treated=total(w * t * y),
        outcome_control=total(w * ~t * y),
        cost_treated=total(w * t * c),
        cost_control=total(w * ~t * c),
    )


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)


def _from_origin(x: np.ndarray, y: np.ndarray) -> Curve:
    return Curve(np.append(0.0, x), np.append(0.0, y))


def qini_curve(outcome: np.ndarray, score: np.ndarray, treated: np.ndarray, weight: np.ndarray | None = None) -> Curve:
    """Incremental outcomes among the treated, by number of users targeted.

    y = Y_t - Y_c N_t / N_c (Radcliffe 2007, "Using control groups to target on predicted lift"); what scikit-uplift's
    `qini_curve` returns.
    """
    b = _blocks(outcome, score, treated, weight)
    gain = b.outcome_treated - b.outcome_control * _ratio(b.treated, b.control)
    return _from_origin(b.treated + b.control, gain)


def uplift_curve(
    outcome: np.ndarray, score: np.ndarray, treated: np.ndarray, weight: np.ndarray | None = None
) -> Curve:
    """Incremental outcomes if everybody targeted were treated, by number of users targeted.

    y = (Y_t / N_t - Y_c / N_c)(N_t + N_c) (Gutierrez and Gerardy 2017, PMLR 67, section 3); scikit-uplift's
    `uplift_curve` and CausalML's `get_cumgain`.
    """
    b = _blocks(outcome, score, treated, weight)
    size = b.treated + b.control
    return _from_origin(size, (_ratio(b.outcome_treated, b.treated) - _ratio(b.outcome_control, b.control)) * size)


def _normalised(actual: Curve, perfect: Curve) -> float:
    baseline = 0.5 * actual.x[-1] * actual.y[-1]  # the straight line: users in random order
    room = perfect.area - baseline
    return 0.0 if room == 0 else (actual.area - baseline) / room


def qini(
    outcome: np.ndarray,
    score: np.ndarray,
    treated: np.ndarray,
    weight: np.ndarray | None = None,
    *,
    negative_effect: bool = True,
) -> float:
    """Return the Qini coefficient: area between the Qini curve and the line of random order, over a perfect model's.

    scikit-uplift's `qini_auc_score`: the perfect model puts treated buyers first and control buyers last; without
    `negative_effect` it may only put buyers who need the treatment first.
    """
    y = np.asarray(outcome, dtype=np.float64)
    t = np.asarray(treated).astype(bool)
    actual = qini_curve(y, score, t, weight)
    if negative_effect:
        perfect = qini_curve(y, np.where(t, y, -y), t, weight)
    else:
        total = actual.y[-1]
        perfect = Curve(np.array([0.0, total, actual.x[-1]]), np.array([0.0, total, total]))
    return _normalised(actual, perfect)


def auuc(outcome: np.ndarray, score: np.ndarray, treated: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Return the area between the uplift curve and the line of random order, over a perfect model's.

    scikit-uplift's `uplift_auc_score`, whose perfect model is defined for binary outcomes.
    """
    y = np.asarray(outcome, dtype=np.float64)
    if not np.isin(y, (0.0, 1.0)).all():
        raise TrialError("auuc is defined for outcomes of 0 and 1; use mean_gain for counts and money")
    t = np.asarray(treated).astype(bool)
    control_buyers = ((y == 1) & ~t).sum()
    treated_others = ((y == 0) & t).sum()
    best = 2.0 * (y == t) + (y if control_buyers > treated_others else t)
    return _normalised(uplift_curve(y, score, t, weight), uplift_curve(y, best, t, weight))


def mean_gain(outcome: np.ndarray, score: np.ndarray, treated: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Return the average height of the uplift curve over the share of users targeted, per user.

    CausalML's `auuc_score(normalize=False)` divided by the number of users, but for its end points: by trapezoids, with
    tied scores as one block.
    """
    curve = uplift_curve(outcome, score, treated, weight)
    return curve.area / float(curve.x[-1]) ** 2


def cost_curve(
    outcome: np.ndarray,
    cost: np.ndarray,
    score: np.ndarray,
    treated: np.ndarray,
    weight: np.ndarray | None = None,
) -> Curve:
    """Incremental outcome against incremental cost as users are targeted from the highest score (return) down.

    Du, Lee and Ghaffarizadeh (2019), "Improve User Retention with Causal Learning", PMLR 104, section 4: both axes are
    differences between treated and control users among those targeted, times their number. x may dip where the
    estimated cost of a block is negative; it is then held, so that the curve stays a function.
    """
    b = _blocks(outcome, score, treated, weight, cost)
    size = b.treated + b.control
    gain = (_ratio(b.outcome_treated, b.treated) - _ratio(b.outcome_control, b.control)) * size
    spent = (_ratio(b.cost_treated, b.treated) - _ratio(b.cost_control, b.control)) * size
    return _from_origin(np.maximum.accumulate(np.maximum(spent, 0.0)), gain)


def aucc(
    outcome: np.ndarray,
    cost: np.ndarray,
    score: np.ndarray,
    treated: np.ndarray,
    weight: np.ndarray | None = None,
) -> float:
    """Return the area under the cost curve over the rectangle of its end point: 0.5 is random order."""
    curve = cost_curve(outcome, cost, score, treated, weight)
    whole = float(curve.x[-1] * curve.y[-1])
    if whole == 0:
        raise TrialError("aucc: the treatment costs or gains nothing on the whole; the area has no scale")
    return curve.area / whole


def uplift_by_bin(
    outcome: np.ndarray,
    score: np.ndarray,
    treated: np.ndarray,
    bins: int = 10,
    weight: np.ndarray | None = None,
) -> list[dict[str, float]]:
    """Return, for each bin of users from the highest score down, the predicted and the observed uplift.

    Each row has `users`, `predicted` (average score), `observed` (difference of means), `standard_error` (Welch) and
    the number of `treated`. scikit-uplift's `uplift_by_percentile(strategy="overall")`.
    """
    y, s, t = np.asarray(outcome, dtype=np.float64), np.asarray(score), np.asarray(treated).astype(bool)
    w = np.ones(y.size) if weight is None else np.asarray(weight, dtype=np.float64)
    rows = []
    for part in np.array_split(np.argsort(-s, kind="stable"), bins):
        means, variances = [], []
        for side in (t[part], ~t[part]):
            mine = part[side]
            if mine.size == 0:
                means.append(np.nan)
                variances.append(np.nan)
                continue
            average = np.average(y[mine], weights=w[mine])
            share = w[mine] / w[mine].sum()
            means.append(average)
            variances.append((share**2 * (y[mine] - average) ** 2).sum())
        rows.append(
            {
                "users": float(part.size),
                "treated": float(t[part].sum()),
                "predicted": float(np.average(s[part], weights=w[part])),
                "observed": float(means[0] - means[1]),
                "standard_error": float(np.sqrt(variances[0] + variances[1])),
            }
        )
    return rows
