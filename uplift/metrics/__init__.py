"""How good estimated effects are, exactly, in NumPy. Tied scores count as one block, so row order changes nothing."""

from uplift.metrics.curves import (
    Curve,
    aucc,
    auuc,
    cost_curve,
    mean_gain,
    qini,
    qini_curve,
    uplift_by_bin,
    uplift_curve,
)
from uplift.metrics.policy import (
    Estimate,
    bootstrap,
    dr_scores,
    policy_curve,
    policy_value_dr,
    policy_value_ips,
    policy_value_snips,
    recommended,
)
from uplift.metrics.targeting import Rate, autoc, qini_rate, toc
from uplift.metrics.truth import pehe, relative_pehe, slope

__all__ = [
    "Curve",
    "Estimate",
    "Rate",
    "aucc",
    "autoc",
    "auuc",
    "bootstrap",
    "cost_curve",
    "dr_scores",
    "mean_gain",
    "pehe",
    "policy_curve",
    "policy_value_dr",
    "policy_value_ips",
    "policy_value_snips",
    "qini",
    "qini_curve",
    "qini_rate",
    "recommended",
    "relative_pehe",
    "slope",
    "toc",
    "uplift_by_bin",
    "uplift_curve",
]
