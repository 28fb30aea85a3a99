"""A budget that holds with a probability: its terms."""

from __future__ import annotations

from dataclasses import dataclass

from allocator.errors import UsageError
from allocator.shares import percent

DEFAULT_SHOCK = 0.1  # all redemptions together come within about a tenth of what was expected
DEFAULT_CONFIDENCE = 0.95  # of the percentile that summaries show
LEAST_CONFIDENCE, MOST_CONFIDENCE = 0.5, 0.9999
MOST_SHOCK = 1.0


@dataclass(frozen=True)
class Chance:
    """The limit `limit` (an at-most limit of measure cost) is kept by what is really spent, with a probability.

    All redemption probabilities of a campaign are multiplied by one common factor S, lognormal with mean 1 and
    coefficient of variation `shock`; a product above 1 counts as 1. Given S, offers are redeemed independently.

    Attributes
    ----------
    confidence
        P(spend <= the limit's number) is at least this; from 0.5 to 0.9999.
    shock
        Coefficient of variation of the common factor, 0 to 1; 0: there is none.
    limit
        Name of the limit.
    """

    confidence: float = DEFAULT_CONFIDENCE
    shock: float = DEFAULT_SHOCK
    limit: str = "budget"

    def __post_init__(self) -> None:
        """Raise `UsageError` where a number makes no sense; NaN makes none."""
        check_confidence(self.confidence)
        check_shock(self.shock)

    @property
    def name(self) -> str:
        """What results call the limit: `budget at 95 %`."""
        return f"{self.limit} at {percent(self.confidence, None)}"


def check_confidence(confidence: float) -> float:
    """Return it; raises `UsageError` unless it is from 0.5 to 0.9999."""
    if not LEAST_CONFIDENCE <= confidence <= MOST_CONFIDENCE:
        hint = f"; did you mean {confidence / 100:g}?" if 50 <= confidence < 100 else ""
        raise UsageError(f"the confidence is {confidence:g}; it must be from 0.5 to 0.9999, such as 0.95{hint}")
    return confidence


def check_shock(shock: float) -> float:
    """Return it; raises `UsageError` unless it is from 0 to 1."""
    if not 0.0 <= shock <= MOST_SHOCK:
        raise UsageError(f"redemption_shock is {shock:g}; it must be from 0 (none) to 1, such as {DEFAULT_SHOCK:g}")
    return shock
