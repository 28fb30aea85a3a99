"""The training of the two towers: the only module of cf that needs TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy import sparse

from cf.errors import UsageError
from cf.progress import Progress

Floats = npt.NDArray[np.float32]


class Rule(Protocol):
    """What training takes of the rule (see `TwoTower`)."""

    @property
    def batch(self) -> int: ...  # noqa: D102

    @property
    def epochs(self) -> int: ...  # noqa: D102

    @property
    def hidden(self) -> int: ...  # noqa: D102

    @property
    def id_dropout(self) -> float: ...  # noqa: D102

    @property
    def negatives(self) -> int: ...  # noqa: D102

    @property
    def rate(self) -> float: ...  # noqa: D102

    @property
    def seed(self) -> int: ...  # noqa: D102

    @property
    def size(self) -> int: ...  # noqa: D102


@dataclass(frozen=True)
class Samples:
    """`history` `(rows, items)` and `attributes` `(rows, features)` of users at a time; each target came after `owner`'s."""

    history: sparse.csr_matrix
    attributes: sparse.csr_matrix
    owner: npt.NDArray[np.int64]
    target: npt.NDArray[np.int32]


def imported() -> Any:
    """Return TensorFlow, or say how to get it."""
    try:
        import tensorflow
    except ImportError as error:
        raise UsageError("the two-tower model needs TensorFlow: pip install 'coupon-allocator[learn]'") from error
    return tensorflow


def first_weights(
    rule: Rule, n_items: int, n_item_features: int, n_user_features: int, popularity: Floats
) -> dict[str, Floats]:
    """Return small random weights; the biases begin at the items' log shares."""
    rng = np.random.default_rng(rule.seed)

    def small(rows: int, columns: int, scale: float = 0.05) -> Floats:
        return rng.normal(0.0, scale, (rows, columns)).astype(np.float32)

    share = (popularity + 0.1) / (popularity + 0.1).sum()
    return {
        "item": small(n_items, rule.size),
        "item_attributes": small(n_item_features, rule.size),
        "history": small(n_items, rule.size),
        "history_attributes": small(n_item_features, rule.size),
        "user_attributes": small(n_user_features, rule.size),
        "dense": small(2 * rule.size, rule.hidden, 1.0 / np.sqrt(2 * rule.size)),
        "dense_bias": np.zeros(rule.hidden, np.float32),
        "out": small(rule.hidden, rule.size, 0.3 / np.sqrt(rule.hidden)),
        "out_bias": np.zeros(rule.size, np.float32),
        "bias": np.log(share).astype(np.float32),
    }


def train(
    rule: Rule, samples: Samples, features: sparse.csr_matrix, popularity: Floats, progress: Progress
) -> dict[str, Floats]:
    """Return the weights that tell what came next, by Adam on a sampled softmax."""
    tf = imported()
    rng = np.random.default_rng(rule.seed)
    start = first_weights(rule, features.shape[0], features.shape[1], samples.attributes.shape[1], popularity)
    weights = {name: tf.Variable(value, name=name) for name, value in start.items()}
    optimizer = tf.keras.optimizers.Adam(rule.rate)
    optimizer.build(list(weights.values()))
    sampling = (popularity + 0.1) ** 0.75
    sampling /= sampling.sum()
    log_sampling = np.log(sampling * rule.negatives).astype(np.float32)

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def step(
        mean: Any, mean_features: Any, own: Any, target: Any, pool: Any, pool_features: Any, seen: Any, correction: Any
    ) -> Any:
        with tf.GradientTape() as tape:
            w = weights
            profile = tf.sparse.sparse_dense_matmul(mean, w["history"]) + tf.matmul(
                mean_features, w["history_attributes"]
            )
            hidden = tf.nn.relu(
                tf.matmul(tf.concat([profile, tf.matmul(own, w["user_attributes"])], 1), w["dense"]) + w["dense_bias"]
            )
            user = tf.matmul(hidden, w["out"]) + w["out_bias"] + profile
            item = tf.gather(w["item"], pool) * seen[:, None] + tf.matmul(pool_features, w["item_attributes"])
            score = tf.matmul(user, item, transpose_b=True) + tf.gather(w["bias"], pool) - correction
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=target, logits=score))
        gradients = tape.gradient(loss, list(weights.values()))
        optimizer.apply_gradients([(g, v) for g, v in zip(gradients, weights.values(), strict=True) if g is not None])
        return loss

    history_features = (samples.history @ features).tocsr()
    total = samples.owner.size
    for epoch in range(rule.epochs):
        order = rng.permutation(total)[: 400 * rule.batch]
        for begin in range(0, order.size, rule.batch):
            chosen = order[begin : begin + rule.batch]
            owner, wanted = samples.owner[chosen], samples.target[chosen]
            pool = np.unique(np.concatenate([wanted, rng.choice(sampling.size, rule.negatives, p=sampling)]))
            shown = (rng.random(chosen.size) >= rule.id_dropout).astype(np.float32)
            mean = sparse.diags(shown) @ samples.history[owner]
            step(
                sparse_tensor(tf, mean),
                (sparse.diags(shown) @ history_features[owner]).toarray(),
                samples.attributes[owner].toarray(),
                np.searchsorted(pool, wanted),
                pool,
                features[pool].toarray(),
                (rng.random(pool.size) >= rule.id_dropout).astype(np.float32),
                log_sampling[pool],
            )
        progress("two towers", epoch + 1, rule.epochs)
    return {name: value.numpy() for name, value in weights.items()}


def sparse_tensor(tf: Any, matrix: sparse.spmatrix) -> Any:
    """Return a TensorFlow sparse tensor."""
    held = matrix.tocoo()
    return tf.sparse.SparseTensor(
        np.column_stack([held.row, held.col]).astype(np.int64), held.data.astype(np.float32), held.shape
    )
