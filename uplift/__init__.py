"""What each coupon changes: a TensorFlow network for incremental effects. Arrays in, arrays out."""

from uplift.baselines import (
    AverageEffect,
    Boosting,
    DRLearner,
    Linear,
    NoDifference,
    ResponseModel,
    RLearner,
    SLearner,
    TLearner,
    XLearner,
    standard_baselines,
)
from uplift.calibration import Calibrated, Calibrator, promise, reliability, shrink_winners, winners_factor
from uplift.comparing import Choice, Comparison, Score, compare, cross_predict, fit_best, rank
from uplift.deciding import Decision, Spread, decision_spread
from uplift.effects import Effects
from uplift.errors import ModelFileError, TrialError, UpliftError
from uplift.explaining import contributions, depth_curve, importance, segments
from uplift.features import DriftReport, Features, Schema
from uplift.files import TrialFiles
from uplift.models import Fitted, Learner
from uplift.network import Progress, Schedule, Settings
from uplift.network.model import FittedNetwork, UpliftNetwork
from uplift.propensities import estimate_propensity
from uplift.redemption import FittedRedemption, Redemption
from uplift.splitting import assign_folds
from uplift.trial import OutcomeKind, Terms, Trial
from uplift.tuning import Attempt, Tuning, tune

__all__ = [
    "Attempt",
    "AverageEffect",
    "Boosting",
    "Calibrated",
    "Calibrator",
    "Choice",
    "Comparison",
    "DRLearner",
    "Decision",
    "DriftReport",
    "Effects",
    "Features",
    "Fitted",
    "FittedNetwork",
    "FittedRedemption",
    "Learner",
    "Linear",
    "ModelFileError",
    "NoDifference",
    "OutcomeKind",
    "Progress",
    "RLearner",
    "Redemption",
    "ResponseModel",
    "SLearner",
    "Schedule",
    "Schema",
    "Score",
    "Settings",
    "Spread",
    "TLearner",
    "Terms",
    "Trial",
    "TrialError",
    "TrialFiles",
    "Tuning",
    "UpliftError",
    "UpliftNetwork",
    "XLearner",
    "assign_folds",
    "compare",
    "contributions",
    "cross_predict",
    "decision_spread",
    "depth_curve",
    "estimate_propensity",
    "fit_best",
    "importance",
    "promise",
    "rank",
    "reliability",
    "segments",
    "shrink_winners",
    "standard_baselines",
    "tune",
    "winners_factor",
]
