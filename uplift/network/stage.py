"""One learned outcome: what its tower, its candidates for the effects and their stack say of users."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from uplift.boosted import Boosted
from uplift.effects import Effects
from uplift.features import Schema
from uplift.links import Link
from uplift.network.structure import blend, steps_taken
from uplift.network.training import outputs
from uplift.pairs import PairSchema
from uplift.stacking import Stack
from uplift.trees import Forest, binned
from uplift.trial import Terms
from uplift.wide import Wide

# Variances of which errors are made, chosen on synthetic worlds of several laws and sizes. What leaving out a fold shows is
# the whole variance of an error that falls as 1 / users; where it falls more slowly, as that of flexible models does, it shows less.
_MEMBERS = 1.5
# What no member shows, for all err alike: differences between users that a trial cannot tell from chance. In units of the
# variance of an average effect by chance alone in a trial of so many users; larger ones show finer differences, but what they
# hide falls more slowly than chance does, as errors of flexible models do (Stone 1982, 10.1214/aos/1176345969).
_UNSEEN, _UNSEEN_USERS, _UNSEEN_RATE = 7.0, 100_000, 0.4


@dataclass(frozen=True, eq=False)
class Stage:
    """A trained model of one outcome.

    Attributes
    ----------
    share
        `(arms,)` chances of the arms that effects are centred on.
    network
        Keras model from encoded users to `base` `(members, n, 1)` and the candidates that are networks.
    wide, trees
        One fit a fold; empty where there is none.
    boosted
        One model of the outcome a fold; empty where there is none.
    base_line
        The predictor of the outcome whatever the arm: intercept, slope of the base network, slope of the boosted models'.
    log_unit
        Logarithm of the unit that counts and money were fitted in, which the intercept has in it; 0 for purchases.
    shares
        `(steps, coupons)` steps that each coupon takes; `None` without terms.
    pair_schema
        Of the pair features; `None` where they are not used.
    hidden
        `(coupons,)` standard error, on the linear predictor, of what members do not show: `variance_unseen`, and where no candidate is
        believed also what `doubted` says. Each user's own: an average over users has none of it. `None`: left out.
    """

    schema: Schema
    link: Link
    share: np.ndarray
    folds: int
    network: Any
    wide: tuple[Wide, ...]
    trees: tuple[Forest, ...]
    boosted: tuple[Boosted, ...]
    base_line: tuple[float, ...]
    log_unit: float
    stack: Stack
    shares: np.ndarray | None
    pair_schema: PairSchema | None = None
    hidden: tuple[float, ...] | None = None

    def predict(self, features: Any, terms: tuple[Terms, Terms] | None = None) -> Effects:
        """Estimate effects; with `terms` (trained, asked) those of other coupons than the trial's."""
        mixed = None if terms is None else blend(*terms)
        coupons = self.share.size - 1 if mixed is None else mixed.shape[1]
        users, pairs = self._encode(features, coupons)
        control = np.empty(users.shape[0])
        treated, error = np.empty((users.shape[0], coupons)), np.empty((users.shape[0], coupons))
        for rows, start, asked in self._folds(users, pairs, terms, mixed):
            control[rows] = self.link.mean(start)
            treated[rows] = self.link.mean(start[:, None] + asked.mean(axis=0))
            error[rows] = self._error(asked, mixed) * self.link.curvature(treated[rows])
        return Effects(control, treated, error)

    def predict_members(self, features: Any) -> tuple[Effects, np.ndarray]:
        """Estimate effects, and what their standard errors are made of.

        Returns
        -------
        effects
            As `predict`.
        deviations
            `(parts, n, coupons)` float32, unit of the outcome: independent errors that all users share, each of
            deviation 1 times these numbers. Their squares add up to the squared standard error, but for what is `hidden`.
        """
        coupons = self.share.size - 1
        users, pairs = self._encode(features, coupons)
        control, treated = np.empty(users.shape[0]), np.empty((users.shape[0], coupons))
        parts = np.empty((self.folds + coupons, users.shape[0], coupons), dtype=np.float32)
        averages = _shared_errors(np.array(self.stack.average_errors), self.share)
        hidden = np.zeros(treated.shape)
        for rows, start, asked in self._folds(users, pairs, None, None):
            effect = asked.mean(axis=0)
            control[rows] = self.link.mean(start)
            treated[rows] = self.link.mean(start[:, None] + effect)
            slope = self.link.curvature(treated[rows])
            # `_MEMBERS` (folds - 1) times the variance over the folds, as a sum of one square a fold.
            spread = np.sqrt(_MEMBERS * (self.folds - 1) / self.folds) * (asked - effect)
            parts[: self.folds, rows] = spread * slope
            parts[self.folds :, rows] = averages.T[:, None, :] * slope
            hidden[rows] = self._hidden * slope
        error = np.sqrt(np.square(parts, dtype=np.float64).sum(axis=0) + hidden**2)
        return Effects(control, treated, error), parts

    def _encode(self, features: Any, coupons: int) -> tuple[np.ndarray, np.ndarray | None]:
        table = self.schema.table(features)
        pairs = None if self.pair_schema is None else self.pair_schema.encode(table.paired(coupons))
        return self.schema.encode(table), pairs

    def _folds(
        self,
        users: np.ndarray,
        pairs: np.ndarray | None,
        terms: tuple[Terms, Terms] | None,
        mixed: np.ndarray | None,
    ) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Yield rows, their linear predictor without a coupon, and the effects `(folds, rows, coupons)` on it."""
        shares = self.shares if terms is None else steps_taken(*terms)
        taken = pairs if len(self.network.inputs) > 1 else None
        for rows, raw in outputs(self.network, users, taken):
            candidates = self._candidates(raw, users[rows])
            base = self.base_line[0] + self.base_line[1] * raw["base"].mean(axis=0)[:, 0].astype(np.float64)
            if self.boosted:
                own = None if pairs is None else pairs[rows]
                by_arm = self._by_arm(users[rows], own, asked=mixed is not None)
                if own is not None and mixed is not None:
                    candidates["asked"] = self._asked(users[rows], own, mixed)
                candidates["boosted"] = by_arm[..., 1:] - by_arm[..., :1]
                base += self.base_line[2] * (by_arm.mean(axis=0) @ self.share)
            trained = self._combine(candidates, base, asked=mixed is not None)
            # Of the trial's own coupons asked-for pair features say nothing: there they count as the average.
            start = base + self.stack.level - trained.mean(axis=0) @ self.share[1:]
            yield rows, start, trained if mixed is None else self._blended(candidates, trained, mixed, shares)

    def _by_arm(self, users: np.ndarray, pairs: np.ndarray | None, *, asked: bool) -> np.ndarray:
        """`(folds, n, arms)` predictors of the boosted models."""
        if pairs is not None and asked:
            # They are of the coupons asked for; the trial's own count as average.
            pairs = np.zeros((users.shape[0], self.share.size - 1, pairs.shape[2]), dtype=np.float32)
        return np.stack([fit.predict(users, pairs) for fit in self.boosted])

    def _asked(self, users: np.ndarray, pairs: np.ndarray, mixed: np.ndarray) -> np.ndarray:
        """`(folds, n, asked)` effects by the boosted models: the trial's coupons with the pair features of those asked for."""
        made = np.empty((len(self.boosted), *pairs.shape[:2]))
        for c in range(mixed.shape[1]):
            alike = np.repeat(pairs[:, c : c + 1], mixed.shape[0], axis=1)
            by_arm = np.stack([fit.predict(users, alike) for fit in self.boosted])
            made[..., c] = (by_arm[..., 1:] - by_arm[..., :1]) @ mixed[:, c]
        return made

    def _candidates(self, raw: dict[str, np.ndarray], users: np.ndarray) -> dict[str, np.ndarray]:
        """`(folds, n, outputs)` of each candidate: the average member of each fold."""
        parts = {
            name: values.reshape(-1, self.folds, *values.shape[1:]).mean(axis=0)
            for name, values in raw.items()
            if name != "base"
        }
        if self.wide:
            parts["wide"] = np.stack([fit.predict(users) for fit in self.wide])
        if self.trees:
            bins = binned(users, self.trees[0].edges)
            parts["trees"] = np.stack([forest.predict_binned(bins) for forest in self.trees])
        return parts

    def _combine(self, candidates: dict[str, np.ndarray], base: np.ndarray, *, asked: bool) -> np.ndarray:
        stack = self.stack
        if asked and stack.weights.get("paired", 0.0) > 0:
            # Its outputs are of the coupons asked for already.
            stack = replace(stack, weights={**stack.weights, "paired": 0.0})
        effects = {n: on_coupons(n, values, self.shares) for n, values in candidates.items() if n != "asked"}
        # The scale is that of the base in the unit that the stack was fitted in.
        return stack.combine(effects, self.link, base - self.log_unit) + np.zeros((self.folds, 1, 1))

    def _blended(
        self, candidates: dict[str, np.ndarray], trained: np.ndarray, mixed: np.ndarray, shares: np.ndarray | None
    ) -> np.ndarray:
        """Effects of coupons never tried: the structured candidate knows depth, what remains is read off neighbours."""
        slopes = np.array(self.stack.slopes)
        total = trained @ mixed
        if self.stack.weights.get("paired", 0.0) > 0:
            apart = candidates["paired"] - np.array(self.stack.centers["paired"]) @ mixed
            shared = self.stack.shared * apart.mean(axis=-1, keepdims=True)
            total = total + self.stack.weights["paired"] * ((slopes @ mixed) * apart + shared)
        if "asked" in candidates:
            weight = self.stack.weights.get("boosted", 0.0) * slopes
            total = total - (weight * candidates["boosted"]) @ mixed + (weight @ mixed) * candidates["asked"]
        weight = self.stack.weights.get("structured", 0.0) * slopes
        if not weight.any():
            return np.asarray(total)
        known = on_coupons("structured", candidates["structured"], self.shares)
        asked = on_coupons("structured", candidates["structured"], shares)
        return np.asarray(total - (weight * known) @ mixed + (weight @ mixed) * asked)

    def _error(self, effects: np.ndarray, mixed: np.ndarray | None) -> np.ndarray:
        """Standard error on the linear predictor by the delete-a-group jackknife (Shao and Wu 1989)."""
        folds = effects.shape[0]
        spread = _MEMBERS * (folds - 1) * effects.var(axis=0)
        # These no fold shows: all folds share them.
        averages, hidden = np.array(self.stack.average_errors), self._hidden
        if mixed is not None:
            averages, hidden = averages @ mixed, hidden @ mixed
        return np.asarray(np.sqrt(spread + averages**2 + hidden**2))

    @property
    def _hidden(self) -> np.ndarray:
        return np.zeros(self.share.size - 1) if self.hidden is None else np.array(self.hidden)

    def doubted(self, users: np.ndarray, pairs: np.ndarray | None) -> np.ndarray:
        """`(coupons,)` variance of what may be `hidden`: the candidates' equal mixture, were it believed, and its error.

        Not to believe is not to know that there is nothing. What a test drops is off by what it might have been: its
        estimate and the variance of that (pre-test estimators: Bancroft 1944, 10.1214/aoms/1177731284; with several models
        Buckland, Burnham and Augustin 1997, 10.2307/2533961). The stage is one with all its candidates.
        """
        made = []
        for rows, raw in outputs(self.network, users, pairs if len(self.network.inputs) > 1 else None):
            candidates = self._candidates(raw, users[rows])
            if self.boosted:
                by_arm = self._by_arm(users[rows], None if pairs is None else pairs[rows], asked=False)
                candidates["boosted"] = by_arm[..., 1:] - by_arm[..., :1]
            effects = {name: on_coupons(name, values, self.shares) for name, values in candidates.items()}
            made.append(np.mean([e - np.array(self.stack.centers[name]) for name, e in effects.items()], axis=0))
        mixed = np.concatenate(made, axis=1)
        variance = _MEMBERS * (mixed.shape[0] - 1) * mixed.var(axis=0) + mixed.mean(axis=0) ** 2
        return np.asarray(variance.mean(axis=0))


def variance_unseen(stack: Stack, users: int, width: int) -> np.ndarray:
    """`(coupons,)` variance, on the linear predictor, of effects that a trial of so many users cannot show.

    `width` is that of the encoded features: users differ in no more ways than their features do.
    """
    ways = _UNSEEN * (users / _UNSEEN_USERS) ** _UNSEEN_RATE
    return np.asarray(min(ways, width) * np.square(stack.noise))


def _shared_errors(errors: np.ndarray, share: np.ndarray) -> np.ndarray:
    """`(coupons, coupons)` root of the covariance of the average effects: all are over the same users of control."""
    own, control = 1.0 / share[1:], 1.0 / share[0]
    deviation = np.sqrt(own + control)
    correlation = (control + np.diag(own)) / np.outer(deviation, deviation)
    return np.asarray(errors[:, None] * np.linalg.cholesky(correlation))


def on_coupons(name: str, values: np.ndarray, shares: np.ndarray | None) -> np.ndarray:
    """Turn a candidate's outputs into effects `(..., coupons)`: the structured one speaks of contact and steps."""
    if name != "structured":
        return values
    assert shares is not None  # there is no structured candidate without terms
    return np.asarray(values[..., :1] + values[..., 1:] @ shares.astype(np.float32))
