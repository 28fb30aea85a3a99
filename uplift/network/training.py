"""Train all members of a network at once: AdamW on the likelihood, each member blind to its own fold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from uplift.links import Link
from uplift.network.checkpoints import Checkpoint
from uplift.network.settings import Progress, Schedule

# Tracing a network takes longer than asking it about a few users; a network keeps its weights once it is trained.
_compiled: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()

CHUNK = 16_384  # users predicted at once


@dataclass(frozen=True, eq=False)
class Lesson:
    """What a network is to learn: outcome ~ link(offset + design . effects of the network).

    Attributes
    ----------
    users
        `(n, width)` float32 encoded features.
    outcome, offset
        `(n,)` float32.
    design
        `(n, outputs)` float32: how much of each of the network's outputs acts on a user.
    weight
        `(n, members)` float32: 0 where a member must not see a user.
    pairs
        `(n, coupons, pair width)` float32 encoded pair features, for the network that takes them.
    """

    users: np.ndarray
    outcome: np.ndarray
    offset: np.ndarray
    design: np.ndarray
    weight: np.ndarray
    pairs: np.ndarray | None = None

    @property
    def inputs(self) -> tuple[np.ndarray, ...]:
        """What the network takes."""
        return (self.users,) if self.pairs is None else (self.users, self.pairs)


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

    n = lesson.outcome.size
    batch, epochs = schedule.batch_for(n), schedule.epochs_for(n)
    steps = max(n // batch, 1)
    optimizer = _optimizer(schedule, n, steps * epochs)
    variables = network.trainable_variables
    optimizer.build(variables)
    inputs = [tf.constant(part) for part in lesson.inputs]
    data = [tf.constant(part) for part in (lesson.outcome, lesson.offset, lesson.design, lesson.weight)]

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def run_epoch(order: Any) -> Any:
        total = 0.0
        for step in tf.range(steps):
            rows = order[step * batch : (step + 1) * batch]
            x = [tf.gather(part, rows) for part in inputs]
            y, offset, design, weight = (tf.gather(part, rows) for part in data)
            with tf.GradientTape() as tape:
                predictor = offset + tf.reduce_sum(network(x if len(x) > 1 else x[0]) * design, axis=-1)
                losses = _loss(tf, link, predictor, y + tf.zeros_like(predictor)) * tf.transpose(weight)
                # A sum over members: each one's gradient is that of its own average loss.
                loss = tf.reduce_sum(losses) / tf.cast(batch, tf.float32)
            optimizer.apply(tape.gradient(loss, variables), variables)
            total += loss
        return total / tf.cast(steps, tf.float32)

    first = checkpoint.restore(stage, [*variables, *optimizer.variables]) if checkpoint else 0
    for epoch in range(first, epochs):
        order = np.random.default_rng([seed, epoch]).permutation(n).astype(np.int32)
        loss = float(run_epoch(tf.constant(order))) / lesson.weight.shape[1]
        if checkpoint:
            checkpoint.keep(stage, epoch + 1, [*variables, *optimizer.variables])
        if on_epoch:
            on_epoch(Progress(stage, epoch + 1, epochs, loss))


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
