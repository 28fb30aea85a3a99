"""The Keras layers: all members of an ensemble in one graph. The only module that imports Keras at its head.

Import it inside functions alone, so that `import uplift` stays light.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import keras  # noqa: TID253 (this is the room it is kept in)
import numpy as np
import tensorflow as tf  # noqa: TID253

from uplift.network.structure import Structure

_MOST = 3.0  # a step never exceeds exp(3) times its usual size
_STEP = 0.2  # usual size of a whole step on the log odds


@keras.saving.register_keras_serializable(package="uplift")
class RiseAndFall(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """A learning rate that rises for a tenth of the steps and then falls to 0 in a straight line."""

    def __init__(self, highest: float, steps: int) -> None:
        self.highest, self.steps = highest, steps

    def __call__(self, step: Any) -> Any:
        """Return the rate of a step."""
        done = (tf.cast(step, tf.float32) + 1.0) / float(self.steps)
        return self.highest * tf.maximum(tf.minimum(done / 0.1, (1.0 - done) / 0.9), 1e-3)

    def get_config(self) -> dict[str, Any]:
        """Return what `__init__` needs."""
        return {"highest": self.highest, "steps": self.steps}


@keras.saving.register_keras_serializable(package="uplift")
class Towers(keras.layers.Layer):  # type: ignore[misc]
    """One small network a member: `(batch, width)` -> `(members, batch, outputs)`, with a linear way past the layers.

    Parameters
    ----------
    hidden
        Widths of the hidden layers.
    bias
        First value of the outputs' biases.
    seed
        Members start from different weights drawn with it.
    """

    def __init__(
        self, members: int, hidden: list[int], outputs: int, bias: float = 0.0, seed: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.members, self.hidden, self.outputs, self.bias, self.seed = members, list(hidden), outputs, bias, seed

    def build(self, input_shape: Any) -> None:
        """Make the weights."""
        rng = np.random.default_rng(self.seed)
        sizes = [int(input_shape[-1]), *self.hidden]

        def weight(name: str, start: np.ndarray) -> Any:
            made = self.add_weight(name=name, shape=start.shape, initializer="zeros")
            made.assign(start.astype(np.float32))
            return made

        self.kernels, self.offsets = [], []
        for i, (wide, narrow) in enumerate(pairwise(sizes)):
            deviation = np.sqrt((1.0 if i == 0 else 2.0) / wide)
            self.kernels.append(weight(f"kernel{i}", rng.normal(0.0, deviation, (self.members, wide, narrow))))
            self.offsets.append(weight(f"offset{i}", np.zeros((self.members, 1, narrow))))
        self.out = weight("kernel_out", rng.normal(0.0, 0.01, (self.members, sizes[-1], self.outputs)))
        self.skip = weight("kernel_skip", np.zeros((self.members, sizes[0], self.outputs)))
        self.last = weight("offset_out", np.full((self.members, 1, self.outputs), self.bias))

    def call(self, inputs: Any) -> Any:
        """Run all members on the same users."""
        x = inputs[tf.newaxis]
        h = x
        for kernel, offset in zip(self.kernels, self.offsets, strict=True):
            h = tf.nn.silu(tf.matmul(h, kernel) + offset)
        return tf.matmul(h, self.out) + tf.matmul(x, self.skip) + self.last

    def get_config(self) -> dict[str, Any]:
        """Return what `__init__` needs."""
        mine = {"members": self.members, "hidden": self.hidden, "outputs": self.outputs}
        return {**super().get_config(), **mine, "bias": self.bias, "seed": self.seed}


@keras.saving.register_keras_serializable(package="uplift")
class DepthSteps(keras.layers.Layer):  # type: ignore[misc]
    """Contact, sensitivity and tastes -> effects of coupons: contact of either sign, steps of depth never negative.

    `(members, batch, 2 + groups)` -> `(members, batch, 1 + steps)`: the contact, then each step's height. What a coupon
    does is the contact plus the steps it takes, so that coupons never tried can be asked for.
    """

    def __init__(self, members: int, group: list[int], gap: list[float], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.members, self.group, self.gap = members, list(group), list(gap)

    def build(self, input_shape: Any) -> None:
        """Make the weights."""
        self.heights = self.add_weight(
            name="kernel_heights", shape=(self.members, 1, len(self.group)), initializer="zeros"
        )

    def call(self, inputs: Any) -> Any:
        """Return contact and steps."""
        contact, sensitivity, taste = inputs[..., :1], inputs[..., 1:2], inputs[..., 2:]
        level = sensitivity + tf.gather(taste, self.group, axis=-1) + self.heights
        steps = tf.constant(self.gap, tf.float32) * (_STEP * tf.exp(tf.minimum(level, _MOST)))
        return tf.concat([contact, steps], axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Return what `__init__` needs."""
        return {**super().get_config(), "members": self.members, "group": self.group, "gap": self.gap}


@keras.saving.register_keras_serializable(package="uplift")
class PairTower(keras.layers.Layer):  # type: ignore[misc]
    """One small network a member, the same for every coupon, of a user and what is known of user and coupon together.

    `(batch, width)` and `(batch, coupons, pair width)` -> `(members, batch, coupons)`. Since it is the same for every
    coupon, coupons never tried can be asked for.
    """

    def __init__(self, members: int, hidden: int, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.members, self.hidden, self.seed = members, hidden, seed

    def build(self, input_shape: Any) -> None:
        """Make the weights."""
        rng = np.random.default_rng(self.seed)
        wide, pair = int(input_shape[0][-1]), int(input_shape[1][-1])

        def weight(name: str, start: np.ndarray) -> Any:
            made = self.add_weight(name=name, shape=start.shape, initializer="zeros")
            made.assign(start.astype(np.float32))
            return made

        deviation = 1.0 / np.sqrt(wide + pair)
        self.of_user = weight("kernel_user", rng.normal(0.0, deviation, (self.members, wide, self.hidden)))
        self.of_pair = weight("kernel_pair", rng.normal(0.0, deviation, (self.members, pair, self.hidden)))
        self.offset = weight("offset_hidden", np.zeros((self.members, 1, 1, self.hidden)))
        self.out = weight("kernel_out", rng.normal(0.0, 0.01, (self.members, self.hidden)))
        self.skip = weight("kernel_skip", np.zeros((self.members, pair)))

    def call(self, inputs: Any) -> Any:
        """Run all members on the same users."""
        users, pairs = inputs
        user = tf.matmul(users[tf.newaxis], self.of_user)[:, :, tf.newaxis]
        h = tf.nn.silu(user + tf.einsum("bcp,mph->mbch", pairs, self.of_pair) + self.offset)
        return tf.einsum("mbch,mh->mbc", h, self.out) + tf.einsum("bcp,mp->mbc", pairs, self.skip)

    def get_config(self) -> dict[str, Any]:
        """Return what `__init__` needs."""
        return {**super().get_config(), "members": self.members, "hidden": self.hidden, "seed": self.seed}


def base_network(width: int, members: int, hidden: tuple[int, ...], bias: float, seed: int) -> Any:
    """Users -> `(members, batch, 1)` linear predictor of the outcome, whatever the arm."""
    users = keras.Input((width,), name="users")
    return keras.Model(users, Towers(members, list(hidden), 1, bias, seed, name="base")(users))


def structured_network(width: int, members: int, hidden: tuple[int, ...], structure: Structure, seed: int) -> Any:
    """Users -> `(members, batch, 1 + steps)`: contact and steps of depth."""
    users = keras.Input((width,), name="users")
    parts = Towers(members, list(hidden), 2 + max(structure.group) + 1, 0.0, seed, name="structured")(users)
    return keras.Model(users, DepthSteps(members, list(structure.group), list(structure.gap), name="steps")(parts))


def free_network(width: int, members: int, hidden: tuple[int, ...], coupons: int, seed: int) -> Any:
    """Users -> `(members, batch, coupons)`: an effect of its own for each coupon."""
    users = keras.Input((width,), name="users")
    return keras.Model(users, Towers(members, list(hidden), coupons, 0.0, seed, name="free")(users))


def paired_network(width: int, pair_width: int, members: int, hidden: tuple[int, ...], seed: int) -> Any:
    """Users and their pair features -> `(members, batch, coupons)`: what the pair features say of the effects."""
    users, pairs = keras.Input((width,), name="users"), keras.Input((None, pair_width), name="pairs")
    return keras.Model([users, pairs], PairTower(members, hidden[0], seed, name="paired")([users, pairs]))


def joined(width: int, networks: dict[str, Any], pair_width: int = 0) -> Any:
    """Put trained networks side by side into one model, which is what is saved and served."""
    users = keras.Input((width,), name="users")
    if "paired" not in networks:
        return keras.Model(users, {name: network(users) for name, network in networks.items()})
    pairs = keras.Input((None, pair_width), name="pairs")
    parts = {name: net([users, pairs] if name == "paired" else users) for name, net in networks.items()}
    return keras.Model([users, pairs], parts)
