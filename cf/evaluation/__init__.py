"""How good is it? Splits by time, metrics by segment with intervals over users, and a table that compares."""

from cf.evaluation.comparing import Comparison, Evaluation, compare, evaluate
from cf.evaluation.metrics import (
    Interval,
    auc,
    bootstrap,
    bootstrap_ratio,
    brier,
    calibration,
    calibration_error,
    log_loss,
)
from cf.evaluation.splits import RandomSplit, Split, TemporalSplit

__all__ = [
    "Comparison",
    "Evaluation",
    "Interval",
    "RandomSplit",
    "Split",
    "TemporalSplit",
    "auc",
    "bootstrap",
    "bootstrap_ratio",
    "brier",
    "calibration",
    "calibration_error",
    "compare",
    "evaluate",
    "log_loss",
]
