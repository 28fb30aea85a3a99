"""The uplift network beside tuned baselines: synthetic trials with known truth, a placebo, and real trials.

    python -m tests.benchmarks.uplift worlds --kind structured --worlds 10
    python -m tests.benchmarks.uplift worlds --kind unrelated --worlds 5
    python -m tests.benchmarks.uplift worlds --kind boxes --worlds 5    (also trees, elsewhere, saturation, hurt)
    python -m tests.benchmarks.uplift sizes --readme        (by the size of the trial; writes README's table)
    python -m tests.benchmarks.uplift placebo --worlds 20
    python -m tests.benchmarks.uplift hillstrom --splits 20
    python -m tests.benchmarks.uplift thornton
    python -m tests.benchmarks.uplift predict --users 100000        (then predicts 1,000,000 users x 8 coupons)

`--models network` leaves the baselines out; `--users 1000000` draws larger trials. CPU seconds are of this process.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.benchmarks import uplift_hillstrom, uplift_sizes, uplift_thornton
from tests.benchmarks.uplift_shapes import SHAPES, ShapeWorld
from tests.benchmarks.uplift_value import Marks, mark
from tests.benchmarks.uplift_worlds import BoxWorld
from uplift import (
    AverageEffect,
    DRLearner,
    Effects,
    Linear,
    SLearner,
    Terms,
    TLearner,
    Trial,
    UpliftNetwork,
    assign_folds,
)
from uplift.links import Link
from uplift.stacking import fit_stack
from uplift.synthetic import World

NEW_USERS = 50_000
_MANY = 1_000_000


@dataclass(frozen=True)
class Tuned:
    """The candidate with the least loss out of fold, its uplift calibrated out of fold for each arm as the network's is.

    So a baseline gets what the network gets: a choice of strength, a slope, and average effects that fit the trial.
    """

    candidates: tuple[Any, ...]
    name: str
    folds: int = 3

    def fit(self, trial: Trial, *, seed: int) -> Any:
        """Choose, calibrate, and train on all users."""
        fold = assign_folds(trial, self.folds, np.random.default_rng([seed, 12]))
        best: tuple[float, Any, Effects] | None = None
        rows = np.arange(len(trial))
        for candidate in self.candidates:
            control, treated = np.empty(len(trial)), np.empty((len(trial), trial.n_coupons))
            for f in range(self.folds):
                held = np.flatnonzero(fold == f)
                made = candidate.fit(trial.take(np.flatnonzero(fold != f)), seed=seed)
                effects = made.predict(trial.features.take(held))
                control[held], treated[held] = effects.control, effects.treated
            chance = np.clip(np.column_stack([control, treated])[rows, trial.arm], 1e-4, 1 - 1e-4)
            loss = -float(np.mean(trial.outcome * np.log(chance) + (1 - trial.outcome) * np.log1p(-chance)))
            if best is None or loss < best[0]:
                best = (loss, candidate, Effects.create(control, treated))
        assert best is not None
        share = trial.propensities().mean(axis=0)
        offset, effect = _logits(best[2], share)
        design = np.eye(trial.n_arms)[trial.arm][:, 1:] - share[1:]
        stack = fit_stack(
            {"uplift": effect}, trial.outcome, offset, design, trial.weight, Link(True), scaled=False, doubt=False
        )
        return _Calibrated(best[1].fit(trial, seed=seed), stack, share)


@dataclass(frozen=True, eq=False)
class _Calibrated:
    model: Any
    stack: Any
    share: np.ndarray

    def predict(self, features: Any) -> Effects:
        offset, effect = _logits(self.model.predict(features), self.share)
        made = self.stack.combine({"uplift": effect}, Link(True), offset) + np.zeros_like(effect)
        start = offset - made @ self.share[1:]
        link = Link(True)
        return Effects.create(link.mean(start), link.mean(start[:, None] + made))


def _logits(effects: Effects, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    chances = np.clip(np.column_stack([effects.control, effects.treated]), 1e-4, 1 - 1e-4)
    logits = np.log(chances / (1 - chances))
    return logits @ share, logits[:, 1:] - logits[:, :1]


@dataclass(frozen=True)
class LightBoosting:
    """LightGBM as the regression of an S-learner."""

    rounds: int

    def outcome(self, binary: bool, seed: int, monotone: list[int] | None = None) -> Any:
        """Return an unfitted model of a binary outcome."""
        assert binary
        from lightgbm import LGBMClassifier

        return LGBMClassifier(
            n_estimators=self.rounds,
            learning_rate=0.05,
            num_leaves=15,
            min_child_samples=200,
            colsample_bytree=0.8,
            subsample=0.8,
            subsample_freq=1,
            monotone_constraints=monotone,
            random_state=seed,
            n_jobs=1,
            verbose=-1,
        )


def models(names: Sequence[str]) -> list[Any]:
    """Return the models of these names."""
    boosting, bound = (
        tuple(SLearner(LightBoosting(rounds), monotone=monotone) for rounds in (40, 80, 160, 300))
        for monotone in (False, True)
    )
    everything: dict[str, Any] = {
        "network": UpliftNetwork(),
        "logistic": Tuned(tuple(SLearner(Linear(c)) for c in (3e-4, 1e-3, 3e-3)), "S-learner, logistic, tuned"),
        "boosting": Tuned(bound, "S-learner, LightGBM, monotone, tuned"),
        "unbound": Tuned(boosting, "S-learner, LightGBM, tuned"),
        "t": TLearner(Linear(0.01), name="T-learner, logistic"),
        "dr": DRLearner(Linear(1e-3), name="DR-learner, linear"),
        # What chance alone does to a promise: averages of one half of the users against those of the other.
        "averages": AverageEffect(),
    }
    return [everything[name] for name in names]


def draw(kind: str, seed: int) -> Any:
    """Draw a world of a kind."""
    if kind in SHAPES:
        return ShapeWorld.draw(kind, seed)
    return BoxWorld.draw(seed) if kind == "boxes" else World.draw(seed, unrelated=kind == "unrelated")


def worlds(args: argparse.Namespace) -> None:
    """Mark models in several worlds."""
    table: dict[str, list[Marks]] = {}
    for seed in range(args.first, args.first + args.worlds):
        world = draw(args.kind, seed)
        trial, _ = world.trial(args.users, seed=1)
        features, truth = world.users(NEW_USERS, seed=2)
        for model in models(args.models):
            start = time.process_time()
            fitted = model.fit(trial, seed=seed)
            seconds = time.process_time() - start
            marks = mark(fitted.predict(features), truth, world.terms.depth, seconds)
            table.setdefault(model.name, []).append(marks)
            shown = " ".join(f"{name}={value:.2f}" for name, value in dataclasses.asdict(marks).items())
            print(f"world {seed}, {model.name}: {shown}", flush=True)
    print(f"\n{args.kind}, {args.users:,} users, {args.worlds} worlds: mean (standard error)")
    for name, rows in table.items():
        columns = {f.name: np.array([getattr(row, f.name) for row in rows]) for f in dataclasses.fields(Marks)}
        cells = [
            f"{k} {v.mean():.2f} ({v.std(ddof=1) / len(v) ** 0.5 if len(v) > 1 else np.nan:.2f})"
            for k, v in columns.items()
        ]
        print(f"{name}: {', '.join(cells)}")


def placebo(args: argparse.Namespace) -> None:
    """Show what models promise where arms were shuffled: the sum of the best coupons' uplift, in % of base outcomes."""
    for seed in range(args.first, args.first + args.worlds):
        trial, _ = World.draw(seed).trial(args.users, seed=1, placebo=True)
        for model in models(args.models):
            fitted = model.fit(trial, seed=seed)
            effects, interval = fitted.predict(trial.features), ""
            best = np.maximum(effects.uplift.max(axis=1), 0.0)
            promised = 100.0 * best.sum() / effects.control.sum()
            if isinstance(model, UpliftNetwork):
                _, parts = fitted.predict_members(trial.features)
                chosen = np.take_along_axis(parts, effects.uplift.argmax(axis=1)[None, :, None], axis=2)[..., 0]
                error = 196.0 * float(np.linalg.norm(chosen.sum(axis=1, dtype=np.float64))) / effects.control.sum()
                interval = f" (95 % {promised - error:.2f} to {promised + error:.2f})"
            print(f"placebo {seed}, {model.name}: promises {promised:.3f} % more outcomes{interval}", flush=True)


def predict(args: argparse.Namespace) -> None:
    """Show how long a prediction for `_MANY` users and eight coupons takes."""
    eight = Terms(np.array([2.0, 4.0, 8.0, 16.0] * 2), np.repeat([0, 1], 4))
    for seed in range(args.first, args.first + args.worlds):
        world = dataclasses.replace(World.draw(seed), terms=eight)
        fitted = UpliftNetwork().fit(world.trial(args.users, seed=1)[0], seed=seed)
        users, _ = world.users(_MANY, seed=2)
        start, cpu = time.perf_counter(), time.process_time()
        fitted.predict(users)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - start
        print(f"world {seed}, {_MANY:,} users x 8: {wall:.1f} s, {cpu:.1f} CPU s; {fitted.describe()}", flush=True)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", choices=["worlds", "sizes", "placebo", "hillstrom", "thornton", "predict"])
    parser.add_argument("--kind", choices=["structured", "unrelated", "boxes", *SHAPES], default="structured")
    parser.add_argument("--worlds", type=int, default=3)
    parser.add_argument("--first", type=int, default=101, help="seed of the first world")
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--sizes", nargs="+", type=int, default=[20_000, 100_000, 1_000_000], help="of `sizes`")
    parser.add_argument("--each", nargs="+", type=int, default=[4, 4, 1], help="of `sizes`: worlds of each size")
    parser.add_argument("--readme", action="store_true", help="of `sizes`: write the table into README")
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--models", nargs="+", default=["network", "logistic", "boosting", "dr"])
    args = parser.parse_args()
    jobs = {
        "worlds": worlds,
        "sizes": lambda a: uplift_sizes.run(models(a.models), a.sizes, a.each, a.first, readme=a.readme),
        "placebo": placebo,
        "hillstrom": lambda a: uplift_hillstrom.run(models(a.models), a.splits),
        "thornton": lambda a: uplift_thornton.run(),
        "predict": predict,
    }
    jobs[args.job](args)


if __name__ == "__main__":
    main()
