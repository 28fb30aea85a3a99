"""Train one outcome: the tower of the outcome, the candidates for the effects, the stack, each out of fold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from uplift.boosted import Boosted, Lessons, arm_codes, boost_out_of_fold
from uplift.effects import Effects
from uplift.errors import TrialError
from uplift.features import Schema
from uplift.links import Link
from uplift.network.checkpoints import Checkpoint
from uplift.network.settings import Progress, Settings
from uplift.network.stage import Stage, on_coupons, variance_unseen
from uplift.network.structure import Structure
from uplift.network.training import Lesson, Whole, outputs, train
from uplift.pairs import PairSchema
from uplift.splitting import assign_folds
from uplift.stacking import Stack, fit_stack
from uplift.trees import Forest, Growth, Sample, bin_edges, binned, grow_out_of_fold
from uplift.trial import Trial
from uplift.wide import Moments, Wide, diagonal_basis, fit_wide, fold_moments

_ASKED = 5_000  # users that say how far candidates go which are not believed


@dataclass(frozen=True, eq=False)
class FittedStage:
    """A stage and what it says of the users it was trained on, each by members that did not see them."""

    stage: Stage
    out_of_fold: Effects
    fold: np.ndarray


def fit_stage(
    trial: Trial,
    settings: Settings,
    *,
    seed: int,
    name: str = "",
    on_epoch: Callable[[Progress], None] | None = None,
    checkpoint: Checkpoint | None = None,
    doubt: bool = True,
) -> FittedStage:
    """Learn one outcome of a trial; `doubt` as in `fit_stack`."""
    return Fitting(trial, settings, seed, name, on_epoch, checkpoint, doubt).run()


class Fitting:
    """The steps of `fit_stage`, with what they share."""

    def __init__(
        self,
        trial: Trial,
        settings: Settings,
        seed: int,
        name: str,
        on_epoch: Callable[[Progress], None] | None,
        checkpoint: Checkpoint | None,
        doubt: bool = True,
    ) -> None:
        self.trial, self.settings, self.name, self.doubt = trial, settings, name, doubt
        self.on_epoch, self.checkpoint = on_epoch, checkpoint
        smallest = int(np.bincount(trial.arm, minlength=trial.n_arms).min())
        if smallest < 2 * settings.folds:
            raise TrialError(
                f"an arm has {smallest} users; {settings.folds} folds need at least {2 * settings.folds} in each"
            )
        self.seeds = [int(s) for s in np.random.SeedSequence([seed, 7]).generate_state(11)]
        self.schema = Schema.fit(trial.features)
        self.users = self.schema.encode(trial.features)
        found = trial.features.pairs if settings.paired else None
        self.pair_schema = None if found is None else PairSchema.fit(found)
        self.pairs = None if found is None or self.pair_schema is None else self.pair_schema.encode(found)
        self.link = Link.of(trial.kind)
        # Effects are centred on one set of shares, so that they can be predicted where no propensity is known; users
        # whose own chances differ are weighted to those shares.
        self.share = trial.propensities().mean(axis=0)
        self.weight = trial.weight * (self.share[trial.arm] / trial.received())
        self.weight = self.weight / self.weight.mean()
        self.scale = 1.0 if self.link.binary else max(float(np.average(trial.outcome, weights=self.weight)), 1e-12)
        self.outcome = trial.outcome / self.scale
        self.fold = assign_folds(trial, settings.folds, np.random.default_rng(self.seeds[0]))
        self.by_arm = np.eye(trial.n_arms)[:, 1:] - self.share[1:]
        self.design = self.by_arm[trial.arm]

    def run(self) -> FittedStage:
        """Fit everything."""
        base, offset = self._base()
        self.offset = offset
        dispersion = self._dispersion(offset)
        networks, unseen = {"base": base}, {}
        structure = None if self.trial.terms is None else Structure.of(self.trial.terms)
        if self.settings.structured and structure is not None and self.trial.n_coupons > 1:
            networks["structured"], unseen["structured"] = self._candidate("structured", structure)
        if self.settings.free:
            networks["free"], unseen["free"] = self._candidate("free", None)
        if self.pairs is not None:
            networks["paired"], unseen["paired"] = self._paired(self.pairs)
        wide: tuple[Wide, ...] = ()
        trees: tuple[Forest, ...] = ()
        moments = fold_moments(self.users, self.outcome, offset, self.design, self.weight, self.fold, self.link)
        if self.settings.wide:
            wide, unseen["wide"] = self._wide(moments, dispersion)
        if self.settings.trees:
            trees, unseen["trees"] = self._trees(moments, dispersion)
        if self.settings.boosted:
            unseen["boosted"] = self.boosted_unseen[:, 1:] - self.boosted_unseen[:, :1]
        stack = fit_stack(
            unseen,
            self.outcome,
            offset,
            self.design,
            self.weight,
            self.link,
            dispersion,
            searched=["trees"],
            doubt=self.doubt,
        )
        stage = self._stage(networks, wide, trees, stack, structure)
        hidden = variance_unseen(stack, *self.users.shape)
        if not any(stack.weights.values()):
            whole = replace(stage, network=self._joined(networks), wide=wide, trees=trees, boosted=self.boosted)
            rows = np.random.default_rng([self.seeds[0], 1]).permutation(len(self.trial))[:_ASKED]
            hidden = hidden + whole.doubted(self.users[rows], None if self.pairs is None else self.pairs[rows])
        stage = replace(stage, hidden=tuple(np.sqrt(hidden).tolist()))
        return FittedStage(stage, self._out_of_fold(stack, unseen), self.fold)

    def _stage(
        self,
        networks: dict[str, Any],
        wide: tuple[Wide, ...],
        trees: tuple[Forest, ...],
        stack: Stack,
        structure: Structure | None,
    ) -> Stage:
        # A candidate that the stack does not believe is not kept.
        kept = {name: net for name, net in networks.items() if name == "base" or stack.weights[name] > 0}
        boosted = self.boosted if self.line[-1] > 0 or stack.weights.get("boosted", 0.0) > 0 else ()
        return Stage(
            schema=self.schema,
            link=self.link,
            share=self.share,
            folds=self.settings.folds,
            network=self._joined(kept),
            pair_schema=self.pair_schema if "paired" in kept or boosted else None,
            wide=wide if stack.weights.get("wide", 0.0) > 0 else (),
            trees=trees if stack.weights.get("trees", 0.0) > 0 else (),
            boosted=boosted,
            base_line=(self.line[0] + float(np.log(self.scale)), *self.line[1:]),
            log_unit=float(np.log(self.scale)),
            stack=stack,
            shares=None if structure is None else np.array(structure.share),
        )

    def _joined(self, networks: dict[str, Any]) -> Any:
        from uplift.network.graph import joined

        return joined(self.users.shape[1], networks, 0 if self.pair_schema is None else self.pair_schema.width)

    def _dispersion(self, offset: np.ndarray) -> float:
        """Variance of the outcome over the one that the link implies."""
        if self.link.binary:
            return 1.0
        mean = self.link.mean(offset)
        return float(np.average((self.outcome - mean) ** 2 / np.maximum(mean, 1e-9), weights=self.weight))

    def _members(self, repeats: int) -> np.ndarray:
        """`(n, members)` weight of each user for each member: 0 for the fold that the member leaves out."""
        folds = np.arange(self.settings.folds * repeats) % self.settings.folds
        seen = self.fold[:, None] != folds[None, :]
        return np.asarray(seen * self.weight[:, None], dtype=np.float32)

    def _lesson(
        self, offset: np.ndarray | None, by_arm: np.ndarray, repeats: int, pairs: np.ndarray | None = None
    ) -> Lesson:
        """`by_arm` `(arms, outputs)`: how much of each output acts on the users of an arm."""
        start = np.zeros(len(self.trial)) if offset is None else offset
        rest = (self.outcome, start, by_arm[self.trial.arm], self._members(repeats))
        inputs = (self.users,) if pairs is None else (self.users, pairs)
        return Whole(inputs, tuple(part.astype(np.float32) for part in rest))

    def _unseen(self, network: Any, pairs: np.ndarray | None = None) -> np.ndarray:
        """`(n, outputs)` average of the members that did not see each user."""
        made: np.ndarray | None = None
        for rows, values in outputs(network, self.users, pairs):
            if made is None:
                made = np.empty((len(self.trial), values.shape[-1]))
            by_fold = values.reshape(-1, self.settings.folds, *values.shape[1:]).mean(axis=0)
            made[rows] = by_fold[self.fold[rows], np.arange(by_fold.shape[1])]
        assert made is not None
        return made

    def _base(self) -> tuple[Any, np.ndarray]:
        """Train the tower of the outcome and the boosted model; return the tower and their mixture out of fold."""
        from uplift.network.graph import base_network

        start = self.link.inverse(float(np.average(self.outcome, weights=self.weight)))
        width, folds = self.users.shape[1], self.settings.folds
        network = base_network(width, folds, self.settings.base_hidden, start, self.seeds[1])
        ones = np.ones((self.trial.n_arms, 1))
        self._train(network, self._lesson(None, ones, 1), "base", self.seeds[2])
        parts = [self._unseen(network)[:, 0]]
        self.boosted: tuple[Boosted, ...] = ()
        if self.settings.boosted:
            lessons = Lessons(self.users, self.trial.arm, self.outcome, self.weight, self.link, self.pairs)
            codes, rising = arm_codes(self.trial.n_arms, self.trial.terms)
            self.boosted, self.boosted_unseen = boost_out_of_fold(
                lessons, codes, rising, self.fold, self.settings.rounds, self.seeds[10]
            )
            parts.append(self.boosted_unseen @ self.share)
        self.base_network, self.line = network, _mixture(np.column_stack(parts), self.outcome, self.weight, self.link)
        return network, self.line[0] + np.column_stack(parts) @ np.array(self.line[1:])

    def _candidate(self, kind: str, structure: Structure | None) -> tuple[Any, np.ndarray]:
        """Train a network of effects; return it and its out-of-fold effects `(n, coupons)`."""
        from uplift.network.graph import free_network, structured_network

        width, members = self.users.shape[1], self.settings.folds * self.settings.repeats
        hidden = self.settings.effect_hidden
        if structure is None:
            network = free_network(width, members, hidden, self.trial.n_coupons, self.seeds[3])
            by_arm, seed = self.by_arm, self.seeds[4]
        else:
            network = structured_network(width, members, hidden, structure, self.seeds[5])
            # Contact acts with any coupon, a step with every coupon that takes it.
            by_arm = np.column_stack([self.by_arm.sum(axis=1), self.by_arm @ np.array(structure.share).T])
            seed = self.seeds[6]
        self._train(network, self._lesson(self.offset, by_arm, self.settings.repeats), kind, seed)
        raw = self._unseen(network)
        return network, on_coupons(kind, raw, None if structure is None else np.array(structure.share))

    def _paired(self, pairs: np.ndarray) -> tuple[Any, np.ndarray]:
        """Train the network of pair features; return it and its out-of-fold effects `(n, coupons)`."""
        from uplift.network.graph import paired_network

        members = self.settings.folds * self.settings.repeats
        network = paired_network(
            self.users.shape[1], pairs.shape[2], members, self.settings.effect_hidden, self.seeds[8]
        )
        lesson = self._lesson(self.offset, self.by_arm, self.settings.repeats, pairs)
        self._train(network, lesson, "paired", self.seeds[9])
        return network, self._unseen(network, pairs)

    def _train(self, network: Any, lesson: Lesson, stage: str, seed: int) -> None:
        schedule = self.settings.base if stage == "base" else self.settings.effect
        train(
            network,
            lesson,
            self.link,
            schedule,
            stage=f"{self.name}{stage}",
            seed=seed,
            on_epoch=self.on_epoch,
            checkpoint=self.checkpoint,
        )

    def _wide(self, moments: list[Moments], dispersion: float) -> tuple[tuple[Wide, ...], np.ndarray]:
        fits = []
        unseen = np.empty((len(self.trial), self.trial.n_coupons))
        for f in range(self.settings.folds):
            rest = [m for g, m in enumerate(moments) if g != f]
            fit = fit_wide(sum(rest[1:], rest[0]), self.share, dispersion)
            fits.append(fit)
            unseen[self.fold == f] = fit.predict(self.users[self.fold == f])
        return tuple(fits), unseen

    def _trees(self, moments: list[Moments], dispersion: float) -> tuple[tuple[Forest, ...], np.ndarray]:
        relation = fit_wide(sum(moments[1:], moments[0]), self.share, dispersion).relation
        basis, spread = diagonal_basis(self.share, relation)
        design = (np.eye(self.trial.n_arms)[:, 1:] - self.share[1:]) @ basis
        return self._forests(self.settings.growth, self.offset, design, spread, basis, dispersion)

    def _forests(
        self,
        growth: Growth,
        offset: np.ndarray,
        design: np.ndarray,
        spread: np.ndarray,
        basis: np.ndarray,
        dispersion: float,
    ) -> tuple[tuple[Forest, ...], np.ndarray]:
        """Grow a forest for each fold; return them and what they say out of fold."""
        edges = bin_edges(self.users)
        sample = Sample(
            bins=binned(self.users, edges),
            outcome=self.outcome,
            offset=offset,
            arm=self.trial.arm,
            weight=self.weight,
            design=design,
            spread=spread,
            link=self.link,
            dispersion=dispersion,
        )
        forests = grow_out_of_fold(sample, edges, self.fold, basis, growth, self.seeds[7])
        unseen = np.empty((len(self.trial), basis.shape[0]))
        for f, forest in enumerate(forests):
            unseen[self.fold == f] = forest.predict(self.users[self.fold == f])
        return forests, unseen

    def _out_of_fold(self, stack: Stack, unseen: dict[str, np.ndarray]) -> Effects:
        effect = stack.combine(unseen, self.link, self.offset) + np.zeros((len(self.trial), 1))
        start = self.offset + stack.level - effect @ self.share[1:]
        control = self.link.mean(start) * self.scale
        return Effects.create(control, self.link.mean(start[:, None] + effect) * self.scale)


def _mixture(raw: np.ndarray, outcome: np.ndarray, weight: np.ndarray, link: Link) -> tuple[float, ...]:
    """Intercept and slopes >= 0 of the outcome on out-of-fold predictors `(n, parts)`, by Newton's method."""
    able = np.arange(raw.shape[1])
    while able.size:
        x = np.column_stack([np.ones(raw.shape[0]), raw[:, able]])
        # Where predictors say nothing, or the same, their average decides.
        prior = np.append(0.0, np.full(able.size, 1.0 / able.size))
        theta = prior.copy()
        for _ in range(25):
            mean = link.mean(x @ theta)
            curvature = weight * np.maximum(link.curvature(mean), 1e-9)
            hessian = (x * curvature[:, None]).T @ x + 1e-6 * np.eye(theta.size)
            step = np.linalg.solve(hessian, x.T @ (weight * (outcome - mean)) - 1e-6 * (theta - prior))
            theta = theta + step * min(1.0, 1.0 / max(float(np.abs(step).max()), 1e-12))
            if np.abs(step).max() < 1e-9:
                break
        if (theta[1:] >= 0).all():
            slopes = np.zeros(raw.shape[1])
            slopes[able] = theta[1:]
            return (float(theta[0]), *slopes.tolist())
        # A slope below 0 would turn a predictor around that learned nothing.
        able = np.delete(able, int(theta[1:].argmin()))
    return (link.inverse(float(np.average(outcome, weights=weight))), *([0.0] * raw.shape[1]))
