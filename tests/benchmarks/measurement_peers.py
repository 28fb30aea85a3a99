"""How long measuring takes beside Open Bandit Pipeline and CausalML, on the same data in the same run.

`python -m tests.benchmarks.measurement_peers --users 1000000`. Both are optional (`tests/simulation/test_peers.py` says how
obp is installed on a Python of today); what is not there is left out, with a message. Processor seconds, the best of
`--repeats`; the last column is by how much the numbers differ at most.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from allocator.simulation import offpolicy
from allocator.simulation.offpolicy import Log
from allocator.simulation.targeting import public_scores, qini
from tests.simulation import worlds

ARMS = 3


@dataclass(frozen=True)
class Race:
    """One task: ours and theirs, and how to tell their answers' difference (`None`: they are not meant to be equal)."""

    task: str
    peer: str
    ours: Callable[[], Any]
    theirs: Callable[[], Any]
    gap: Callable[[Any, Any], float] | None


def off_policy(users: int, seed: int) -> Iterator[Race]:
    """Yield the estimators of a plan's value on a trial."""
    from obp.ope import DoublyRobust, InverseProbabilityWeighting, SelfNormalizedInverseProbabilityWeighting

    data = worlds.logs(users, np.random.default_rng(seed))
    row, predicted = np.arange(users), np.random.default_rng(seed).normal(2.5, 1.0, (users, ARMS))
    given = {
        "reward": data.reward,
        "action": data.arm,
        "pscore": data.propensity,
        "action_dist": np.eye(ARMS)[data.want][:, :, None],
        "estimated_rewards_by_reg_model": predicted[:, :, None],
    }
    match = (data.arm == data.want).astype(float)
    log = Log.of(data.reward, data.propensity, match, predicted[row, data.arm], predicted[row, data.want])
    pairs = [
        ("IPS", offpolicy.ips, InverseProbabilityWeighting()),
        ("SNIPS", offpolicy.snips, SelfNormalizedInverseProbabilityWeighting()),
        ("doubly robust", offpolicy.dr, DoublyRobust()),
    ]
    for name, ours, theirs in pairs:
        yield Race(
            f"{name}: ours with its interval, theirs without",
            "obp",
            lambda ours=ours: ours(log),
            lambda theirs=theirs: theirs.estimate_policy_value(**given),
            lambda a, b: abs(a.mean.value - b),
        )
    yield Race(
        "IPS: interval; theirs of 100 bootstraps",
        "obp",
        lambda: offpolicy.ips(log),
        lambda: pairs[0][2].estimate_interval(n_bootstrap_samples=100, random_state=0, **given),
        None,
    )


def rankings(users: int, seed: int) -> Iterator[Race]:
    """Yield the scores of a ranking of users."""
    from causalml.metrics import auuc_score, qini_score

    rng = np.random.default_rng(seed)
    score, treated = rng.normal(size=users), rng.random(users) < 0.95
    outcome = rng.gamma(1.0, 20.0, users) + 2.0 * treated * score
    frame = pd.DataFrame({"y": outcome, "w": treated.astype(int), "model": score})
    given = {"outcome_col": "y", "treatment_col": "w", "normalize": False}
    yield Race(
        "qini_score and auuc_score",
        "CausalML",
        lambda: public_scores(outcome, score, treated),
        lambda: [float(function(frame, **given)["model"]) for function in (qini_score, auuc_score)],
        # Areas are sums over a million users: the gap is relative.
        lambda a, b: max(abs(a.qini_score / b[0] - 1), abs(a.auuc_score / b[1] - 1)),
    )
    yield Race(
        "Qini with an interval; theirs of 20 half samples",
        "CausalML",
        lambda: qini(outcome, score, treated),
        lambda: qini_score(frame, return_ci=True, n_bootstrap=20, random_state=0, **given),
        None,
    )


def seconds(job: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Return the least processor time of some runs, and what the job returns."""
    best, answer = np.inf, None
    for _ in range(repeats):
        begun = time.process_time()
        answer = job()
        best = min(best, time.process_time() - begun)
    return best, answer


def main() -> None:
    """Print a table, a row a task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    print(f"| {asked.users:,} users | ours, CPU s | theirs, CPU s | times ours | numbers differ by |")
    print("| --- | --- | --- | --- | --- |")
    for races in (off_policy, rankings):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for race in races(asked.users, asked.seed):
                    show(race, asked.repeats)
        except ImportError as error:
            print(f"left out: {error}", file=sys.stderr)


def show(race: Race, repeats: int) -> None:
    """Run a task with both, and print its row."""
    ours, answer = seconds(race.ours, repeats)
    theirs, other = seconds(race.theirs, repeats)
    gap = "" if race.gap is None else f"{race.gap(answer, other):.0e}"
    print(f"| {race.task} ({race.peer}) | {ours:.3f} | {theirs:.3f} | {theirs / ours:.1f} | {gap} |")


if __name__ == "__main__":
    main()
