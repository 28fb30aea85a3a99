"""What can be chosen about the network, with defaults that one configuration serves every trial with."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from uplift.boosted import Rounds
from uplift.errors import UpliftError
from uplift.trees import Growth

_REFERENCE_USERS = 100_000  # the size of trial at which the decay below was chosen
_REFERENCE_BATCH = 1024


@dataclass(frozen=True)
class Schedule:
    """How long and how hard members are trained (AdamW; the rate rises for a tenth of the steps, then falls to 0).

    Attributes
    ----------
    rate
        Highest learning rate.
    decay
        Weight decay at 100,000 users and batches of 1,024. A prior of fixed strength weighs less the more users
        there are: the decay used is this times 100,000 / users times the root of (batch / 1,024).
    least_steps
        Steps that a small trial is trained for at least, by more epochs.
    epochs
        Passes over the users, where that makes more steps.
    batch
        Largest batch; small trials take smaller ones.
    patience
        Epochs in a row without a new least loss on users that the members do not see, after which training ends and goes
        back to its best epoch. The falling rate takes back what the middle of a training overlearns: with 5 a world of
        100,000 users lost 5 of 66 points, so by default only the long trainings of small trials can end early.
    """

    rate: float = 3e-3
    decay: float = 2.0
    least_steps: int = 900
    epochs: int = 8
    batch: int = 1024
    patience: int = 10

    def batch_for(self, users: int) -> int:
        """Batch size for a number of users."""
        return int(np.clip(users // 100, min(64, users), self.batch))

    def epochs_for(self, users: int) -> int:
        """Number of epochs for a number of users."""
        steps = max(users // self.batch_for(users), 1)
        return int(max(self.epochs, min(np.ceil(self.least_steps / steps), 5 * self.epochs)))

    def decay_for(self, users: int) -> float:
        """Weight decay for a number of users; capped, since rate x decay above 1 would flip signs."""
        scaled = self.decay * _REFERENCE_USERS / users * float(np.sqrt(self.batch_for(users) / _REFERENCE_BATCH))
        return min(scaled, 0.05 / self.rate)


@dataclass(frozen=True)
class Settings:
    """Size and training of the network.

    Attributes
    ----------
    folds
        Each member leaves one part of the users out, on which it is judged.
    repeats
        Members of the effect networks for each fold.
    base_hidden, effect_hidden
        Widths of the hidden layers.
    base, effect
        Training of the tower of the outcome and of those of the effects.
    growth, rounds
        Of the tree candidate, and of the boosted one, which also helps the tower of the outcome.
    structured, free, wide, trees, boosted, paired
        Which candidates to fit (`paired` where the trial has pair features). The stack gives each the weight that it
        earns on users it did not see.
    """

    folds: int = 5
    repeats: int = 2
    base_hidden: tuple[int, ...] = (64, 32)
    effect_hidden: tuple[int, ...] = (32,)
    base: Schedule = field(default_factory=lambda: Schedule(rate=3e-3, decay=0.2, least_steps=1200, batch=512))
    effect: Schedule = field(default_factory=Schedule)
    growth: Growth = field(default_factory=Growth)
    rounds: Rounds = field(default_factory=Rounds)
    structured: bool = True
    free: bool = True
    wide: bool = True
    trees: bool = True
    boosted: bool = True
    paired: bool = True

    def __post_init__(self) -> None:
        if self.folds < 2 or self.repeats < 1:
            raise UpliftError(f"folds must be at least 2 and repeats at least 1, not {self.folds} and {self.repeats}")
        if not (self.structured or self.free or self.wide or self.trees or self.boosted):
            raise UpliftError("at least one of structured, free, wide, trees and boosted must be fitted")


@dataclass(frozen=True)
class Progress:
    """Where training is, for a progress bar or a log.

    Attributes
    ----------
    stage
        `base`, `structured` or `free`.
    epoch, epochs
        Epochs done, of so many.
    loss
        Average loss over the epoch's batches.
    """

    stage: str
    epoch: int
    epochs: int
    loss: float
