"""How good foretold probabilities were, with intervals over users."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cf.evaluation.metrics import CalibrationRow, Interval, auc, brier, calibration, calibration_error, log_loss
from cf.interactions import Interactions
from cf.relevance.gathering import outcomes
from cf.relevance.relevance import Foretold
from cf.relevance.scopes import Scopes

Judge = Callable[[npt.NDArray[Any], npt.NDArray[Any]], float]


@dataclass(frozen=True)
class Judgement:
    """Log-loss, AUC, Brier score and calibration error over all (user, scope) pairs, and the calibration table.

    `never_auc` is the AUC over the pairs in which the user had never bought from the scope.
    """

    log_loss: Interval
    auc: Interval
    never_auc: Interval
    brier: Interval
    calibration_error: float
    table: tuple[CalibrationRow, ...]

    def __str__(self) -> str:
        lines = [
            f"log-loss {self.log_loss}, AUC {self.auc}, AUC where never bought {self.never_auc}, Brier {self.brier}, "
            f"calibration error {self.calibration_error:.4f}",
            "   pairs  foretold  happened  95 % interval",
        ]
        lines += [
            f"{row.pairs:8,}  {row.foretold:8.4f}  {row.happened:8.4f}  [{row.low:.4f}, {row.high:.4f}]"
            for row in self.table
        ]
        return "\n".join(lines)


def judge(
    foretold: Foretold, history: Interactions, later: Interactions, scopes: Scopes, repeats: int = 200, seed: int = 0
) -> Judgement:
    """Hold probabilities against what came.

    Parameters
    ----------
    foretold
        What was said of users of `history`.
    later
        Interactions of the window; users are matched by id, and one who is absent bought nothing.
    """
    covers = scopes.aligned(later.items)
    bought = matched(outcomes(later, covers)[0], later, foretold)
    before = matched(outcomes(history, scopes.aligned(history.items))[0], history, foretold)
    chance = foretold.probability

    def never(yes: npt.NDArray[Any], said: npt.NDArray[Any], held: npt.NDArray[Any]) -> float:
        return auc(yes[~held], said[~held])

    rng = np.random.default_rng(seed)
    draws = [rng.integers(0, len(bought), len(bought)) for _ in range(repeats)]

    def interval(rule: Judge) -> Interval:
        values = [rule(bought[rows], chance[rows]) for rows in draws]
        return Interval(rule(bought, chance), *middle(values))

    low, high = middle([never(bought[rows], chance[rows], before[rows]) for rows in draws])
    return Judgement(
        interval(log_loss),
        interval(auc),
        Interval(never(bought, chance, before), low, high),
        interval(brier),
        calibration_error(bought, chance),
        tuple(calibration(bought, chance)),
    )


def middle(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of the middle 95 % of what repeats gave; NaN where none gave a number (nobody bought, say)."""
    known = np.array([value for value in values if not np.isnan(value)])
    if not known.size:
        return float("nan"), float("nan")
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)


def matched(values: npt.NDArray[np.bool_], held: Interactions, foretold: Foretold) -> npt.NDArray[np.bool_]:
    """Return the rows of `values` of the foretold users, False for those absent."""
    place = held.users.find(foretold.users)
    return np.asarray(values[np.maximum(place, 0)] & (place >= 0)[:, None])
