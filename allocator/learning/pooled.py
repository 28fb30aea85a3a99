"""Models of what users do in each arm, whose coupons learn from one another as far as the trial shows that they are alike.

On the scale of the link (log odds of a purchase or a redemption, log of the expected spend) arm k has

    eta_k(x) = base + x . b + [k > 0] (message + s_k(x) (mean + delta_k + x . (h + d_k)))

so a coupon moves a heavy buyer's spend in proportion, all coupons share an effect (mean, h), and each has its own
difference (delta, d). All of them are in proportion to how far the coupon reaches the user (s; 1 where nothing is known
of that, and then there is no `message`, which is what a coupon changes of whom it does not reach). Every group of
coefficients has a normal prior around 0 whose variance is estimated from the same data (empirical Bayes by
expectation-maximisation over a normal approximation of the posterior: MacKay 1992, 10.1162/neco.1992.4.3.415; Efron and
Morris 1975, 10.1080/01621459.1975.10479864): what many small coefficients owe to luck is shrunk away before anything is
chosen by it. Spend has a variance in proportion to a power of its mean (a quasi-likelihood: Wedderburn 1974,
10.1093/biomet/61.3.439), so that a few heavy buyers do not decide alone.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np

from allocator.learning.arrow import Arrow
from allocator.learning.logistic import GROUPS, Logistic, curved
from uplift import OutcomeKind, Schema, Trial

POWER = 1.5  # of the mean in the variance of spend: a random number of purchases of random size (Tweedie 1984)
ROUNDS = 14  # of expectation-maximisation
STEPS, FIRST_STEPS, LAST_STEPS = 2, 8, 3  # Newton's at most, in a round, in the first one, and without a group
# A step that moved the coefficients by less than this in all (squared, in their own posterior deviations) is the last one.
CLOSE = 0.002
FASTEST = 4.0  # largest factor on a variance in a round
SETTLED = 0.02  # relative change of every variance
LONGEST = 1.0  # largest change of a coefficient in a step
PRIOR_WEIGHT, PRIOR_VARIANCE = 2.0, 1e-5  # each variance is estimated as if so many more coefficients had this one
FREE = 1e4  # variance of what is not shrunk
# Standard deviation of what a coupon changes of the log of spend where nobody redeems it: then it is no more than a message.
MESSAGE = 0.05
START = {"base": 1.0, "delta": 0.01, "shared": 0.005, "own": 0.001}


@dataclass(frozen=True)
class PooledLearner:
    """Fits `Logistic` to a binary outcome.

    Attributes
    ----------
    with_control
        Whether arm 0 is a control; else all arms are coupons (redemption is seen of those who got one).
    """

    name: str
    with_control: bool = True

    def fit(self, trial: Trial, *, seed: int, groups: int = GROUPS) -> Logistic:
        """Fit on the trial, and with the same variances on all but each of `groups` parts of it."""
        schema = Schema.fit(trial.features)
        x = curved(schema, trial.features)
        pooling = Pooling.of(trial, x, self.with_control)
        fits = pooling.refitted(pooling.estimate(pooling.start(), ROUNDS), seed, groups)
        none = np.zeros((groups, trial.n_coupons))
        # Everyone is reached alike: an arm's own line is the base's and its coupon's together.
        lines = np.stack([fit.lines for fit in fits])
        lines[:, self.with_control :] += np.stack([fit.base for fit in fits])[:, None]
        if self.with_control:
            lines[:, 0] = np.stack([fit.base for fit in fits])
        made = Logistic(schema, lines[:, :, 0], lines[:, :, 1:], none)
        return dataclasses.replace(made, centers=made.moved(x, trial.weight))


@dataclass(frozen=True, eq=False)
class Lines:
    """What a fit says, on encoded features as they are.

    Attributes
    ----------
    base
        `(1 + width,)` intercept and slopes without a coupon.
    lines
        `(arms, 1 + width)` what each arm adds where it reaches a user fully; 0 of a control.
    message
        What every coupon adds, however far it reaches.
    """

    base: np.ndarray
    lines: np.ndarray
    message: float


@dataclass(frozen=True, eq=False)
class State:
    """Coefficients and what is known of them, the groups' prior variances, and the dispersion of the outcome.

    The inverse of `information` has the coefficients' posterior variances; `None`: nothing was fitted yet.
    """

    beta: np.ndarray
    information: Arrow | None
    variance: dict[str, float]
    dispersion: float


@dataclass(frozen=True, eq=False)
class Pooling:
    """A trial laid out by arm: `rows[k]` are arm k's users, `local[k]` their `(n_k, 1 + width)` columns, `reach[k]` their reach.

    Coefficients are those of the base, those that all coupons share (with a control), the message (with a reach), and then
    each coupon's own: each an intercept and `width` slopes but for the message, which is one number.
    """

    rows: list[np.ndarray]
    local: list[np.ndarray]
    reach: list[np.ndarray] | None
    outcome: np.ndarray
    weight: np.ndarray
    binary: bool
    with_control: bool
    center: np.ndarray
    scale: float
    groups: dict[str, np.ndarray] = field(repr=False)  # indices of the coefficients that have one variance
    free: np.ndarray = field(repr=False)

    @classmethod
    def of(cls, trial: Trial, x: np.ndarray, with_control: bool, reach: np.ndarray | None = None) -> Pooling:
        """Lay out a trial; `reach` `(n,)` is that of the coupon that each user got, anything in control."""
        weight = trial.weight * trial.propensities().mean(axis=0)[trial.arm] / trial.received()
        weight = weight / weight.mean()
        center = np.average(x, axis=0, weights=weight)
        table = np.column_stack([np.ones(len(x)), x - center])
        rows = [np.flatnonzero(trial.arm == k) for k in range(trial.n_arms)]
        binary = trial.kind is OutcomeKind.BINARY
        scale = 1.0 if binary else max(float(np.average(trial.outcome, weights=weight)), 1e-12)
        groups, free = _layout(table.shape[1], trial.n_arms - with_control, with_control, reach is not None)
        return cls(
            rows,
            [table[r] for r in rows],
            None if reach is None else [reach[r] for r in rows],
            trial.outcome / scale,
            weight,
            binary,
            with_control,
            center,
            scale,
            groups,
            free,
        )

    @property
    def shared(self) -> int:
        """Number of coefficients that are no coupon's own."""
        return self.local[0].shape[1] * (1 + self.with_control) + (self.reach is not None)

    def start(self) -> State:
        """Return the average outcome, whatever the user and arm."""
        width = self.local[0].shape[1]
        mean = float(np.average(self.outcome, weights=self.weight))
        beta = np.zeros(self.shared + (len(self.rows) - self.with_control) * width)
        beta[0] = np.log(mean / (1.0 - mean)) if self.binary else np.log(mean)
        return State(beta, None, {name: START[name] for name in self.groups}, 1.0)

    def estimate(self, state: State, rounds: int) -> State:
        """Alternate between the coefficients at given variances and the variances at given coefficients."""
        everyone = np.ones(self.outcome.size, dtype=bool)
        for turn in range(rounds):
            state = self.solve(everyone, state, STEPS if turn else FIRST_STEPS)
            variance = self._variances(state)
            moved = max(abs(np.log(variance[name] / state.variance[name])) for name in variance)
            state = dataclasses.replace(state, variance=variance)
            if moved < SETTLED:
                break
        return state

    def _variances(self, state: State) -> dict[str, float]:
        """Return each group's variance: its squares over how many of its coefficients the data determine (MacKay's gamma).

        Expectation-maximisation alone moves by a share of that number, and stops long before a variance that is near 0.
        """
        assert state.information is not None
        spread, variances = state.information.inverse_diagonal(), {}
        for name, group in self.groups.items():
            before = state.variance[name]
            determined = max(float((1.0 - spread[group] / before).sum()), 0.0)
            squares = float((state.beta[group] ** 2).sum())
            found = (squares + PRIOR_WEIGHT * PRIOR_VARIANCE) / (determined + PRIOR_WEIGHT)
            variances[name] = float(np.clip(found, before / FASTEST, before * FASTEST))
        return variances

    def refitted(self, state: State, seed: int, groups: int) -> list[Lines]:
        """Return what the whole trial says, and what it says without each of `groups` parts at the same variances."""
        # Drawn without regard to arms and outcomes: groups that are alike in these would hide the error of the averages.
        part = np.random.default_rng([seed, 16]).permutation(self.outcome.size) % max(groups, 1)
        fits = [self.lines(state)]
        return fits + [self.lines(self.solve(part != g, state, LAST_STEPS)) for g in range(groups)]

    def solve(self, used: np.ndarray, state: State, steps: int) -> State:
        """Newton's steps (Fisher's information) toward the most likely coefficients at the state's variances."""
        precision = np.empty(state.beta.size)
        precision[self.free] = 1.0 / FREE
        if self.reach is not None:
            precision[self.shared - 1] = 1.0 / MESSAGE**2
        for name, group in self.groups.items():
            precision[group] = 1.0 / state.variance[name]
        beta, dispersion = state.beta, state.dispersion
        cut = [used[rows] for rows in self.rows]
        for _ in range(steps):
            gradient, information, error = self._slopes(beta, dispersion, precision, cut)
            slope = gradient - precision * beta
            step = information.solve(slope)
            beta = beta + step * min(1.0, LONGEST / max(float(np.abs(step).max()), 1e-12))
            if not self.binary:
                dispersion = max(error / float(self.weight[used].sum()), 1e-9)
            if float(slope @ step) < CLOSE:  # the Newton decrement (Boyd and Vandenberghe 2004, section 9.5.1)
                break
        return State(beta, information, state.variance, dispersion)

    def _slopes(
        self, beta: np.ndarray, dispersion: float, precision: np.ndarray, cut: list[np.ndarray]
    ) -> tuple[np.ndarray, Arrow, float]:
        """Gradient of the log likelihood, information with the prior's precision, and the squared error over the variance."""
        width, shared = self.local[0].shape[1], self.shared
        own = beta[shared:].reshape(-1, width)
        top = np.diag(precision[:shared])
        blocks = np.stack([np.diag(row) for row in precision[shared:].reshape(-1, width)])
        side, gradient, error = np.zeros((len(own), width, shared)), np.zeros(beta.size), 0.0
        mine = gradient[shared:].reshape(-1, width)
        base, common = slice(0, width), slice(width, 2 * width)
        for arm, chosen in enumerate(cut):
            table, rows = self.local[arm][chosen], self.rows[arm][chosen]
            coupon = arm - self.with_control
            reach = np.ones(rows.size) if self.reach is None else self.reach[arm][chosen]
            eta = table @ beta[base]
            if coupon >= 0:
                eta += reach * (table @ (own[coupon] + (beta[common] if self.with_control else 0.0)))
                if self.reach is not None:
                    eta += beta[shared - 1]
            mean, slope, worth = self._moments(eta)
            left, w = self.outcome[rows] - mean, self.weight[rows]
            error += float((w * left**2 * worth / np.maximum(slope, 1e-12)).sum())
            pull, curve = w * left * worth / dispersion, w * slope * worth / dispersion
            gradient[base] += table.T @ pull
            gram = _gram(table, np.sqrt(curve))
            top[base, base] += gram
            if coupon < 0:
                continue
            once, twice = gram, gram
            if self.reach is not None:
                once, twice = _gram(table, np.sqrt(curve * reach)), _gram(table, np.sqrt(curve) * reach)
            mine[coupon] = table.T @ (pull * reach)
            blocks[coupon] += twice
            side[coupon][:, base] = once
            if self.with_control:
                gradient[common] += mine[coupon]
                side[coupon][:, common] = twice
                top[common, common] += twice
                top[base, common] += once
                top[common, base] += once
            if self.reach is not None:
                # The message has the column of ones without the reach: the first row and column of what has it not.
                last = shared - 1
                gradient[last] += pull.sum()
                for place, column in ((base, gram[0]), (common, once[0])):
                    top[last, place] += column
                    top[place, last] += column
                top[last, last] += curve.sum()
                side[coupon][:, last] = once[0]
        return gradient, Arrow(top, side, blocks), error

    def _moments(self, eta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean of the outcome, its change with eta, and that change over the variance."""
        if self.binary:
            chance = 1.0 / (1.0 + np.exp(-np.clip(eta, -30.0, 30.0)))
            return chance, chance * (1.0 - chance), np.ones_like(chance)
        mean = np.exp(np.clip(eta, -8.0, 8.0))
        return mean, mean, mean ** (1.0 - POWER)

    def lines(self, state: State) -> Lines:
        """Return the coefficients on the encoded features as they are."""
        width, shared, beta = self.local[0].shape[1], self.shared, state.beta
        lines = np.zeros((len(self.rows), width))
        lines[self.with_control :] = beta[shared:].reshape(-1, width)
        if self.with_control:
            lines[1:] += beta[width : 2 * width]
        base, message = beta[:width].copy(), float(beta[shared - 1]) if self.reach is not None else 0.0
        if not self.binary:
            base[0] += np.log(self._missing(base, lines, message))
        base[0] -= base[1:] @ self.center
        lines[:, 0] -= lines[:, 1:] @ self.center
        return Lines(base, lines, message)

    def _missing(self, base: np.ndarray, lines: np.ndarray, message: float) -> float:
        """Return the factor that gives the total back, which a variance that grows faster than the mean trades for precision."""
        expected = 0.0
        for arm, (rows, table) in enumerate(zip(self.rows, self.local, strict=True)):
            eta = table @ base
            if arm or not self.with_control:
                eta += message + (1.0 if self.reach is None else self.reach[arm]) * (table @ lines[arm])
            expected += float(self.weight[rows] @ np.exp(np.clip(eta, -8.0, 8.0)))
        return self.scale * float(self.weight @ self.outcome) / expected


def _gram(table: np.ndarray, root: np.ndarray) -> np.ndarray:
    """Products of the columns, rows weighted by the square of `root`: of a matrix with itself, so that half are computed."""
    weighted = table * root[:, None]
    return weighted.T @ weighted


def _layout(width: int, coupons: int, with_control: bool, reach: bool) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the indices of each shrunk group of coefficients, and of those that are not shrunk."""
    groups, free = {"base": np.arange(1, width)}, [0]
    at = width
    if with_control:
        free.append(at)
        groups["shared"] = np.arange(at + 1, at + width)
        at += width
    at += reach  # the message
    own = np.arange(at, at + coupons * width).reshape(coupons, width)
    return groups | {"delta": own[:, 0], "own": own[:, 1:].ravel()}, np.array(free)
