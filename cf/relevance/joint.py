"""Networks that tell the purchases from all scopes of a window together, from what was known of a user before it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cf.relevance.descent import chance_of, descend
from cf.relevance.network import LEAST_SCALE

Floats = npt.NDArray[np.float32]
MOST = 6.0  # deviations; inputs further out count as so far


@dataclass(frozen=True)
class JointNetwork:
    """log-odds of a scope = a layer of rectified units over all inputs + a linear form of the user's own habits with it.

    The scopes share the units, so that each is told from the others as far as data of all of them say. Units and inputs are
    left out at random while it learns (Srivastava et al., JMLR 2014).

    Attributes
    ----------
    hidden
        Units.
    epochs, batch, rate, decay
        Passes over the rows, rows of a step at most, and the rate and the decay of `cf.relevance.descent.Adam`.
    drop, drop_inputs
        Shares of units and inputs left out.
    """

    hidden: int = 128
    epochs: int = 12
    batch: int = 256
    rate: float = 0.002
    decay: float = 1.0
    drop: float = 0.3
    drop_inputs: float = 0.1

    def fit(self, inputs: Floats, own: Floats, bought: npt.NDArray[np.bool_], seed: int) -> Joint:
        """Fit to `(rows, inputs)`, `(rows, habits, scopes)` and `(rows, scopes)`."""
        rng = np.random.default_rng(seed)
        spread = inputs.std(axis=0)
        share = (bought.sum(axis=0) + 0.5) / (len(bought) + 1.0)
        first = rng.normal(size=(inputs.shape[1], self.hidden)) / np.sqrt(inputs.shape[1])
        last = 0.01 * rng.normal(size=(self.hidden, bought.shape[1]))
        weights = (
            first.astype(np.float32),
            np.zeros(self.hidden, np.float32),
            last.astype(np.float32),
            np.log(share / (1.0 - share)).astype(np.float32),
            np.zeros((1, *own.shape[1:]), np.float32),  # of three dimensions: the own habits' weights do not decay
        )
        found = Joint(inputs.mean(axis=0), np.where(spread > LEAST_SCALE, spread, np.float32(1.0)), *weights)
        descend(
            weights,
            np.arange(len(inputs)),
            lambda rows: self._slopes(found, inputs[rows], own[rows], bought[rows], rng),
            rng,
            epochs=self.epochs,
            batch=self.batch,
            rate=self.rate,
            decay=self.decay,
        )
        return found

    def _slopes(
        self, net: Joint, inputs: Floats, own: Floats, bought: npt.NDArray[np.bool_], rng: np.random.Generator
    ) -> list[Floats]:
        """Return the slopes of the log-loss of rows, summed over scopes, by each of the weights."""
        seen = net.standard(inputs)
        seen *= kept(seen.shape, self.drop_inputs, rng)
        units = seen @ net.first
        units += net.first_base
        open_ = kept(units.shape, self.drop, rng)
        open_ *= units > 0
        units *= open_
        odds: Floats = np.asarray(units @ net.last, np.float32)
        odds += net.last_base
        odds += net.alone(own)
        wrong = chance_of(odds)
        wrong -= bought
        wrong /= np.float32(len(bought))
        back = wrong @ net.last.T
        back *= open_
        alone = np.einsum("nks,ns->ks", own, wrong)[None]
        return [seen.T @ back, back.sum(axis=0), units.T @ wrong, wrong.sum(axis=0), alone]


def kept(shape: tuple[int, ...], drop: float, rng: np.random.Generator) -> Floats:
    """Return 0 for the share that is left out, and for the others what makes up for it."""
    return (rng.random(shape, dtype=np.float32) >= drop) * np.float32(1.0 / (1.0 - drop))


@dataclass(frozen=True)
class Joint:
    """A fitted joint network.

    Attributes
    ----------
    middle, scale
        `(inputs,)` means and deviations.
    first, first_base, last, last_base
        `(inputs, units)`, `(units,)`, `(units, scopes)`, `(scopes,)` weights and intercepts.
    own
        `(1, habits, scopes)` weights of a user's own habits with the scope.
    """

    middle: Floats
    scale: Floats
    first: Floats
    first_base: Floats
    last: Floats
    last_base: Floats
    own: Floats

    def standard(self, inputs: Floats) -> Floats:
        """Return inputs with mean 0 and deviation 1."""
        out = (inputs - self.middle) / self.scale
        return np.clip(out, -MOST, MOST, out=out)

    def alone(self, own: Floats) -> Floats:
        """Return what own habits add, `(rows, scopes)`."""
        return np.einsum("nks,ks->ns", own, self.own[0])

    def odds(self, inputs: Floats, own: Floats) -> Floats:
        """Return log-odds, `(rows, scopes)`, of `(rows, inputs)` and `(rows, habits, scopes)`."""
        units = self.standard(inputs) @ self.first
        units += self.first_base
        return np.asarray(np.maximum(units, 0.0) @ self.last + self.last_base + self.alone(own), np.float32)
