"""Train all members of a network at once: AdamW on the likelihood, each member blind to its own fold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import numpy as np

from uplift.links import Link
from uplift.network.checkpoints import Checkpoint
from uplift.network.settings import Progress, Schedule

# Tracing a network takes longer than asking it about a few users; a network keeps its weights once it is trained.
_compiled: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()

CHUNK = 16_384  # users predicted at once


class Lesson(Protocol):
    """What a network is to learn: outcome ~ link(offset + design . effects of the network), chunk by chunk."""

    @property
    def users(self) -> int:
        """Number of users."""
        ...

    @property
    def members(self) -> int:
        """Number of members."""
        ...

    def chunks(self, seed: int, epoch: int) -> Iterator[tuple[np.ndarray, tuple[Any, ...], tuple[Any, ...]]]:
        """Yield the order in which rows of a chunk are taken, what the network takes, and the rest of it.

        The first part is one or two arrays or tensors: `(n, width)` encoded features, and `(n, coupons, pair width)`
        pair features. The rest is `outcome` and `offset` `(n,)`, `design` `(n, outputs)`: how much of each output acts on
        a user, and `weight` `(n, members)`: 0 where a member must not see a user. All float32.
        """
        ...

    def held(self) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
        """Return some users, in the same two parts, that each member is watched on where it must not see them."""
        ...


@dataclass(frozen=True, eq=False)
class Whole:
    """A lesson in memory, all of it one chunk; the arrays are those of `Lesson.chunks`."""

    inputs: tuple[np.ndarray, ...]
    rest: tuple[np.ndarray, ...]

    @property
    def users(self) -> int:
        """Number of users."""
        return int(self.rest[0].size)

    @property
    def members(self) -> int:
        """Number of members."""
        return int(self.rest[3].shape[1])

    def chunks(self, seed: int, epoch: int) -> Iterator[tuple[np.ndarray, tuple[Any, ...], tuple[Any, ...]]]:
        """Yield all users in a random order; TensorFlow's copy of them is made once."""
        order = np.random.default_rng([seed, epoch]).permutation(self.users).astype(np.int32)
        inputs, rest = self._tensors
        yield order, inputs, rest

    @cached_property
    def _tensors(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        import tensorflow as tf

        return tuple(tf.constant(part) for part in self.inputs), tuple(tf.constant(part) for part in self.rest)

    def held(self) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
        """Return every so-manieth user."""
        rows = slice(None, None, max(1, -(-self.users // CHUNK)))
        return tuple(part[rows] for part in self.inputs), tuple(part[rows] for part in self.rest)


def train(
    network: Any,
    lesson: Lesson,
    link: Link,
    schedule: Schedule,
    *,
    stage: str,
    seed: int,
    on_epoch: Callable[[Progress], None] | None = None,
    checkpoint: Checkpoint | None = None,
) -> None:
    """Train in place. With `checkpoint` each epoch is kept on disk, and one that is found there is gone on from."""
    import tensorflow as tf

    n = lesson.users
    batch, epochs = schedule.batch_for(n), schedule.epochs_for(n)
    optimizer = _optimizer(schedule, n, max(n // batch, 1) * epochs)
    variables = network.trainable_variables
    optimizer.build(variables)
    watch = _Watch(tf, network, lesson, link, schedule.patience)
    run = _runner(tf, network, link, optimizer, batch)
    state = [*variables, *optimizer.variables, *watch.state]
    first = checkpoint.restore(stage, state) if checkpoint else 0
    for epoch in range(first, epochs):
        if watch.stopped:
            break
        losses = [
            (float(run(tf.constant(order), *inputs, *rest)), max(order.size // batch, 1))
            for order, inputs, rest in lesson.chunks(seed, epoch)
        ]
        loss = sum(total for total, _ in losses) / sum(steps for _, steps in losses) / lesson.members
        watch.look()
        if checkpoint:
            checkpoint.keep(stage, epoch + 1, state)
        if on_epoch:
            on_epoch(Progress(stage, epochs if watch.stopped else epoch + 1, epochs, loss))


def _runner(tf: Any, network: Any, link: Link, optimizer: Any, batch: int) -> Any:
    """Return the compiled pass over a chunk; it gives the sum of the losses of its steps."""
    variables = network.trainable_variables

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def run(order: Any, *parts: Any) -> Any:
        total = 0.0
        # A chunk smaller than a batch is one step.
        for step in tf.range(tf.maximum(tf.size(order) // batch, 1)):
            rows = order[step * batch : (step + 1) * batch]
            *x, y, offset, design, weight = (tf.gather(part, rows) for part in parts)
            with tf.GradientTape() as tape:
                losses = _losses(tf, network, link, x, (y, offset, design)) * tf.transpose(weight)
                # A sum over members: each one's gradient is that of its own average loss.
                loss = tf.reduce_sum(losses) / tf.cast(tf.size(rows), tf.float32)
            optimizer.apply(tape.gradient(loss, variables), variables)
            total += loss
        return total

    return run


def _losses(tf: Any, network: Any, link: Link, x: list[Any], rest: tuple[Any, ...]) -> Any:
    """`(members, rows)` losses."""
    y, offset, design = rest
    predictor = offset + tf.reduce_sum(network(x if len(x) > 1 else x[0]) * design, axis=-1)
    return _loss(tf, link, predictor, y + tf.zeros_like(predictor))


class _Watch:
    """Early stopping: ends a training whose members get worse and worse on users they do not see.

    The rate falls to 0 in the end, which takes back much of what single epochs overlearn: so a training that came to its
    end is kept as it ends, and only one that was stopped goes back to its best epoch.
    """

    def __init__(self, tf: Any, network: Any, lesson: Lesson, link: Link, patience: int) -> None:
        self.variables, self.patience = network.trainable_variables, patience
        self.best = [tf.Variable(variable) for variable in self.variables]
        self.least, self.waited = tf.Variable(np.float32(np.inf)), tf.Variable(0)
        inputs, (y, offset, design, weight) = lesson.held()
        x, rest = [tf.constant(part) for part in inputs], tuple(tf.constant(part) for part in (y, offset, design))
        unseen = tf.constant((weight == 0).T.astype(np.float32))

        def loss() -> float:  # once an epoch: not worth compiling
            return float(tf.reduce_sum(_losses(tf, network, link, x, rest) * unseen))

        self.loss = loss

    @property
    def state(self) -> list[Any]:
        """What a checkpoint must keep."""
        return [*self.best, self.least, self.waited]

    @property
    def stopped(self) -> bool:
        """Whether training is over."""
        return int(self.waited.numpy()) >= self.patience

    def look(self) -> None:
        """Take note of an epoch; where it was one too many, go back to the best."""
        loss = self.loss()
        if loss < float(self.least.numpy()):
            self.least.assign(np.float32(loss))
            self.waited.assign(0)
            for kept, variable in zip(self.best, self.variables, strict=True):
                kept.assign(variable)
            return
        self.waited.assign_add(1)
        if self.stopped:
            for kept, variable in zip(self.best, self.variables, strict=True):
                variable.assign(kept)


def _optimizer(schedule: Schedule, users: int, steps: int) -> Any:
    import keras

    from uplift.network.graph import RiseAndFall

    optimizer = keras.optimizers.AdamW(
        RiseAndFall(schedule.rate, steps), weight_decay=schedule.decay_for(users), beta_2=0.999, epsilon=1e-8
    )
    optimizer.exclude_from_weight_decay(var_names=["offset"])  # averages are not shrunk
    return optimizer


def _loss(tf: Any, link: Link, predictor: Any, outcome: Any) -> Any:
    if link.binary:
        return tf.nn.sigmoid_cross_entropy_with_logits(labels=outcome, logits=predictor)
    return tf.exp(tf.minimum(predictor, 30.0)) - outcome * predictor


def outputs(network: Any, users: np.ndarray, pairs: np.ndarray | None = None) -> Iterator[tuple[slice, Any]]:
    """Yield what a network says of one chunk of users after another, with the rows that it is for.

    `(members, rows, outputs)` float32, or a dict of such where the network has several parts. `pairs`
    `(n, coupons, pair width)` where the network takes them.
    """
    import tensorflow as tf

    call = _compiled.get(network)
    if call is None:
        signature: Any = tf.TensorSpec((None, users.shape[1]), tf.float32)
        if pairs is not None:
            signature = [signature, tf.TensorSpec((None, None, pairs.shape[2]), tf.float32)]
        call = tf.function(network, input_signature=[signature])
        _compiled[network] = call
    for start in range(0, users.shape[0], CHUNK):
        rows = slice(start, min(start + CHUNK, users.shape[0]))
        asked = tf.constant(users[rows])
        made = call(asked if pairs is None else [asked, tf.constant(pairs[rows])])
        yield rows, {k: v.numpy() for k, v in made.items()} if isinstance(made, dict) else made.numpy()
