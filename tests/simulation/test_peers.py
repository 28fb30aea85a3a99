"""The same numbers as Open Bandit Pipeline's estimators and CausalML's scores on the same data, to 1e-9.

Their published formulas are written out here, by file and class, so that they are always tested: obp 0.5.7 (Saito et al. 2021,
arXiv:2008.07146) and CausalML 0.18. Where the libraries themselves are installed they are called too, else those tests are
skipped. obp asks for a Python below 3.10, yet its estimators run on later ones: `pip install torch scikit-learn scipy tqdm
pyyaml` and `pip install --no-deps --ignore-requires-python obp`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from allocator.simulation import offpolicy
from allocator.simulation.offpolicy import Log, PolicyValue
from allocator.simulation.targeting import public_scores, qini
from tests.simulation import worlds

CLIP = 3.0
OURS: Mapping[str, Callable[[Log], PolicyValue]] = {
    "ips": offpolicy.ips,
    "clipped_ips": lambda log: offpolicy.ips(log, clip=CLIP),
    "snips": offpolicy.snips,
    "dr": offpolicy.dr,
    "clipped_dr": lambda log: offpolicy.dr(log, clip=CLIP),
    "switch_dr": lambda log: offpolicy.switch_dr(log, threshold=CLIP),
}


@dataclass(frozen=True)
class Bandit:
    """A log as obp holds it: `(n,)` reward, action and pscore, `(n, arms)` predicted rewards and the policy's chances."""

    reward: np.ndarray
    action: np.ndarray
    pscore: np.ndarray
    predicted: np.ndarray
    action_dist: np.ndarray

    def ours(self) -> Log:
        row = np.arange(self.reward.size)
        return Log.of(
            self.reward,
            self.pscore,
            self.action_dist[row, self.action],
            self.predicted[row, self.action],
            (self.predicted * self.action_dist).sum(axis=1),
        )

    def theirs(self) -> dict[str, Any]:
        return {
            "reward": self.reward,
            "action": self.action,
            "pscore": self.pscore,
            "action_dist": self.action_dist[:, :, None],
            "estimated_rewards_by_reg_model": self.predicted[:, :, None],
        }


def plan_on_a_trial(n: int = 3_000) -> Bandit:
    """A plan gives each user one arm; the trial's chances depend on the user."""
    log = worlds.logs(n, np.random.default_rng(3))
    predicted = offpolicy.fit_rewards(log.features, log.arm, log.reward, 3)
    return Bandit(log.reward, log.arm, log.propensity, predicted, np.eye(3)[log.want])


def policy_of_chances(n: int = 2_000) -> Bandit:
    """A policy that draws lots itself, rare arms, and rewards of both signs."""
    rng = np.random.default_rng(5)
    chances, wanted = rng.dirichlet([0.5, 2.0, 1.0, 4.0], n).clip(0.01), rng.dirichlet(np.ones(4), n)
    chances /= chances.sum(axis=1, keepdims=True)
    action = (rng.random((n, 1)) > np.cumsum(chances, axis=1)).sum(axis=1).clip(0, 3)
    reward, predicted = rng.normal(1.0, 5.0, n) + action, rng.normal(size=(n, 4))
    return Bandit(reward, action, chances[np.arange(n), action], predicted, wanted)


LOGS = {"plan_on_a_trial": plan_on_a_trial, "policy_of_chances": policy_of_chances}


def round_rewards(log: Bandit) -> dict[str, np.ndarray]:
    """obp/ope/estimators.py: `_estimate_round_rewards` of each class."""
    row = np.arange(log.reward.size)
    iw = log.action_dist[row, log.action] / log.pscore
    clipped = np.minimum(iw, CLIP)  # lambda_
    q_hat_factual = log.predicted[row, log.action]
    baseline = np.average(log.predicted, weights=log.action_dist, axis=1)
    return {
        "ips": log.reward * iw,  # InverseProbabilityWeighting
        "clipped_ips": log.reward * clipped,
        "snips": log.reward * iw / iw.mean(),  # SelfNormalizedInverseProbabilityWeighting
        "dr": baseline + iw * (log.reward - q_hat_factual),  # DoublyRobust
        "clipped_dr": baseline + clipped * (log.reward - q_hat_factual),
        "switch_dr": baseline + (iw <= CLIP) * iw * (log.reward - q_hat_factual),  # SwitchDoublyRobust
    }


def student_t_lower_bound(x: np.ndarray, delta: float) -> float:
    """obp/ope/helper.py: `estimate_student_t_lower_bound`."""
    return float(x.mean() - np.sqrt(np.var(x) / (x.size - 1)) * stats.t(x.size - 1).ppf(1.0 - delta))


@pytest.mark.parametrize("made", LOGS.values(), ids=LOGS)
@pytest.mark.parametrize("name", OURS)
def test_values_and_bounds_are_those_of_open_bandit_pipelines_formulas(name: str, made: Callable[[], Bandit]) -> None:
    log = made()
    found, rewards = OURS[name](log.ours()), round_rewards(log)[name]
    assert found.name == name
    assert found.mean.value == pytest.approx(rewards.mean(), abs=1e-9)
    if name != "snips":  # whose denominator obp's bounds take for sure; ours is the linearised ratio's
        assert found.mean.low == pytest.approx(student_t_lower_bound(rewards, 0.025), abs=1e-9)
        assert found.mean.high == pytest.approx(-student_t_lower_bound(-rewards, 0.025), abs=1e-9)


def test_what_is_cut_is_counted() -> None:
    log = plan_on_a_trial()
    weight = log.action_dist[np.arange(log.reward.size), log.action] / log.pscore
    for name in ("clipped_ips", "clipped_dr", "switch_dr"):
        assert OURS[name](log.ours()).capped == int((weight > CLIP).sum()) > 0


@pytest.fixture(scope="module")
def obp() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("obp.ope", reason="obp is not installed", exc_type=ImportError)


@pytest.mark.parametrize("made", LOGS.values(), ids=LOGS)
def test_values_and_bounds_are_those_of_open_bandit_pipeline_itself(obp: Any, made: Callable[[], Bandit]) -> None:
    from obp.ope.helper import estimate_student_t_lower_bound

    log = made()
    theirs = {
        "ips": obp.InverseProbabilityWeighting(),
        "clipped_ips": obp.InverseProbabilityWeighting(lambda_=CLIP),
        "snips": obp.SelfNormalizedInverseProbabilityWeighting(),
        "dr": obp.DoublyRobust(),
        "clipped_dr": obp.DoublyRobust(lambda_=CLIP),
        "switch_dr": obp.SwitchDoublyRobust(lambda_=CLIP),
    }
    for name, estimator in theirs.items():
        found, given = OURS[name](log.ours()).mean, log.theirs()
        assert found.value == pytest.approx(estimator.estimate_policy_value(**given), abs=1e-9), name
        if name != "snips":
            rewards = estimator._estimate_round_rewards(position=np.zeros(log.reward.size, int), **given)
            assert found.low == pytest.approx(estimate_student_t_lower_bound(rewards, delta=0.025), abs=1e-9), name


def test_the_bootstrap_intervals_of_open_bandit_pipeline_are_about_as_wide(obp: Any) -> None:
    log = plan_on_a_trial()
    for name, estimator in (("ips", obp.InverseProbabilityWeighting()), ("dr", obp.DoublyRobust())):
        found = OURS[name](log.ours()).mean
        theirs = estimator.estimate_interval(n_bootstrap_samples=2_000, random_state=1, **log.theirs())
        width = theirs["95.0% CI (upper)"] - theirs["95.0% CI (lower)"]
        assert (found.high - found.low) / width == pytest.approx(1.0, abs=0.1), name


@dataclass(frozen=True)
class Ranked:
    """Users of two arms with distinct scores."""

    y: np.ndarray
    w: np.ndarray
    score: np.ndarray

    def frame(self) -> pd.DataFrame:
        return pd.DataFrame({"y": self.y, "w": self.w.astype(int), "model": self.score})


def ranked(n: int, seed: int, share: float) -> Ranked:
    rng = np.random.default_rng(seed)
    score, treated = rng.normal(size=n), rng.random(n) < share
    return Ranked(rng.gamma(1.0, 20.0, n) + 2.0 * treated * score, treated, score)


RANKED = [ranked(3_000, 0, 0.95), ranked(700, 1, 0.5), ranked(60, 2, 0.9)]


def scores_as_causalml(data: Ranked) -> tuple[float, float]:
    """causalml/metrics/visualize.py: `get_qini`, `get_cumlift`, `get_cumgain`, and the scores, normalize=False."""
    frame = data.frame().sort_values("model", ascending=False).reset_index(drop=True)
    frame.index = frame.index + 1
    tr = frame["w"].cumsum()
    ct = frame.index.to_numpy() - tr
    y_tr, y_ct = (frame["y"] * frame["w"]).cumsum(), (frame["y"] * (1 - frame["w"])).cumsum()
    curves = []
    for curve in (y_tr - y_ct * tr / ct, y_tr / tr - y_ct / ct):
        curve.loc[0] = 0.0
        curves.append(curve.sort_index().interpolate())
    more, lift = curves
    gain = lift * lift.index.to_numpy()
    line = np.linspace(more.iloc[0], more.iloc[-1], more.size).sum()
    return (more.sum() - line) / more.size, gain.sum() / gain.size


@pytest.mark.parametrize("data", RANKED, ids=lambda data: f"{data.y.size} users")
def test_scores_of_a_ranking_are_those_of_causalmls_formulas(data: Ranked) -> None:
    found = public_scores(data.y, data.score, data.w)
    expected = scores_as_causalml(data)
    assert (found.qini_score, found.auuc_score) == pytest.approx(expected, abs=1e-9, rel=1e-12)


@pytest.mark.parametrize("data", RANKED, ids=lambda data: f"{data.y.size} users")
def test_scores_of_a_ranking_are_those_of_causalml_itself(data: Ranked) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metrics = pytest.importorskip("causalml.metrics", reason="CausalML is not installed", exc_type=ImportError)
        theirs = [
            float(score(data.frame(), outcome_col="y", treatment_col="w", normalize=False)["model"])
            for score in (metrics.qini_score, metrics.auuc_score)
        ]
    found = public_scores(data.y, data.score, data.w)
    assert (found.qini_score, found.auuc_score) == pytest.approx(theirs, abs=1e-9, rel=1e-12)


def test_equal_scores_leave_no_order_to_chance() -> None:
    data = RANKED[1]
    tied = np.round(data.score)
    mixed = np.random.default_rng(0).permutation(data.y.size)
    found, again = (public_scores(data.y[rows], tied[rows], data.w[rows]) for rows in (slice(None), mixed))
    assert found.qini_score == pytest.approx(again.qini_score, abs=1e-9)
    assert found.auuc_score == pytest.approx(again.auuc_score, abs=1e-9)
    nothing = public_scores(data.y, np.ones(data.y.size), data.w)
    assert nothing.qini_score == pytest.approx(0.0, abs=1e-9)


def test_the_coefficient_estimates_causalmls_score_of_a_treated_user() -> None:
    data = ranked(200_000, 4, 0.9)
    found = qini(data.y, data.score, data.w).coefficient
    theirs = public_scores(data.y, data.score, data.w).qini_score / data.w.sum()
    assert abs(found.value - theirs) < found.standard_error
