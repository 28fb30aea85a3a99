"""Training on files: networks see every user through `tf.data`, all else is fitted on a random sample in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from uplift.errors import UpliftError
from uplift.files import CHUNK, Rows, TrialFiles, drawn
from uplift.network.checkpoints import Checkpoint
from uplift.network.fitting import FittedStage, Fitting
from uplift.network.settings import Progress, Schedule, Settings
from uplift.network.training import Lesson, Whole, outputs

_MOST_ROWS = 8_000_000  # users that a network is shown in all: more passes over so many teach little more


def fit_streamed(
    files: TrialFiles,
    settings: Settings,
    *,
    sample: int,
    seed: int,
    chunk: int = CHUNK,
    on_epoch: Callable[[Progress], None] | None = None,
    checkpoint: Checkpoint | None = None,
) -> FittedStage:
    """Learn the outcome of a trial in files; effects out of fold are of `files.sample(sample, seed)`."""
    if sample < 1 or chunk < 1:
        raise UpliftError(f"sample and chunk must be at least 1, not {sample} and {chunk}")
    fitted = dataclasses.replace(
        settings, base=_fewer(settings.base, files.users), effect=_fewer(settings.effect, files.users)
    )
    return _Streamed(files, fitted, sample, chunk, seed, on_epoch, checkpoint).run()


def _fewer(schedule: Schedule, users: int) -> Schedule:
    epochs = min(schedule.epochs_for(users), max(1, round(_MOST_ROWS / users)))
    return dataclasses.replace(schedule, epochs=epochs)


class _Streamed(Fitting):
    """As in memory, but that lessons are read from files and folds are drawn by row number."""

    def __init__(
        self,
        files: TrialFiles,
        settings: Settings,
        sample: int,
        chunk: int,
        seed: int,
        on_epoch: Callable[[Progress], None] | None,
        checkpoint: Checkpoint | None,
    ) -> None:
        trial, number = files.sample(sample, seed)
        super().__init__(trial, settings, seed, "", on_epoch, checkpoint)
        self.files, self.chunk = files, chunk
        self.fold = self.fold_of(number)
        self.unit = float(trial.weight.mean())

    def fold_of(self, number: np.ndarray) -> np.ndarray:
        """`(n,)` fold of each row, the same in the sample and in the files."""
        return np.asarray((drawn(number, self.seeds[0] + 1) * self.settings.folds).astype(np.int64))

    def _lesson(
        self, offset: np.ndarray | None, by_arm: np.ndarray, repeats: int, pairs: np.ndarray | None = None
    ) -> Lesson:
        sample = super()._lesson(offset, by_arm, repeats, pairs)
        assert isinstance(sample, Whole)  # a fitting in memory has no other
        return _FromFiles(self, sample, by_arm, repeats, started=offset is not None)

    def offset_of(self, users: np.ndarray, fold: np.ndarray) -> np.ndarray:
        """`(n,)` predictor of the outcome by the member that left out each user's fold."""
        level = np.empty(fold.size)
        for rows, raw in outputs(self.base_network, users):
            mine = fold[rows]
            level[rows] = self.line[0] + self.line[1] * raw[mine, np.arange(mine.size), 0]
        for f, fit in enumerate(self.boosted):
            level[fold == f] += self.line[2] * (fit.predict(users[fold == f]) @ self.share)
        return level


@dataclass(frozen=True, eq=False)
class _FromFiles:
    """A lesson that is read from files once an epoch; the sample is what members are watched on."""

    fitting: _Streamed
    sample: Whole
    by_arm: np.ndarray
    repeats: int
    started: bool

    @property
    def users(self) -> int:
        """Number of users."""
        return self.fitting.files.users

    @property
    def members(self) -> int:
        """Number of members."""
        return self.sample.members

    def chunks(self, seed: int, epoch: int) -> Iterator[tuple[np.ndarray, tuple[Any, ...], tuple[Any, ...]]]:
        """Read row groups in a random order, rows of a chunk in a random order; the next is read meanwhile."""
        import tensorflow as tf

        rng = np.random.default_rng([seed, epoch])

        def read() -> Iterator[tuple[np.ndarray, ...]]:
            for rows in self.fitting.files.read(np.random.default_rng([seed, epoch, 1]), self.fitting.chunk):
                yield self._encoded(rows)

        shapes = [(None, *part.shape[1:]) for part in (*self.sample.inputs, *self.sample.rest)]
        data = tf.data.Dataset.from_generator(
            read, output_signature=tuple(tf.TensorSpec(shape, tf.float32) for shape in shapes)
        ).prefetch(1)
        for users, *rest in data:
            yield rng.permutation(int(users.shape[0])).astype(np.int32), (users,), tuple(rest)

    def _encoded(self, rows: Rows) -> tuple[np.ndarray, ...]:
        f = self.fitting
        users, fold = f.schema.encode(rows.features), f.fold_of(rows.number)
        offset = f.offset_of(users, fold) if self.started else np.zeros(fold.size)
        left_out = np.arange(f.settings.folds * self.repeats) % f.settings.folds
        weight = (fold[:, None] != left_out) * (rows.weight / f.unit)[:, None]
        parts = (users, rows.outcome / f.scale, offset, self.by_arm[rows.arm], weight)
        return tuple(np.asarray(part, dtype=np.float32) for part in parts)

    def held(self) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
        """Return users of the sample."""
        return self.sample.held()
