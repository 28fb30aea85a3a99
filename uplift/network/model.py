"""The network as a learner: one stage a step of the funnel, the amount last, multiplied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from uplift.amounts import Amount, amount_of_buyers
from uplift.effects import Effects
from uplift.errors import TrialError
from uplift.features import DriftReport
from uplift.files import CHUNK, TrialFiles
from uplift.network import storing
from uplift.network.checkpoints import Checkpoint, fingerprint
from uplift.network.fitting import FittedStage, fit_stage
from uplift.network.settings import Progress, Settings
from uplift.network.stage import Stage
from uplift.trial import OutcomeKind, Terms, Trial


@dataclass(frozen=True)
class UpliftNetwork:
    """The TensorFlow network: structured, free and wide candidates on one tower of the outcome, stacked out of fold.

    A trial with `steps` (visit before purchase) is learned step by step; money as a purchase and an amount.
    """

    settings: Settings = field(default_factory=Settings)
    name: str = "network"

    def fit(
        self,
        trial: Trial,
        *,
        seed: int = 0,
        on_epoch: Callable[[Progress], None] | None = None,
        checkpoint: str | Path | None = None,
    ) -> FittedNetwork:
        """Train.

        Parameters
        ----------
        on_epoch
            Called after each epoch: progress bars and logs.
        checkpoint
            A folder where the state is kept after each epoch; a training that was cut off goes on from there.

        Raises
        ------
        TrialError
            Where an arm has too few users for the folds.
        ModelFileError
            Where the checkpoint is of other data or settings, or damaged.
        """
        keeper = None if checkpoint is None else Checkpoint(Path(checkpoint), _key(trial, self.settings, seed))
        steps = list(trial.steps)
        spent = trial.outcome > 0
        if trial.kind is OutcomeKind.MONEY and not (steps and np.array_equal(steps[-1], spent)):
            steps.append(spent)
        fits: list[tuple[np.ndarray, FittedStage]] = []
        rows = np.arange(len(trial))
        last = [] if trial.kind is OutcomeKind.MONEY else [trial.outcome]
        for position, outcome in enumerate([*steps, *last]):
            kind = OutcomeKind.BINARY if position < len(steps) else trial.kind
            part = trial.take(rows).with_outcome(np.asarray(outcome, dtype=np.float64)[rows], kind)
            name = f"step{position}-" if steps else ""
            # What brings visits may well bring purchases: a later step need not prove it again.
            doubt = not any(fit.stage.stack.promises for _, fit in fits)
            fit = fit_stage(
                part, self.settings, seed=seed, name=name, on_epoch=on_epoch, checkpoint=keeper, doubt=doubt
            )
            fits.append((rows, fit))
            if position < len(steps):
                rows = rows[np.asarray(outcome)[rows] > 0]
        amount, unseen = None, None
        if trial.kind is OutcomeKind.MONEY:
            doubt = not any(fit.stage.stack.promises for _, fit in fits)
            amount, unseen = amount_of_buyers(trial.take(rows), self.settings.folds, seed, doubt=doubt)
        return FittedNetwork(
            stages=tuple(fit.stage for _, fit in fits),
            amount=amount,
            terms=trial.terms,
            kind=trial.kind,
            out_of_fold=_out_of_fold(trial, fits, amount, None if unseen is None else (rows, unseen)),
        )

    def fit_files(
        self,
        files: TrialFiles,
        *,
        sample: int = 500_000,
        seed: int = 0,
        on_epoch: Callable[[Progress], None] | None = None,
        checkpoint: str | Path | None = None,
        chunk: int = CHUNK,
    ) -> FittedNetwork:
        """Train on a trial in Parquet files that need not fit into memory.

        The networks see every user, chunk by chunk through `tf.data`; how features are encoded, trees, wide candidate,
        stack and calibration are fitted on a random sample that is held in memory. No funnel, no money, no pair features.

        Parameters
        ----------
        sample
            Users to hold, about. Memory is that of `fit` on so many users, and `chunk` rows.
        chunk
            Rows read at once.

        Raises
        ------
        TrialError
            As `fit`.
        ModelFileError
            Where the checkpoint is of other data or settings, or damaged.
        """
        from uplift.network.streaming import fit_streamed

        key = fingerprint([], (files.key, self.settings, seed, sample, chunk, storing.VERSION))
        keeper = None if checkpoint is None else Checkpoint(Path(checkpoint), key)
        made = fit_streamed(
            files, self.settings, sample=sample, seed=seed, chunk=chunk, on_epoch=on_epoch, checkpoint=keeper
        )
        return FittedNetwork((made.stage,), None, files.terms, files.kind, made.out_of_fold)


def _key(trial: Trial, settings: Settings, seed: int) -> str:
    arrays = [trial.arm, trial.outcome, trial.propensity, trial.weight, *trial.steps]
    columns = [column if column.dtype.kind == "f" else column.astype(str) for column in trial.features.columns]
    if trial.features.pairs is not None:
        arrays.append(trial.features.pairs)
    return fingerprint([*arrays, *columns], (settings, seed, trial.features.names, storing.VERSION))


def _out_of_fold(
    trial: Trial,
    fits: list[tuple[np.ndarray, FittedStage]],
    amount: Amount | None,
    amounts: tuple[np.ndarray, Effects] | None,
) -> Effects:
    """Multiply the stages; a later one knows users that did not reach it only as strangers, so it may predict them."""
    parts = []
    for rows, fit in fits:
        made = fit.out_of_fold if rows.size == len(trial) else fit.stage.predict(trial.features)
        parts.append(_patched(made, rows, fit.out_of_fold))
    if amount is not None and amounts is not None:
        control, treated = amount.predict(trial.features)
        parts.append(_patched(Effects.create(control, treated), *amounts))
    return _product(parts)


def _patched(effects: Effects, rows: np.ndarray, better: Effects) -> Effects:
    control, treated = effects.control.copy(), effects.treated.copy()
    control[rows], treated[rows] = better.control, better.treated
    return Effects.create(control, treated)


def _product(parts: list[Effects]) -> Effects:
    control = np.prod([part.control for part in parts], axis=0)
    treated = np.prod([part.treated for part in parts], axis=0)
    # First order: each stage's error times all the others; an amount's own error is not known.
    errors = [np.nan_to_num(part.standard_error) * treated / np.maximum(part.treated, 1e-12) for part in parts]
    return Effects(control, treated, np.sqrt(np.sum(np.square(errors), axis=0)))


@dataclass(frozen=True, eq=False)
class FittedNetwork:
    """A trained network.

    Attributes
    ----------
    stages
        One a step; their product is the outcome (or the chance of an amount above 0).
    amount
        Of those who buy, where the outcome is money.
    terms
        Of the trial's coupons.
    out_of_fold
        Effects of the trial's own users by members that did not see them; `None` after loading.
    """

    stages: tuple[Stage, ...]
    amount: Amount | None
    terms: Terms | None
    kind: OutcomeKind
    out_of_fold: Effects | None

    def predict(self, features: Any, *, terms: Terms | None = None, pair_features: Any = None) -> Effects:
        """Estimate the outcome of users without and with each coupon.

        Parameters
        ----------
        features
            Columns as in training; levels never seen count as rare, see `drift`.
        terms
            Of other coupons, whose groups must be among the trial's; by default the trial's own coupons.
        pair_features
            `(n, coupons, d)` of the coupons asked for, where the trial had them.

        Raises
        ------
        TrialError
            Where features are missing or of another kind, or terms cannot be related to the trial's.
        """
        pair = None
        if terms is not None:
            if self.terms is None:
                raise TrialError("the model was trained without terms; it knows no other coupons than its own")
            strange = sorted(set(terms.group.tolist()) - set(self.terms.group.tolist()))
            if strange:
                raise TrialError(
                    f"terms: groups {strange} were not in the trial; nothing is known of their users' taste"
                )
            if self.amount is not None:
                raise TrialError("amounts of coupons never tried are not modelled; train on the purchase instead")
            pair = (self.terms, terms)
        features = self.stages[0].schema.table(features, pair_features)
        parts = [stage.predict(features, pair) for stage in self.stages]
        if self.amount is not None:
            control, treated = self.amount.predict(features)
            parts.append(Effects.create(control, treated))
        return parts[0] if len(parts) == 1 else _product(parts)

    def predict_members(self, features: Any) -> tuple[Effects, np.ndarray]:
        """Estimate effects and what their errors are made of, as `Stage.predict_members`; not for amounts.

        Raises
        ------
        TrialError
            Where the outcome is money: the error of an amount is not known.
        """
        if self.amount is not None:
            raise TrialError("the errors of amounts are not modelled; ask a model of the purchase")
        made = [stage.predict_members(features) for stage in self.stages]
        if len(made) == 1:
            return made[0]
        product = _product([effects for effects, _ in made])
        # First order, as in `_product`: each stage's error times all the others.
        parts = [part * (product.treated / np.maximum(e.treated, 1e-12)).astype(np.float32) for e, part in made]
        return product, np.concatenate(parts)

    def drift(self, features: Any) -> DriftReport:
        """Compare users with those of the trial."""
        return self.stages[0].schema.drift(features)

    def describe(self) -> str:
        """Say which candidates the stack believes, and what it earned."""
        lines = []
        for position, stage in enumerate(self.stages):
            believed = ", ".join(f"{n} {w:.2f}" for n, w in stage.stack.weights.items() if w > 0)
            lines.append(
                f"stage {position}: {believed or 'no candidate is better than the average effects'} "
                f"({stage.stack.gain:.1f} nats over the averages)"
            )
        return "\n".join(lines)

    def save(self, folder: str | Path) -> None:
        """Write `model.keras` files and `model.json` into a new folder, whole or not at all."""
        storing.save(storing.Parts(self.stages, self.amount, self.terms, self.kind), Path(folder))

    def export(self, folder: str | Path) -> None:
        """Write the networks of each stage as TensorFlow SavedModels, from encoded users, for serving elsewhere.

        Trees, stack and calibration stay in `model.json` of `save`.
        """
        storing.export(self.stages, Path(folder))

    @classmethod
    def load(cls, folder: str | Path) -> FittedNetwork:
        """Read what `save` wrote; raises `ModelFileError` on anything else."""
        parts = storing.load(Path(folder))
        return cls(parts.stages, parts.amount, parts.terms, parts.kind, out_of_fold=None)
