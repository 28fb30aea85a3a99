"""How large a control group must be, and what it will be able to tell."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import optimize, stats

from allocator.errors import UsageError
from allocator.simulation.lift import check_confidence

MANY = 5_000  # degrees of freedom from which the normal law is Student's to 5 digits
LEAST = 2  # users of an arm


@dataclass(frozen=True)
class Design:
    """A test of a campaign against a control group.

    Attributes
    ----------
    users
        Users who are planned to get an offer: those that are held out and those that are not.
    holdout
        Share of them held out; NaN where no share reaches the power.
    controls
        Users held out.
    effect
        True effect per user that is to be found, in the outcome's unit.
    power
        Chance that the interval then excludes 0; two-sided, at `confidence`.
    detectable
        Smallest true effect that is found with the power asked for, at this holdout; with half of the users held out
        where no share reaches the power.
    half_width
        Expected half-width of the interval of the effect per user.
    total_half_width
        The same for the effect on all treated users.
    sd
        Standard deviation of the outcome within strata, and `adjusted_sd` after the adjustment by the pre-period.
    most_power
        Power with half of the users held out: what no holdout exceeds.
    """

    users: int
    holdout: float
    controls: int
    effect: float
    power: float
    wanted_power: float
    confidence: float
    detectable: float
    half_width: float
    total_half_width: float
    sd: float
    adjusted_sd: float
    correlation: float
    most_power: float

    @property
    def possible(self) -> bool:
        """Whether a holdout reaches the power (or was given)."""
        return math.isfinite(self.holdout)


def design(
    *,
    users: int,
    effect: float,
    sd: float,
    power: float = 0.8,
    confidence: float = 0.95,
    correlation: float = 0.0,
    holdout: float | None = None,
) -> Design:
    """Size the control group of a campaign.

    The effect is tested with Student's two-sided t between `controls` and `users - controls`; its variance is
    sd^2 (1 - correlation^2) (1 / controls + 1 / treated) (CUPED: Deng et al. 2013, eq. 4).

    Parameters
    ----------
    users
        Users who are planned to get an offer.
    effect
        True effect per user, in the outcome's unit; its sign does not matter.
    sd
        Standard deviation of the outcome between users (of one stratum), same unit.
    correlation
        Of the outcome with what is known of the same user from before the campaign, between -1 and 1.
    holdout
        Share held out; by default the smallest that reaches the power.

    Raises
    ------
    UsageError
        Where a number makes no sense.
    """
    _check(users, effect, sd, power, confidence, correlation, holdout)
    adjusted = sd * math.sqrt(1.0 - correlation**2)
    size = abs(effect)
    half = users // 2
    most = _power(size, adjusted, half, users - half, confidence)
    if holdout is not None:
        controls = min(max(round(users * holdout), LEAST), users - LEAST)
    elif most < power:
        return Design(
            users,
            math.nan,
            0,
            effect,
            math.nan,
            power,
            confidence,
            _detectable(adjusted, half, users - half, power, confidence),
            math.nan,
            math.nan,
            sd,
            adjusted,
            correlation,
            most,
        )
    else:
        controls = _fewest(lambda n: _power(size, adjusted, n, users - n, confidence) >= power, LEAST, half)
    treated = users - controls
    reach = _quantile(confidence, users - 2) * _error(adjusted, controls, treated)
    return Design(
        users=users,
        holdout=controls / users,
        controls=controls,
        effect=effect,
        power=_power(size, adjusted, controls, treated, confidence),
        wanted_power=power,
        confidence=confidence,
        detectable=_detectable(adjusted, controls, treated, power, confidence),
        half_width=reach,
        total_half_width=reach * treated,
        sd=sd,
        adjusted_sd=adjusted,
        correlation=correlation,
        most_power=most,
    )


def _check(
    users: int, effect: float, sd: float, power: float, confidence: float, correlation: float, holdout: float | None
) -> None:
    check_confidence(confidence)
    if users < 2 * LEAST:
        raise UsageError(f"{users:,} users: {2 * LEAST} or more are needed to compare two groups")
    if not math.isfinite(effect) or effect == 0:
        raise UsageError(f"the effect is {effect:g}; give the smallest one worth finding, other than 0")
    if not 0.0 < sd < math.inf:
        raise UsageError(f"the standard deviation is {sd:g}; it must be above 0")
    if not 0.0 < power < 1.0:
        raise UsageError(f"the power is {power:g}; it must lie between 0 and 1, such as 0.8")
    if not -1.0 < correlation < 1.0:
        raise UsageError(f"the correlation is {correlation:g}; it must lie between -1 and 1")
    if holdout is not None and not 0.0 < holdout <= 0.5:
        raise UsageError(f"the holdout is {holdout:g}; it must be above 0 and at most 0.5, such as 0.05 or 5%")


def _error(sd: float, controls: int, treated: int) -> float:
    return sd * math.sqrt(1.0 / controls + 1.0 / treated)


def _quantile(confidence: float, degrees: int) -> float:
    law = stats.norm if degrees > MANY else stats.t(degrees)
    return float(law.ppf(0.5 + confidence / 2))


def _power(effect: float, sd: float, controls: int, treated: int, confidence: float) -> float:
    """Return the chance that a two-sided t test finds the effect."""
    degrees = controls + treated - 2
    away, edge = effect / _error(sd, controls, treated), _quantile(confidence, degrees)
    law = stats.norm(away) if degrees > MANY else stats.nct(degrees, away)
    # The noncentral t far beyond its edge underflows to NaN in the left tail; that tail is then 0.
    left = float(law.cdf(-edge))
    right = float(law.sf(edge)) if away < edge + 37 else 1.0
    return min(1.0, right + (left if math.isfinite(left) else 0.0))


def _fewest(enough: object, low: int, high: int) -> int:
    """Return the smallest number in `low..high` that is enough; `high` is."""
    assert callable(enough)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low


def _detectable(sd: float, controls: int, treated: int, power: float, confidence: float) -> float:
    error = _error(sd, controls, treated)
    low, high = 0.0, 2 * error
    while _power(high, sd, controls, treated, confidence) < power:
        low, high = high, 2 * high
    return float(
        optimize.brentq(
            lambda size: _power(size, sd, controls, treated, confidence) - power, low, high, xtol=1e-12 * high
        )
    )
