"""Shares as people read them: one way to write a percentage, wherever a number is shown."""

from __future__ import annotations

import math
from decimal import Decimal


def percent(share: float, digits: int | None = 1, *, sign: bool = False) -> str:
    """Return a share as a percentage: `12.3 %`.

    Parameters
    ----------
    share
        1 is all.
    digits
        Decimals; `None`: as many as the share has, four at most (`95 %`, `99.5 %`).
    sign
        Put a plus before gains.
    """
    if digits is None:
        return f"{round(100 * share, 4):g} %"
    number = round(100.0 * share, digits) + 0.0  # the sum turns -0.0 into 0.0
    return f"{number:{'+' if sign else ''},.{digits}f} %"


def percent_of_digits(share: float, digits: int, *, zeros: bool = False) -> str:
    """Return a share as a percentage of so many digits that count: `53.4 %` and `0.573 %` of three; `zeros`: `50.0 %`, not `50 %`."""
    number = Decimal(f"{100.0 * share:{'#' if zeros else ''}.{digits}g}")  # which would write a thousand as 1e+03
    return f"{number:,f} %"


def typed(share: float) -> str:
    """Return a share as it is typed after an option, rounded up so that no less is meant: `5.66%`."""
    number, digits = 100.0 * share, 2
    while math.ceil(number * 10**digits) > 1.05 * number * 10**digits:
        digits += 1
    return f"{math.ceil(number * 10**digits - 1e-9) / 10**digits:.{digits}f}%"
